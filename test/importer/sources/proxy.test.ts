import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { bypassesProxy, chooseProxy, proxyAuthorization } from '../../../importer/sources/proxy.ts'

const settings = { httpProxy: 'http://plain.proxy:3128', httpsProxy: 'https://tls.proxy' }

describe('choice of a proxy', () => {
  it('goes by the scheme of the URL', () => {
    assert.equal(chooseProxy(settings, new URL('http://host/'))?.host, 'plain.proxy:3128')
    assert.equal(chooseProxy(settings, new URL('https://host/'))?.host, 'tls.proxy')
    assert.equal(chooseProxy({ httpProxy: 'http://p:1' }, new URL('https://host/')), undefined)
  })

  it('takes a proxy without a scheme for an http one', () => {
    assert.equal(chooseProxy({ httpProxy: 'p.example:8080' }, new URL('http://host/'))?.href, 'http://p.example:8080/')
  })

  it('refuses a proxy that it cannot speak to, without showing its password', () => {
    const broken = { httpProxy: 'socks5://me:secret@p:1080' }
    assert.throws(
      () => chooseProxy(broken, new URL('http://host/')),
      (error: Error & { code?: string }) => error.code === 'CDI_USAGE' && !error.message.includes('secret'),
    )
  })

  it('never sends localhost through a proxy', () => {
    for (const host of ['localhost', '127.0.0.1', '127.8.9.10', '[::1]']) {
      assert.equal(chooseProxy(settings, new URL(`http://${host}:8080/`)), undefined, host)
    }
  })

  // Each line as golang.org/x/net/http/httpproxy documents NO_PROXY.
  const table: readonly [noProxy: string, url: string, bypassed: boolean][] = [
    ['', 'http://example.com/', false],
    ['*', 'http://example.com/', true],
    ['example.com', 'http://example.com/', true],
    ['example.com', 'http://sub.example.com/', true],
    ['example.com', 'http://notexample.com/', false],
    ['EXAMPLE.com', 'http://Example.COM/', true],
    ['.example.com', 'http://sub.example.com/', true],
    ['.example.com', 'http://example.com/', false],
    ['*.example.com', 'http://sub.example.com/', true],
    ['*.example.com', 'http://example.com/', false],
    ['a.com, example.com ,b.com', 'http://example.com/', true],
    ['example.com:8080', 'http://example.com:8080/', true],
    ['example.com:8080', 'http://example.com/', false],
    ['example.com:443', 'https://example.com/', true],
    ['example.com:80', 'http://example.com/', true],
    ['10.0.0.0/8', 'http://10.1.2.3/', true],
    ['10.0.0.0/8', 'http://11.1.2.3/', false],
    ['10.0.0.0/8', 'http://ten.example.com/', false],
    ['10.1.2.3', 'http://10.1.2.3/', true],
    ['10.1.2.3', 'http://10.1.2.30/', false],
    ['10.1.2.3:81', 'http://10.1.2.3/', false],
    ['fd00::/8', 'http://[fd12::1]/', true],
    ['fd00::/8', 'http://[fe80::1]/', false],
    ['fd12::1', 'http://[fd12:0:0::1]/', true],
    ['[fd12::1]:8080', 'http://[fd12::1]:8080/', true],
    ['[fd12::1]:8080', 'http://[fd12::1]/', false],
    ['10.0.0.0/40', 'http://10.1.2.3/', false],
    [',, ,', 'http://example.com/', false],
  ]
  for (const [noProxy, url, bypassed] of table) {
    it(`no_proxy "${noProxy}" ${bypassed ? 'bypasses' : 'does not bypass'} the proxy for ${url}`, () => {
      assert.equal(bypassesProxy(noProxy, new URL(url)), bypassed)
    })
  }

  it('makes Basic credentials of the user information, percent signs decoded', () => {
    const expected = `Basic ${Buffer.from('me:p@ss').toString('base64')}`
    assert.equal(proxyAuthorization(new URL('http://me:p%40ss@proxy:1')), expected)
    assert.equal(proxyAuthorization(new URL('http://proxy:1')), undefined)
  })
})
