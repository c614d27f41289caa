/**
 * The route for a disk image by ranges whose tables we read ourselves: they say where each piece of the disk lies, and the
 * data goes straight from the source to the target, several streams at once (run-queue.ts shares them out, parts.ts says
 * how). What is packed is decoded in threads while it arrives (unpacking.ts). Whether qemu-img opens the image is asked
 * while the tables come, and before anything is written; converting is left to it only where we do not read the tables
 * ({@link convertRanges}).
 */
import type { Log } from '../../src/log.ts'
import type { ImageFacts } from '../image/facts.ts'
import { assertFits } from '../image/inspect.ts'
import type { RangedSource } from '../sources/source.ts'
import { Gather } from '../target/gather.ts'
import type { Target } from '../target/target.ts'
import { inConcert } from './in-concert.ts'
import { placeStored } from './place-stored.ts'
import { RunQueue } from './run-queue.ts'
import { streamPart } from './stream-part.ts'
import { Unpacking } from './unpacking.ts'

export interface CopyExtents {
  readonly source: RangedSource
  /** With tables that we read. */
  readonly facts: ImageFacts
  readonly target: Target
  readonly signal: AbortSignal
  readonly log: Log
}

const mebibyte = 1024 * 1024

/**
 * Copies the disk into the target, which is left to be finished. Throws the source's errors, CDI_IMAGE_*,
 * CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, CDI_TARGET_*, or the signal's reason.
 */
export async function copyExtents({ source, facts, target, signal, log }: CopyExtents): Promise<void> {
  const { virtualSizeBytes } = facts
  assertFits({ virtualSizeBytes, availableBytes: target.capacityBytes })
  const { signal: either, run } = inConcert(signal)
  const queue = new RunQueue({ source, facts, signal: either })
  const ask = async (): Promise<void> => {
    // Loaded while the tables come.
    const { askQemu } = await import('./ask-qemu.ts')
    await askQemu({ source, facts, signal: either })
  }
  // No stream begins before: held back, it would keep a connection that qemu-img's reads need where a server allows few.
  await run([() => queue.fill(), ask])
  for (const note of facts.notes) log.warn({ image: source.name, note }, 'peculiarity of the image')
  await target.begin(virtualSizeBytes, signal, 'ours')

  const work = async (): Promise<void> => {
    const gather = new Gather({ target, offset: 0, slabs: 2 })
    await using unpacking = new Unpacking({ gather, unitBytes: facts.clusterBytes ?? mebibyte, name: source.name })
    for (let part = await queue.next(); part !== undefined; part = await queue.next()) {
      const isPacked = part.of.holdsPacked(part)
      if (!isPacked) await unpacking.settle()
      const sink = isPacked ? unpacking.sinkFor(part) : placeStored(part, gather)
      await streamPart({ source, part, sink, signal: either })
      queue.done(part)
    }
    await unpacking.settle()
    await gather.end()
  }

  await run(Array.from({ length: source.parallel }, () => work))
  log.info({ virtualSizeBytes, ...queue.stats }, 'image copied')
}
