/**
 * An upload by tus 1.0.0 (https://tus.io/protocols/resumable-upload), one request after the other, each as long as the
 * line and the ingresses on the way allow ({@link Pace}). After any trouble the server is asked where it is, and the
 * upload goes on there; only when the server has lost it does it begin anew, and that is said.
 */
import type { Clock } from '../../kube/clock.ts'
import { CdiError } from '../../errors.ts'
import type { Answer, Exchange, UploadRequest } from './connection.ts'
import { CutOff } from './cut-off.ts'
import { Pace } from './pace.ts'
import { askUntilLost } from './transfer.ts'
import type { Transfer, TransferEvents } from './transfer.ts'
import type { Trouble } from './trouble.ts'
import type { UploadBytes } from './upload-bytes.ts'
import { judge } from './verdict.ts'

export const tusPath = '/v1beta1/upload-tus'
const tusVersion = { 'tus-resumable': '1.0.0' } as const

/** So often the upload begins anew without getting further than before. */
const maxVainRestarts = 3

export interface TusOptions {
  readonly exchange: Exchange
  readonly bytes: UploadBytes
  readonly clock: Clock
  readonly trouble: Trouble
  readonly events: TransferEvents
  /** Address of an upload that was begun before. */
  readonly address?: string
  /** Go with the creation: `upload-metadata`, `repr-digest`. */
  readonly headers?: Readonly<Record<string, string>>
  readonly pace?: Pace
}

export class TusTransfer implements Transfer {
  readonly #o: TusOptions
  readonly #pace: Pace
  #address: string | undefined
  /** Where the server is; undefined when it has to be asked. */
  #offset: number | undefined
  /** The most that the server had of this upload, and of the ones before it that it lost. */
  #reached = 0
  #best = 0
  #vainRestarts = 0
  #lengthIsTold = false

  constructor(options: TusOptions) {
    this.#o = options
    this.#pace = options.pace ?? new Pace()
    this.#address = options.address
  }

  async send(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted()
      if (await this.#step(signal)) return
    }
  }

  async untilLost(signal: AbortSignal): Promise<void> {
    const address = this.#address
    if (address === undefined) return
    const request = { method: 'HEAD', path: address, headers: tusVersion, signal } as const
    const lost = await askUntilLost({ ...this.#o, request }, signal, (answer) => {
      const offset = numberOf(answer, 'upload-offset')
      return offset !== undefined && offset !== this.#o.bytes.sizeBytes
    })
    this.#offset = undefined
    if (lost.isGone) this.#begin(lost.text)
  }

  /** One request; true when all is done. */
  async #step(signal: AbortSignal): Promise<boolean> {
    if (this.#address === undefined) return this.#create(signal)
    if (this.#offset === undefined) return this.#ask(this.#address, signal)
    const { sizeBytes } = this.#o.bytes
    if (this.#offset === sizeBytes && this.#lengthIsTold) return true
    return this.#append(this.#address, this.#offset, signal)
  }

  async #create(signal: AbortSignal): Promise<boolean> {
    const { bytes, headers, events, trouble } = this.#o
    const answer = await this.#send({
      method: 'POST',
      path: tusPath,
      headers: { ...headers, ...lengthHeader(bytes.sizeBytes), 'content-length': '0' },
      signal,
    })
    if (answer === undefined) return trouble.isFinished
    const address = addressOf(answer)
    if (address === undefined) {
      throw new CdiError('CDI_UPLOAD_REFUSED', `the upload proxy answered ${answer.status} without an address`)
    }
    this.#address = address
    this.#offset = 0
    this.#lengthIsTold = bytes.sizeBytes !== undefined
    await events.onAddress(address)
    return false
  }

  /** Asks where the server is. */
  async #ask(address: string, signal: AbortSignal): Promise<boolean> {
    const { bytes, trouble } = this.#o
    const answer = await this.#send({ method: 'HEAD', path: address, signal })
    if (answer === undefined) return trouble.isFinished
    const offset = numberOf(answer, 'upload-offset')
    const length = numberOf(answer, 'upload-length')
    if (offset === undefined) {
      throw new CdiError('CDI_UPLOAD_REFUSED', `the upload proxy answered ${answer.status} without an offset`)
    }
    if (length !== undefined && bytes.sizeBytes !== undefined && length !== bytes.sizeBytes) {
      return this.#begin(`the server has an upload of ${length} bytes under way, not of ${bytes.sizeBytes}`)
    }
    if (offset < bytes.leastOffset) await bytes.piece(offset, 1, signal)
    this.#lengthIsTold = length !== undefined
    this.#arrivedAt(offset)
    return false
  }

  async #append(address: string, offset: number, signal: AbortSignal): Promise<boolean> {
    const { bytes, clock, trouble } = this.#o
    const { body, isLast } = await bytes.piece(offset, this.#pace.bytes, signal)
    const started = clock.monotonicMs()
    let sent = 0
    const answer = await this.#send({
      method: 'PATCH',
      path: address,
      headers: {
        'content-type': 'application/offset+octet-stream',
        'upload-offset': String(offset),
        ...(isLast && !this.#lengthIsTold ? { 'upload-length': String(offset + body.length) } : {}),
      },
      body: {
        length: body.length,
        chunks: counted(body.chunks, (length) => {
          sent += length
          if (isLast && sent === body.length) trouble.sentEverything = true
          this.#o.events.onProgress(offset + sent)
        }),
      },
      signal,
    })
    const tookMs = clock.monotonicMs() - started
    if (answer === undefined) {
      this.#pace.wasCut(sent, tookMs)
      return trouble.isFinished
    }
    this.#pace.succeeded(body.length, tookMs)
    if (isLast) this.#lengthIsTold = true
    this.#arrivedAt(numberOf(answer, 'upload-offset') ?? offset + body.length)
    return false
  }

  /** Nothing is known yet of what this upload has become. */
  get #isOfEarlierRun(): boolean {
    return this.#reached === 0 && this.#address !== undefined && this.#address === this.#o.address
  }

  #arrivedAt(offset: number): void {
    this.#offset = offset
    this.#o.events.onProgress(offset)
    if (offset > this.#reached) {
      this.#reached = offset
      this.#o.trouble.progressed()
    }
  }

  #begin(text: string): false {
    if (this.#o.bytes.leastOffset > 0) {
      throw new CdiError('CDI_UPLOAD_LOST', `the server lost what had arrived of standard input: ${text}`)
    }
    this.#vainRestarts = this.#reached > this.#best ? 0 : this.#vainRestarts + 1
    if (this.#vainRestarts > maxVainRestarts) {
      throw new CdiError('CDI_UPLOAD_INTERRUPTED', `the server loses the upload again and again: ${text}`)
    }
    this.#best = Math.max(this.#best, this.#reached)
    if (this.#reached > 0 || this.#o.address === this.#address) this.#o.events.onRestart(text)
    this.#address = undefined
    this.#offset = undefined
    this.#reached = 0
    this.#o.trouble.sentEverything = false
    return false
  }

  /** The answer if it is a good one; otherwise what to do next is settled, and the pause before it is over. */
  async #send(request: UploadRequest): Promise<Answer | undefined> {
    const { exchange, trouble } = this.#o
    const { signal } = request
    let answer: Answer
    try {
      answer = await exchange.send({ ...request, headers: { ...tusVersion, ...request.headers } })
    } catch (error) {
      // A certificate that was good a moment ago is being exchanged.
      if (!(error instanceof CutOff) && !isCertificateFault(error)) throw error
      this.#offset = undefined
      await trouble.cut(error, signal)
      return undefined
    }
    const verdict = judge(answer)
    if (verdict.kind === 'ok') {
      trouble.answered()
      return answer
    }
    this.#offset = undefined
    // A fault that passes, of an upload that is over.
    const isOver = verdict.kind === 'retry' && answer.status === 500 && request.method === 'HEAD'
    if ((verdict.kind === 'gone' || isOver) && this.#address !== undefined) {
      if (!(await trouble.gone(verdict.text, signal))) this.#begin(verdict.text)
      return undefined
    }
    if (verdict.kind === 'fatal' && request.method === 'HEAD' && this.#isOfEarlierRun) {
      this.#begin(verdict.error.message)
      return undefined
    }
    await trouble.judged(verdict, signal)
    return undefined
  }
}

function isCertificateFault(error: unknown): error is CdiError {
  return error instanceof CdiError && error.code === 'CDI_UPLOAD_TLS'
}

function lengthHeader(sizeBytes: number | undefined): Record<string, string> {
  return sizeBytes === undefined ? { 'upload-defer-length': '1' } : { 'upload-length': String(sizeBytes) }
}

/** The path of the new upload. It is taken from an absolute address too, since proxies in between see other names. */
function addressOf({ headers }: Answer): string | undefined {
  const { location } = headers
  if (location === undefined) return undefined
  const path = URL.parse(location, `https://proxy${tusPath}`)?.pathname
  const at = path?.lastIndexOf(`${tusPath}/`) ?? -1
  return at === -1 ? undefined : path?.slice(at)
}

function numberOf({ headers }: Answer, name: string): number | undefined {
  const text = headers[name]
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
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
