import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { X509Certificate } from 'node:crypto'
import * as fc from 'fast-check'
import { FrontProxyError, isAllowedName, parseFrontProxy, userOf } from '../../../src/apiserver/front-proxy.ts'
import type { FrontProxy } from '../../../src/apiserver/front-proxy.ts'
import { createAuthority } from '../../../src/certs/authority.ts'

const { certPem } = await createAuthority({ commonName: 'the ca', lifetimeMs: 60_000, now: Date.now() })

const data = {
  'client-ca-file': 'another one',
  'requestheader-client-ca-file': certPem,
  'requestheader-allowed-names': '["front-proxy-client"]',
  'requestheader-username-headers': '["X-Remote-User"]',
  'requestheader-group-headers': '["X-Remote-Group"]',
  'requestheader-extra-headers-prefix': '["X-Remote-Extra-"]',
}

const config: FrontProxy = {
  caPem: certPem,
  allowedNames: ['front-proxy-client'],
  usernameHeaders: ['X-Remote-User'],
  uidHeaders: [],
  groupHeaders: ['X-Remote-Group'],
  extraHeaderPrefixes: ['X-Remote-Extra-'],
}

describe('the configuration of the front proxy', () => {
  it('is read from the ConfigMap of the API server', () => {
    assert.deepEqual(parseFrontProxy({ data }), config)
    assert.deepEqual(parseFrontProxy({ data: { ...data, 'requestheader-uid-headers': '["X-Remote-Uid"]' } }), {
      ...config,
      uidHeaders: ['X-Remote-Uid'],
    })
  })

  it('may leave out lists', () => {
    const lone = { 'requestheader-client-ca-file': certPem, 'requestheader-allowed-names': 'null' }
    assert.deepEqual(parseFrontProxy({ data: lone }), {
      caPem: certPem,
      allowedNames: [],
      usernameHeaders: [],
      uidHeaders: [],
      groupHeaders: [],
      extraHeaderPrefixes: [],
    })
  })

  it('is none without an authority, whatever other authorities there are', () => {
    assert.equal(parseFrontProxy({}), undefined)
    assert.equal(parseFrontProxy({ data: { 'client-ca-file': certPem } }), undefined)
  })

  it('is not guessed at when it is damaged', () => {
    for (const change of [
      { 'requestheader-client-ca-file': 'no certificate' },
      { 'requestheader-allowed-names': 'front-proxy-client' },
      { 'requestheader-allowed-names': '"front-proxy-client"' },
      { 'requestheader-group-headers': '[1]' },
    ]) {
      assert.throws(() => parseFrontProxy({ data: { ...data, ...change } }), FrontProxyError)
    }
  })
})

describe('the name of a client certificate', () => {
  it('is an allowed one, or any if none is named', () => {
    const certificate = new X509Certificate(certPem)
    assert.equal(isAllowedName(config, certificate), false)
    assert.equal(isAllowedName({ ...config, allowedNames: ['x', 'the ca'] }, certificate), true)
    assert.equal(isAllowedName({ ...config, allowedNames: [] }, certificate), true)
  })
})

describe('the user of a request', () => {
  it('is told by headers', () => {
    const headers = {
      'x-remote-user': ['alice', 'mallory'],
      'x-remote-group': ['system:authenticated', 'dev'],
      'x-remote-extra-scopes': ['a', 'b'],
      'x-remote-extra-example.org%2fid': ['1'],
      'x-remote-extra-bad%zz': ['2'],
      'x-other': ['c'],
    }
    assert.deepEqual(userOf(config, headers), {
      name: 'alice',
      groups: ['system:authenticated', 'dev'],
      extra: { scopes: ['a', 'b'], 'example.org/id': ['1'], 'bad%zz': ['2'] },
    })
  })

  it('is told by the first of several headers that is there', () => {
    const several = { ...config, usernameHeaders: ['X-A', 'X-B'], groupHeaders: ['X-G', 'X-H'], uidHeaders: ['X-U'] }
    assert.deepEqual(userOf(several, { 'x-b': ['bob'], 'x-h': ['h'], 'x-u': ['7'] }), {
      name: 'bob',
      uid: '7',
      groups: ['h'],
      extra: {},
    })
  })

  it('need not be in a group', () => {
    assert.deepEqual(userOf(config, { 'x-remote-user': ['alice'] }), { name: 'alice', groups: [], extra: {} })
  })

  it('is missed', () => {
    const needs = { needs: ['X-Remote-User'] }
    assert.deepEqual(userOf(config, {}), needs)
    assert.deepEqual(userOf(config, { 'x-remote-user': [''], 'x-remote-group': ['system:masters'] }), needs)
  })

  it('is never made of headers that are not named', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.array(fc.string())), (headers) => {
        const { 'x-remote-user': _, ...others } = headers
        assert.deepEqual(userOf(config, others), { needs: ['X-Remote-User'] })
      }),
    )
  })
})
