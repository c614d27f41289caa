/**
 * A raw disk in ranges, several at once (docs/design/0007-uploads.md, `/v1beta1/upload-ranges`): what is there is asked
 * for, what is missing is sent, until nothing is missing; then the server is told that this was all. Long stretches of
 * zeros are only named. Whatever happens on the way, the next turn begins with asking.
 */
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../kube/clock.ts'
import { CdiError, errorTable } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import type { Answer, Exchange, UploadRequest } from './connection.ts'
import { CutOff } from './cut-off.ts'
import { Pace } from './pace.ts'
import { gapsOf, Pieces } from './pieces.ts'
import type { DiskPiece, Range } from './pieces.ts'
import { askUntilLost } from './transfer.ts'
import type { Transfer, TransferEvents } from './transfer.ts'
import type { Trouble } from './trouble.ts'
import type { FileBytes } from './upload-bytes.ts'
import { judge } from './verdict.ts'
import type { Verdict } from './verdict.ts'
import { rangesBeginHeader, rangesUploadIdHeader, rangesZerosHeader } from '../../api/upload-env.ts'

export const rangesPath = '/v1beta1/upload-ranges'

export interface RangesOptions {
  readonly exchange: Exchange
  readonly bytes: FileBytes
  readonly clock: Clock
  readonly trouble: Trouble
  readonly events: TransferEvents
  /** Requests at once. */
  readonly parallel: number
  /** Id of an upload that was begun before. */
  readonly address?: string
  /** Go with the end: `repr-digest`. */
  readonly headers?: Readonly<Record<string, string>>
  readonly pace?: Pace
}

/** The parts of the server's answer that are read. */
interface RangesState {
  readonly id: string
  readonly length: number
  readonly state: 'open' | 'finishing' | 'done' | 'failed'
  readonly ranges: readonly Range[]
  readonly error?: string
  readonly code?: string
}

type Fault = CutOff | CdiError | Exclude<Verdict, { kind: 'ok' }>

/** So often the upload begins anew without getting further than before. */
const maxVainRestarts = 3
/** The first piece comes alone: it opens the volume. */
const firstBytes = 1024 * 1024

export class RangesTransfer implements Transfer {
  readonly #o: RangesOptions
  readonly #pace: Pace
  #id: string | undefined
  /** The id that our next upload shall have: another client may begin in the same moment. */
  #begins = newId()
  #skipsZeros = true
  /** Bytes that the server has, and the most it ever had. */
  #there = 0
  /** Bytes sent of pieces that are not confirmed yet. */
  #inFlight = 0
  #best = 0
  #vainRestarts = 0

  constructor(options: RangesOptions) {
    this.#o = options
    this.#pace = options.pace ?? new Pace()
    this.#id = options.address
  }

  async send(signal: AbortSignal): Promise<void> {
    const { trouble } = this.#o
    for (;;) {
      signal.throwIfAborted()
      const state = await this.#ask(signal)
      if (state === undefined) {
        if (trouble.isFinished) return
        continue
      }
      if (state === 'none') {
        await this.#begin(signal)
        continue
      }
      if (state.state === 'done' || state.state === 'finishing') return
      this.#arrived(state)
      const gaps = gapsOf(state.length, state.ranges)
      if (gaps.length > 0) await this.#fill(gaps, signal)
      else if (await this.#finish(signal)) return
      if (trouble.isFinished) return
    }
  }

  async untilLost(signal: AbortSignal): Promise<void> {
    const request = { method: 'GET', path: rangesPath, signal } as const
    const lost = await askUntilLost({ ...this.#o, request }, signal, (answer) => {
      const state = stateOf(answer)
      const isOver = state.state === 'failed' && state.id === this.#id
      if (isOver && !passes(state)) throw refused(state)
      return isOver || state.id !== this.#id || state.state === 'open'
    })
    if (lost.isGone) this.#lose(lost.text)
  }

  /** What the server has of our upload; `none` if it has nothing, undefined after trouble. */
  async #ask(signal: AbortSignal): Promise<RangesState | 'none' | undefined> {
    const { bytes, trouble, events } = this.#o
    const answer = await this.#request({ method: 'GET', path: rangesPath, signal })
    if (!isAnswer(answer)) {
      if (isGone(answer)) return this.#isNew ? 'none' : this.#gone(answer.text, signal)
      await this.#suffer(answer, signal)
      return undefined
    }
    trouble.answered()
    const state = stateOf(answer)
    if (this.#isNew && state.id === this.#begins) {
      // The answer to the first piece got lost.
      this.#id = state.id
      await events.onAddress(state.id)
    }
    if (state.id === this.#id && state.state === 'failed') {
      if (this.#there > 0 && !passes(state)) throw refused(state)
      // Of an earlier run.
      return this.#lose(state.error ?? 'it failed')
    }
    const isOurs = state.id === this.#id && state.length === bytes.sizeBytes
    if (isOurs) return state
    if (!this.#isNew) return this.#gone('another upload is there', signal)
    if (state.state === 'failed') return 'none'
    if (state.state !== 'open') {
      throw new CdiError('CDI_UPLOAD_TARGET', 'another upload has filled the volume')
    }
    await this.#drop(signal)
    return 'none'
  }

  get #isNew(): boolean {
    return this.#id === undefined
  }

  async #gone(text: string, signal: AbortSignal): Promise<'none' | undefined> {
    if (await this.#o.trouble.gone(text, signal)) return undefined
    return this.#lose(text)
  }

  #lose(text: string): 'none' {
    this.#vainRestarts = this.#there > this.#best ? 0 : this.#vainRestarts + 1
    if (this.#vainRestarts > maxVainRestarts) {
      throw new CdiError('CDI_UPLOAD_INTERRUPTED', `the server loses the upload again and again: ${text}`)
    }
    this.#best = Math.max(this.#best, this.#there)
    this.#o.events.onRestart(text)
    this.#o.trouble.sentEverything = false
    this.#id = undefined
    this.#begins = newId()
    this.#there = 0
    return 'none'
  }

  /** Somebody else's upload that nobody goes on with would be mixed with ours. */
  async #drop(signal: AbortSignal): Promise<void> {
    const answer = await this.#request({ method: 'DELETE', path: rangesPath, signal })
    if (!isAnswer(answer) && !isGone(answer)) await this.#suffer(answer, signal)
  }

  /** Sends the first bytes, by which the server opens the volume, and learns the upload's id. */
  async #begin(signal: AbortSignal): Promise<void> {
    const { bytes, events } = this.#o
    const piece = { start: 0, end: Math.min(firstBytes, bytes.sizeBytes), isZero: false }
    const answer = await this.#put(piece, signal)
    if (!isAnswer(answer)) return this.#suffer(answer, signal)
    const told = await this.#request({ method: 'GET', path: rangesPath, signal })
    if (!isAnswer(told)) return this.#suffer(told, signal)
    this.#id = stateOf(told).id
    await events.onAddress(this.#id)
  }

  #arrived({ ranges }: RangesState): void {
    const there = ranges.reduce((sum, [start, end]) => sum + end - start, 0)
    if (there > this.#there) this.#o.trouble.progressed()
    this.#there = there
    this.#tell()
  }

  #tell(): void {
    this.#o.events.onProgress(Math.min(this.#there + this.#inFlight, this.#o.bytes.sizeBytes))
  }

  /** Sends what is missing, several pieces at once. Pieces that fail are left for the next turn. */
  async #fill(gaps: readonly Range[], signal: AbortSignal): Promise<void> {
    const { bytes, parallel } = this.#o
    const pieces = new Pieces({ bytes, gaps, skipsZeros: this.#skipsZeros })
    let lastFault: Fault | undefined
    let failuresInRow = 0
    const work = async (): Promise<void> => {
      // As many failures as there are connections, with no success between, are the network's.
      while (failuresInRow < parallel && mayGoOn(lastFault)) {
        const piece = await pieces.next(this.#pace.bytes)
        if (piece === undefined) return
        const answer = await this.#put(piece, signal)
        if (isAnswer(answer)) {
          failuresInRow = 0
          this.#there += piece.end - piece.start
          this.#o.trouble.progressed()
          this.#tell()
        } else {
          failuresInRow += 1
          lastFault = answer
        }
      }
    }
    const results = await Promise.allSettled(Array.from({ length: parallel }, work))
    signal.throwIfAborted()
    for (const result of results) if (result.status === 'rejected') throw result.reason
    if (lastFault !== undefined) await this.#suffer(lastFault, signal)
  }

  async #put(piece: DiskPiece, signal: AbortSignal): Promise<Answer | Fault> {
    if (!piece.isZero) return this.#putData(piece, signal)
    const answer = await this.#request({
      method: 'PUT',
      path: rangesPath,
      headers: { ...this.#headersOf(piece), [rangesZerosHeader]: '1', 'content-length': '0' },
      signal,
    })
    if (isAnswer(answer)) return answer
    if (answer instanceof Error || answer.kind !== 'fatal' || answer.error.details['status'] !== 400) return answer
    // A server that does not know the header misses the body. The next turn sends bytes.
    this.#skipsZeros = false
    return { kind: 'retry', text: 'the server wants zeros as bytes', leastMs: 0 }
  }

  async #putData(piece: DiskPiece, signal: AbortSignal): Promise<Answer | Fault> {
    const { bytes, clock } = this.#o
    const length = piece.end - piece.start
    const startedMs = clock.monotonicMs()
    let sent = 0
    const count = (chunkBytes: number): void => {
      sent += chunkBytes
      this.#inFlight += chunkBytes
      this.#tell()
    }
    const answer = await this.#request({
      method: 'PUT',
      path: rangesPath,
      headers: this.#headersOf(piece),
      body: { length, chunks: counted(bytes.chunks(piece.start, length), count) },
      signal,
    })
    const tookMs = clock.monotonicMs() - startedMs
    this.#inFlight -= sent
    if (isAnswer(answer)) this.#pace.succeeded(length, tookMs)
    else this.#pace.wasCut(sent, tookMs)
    return answer
  }

  #headersOf({ start, end }: DiskPiece): Record<string, string> {
    return {
      'content-range': `bytes ${start}-${end - 1}/${this.#o.bytes.sizeBytes}`,
      ...(this.#id === undefined ? { [rangesBeginHeader]: this.#begins } : { [rangesUploadIdHeader]: this.#id }),
    }
  }

  /** True when the server has taken it as finished, or is about to. */
  async #finish(signal: AbortSignal): Promise<boolean> {
    const { headers, trouble } = this.#o
    trouble.sentEverything = true
    const answer = await this.#request({
      method: 'POST',
      path: rangesPath,
      headers: { ...headers, ...(this.#id === undefined ? {} : { [rangesUploadIdHeader]: this.#id }) },
      signal,
    })
    if (isAnswer(answer)) return true
    await this.#suffer(answer, signal)
    return false
  }

  /** The answer if it is a good one, otherwise what was wrong. Throws what no repetition changes. */
  async #request(request: UploadRequest): Promise<Answer | Fault> {
    let answer: Answer
    try {
      answer = await this.#o.exchange.send(request)
    } catch (error) {
      const isPassing = error instanceof CutOff || (error instanceof CdiError && error.code === 'CDI_UPLOAD_TLS')
      if (isPassing) return error
      throw error
    }
    const verdict = judge(answer)
    return verdict.kind === 'ok' ? answer : verdict
  }

  async #suffer(fault: Fault, signal: AbortSignal): Promise<void> {
    const { trouble } = this.#o
    if (fault instanceof Error) return trouble.cut(fault, signal)
    // Another upload took the place of ours: the next turn asks, and says so.
    return trouble.judged(fault, signal)
  }
}

/** 22 base64url characters. */
function newId(): string {
  return randomBytes(16).toString('base64url')
}

function isAnswer(outcome: Answer | Fault): outcome is Answer {
  return !(outcome instanceof Error) && 'status' in outcome
}

/** The other pieces still make sense after this. */
function mayGoOn(fault: Fault | undefined): boolean {
  return fault === undefined || fault instanceof Error || fault.kind === 'retry'
}

function isGone(fault: Fault): fault is Extract<Verdict, { kind: 'gone' }> {
  return !(fault instanceof Error) && fault.kind === 'gone'
}

function refused(state: RangesState): CdiError {
  return new CdiError(codeOf(state) ?? 'CDI_UPLOAD_REFUSED', state.error ?? 'the server does not say what is wrong')
}

/** The same upload may work now. */
function passes(state: RangesState): boolean {
  const code = codeOf(state)
  return code !== undefined && errorTable[code].kind !== 'terminal'
}

function codeOf({ code }: RangesState): ErrorCode | undefined {
  return code !== undefined && Object.hasOwn(errorTable, code) ? (code as ErrorCode) : undefined
}

/** Throws CDI_UPLOAD_REFUSED for an answer that is none of an upload server. */
function stateOf({ text, status }: Answer): RangesState {
  try {
    const state = JSON.parse(text) as RangesState
    if (typeof state.id === 'string' && Array.isArray(state.ranges) && Number.isSafeInteger(state.length)) return state
  } catch {
    // Told below.
  }
  throw new CdiError('CDI_UPLOAD_REFUSED', `the upload proxy answered ${status} with something else than a state`)
}

async function* counted(
  chunks: AsyncIterable<Buffer>,
  count: (length: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    yield chunk
    count(chunk.length)
  }
}
