/**
 * The checksum of a source as users write it (`sha256:…`), over the bytes as downloaded, before any decompression
 * (contract: import §8).
 */
import { createHash } from 'node:crypto'
import type { Hash } from 'node:crypto'
import { CdiError } from '../../src/errors.ts'

const hexDigits = { md5: 32, sha1: 40, sha256: 64, sha512: 128 } as const

export type ChecksumAlgorithm = keyof typeof hexDigits

export interface Checksum {
  readonly algorithm: ChecksumAlgorithm
  /** Lower case. */
  readonly hex: string
}

function isAlgorithm(name: string): name is ChecksumAlgorithm {
  return Object.hasOwn(hexDigits, name)
}

/** Reads `algorithm:hex`, in any case and with blanks around it. Throws CDI_CHECKSUM_INVALID. */
export function parseChecksum(text: string): Checksum {
  const [algorithm = '', hex, ...more] = text.trim().toLowerCase().split(':')
  if (hex === undefined || more.length > 0) {
    throw new CdiError('CDI_CHECKSUM_INVALID', `invalid checksum: ${JSON.stringify(text)} is not algorithm:hex`)
  }
  if (!isAlgorithm(algorithm)) {
    throw new CdiError(
      'CDI_CHECKSUM_INVALID',
      `invalid checksum: unknown algorithm ${JSON.stringify(algorithm)}, use md5, sha1, sha256 or sha512`,
    )
  }
  if (hex.length !== hexDigits[algorithm]) {
    throw new CdiError(
      'CDI_CHECKSUM_INVALID',
      `invalid checksum: ${algorithm} has ${hexDigits[algorithm]} hexadecimal digits, not ${hex.length}`,
    )
  }
  if (!/^[0-9a-f]+$/.test(hex)) {
    throw new CdiError('CDI_CHECKSUM_INVALID', `invalid checksum: ${JSON.stringify(hex)} is not hexadecimal`)
  }
  return { algorithm, hex }
}

/** A running checksum. Not reusable. */
export class Digest {
  readonly #expected: Checksum
  readonly #hash: Hash

  constructor(expected: Checksum) {
    this.#expected = expected
    this.#hash = createHash(expected.algorithm)
  }

  /** Takes the next bytes, in order. */
  update(chunk: Uint8Array): void {
    this.#hash.update(chunk)
  }

  /** To be called once, after the last byte. Throws CDI_CHECKSUM_MISMATCH. */
  verify(): void {
    const { algorithm, hex } = this.#expected
    const calculated = this.#hash.digest('hex')
    if (calculated === hex) return
    throw new CdiError(
      'CDI_CHECKSUM_MISMATCH',
      `checksum validation failed: checksum mismatch: expected ${algorithm}:${hex}, calculated ${algorithm}:${calculated}`,
      { details: { algorithm, expected: hex, calculated } },
    )
  }
}
