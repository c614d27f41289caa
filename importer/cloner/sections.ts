/** Reads a window of the disk and makes sections of it (importer/upload/clone/wire.ts): data where there is any. */
import { allocAligned } from '../target/aligned.ts'
import type { Extent } from '../target/coverage.ts'
import { splitRuns } from '../target/data-runs.ts'
import { encodeHead, mostDataBytes, mostExtents } from '../upload/clone/wire.ts'
import { readUnitBytes } from './disk.ts'
import type { SourceDisk } from './disk.ts'
import type { Window } from './plan.ts'

const slabBytes = 1024 * 1024
/** Shorter stretches of zeros between data are sent: to tell of them costs as much. */
const leastGapBytes = 16 * 1024
/** Less room than this is not worth a read. */
const leastRoomBytes = 128 * 1024
/** The most extents of a slab, and one for the rest. */
const slabExtents = Math.ceil(slabBytes / (leastGapBytes + readUnitBytes)) + 1

export interface Section extends Extent {
  readonly extents: readonly Extent[]
  /** The body. Lent until the next section is asked for. */
  readonly head: Buffer
  readonly data: Buffer
}

/** One stream's reader; it holds memory for one section. */
export class SectionReader {
  readonly #disk: Pick<SourceDisk, 'read'>
  readonly #room = allocAligned(mostDataBytes)
  readonly #onRead: (bytes: number) => void

  constructor({ disk, onRead }: { disk: Pick<SourceDisk, 'read'>; onRead: (bytes: number) => void }) {
    this.#disk = disk
    this.#onRead = onRead
  }

  /** Throws what the disk throws, and the signal's reason. */
  async *read(window: Window, signal: AbortSignal): AsyncGenerator<Section, void, undefined> {
    let { start } = window
    let filled = 0
    let extents: Extent[] = []
    for (const extent of window.data) {
      for (let at = extent.start; at < extent.end;) {
        signal.throwIfAborted()
        const length = Math.min(slabBytes, extent.end - at, mostDataBytes - filled)
        await this.#disk.read(at, this.#room.subarray(filled), length)
        this.#onRead(length)
        filled = this.#keepData(extents, filled, at, length)
        at += length
        if (mostDataBytes - filled >= leastRoomBytes && extents.length + slabExtents <= mostExtents) continue
        yield this.#section({ start, end: at }, extents, filled)
        start = at
        filled = 0
        extents = []
      }
    }
    if (start < window.end) yield this.#section({ start, end: window.end }, extents, filled)
  }

  #section({ start, end }: Extent, extents: readonly Extent[], dataBytes: number): Section {
    return { start, end, extents, head: encodeHead(extents), data: this.#room.subarray(0, dataBytes) }
  }

  /** Moves what is data of the bytes just read together; returns where the next ones go. */
  #keepData(extents: Extent[], filled: number, at: number, length: number): number {
    let to = filled
    for (const { start, end } of dataOf(this.#room.subarray(filled, filled + length), at)) {
      const from = filled + (start - at)
      if (from !== to) this.#room.copyWithin(to, from, from + end - start)
      to += end - start
      const last = extents.at(-1)
      if (last?.end === start) extents[extents.length - 1] = { start: last.start, end }
      else extents.push({ start, end })
    }
    return to
  }
}

/** Where bytes that lie at `offset` of the disk are not zero; short gaps count as data. */
function dataOf(bytes: Buffer, offset: number): Extent[] {
  const found: Extent[] = []
  for (const run of splitRuns(offset, [bytes], readUnitBytes)) {
    if (run.buffers === undefined) continue
    const end = run.offset + run.length
    const last = found.at(-1)
    if (last !== undefined && run.offset - last.end < leastGapBytes)
      found[found.length - 1] = { start: last.start, end }
    else found.push({ start: run.offset, end })
  }
  return found
}
