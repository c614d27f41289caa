import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { describe, it } from 'node:test'
import { parsePublicKey, parseSigningKey, signingKeyOf, SigningKeyError } from '../../../src/tokens/signing-key.ts'

const one = generateKeyPairSync('rsa', { modulusLength: 2048 })
const two = generateKeyPairSync('rsa', { modulusLength: 2048 })
const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const privatePem = one.privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()
const publicPem = one.publicKey.export({ type: 'spki', format: 'pem' }).toString()
const otherPublicPem = two.publicKey.export({ type: 'spki', format: 'pem' }).toString()

describe('signing key', () => {
  it('is read from a Secret as it stands in one', () => {
    const base64 = (text: string): string => Buffer.from(text).toString('base64')
    const key = signingKeyOf({ data: { id_rsa: base64(privatePem), 'id_rsa.pub': base64(publicPem) } })
    assert.ok(key.privateKey.equals(one.privateKey) && key.publicKey.equals(one.publicKey))
    assert.equal(key.publicPem, publicPem)
  })

  const broken: [string, string, string, RegExp][] = [
    ['nothing', '', '', /one public key is expected in id_rsa\.pub, not 0/],
    ['two public keys', privatePem, publicPem + otherPublicPem, /one public key is expected in id_rsa\.pub, not 2/],
    ['a private key in place of the public one', privatePem, privatePem, /something else than a public key/],
    ['a broken public key', privatePem, publicPem.replace('MII', 'AAA'), /no public key in PEM/],
    ['no private key', '', publicPem, /id_rsa holds no private key/],
    ['keys that do not belong together', privatePem, otherPublicPem, /do not belong together/],
    [
      'keys of another kind',
      curve.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
      curve.publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      /not an RSA key/,
    ],
  ]
  for (const [name, wrongPrivate, wrongPublic, message] of broken) {
    it(`is not read from ${name}`, () => {
      assert.throws(
        () => parseSigningKey({ privatePem: wrongPrivate, publicPem: wrongPublic }),
        (error) => {
          assert.ok(error instanceof SigningKeyError)
          assert.match(error.message, message)
          assert.ok(!error.message.includes('MII'))
          return true
        },
      )
    })
  }

  it('takes a public key in either PEM form', () => {
    const pkcs1 = one.publicKey.export({ type: 'pkcs1', format: 'pem' }).toString()
    for (const pem of [publicPem, pkcs1, `\n${publicPem}\n`]) assert.ok(parsePublicKey(pem).equals(one.publicKey))
  })
})
