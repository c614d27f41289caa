/** A request that brings a piece of an upload, and what its client told of that piece alone. */
import type { CdiError } from '../../src/errors.ts'
import { toCdiError } from '../../src/errors.ts'
import { Digest } from '../sources/checksum.ts'
import type { Checksum } from '../sources/checksum.ts'

/** What comes with a piece to be held against it. */
export interface PieceOptions {
  /** Of the piece; unless all are right it does not count. */
  readonly checksums?: readonly Checksum[]
}

/** The piece is not what was told of it. Nothing of it counts, and the upload goes on where it was. */
export class PieceMismatch extends Error {
  readonly fault: CdiError

  constructor(fault: CdiError) {
    super(fault.message, { cause: fault })
    this.name = 'PieceMismatch'
    this.fault = fault
  }
}

/** The digests of one piece. */
export class PieceDigests {
  readonly #digests: readonly Digest[]

  constructor(checksums: readonly Checksum[] = []) {
    this.#digests = checksums.map((checksum) => new Digest(checksum))
  }

  /** There is something to be held against the piece. */
  get isAsked(): boolean {
    return this.#digests.length > 0
  }

  update(chunk: Buffer): void {
    for (const digest of this.#digests) digest.update(chunk)
  }

  /** Throws PieceMismatch. */
  verify(): void {
    try {
      for (const digest of this.#digests) digest.verify()
    } catch (error) {
      throw new PieceMismatch(toCdiError(error))
    }
  }
}
