/**
 * The route for a disk image that can be read by ranges: qemu-img reads just what it needs through an NBD server in this
 * process, behind which a cache fetches blocks in parallel and ahead of time. No scratch space, one pass over the network.
 */
import type { Log } from '../../src/log.ts'
import type { DiskFormat } from '../formats/detect.ts'
import { BlockCache } from '../image/block-cache.ts'
import type { ImageFacts } from '../image/facts.ts'
import { startNbdServer } from '../image/nbd-server.ts'
import { paceWriter } from '../image/pace-writer.ts'
import type { Digest } from '../sources/checksum.ts'
import type { RangedSource } from '../sources/source.ts'
import { withStrictEnd } from '../image/strict-end.ts'
import type { Target } from '../target/target.ts'
import { convertImage } from './convert-image.ts'

export interface ConvertRanges {
  readonly source: RangedSource
  readonly format: DiskFormat
  readonly facts: ImageFacts
  readonly target: Target
  /** Sees every byte of the source once, in order; the caller verifies it afterwards. */
  readonly digest?: Pick<Digest, 'update'>
  /** Open the target with O_DIRECT, if it can. */
  readonly directIo?: boolean
  /** Percentage of the conversion. */
  readonly onProgress: (percent: number) => void
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Converts the source into the target, which is left to be finished. Throws the source's own error when that was the
 * cause, however qemu-img put it; else CDI_IMAGE_*, CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, CDI_TARGET_*.
 */
export async function convertRanges({
  source,
  facts,
  target,
  digest,
  directIo = false,
  onProgress,
  signal,
  log,
}: ConvertRanges): Promise<void> {
  let pid: number | undefined
  const pace = paceWriter({ pid: () => pid, written: (bytes) => target.written(bytes) })
  await using cache = new BlockCache({ source, signal, ...(digest ? { digest } : {}) })
  const image = withStrictEnd({
    sizeBytes: source.sizeBytes,
    facts,
    name: source.name,
    read: (...piece) => cache.read(...piece),
  })
  await using server = await startNbdServer({
    sizeBytes: image.sizeBytes,
    async read(offset, length) {
      // Holding answers back is what keeps qemu-img from writing faster than the storage takes it.
      await pace.settle(length)
      return image.read(offset, length)
    },
  })
  try {
    await convertImage({
      location: { socketPath: server.socketPath },
      facts,
      name: source.name,
      target,
      directIo,
      onProgress,
      onStart: (id) => {
        pid = id
      },
      signal,
      log,
    })
    pid = undefined
    await cache.finishDigest()
  } catch (error) {
    signal.throwIfAborted()
    // qemu-img knows of an I/O error only; what happened is known on this side.
    throw cache.failure ?? server.failure ?? error
  }
  log.info({ servedBytes: server.servedBytes, ...cache.stats }, 'image converted')
}
