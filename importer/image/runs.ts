/** Groups extents into stretches of the source that are worth one request each, or several. Pure. */
import type { Extent } from './extents.ts'

/** Stored extents are cut at multiples of this from their beginning, so that no two workers write to the same block. */
const edgeBytes = 64 * 1024

/**
 * A piece of the source with the extents in it. They begin and end in the order of the source; only the bounds of what is
 * packed may reach into what follows, if that is packed too.
 */
export class Run {
  readonly extents: readonly Extent[]
  readonly offset: number
  readonly end: number

  constructor(extents: readonly [Extent, ...Extent[]]) {
    this.extents = extents
    this.offset = extents[0].sourceOffset
    this.end = endOf(extents.at(-1) as Extent)
  }

  /** Index of the first extent of a piece that begins at `position`, a place to cut at. */
  indexAt(position: number): number {
    let index = this.#firstBehind(position)
    while (this.#reachesOver(index, position)) index += 1
    return index
  }

  /**
   * The first place at or behind `at` where the run may be cut: between two extents, or inside of a stored one. A packed
   * extent belongs to the piece in which it begins.
   */
  cut(at: number): number {
    const extent = this.extents[this.indexAt(at)]
    if (extent === undefined) return this.end
    if (extent.sourceOffset >= at) return extent.sourceOffset
    const edge = extent.sourceOffset + Math.ceil((at - extent.sourceOffset) / edgeBytes) * edgeBytes
    return edge < endOf(extent) ? edge : this.cut(endOf(extent))
  }

  /** How far has to be read for what begins before `end`, a place to cut at. */
  readEnd(end: number): number {
    const index = this.indexAt(end)
    const next = this.extents[index]
    // It is cut in two.
    if (next !== undefined && next.sourceOffset < end) return end
    const last = this.extents[index - 1]
    return last === undefined ? end : endOf(last)
  }

  /** True if something packed begins in the piece. */
  holdsPacked({ position, end }: { readonly position: number; readonly end: number }): boolean {
    for (let index = this.indexAt(position); ; index += 1) {
      const extent = this.extents[index]
      if (extent === undefined || extent.sourceOffset >= end) return false
      if (extent.coding !== 'stored') return true
    }
  }

  /** Index of the first extent that ends behind `at`; the ends are in order. */
  #firstBehind(at: number): number {
    let low = 0
    let high = this.extents.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (endOf(this.extents[middle] as Extent) <= at) low = middle + 1
      else high = middle
    }
    return low
  }

  /** True for something packed that begins before `at`. */
  #reachesOver(index: number, at: number): boolean {
    const extent = this.extents[index]
    return extent !== undefined && extent.coding !== 'stored' && extent.sourceOffset < at
  }
}

export interface GroupRuns {
  readonly extents: readonly Extent[]
  /** Extents that are this near to each other are read together. */
  readonly gapBytes: number
}

/** In the order of the source. */
export function* groupRuns({ extents, gapBytes }: GroupRuns): Generator<Run> {
  let members: [Extent, ...Extent[]] | undefined
  for (const extent of extents.toSorted(bySource)) {
    if (members !== undefined && follows(members.at(-1) as Extent, extent, gapBytes)) {
      members.push(extent)
      continue
    }
    if (members !== undefined) yield new Run(members)
    members = [extent]
  }
  if (members !== undefined) yield new Run(members)
}

/** True if `next` may stand behind `last` in one run. */
function follows(last: Extent, next: Extent, gapBytes: number): boolean {
  const end = endOf(last)
  if (next.sourceOffset - end > gapBytes || endOf(next) < end) return false
  return next.sourceOffset >= end || (last.coding !== 'stored' && next.coding !== 'stored')
}

function endOf({ sourceOffset, sourceBytes }: Extent): number {
  return sourceOffset + sourceBytes
}

function bySource(one: Extent, other: Extent): number {
  return one.sourceOffset - other.sourceOffset || one.sourceBytes - other.sourceBytes
}
