/** A checksum as an HTTP header (RFC 9530). */
import type { Checksum } from '../../../importer/sources/checksum.ts'

const keys = { md5: 'md5', sha1: 'sha', sha256: 'sha-256', sha512: 'sha-512' } as const

/** `Repr-Digest` of the whole file; no header without a checksum. */
export function reprDigest(checksum: Checksum | undefined): Readonly<Record<string, string>> {
  if (checksum === undefined) return {}
  const base64 = Buffer.from(checksum.hex, 'hex').toString('base64')
  return { 'repr-digest': `${keys[checksum.algorithm]}=:${base64}:` }
}
