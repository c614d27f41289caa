/**
 * Whether sections are packed before they are sent. Packing costs time of the processor and saves time of the link; which
 * is more is measured as it goes, per stream: how fast bytes go out, how fast they are packed, and how small they become.
 * All three change on the way (what else runs on the node, what else uses the link, what lies on the disk), so averages
 * forget, and now and then a sample is packed just to know.
 */
import { constants, zstdCompress } from 'node:zlib'
import { promisify } from 'node:util'

const compress = promisify(zstdCompress)
const sampleBytes = 256 * 1024
/** One section of so many is looked at while none is packed. */
const sampleEvery = 16
/** Packing has to save this share of the time: the processor may have other things to do. */
const leastSaving = 0.2
/** How much of an average the newest value makes up. */
const newest = 0.3
/** Smaller bodies tell little about the link. */
const leastTellingBytes = 256 * 1024
/** The first bodies tell more about handshakes and windows that are still small. */
const untellingBodies = 3

/** Averages, in bytes per millisecond of one stream. */
export interface Pace {
  /** Of the link, in bytes as they go over it. */
  readonly linkRate: number
  /** Of packing, in bytes that go in. */
  readonly packRate: number
  /** Packed over unpacked. */
  readonly ratio: number
}

/** True if a section is faster packed. Pure. */
export function paysOff({ linkRate, packRate, ratio }: Pace): boolean {
  return 1 / packRate + ratio / linkRate < (1 - leastSaving) / linkRate
}

export class Packing {
  #linkRate: number | undefined
  #packRate: number | undefined
  #ratio: number | undefined
  #sinceSample = sampleEvery
  #bodies = 0

  /** A body went out in so much time, that of the server not counted. */
  sent(bytes: number, milliseconds: number): void {
    if (bytes < leastTellingBytes) return
    this.#bodies += 1
    if (this.#bodies <= untellingBodies) return
    this.#linkRate = average(this.#linkRate, bytes / Math.max(milliseconds, 0.1))
  }

  /** The body packed, or undefined if it is to be sent as it is. */
  async pack(parts: readonly Buffer[]): Promise<Buffer | undefined> {
    if (this.#linkRate === undefined) return undefined
    const bytes = parts.reduce((sum, { length }) => sum + length, 0)
    if (bytes < leastTellingBytes) return undefined
    if (!this.#isWorthwhile) {
      this.#sinceSample += 1
      if (this.#sinceSample < sampleEvery) return undefined
      this.#sinceSample = 0
      await this.#measured(middleOf(parts))
      if (!this.#isWorthwhile) return undefined
    }
    const packed = await this.#measured(Buffer.concat(parts))
    return packed.length < bytes ? packed : undefined
  }

  get #isWorthwhile(): boolean {
    const linkRate = this.#linkRate
    const packRate = this.#packRate
    const ratio = this.#ratio
    return (
      linkRate !== undefined && packRate !== undefined && ratio !== undefined && paysOff({ linkRate, packRate, ratio })
    )
  }

  async #measured(bytes: Buffer): Promise<Buffer> {
    const from = performance.now()
    const packed = await compress(bytes, {
      params: {
        [constants.ZSTD_c_compressionLevel]: 1,
        // The other side allows no larger one.
        [constants.ZSTD_c_windowLog]: 20,
      },
    })
    this.#packRate = average(this.#packRate, bytes.length / Math.max(performance.now() - from, 0.1))
    this.#ratio = average(this.#ratio, packed.length / bytes.length)
    return packed
  }
}

function middleOf(parts: readonly Buffer[]): Buffer {
  const largest = parts.reduce((one, two) => (two.length > one.length ? two : one))
  const from = Math.max(0, Math.floor((largest.length - sampleBytes) / 2))
  return largest.subarray(from, from + sampleBytes)
}

function average(before: number | undefined, value: number): number {
  return before === undefined ? value : before * (1 - newest) + value * newest
}
