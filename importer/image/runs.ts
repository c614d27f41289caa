/** Groups extents into pieces of the source that are worth one request. Pure. */
import type { Coding, Extent } from './extents.ts'

/** A piece of the source with the extents in it, in order and not overlapping if they are stored. */
export interface Run {
  readonly coding: Coding
  readonly offset: number
  readonly length: number
  readonly extents: readonly Extent[]
}

export interface GroupRuns {
  readonly extents: readonly Extent[]
  /** Packed extents make runs that are longer by the last one's bound. */
  readonly maxBytes: number
  /** Extents that are this near to each other are read together. */
  readonly gapBytes: number
}

/** In the order of the source; stored extents that are longer than a run are split. */
export function* groupRuns({ extents, maxBytes, gapBytes }: GroupRuns): Generator<Run> {
  for (const coding of ['stored', 'deflate', 'grain'] as const) {
    let members: Extent[] = []
    let start = 0
    let end = 0
    const run = (): Run => ({ coding, offset: start, length: end - start, extents: members })
    const sorted = extents.filter((extent) => extent.coding === coding).sort(bySource)
    for (const extent of sorted) {
      for (const piece of coding === 'stored' ? split(extent, maxBytes) : [extent]) {
        const pieceEnd = piece.sourceOffset + piece.sourceBytes
        const fits =
          piece.sourceOffset - end <= gapBytes &&
          (coding === 'stored'
            ? piece.sourceOffset >= end && pieceEnd - start <= maxBytes
            : piece.sourceOffset - start <= maxBytes)
        if (members.length > 0 && !fits) {
          yield run()
          members = []
        }
        if (members.length === 0) {
          start = piece.sourceOffset
          end = start
        }
        members.push(piece)
        end = Math.max(end, pieceEnd)
      }
    }
    if (members.length > 0) yield run()
  }
}

function bySource(one: Extent, other: Extent): number {
  return one.sourceOffset - other.sourceOffset
}

function* split(extent: Extent, maxBytes: number): Generator<Extent> {
  for (let done = 0; done < extent.sourceBytes; done += maxBytes) {
    const length = Math.min(maxBytes, extent.sourceBytes - done)
    yield {
      ...extent,
      diskOffset: extent.diskOffset + done,
      diskBytes: length,
      sourceOffset: extent.sourceOffset + done,
      sourceBytes: length,
    }
  }
}
