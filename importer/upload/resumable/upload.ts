/**
 * One resumable upload: what its requests share. A request that appends ends the one before, whose connection may be half
 * dead (both protocols want that); pieces by ranges are taken side by side. When nothing has come for a while it expires.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { CdiError, toCdiError } from '../../../src/errors.ts'
import { answerTo, RequestRefusal } from '../answers.ts'
import type { Answer, Exchange } from '../exchange.ts'
import { PieceMismatch } from '../piece.ts'
import type { PieceOptions } from '../piece.ts'
import { assertRaw } from '../raw-head.ts'
import type { RawTransfer } from '../raw-transfer.ts'
import type { Reading } from '../reading.ts'
import type { Hold } from '../slot.ts'
import { SlotRefusal } from '../slot.ts'
import type { Checksum } from '../../sources/checksum.ts'
import type { UploadResult } from '../transfer.ts'
import type { ResumableTransfer } from './resumable-transfer.ts'

/** A client that sends from another place than where the upload goes on. */
export class OffsetMismatch extends RequestRefusal {
  readonly expected: number
  readonly provided: number

  constructor(expected: number, provided: number) {
    super(409, `the upload goes on at byte ${expected}, not ${provided}`)
    this.name = 'OffsetMismatch'
    this.expected = expected
    this.provided = provided
  }
}

/** How long an upload lives if nothing comes. */
export interface Expiry {
  /** Of one whose bytes lie on the volume already. */
  readonly rawMs: number
  readonly streamMs: number
}

export const defaultExpiry: Expiry = { rawMs: 24 * 3_600_000, streamMs: 3_600_000 }
/** The last request is answered after so long, whether the volume is finished or not: ingresses cut at 30 s. */
export const patienceMs = 20_000

/** An id that nobody guesses. */
export function newUploadId(): string {
  return randomBytes(16).toString('base64url')
}

export interface UploadOptions {
  readonly id: string
  readonly byRanges: boolean
  /** What the client told of the whole when it began. */
  readonly checksums: readonly Checksum[]
  readonly hold: Hold<ResumableTransfer>
  readonly expiry: Expiry
  /** Milliseconds since the epoch. */
  readonly now: () => number
  /** Called when the volume is finished, before anybody hears of it; must not throw. */
  readonly onDone: (result: UploadResult) => Promise<void>
}

/** What became of the end of an upload: the volume is finished, or that takes longer than a request may. */
export type Outcome = 'done' | 'pending'

export class Upload {
  readonly id: string
  readonly byRanges: boolean
  readonly checksums: readonly Checksum[]
  readonly hold: Hold<ResumableTransfer>
  /** What came with the beginning, to be told again (tus). */
  metadata: string | undefined
  readonly #expiry: Expiry
  readonly #now: () => number
  readonly #onDone: UploadOptions['onDone']
  #expiresMs = 0
  #timer: NodeJS.Timeout | undefined
  /** The request that appends. */
  #reading: { readonly reading: Reading; readonly over: Promise<void> } | undefined
  #finishing: Promise<UploadResult> | undefined

  constructor({ id, byRanges, checksums, hold, expiry, now, onDone }: UploadOptions) {
    this.id = id
    this.byRanges = byRanges
    this.checksums = checksums
    this.hold = hold
    this.#expiry = expiry
    this.#now = now
    this.#onDone = onDone
    this.touch()
  }

  get transfer(): ResumableTransfer {
    return this.hold.transfer
  }

  get raw(): RawTransfer | undefined {
    return this.transfer.raw
  }

  /** The client has said that all is there. */
  get isComplete(): boolean {
    return this.#finishing !== undefined
  }

  /** Milliseconds since the epoch. */
  get expiresMs(): number {
    return this.#expiresMs
  }

  /** Seconds that it lives if nothing comes. */
  get maxAgeSeconds(): number {
    return Math.max(0, Math.floor((this.#expiresMs - this.#now()) / 1000))
  }

  /** Its bytes lie where any process can go on with them. */
  get #lifeMs(): number {
    return this.raw === undefined ? this.#expiry.streamMs : this.#expiry.rawMs
  }

  /** Something came. */
  touch(): void {
    const lifeMs = this.#lifeMs
    this.#expiresMs = this.#now() + lifeMs
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#expire(), lifeMs)
    // It keeps nothing alive.
    this.#timer.unref()
  }

  /** Of an upload of an earlier process: what was told to its client holds. */
  expireAt(ms: number): void {
    this.#expiresMs = ms
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#expire(), Math.max(0, ms - this.#now()))
    this.#timer.unref()
  }

  /** Throws the answer of an upload that is over: 410, the fault that it failed with, or 503 if the program ends. */
  assertThere(): void {
    const { fault, isSuspended } = this.hold
    if (fault !== undefined) throw overBecause(fault, isSuspended)
  }

  /**
   * Ends the request that appends, if there is one, and makes what it brought durable. What it had sent before its client
   * came back may still be on the way here, and is awaited for a moment. Throws CDI_TARGET_*.
   */
  async interrupt(): Promise<void> {
    while (this.#reading !== undefined) {
      const { reading, over } = this.#reading
      await drained(reading, over)
      reading.abort(new CdiError('CDI_ABORTED', 'another request of the same upload came'))
      await over
    }
    if (this.hold.state === 'open') await this.#unlessFatal(() => this.transfer.settle())
    this.touch()
  }

  /**
   * Takes the body of a request that begins at `offset`, after the request before has ended. Throws OffsetMismatch,
   * SlotRefusal, and what the transfer throws; a fault of the upload as a whole ends it.
   */
  async append(
    exchange: Exchange,
    { offset, onReading, ...piece }: PieceOptions & { offset: number; onReading?: (signal: AbortSignal) => void },
  ): Promise<void> {
    await this.interrupt()
    this.assertThere()
    if (offset !== this.transfer.offset) throw new OffsetMismatch(this.transfer.offset, offset)
    const over = Promise.withResolvers<void>()
    try {
      await this.hold.read(async (reading) => {
        this.#reading = { reading, over: over.promise }
        onReading?.(reading.signal)
        await this.#unlessFatal(
          () => this.transfer.append(reading.body(exchange.body()), reading.signal, piece),
          reading,
        )
      })
    } finally {
      this.#reading = undefined
      over.resolve()
      this.touch()
    }
  }

  /**
   * Takes the bytes from `start` to `end` of a raw disk, beside other requests. Throws as {@link append}.
   * `isZeros`: they are all zero and do not stand in the body.
   */
  async writeAt(
    raw: RawTransfer,
    exchange: Exchange,
    { start, end, isZeros = false, ...piece }: PieceOptions & { start: number; end: number; isZeros?: boolean },
  ): Promise<void> {
    this.assertThere()
    try {
      await this.hold.read((reading) => {
        const exact = isZeros ? zeros(end - start) : exactly(reading.body(exchange.body()), end - start)
        const body = start === 0 ? rawOnly(exact) : exact
        return this.#unlessFatal(() => raw.writeAt(start, body, reading.signal, piece), reading)
      })
    } finally {
      this.touch()
    }
  }

  /**
   * Lets `work` take what a request brings for a raw disk, beside other requests; it gets the body watched for silence,
   * and a signal to heed. Throws as {@link append}.
   */
  async take(
    exchange: Exchange,
    work: (body: AsyncIterable<Buffer>, signal: AbortSignal) => Promise<void>,
  ): Promise<void> {
    this.assertThere()
    try {
      await this.hold.read((reading) =>
        this.#unlessFatal(() => work(reading.body(exchange.body()), reading.signal), reading),
      )
    } finally {
      this.touch()
    }
  }

  /** All is there: finishes the volume, once. Rejects with the fault; the upload is over then. */
  finish(): Promise<UploadResult> {
    this.#finishing ??= this.#finish()
    return this.#finishing
  }

  /** The same, but no longer than a request may take. */
  async outcome(withinMs: number): Promise<Outcome> {
    const patience = Promise.withResolvers<Outcome>()
    const timer = setTimeout(() => patience.resolve('pending'), withinMs)
    try {
      return await Promise.race([this.finish().then((): Outcome => 'done'), patience.promise])
    } finally {
      clearTimeout(timer)
    }
  }

  /** Answers, and remembers if the client knows now that the volume is finished. */
  async answer(exchange: Exchange, answer: Answer): Promise<void> {
    const isDone = this.hold.state === 'done'
    const isOut = await exchange.answer(answer)
    if (isDone && isOut) this.hold.delivered()
  }

  async #finish(): Promise<UploadResult> {
    const finishing = this.hold.finish()
    // Whoever asked may have gone.
    finishing.catch(() => {})
    const result = await finishing
    clearTimeout(this.#timer)
    await this.#onDone(result)
    return result
  }

  /** A fault of the upload, and not only of the request, ends it. */
  async #unlessFatal<T>(work: () => Promise<T>, reading?: Reading): Promise<T> {
    try {
      return await work()
    } catch (thrown) {
      this.assertThere()
      if (thrown === reading?.signal.reason || isOfRequest(thrown)) throw thrown
      const fault = toCdiError(thrown)
      await this.hold.drop(fault)
      throw fault
    }
  }

  #expire(): void {
    if (this.hold.state !== 'open') return
    if (this.hold.isRead) this.touch()
    else void this.hold.drop(new CdiError('CDI_ABORTED', 'nothing came for too long'))
  }
}

/** A connection that brings nothing for so long has nothing more on the way. */
const drainedMs = 200
/** And in any case the client that came back need not wait longer. */
const mostDrainMs = 3000
const drainLookMs = 20

/** Waits until the rest of what an abandoned connection had brought is read. */
async function drained(reading: Reading, over: Promise<void>): Promise<void> {
  const state = { isOver: false }
  void over.then(() => (state.isOver = true))
  const endMs = performance.now() + mostDrainMs
  while (!state.isOver && reading.silentMs < drainedMs && performance.now() < endMs) await delay(drainLookMs)
}

/** Throws RequestRefusal if the body has more bytes, or fewer. */
async function* exactly(body: AsyncIterable<Buffer>, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes
  for await (const chunk of body) {
    left -= chunk.length
    if (left < 0) throw new RequestRefusal(400, 'the body has more bytes than Content-Range tells')
    yield chunk
  }
  if (left > 0) throw new RequestRefusal(400, 'the body has fewer bytes than Content-Range tells')
}

async function* zeros(bytes: number): AsyncGenerator<Buffer> {
  const block = Buffer.alloc(Math.min(bytes, 1024 * 1024))
  for (let left = bytes; left > 0; left -= block.length) yield block.subarray(0, left)
}

/** Where a disk format or an encoding shows itself, but for odd ones that are found in the end. */
const magicBytes = 4096

/** Throws CDI_FORMAT_UNSUPPORTED if the body, which begins the disk, is something else than a raw disk. */
async function* rawOnly(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let head: Buffer | undefined = Buffer.alloc(0)
  for await (const chunk of body) {
    if (head === undefined) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    if (head.length < magicBytes) continue
    assertRaw(head)
    yield head
    head = undefined
  }
  if (head === undefined) return
  assertRaw(head)
  yield head
}

function isOfRequest(thrown: unknown): boolean {
  if (thrown instanceof PieceMismatch || thrown instanceof RequestRefusal || thrown instanceof SlotRefusal) return true
  return (
    thrown instanceof CdiError && (thrown.code === 'CDI_SOURCE_INTERRUPTED' || thrown.code === 'CDI_SOURCE_STALLED')
  )
}

/** What requests of an upload that is over are told: its own fault, that it is gone, or that the program ends. */
function overBecause(fault: CdiError, isSuspended: boolean): Error {
  // The next program tells where the upload goes on, or that it does not.
  if (isSuspended) return new RequestRefusal(503, `this upload server is ending: ${fault.message}`)
  if (fault.code !== 'CDI_ABORTED') return fault
  return new RequestRefusal(410, `this upload is over: ${fault.message}`)
}

/** The answer to what was thrown, with the headers of a protocol. */
export function answerWith(thrown: unknown, headers: Answer['headers']): Answer {
  const known = thrown instanceof PieceMismatch ? thrown.fault : thrown
  const answer = answerTo(known)
  return { ...answer, headers: { ...answer.headers, ...headers } }
}
