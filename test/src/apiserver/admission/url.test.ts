import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseReference, parseRequestUri } from '../../../../src/apiserver/admission/url.ts'

describe('an address of a source', () => {
  const read: [string, { scheme: string; authority: string } | undefined][] = [
    ['http://server/path', { scheme: 'http', authority: 'server' }],
    ['HTTP://server', { scheme: 'http', authority: 'server' }],
    ['https://u:p@host:443?q', { scheme: 'https', authority: 'u:p@host:443' }],
    ['http://[::1%25eth0]:8080/', { scheme: 'http', authority: '[::1%25eth0]:8080' }],
    ['oci-archive:file.tar', { scheme: 'oci-archive', authority: '' }],
    ['/path', { scheme: '', authority: '' }],
    ['', undefined],
    ['path', undefined],
    ['://server', undefined],
    ['1http://server', undefined],
    ['http://server/%zz', undefined],
    ['http://ser%zzver/', undefined],
    ['http://a\nb/', undefined],
    ['http://a:b:1/', undefined],
  ]
  for (const [text, expected] of read) {
    it(`is read as the existing service does: ${JSON.stringify(text)}`, () =>
      assert.deepEqual(parseRequestUri(text), expected))
  }

  it('may be relative where a reference is asked for', () => {
    assert.deepEqual(parseReference('image/name:tag'), { scheme: '', authority: '' })
    assert.equal(parseReference('image:tag/name')?.scheme, 'image')
    assert.equal(parseReference('1:2/3'), undefined)
  })

  it('is taken whenever it is a URL with a server', () => {
    fc.assert(
      fc.property(fc.webUrl({ withFragments: true, withQueryParameters: true }), (url) => {
        const parsed = parseRequestUri(url)
        assert.ok(parsed && parsed.authority !== '', url)
      }),
    )
  })
})
