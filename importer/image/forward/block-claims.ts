/** Claims for blocks that are stored as they are. */
import type { ForwardTables } from './forward.ts'

export class BlockClaims {
  readonly #tables: ForwardTables
  readonly #virtualSizeBytes: number
  readonly #blockBytes: number
  /** Where the last block of the disk ends in the file, if the disk ends before it. */
  #cutOffset = 0

  constructor({
    tables,
    virtualSizeBytes,
    blockBytes,
  }: {
    readonly tables: ForwardTables
    readonly virtualSizeBytes: number
    readonly blockBytes: number
  }) {
    this.#tables = tables
    this.#virtualSizeBytes = virtualSizeBytes
    this.#blockBytes = blockBytes
  }

  /** Offsets in bytes. What of the block reaches over the end of the disk is cut off. */
  add(diskOffset: number, sourceOffset: number): void {
    const bytes = Math.min(this.#blockBytes, this.#virtualSizeBytes - diskOffset)
    if (bytes <= 0) return
    if (bytes < this.#blockBytes) this.#cutOffset = sourceOffset + this.#blockBytes
    this.#tables.extent({ coding: 'stored', diskOffset, diskBytes: bytes, sourceOffset, sourceBytes: bytes })
  }

  /** For formats whose blocks are there as a whole: a file without the part that no disk needs was cut. */
  requireWhole(): void {
    if (this.#cutOffset > 0) this.#tables.table(this.#cutOffset - 1, 1, () => {})
  }
}
