import assert from 'node:assert/strict'
import { constants, createHmac, generateKeyPairSync, sign, verify } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  controllerTokenLifetimeMs,
  signToken,
  TokenError,
  userTokenLifetimeMs,
  verifyToken,
} from '../../../src/tokens/token.ts'
import type { TokenClaims } from '../../../src/tokens/token.ts'

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const other = generateKeyPairSync('rsa', { modulusLength: 2048 })
const now = Date.parse('2026-03-01T12:00:00.600Z')
const seconds = Math.floor(now / 1000)
const upload: TokenClaims = {
  operation: 'Upload',
  name: 'disk',
  namespace: 'vms',
  resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
}
const clone: TokenClaims = {
  operation: 'Clone',
  name: 'source',
  namespace: 'golden',
  resource: { group: 'snapshot.storage.k8s.io', version: 'v1', resource: 'volumesnapshots' },
  params: { targetNamespace: 'vms', targetName: 'disk', uid: 'a-b-c' },
}

function signed(claims: TokenClaims, options: Partial<Parameters<typeof signToken>[0]> = {}): Promise<string> {
  const issuer = 'cdi-apiserver'
  return signToken({ claims, privateKey, issuer, lifetimeMs: userTokenLifetimeMs, now, ...options })
}

function check(token: string, options: Partial<Parameters<typeof verifyToken>[0]> = {}): Promise<TokenClaims> {
  return verifyToken({ token, publicKey, issuer: 'cdi-apiserver', now, ...options })
}

function partOf(token: string, index: number): unknown {
  return JSON.parse(Buffer.from(token.split('.')[index] ?? '', 'base64url').toString())
}

/** A token with any header and payload, signed as PS256 wants it unless told. */
function forged(header: object, payload: object, signature?: (input: Buffer) => Buffer): string {
  const input = [header, payload].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
  const bytes = (signature ?? pss)(Buffer.from(input))
  return `${input}.${bytes.toString('base64url')}`
}

function pss(input: Buffer): Buffer {
  return sign('sha256', input, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 })
}

const payload = { ...upload, iss: 'cdi-apiserver', iat: seconds, nbf: seconds, exp: seconds + 300 }
const ps256 = { alg: 'PS256' }

describe('token', () => {
  it('has the header {"alg":"PS256"} alone and the claims of the contract in whole seconds', async () => {
    const token = await signed(upload)
    assert.deepEqual(partOf(token, 0), { alg: 'PS256' })
    assert.deepEqual(partOf(token, 1), {
      operation: 'Upload',
      name: 'disk',
      namespace: 'vms',
      resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      iss: 'cdi-apiserver',
      iat: seconds,
      nbf: seconds,
      exp: seconds + 300,
    })
  })

  it('is signed by RSASSA-PSS with SHA-256 and a salt as long as the digest', async () => {
    const [header, body, signature] = (await signed(upload)).split('.')
    const input = Buffer.from(`${header}.${body}`)
    const options = { key: publicKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }
    assert.ok(verify('sha256', input, options, Buffer.from(signature ?? '', 'base64url')))
  })

  it('lasts for ten years when the controller makes it', async () => {
    const token = await signed(clone, { issuer: 'cdi-deployment', lifetimeMs: controllerTokenLifetimeMs })
    const { exp, iss } = partOf(token, 1) as { exp: number; iss: string }
    assert.equal(exp - seconds, 10 * 365 * 24 * 3600)
    assert.equal(iss, 'cdi-deployment')
    assert.deepEqual(await check(token, { issuer: 'cdi-deployment' }), clone)
  })

  it('gives back whatever claims it was made with, and nothing besides', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 40 })
    const claims = fc.record<TokenClaims>(
      {
        operation: fc.constantFrom('Upload', 'Clone'),
        name: text,
        namespace: text,
        resource: fc.record({ group: text, version: text, resource: text }, { noNullPrototype: true }),
        params: fc.dictionary(fc.constantFrom('targetNamespace', 'targetName', 'uid', 'x'), text, {
          noNullPrototype: true,
        }),
      },
      { requiredKeys: ['operation', 'name', 'namespace', 'resource'], noNullPrototype: true },
    )
    await fc.assert(
      fc.asyncProperty(claims, async (made) => assert.deepEqual(await check(await signed(made)), made)),
      { numRuns: 50 },
    )
  })

  it('is accepted as another implementation writes it: claims in another order, params null', async () => {
    const { exp, iat, iss, nbf, resource, namespace, name, operation } = payload
    const token = forged(ps256, { exp, iat, iss, nbf, params: null, resource, namespace, name, operation })
    assert.deepEqual(await check(token), upload)
  })

  const times: [string, number, boolean][] = [
    ['9 s before it was issued', -9, true],
    ['12 s before it was issued', -12, false],
    ['at the end', 299, true],
    ['9 s after the end', 309, true],
    ['11 s after the end', 311, false],
  ]
  for (const [name, offsetSeconds, isValid] of times) {
    it(`is ${isValid ? 'valid' : 'not valid'} ${name}`, async () => {
      const result = check(await signed(upload), { now: now + offsetSeconds * 1000 })
      if (isValid) assert.deepEqual(await result, upload)
      else await assert.rejects(result, TokenError)
    })
  }

  const refused: [string, () => string | Promise<string>][] = [
    ['nothing', () => ''],
    ['no JWS', () => 'a.b'],
    ['an encrypted token', () => 'a.b.c.d.e'],
    ['garbage', () => 'a.b.c'],
    ['a foreign key', () => signed(upload, { privateKey: other.privateKey })],
    ['another issuer', () => signed(upload, { issuer: 'cdi-deployment' })],
    ['no issuer', () => forged(ps256, { ...payload, iss: undefined })],
    ['no expiry', () => forged(ps256, { ...payload, exp: undefined })],
    ['an expiry that is no number', () => forged(ps256, { ...payload, exp: 'never' })],
    ['no time of issue', () => forged(ps256, { ...payload, iat: undefined })],
    ['a time of issue in the future', () => forged(ps256, { ...payload, iat: seconds + 11 })],
    ['a beginning in the future', () => forged(ps256, { ...payload, nbf: seconds + 11 })],
    ['another operation', () => forged(ps256, { ...payload, operation: 'Delete' })],
    ['no name', () => forged(ps256, { ...payload, name: undefined })],
    ['a namespace that is no text', () => forged(ps256, { ...payload, namespace: 1 })],
    ['no resource', () => forged(ps256, { ...payload, resource: null })],
    ['half a resource', () => forged(ps256, { ...payload, resource: { group: '', version: 'v1' } })],
    ['params that are no texts', () => forged(ps256, { ...payload, params: { uid: 1 } })],
    ['params that are a list', () => forged(ps256, { ...payload, params: ['x'] })],
    ['no signature', () => forged({ alg: 'none' }, payload, () => Buffer.alloc(0))],
    ['RS256', () => forged({ alg: 'RS256' }, payload, (input) => sign('sha256', input, privateKey))],
    ['RS256 that says PS256', () => forged(ps256, payload, (input) => sign('sha256', input, privateKey))],
    [
      'HS256 by the public key',
      () => {
        const secret = publicKey.export({ type: 'spki', format: 'pem' })
        return forged({ alg: 'HS256' }, payload, (input) => createHmac('sha256', secret).update(input).digest())
      },
    ],
    ['a header that demands what is unknown', () => forged({ ...ps256, crit: ['x'], x: 1 }, payload)],
    [
      'a key of its own in the header',
      () =>
        forged({ ...ps256, jwk: other.publicKey.export({ format: 'jwk' }) }, payload, (input) =>
          sign('sha256', input, { key: other.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }),
        ),
    ],
  ]
  for (const [name, make] of refused) {
    it(`is refused with ${name}, in words without the token`, async () => {
      const token = await make()
      await assert.rejects(check(token), (error) => {
        assert.ok(error instanceof TokenError, String(error))
        if (token.length > 10) assert.ok(!error.message.includes(token))
        return true
      })
    })
  }

  it('is refused when any character of it is changed', async () => {
    const token = await signed(upload)
    const place = fc.integer({ min: 0, max: token.length - 1 })
    // The last character of a base64url text may hold bits that count for nothing.
    const meaningful = place.filter((at) => at !== token.length - 1)
    await fc.assert(
      fc.asyncProperty(meaningful, fc.constantFrom('A', 'Z', 'a', 'z', '0', '9', '-', '_', '.'), async (at, letter) => {
        fc.pre(token[at] !== letter)
        await assert.rejects(check(token.slice(0, at) + letter + token.slice(at + 1)), TokenError)
      }),
    )
  })
})
