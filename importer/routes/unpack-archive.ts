/**
 * The route for content type archive: source → decoders → tar reader → directory, in one pass and without scratch space.
 * Everything is durable when it resolves; when it fails, the directory is empty but for `lost+found`.
 */
import { chmod, lstat, open, readdir, rmdir, unlink } from 'node:fs/promises'
import { CdiError, prefixError, toCdiError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Encoding } from '../formats/decoder.ts'
import { decodeThrough } from '../formats/decoders.ts'
import { TarExtractor } from '../formats/tar-extractor.ts'
import type { ExtractLimits } from '../formats/tar-extractor.ts'
import { TarReader } from '../formats/tar.ts'
import type { Sink, Source } from '../sources/source.ts'

export interface UnpackArchiveOptions {
  readonly source: Source
  /** Encodings around the tar, outermost first. */
  readonly encodings: readonly Encoding[]
  /** Root of the volume. Must exist. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly log: Log
  /** Is fed with the bytes of the source as they come, before decoding. Whoever gave it verifies it. */
  readonly digest?: { update(chunk: Buffer): void }
  /** Told how many more bytes of the source were taken. */
  readonly onBytes?: (count: number) => void
  readonly limits?: ExtractLimits
  /**
   * Refuse (CDI_TARGET_INVALID) a directory that holds anything but `lost+found`. For the command line: a failure
   * removes all that is in the directory, and there it may be somebody's. A worker's volume may hold what an attempt
   * that was killed has left; entries of the same name are then replaced.
   */
  readonly requireEmpty?: boolean
}

/** Faults that belong to the archive or to writing it; those of the source stand for themselves. */
const untarFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_ARCHIVE_INVALID',
  'CDI_ARCHIVE_UNSAFE',
  'CDI_DECODE_CORRUPT',
  'CDI_DECODE_TRUNCATED',
  'CDI_DECODE_WINDOW',
  'CDI_TARGET_FULL',
  'CDI_TARGET_IO',
])

const kept = 'lost+found'

/**
 * Unpacks a tar archive into a directory. Throws CDI_ARCHIVE_INVALID, CDI_ARCHIVE_UNSAFE, CDI_DECODE_*,
 * CDI_TARGET_FULL, CDI_TARGET_IO, CDI_TARGET_INVALID and the faults of the source.
 */
export async function unpackArchive(options: UnpackArchiveOptions): Promise<void> {
  const { directory, log, requireEmpty = false } = options
  await assertUsable(directory, requireEmpty)
  try {
    // What an attempt left that was killed is no part of the archive, which may be another one now.
    if (!requireEmpty)
      await discardDirectory(directory).catch((err: unknown) => log.warn({ err }, 'not all was removed'))
    await unpack(options)
    await makeDurable(options)
  } catch (thrown) {
    const error = toCdiError(thrown)
    try {
      await discardDirectory(directory)
    } catch (cleanUpError) {
      log.error({ err: cleanUpError, directory }, 'what was unpacked could not be removed')
    }
    throw untarFaults.has(error.code) ? prefixError('unable to untar files from endpoint', error) : error
  }
}

/**
 * Removes everything in a directory except `lost+found`, and not the directory itself. Throws CDI_TARGET_IO if something
 * cannot be removed, after having tried all of it.
 */
export async function discardDirectory(directory: string): Promise<void> {
  const errors: unknown[] = []
  for (const name of await readdir(directory, { encoding: 'buffer' })) {
    if (name.toString('latin1') === kept) continue
    await removeTree(childOf(Buffer.from(directory), name)).catch((error: unknown) => errors.push(error))
  }
  if (errors.length > 0) {
    throw new CdiError('CDI_TARGET_IO', `${directory} could not be emptied: ${(errors[0] as Error).message}`, {
      cause: errors[0],
    })
  }
}

/** Removes a file, a link (never what it points to), or a directory with all that is in it, whatever modes it has. */
async function removeTree(at: Buffer): Promise<void> {
  const facts = await lstat(at)
  if (!facts.isDirectory()) {
    await unlink(at)
    return
  }
  if ((facts.mode & 0o700) !== 0o700) await chmod(at, 0o700)
  for (const name of await readdir(at, { encoding: 'buffer' })) await removeTree(childOf(at, name))
  await rmdir(at)
}

function childOf(directory: Buffer, name: Buffer): Buffer {
  return Buffer.concat([directory, Buffer.from('/'), name])
}

async function assertUsable(directory: string, requireEmpty: boolean): Promise<void> {
  let names: string[]
  try {
    const facts = await lstat(directory)
    if (!facts.isDirectory())
      throw new CdiError('CDI_TARGET_INVALID', `an archive needs a directory, ${directory} is none`)
    names = await readdir(directory)
  } catch (error) {
    if (error instanceof CdiError) throw error
    throw new CdiError('CDI_TARGET_INVALID', `the directory ${directory} cannot be used: ${(error as Error).message}`, {
      cause: error,
    })
  }
  if (requireEmpty && names.some((name) => name !== kept)) {
    throw new CdiError('CDI_TARGET_INVALID', `the directory ${directory} is not empty`)
  }
}

async function unpack({
  source,
  encodings,
  directory,
  signal,
  log,
  digest,
  onBytes,
  limits,
}: UnpackArchiveOptions): Promise<void> {
  const extractor = new TarExtractor({ directory, log, ...(limits ? { limits } : {}) })
  try {
    const tar = new TarReader(extractor)
    await using decoding = decodeThrough(encodings, (chunk) => tar.write(chunk), signal)
    await streamAll(
      source,
      (chunk) => {
        digest?.update(chunk)
        onBytes?.(chunk.length)
        return decoding.write(chunk)
      },
      signal,
    )
    await decoding.end()
    tar.end()
    await extractor.finish()
    if (tar.trailingBytes > 0) {
      log.warn({ bytes: tar.trailingBytes }, 'bytes behind the end of the archive were ignored')
    }
    log.info({ entries: extractor.entries, directory }, 'archive unpacked')
  } finally {
    await extractor.close()
  }
}

function streamAll(source: Source, sink: Sink, signal: AbortSignal): Promise<void> {
  return source.kind === 'ranged'
    ? source.stream({ offset: 0, length: source.sizeBytes }, sink, signal)
    : source.stream(sink, signal)
}

/**
 * One syncfs for the volume instead of an fsync for each of its files, which would be a commit of the file system's
 * journal each. Node has no syncfs; coreutils' `sync -f` is one, and reports write errors since Linux 5.8. The extractor
 * has synced large files on its way.
 */
async function makeDurable({ directory, signal, log }: UnpackArchiveOptions): Promise<void> {
  const { execa } = await import('execa')
  const { failed, stderr, code } = await execa('sync', ['--file-system', directory], {
    reject: false,
    cancelSignal: signal,
    maxBuffer: 4096,
  })
  signal.throwIfAborted()
  if (failed) throw new CdiError('CDI_TARGET_IO', `unable to sync ${directory}: ${stderr || code}`)
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
  log.info({ directory }, `Successfully completed fsync(${directory}) syscall`)
}
