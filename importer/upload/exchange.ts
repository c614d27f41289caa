/**
 * One request and its answer. Two things are done here for all protocols: a body is asked for only when somebody reads it
 * (`Expect: 100-continue`), and an answer reaches a client that is still sending. Closing a socket with unread bytes makes
 * the kernel send a reset, which can overtake the answer; so what still comes is thrown away for a while first.
 */
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http'
import { CdiError } from '../../src/errors.ts'

/** How long the rest of a body is thrown away behind an early answer. */
export interface Linger {
  /** Nothing has come for so long. */
  readonly idleMs: number
  readonly totalMs: number
}

export const defaultLinger: Linger = { idleMs: 5000, totalMs: 30_000 }

export interface Answer {
  readonly status: number
  readonly headers?: OutgoingHttpHeaders
  /** UTF-8; none unless given. */
  readonly text?: string
}

export interface ExchangeOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client waits for `100 Continue` before it sends the body. */
  readonly expectsContinue: boolean
  readonly linger?: Linger
}

/** Takes one request; throws what answers.ts knows how to answer. */
export type Handler = (exchange: Exchange) => Promise<void>

export class Exchange {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** Of the URL, without the query. */
  readonly path: string
  readonly #linger: Linger
  /** The client waits for a word before it sends. */
  #held: boolean
  /** Wakes who waits for the body. */
  #wake: (() => void) | undefined
  /** Takes the hands of who reads the body off the request. */
  #letGo = (): void => {}
  #stopped = false

  constructor({ request, response, expectsContinue, linger = defaultLinger }: ExchangeOptions) {
    this.request = request
    this.response = response
    this.path = (request.url ?? '').split('?', 1)[0] ?? ''
    this.#linger = linger
    this.#held = expectsContinue
    // Without listeners an error would end the process; readers find it in the request.
    request.on('error', () => {})
    response.on('error', () => {})
  }

  get method(): string {
    return this.request.method ?? ''
  }

  /** A header that may stand once; of several the values joined by commas, as Node joins them. */
  header(name: string): string | undefined {
    const value = this.request.headers[name]
    return Array.isArray(value) ? value.join(', ') : value
  }

  /** What `Content-Length` says, in bytes; the connection carries no more, and fewer are an error of the body. */
  get announcedBytes(): number | undefined {
    const text = this.request.headers['content-length']
    return text === undefined ? undefined : Number(text)
  }

  /** The connection is gone, and with it whoever waits for an answer. */
  get isGone(): boolean {
    return this.response.destroyed || (this.request.destroyed && !this.request.complete)
  }

  /**
   * The body, read as it is asked for. Leaving early closes nothing. Throws CDI_SOURCE_INTERRUPTED if the connection
   * breaks before the end.
   */
  async *body(): AsyncGenerator<Buffer, void, undefined> {
    const { request } = this
    if (this.#held) {
      this.#held = false
      this.response.writeContinue()
    }
    const onEvent = (): void => this.#wake?.()
    // Not `read()`, which copies what has gathered into one new buffer: twice the work, and all of it garbage.
    const chunks: Buffer[] = []
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk)
      if (chunks.length >= mostAhead) request.pause()
      this.#wake?.()
    }
    for (const event of bodyEvents) request.on(event, onEvent)
    request.on('data', onData)
    this.#letGo = () => {
      for (const event of bodyEvents) request.off(event, onEvent)
      request.off('data', onData)
      request.pause()
    }
    try {
      while (!this.#stopped) {
        const chunk = chunks.shift()
        if (chunk !== undefined) {
          yield chunk
          continue
        }
        if (request.readableEnded) return
        if (request.destroyed) throw interrupted(request)
        const event = new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        if (request.isPaused()) request.resume()
        await event
      }
    } finally {
      this.#letGo()
    }
  }

  /**
   * Answers, once. A client that is still sending gets the whole answer at once, and its connection is closed when it has
   * stopped, or after a while. Resolves with whether the answer went out; never throws.
   */
  async answer({ status, headers, text = '' }: Answer): Promise<boolean> {
    const { request, response } = this
    if (this.isGone || response.headersSent) return false
    const isEarly = !request.complete && this.hasBody
    // Whoever still stands in the body reads no more, and must not hold back what is thrown away.
    this.#stopped = true
    this.#letGo()
    this.#wake?.()
    const closed = new Promise<void>((resolve) => response.once('close', resolve))
    response.writeHead(status, {
      ...(text === '' ? {} : { 'content-type': 'text/plain; charset=utf-8' }),
      'x-content-type-options': 'nosniff',
      // RFC 9110 §8.6: never with this status.
      ...(status === 204 ? {} : { 'content-length': Buffer.byteLength(text) }),
      ...(isEarly ? { connection: 'close' } : {}),
      ...headers,
    })
    if (isEarly) {
      if (text === '' || this.method === 'HEAD') response.flushHeaders()
      else response.write(text)
      await this.#throwAwayRest()
      response.end()
    } else {
      response.end(this.method === 'HEAD' ? undefined : text)
    }
    await closed
    return response.writableFinished
  }

  /** The request has a body, of which nothing may have come yet. */
  get hasBody(): boolean {
    return this.header('transfer-encoding') !== undefined || (this.announcedBytes ?? 0) > 0
  }

  async #throwAwayRest(): Promise<void> {
    const { request } = this
    const over = Promise.withResolvers<void>()
    const total = setTimeout(over.resolve, this.#linger.totalMs)
    const idle = setTimeout(over.resolve, this.#linger.idleMs)
    request.on('data', () => idle.refresh())
    for (const event of ['end', 'close'] as const) request.once(event, () => over.resolve())
    request.resume()
    if (request.destroyed || request.complete) over.resolve()
    await over.promise
    clearTimeout(total)
    clearTimeout(idle)
  }
}

/** Chunks (16 KiB each, as TLS has them) that are taken from the connection before they are asked for. */
const mostAhead = 4
const bodyEvents = ['end', 'error', 'close'] as const

function interrupted({ errored }: IncomingMessage): CdiError {
  const text = errored?.message ?? 'closed'
  return new CdiError(
    'CDI_SOURCE_INTERRUPTED',
    `the connection of the client broke in the middle of the upload: ${text}`,
    {
      cause: errored,
    },
  )
}
