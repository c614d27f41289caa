/**
 * A disk image without encoding around it, converted while it arrives (docs/design/0006-one-pass-conversion.md), so that
 * a restarted process can go on with it: every {@link checkpointBytes} what was converted is made durable and the place
 * noted (image-journal.ts). Between checkpoints it is a stream like any other; what came after the last one has to be
 * sent again after a restart, and {@link ImageTransfer.offset} says so.
 */
import { CdiError, toCdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { ImageFacts } from '../image/facts.ts'
import { DiskWriter } from '../image/forward/disk-writer.ts'
import { ForwardEngine } from '../image/forward/engine.ts'
import type { ForwardDisk, PackedUnit } from '../image/forward/engine.ts'
import { forwardReader } from '../image/forward/readers.ts'
import { assertFits } from '../image/inspect.ts'
import { openTarget, reopenTarget } from '../target/open-target.ts'
import type { Target } from '../target/target.ts'
import type { ImageJournal, ImageResumption } from './image-journal.ts'
import { oneAfterTheOther } from './one-after-the-other.ts'
import { RangeSet } from './range-set.ts'
import { finishDisk, targetOptions } from './volume-target.ts'
import type { Transfer, UploadResult, Volume } from './transfer.ts'

/** Bytes of the image after which what was converted is made durable. */
const checkpointBytes = 64 * 1024 * 1024

export interface ImageTransferOptions {
  readonly log: Log
  readonly volume: Volume
  readonly journal: ImageJournal
  /** {@link checkpointBytes} unless told. */
  readonly everyBytes?: number
}

export class ImageTransfer implements Transfer {
  readonly #log: Log
  readonly #volume: Volume
  readonly #facts: ImageFacts
  readonly #journal: ImageJournal
  readonly #everyBytes: number
  readonly #target: Target
  readonly #disk: RecordingDisk
  readonly #engine: ForwardEngine
  readonly #stop: AbortController
  #offset: number
  #durableOffset: number
  #fault: CdiError | undefined
  /** What is under way; everything is done one after the other. */
  readonly #inTurn = oneAfterTheOther()

  private constructor(
    { log, volume, journal, everyBytes = checkpointBytes }: ImageTransferOptions,
    open: {
      facts: ImageFacts
      target: Target
      disk: RecordingDisk
      engine: ForwardEngine
      stop: AbortController
      offset: number
    },
  ) {
    this.#log = log
    this.#volume = volume
    this.#journal = journal
    this.#everyBytes = everyBytes
    this.#facts = open.facts
    this.#target = open.target
    this.#disk = open.disk
    this.#engine = open.engine
    this.#stop = open.stop
    this.#offset = open.offset
    this.#durableOffset = open.offset
  }

  /**
   * Opens the volume for the disk of an image whose headers were looked at; `facts.onePass` must say how it is read.
   * Throws CDI_IMAGE_TOO_LARGE before the volume is touched, CDI_TARGET_*, CDI_FORMAT_INVALID.
   */
  static async begin(options: ImageTransferOptions, facts: ImageFacts): Promise<ImageTransfer> {
    const { volume, log, journal } = options
    const { virtualSizeBytes } = facts
    assertFits({ virtualSizeBytes, availableBytes: volume.requestedBytes ?? Number.POSITIVE_INFINITY })
    await journal.clear()
    const stop = new AbortController()
    const target = await openTarget({ ...targetOptions(volume), log })
    try {
      assertFits({ virtualSizeBytes, availableBytes: target.capacityBytes })
      for (const note of facts.notes) log.warn({ note }, 'peculiarity of the image')
      await target.begin(virtualSizeBytes, stop.signal, 'ours')
      const disk = recordingDisk({ target, facts, signal: stop.signal })
      const engine = engineOf({ options, facts, disk, signal: stop.signal })
      return new ImageTransfer(options, { facts, target, disk, engine, stop, offset: 0 })
    } catch (error) {
      await target.discard()
      throw error
    }
  }

  /**
   * Goes on with what an earlier process has begun. Throws CDI_TARGET_* if the volume does not hold it any more; it is
   * then as it was.
   */
  static async resume(options: ImageTransferOptions, resumption: ImageResumption): Promise<ImageTransfer> {
    const { volume, log } = options
    const { facts, checkpoint } = resumption
    const { virtualSizeBytes } = facts
    const stop = new AbortController()
    const target = await reopenTarget({ ...targetOptions(volume), log, leastBytes: virtualSizeBytes })
    try {
      const disk = recordingDisk({ target, facts, signal: stop.signal })
      const kept = new RangeSet()
      const engine = engineOf({
        options,
        facts,
        disk,
        signal: stop.signal,
        resumption,
        onServed: (diskOffset, diskBytes) => kept.add(diskOffset, diskOffset + diskBytes),
      })
      await target.resume(virtualSizeBytes, kept.ranges, stop.signal)
      return new ImageTransfer(options, { facts, target, disk, engine, stop, offset: checkpoint.position })
    } catch (error) {
      await target[Symbol.asyncDispose]()
      throw error
    }
  }

  get offset(): number {
    return this.#offset
  }

  /** What another process could go on with: bytes of the image. */
  get durableOffset(): number {
    return this.#durableOffset
  }

  append(body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void> {
    return this.#inTurn(async () => {
      for await (const chunk of body) {
        await this.#unlessFailed(() => this.#engine.take(chunk))
        this.#offset += chunk.length
        if (this.#offset - this.#durableOffset >= this.#everyBytes) await this.#unlessFailed(() => this.#checkpoint())
        signal.throwIfAborted()
      }
    })
  }

  async finish(): Promise<UploadResult> {
    return this.#inTurn(() =>
      this.#unlessFailed(async () => {
        const { signal } = this.#stop
        await this.#engine.end()
        await this.#disk.settle()
        const { virtualSizeBytes } = this.#facts
        const written = { target: this.#target, diskSizeBytes: virtualSizeBytes, signal }
        const diskSizeBytes = await finishDisk(this.#volume, written)
        await this.#close()
        this.#log.info({ ...this.#engine.stats, bytes: this.#offset, diskSizeBytes }, 'Upload Complete')
        return { preallocationApplied: this.#volume.preallocate, diskSizeBytes }
      }),
    )
  }

  async drop(reason: CdiError): Promise<void> {
    await this.#end(reason)
    try {
      // First: nobody may go on with what is taken away now.
      await this.#journal.clear()
    } catch (err) {
      this.#log.error({ err }, 'the upload that was dropped cannot be struck out of the journal')
    }
    try {
      await this.#target.discard()
      await this.#close()
    } catch (err) {
      this.#log.error({ err }, 'what was received of the upload cannot be removed')
    }
  }

  /** The process ends: makes durable what is there, and leaves it to the next one. Never rejects. */
  async suspend(reason: CdiError): Promise<void> {
    this.#fault ??= reason
    try {
      await this.#inTurn(() => Promise.resolve())
      if (this.#fault === reason) await this.#checkpoint()
    } catch (err) {
      this.#log.error({ err }, 'what was received last cannot be made durable')
    }
    this.#stop.abort(reason)
    await this.#close().catch(() => {})
  }

  /** Makes what was converted durable and notes the place, if there is room for the note. */
  async #checkpoint(): Promise<void> {
    const position = this.#offset
    if (!this.#journal.takesMore || position === this.#durableOffset) return
    await this.#disk.settle()
    const checkpoint = this.#engine.checkpoint()
    if (checkpoint === undefined) return
    await this.#target.sync(this.#disk.takeWritten(), this.#stop.signal)
    try {
      if (await this.#journal.keep(this.#facts, checkpoint)) this.#durableOffset = position
    } catch (err) {
      // What was noted before still holds.
      this.#log.warn({ err }, 'the progress of the upload cannot be noted')
    }
  }

  async #end(reason: CdiError): Promise<void> {
    this.#fault ??= reason
    this.#stop.abort(reason)
    await this.#inTurn(() => Promise.resolve())
  }

  async #close(): Promise<void> {
    await this.#engine[Symbol.asyncDispose]()
    await this.#target[Symbol.asyncDispose]()
  }

  /** A fault of the conversion is final: a part of a buffer cannot be taken back. */
  async #unlessFailed<T>(work: () => Promise<T>): Promise<T> {
    if (this.#fault !== undefined) throw this.#fault
    try {
      return await work()
    } catch (thrown) {
      this.#fault ??= toCdiError(thrown)
      throw this.#fault
    }
  }
}

interface DiskOptions {
  readonly target: Target
  readonly facts: ImageFacts
  readonly signal: AbortSignal
}

function recordingDisk({ target, facts: { clusterBytes = 1 }, signal }: DiskOptions): RecordingDisk {
  return new RecordingDisk(new DiskWriter({ target, unitBytes: clusterBytes, name: imageName, signal }))
}

const imageName = 'the upload'

function engineOf({
  options: { journal, volume },
  facts,
  disk,
  signal,
  resumption,
  onServed,
}: {
  options: ImageTransferOptions
  facts: ImageFacts
  disk: ForwardDisk
  signal: AbortSignal
  resumption?: ImageResumption
  onServed?: (diskOffset: number, diskBytes: number) => void
}): ForwardEngine {
  const { onePass } = facts
  if (onePass === undefined || typeof onePass === 'string') {
    throw new CdiError('CDI_INTERNAL', 'an image that is not read in one pass was taken for one that is')
  }
  return new ForwardEngine({
    reader: forwardReader({ layout: onePass, facts, name: imageName }),
    facts,
    name: imageName,
    disk,
    scratchDirectory: volume.scratchDirectory,
    signal,
    onTable: (offset, bytes) => journal.addTable(offset, bytes),
    ...(resumption === undefined ? {} : { resume: { ...resumption, ...(onServed === undefined ? {} : { onServed }) } }),
  })
}

/** Remembers which parts of the disk were given to it, for the next sync. */
class RecordingDisk implements ForwardDisk {
  readonly #disk: DiskWriter
  #written = new RangeSet()

  constructor(disk: DiskWriter) {
    this.#disk = disk
  }

  stored(diskOffset: number, bytes: Buffer): void | Promise<void> {
    this.#written.add(diskOffset, diskOffset + bytes.length)
    return this.#disk.stored(diskOffset, bytes)
  }

  room(bytes: number): Promise<Buffer> {
    return this.#disk.room(bytes)
  }

  packed(unit: PackedUnit, bytes: Buffer, onUsed: (usedBytes: number) => void): void {
    this.#written.add(unit.diskOffset, unit.diskOffset + unit.diskBytes)
    this.#disk.packed(unit, bytes, onUsed)
  }

  settle(): Promise<void> {
    return this.#disk.settle()
  }

  /** What was given since the last call; it was written if `settle` came between. */
  takeWritten(): ReturnType<() => RangeSet['ranges']> {
    const { ranges } = this.#written
    this.#written = new RangeSet()
    return ranges
  }
}
