import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { credentialsFromDockerConfig } from '../../../../importer/sources/registry/docker-config.ts'
import type { FoundCredentials } from '../../../../importer/sources/registry/docker-config.ts'
import { CdiError } from '../../../../src/errors.ts'

const auth = Buffer.from('me:se:cret').toString('base64')
const me = { user: 'me', password: 'se:cret' }

function find(config: unknown, registry = 'quay.io', repository = 'a/b'): FoundCredentials {
  return credentialsFromDockerConfig(JSON.stringify(config), { registry, repository })
}

describe('credentials of a docker config.json', () => {
  it('reads user and password, packed or not', () => {
    assert.deepEqual(find({ auths: { 'quay.io': { auth } } }), { credentials: me })
    assert.deepEqual(find({ auths: { 'quay.io': { username: 'me', password: 'se:cret' } } }), { credentials: me })
  })

  it('reads an identity token', () => {
    assert.deepEqual(find({ auths: { 'quay.io': { auth, identitytoken: 'refresh' } } }), {
      credentials: { identityToken: 'refresh' },
    })
  })

  for (const key of [
    'https://index.docker.io/v1/',
    'index.docker.io',
    'docker.io',
    'https://registry-1.docker.io/v2/',
  ]) {
    it(`knows Docker Hub as ${key}`, () => {
      assert.deepEqual(find({ auths: { [key]: { auth } } }, 'docker.io', 'library/fedora'), { credentials: me })
    })
  }

  it('tells registries apart by their port', () => {
    const config = { auths: { 'registry:5000': { auth } } }
    assert.deepEqual(find(config, 'registry:5000'), { credentials: me })
    assert.deepEqual(find(config, 'registry:5001'), {})
    assert.deepEqual(find(config, 'registry'), {})
  })

  it('prefers the entry of the repository to that of its namespace and that of the registry', () => {
    const entry = (password: string): object => ({ username: 'me', password })
    const auths = { 'quay.io': entry('host'), 'quay.io/a': entry('namespace'), 'quay.io/a/b': entry('repository') }
    const passwords = ['a/b', 'a/c', 'ab', 'a'].map((repository) => find({ auths }, 'quay.io', repository))
    assert.deepEqual(
      passwords,
      ['repository', 'namespace', 'host', 'namespace'].map((password) => ({ credentials: { user: 'me', password } })),
    )
  })

  it('says so if a credential helper has them, and only then', () => {
    const { credentials, hint } = find({ credHelpers: { 'quay.io': 'secretservice' } })
    assert.equal(credentials, undefined)
    assert.match(hint ?? '', /credentials of quay\.io to the credential helper "secretservice", which is not run/)
    assert.match(find({ auths: { 'quay.io': {} }, credsStore: 'desktop' }).hint ?? '', /"desktop"/)
    assert.deepEqual(find({ auths: { 'docker.io': {} }, credsStore: 'desktop' }), {})
    assert.deepEqual(find({ auths: { 'quay.io': { auth } }, credsStore: 'desktop' }), { credentials: me })
  })

  it('finds nothing for a registry that is not in it', () => {
    for (const config of [{}, { auths: {} }, { auths: null }, { auths: { 'docker.io': { auth } } }]) {
      assert.deepEqual(find(config), {})
    }
    assert.deepEqual(find({ auths: {} }, '__proto__', 'constructor'), {})
  })

  it('refuses what is broken without quoting it', () => {
    const packed = Buffer.from('hunter2').toString('base64')
    for (const text of [
      `{"auths": "hunter2`,
      '[]',
      'null',
      JSON.stringify({ auths: { 'quay.io': { auth: packed } } }),
    ]) {
      assert.throws(
        () => credentialsFromDockerConfig(text, { registry: 'quay.io', repository: 'a' }),
        (error) =>
          error instanceof CdiError &&
          error.code === 'CDI_CREDENTIALS_INVALID' &&
          error.cause === undefined &&
          !error.message.includes('hunter2') &&
          !error.message.includes(packed),
      )
    }
  })

  it('survives any JSON', () => {
    const auths = fc.dictionary(fc.constantFrom('quay.io', 'https://quay.io/v1/', 'x'), fc.jsonValue())
    const config = fc.record({
      auths: fc.oneof(auths, fc.jsonValue()),
      credHelpers: fc.jsonValue(),
      credsStore: fc.jsonValue(),
    })
    fc.assert(
      fc.property(fc.oneof(config, fc.jsonValue()), (value) => {
        try {
          find(value)
        } catch (error) {
          assert.ok(error instanceof CdiError && error.code === 'CDI_CREDENTIALS_INVALID', String(error))
        }
      }),
    )
  })
})
