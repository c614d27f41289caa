/**
 * How large the data inside an encoding says it is, before it is transferred: a disk that is too large for the volume is
 * then refused by a few KiB instead of after hours. It is a claim and no more. Who decodes holds the data to its own
 * limits, and what cannot be told here is nobody's fault.
 */
import type { RangedSource, Source } from '../sources/source.ts'
import type { Encoding } from './decoder.ts'
import { zstdContentBytes } from './zstd-frames.ts'

/** A courtesy, that must not cost minutes where the end of a file is hard to get. */
const longestWaitMs = 10_000

export interface PlainSize {
  readonly source: Source
  /** Around the data, outermost first. */
  readonly encodings: readonly Encoding[]
  /** The first bytes of the source. */
  readonly head: Buffer
}

/**
 * Resolves with the bytes that the data has at least when it is unpacked; undefined where nothing tells: gzip counts only
 * to 4 GiB, nested encodings tell of each other, and the end of a source is looked at only by ranges of one version.
 * Throws the reason of `signal` and nothing else.
 */
export async function plainSize(
  { source, encodings, head }: PlainSize,
  signal: AbortSignal,
): Promise<number | undefined> {
  const [encoding, nested] = encodings
  if (nested !== undefined) return undefined
  if (encoding === 'zstd') return zstdContentBytes(head)
  if (encoding === 'xz' && source.kind === 'ranged' && source.pinned) return xzSize(source, signal)
  return undefined
}

async function xzSize(source: RangedSource, signal: AbortSignal): Promise<number | undefined> {
  try {
    // Its library takes 7 ms, which only files of this kind need.
    const { readXzIndex } = await import('./xz-index.ts')
    const either = AbortSignal.any([signal, AbortSignal.timeout(longestWaitMs)])
    return (await readXzIndex(source, either)).uncompressedSizeBytes
  } catch {
    // Whatever is wrong with the end of the file, the decoder finds it and says so better.
    signal.throwIfAborted()
    return undefined
  }
}
