/** A set of bytes as half-open ranges, in order and not touching: what of a disk has arrived. Pure book-keeping. */
import type { Extent } from '../target/coverage.ts'

/** A part of a range that lies in a set as a whole, or outside as a whole. */
export interface Share extends Extent {
  readonly isInside: boolean
}

export class RangeSet {
  #ranges: Extent[] = []
  #bytes = 0

  constructor(ranges: Iterable<Extent> = []) {
    for (const { start, end } of ranges) this.add(start, end)
  }

  /** In order, not touching. */
  get ranges(): readonly Extent[] {
    return this.#ranges
  }

  /** How many bytes are in it. */
  get bytes(): number {
    return this.#bytes
  }

  /** End of what is there without a gap from byte 0. */
  get prefixEnd(): number {
    const first = this.#ranges[0]
    return first?.start === 0 ? first.end : 0
  }

  add(start: number, end: number): void {
    if (start >= end) return
    const from = this.#firstEndingAtOrAfter(start)
    let to = from
    let joinedStart = start
    let joinedEnd = end
    for (; to < this.#ranges.length; to += 1) {
      const range = this.#ranges[to] as Extent
      if (range.start > end) break
      joinedStart = Math.min(joinedStart, range.start)
      joinedEnd = Math.max(joinedEnd, range.end)
      this.#bytes -= range.end - range.start
    }
    this.#bytes += joinedEnd - joinedStart
    this.#ranges.splice(from, to - from, { start: joinedStart, end: joinedEnd })
  }

  remove(start: number, end: number): void {
    if (start >= end) return
    const kept = this.#ranges.flatMap((range) => [
      { start: range.start, end: Math.min(range.end, start) },
      { start: Math.max(range.start, end), end: range.end },
    ])
    this.#ranges = kept.filter((range) => range.start < range.end)
    this.#bytes = this.#ranges.reduce((sum, range) => sum + range.end - range.start, 0)
  }

  /** True if all bytes of the range are in the set. */
  covers(start: number, end: number): boolean {
    if (start >= end) return true
    const range = this.#ranges[this.#firstEndingAtOrAfter(start + 1)]
    return range !== undefined && range.start <= start && range.end >= end
  }

  /** The range in order, cut where the set begins and ends. */
  shares(start: number, end: number): Share[] {
    const list: Share[] = []
    let at = start
    for (let index = this.#firstEndingAtOrAfter(start + 1); at < end; index += 1) {
      const range = this.#ranges[index]
      if (range === undefined || range.start >= end) break
      if (range.start > at) list.push({ start: at, end: range.start, isInside: false })
      at = Math.max(at, range.start)
      const stop = Math.min(range.end, end)
      list.push({ start: at, end: stop, isInside: true })
      at = stop
    }
    if (at < end) list.push({ start: at, end, isInside: false })
    return list
  }

  /** What of [0, end) is not there. */
  gaps(end: number): Extent[] {
    return this.shares(0, end)
      .filter(({ isInside }) => !isInside)
      .map((share) => extent(share))
  }

  /** What is there and not in the other set. */
  without(other: RangeSet): Extent[] {
    return this.#ranges.flatMap(({ start, end }) =>
      other
        .shares(start, end)
        .filter(({ isInside }) => !isInside)
        .map((share) => extent(share)),
    )
  }

  /** Index of the first range that ends at `at` or behind. */
  #firstEndingAtOrAfter(at: number): number {
    let low = 0
    let high = this.#ranges.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#ranges[middle] as Extent).end < at) low = middle + 1
      else high = middle
    }
    return low
  }
}

function extent({ start, end }: Extent): Extent {
  return { start, end }
}
