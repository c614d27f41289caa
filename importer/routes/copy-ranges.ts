/**
 * The route for a raw disk that can be read by ranges: several streams at once, each writing where its bytes belong.
 * Parts become smaller towards the end, and who has nothing left to do takes over half of the part that has most left,
 * so that one slow connection does not hold up the disk.
 */
import type { Log } from '../../src/log.ts'
import type { Digest } from '../sources/checksum.ts'
import { streamInOrder } from '../sources/read-ahead.ts'
import type { RangedSource } from '../sources/source.ts'
import { Gather } from '../target/gather.ts'
import type { Target } from '../target/target.ts'
import { PartQueue } from './parts.ts'
import type { Part } from './parts.ts'

export interface CopyRanges {
  readonly source: RangedSource
  readonly target: Target
  /** Bytes of the source that are the disk, from its beginning; the rest is a footer. */
  readonly diskSizeBytes: number
  /** Sees every byte of the source once, in order, the footer too; the caller verifies it afterwards. */
  readonly digest?: Pick<Digest, 'update'>
  /** Hears of every byte as it is taken from the source. */
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Copies the disk into the target, which is left to be finished. Throws the source's errors, CDI_TARGET_*,
 * CDI_IMAGE_TOO_LARGE, or the signal's reason.
 */
export async function copyRanges(options: CopyRanges): Promise<void> {
  const { source, target, diskSizeBytes, digest, signal, log } = options
  await target.begin(diskSizeBytes, signal, 'ours')
  if (digest !== undefined) await copyInOrder(options, digest)
  else await copyParts(options)
  log.debug({ diskSizeBytes, source: source.name }, 'disk copied')
}

/** A digest wants the bytes in order: the streams read ahead of a cursor. */
async function copyInOrder(
  { source, target, diskSizeBytes, onBytes, signal }: CopyRanges,
  digest: Pick<Digest, 'update'>,
): Promise<void> {
  const gather = new Gather({ target, offset: 0, slabs: 4 })
  const sink = (chunk: Buffer): void | Promise<void> => {
    digest.update(chunk)
    const left = diskSizeBytes - gather.position
    if (left > 0) return gather.push(left >= chunk.length ? chunk : chunk.subarray(0, left))
    return undefined
  }
  await streamInOrder({ source, sink, onBytes, signal })
  await gather.end()
}

async function copyParts({ source, target, diskSizeBytes, onBytes, signal }: CopyRanges): Promise<void> {
  const queue = new PartQueue({ sizeBytes: diskSizeBytes, workers: source.parallel })
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const work = async (): Promise<void> => {
    try {
      const gather = new Gather({ target, offset: 0, slabs: 2 })
      for (let part = queue.next(); part !== undefined; part = queue.next()) {
        await copyPart({ source, gather, part, onBytes, signal: either })
        queue.done(part)
      }
      await gather.end()
    } catch (error) {
      // The first one tells what happened, the others only that they were stopped.
      failed.abort(error)
      throw error
    }
  }
  const results = await Promise.allSettled(Array.from({ length: source.parallel }, work))
  signal.throwIfAborted()
  if (failed.signal.aborted) throw failed.signal.reason
  for (const result of results) if (result.status === 'rejected') throw result.reason
}

/** Ends a stream whose rest was taken over by another one. */
class TakenOver extends Error {}

async function stopAfter(pushed: void | Promise<void>): Promise<never> {
  await pushed
  throw new TakenOver()
}

interface CopyPart extends Pick<CopyRanges, 'source' | 'onBytes' | 'signal'> {
  readonly gather: Gather
  readonly part: Part
}

/** What it took may still be on its way to the target when it resolves. */
async function copyPart({ source, gather, part, onBytes, signal }: CopyPart): Promise<void> {
  const { position: offset, end } = part
  gather.seek(offset)
  const sink = (chunk: Buffer): void | Promise<void> => {
    const wanted = Math.min(chunk.length, part.end - part.position)
    part.position += wanted
    onBytes(wanted)
    const pushed = gather.push(wanted === chunk.length ? chunk : chunk.subarray(0, wanted))
    return part.position === part.end && part.end < end ? stopAfter(pushed) : pushed
  }
  try {
    await source.stream({ offset, length: end - offset }, sink, signal)
  } catch (error) {
    if (!(error instanceof TakenOver)) throw error
  }
}
