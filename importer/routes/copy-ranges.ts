/**
 * The route for a raw disk that can be read by ranges: several streams at once, each writing where its bytes belong.
 * Parts are long, and who has nothing left to do takes over half of the part that has most left, so that one slow
 * connection does not hold up the disk.
 */
import type { Log } from '../../src/log.ts'
import type { Digest } from '../sources/checksum.ts'
import { streamInOrder } from '../sources/read-ahead.ts'
import type { RangedSource } from '../sources/source.ts'
import { Gather } from '../target/gather.ts'
import type { Target } from '../target/target.ts'
import { inConcert } from './in-concert.ts'
import { PartQueue } from './parts.ts'
import type { Stretch } from './parts.ts'
import { streamPart } from './stream-part.ts'

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
  const queue = new PartQueue({ workers: source.parallel })
  queue.add([rawStretch(diskSizeBytes)])
  const { signal: either, run } = inConcert(signal)
  const work = async (): Promise<void> => {
    const gather = new Gather({ target, offset: 0, slabs: 2 })
    const sink = (chunk: Buffer): void | Promise<void> => {
      onBytes(chunk.length)
      return gather.push(chunk)
    }
    for (;;) {
      const part = queue.next() ?? queue.takeOver()
      if (part === undefined) break
      gather.seek(part.position)
      await streamPart({ source, part, sink, signal: either })
      queue.done(part)
    }
    await gather.end()
  }
  await run(Array.from({ length: source.parallel }, () => work))
}

/** Cut at multiples of 64 KiB, so that no two workers write to the same block. */
const edgeBytes = 64 * 1024

function rawStretch(sizeBytes: number): Stretch {
  return {
    offset: 0,
    end: sizeBytes,
    cut: (at) => Math.min(sizeBytes, Math.ceil(at / edgeBytes) * edgeBytes),
    readEnd: (end) => end,
  }
}
