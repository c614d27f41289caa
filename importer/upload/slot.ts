/**
 * The one place for an upload that a volume has: whoever writes to it holds the slot (docs/design/0007-uploads.md).
 *
 *   idle ──claim──► held ──finish──► processing ──► done
 *    ▲               │                   │
 *    └──────drop─────┴──────failure──────┘
 *
 * A hold counts as busy while a request of it is read. Between requests it stays, so that a client can come back and go
 * on, but gives way to whoever begins anew; so does one whose client has been silent for {@link yieldMs}. Thus a client
 * that went away never blocks the next one, and there is never more than one writer.
 */
import { CdiError, toCdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { Reading } from './reading.ts'
import type { Transfer, UploadResult } from './transfer.ts'

export type SlotState = 'idle' | 'held' | 'processing' | 'done'

/** Why a request cannot have the slot: another upload is read or processed, the volume is finished, or this hold is over. */
export type RefusalReason = 'busy' | 'done' | 'gone'

const refusalTexts: Readonly<Record<RefusalReason, string>> = {
  busy: 'another upload into this volume is in progress',
  done: 'this volume has been uploaded already',
  gone: 'this upload is over: it was dropped, has failed, or another one took its place',
}

export class SlotRefusal extends Error {
  readonly reason: RefusalReason

  constructor(reason: RefusalReason) {
    super(refusalTexts[reason])
    this.name = 'SlotRefusal'
    this.reason = reason
  }
}

/** A reader that has heard nothing for so long gives way to a new upload. */
export const yieldMs = 30_000
/** A reader that has heard nothing for so long is ended in any case, so that a half-dead connection does not stay. */
export const idleMs = 10 * 60_000

export interface SlotOptions {
  readonly log: Log
  /** {@link yieldMs} and {@link idleMs} unless told. */
  readonly yieldMs?: number
  readonly idleMs?: number
}

export class Slot {
  readonly #log: Log
  readonly #yieldMs: number
  readonly #idleMs: number
  readonly #done = Promise.withResolvers<UploadResult>()
  readonly #delivered = Promise.withResolvers<void>()
  readonly #scratch = Promise.withResolvers<CdiError>()
  #hold: Hold | undefined
  /** Claims are made one after the other: taking a place may have to wait for the last holder's bytes to be dropped. */
  #claiming = false
  #isDone = false
  #ended = false

  constructor({ log, ...limits }: SlotOptions) {
    this.#log = log
    this.#yieldMs = limits.yieldMs ?? yieldMs
    this.#idleMs = limits.idleMs ?? idleMs
  }

  get state(): SlotState {
    if (this.#isDone) return 'done'
    if (this.#hold === undefined) return this.#claiming ? 'held' : 'idle'
    return this.#hold.isProcessing ? 'processing' : 'held'
  }

  /** Somebody writes or is about to: the program must not end now of its own accord. */
  get isBusy(): boolean {
    return this.#claiming || (this.#hold !== undefined && (this.#hold.isProcessing || this.#hold.isRead))
  }

  /** Milliseconds since a request was read last; 0 while busy, infinite if nothing is held. */
  get quietMs(): number {
    if (this.isBusy) return 0
    return this.#hold?.quietMs ?? Number.POSITIVE_INFINITY
  }

  /** Settles when the volume is finished. */
  get done(): Promise<UploadResult> {
    return this.#done.promise
  }

  /** Settles when a client has been told that the volume is finished; see {@link Hold.delivered}. */
  get delivered(): Promise<void> {
    return this.#delivered.promise
  }

  /** Settles with the fault when an upload could not go on without a scratch volume. */
  get scratchRequired(): Promise<CdiError> {
    return this.#scratch.promise
  }

  /** Throws SlotRefusal if {@link claim} would do so right now: lets a request be refused before its body is asked for. */
  assertFree(): void {
    if (this.#isDone) throw new SlotRefusal('done')
    if (this.#ended || this.#claiming || this.#hold?.blocks(this.#yieldMs) === true) throw new SlotRefusal('busy')
  }

  /**
   * Begins a new upload; `open` is called when nobody writes any more. A hold that gives way is dropped first, and one
   * that is just being dropped is waited for. Throws SlotRefusal (`busy`, `done`) or what `open` throws.
   */
  async claim<T extends Transfer>(open: () => T | Promise<T>): Promise<Hold<T>> {
    this.assertFree()
    this.#claiming = true
    try {
      await this.#hold?.drop(new CdiError('CDI_ABORTED', 'another upload took its place'))
      const hold = new Hold<T>({
        transfer: await open(),
        idleMs: this.#idleMs,
        log: this.#log,
        onOver: (fault) => {
          if (this.#hold === hold) this.#hold = undefined
          if (fault.kind === 'needsScratch') this.#scratch.resolve(fault)
        },
        onDone: (result) => {
          this.#isDone = true
          this.#done.resolve(result)
        },
        onDelivered: () => this.#delivered.resolve(),
      })
      this.#hold = hold
      return hold
    } finally {
      this.#claiming = false
    }
  }

  /**
   * The program ends. Nothing can be claimed any more; what is held is suspended, or dropped if it cannot be. Resolves
   * when nobody writes any more.
   */
  async end(reason: CdiError): Promise<void> {
    this.#ended = true
    await this.#hold?.suspend(reason)
  }
}

interface HoldOptions<T> {
  readonly transfer: T
  readonly idleMs: number
  readonly log: Log
  readonly onOver: (fault: CdiError) => void
  readonly onDone: (result: UploadResult) => void
  readonly onDelivered: () => void
}

/**
 * - `open`: bytes may be appended.
 * - `processing`: all bytes are there.
 * - `done`: the volume is finished.
 * - `over`: dropped or failed; {@link Hold.fault} says why.
 */
export type HoldState = 'open' | 'processing' | 'done' | 'over'

/** The slot in the hands of one upload. */
export class Hold<T extends Transfer = Transfer> {
  readonly transfer: T
  readonly #options: HoldOptions<T>
  readonly #readings = new Set<Reading>()
  #finishing: Promise<UploadResult> | undefined
  #ending: Promise<void> | undefined
  #lastReadMs = performance.now()
  #result: UploadResult | undefined
  #fault: CdiError | undefined
  #isSuspended = false

  constructor(options: HoldOptions<T>) {
    this.#options = options
    this.transfer = options.transfer
  }

  get state(): HoldState {
    if (this.#result !== undefined) return 'done'
    if (this.#fault !== undefined) return 'over'
    return this.#finishing === undefined ? 'open' : 'processing'
  }

  /** Why the hold is over. */
  get fault(): CdiError | undefined {
    return this.#fault
  }

  /** The hold is over because the program ends: whoever comes again finds the next program, and maybe the upload there. */
  get isSuspended(): boolean {
    return this.#isSuspended
  }

  get isProcessing(): boolean {
    return this.state === 'processing'
  }

  /** A request of it is being read. */
  get isRead(): boolean {
    return this.#readings.size > 0
  }

  /** Milliseconds since a request of it was read last. */
  get quietMs(): number {
    return this.isRead ? 0 : performance.now() - this.#lastReadMs
  }

  /** Nobody else may begin: somebody whose client is not silent for `yieldMs` is read, or it is being processed. */
  blocks(forMs: number): boolean {
    if (this.#fault !== undefined) return false
    return this.isProcessing || [...this.#readings].some((reading) => reading.silentMs < forMs)
  }

  /**
   * Reads a request of this upload; several may be read at once if the transfer can do that. `work` takes the body
   * through the reading, which watches for silence, and heeds its signal. Throws what `work` throws, or SlotRefusal
   * (`busy` while processing and when the program ends, `done`, `gone`).
   */
  async read<R>(work: (reading: Reading) => Promise<R>): Promise<R> {
    const { state } = this
    if (state === 'processing' || this.#isSuspended) throw new SlotRefusal('busy')
    if (state !== 'open') throw new SlotRefusal(state === 'done' ? 'done' : 'gone')
    using reading = new Reading({ idleMs: this.#options.idleMs })
    this.#readings.add(reading)
    try {
      return await work(reading)
    } finally {
      this.#readings.delete(reading)
      this.#lastReadMs = performance.now()
    }
  }

  /**
   * All bytes are there: finishes the transfer. The same promise each time, so that whoever comes back can wait for it
   * too. Rejects with the CdiError that ended the upload; the slot is then free.
   */
  finish(): Promise<UploadResult> {
    this.#finishing ??= this.#finish()
    return this.#finishing
  }

  /** Gives up the upload, unless it is done, and resolves when nobody writes any more. */
  drop(reason: CdiError): Promise<void> {
    return this.#giveUp(reason, () => this.transfer.drop(reason))
  }

  /** The program ends: as {@link drop}, but what another program can go on with stays. */
  suspend(reason: CdiError): Promise<void> {
    this.#isSuspended = this.#result === undefined && this.#fault === undefined
    return this.#giveUp(reason, () =>
      this.transfer.suspend === undefined ? this.transfer.drop(reason) : this.transfer.suspend(reason),
    )
  }

  #giveUp(reason: CdiError, stop: () => Promise<void>): Promise<void> {
    if (this.#result !== undefined) return Promise.resolve()
    this.#ending ??= this.#end(reason, stop)
    return this.#ending
  }

  /** To be called when a client was told that this upload is done: the program need not wait for it to ask again. */
  delivered(): void {
    if (this.#result !== undefined) this.#options.onDelivered()
  }

  async #finish(): Promise<UploadResult> {
    if (this.#fault !== undefined) throw this.#fault
    try {
      const result = await this.transfer.finish()
      if (this.#fault !== undefined) throw this.#fault
      this.#result = result
      this.#options.onDone(result)
      return result
    } catch (thrown) {
      const fault = this.#fault ?? toCdiError(thrown)
      await this.drop(fault)
      throw fault
    }
  }

  async #end(reason: CdiError, stop: () => Promise<void>): Promise<void> {
    this.#fault = reason
    for (const reading of this.#readings) reading.abort(reason)
    await stop()
    this.#options.log.info(
      { reason: reason.message, code: reason.code, offset: this.transfer.offset },
      'upload dropped',
    )
    this.#options.onOver(reason)
  }
}
