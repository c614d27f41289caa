/**
 * What every certificate that is made here has in common. The library behind it is loaded on the first call, because it
 * costs 0.2 s and most programs never need it.
 */
import { createPrivateKey, randomBytes, webcrypto } from 'node:crypto'
import type * as X509Library from '@peculiar/x509'

export type CryptoKey = webcrypto.CryptoKey
export type CryptoKeyPair = webcrypto.CryptoKeyPair

/** How a key signs, in WebCrypto's words. */
export interface SigningAlgorithm {
  readonly name: string
  readonly hash: string
  readonly namedCurve?: string
}

/** Keys made here: ECDSA P-256, which every client takes and which is made in a thousandth of the time of RSA 2048. */
export const ownAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

/** The library, and the crypto that it works with. */
export async function loadX509(): Promise<{ x509: typeof X509Library; crypto: typeof webcrypto }> {
  await import('reflect-metadata')
  return { x509: await import('@peculiar/x509'), crypto: webcrypto }
}

export async function generateKeys(): Promise<CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ownAlgorithm, true, ['sign', 'verify'])
}

/** A private key as PKCS #8 PEM. */
export async function privateKeyPem(key: CryptoKey): Promise<string> {
  return pem('PRIVATE KEY', Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)))
}

/**
 * The key of an authority and how it signs. Also RSA in PKCS #1: an installation may hold authorities of an earlier version.
 * @throws {TypeError} when the key is of a kind that cannot sign certificates here
 */
export function importSigningKey(keyPem: string): { key: CryptoKey; algorithm: SigningAlgorithm } {
  const key = createPrivateKey(keyPem)
  const algorithm = signingAlgorithmOf(key.asymmetricKeyType, key.asymmetricKeyDetails?.namedCurve)
  if (algorithm === undefined) throw new TypeError(`cannot sign certificates with a ${key.asymmetricKeyType} key`)
  return { key: key.toCryptoKey(algorithm, false, ['sign']), algorithm }
}

/** Whether {@link importSigningKey} takes a key that can be read. */
export function canSign(keyPem: string): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = createPrivateKey(keyPem)
  return signingAlgorithmOf(type, details?.namedCurve) !== undefined
}

function signingAlgorithmOf(type: string | undefined, curve: string | undefined): SigningAlgorithm | undefined {
  if (type === 'rsa') return { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' }
  if (type === 'ec' && curve === 'prime256v1') return ownAlgorithm
  if (type === 'ec' && curve === 'secp384r1') return { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }
  return undefined
}

/** A random serial number of 127 bits, hexadecimal: positive and without leading zeros, so that it has one encoding only. */
export function randomSerial(): string {
  const bytes = randomBytes(16)
  bytes.writeUInt8((bytes.readUInt8(0) & 0x3f) | 0x40, 0)
  return bytes.toString('hex')
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
