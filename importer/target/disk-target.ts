/**
 * What files and devices have in common: an open descriptor, zero detection, the dirty window, and the account of what
 * was written. A disk is in one of two states after `begin`:
 *
 * - *proven*: everything reads as zero unless it is written. Zeros are left out.
 * - *unproven* (old bytes may be there, or zeros have to be backed by storage): zeros are left out in whole granules,
 *   and `finish` zeroes exactly the gaps, so that no byte is written twice.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { directBlockBytes, isAligned } from './aligned.ts'
import { Collisions } from './collisions.ts'
import { Coverage } from './coverage.ts'
import type { Extent } from './coverage.ts'
import { isZero, splitRuns, zeroBlockBytes, zeroBuffers } from './data-runs.ts'
import type { Run } from './data-runs.ts'
import { DirtyWindow } from './dirty-window.ts'
import { errnoOf, tooLarge, writeFault } from './faults.ts'
import { fallocate } from './linux.ts'
import type { Target, Writer } from './target.ts'

/** Half of what may be dirty at most (docs/targets.md has the measurement). */
const dirtyWindowBytes = 32 * 1024 * 1024
/** Zeros are written in pieces of this size. */
const zeroPieceBytes = 4 * 1024 * 1024
/** Smaller ranges are not worth a child process to punch them. */
const leastPunchBytes = 1024 * 1024
/** Shorter runs of data are left to the page cache, which writes them in an order that suits the storage. */
const leastDirectBytes = 128 * 1024
/** Buffers in one system call; Linux takes 1024. */
const mostVectors = 512

export interface OpenDisk {
  readonly path: string
  readonly handle: FileHandle
  readonly capacityBytes: number
  /** `capacityBytes` unless told. */
  readonly largestDiskBytes?: number
  readonly preallocate: boolean
  readonly log: Log
}

export abstract class DiskTarget implements Target {
  abstract readonly kind: 'file' | 'block'
  readonly path: string
  readonly capacityBytes: number
  readonly largestDiskBytes: number
  readonly preallocate: boolean
  protected readonly handle: FileHandle
  readonly #log: Log
  readonly #window: DirtyWindow
  readonly #coverage: Coverage
  readonly #collisions = new Collisions()
  #diskSizeBytes = 0
  #writer: Writer | undefined
  #proven = false
  #nameIsSynced = false
  #closed = false
  /** Second descriptor for direct I/O, opened when it is first wanted; undefined in it where there is no such thing. */
  #direct: Promise<FileHandle | undefined> | undefined
  #directRefused = false

  constructor({ path, handle, capacityBytes, largestDiskBytes = capacityBytes, preallocate, log }: OpenDisk) {
    this.path = path
    this.handle = handle
    this.capacityBytes = capacityBytes
    this.largestDiskBytes = largestDiskBytes
    this.preallocate = preallocate
    this.#log = log
    this.#coverage = new Coverage(largestDiskBytes)
    this.#window = new DirtyWindow({ limitBytes: dirtyWindowBytes, flush: () => handle.datasync() })
  }

  /** Size of the disk so far, in bytes. */
  protected get diskSizeBytes(): number {
    return this.#diskSizeBytes
  }

  /**
   * Makes [from, to) a part of the disk, cheaply. True if it provably reads as zero now, and is allocated when
   * preallocating; it holds old bytes or nothing otherwise.
   */
  protected abstract prepare(from: number, to: number, signal: AbortSignal): Promise<boolean>

  /**
   * The same for a disk that an earlier process has begun: makes it `to` bytes long and touches nothing that is there.
   * True if what is to be left out may be punched.
   */
  protected abstract prepareKept(to: number, signal: AbortSignal): Promise<boolean>

  /** Cuts off [to, from), which reads as zero already. */
  protected abstract shorten(to: number): Promise<void>

  /** Makes the disk as long as it was written, before it is flushed. */
  protected abstract complete(proven: boolean, signal: AbortSignal): Promise<void>

  /** Makes the name durable, after the bytes are. */
  protected abstract syncName(): Promise<void>

  async begin(diskSizeBytes: number, signal: AbortSignal, writer: Writer = 'foreign'): Promise<void> {
    signal.throwIfAborted()
    this.#assertFits(diskSizeBytes)
    const first = this.#writer === undefined
    this.#writer ??= writer
    const from = this.#diskSizeBytes
    if (diskSizeBytes < from || (diskSizeBytes === from && !first)) return
    await this.#faultsNamed(async () => {
      const proven = (first || this.#proven) && (await this.prepare(from, diskSizeBytes, signal))
      this.#diskSizeBytes = diskSizeBytes
      if (!first && this.#proven && !proven) {
        // What was proven before is written to be so now, since gaps are looked for in the whole disk.
        this.#coverage.add(0, from)
      }
      this.#proven = proven
      if (!proven && this.#writer === 'foreign' && !(this.kind === 'block' && this.preallocate)) {
        await this.#zeroGaps(signal)
        this.#proven = true
      }
    }, signal)
  }

  async resume(diskSizeBytes: number, kept: readonly Extent[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#writer !== undefined) throw new CdiError('CDI_INTERNAL', 'the target was begun already')
    this.#assertFits(diskSizeBytes)
    this.#writer = 'ours'
    await this.#faultsNamed(async () => {
      const canPunch = await this.prepareKept(diskSizeBytes, signal)
      this.#diskSizeBytes = diskSizeBytes
      for (const { start, end } of kept) this.#coverage.add(start, end)
      // What lies between is of no value, and without it everything is proven again.
      this.#proven = canPunch && (await this.#punchGaps(signal))
    }, signal)
  }

  write(offset: number, buffers: readonly Buffer[]): Promise<void> {
    return this.#writeRuns(offset, buffers, (run, blockBytes) => this.#mustWriteZeros(run, blockBytes))
  }

  overwrite(offset: number, buffers: readonly Buffer[]): Promise<void> {
    return this.#writeRuns(offset, buffers, (run, blockBytes) =>
      this.#proven ? this.#holdsData(run) : this.#mustWriteZeros(run, blockBytes),
    )
  }

  async #writeRuns(
    offset: number,
    buffers: readonly Buffer[],
    mustWriteZeros: (run: Run, blockBytes: number) => boolean | Promise<boolean>,
  ): Promise<void> {
    let length = 0
    for (const buffer of buffers) length += buffer.length
    this.#extend(offset + length)
    const blockBytes = this.#proven ? zeroBlockBytes : this.#coverage.granuleBytes
    await this.#faultsNamed(async () => {
      for (const run of splitRuns(offset, buffers, blockBytes)) {
        if (run.buffers !== undefined) await this.#writeRun(run, run.buffers)
        else if (await mustWriteZeros(run, blockBytes)) await this.#writeZeros(run.offset, run.offset + run.length)
      }
    })
  }

  async read(offset: number, into: Buffer): Promise<void> {
    let done = 0
    while (done < into.length) {
      const { bytesRead } = await this.#readSome(into, done, offset + done)
      if (bytesRead === 0) throw new CdiError('CDI_TARGET_IO', `${this.path} ends at byte ${offset + done}`)
      done += bytesRead
    }
  }

  async zero(offset: number, length: number): Promise<void> {
    this.#extend(offset + length)
    const end = offset + length
    if (this.#writer !== 'foreign' && !this.#coverage.touches(offset, end)) return
    await this.#faultsNamed(async () => {
      const from = Math.ceil(offset / zeroBlockBytes) * zeroBlockBytes
      const to = Math.floor(end / zeroBlockBytes) * zeroBlockBytes
      const punched =
        !this.preallocate &&
        to - from >= leastPunchBytes &&
        (await fallocate({ path: this.path, mode: 'punch', offset: from, length: to - from }))
      if (!punched) return this.#writeZeros(offset, end)
      this.#coverage.add(from, to)
      await this.#writeZeros(offset, from)
      await this.#writeZeros(to, end)
    })
  }

  async sync(ranges: readonly Extent[], signal: AbortSignal): Promise<void> {
    await this.#faultsNamed(async () => {
      if (!this.#proven) for (const { start, end } of ranges) await this.#zeroGaps(signal, start, end)
      await this.#window.flush()
      if (!this.#nameIsSynced) await this.syncName()
      this.#nameIsSynced = true
    }, signal)
  }

  async cut(diskSizeBytes: number): Promise<void> {
    await this.zero(diskSizeBytes, this.#diskSizeBytes - diskSizeBytes)
    this.#diskSizeBytes = diskSizeBytes
    await this.#faultsNamed(() => this.shorten(diskSizeBytes))
  }

  async written(bytes: number): Promise<void> {
    await this.#faultsNamed(() => this.#window.admit(bytes))
  }

  async finish(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#faultsNamed(async () => {
      if (this.#writer === 'ours') {
        await this.complete(this.#proven, signal)
        if (!this.#proven) await this.#zeroGaps(signal)
      }
      await this.#window.flush()
      await this.handle.sync()
      await this.syncName()
    }, signal)
    this.#log.debug({ path: this.path }, `Successfully completed fsync(${this.path}) syscall`)
  }

  async discard(): Promise<void> {
    await this[Symbol.asyncDispose]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    // A flush that fails now is of no interest any more, but the descriptor must not be closed under it.
    await this.#window.settle().catch(() => {})
    await (await this.#direct)?.close()
    await this.handle.close()
  }

  #assertFits(diskSizeBytes: number): void {
    if (diskSizeBytes > this.largestDiskBytes) {
      throw tooLarge({ sizeText: String(diskSizeBytes), capacityBytes: this.largestDiskBytes })
    }
  }

  #extend(end: number): void {
    if (this.#writer === undefined) throw new CdiError('CDI_INTERNAL', 'the target was not begun')
    if (end <= this.#diskSizeBytes) return
    this.#assertFits(end)
    if (this.#writer === 'foreign') throw new CdiError('CDI_INTERNAL', `byte ${end} is beyond the declared disk`)
    this.#grown(end)
  }

  /** Of a disk that grows by being written. */
  #grown(end: number): void {
    if (this.#proven && this.kind === 'block') {
      // Old bytes lie beyond what was prepared.
      this.#coverage.add(0, this.#diskSizeBytes)
      this.#proven = false
    }
    this.#diskSizeBytes = end
  }

  /** Zeros are left out if the disk is proven, or if `finish` will find them as a gap. */
  #mustWriteZeros({ offset, length }: Run, blockBytes: number): boolean {
    if (this.#writer === 'foreign') return true
    if (this.#proven) return false
    const wholeBlocks = offset % blockBytes === 0 && length % blockBytes === 0
    return !wholeBlocks || this.#coverage.touches(offset, offset + length)
  }

  async #writeRun({ offset, length }: Run, buffers: Buffer[]): Promise<void> {
    this.#account(offset, offset + length)
    const directBytes = await this.#writeDirect(offset, buffers)
    if (directBytes === length) return
    const at = offset + directBytes
    const left = length - directBytes
    await this.#window.admit(left)
    await this.#collisions.avoid({ way: 'cached', offset: at, length: left }, () =>
      this.#writeAll(at, without(buffers, directBytes)),
    )
  }

  /**
   * Writes what it can of a run past the page cache: nothing has to be copied and nothing is dirty afterwards, which
   * takes half of the time of writing and flushing. Resolves with how many bytes from the beginning of the run it wrote,
   * 0 for runs that are short or not aligned.
   */
  async #writeDirect(offset: number, [first]: readonly Buffer[]): Promise<number> {
    const wanted = first === undefined ? 0 : first.length - (first.length % directBlockBytes)
    if (first === undefined || wanted < leastDirectBytes || offset % directBlockBytes !== 0 || !isAligned(first))
      return 0
    // A write that was under way when the target was closed opens nothing any more.
    if (this.#closed) return 0
    this.#direct ??= openDirect(this.path)
    const direct = await this.#direct
    if (direct === undefined || this.#directRefused) return 0
    return this.#collisions.avoid({ way: 'direct', offset, length: wanted }, () =>
      this.#writeAllDirect(direct, first, offset, wanted),
    )
  }

  async #writeAllDirect(direct: FileHandle, first: Buffer, offset: number, wanted: number): Promise<number> {
    try {
      let done = 0
      while (done < wanted) {
        const { bytesWritten } = await direct.write(first, done, wanted - done, offset + done)
        done += bytesWritten
        // The rest would not be aligned, or the storage is full and will say so.
        if (bytesWritten % directBlockBytes !== 0 || bytesWritten === 0) break
      }
      return done
    } catch (error) {
      // The storage wants another alignment, or cannot do it after all.
      if (errnoOf(error) !== 'EINVAL') throw error
      this.#log.debug({ path: this.path }, 'direct I/O refused, going on through the page cache')
      this.#directRefused = true
      return 0
    }
  }

  #account(start: number, end: number): void {
    if (!this.#proven) {
      this.#coverage.add(start, end)
      return
    }
    // Only asked whether anything was written nearby: whole granules keep the account small.
    const { granuleBytes } = this.#coverage
    const coarseEnd = Math.min(Math.ceil(end / granuleBytes) * granuleBytes, this.#diskSizeBytes)
    this.#coverage.add(Math.floor(start / granuleBytes) * granuleBytes, coarseEnd)
  }

  async #writeAll(offset: number, buffers: readonly Buffer[]): Promise<void> {
    let rest = buffers
    let at = offset
    while (rest.length > 0) {
      const { bytesWritten } = await this.handle.writev(rest.slice(0, mostVectors), at)
      if (bytesWritten === 0) throw new CdiError('CDI_TARGET_IO', 'unable to write to file: nothing was taken')
      at += bytesWritten
      rest = without(rest, bytesWritten)
    }
  }

  async #writeZeros(start: number, end: number, signal?: AbortSignal): Promise<void> {
    for (let at = start; at < end;) {
      signal?.throwIfAborted()
      const length = Math.min(zeroPieceBytes, end - at)
      await this.#writeRun({ offset: at, length }, zeroBuffers(length))
      at += length
    }
  }

  async #readSome(into: Buffer, from: number, offset: number): Promise<{ bytesRead: number }> {
    try {
      return await this.handle.read(into, from, into.length - from, offset)
    } catch (cause) {
      throw new CdiError('CDI_TARGET_IO', `unable to read ${this.path} back`, { cause })
    }
  }

  /** True if there is anything but zeros in the run, or the account does not exclude it and a look would take long. */
  async #holdsData({ offset, length }: Run): Promise<boolean> {
    if (!this.#coverage.touches(offset, offset + length)) return false
    if (length > zeroPieceBytes) return true
    const bytes = Buffer.allocUnsafe(length)
    const { bytesRead } = await this.handle.read(bytes, 0, length, offset)
    return bytesRead < length || !isZero(bytes)
  }

  /** Makes everything read as zero that is not in the account. False if the storage cannot do that without writing. */
  async #punchGaps(signal: AbortSignal): Promise<boolean> {
    for (const { start, end } of this.#coverage.gaps(this.#diskSizeBytes)) {
      const from = Math.min(end, Math.ceil(start / zeroBlockBytes) * zeroBlockBytes)
      const to = Math.max(from, Math.floor(end / zeroBlockBytes) * zeroBlockBytes)
      if (to > from) {
        const length = to - from
        if (!(await fallocate({ path: this.path, mode: 'punch', offset: from, length, signal }))) return false
      }
      await this.#writeZeros(start, from, signal)
      await this.#writeZeros(to, end, signal)
    }
    return true
  }

  /** The account may change under the walk, but only behind it. */
  async #zeroGaps(signal: AbortSignal, from = 0, to = this.#diskSizeBytes): Promise<void> {
    let canPunch = !this.preallocate
    for (const { start, end } of this.#coverage.gaps(to, from)) {
      signal.throwIfAborted()
      const worthwhile = end - start >= leastPunchBytes
      if (canPunch && worthwhile) {
        canPunch = await fallocate({ path: this.path, mode: 'punch', offset: start, length: end - start, signal })
        if (canPunch) continue
      }
      await this.#writeZeros(start, end, signal)
    }
  }

  async #faultsNamed<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await work()
    } catch (error) {
      signal?.throwIfAborted()
      throw writeFault(this.path, error)
    }
  }
}

/** Undefined where the file system takes no direct I/O (tmpfs and some network file systems). */
async function openDirect(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_WRONLY | constants.O_DIRECT)
  } catch {
    return undefined
  }
}

function without(buffers: readonly Buffer[], bytes: number): Buffer[] {
  let left = bytes
  let index = 0
  for (; index < buffers.length; index += 1) {
    const { length } = buffers[index] as Buffer
    if (left < length) break
    left -= length
  }
  const rest = buffers.slice(index)
  if (left > 0) rest[0] = (rest[0] as Buffer).subarray(left)
  return rest
}
