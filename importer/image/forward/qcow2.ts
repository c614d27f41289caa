/**
 * Reads a qcow2 image while it streams by. Writers allocate a table before the first cluster that it names, so that most
 * claims are made in time; what they are not, the engine holds. Tables are asked for one after the other, as they stand
 * in the file: nothing grows with their number but the list of where they are.
 */
import type { Qcow2OnePass } from '../facts.ts'
import { invalidImage } from '../invalid-image.ts'
import type { Invalid } from '../invalid-image.ts'
import { offsetAt, readL2Table, tableCoverBytes } from '../qcow2-table.ts'
import type { Qcow2Pieces } from '../qcow2-table.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import type { ReaderInput } from './readers.ts'

/** Tables of more bytes are looked at a piece at a time. */
const pieceBytes = 64 * 1024
/** Blocks of reference counts that are told to be of no use; more are held until the tables are through. */
const mostIgnoredBlocks = 64 * 1024

/** Makes the reader of a qcow2 image without internal snapshots. It throws CDI_FORMAT_INVALID. */
export function readQcow2Forward({ layout, facts, name }: ReaderInput<Qcow2OnePass>): ForwardReader {
  return (tables) => {
    const invalid = invalidImage({ name, format: facts.format })
    const clusters = new Clusters({ tables, layout, virtualSizeBytes: facts.virtualSizeBytes, invalid })
    tables.ignore(0, 2 ** layout.clusterBits)
    ignoreReferenceCounts({ tables, layout, isOver: () => clusters.areThrough })
    clusters.start()
  }
}

/** Counts say which clusters are in use, which the tables do too. */
function ignoreReferenceCounts({
  tables,
  layout,
  isOver,
}: {
  readonly tables: ForwardTables
  readonly layout: Qcow2OnePass
  /** Nothing is held any more, so that nothing has to be ignored. */
  readonly isOver: () => boolean
}): void {
  const { referenceTableOffset, referenceTableBytes, clusterBits } = layout
  const clusterBytes = 2 ** clusterBits
  let ignored = 0
  const look = (done: number): void => {
    const length = Math.min(pieceBytes, referenceTableBytes - done)
    if (length === 0) return
    tables.table(referenceTableOffset + done, length, (bytes) => {
      if (isOver()) return
      for (let at = 0; at < length && ignored < mostIgnoredBlocks; at += 8) {
        const offset = offsetAt(bytes, at)
        // Wrong ones do no harm here: what a table names is not lost by it.
        if (offset === 0 || offset % clusterBytes !== 0 || offset >= Number.MAX_SAFE_INTEGER - clusterBytes) continue
        tables.ignore(offset, clusterBytes)
        ignored += 1
      }
      look(done + length)
    })
  }
  look(0)
}

interface ClustersInput {
  readonly tables: ForwardTables
  readonly layout: Qcow2OnePass
  readonly virtualSizeBytes: number
  readonly invalid: Invalid
}

/** The two levels of tables. */
class Clusters {
  readonly #tables: ForwardTables
  readonly #layout: Qcow2OnePass
  readonly #clusterBytes: number
  readonly #virtualSizeBytes: number
  readonly #invalid: Invalid
  readonly #pieces: Qcow2Pieces
  #areThrough = false
  /** Where second-level tables stand, and which part of the disk they describe, in turn. */
  #offsets: number[] = []
  #indexes: number[] = []
  /** The table that is being looked at. */
  #current = 0

  constructor({ tables, layout, virtualSizeBytes, invalid }: ClustersInput) {
    this.#tables = tables
    this.#layout = layout
    this.#clusterBytes = 2 ** layout.clusterBits
    this.#virtualSizeBytes = virtualSizeBytes
    this.#invalid = invalid
    this.#pieces = {
      stored: (diskOffset, sourceOffset, length) => this.#addStored(diskOffset, sourceOffset, length),
      packed: (diskOffset, sourceOffset, sourceBytes) => this.#addPacked(diskOffset, sourceOffset, sourceBytes),
      unused: (sourceOffset, length) => {
        this.#checkPlace(sourceOffset)
        tables.ignore(sourceOffset, length)
      },
      invalid,
    }
  }

  /** Everything has been claimed. */
  get areThrough(): boolean {
    return this.#areThrough
  }

  start(): void {
    this.#lookAtFirstLevel(0)
  }

  #lookAtFirstLevel(done: number): void {
    const { l1Offset, l1Entries } = this.#layout
    const length = Math.min(pieceBytes, l1Entries * 8 - done)
    this.#tables.table(l1Offset + done, length, (bytes) => {
      for (let at = 0; at < length; at += 8) {
        const offset = offsetAt(bytes, at)
        if (offset % this.#clusterBytes !== 0) throw this.#invalid(`a table stands at byte ${offset}`)
        if (offset === 0) continue
        this.#checkPlace(offset)
        this.#offsets.push(offset)
        this.#indexes.push((done + at) / 8)
      }
      if (done + length < l1Entries * 8) this.#lookAtFirstLevel(done + length)
      else this.#startSecondLevel()
    })
  }

  /** Tables mostly stand in the order of the disk, but need not. */
  #startSecondLevel(): void {
    const offsets = this.#offsets
    const inOrder = offsets.every((offset, at) => at === 0 || offset > (offsets[at - 1] ?? 0))
    if (!inOrder) {
      const order = [...offsets.keys()].sort((one, other) => (offsets[one] ?? 0) - (offsets[other] ?? 0))
      this.#offsets = order.map((at) => offsets[at] ?? 0)
      this.#indexes = order.map((at) => this.#indexes[at] ?? 0)
    }
    this.#lookAtSecondLevel(0)
  }

  #lookAtSecondLevel(turn: number): void {
    const offset = this.#offsets[turn]
    const index = this.#indexes[turn]
    if (offset === undefined || index === undefined) {
      this.#areThrough = true
      this.#tables.complete()
      return
    }
    if (offset === this.#offsets[turn - 1]) throw this.#invalid(`the table at byte ${offset} is used twice`)
    this.#tables.table(offset, this.#clusterBytes, (l2) => {
      this.#current = offset
      const diskStart = index * tableCoverBytes(this.#layout)
      readL2Table({ layout: this.#layout, l2, diskStart, diskEnd: this.#virtualSizeBytes, pieces: this.#pieces })
      this.#lookAtSecondLevel(turn + 1)
    })
  }

  #addStored(diskOffset: number, sourceOffset: number, length: number): void {
    this.#checkPlace(sourceOffset)
    const bytes = Math.min(length, this.#virtualSizeBytes - diskOffset)
    if (bytes <= 0) return
    this.#tables.extent({ coding: 'stored', diskOffset, diskBytes: bytes, sourceOffset, sourceBytes: bytes })
  }

  #addPacked(diskOffset: number, sourceOffset: number, sourceBytes: number): void {
    this.#checkPlace(sourceOffset)
    const diskBytes = Math.min(this.#clusterBytes, this.#virtualSizeBytes - diskOffset)
    this.#tables.extent({ coding: this.#layout.coding, diskOffset, diskBytes, sourceOffset, sourceBytes })
  }

  #checkPlace(offset: number): void {
    if (offset > Number.MAX_SAFE_INTEGER - 2 * this.#clusterBytes) {
      throw this.#invalid(`a cluster stands at byte ${offset}`)
    }
    // Tables that are claimed once more are found by the engine, but for the one at hand.
    if (this.#current !== 0 && offset >= this.#current && offset < this.#current + this.#clusterBytes) {
      throw this.#invalid(`what lies at byte ${offset} is used twice`)
    }
  }
}
