/**
 * Remembers which bytes of a disk were written, exactly and in bounded memory: a bit for each granule that is covered
 * wholly, and extents only for the few granules that are covered in part. Writers that split at granules
 * ({@link Coverage.granuleBytes}) leave partial ones at the edges of single writes only, which the neighbours complete.
 */

/** A half-open piece of a disk, in bytes. */
export interface Extent {
  readonly start: number
  readonly end: number
}

/** The bitmap is never larger than this many bytes, 2 TiB at the smallest granule; larger disks get larger granules. */
const largestMapBytes = 4 * 1024 * 1024
const smallestGranuleBytes = 64 * 1024

export class Coverage {
  readonly granuleBytes: number
  #full = new Uint8Array(1024)
  /** Extents within a granule that is covered in part, in order, not touching each other. */
  readonly #partial = new Map<number, Extent[]>()

  /** For disks of up to `largestBytes`. */
  constructor(largestBytes: number) {
    let granuleBytes = smallestGranuleBytes
    while (largestBytes / granuleBytes / 8 > largestMapBytes) granuleBytes *= 2
    this.granuleBytes = granuleBytes
  }

  /** Marks bytes as written. */
  add(start: number, end: number): void {
    for (let at = start; at < end;) {
      const granule = Math.floor(at / this.granuleBytes)
      const granuleStart = granule * this.granuleBytes
      const granuleEnd = granuleStart + this.granuleBytes
      const stop = Math.min(end, granuleEnd)
      if (!this.#isFull(granule)) {
        if (at === granuleStart && stop === granuleEnd) this.#fill(granule)
        else this.#addPart(granule, { start: at, end: stop })
      }
      at = stop
    }
  }

  /** True if any byte of the range was written. */
  touches(start: number, end: number): boolean {
    for (let at = start; at < end;) {
      const granule = Math.floor(at / this.granuleBytes)
      const stop = Math.min(end, (granule + 1) * this.granuleBytes)
      if (this.#isFull(granule)) return true
      if (this.#partial.get(granule)?.some((part) => part.start < stop && part.end > at)) return true
      at = stop
    }
    return false
  }

  /** What was not written within [start, end), in order, neighbours joined. */
  *gaps(end: number, start = 0): Generator<Extent> {
    let gapStart: number | undefined
    for (let granule = Math.floor(start / this.granuleBytes); granule * this.granuleBytes < end; granule += 1) {
      const granuleStart = Math.max(start, granule * this.granuleBytes)
      const granuleEnd = Math.min(end, (granule + 1) * this.granuleBytes)
      const written = this.#isFull(granule)
        ? [{ start: granuleStart, end: granuleEnd }]
        : (this.#partial.get(granule) ?? [])
      let at = granuleStart
      for (const extent of written) {
        if (extent.end <= at) continue
        if (extent.start >= granuleEnd) break
        gapStart ??= extent.start > at ? at : undefined
        if (gapStart !== undefined) yield { start: gapStart, end: extent.start }
        gapStart = undefined
        at = extent.end
      }
      if (at < granuleEnd) gapStart ??= at
    }
    if (gapStart !== undefined) yield { start: gapStart, end }
  }

  #isFull(granule: number): boolean {
    return ((this.#full[granule >> 3] ?? 0) & (1 << (granule & 7))) !== 0
  }

  #fill(granule: number): void {
    const index = granule >> 3
    if (index >= this.#full.length) {
      const larger = new Uint8Array(Math.max(index + 1, this.#full.length * 2))
      larger.set(this.#full)
      this.#full = larger
    }
    this.#full[index] = (this.#full[index] ?? 0) | (1 << (granule & 7))
    this.#partial.delete(granule)
  }

  #addPart(granule: number, part: Extent): void {
    const others = this.#partial.get(granule) ?? []
    const touching = others.filter(({ start, end }) => start <= part.end && end >= part.start)
    const joined = {
      start: Math.min(part.start, ...touching.map(({ start }) => start)),
      end: Math.max(part.end, ...touching.map(({ end }) => end)),
    }
    if (joined.end - joined.start === this.granuleBytes) {
      this.#fill(granule)
      return
    }
    const apart = others.filter((other) => !touching.includes(other))
    this.#partial.set(
      granule,
      [...apart, joined].sort((one, other) => one.start - other.start),
    )
  }
}
