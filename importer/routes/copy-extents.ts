/**
 * The route for a disk image by ranges whose tables we read ourselves: they say where each piece of the disk lies, and the
 * data goes straight from the source to the target, several streams at once. What is packed is decoded in threads. Whether
 * qemu-img opens the image is asked before anything is written; converting is left to it only where we do not read the
 * tables ({@link convertRanges}).
 */
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { ImageMap, readExtents } from '../image/extents.ts'
import type { Extent } from '../image/extents.ts'
import type { ImageFacts } from '../image/facts.ts'
import { assertFits } from '../image/inspect.ts'
import { startNbdServer } from '../image/nbd-server.ts'
import { groupRuns } from '../image/runs.ts'
import type { Run } from '../image/runs.ts'
import { withStrictEnd } from '../image/strict-end.ts'
import { unpackExtent } from '../image/unpack.ts'
import { readRange } from '../sources/source.ts'
import type { RangedSource, Sink } from '../sources/source.ts'
import { Gather } from '../target/gather.ts'
import type { Target } from '../target/target.ts'
import { agreeWithQemu } from './convert-image.ts'

export interface CopyExtents {
  readonly source: RangedSource
  /** With tables that we read. */
  readonly facts: ImageFacts
  readonly target: Target
  readonly signal: AbortSignal
  readonly log: Log
}

const mebibyte = 1024 * 1024
/** Extents that are sorted together and wait in memory. */
const batchExtents = 32 * 1024
const largestRunBytes = 8 * mebibyte
const largestPackedRunBytes = mebibyte
const smallestRunBytes = mebibyte
/** What lies between two extents is cheaper to read than to ask anew. */
const gapBytes = 256 * 1024
/** What each stream has in the threads at most: so many clusters, and so many bytes of the disk unless that is one. */
const mostUnpacking = 8
const mostUnpackingBytes = 2 * mebibyte

/**
 * Copies the disk into the target, which is left to be finished. Throws the source's errors, CDI_IMAGE_*,
 * CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, CDI_TARGET_*, or the signal's reason.
 */
export async function copyExtents({ source, facts, target, signal, log }: CopyExtents): Promise<void> {
  const { virtualSizeBytes } = facts
  assertFits({ virtualSizeBytes, availableBytes: target.capacityBytes })
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const all = async (works: readonly (() => Promise<void>)[]): Promise<void> => {
    const results = await Promise.allSettled(
      works.map(async (work) => {
        try {
          await work()
        } catch (error) {
          // The first one tells what happened, the others only that they were stopped.
          failed.abort(error)
          throw error
        }
      }),
    )
    signal.throwIfAborted()
    if (failed.signal.aborted) throw failed.signal.reason
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }
  const queue = new RunQueue({ source, facts, signal: either })
  await all([() => queue.fill(), () => askQemu({ source, facts, signal: either })])
  for (const note of facts.notes) log.warn({ image: source.name, note }, 'peculiarity of the image')
  await target.begin(virtualSizeBytes, signal, 'ours')
  const work = async (): Promise<void> => {
    const gather = new Gather({ target, offset: 0, slabs: 2 })
    // One is filled while what is in the other is decoded.
    const rooms = [new Room(), new Room()] as const
    let fetching: Promise<Buffer> | undefined
    try {
      let turn = 0
      const fetch = (run: Run | undefined): Promise<Buffer> | undefined => {
        if (run === undefined || run.coding === 'stored') return undefined
        turn = 1 - turn
        const bytes = fetchRun({ run, source, room: rooms[turn === 0 ? 0 : 1], signal: either })
        // Looked at when its turn comes; until then a failure is no news for anybody.
        bytes.catch(() => {})
        return bytes
      }
      let run = await queue.next()
      fetching = fetch(run)
      while (run !== undefined) {
        if (fetching === undefined) {
          await source.stream({ offset: run.offset, length: run.length }, placeStored(run, gather), either)
          run = await queue.next()
          fetching = fetch(run)
          continue
        }
        const whole = await fetching
        const next = await queue.next()
        fetching = fetch(next)
        await placePacked({ run, whole, source, facts, gather, signal: either })
        run = next
      }
    } catch (error) {
      failed.abort(error)
      await fetching?.catch(() => {})
      throw error
    }
    await gather.end()
  }
  await all(Array.from({ length: source.parallel }, () => work))
  log.info({ virtualSizeBytes, ...queue.stats }, 'image copied')
}

/** Lets qemu-img read the headers: what it does not open is refused, whatever our own readers think of it. */
async function askQemu({ source, facts, signal }: Pick<CopyExtents, 'source' | 'facts' | 'signal'>): Promise<void> {
  const image = withStrictEnd({
    sizeBytes: source.sizeBytes,
    // The end is where it is: tables that lead beyond it are refused by our own readers.
    facts: { ...facts, layout: 'streamed' },
    name: source.name,
    read: async (offset, length) => ({ pieces: [await readRange(source, { offset, length }, signal)] }),
  })
  await using server = await startNbdServer(image)
  try {
    await agreeWithQemu({ location: { socketPath: server.socketPath }, facts, name: source.name, signal })
  } catch (error) {
    signal.throwIfAborted()
    throw server.failure ?? error
  }
}

/** Reads the tables ahead of the streams, a batch at a time. */
class RunQueue {
  readonly stats = { extents: 0, runs: 0, readBytes: 0 }
  readonly #map: ImageMap
  readonly #tables: AsyncGenerator<void>
  readonly #workers: number
  #runs: readonly Run[] = []
  #next = 0
  #ended = false
  #filling: Promise<void> | undefined

  constructor({ source, facts, signal }: Pick<CopyExtents, 'source' | 'facts' | 'signal'>) {
    const { tables } = facts
    if (tables === undefined || typeof tables === 'string') {
      throw new CdiError('CDI_INTERNAL', 'the plan promised tables that the survey did not find')
    }
    this.#workers = source.parallel
    this.#map = new ImageMap({
      facts,
      sizeBytes: source.sizeBytes,
      name: source.name,
      read: (offset, length) => readRange(source, { offset, length }, signal),
    })
    this.#tables = readExtents(this.#map, tables)
  }

  async next(): Promise<Run | undefined> {
    for (;;) {
      const run = this.#runs[this.#next]
      if (run !== undefined) {
        this.#next += 1
        return run
      }
      if (this.#ended) return undefined
      await this.fill()
    }
  }

  /** Makes the next batch of runs; all who wait for it wait for the same one. */
  fill(): Promise<void> {
    this.#filling ??= this.#readBatch().finally(() => {
      this.#filling = undefined
    })
    return this.#filling
  }

  async #readBatch(): Promise<void> {
    const extents: Extent[] = []
    while (extents.length < batchExtents) {
      const { done } = await this.#tables.next()
      for (const extent of this.#map.take()) extents.push(extent)
      if (done === true) {
        this.#ended = true
        break
      }
    }
    const bytes = extents.reduce((sum, extent) => sum + extent.sourceBytes, 0)
    const share = Math.ceil(bytes / (4 * this.#workers))
    const maxBytes = Math.max(smallestRunBytes, Math.min(largestRunBytes, share))
    const packed = extents.filter(({ coding }) => coding !== 'stored')
    const stored = packed.length === 0 ? extents : extents.filter(({ coding }) => coding === 'stored')
    this.#runs = [
      ...groupRuns({ extents: stored, maxBytes, gapBytes }),
      ...groupRuns({ extents: packed, maxBytes: largestPackedRunBytes, gapBytes }),
    ]
    this.#next = 0
    this.stats.extents += extents.length
    this.stats.runs += this.#runs.length
    for (const { length } of this.#runs) this.stats.readBytes += length
  }
}

/** Hands each extent's bytes to its place on the disk and drops what lies between. */
function placeStored({ offset, extents }: Run, gather: Gather): Sink {
  let position = offset
  let index = 0
  const place = (chunk: Buffer): void | Promise<void> => {
    let rest = chunk
    while (rest.length > 0) {
      const extent = extents[index]
      if (extent === undefined) return undefined
      const done = position - extent.sourceOffset
      if (done < 0) {
        const dropped = Math.min(rest.length, -done)
        position += dropped
        rest = rest.subarray(dropped)
        continue
      }
      const length = Math.min(rest.length, extent.sourceBytes - done)
      seek(gather, extent.diskOffset + done)
      position += length
      if (done + length === extent.sourceBytes) index += 1
      const pushed = gather.push(length === rest.length ? rest : rest.subarray(0, length))
      const later = rest.subarray(length)
      if (pushed !== undefined) return later.length === 0 ? pushed : pushed.then(() => place(later))
      rest = later
    }
    return undefined
  }
  return place
}

function seek(gather: Gather, diskOffset: number): void {
  if (gather.position !== diskOffset) gather.seek(diskOffset)
}

/** One stream's buffer for what is packed, made when it is needed. */
class Room {
  #bytes: Buffer = Buffer.alloc(0)

  of(length: number): Buffer {
    if (this.#bytes.length < length) this.#bytes = Buffer.allocUnsafeSlow(length)
    return this.#bytes
  }
}

async function fetchRun({
  run,
  source,
  room,
  signal,
}: Pick<CopyExtents, 'source' | 'signal'> & { run: Run; room: Room }): Promise<Buffer> {
  const whole = room.of(run.length)
  let filled = 0
  await source.stream(
    { offset: run.offset, length: run.length },
    (chunk) => {
      chunk.copy(whole, filled)
      filled += chunk.length
    },
    signal,
  )
  return whole
}

interface PlacePacked extends Pick<CopyExtents, 'source' | 'facts' | 'signal'> {
  readonly run: Run
  /** What the run's piece of the source holds. */
  readonly whole: Buffer
  readonly gather: Gather
}

async function placePacked({ run, whole, source, facts, gather, signal }: PlacePacked): Promise<void> {
  const { offset, extents } = run
  const unitBytes = facts.clusterBytes ?? mebibyte
  const unpackAhead = Math.max(1, Math.min(mostUnpacking, mostUnpackingBytes / unitBytes))
  const ahead: Promise<Buffer>[] = []
  const start = (extent: Extent): void => {
    const from = extent.sourceOffset - offset
    const decoding = unpackExtent({
      extent,
      bytes: whole.subarray(from, from + extent.sourceBytes),
      unitBytes,
      name: source.name,
    })
    // Looked at when its turn comes; until then a failure is no news for anybody.
    decoding.catch(() => {})
    ahead.push(decoding)
  }
  for (const extent of extents.slice(0, unpackAhead)) start(extent)
  for (const [index, extent] of extents.entries()) {
    const bytes = await (ahead.shift() as Promise<Buffer>)
    const next = extents[index + unpackAhead]
    if (next !== undefined) start(next)
    signal.throwIfAborted()
    seek(gather, extent.diskOffset)
    await gather.push(bytes)
  }
}
