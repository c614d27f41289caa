/** A disk in a regular file: sparse, since what is not written of a new file is a hole; or allocated as a whole. */
import { constants } from 'node:fs'
import { lstat, open, rm, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { requiredBytes } from '../../src/quantity.ts'
import { DiskTarget } from './disk-target.ts'
import type { OpenDisk } from './disk-target.ts'
import { openFault } from './faults.ts'
import { fallocate } from './linux.ts'

/** For owner and group, as KubeVirt expects it (contract: import §7). */
const fileMode = 0o660

export interface FileTargetOptions {
  readonly path: string
  /** What the file may grow to at most; what is free in the file system if that is less. */
  readonly capacityBytes?: number
  /**
   * The disk may have holes for which there is no room: it may be as large as `capacityBytes`, and as large as the volume
   * under the file system, of which that takes this share for itself (a decimal text such as `0.06`).
   */
  readonly overcommit?: string
  readonly preallocate: boolean
  readonly log: Log
}

/** Makes a new file, in place of one that an earlier attempt left. Throws CDI_TARGET_INVALID, _FULL or _IO. */
export async function createFileTarget({ path, preallocate, log, ...limits }: FileTargetOptions): Promise<FileTarget> {
  try {
    // Before measuring: what an earlier attempt took up is ours.
    await rm(path, { force: true })
    const { bavail, blocks, bsize } = await statfs(dirname(path))
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, fileMode)
    try {
      // Whatever the umask says.
      await handle.chmod(fileMode)
    } catch (error) {
      await handle.close()
      throw error
    }
    const free = bavail * bsize
    return new FileTarget({ path, handle, preallocate, log, ...roomOf(free, blocks * bsize, limits) })
  } catch (error) {
    throw openFault(path, error)
  }
}

/**
 * Opens the file that an earlier process has begun. Throws CDI_TARGET_INVALID if there is none of at least
 * `leastBytes`, _FULL or _IO.
 */
export async function reopenFileTarget({
  path,
  preallocate,
  log,
  leastBytes,
  ...limits
}: FileTargetOptions & { readonly leastBytes: number }): Promise<FileTarget> {
  try {
    const { bavail, blocks: total, bsize } = await statfs(dirname(path))
    const handle = await open(path, constants.O_RDWR | constants.O_NOFOLLOW)
    try {
      const { size, blocks } = await handle.stat()
      if (size < leastBytes) throw new CdiError('CDI_TARGET_INVALID', `${path} has ${size} bytes only`)
      // What it takes up already is ours.
      const free = bavail * bsize + blocks * statBlockBytes
      return new FileTarget({ path, handle, preallocate, log, ...roomOf(free, total * bsize, limits) })
    } catch (error) {
      await handle.close()
      throw error
    }
  } catch (error) {
    throw openFault(path, error)
  }
}

/** What fits into a file system with so many bytes, some of them free, and how large a disk there may be. */
function roomOf(
  free: number,
  total: number,
  { capacityBytes: most = free, overcommit }: Pick<FileTargetOptions, 'capacityBytes' | 'overcommit'>,
): Pick<OpenDisk, 'capacityBytes' | 'largestDiskBytes'> {
  const capacityBytes = Math.min(free, most)
  if (overcommit === undefined) return { capacityBytes, largestDiskBytes: capacityBytes }
  // Storage that rounds volumes up makes more than was asked for, of the source as of this one.
  return { capacityBytes, largestDiskBytes: Math.max(most, requiredBytes(overcommit, total)) }
}

/** Unit of `blocks` in what stat(2) tells. */
const statBlockBytes = 512

export class FileTarget extends DiskTarget {
  readonly kind = 'file'
  readonly #log: Log

  constructor(disk: OpenDisk) {
    super(disk)
    this.#log = disk.log
  }

  protected async prepare(from: number, to: number, signal: AbortSignal): Promise<boolean> {
    if (this.preallocate) {
      const allocated =
        to > from && (await fallocate({ path: this.path, mode: 'allocate', offset: from, length: to - from, signal }))
      if (!allocated) this.#log.debug({ path: this.path }, 'storage is not allocated in advance, zeros are written')
      return allocated
    }
    await this.handle.truncate(to)
    return true
  }

  protected async prepareKept(to: number, signal: AbortSignal): Promise<boolean> {
    if (this.preallocate) {
      if (to > 0) await fallocate({ path: this.path, mode: 'allocate', offset: 0, length: to, signal })
      return false
    }
    const { size } = await this.handle.stat()
    if (size < to) await this.handle.truncate(to)
    return true
  }

  protected async shorten(to: number): Promise<void> {
    await this.handle.truncate(to)
  }

  protected async complete(proven: boolean, signal: AbortSignal): Promise<void> {
    const { size } = await this.handle.stat()
    if (size < this.diskSizeBytes) await this.handle.truncate(this.diskSizeBytes)
    if (!proven || !this.preallocate || this.diskSizeBytes === 0) return
    // The disk may have grown past what was allocated at the beginning.
    const length = this.diskSizeBytes
    if (!(await fallocate({ path: this.path, mode: 'allocate', offset: 0, length, signal }))) {
      throw new CdiError('CDI_TARGET_IO', `unable to allocate storage for ${this.path}`, { details: { length } })
    }
  }

  protected async syncName(): Promise<void> {
    const directory = await open(dirname(this.path), constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  }

  /** Removes the file, if it still is the one that was opened: a worker that was given up may outlive its successor's start. */
  override async discard(): Promise<void> {
    const [opened, named] = await Promise.allSettled([this.handle.stat(), lstat(this.path)])
    await super.discard()
    if (opened.status === 'rejected' || named.status === 'rejected') return
    if (opened.value.ino === named.value.ino && opened.value.dev === named.value.dev)
      await rm(this.path, { force: true })
  }
}
