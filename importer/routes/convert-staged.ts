/**
 * The route for disk images that can only be read forward (packed, uploaded, from a server without ranges): decoded into a
 * sparse file in the scratch directory, looked at there, converted by qemu-img, and removed whatever happens.
 */
import { randomUUID } from 'node:crypto'
import { open, rm, truncate } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { CdiError, prefixError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Encoding } from '../formats/decoder.ts'
import type { DiskFormat } from '../formats/detect.ts'
import { inspectImage } from '../image/inspect.ts'
import { haltWriter } from '../image/halt-writer.ts'
import { startNbdServer } from '../image/nbd-server.ts'
import { withStrictEnd } from '../image/strict-end.ts'
import type { Progress } from '../progress.ts'
import type { Digest } from '../sources/checksum.ts'
import type { Source } from '../sources/source.ts'
import { openTarget } from '../target/open-target.ts'
import type { Target } from '../target/target.ts'
import { convertImage } from './convert-image.ts'
import { copyStream } from './copy-stream.ts'

/** Share of the whole that progress gives to staging: downloading mostly takes longer than converting. */
const stagedPercent = 75

export interface ConvertStaged {
  readonly source: Source
  /** Outer encodings, outermost first. */
  readonly encodings: readonly Encoding[]
  /** What is inside of them. */
  readonly format: Exclude<DiskFormat, 'raw'>
  /** An existing directory with room for the decoded image. */
  readonly scratchDirectory: string
  readonly target: Target
  /** Sees every byte of the source (still packed) in order; verified by the caller. */
  readonly digest?: Digest
  readonly directIo?: boolean
  readonly progress: Progress
  /** Told when the image is there as a whole, was found to be right, and its conversion begins. */
  readonly onReceived?: () => void
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Resolves with the size of the disk in bytes; the target is left to be finished. Throws the source's and the decoders'
 * errors, CDI_TARGET_* for scratch and target, CDI_IMAGE_*, CDI_FORMAT_*, CDI_CONVERT_FAILED.
 */
export async function convertStaged({
  source,
  encodings,
  format,
  scratchDirectory,
  target,
  digest,
  directIo = false,
  progress,
  onReceived,
  signal,
  log,
}: ConvertStaged): Promise<number> {
  // A name of its own: scratch may be a directory that others use too.
  const path = join(scratchDirectory, `tmpimage-${randomUUID()}`)
  try {
    progress.enter('stage', undefined, { fromPercent: 0, toPercent: stagedPercent })
    const sizeBytes = await stage({ source, encodings, path, digest, progress, signal, log })
    progress.enter('convert', undefined, { fromPercent: stagedPercent, toPercent: 100 })
    await using image = await open(path)
    const facts = await inspectImage({
      format,
      name: source.name,
      sizeBytes,
      read: (...piece) => readPiece(image, piece),
    })
    // Not the file itself: what its tables send beyond its end would be zeros.
    const strict = withStrictEnd({
      sizeBytes,
      facts,
      name: source.name,
      read: async (...piece) => ({ pieces: [await readPiece(image, piece)] }),
    })
    await using server = await startNbdServer(strict)
    using halt = haltWriter({ written: (bytes) => target.written(bytes) })
    try {
      await convertImage({
        location: { socketPath: server.socketPath },
        facts,
        name: source.name,
        target,
        directIo,
        onProgress: progress.percent,
        onStart: (pid) => {
          onReceived?.()
          halt.watch(pid)
        },
        signal,
        log,
      })
    } catch (error) {
      signal.throwIfAborted()
      // qemu-img knows of an I/O error only; what happened is known on this side.
      throw halt.failure ?? server.failure ?? error
    }
    log.info({ stagedBytes: sizeBytes, virtualSizeBytes: facts.virtualSizeBytes }, 'image converted')
    return facts.virtualSizeBytes
  } finally {
    await rm(path, { force: true })
  }
}

/** Resolves with the length of the decoded image. It needs no fsync: after a crash it is staged anew. */
async function stage({
  source,
  encodings,
  path,
  digest,
  progress,
  signal,
  log,
}: Pick<ConvertStaged, 'source' | 'encodings' | 'progress' | 'signal' | 'log'> & {
  path: string
  digest: Digest | undefined
}): Promise<number> {
  try {
    await using scratch = await openTarget({ path, preallocate: false, log })
    const sizeBytes = await copyStream({
      source,
      encodings,
      target: scratch,
      maxBytes: scratch.capacityBytes,
      onBytes: progress.bytes,
      signal,
      log,
      ...(digest ? { digest } : {}),
    })
    // What the storage does not take is not reported when it is read back.
    await scratch.sync([], signal)
    // Zeros at the end were left out.
    await truncate(path, sizeBytes)
    return sizeBytes
  } catch (error) {
    signal.throwIfAborted()
    throw prefixError('Unable to transfer source data to scratch space', scratchFault(error))
  }
}

/** What does not fit here is the packed image's content, which says nothing about the disk and the volume. */
function scratchFault(error: unknown): unknown {
  if (!(error instanceof CdiError) || error.code !== 'CDI_IMAGE_TOO_LARGE') return error
  return new CdiError(
    'CDI_TARGET_FULL',
    'unable to write to file: no space left on device (the scratch space is full)',
    {
      cause: error,
      details: error.details,
    },
  )
}

async function readPiece(image: FileHandle, [offset, length]: [number, number]): Promise<Buffer> {
  const bytes = Buffer.alloc(length)
  const { bytesRead } = await image.read(bytes, 0, length, offset)
  return bytes.subarray(0, bytesRead)
}
