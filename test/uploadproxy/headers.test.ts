import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { corsHeaders, isPreflight, preflightHeaders } from '../../uploadproxy/cors.ts'
import { escapeHtml } from '../../uploadproxy/escape-html.ts'
import { framingOf, requestHeaders, responseHeaders, trailerPairs } from '../../uploadproxy/headers.ts'
import { requestedPath, serverPath, uploadPaths } from '../../uploadproxy/paths.ts'

describe('headers on their way to the upload server', () => {
  const request = { host: 'svc:8443', framing: 'length', method: 'POST' } as const

  it('lose the token, the switch to clone streams and what belongs to the connection', () => {
    const raw = [
      'Host',
      'a',
      'Authorization',
      'Bearer x',
      'X-CDI-Content-Type',
      'blockdevice-clone',
      'Connection',
      'x-hop, close',
    ]
    const more = ['X-Hop', '1', 'Keep-Alive', 'timeout=5', 'TE', 'trailers', 'Upgrade', 'h2c', 'Expect', '100-continue']
    const kept = ['Content-Length', '5', 'Upload-Offset', '0', 'Proxy-Connection', 'close']
    assert.deepEqual(requestHeaders([...raw, ...more, ...kept], request), [
      'Host',
      'svc:8443',
      'Content-Length',
      '5',
      'Upload-Offset',
      '0',
      'Expect',
      '100-continue',
    ])
  })

  it('keep order, case and repetition', () => {
    const raw = ['X-A', '1', 'x-b', '2', 'X-A', '3', 'Content-Length', '1']
    assert.deepEqual(requestHeaders(raw, request).slice(2, -2), raw)
  })

  it('frame a body as it came', () => {
    assert.deepEqual(requestHeaders(['Transfer-Encoding', 'chunked'], { ...request, framing: 'chunked' }), [
      'Host',
      'svc:8443',
      'Transfer-Encoding',
      'chunked',
      'Expect',
      '100-continue',
    ])
    assert.deepEqual(requestHeaders([], { ...request, framing: 'none' }), ['Host', 'svc:8443', 'Content-Length', '0'])
    assert.deepEqual(requestHeaders([], { host: 'h', framing: 'none', method: 'GET' }), ['Host', 'h'])
  })

  it('do not let Connection take away what frames the body', () => {
    const raw = ['Connection', 'content-length', 'Content-Length', '5']
    assert.ok(requestHeaders(raw, request).includes('Content-Length'))
  })
})

describe('headers on their way to the client', () => {
  it('lose what belongs to the connection and what the proxy says itself', () => {
    const raw = ['Connection', 'keep-alive', 'Transfer-Encoding', 'chunked', 'access-control-allow-origin', 'http://x']
    assert.deepEqual(responseHeaders([...raw, 'Upload-Offset', '3']), ['Upload-Offset', '3'])
  })

  it('still vary by origin when the server says that it varies by something', () => {
    assert.deepEqual(responseHeaders(['Vary', 'Accept']), ['Vary', 'Accept', 'Vary', 'Origin'])
  })
})

describe('trailers', () => {
  it('are pairs without what must not stand there', () => {
    const raw = ['Repr-Digest', 'sha-256=:x:', 'Content-Length', '4', 'Authorization', 'x', 'X-B', '2']
    assert.deepEqual(trailerPairs(raw), [
      ['Repr-Digest', 'sha-256=:x:'],
      ['X-B', '2'],
    ])
  })
})

describe('the framing of a request', () => {
  it('is told by its headers', () => {
    assert.equal(framingOf({ headers: {} }), 'none')
    assert.equal(framingOf({ headers: { 'content-length': '0' } }), 'none')
    assert.equal(framingOf({ headers: { 'content-length': '1' } }), 'length')
    assert.equal(framingOf({ headers: { 'transfer-encoding': 'chunked' } }), 'chunked')
  })
})

describe('CORS', () => {
  it('lets any origin read every answer to the methods of the contract', () => {
    for (const method of ['HEAD', 'GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      const headers = corsHeaders({ method, headers: { origin: 'https://ui.example' } })
      assert.equal(headers['Access-Control-Allow-Origin'], '*')
      assert.equal(headers['Vary'], 'Origin')
      assert.match(headers['Access-Control-Expose-Headers'] ?? '', /Upload-Offset/)
      assert.equal(headers['Access-Control-Allow-Credentials'], undefined)
    }
  })

  it('says only that answers vary where nobody of another origin asks', () => {
    assert.deepEqual(corsHeaders({ method: 'POST', headers: {} }), { Vary: 'Origin' })
    assert.deepEqual(corsHeaders({ method: 'OPTIONS', headers: { origin: 'https://ui.example' } }), { Vary: 'Origin' })
  })

  it('echoes what a preflight asks for', () => {
    const asked = {
      method: 'OPTIONS',
      headers: {
        origin: 'https://ui.example',
        'access-control-request-method': 'PATCH',
        'access-control-request-headers': 'authorization,upload-offset',
      },
    }
    assert.ok(isPreflight(asked))
    assert.deepEqual(preflightHeaders(asked), {
      Vary: 'Origin, Access-Control-Request-Method, Access-Control-Request-Headers',
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Allow-Methods': 'PATCH',
      'Access-Control-Allow-Headers': 'authorization,upload-offset',
      'Access-Control-Max-Age': '7200',
    })
  })

  it('allows nothing to a preflight for a method that nobody needs', () => {
    const headers = { origin: 'https://ui.example', 'access-control-request-method': 'CONNECT' }
    assert.equal(preflightHeaders({ method: 'OPTIONS', headers })['Access-Control-Allow-Origin'], undefined)
  })
})

describe('escaping for HTML', () => {
  it('writes entities as clients see them today', () => {
    assert.equal(
      escapeHtml(`<script>alert("it's & all")</script>`),
      '&lt;script&gt;alert(&#34;it&#39;s &amp; all&#34;)&lt;/script&gt;',
    )
  })

  it('leaves no character that could begin a tag or end an attribute', () => {
    fc.assert(fc.property(fc.string(), (text) => assert.doesNotMatch(escapeHtml(text), /[<>"']/)))
  })
})

describe('upload paths', () => {
  it('are the eight of the contract and those of the resumable protocols', () => {
    assert.deepEqual(uploadPaths.map(({ path, hasId }) => (hasId ? `${path}/ID` : path)).toSorted(), [
      '/v1alpha1/upload',
      '/v1alpha1/upload-async',
      '/v1alpha1/upload-form',
      '/v1alpha1/upload-form-async',
      '/v1beta1/upload',
      '/v1beta1/upload-async',
      '/v1beta1/upload-form',
      '/v1beta1/upload-form-async',
      '/v1beta1/upload-ranges',
      '/v1beta1/upload-resumable',
      '/v1beta1/upload-resumable/ID',
      '/v1beta1/upload-tus',
      '/v1beta1/upload-tus/ID',
    ])
  })

  it('lead archives to the address of archives, of the same version, except resumable ones', () => {
    assert.equal(serverPath('plain', '/v1beta1/upload', true), '/v1beta1/upload-archive')
    assert.equal(serverPath('plain', '/v1beta1/upload-form-async', true), '/v1beta1/upload-form')
    assert.equal(serverPath('plain', '/v1alpha1/upload-async', true), '/v1alpha1/upload-archive')
    assert.equal(serverPath('tus', '/v1beta1/upload-tus/x', true), '/v1beta1/upload-tus/x')
    assert.equal(serverPath('plain', '/v1beta1/upload-async', false), '/v1beta1/upload-async')
  })

  it('take nothing but an id for an id', () => {
    const path = { protocol: 'tus', path: '/v1beta1/upload-tus', hasId: true } as const
    assert.equal(requestedPath(path, 'aB_-9'), '/v1beta1/upload-tus/aB_-9')
    for (const id of ['', '..', 'a/b', 'a%2f', 'a b', 'ä', 'x'.repeat(129)]) {
      assert.equal(requestedPath(path, id), undefined, id)
    }
  })
})
