/**
 * A raw disk of known length, received where it will stay. Its pieces may come in any order and from several connections,
 * overlap and come again; in order from one connection it is a transfer like any other. What was fsynced is *durable* and
 * noted outside (resume-journal.ts), so that another process can go on with it:
 *
 *   arrived ──gather──► taken ──sync──► durable ──note──► known to the next process
 *
 * Bytes count as taken when they were written to the target, so that an `append` that breaks off loses nothing that
 * arrived. What an earlier process wrote and did not note counts for nothing and is written again. Memory is bounded: two
 * to four MiB for each piece that is being received, of which there are {@link mostPieces} at most.
 */
import { createHash } from 'node:crypto'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { isVhdFooter } from '../formats/detect.ts'
import { Digest } from '../sources/checksum.ts'
import type { Checksum } from '../sources/checksum.ts'
import { vhdFooterBytes } from '../survey.ts'
import type { Extent } from '../target/coverage.ts'
import { tooLarge } from '../target/faults.ts'
import { Gather } from '../target/gather.ts'
import { openTarget, reopenTarget } from '../target/open-target.ts'
import type { Target } from '../target/target.ts'
import { oneAfterTheOther } from './one-after-the-other.ts'
import { Permits } from './permits.ts'
import { PieceDigests } from './piece.ts'
import type { PieceOptions } from './piece.ts'
import { RangeSet } from './range-set.ts'
import { assertRaw, headBytes } from './raw-head.ts'
import type { Transfer, UploadResult, Volume } from './transfer.ts'
import { finishDisk, targetOptions } from './volume-target.ts'

/** Bytes of one piece after which what was received is made durable, without waiting for its end; */
const syncBytes = 64 * 1024 * 1024
/** and milliseconds, for slow clients. */
const syncMs = 5000
/** The disk is read back in pieces of this size, for its digest. */
const readBytes = 1024 * 1024
/** Pieces that are received at the same time; others wait. */
export const mostPieces = 8
/** Ranges that do not touch; a client that would make more has to fill the gaps first. */
const mostHoles = 65_536

/** What the next process has to know. */
export interface RawProgress {
  /** Durable, in order, not touching. */
  readonly ranges: readonly Extent[]
  /** All bytes were there and right: the disk has so many bytes, and what is left is to finish the volume. */
  readonly verifiedBytes?: number
}

export interface RawTransferOptions {
  readonly log: Log
  readonly volume: Volume
  /** Of the whole upload in bytes; at least one. The footer of a fixed VHD counts. */
  readonly length: number
  /** Of the whole upload; all of them have to be right. */
  readonly checksums: readonly Checksum[]
  /** Keeps what the next process has to know; undefined: there is no such upload any more. */
  readonly note: (progress: RawProgress | undefined) => Promise<void>
  /**
   * The disk is what it is, whatever its bytes look like: nothing is told from them, no footer is cut off. For copies of
   * a volume; of an upload a client may be mistaken about what it sends.
   */
  readonly isVerbatim?: boolean
}

/** A stretch of a disk that holds data. */
export interface Stored {
  readonly offset: number
  readonly bytes: Buffer
}

export class RawTransfer implements Transfer {
  readonly length: number
  readonly #log: Log
  readonly #volume: Volume
  readonly #isVerbatim: boolean
  #checksums: readonly Checksum[]
  readonly #note: RawTransferOptions['note']
  readonly #target: Target
  /** Bytes before this go to the target; behind it is the footer of a disk that fills its volume, which is held. */
  readonly #diskEnd: number
  readonly #footer: Buffer
  /** Written to the target. */
  readonly #taken: RangeSet
  /** Where something was or is being written, whether it counted in the end or not. */
  readonly #touched: RangeSet
  readonly #durable: RangeSet
  readonly #permits = new Permits(mostPieces)
  readonly #stop = new AbortController()
  #digests: readonly Digest[]
  /** The digests have seen what lies before; undefined when that was written again. */
  #digestedTo: number | undefined = 0
  #verifiedBytes: number | undefined
  /** Overwriting and syncing exclude each other: a sync writes zeros that were left out. */
  readonly #inTurn = oneAfterTheOther()
  #syncing: Promise<void> | undefined
  #nextSync: Promise<void> | undefined
  readonly #pieces = new Set<Promise<unknown>>()
  /** Each counts what has arrived of a piece that is being received. */
  readonly #counts = new Set<() => Promise<void>>()
  /** Each waits for what is being written of a piece that is received. */
  readonly #drains = new Set<() => Promise<void>>()
  /** Of `fill`, since its last sync. */
  #unsyncedBytes = 0
  #finishing: Promise<UploadResult> | undefined

  private constructor(
    { log, volume, length, checksums, note, isVerbatim = false }: RawTransferOptions,
    { target, diskEnd, progress }: { target: Target; diskEnd: number; progress: RawProgress },
  ) {
    this.length = length
    this.#log = log
    this.#volume = volume
    this.#isVerbatim = isVerbatim
    this.#checksums = checksums
    this.#note = note
    this.#target = target
    this.#diskEnd = diskEnd
    this.#footer = Buffer.alloc(length - diskEnd)
    this.#durable = new RangeSet(progress.ranges)
    this.#taken = new RangeSet(progress.ranges)
    this.#touched = new RangeSet(progress.ranges)
    this.#digests = checksums.map((checksum) => new Digest(checksum))
    this.#verifiedBytes = progress.verifiedBytes
  }

  /**
   * Opens the volume for a new disk. Throws CDI_IMAGE_TOO_LARGE if it cannot hold it, CDI_TARGET_*, and what `note`
   * throws: an older note must not outlive the first write.
   */
  static async begin(options: RawTransferOptions, signal: AbortSignal): Promise<RawTransfer> {
    const { volume, log, note } = options
    const progress = { ranges: [] }
    await note(progress)
    let target: Target | undefined
    try {
      target = await openTarget({ ...targetOptions(volume), log })
      const diskEnd = diskEndOf(options, target)
      await target.begin(diskEnd, signal, 'ours')
      return new RawTransfer(options, { target, diskEnd, progress })
    } catch (error) {
      await note(undefined)
      await target?.discard()
      throw error
    }
  }

  /**
   * Goes on with a disk that an earlier process has begun. Throws CDI_TARGET_* if the volume does not hold it any more;
   * it is then as it was.
   */
  static async resume(options: RawTransferOptions, progress: RawProgress, signal: AbortSignal): Promise<RawTransfer> {
    const { volume, length, log } = options
    const { verifiedBytes } = progress
    const leastBytes = verifiedBytes ?? Math.max(0, options.isVerbatim === true ? length : length - vhdFooterBytes)
    const target = await reopenTarget({ ...targetOptions(volume), log, leastBytes })
    try {
      const diskEnd = diskEndOf(options, target)
      const ranges = progress.ranges.flatMap(({ start, end }) => {
        const within = { start, end: Math.min(end, diskEnd) }
        return within.start < within.end ? [within] : []
      })
      // A footer that was cut off already is no gap.
      await target.resume(diskEnd, verifiedBytes === undefined ? ranges : [{ start: 0, end: diskEnd }], signal)
      return new RawTransfer(options, { target, diskEnd, progress: { ...progress, ranges } })
    } catch (error) {
      await target[Symbol.asyncDispose]()
      throw error
    }
  }

  /** What is there without a gap from the beginning. */
  get offset(): number {
    return this.#verifiedBytes === undefined ? this.#taken.prefixEnd : this.length
  }

  /** What is there, durable or not. */
  get taken(): readonly Extent[] {
    return this.#verifiedBytes === undefined ? this.#taken.ranges : [{ start: 0, end: this.length }]
  }

  /** What another process could go on with. */
  get durable(): readonly Extent[] {
    return this.#durable.ranges
  }

  /** What is not there, in order. */
  get missing(): Extent[] {
    return this.#verifiedBytes === undefined ? this.#taken.gaps(this.length) : []
  }

  /** To be called before `finish`: the whole has to have this checksum too. It is then read back. */
  expect(checksum: Checksum): void {
    this.#checksums = [...this.#checksums, checksum]
    this.#digests = []
    this.#digestedTo = undefined
  }

  append(body: AsyncIterable<Buffer>, signal: AbortSignal, options?: PieceOptions): Promise<void> {
    return this.writeAt(this.offset, body, signal, options)
  }

  /**
   * Takes a piece that begins at `start`; as `append` otherwise. Several may be taken at once. Throws
   * CDI_SOURCE_CHANGED for bytes behind the end, PieceMismatch if the piece is not what was told of it.
   */
  async writeAt(
    start: number,
    body: AsyncIterable<Buffer>,
    signal: AbortSignal,
    options: PieceOptions = {},
  ): Promise<void> {
    const stop = AbortSignal.any([signal, this.#stop.signal])
    await this.#amongPieces(this.#takePiece({ start, body, signal: stop, checksums: options.checksums ?? [] }))
  }

  /**
   * Takes a stretch of the disk that is known as a whole: `data`, in order, and zeros everywhere else in it. Resolves
   * when it is taken, while the buffers are lent; it becomes durable by and by, or by `sync`. Several may be taken at
   * once. Throws CDI_SOURCE_CHANGED for bytes behind the end, CDI_TARGET_*.
   */
  async fill(stretch: Extent, data: readonly Stored[], signal: AbortSignal): Promise<void> {
    await this.#amongPieces(this.#fill(stretch, data, AbortSignal.any([signal, this.#stop.signal])))
  }

  /**
   * Makes everything that has arrived durable, of pieces that are being received too: a client that comes back asks what is
   * there while its former connections still look alive. Throws CDI_TARGET_*.
   */
  async settle(): Promise<void> {
    // A piece that cannot be written says so to its own client.
    await Promise.allSettled([...this.#counts].map((count) => count()))
    await this.sync()
  }

  /** Makes everything that was taken durable and notes it. Throws CDI_TARGET_*. */
  sync(): Promise<void> {
    // One that runs already may have missed what the caller means.
    this.#nextSync ??= (async () => {
      await this.#syncing?.catch(() => {})
      this.#nextSync = undefined
      this.#syncing = this.#inTurn(() => this.#sync())
      try {
        await this.#syncing
      } finally {
        this.#syncing = undefined
      }
    })()
    return this.#nextSync
  }

  /**
   * SHA-256, in hexadecimal digits, of a stretch as the volume holds it; undefined if not all of it is there. Throws
   * CDI_TARGET_*.
   */
  digestOf(stretch: Extent): Promise<string | undefined> {
    return this.#amongPieces(this.#digestOf(stretch))
  }

  finish(): Promise<UploadResult> {
    this.#finishing ??= this.#finish()
    return this.#finishing
  }

  async drop(reason: CdiError): Promise<void> {
    await this.#end(reason)
    try {
      // First: nobody may go on with what is taken away now.
      await this.#note(undefined)
    } catch (err) {
      this.#log.error({ err }, 'the upload that was dropped cannot be struck out of the journal')
    }
    try {
      await this.#target.discard()
    } catch (err) {
      this.#log.error({ err }, 'what was received of the upload cannot be removed')
    }
  }

  /** The process ends: makes durable what is there, and leaves it to the next one. Never rejects. */
  async suspend(reason: CdiError): Promise<void> {
    await this.#end(reason)
    try {
      await this.sync()
    } catch (err) {
      this.#log.error({ err }, 'what was received last cannot be made durable')
    }
    await this.#target[Symbol.asyncDispose]()
  }

  /** Ends everything that writes. */
  async #end(reason: CdiError): Promise<void> {
    this.#stop.abort(reason)
    await Promise.allSettled([...this.#pieces, this.#finishing])
    await Promise.allSettled([this.#nextSync, this.#syncing])
  }

  async #amongPieces<T>(piece: Promise<T>): Promise<T> {
    this.#pieces.add(piece)
    try {
      return await piece
    } finally {
      this.#pieces.delete(piece)
    }
  }

  async #fill({ start, end }: Extent, data: readonly Stored[], signal: AbortSignal): Promise<void> {
    using _permit = await this.#permits.take(signal)
    this.#assertRoom(start, end - start)
    // The digests of the whole see only what comes through `writeAt`; they are made by reading back.
    this.#digestedTo = undefined
    let at = start
    for (const { offset, bytes } of data) {
      signal.throwIfAborted()
      await this.#clear(at, offset)
      at = offset + bytes.length
      await this.#store(offset, bytes)
      this.#unsyncedBytes += bytes.length
    }
    await this.#clear(at, end)
    this.#taken.add(start, end)
    if (this.#unsyncedBytes < syncBytes) return
    this.#unsyncedBytes = 0
    // Whoever waits for durability hears of a fault; so does the next write.
    this.sync().catch(() => {})
  }

  async #store(offset: number, bytes: Buffer): Promise<void> {
    for (const { start, end, isInside } of this.#touched.shares(offset, offset + bytes.length)) {
      const share = [bytes.subarray(start - offset, end - offset)]
      if (isInside) await this.#overwrite(start, end, () => this.#target.overwrite(start, share))
      else {
        this.#touched.add(start, end)
        await this.#target.write(start, share)
      }
    }
  }

  /** Until the next sync what is overwritten is not durable, though it was. */
  async #overwrite(start: number, end: number, write: () => Promise<void>): Promise<void> {
    await this.#inTurn(async () => {
      await write()
      this.#durable.remove(start, end)
    })
  }

  /** What nobody has written reads as zero. */
  async #clear(from: number, to: number): Promise<void> {
    for (const { start, end, isInside } of this.#touched.shares(from, to)) {
      if (isInside) await this.#overwrite(start, end, () => this.#target.zero(start, end - start))
      else this.#touched.add(start, end)
    }
  }

  async #takePiece({
    start,
    body,
    signal,
    checksums,
  }: {
    start: number
    body: AsyncIterable<Buffer>
    signal: AbortSignal
    checksums: readonly Checksum[]
  }): Promise<void> {
    using _permit = await this.#permits.take(signal)
    const digests = new PieceDigests(checksums)
    // Several share what one alone may have.
    const slabs = this.#pieces.size > 1 ? 2 : 4
    const gather = new Gather({ target: this.#target, offset: start, slabs })
    let at = start
    let counted = start
    let countedMs = performance.now()
    const inTurn = oneAfterTheOther()
    const count = async (): Promise<void> => {
      await gather.end()
      this.#taken.add(counted, at)
      counted = at
      countedMs = performance.now()
    }
    const countNow = (): Promise<void> => inTurn(count)
    const drain = (): Promise<void> => inTurn(() => gather.end())
    this.#drains.add(drain)
    if (!digests.isAsked) this.#counts.add(countNow)
    try {
      for await (const chunk of body) {
        signal.throwIfAborted()
        this.#assertRoom(at, chunk.length)
        digests.update(chunk)
        this.#digest(at, chunk)
        await inTurn(async () => {
          // What is written over may be wrong, until the piece is there as a whole.
          if (digests.isAsked) await this.#uncount(at, at + chunk.length)
          await this.#put(gather, at, chunk)
          at += chunk.length
        })
        const isDue = at - counted >= syncBytes || performance.now() - countedMs >= syncMs
        if (!digests.isAsked && isDue) {
          await countNow()
          // Whoever waits for durability hears of a fault; so does the next write.
          this.sync().catch(() => {})
        }
      }
      digests.verify()
    } catch (error) {
      // What arrived stays, unless it was to be checked as a whole: then it has damaged what was there before, too.
      if (!digests.isAsked) await countNow()
      else await this.#lose(start, at, gather)
      await this.sync()
      throw error
    } finally {
      this.#counts.delete(countNow)
      this.#drains.delete(drain)
    }
    await countNow()
    await this.sync()
  }

  /** A piece that was to be checked as a whole is not right, or has no end: whoever wrote there, nothing of it counts. */
  async #lose(start: number, end: number, gather: Gather): Promise<void> {
    await gather.end()
    if (this.#finishing === undefined) await this.#uncount(start, end)
  }

  /** Nothing of a stretch counts any more, for the next process neither. */
  async #uncount(start: number, end: number): Promise<void> {
    if (!this.#taken.shares(start, end).some(({ isInside }) => isInside)) return
    await this.#inTurn(async () => {
      this.#taken.remove(start, end)
      this.#durable.remove(start, end)
      this.#digestedTo = undefined
      await this.#note({ ranges: this.#durable.ranges })
    })
  }

  #assertRoom(at: number, bytes: number): void {
    if (this.#finishing !== undefined) throw new CdiError('CDI_ABORTED', 'the upload is being finished')
    if (this.#verifiedBytes !== undefined || at + bytes > this.length) {
      throw new CdiError('CDI_SOURCE_CHANGED', `the upload has more than the ${this.length} bytes announced`)
    }
    if (this.#touched.ranges.length > mostHoles) {
      throw new CdiError('CDI_UPLOAD_MALFORMED', `the upload has more than ${mostHoles} gaps, fill some first`)
    }
  }

  async #put(gather: Gather, at: number, chunk: Buffer): Promise<void> {
    const beforeFooter = Math.max(0, Math.min(chunk.length, this.#diskEnd - at))
    if (beforeFooter < chunk.length) chunk.copy(this.#footer, at + beforeFooter - this.#diskEnd, beforeFooter)
    for (const { start, end, isInside } of this.#touched.shares(at, at + beforeFooter)) {
      const bytes = chunk.subarray(start - at, end - at)
      if (isInside) {
        await this.#overwrite(start, end, () => this.#target.overwrite(start, [bytes]))
        continue
      }
      this.#touched.add(start, end)
      if (gather.position !== start) gather.seek(start)
      const pushed = gather.push(bytes)
      if (pushed !== undefined) await pushed
    }
  }

  /** The digests of the whole see bytes that come in order; what they missed is read back in the end. */
  #digest(at: number, chunk: Buffer): void {
    if (this.#digestedTo === undefined || this.#digests.length === 0) return
    if (at < this.#digestedTo) this.#digestedTo = undefined
    else if (at === this.#digestedTo) {
      for (const digest of this.#digests) digest.update(chunk)
      this.#digestedTo += chunk.length
    }
  }

  async #sync(): Promise<void> {
    const fresh = this.#taken.without(this.#durable)
    if (fresh.length === 0) return
    const onDisk = fresh
      .map(({ start, end }) => ({ start, end: Math.min(end, this.#diskEnd) }))
      .filter(({ start, end }) => start < end)
    // Not the signal: what arrived is made durable when the process ends, too.
    await this.#target.sync(onDisk, new AbortController().signal)
    for (const { start, end } of onDisk) this.#durable.add(start, end)
    try {
      await this.#note({ ranges: this.#durable.ranges })
    } catch (err) {
      // What was noted before still holds.
      this.#log.warn({ err }, 'the progress of the upload cannot be noted')
    }
  }

  async #finish(): Promise<UploadResult> {
    const { signal } = this.#stop
    const diskSizeBytes = await this.#verified(signal)
    if (diskSizeBytes < this.#diskEnd) await this.#target.cut(diskSizeBytes)
    const finalSizeBytes = await finishDisk(this.#volume, { target: this.#target, diskSizeBytes, signal })
    await this.#target[Symbol.asyncDispose]()
    this.#log.info({ bytes: this.length, diskSizeBytes: finalSizeBytes }, 'Upload Complete')
    return { preallocationApplied: this.#volume.preallocate, diskSizeBytes: finalSizeBytes }
  }

  /** Resolves with the size of the disk once all its bytes are there and right. */
  async #verified(signal: AbortSignal): Promise<number> {
    if (this.#verifiedBytes !== undefined) return this.#verifiedBytes
    // A piece that is still received writes nothing any more once what it has is written.
    await Promise.allSettled([...this.#drains].map((drain) => drain()))
    const [gap] = this.missing
    if (gap !== undefined) {
      throw new CdiError('CDI_SOURCE_TRUNCATED', `the upload lacks bytes ${gap.start} to ${gap.end - 1}`)
    }
    await this.sync()
    if (!this.#isVerbatim) assertRaw(await this.#read(0, Math.min(headBytes, this.length)))
    await this.#verifyDigests(signal)
    const hasFooter =
      !this.#isVerbatim &&
      this.length > vhdFooterBytes &&
      isVhdFooter(await this.#read(this.length - vhdFooterBytes, vhdFooterBytes))
    if (!hasFooter && this.#diskEnd < this.length) {
      throw tooLarge({ sizeText: String(this.length), capacityBytes: this.#target.largestDiskBytes })
    }
    const diskSizeBytes = hasFooter ? this.length - vhdFooterBytes : this.length
    await this.#note({ ranges: this.#durable.ranges, verifiedBytes: diskSizeBytes })
    this.#verifiedBytes = diskSizeBytes
    return diskSizeBytes
  }

  async #verifyDigests(signal: AbortSignal): Promise<void> {
    if (this.#checksums.length === 0) return
    const isWhole = this.#digestedTo !== undefined
    const digests = isWhole ? this.#digests : this.#checksums.map((checksum) => new Digest(checksum))
    for (let at = this.#digestedTo ?? 0; at < this.length;) {
      signal.throwIfAborted()
      const bytes = await this.#read(at, Math.min(readBytes, this.length - at))
      for (const digest of digests) digest.update(bytes)
      at += bytes.length
    }
    for (const digest of digests) digest.verify()
  }

  async #digestOf({ start, end }: Extent): Promise<string | undefined> {
    // Before a sync, what counts as zeros may still be what stood there of old.
    await this.sync()
    if (!this.#durable.covers(start, end)) return undefined
    const hash = createHash('sha256')
    for (let at = start; at < end; at += readBytes) {
      this.#stop.signal.throwIfAborted()
      hash.update(await this.#read(at, Math.min(readBytes, end - at)))
    }
    return hash.digest('hex')
  }

  /** What the volume holds, the footer that is held too. */
  async #read(at: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length)
    const onDisk = Math.max(0, Math.min(length, this.#diskEnd - at))
    if (onDisk < length) this.#footer.copy(bytes, onDisk, at + onDisk - this.#diskEnd)
    if (onDisk > 0) await this.#target.read(at, bytes.subarray(0, onDisk))
    return bytes
  }
}

/** Where the bytes end that the volume has room for: all, or all but a footer. Throws CDI_IMAGE_TOO_LARGE. */
function diskEndOf({ length, isVerbatim = false }: RawTransferOptions, { largestDiskBytes }: Target): number {
  if (length <= largestDiskBytes) return length
  const withoutFooter = length - vhdFooterBytes
  if (!isVerbatim && withoutFooter > 0 && withoutFooter <= largestDiskBytes) return withoutFooter
  throw tooLarge({ sizeText: String(length), capacityBytes: largestDiskBytes })
}
