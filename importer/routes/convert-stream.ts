/**
 * The route for disk images that pass once and are converted meanwhile: inside of encodings, or from a source without
 * ranges. Tables say where each piece of the disk comes, and it is written when it does; no scratch space is needed
 * unless the image is laid out at random (docs/design/0006-one-pass-conversion.md).
 */
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Encoding } from '../formats/decoder.ts'
import { decodeThrough } from '../formats/decoders.ts'
import type { ImageFacts } from '../image/facts.ts'
import { DiskWriter } from '../image/forward/disk-writer.ts'
import { ForwardEngine } from '../image/forward/engine.ts'
import type { ForwardLimits } from '../image/forward/engine.ts'
import { forwardReader } from '../image/forward/readers.ts'
import { assertFits } from '../image/inspect.ts'
import type { Digest } from '../sources/checksum.ts'
import type { Sink, Source } from '../sources/source.ts'
import type { Target } from '../target/target.ts'
import { streamAll } from './copy-stream.ts'

export interface ConvertStream {
  readonly source: Source
  /** Around the image, outermost first. */
  readonly encodings: readonly Encoding[]
  /** With the layout of an image that is taken in one pass. */
  readonly facts: ImageFacts
  readonly target: Target
  /** An existing directory for what comes too early, if there is one. */
  readonly scratchDirectory?: string
  /** Sees every byte of the source once, in order, before any decoding; the caller verifies it afterwards. */
  readonly digest?: Pick<Digest, 'update'>
  /** Hears of every byte as it is taken from the source. */
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal
  readonly log: Log
  readonly limits?: ForwardLimits
}

/**
 * Converts the source into the target, which is left to be finished. Throws the source's errors, CDI_DECODE_*,
 * CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, CDI_IMAGE_TOO_LARGE, CDI_SCRATCH_REQUIRED, CDI_TARGET_* of target and scratch,
 * or the signal's reason.
 */
export async function convertStream({
  source,
  encodings,
  facts,
  target,
  scratchDirectory,
  digest,
  onBytes,
  signal,
  log,
  limits,
}: ConvertStream): Promise<void> {
  const { virtualSizeBytes, onePass, clusterBytes = 1 } = facts
  if (onePass === undefined || typeof onePass === 'string') {
    throw new CdiError('CDI_INTERNAL', 'the plan promised an image for one pass that the survey did not find')
  }
  assertFits({ virtualSizeBytes, availableBytes: target.capacityBytes })
  for (const note of facts.notes) log.warn({ image: source.name, note }, 'peculiarity of the image')
  await target.begin(virtualSizeBytes, signal, 'ours')
  const disk = new DiskWriter({ target, unitBytes: clusterBytes, name: source.name, signal })
  await using engine = new ForwardEngine({
    reader: forwardReader({ layout: onePass, facts, name: source.name }),
    facts,
    name: source.name,
    disk,
    scratchDirectory,
    signal,
    ...(limits === undefined ? {} : { limits }),
  })
  const image: Sink = (chunk) => engine.take(chunk)
  await using decoding = decodeThrough(encodings, image, signal)
  const take: Sink = encodings.length === 0 ? image : (chunk) => decoding.write(chunk)
  const sink: Sink = (chunk) => {
    digest?.update(chunk)
    return take(chunk)
  }
  await streamAll({ source, sink, onBytes, signal })
  await decoding.end()
  await engine.end()
  await disk.settle()
  log.info({ virtualSizeBytes, ...engine.stats }, 'image converted')
}
