/** Reads the tables of an image ahead of the streams that copy from it, a batch at a time, and shares what they name. */
import { CdiError } from '../../src/errors.ts'
import { ImageMap, readExtents } from '../image/extents.ts'
import type { Extent } from '../image/extents.ts'
import type { ImageFacts } from '../image/facts.ts'
import { groupRuns } from '../image/runs.ts'
import type { Run } from '../image/runs.ts'
import { readRange } from '../sources/source.ts'
import type { RangedSource } from '../sources/source.ts'
import { PartQueue } from './parts.ts'
import type { Part } from './parts.ts'

/** Extents that are sorted together and wait in memory. */
const batchExtents = 32 * 1024
/** What lies between two extents is cheaper to read than to ask anew. */
const gapBytes = 256 * 1024

export interface RunQueueOptions {
  readonly source: RangedSource
  /** With tables that we read. */
  readonly facts: ImageFacts
  readonly signal: AbortSignal
}

export class RunQueue {
  readonly stats = { extents: 0, runs: 0 }
  readonly #map: ImageMap
  readonly #tables: AsyncGenerator<void>
  readonly #parts: PartQueue<Run>
  /** The next batch, which is read while the one before is copied. */
  #ahead: Promise<Run[]> | undefined
  #ended = false
  #filling: Promise<void> | undefined

  constructor({ source, facts, signal }: RunQueueOptions) {
    const { tables } = facts
    if (tables === undefined || typeof tables === 'string') {
      throw new CdiError('CDI_INTERNAL', 'the plan promised tables that the survey did not find')
    }
    this.#parts = new PartQueue({ workers: source.parallel })
    this.#map = new ImageMap({
      facts,
      sizeBytes: source.sizeBytes,
      name: source.name,
      read: (offset, length) => readRange(source, { offset, length }, signal),
    })
    this.#tables = readExtents(this.#map, tables)
  }

  /** Gets the next batch ready; all who wait for it wait for the same one. When it failed it fails for ever. */
  fill(): Promise<void> {
    this.#filling ??= this.#share()
    return this.#filling
  }

  /** What to work at next, undefined if nothing is left. Throws CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, the source's errors. */
  async next(): Promise<Part<Run> | undefined> {
    for (;;) {
      const part = this.#parts.next()
      if (part !== undefined) return part
      const isLast = this.#ended && this.#ahead === undefined && this.#filling === undefined
      if (isLast) return this.#parts.takeOver()
      await this.fill()
    }
  }

  /** To be called when a part was worked through. */
  done(part: Part<Run>): void {
    this.#parts.done(part)
  }

  async #share(): Promise<void> {
    const runs = await (this.#ahead ?? this.#readBatch())
    this.#parts.add(runs)
    this.stats.runs += runs.length
    this.#ahead = this.#ended ? undefined : this.#readBatch()
    // Looked at when its turn comes; until then a failure is no news for anybody.
    this.#ahead?.catch(() => {})
    this.#filling = undefined
  }

  async #readBatch(): Promise<Run[]> {
    const extents: Extent[] = []
    while (!this.#ended && extents.length < batchExtents) {
      const { done } = await this.#tables.next()
      for (const extent of this.#map.take()) extents.push(extent)
      this.#ended = done === true
    }
    this.stats.extents += extents.length
    return [...groupRuns({ extents, gapBytes })]
  }
}
