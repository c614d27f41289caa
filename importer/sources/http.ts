/**
 * Source http and https. Opening asks HEAD, then GET for the first bytes: the answer to that decides whether the source
 * can be read by ranges (206, total length told) or forward only (200; that very answer is then the stream). Whatever
 * heals is retried inside (resumable.ts); what comes out are all bytes of one version, or one CdiError.
 *
 * http/client.ts      redirects, credentials, connections
 * http/connection.ts  HTTP/1.1 on one connection
 * http/dial.ts        TCP, TLS, proxies
 * http/validator.ts   ETags, dates, ranges
 */
import { CdiError } from '../../src/errors.ts'
import { safeUrl } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { HttpClient } from './http/client.ts'
import type { ClientResponse } from './http/client.ts'
import { parseHeaderLines } from './http/extra-headers.ts'
import { parseLength } from './http/head.ts'
import type { HeaderLine, ResponseHead } from './http/head.ts'
import { createTrust } from './http/trust.ts'
import {
  changed,
  checkContentRange,
  checkSameVersion,
  ifRange,
  parseContentRange,
  rangeHeader,
  validatorOf,
} from './http/validator.ts'
import type { Validator } from './http/validator.ts'
import { Peekable } from './peekable.ts'
import type { ProxySettings } from './proxy.ts'
import { defaultPatience, Patience, Pulse, refuseToResume, resumable } from './resumable.ts'
import type { OpenRange, PatienceLimits, PatienceOptions } from './resumable.ts'
import type { ByteRange, ForwardSource, RangedSource, Sink, Source } from './source.ts'

export interface HttpOptions {
  readonly url: string
  /** Basic authentication; used only if both are non-empty. */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Full header lines, `Name: value`. */
  readonly headers: readonly string[]
  /** The same, but their values are never logged or shown. */
  readonly secretHeaders: readonly string[]
  /** PEM files that are trusted beside the system's roots. */
  readonly ca?: readonly string[]
  readonly insecureSkipVerify: boolean
  readonly proxy: ProxySettings
  /** Silence of a connection that is suffered before it is made anew, in milliseconds; 60 s unless told. */
  readonly idleTimeoutMs?: number
  /** For a connection to be made, in milliseconds; 30 s unless told. */
  readonly connectTimeoutMs?: number
  readonly log: Log
  readonly clock?: Clock
  readonly random?: () => number
  readonly patience?: PatienceLimits
  readonly userAgent?: string
}

/** Streams at once that a web server is good for. */
const parallel = 4
/** Fetched when opening and kept: what inspection looks at, and the beginning of the transfer. */
const firstRange: ByteRange = { offset: 0, length: 256 * 1024 }
/** HEAD is a courtesy (contract: import §8); a server that does not answer it must not cost a minute. */
const longestHeadWaitMs = 10_000
/** Quick tries when opening, for servers that answer only now and then. */
const openingTries = 4
/** So long is waited between them if the server asks for it. */
const longestOpeningPauseMs = 60_000

/**
 * Opens an http(s) URL. Throws CDI_USAGE, CDI_SOURCE_UNREACHABLE, _TLS, _STATUS, _REDIRECT, _INTERRUPTED, _STALLED with
 * the messages of contract import §8 (the step in front of them is the caller's), or the signal's reason.
 */
export async function openHttp(options: HttpOptions, signal: AbortSignal): Promise<Source> {
  const opening = new Opening(options)
  try {
    return await opening.open(signal)
  } catch (error) {
    await opening.client[Symbol.asyncDispose]()
    throw error
  }
}

/** What was found out while opening; shared by both kinds of source. */
interface Opened {
  readonly client: HttpClient
  readonly patience: PatienceOptions
  readonly name: string
  readonly contentType: string | undefined
  readonly validator: Validator | undefined
}

class Opening {
  readonly client: HttpClient
  readonly #name: string
  readonly #patience: PatienceOptions
  readonly #idleTimeoutMs: number
  /** Of the requests made here: the answer to one may live on as a forward stream, past the signal of opening. */
  readonly #requests = new AbortController()

  constructor(options: HttpOptions) {
    const { log, clock = systemClock, random = Math.random } = options
    const url = parseUrl(options.url)
    this.#name = safeUrl(url)
    this.#idleTimeoutMs = options.idleTimeoutMs ?? 60_000
    this.#patience = { clock, random, log, limits: options.patience ?? defaultPatience, pulse: new Pulse(clock) }
    const { credentials = fromUserInfo(url) } = options
    url.username = ''
    url.password = ''
    this.client = new HttpClient({
      url,
      credentials: credentials?.user && credentials.password ? credentials : undefined,
      headers: [
        ...parseHeaderLines(options.headers, 'extra header'),
        ...parseHeaderLines(options.secretHeaders, 'secret extra header'),
      ],
      secureContext: () => createTrust({ ca: options.ca ?? [], log }),
      insecureSkipVerify: options.insecureSkipVerify,
      proxy: options.proxy,
      idleTimeoutMs: this.#idleTimeoutMs,
      connectTimeoutMs: options.connectTimeoutMs ?? 30_000,
      userAgent: options.userAgent ?? 'cdi-golang-importer',
      keepIdle: 2 * parallel,
      log,
    })
  }

  async open(signal: AbortSignal): Promise<Source> {
    signal.throwIfAborted()
    const onAbort = (): void => this.#requests.abort(signal.reason)
    signal.addEventListener('abort', onAbort)
    try {
      return await this.#probe(signal)
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  async #probe(signal: AbortSignal): Promise<Source> {
    const told = await this.#head(signal)
    if (told?.headers.get('accept-ranges')?.toLowerCase() === 'none') return this.#openForward(told, signal)
    const response = await this.#get([['Range', rangeHeader(firstRange)]], signal)
    if (response.status === 200) return this.#forward(response, told)
    if (response.status === 206) {
      const { first, totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
      if (first === 0 && totalBytes !== undefined) return this.#ranged(response, totalBytes, signal)
    }
    response.discard()
    if ([401, 403, 404, 407, 410].includes(response.status)) throw statusFault(response, 200)
    // An empty file (416), a length that is not told, or a server that stumbles over Range.
    return this.#openForward(told, signal)
  }

  async #head(signal: AbortSignal): Promise<ResponseHead | undefined> {
    try {
      const idleTimeoutMs = Math.min(longestHeadWaitMs, this.#idleTimeoutMs)
      const response = await this.client.send({ method: 'HEAD', idleTimeoutMs }, this.#requests.signal)
      response.discard()
      if (response.status === 200) return response
      this.#patience.log.debug({ status: response.status }, 'HEAD refused, going on with GET')
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CdiError) || error.code === 'CDI_SOURCE_UNREACHABLE') throw error
      if (error.code === 'CDI_SOURCE_TLS' || error.code === 'CDI_USAGE') throw error
      this.#patience.log.debug({ err: error }, 'HEAD failed, going on with GET')
    }
    return undefined
  }

  async #get(headers: readonly HeaderLine[], signal: AbortSignal): Promise<ClientResponse> {
    const { clock, random, limits } = this.#patience
    for (let tries = 1; ; tries += 1) {
      let askedMs = 0
      try {
        const response = await this.client.send({ method: 'GET', headers }, this.#requests.signal)
        // 501 and 505 are no accidents.
        const hiccup = response.status === 429 || [500, 502, 503, 504].includes(response.status)
        if (!hiccup || tries === openingTries) return response
        askedMs = Math.min(parseRetryAfter(response) ?? 0, longestOpeningPauseMs)
        response.discard()
      } catch (error) {
        const hiccup = error instanceof CdiError && error.code === 'CDI_SOURCE_INTERRUPTED'
        if (!hiccup || tries === openingTries) throw error
      }
      await clock.sleep(Math.max(askedMs, limits.firstPauseMs * 2 ** tries * (0.5 + random() / 2)), signal)
    }
  }

  async #openForward(told: ResponseHead | undefined, signal: AbortSignal): Promise<Source> {
    const response = await this.#get([], signal)
    if (response.status === 200) return this.#forward(response, told)
    response.discard()
    throw statusFault(response, 200)
  }

  #forward(response: ClientResponse, told: ResponseHead | undefined): ForwardSource {
    return httpForward(this.#opened(response), response, announcedLength(response, told))
  }

  async #ranged(response: ClientResponse, sizeBytes: number, signal: AbortSignal): Promise<RangedSource> {
    const wanted = Math.min(firstRange.length, sizeBytes)
    const beginning = Buffer.allocUnsafeSlow(wanted)
    let filled = 0
    try {
      await response.body((chunk) => {
        if (filled + chunk.length > wanted) throw changed('the first answer is longer than asked for')
        filled += chunk.copy(beginning, filled)
      })
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CdiError) || error.code === 'CDI_SOURCE_CHANGED') throw error
      // What did arrive is right; the streams get the rest with all their patience.
      this.#patience.log.debug({ err: error, filled }, 'first range cut short')
    }
    return httpRanged(this.#opened(response), sizeBytes, beginning.subarray(0, filled))
  }

  #opened(head: ResponseHead): Opened {
    return {
      client: this.client,
      patience: this.#patience,
      name: this.#name,
      contentType: head.headers.get('content-type')?.split(';', 1)[0]?.trim().toLowerCase(),
      validator: validatorOf(head),
    }
  }
}

function httpRanged(opened: Opened, sizeBytes: number, beginning: Buffer): RangedSource {
  const { client, patience, validator } = opened
  const open = rangeOpener(opened, sizeBytes)
  const read = resumable({ ...patience, open, guarded: validator !== undefined })
  return {
    kind: 'ranged',
    name: opened.name,
    ...factsOf(opened),
    sizeBytes,
    pinned: validator?.strong === true,
    parallel,
    async stream({ offset, length }, sink, signal) {
      const end = offset + length
      if (offset < 0 || end > sizeBytes) throw new RangeError(`${offset}+${length} is beyond ${sizeBytes} bytes`)
      signal.throwIfAborted()
      let at = offset
      if (at < end && at < beginning.length) {
        const piece = beginning.subarray(at, Math.min(end, beginning.length))
        at += piece.length
        await sink(piece)
      }
      if (at < end) await read({ offset: at, length: end - at }, sink, signal)
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** One GET for a range, checked to be that range of the right version. */
function rangeOpener({ client, validator }: Opened, sizeBytes: number): OpenRange {
  return async (range, sink, signal) => {
    const response = await client.send({ method: 'GET', headers: rangeHeaders(range, validator) }, signal)
    let expected: number
    try {
      expected = checkRangeAnswer(response, range, sizeBytes, validator)
    } catch (error) {
      response.discard()
      throw error
    }
    let left = expected
    await response.body((chunk) => {
      if (chunk.length > left) throw changed('an answer is longer than its Content-Range')
      left -= chunk.length
      return sink(chunk)
    })
    if (left > 0) {
      throw new CdiError('CDI_SOURCE_INTERRUPTED', 'HTTP request errored: an answer is shorter than its Content-Range')
    }
  }
}

function rangeHeaders(range: ByteRange, validator: Validator | undefined): HeaderLine[] {
  return [
    ['Range', rangeHeader(range)],
    ...(validator === undefined ? [] : [['If-Range', ifRange(validator)] as const]),
  ]
}

/** How many bytes the body must have. */
function checkRangeAnswer(
  response: ClientResponse,
  range: ByteRange,
  sizeBytes: number,
  validator: Validator | undefined,
): number {
  switch (response.status) {
    case 206:
      checkSameVersion(validator, response)
      return checkContentRange(range, sizeBytes, response)
    case 200:
      // Either If-Range did not hold, or the server has lost its ability for ranges.
      checkSameVersion(validator, response)
      if (range.offset === 0 && range.length === sizeBytes && announcedLength(response, undefined) === sizeBytes) {
        return sizeBytes
      }
      throw statusFault(response, 206)
    case 412:
      throw changed('the server says that it is not the same any more')
    case 416:
      checkStillAsLong(response, sizeBytes)
      throw statusFault(response, 206)
    default:
      throw statusFault(response, 206)
  }
}

function checkStillAsLong(response: ResponseHead, sizeBytes: number): void {
  const { totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
  if (totalBytes !== undefined && totalBytes !== sizeBytes) {
    throw changed(`it had ${sizeBytes} bytes and has ${totalBytes}`)
  }
}

function httpForward(opened: Opened, first: ClientResponse, sizeBytes: number | undefined): ForwardSource {
  const transfer = new ForwardTransfer(opened, first, sizeBytes)
  const peekable = new Peekable((sink, signal) => transfer.run(sink, signal))
  return {
    kind: 'forward',
    name: opened.name,
    ...factsOf(opened),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    peek: (signal) => peekable.peek(signal),
    stream: (sink, signal) => peekable.stream(sink, signal),
    async [Symbol.asyncDispose]() {
      await opened.client[Symbol.asyncDispose]()
      await peekable[Symbol.asyncDispose]()
    },
  }
}

/** One pass over the whole body, across as many connections as it takes. */
class ForwardTransfer {
  readonly #opened: Opened
  readonly #sizeBytes: number | undefined
  #first: ClientResponse
  #done = 0
  #ended = false

  constructor(opened: Opened, first: ClientResponse, sizeBytes: number | undefined) {
    this.#opened = opened
    this.#first = first
    this.#sizeBytes = sizeBytes
  }

  async run(sink: Sink, signal: AbortSignal): Promise<void> {
    const patience = new Patience(this.#opened.patience)
    let sinkFault: { readonly error: unknown } | undefined
    const onSinkError = (error: unknown): never => {
      sinkFault = { error }
      throw error
    }
    const following: Sink = (chunk) => {
      this.#done += chunk.length
      patience.progressed()
      if (this.#sizeBytes !== undefined && this.#done > this.#sizeBytes) {
        return onSinkError(changed(`it has more than the announced ${this.#sizeBytes} bytes`))
      }
      try {
        return sink(chunk)?.catch(onSinkError)
      } catch (error) {
        return onSinkError(error)
      }
    }
    // The first answer was asked for with another signal than the one that rules the transfer.
    const onAbort = (): void => this.#first.discard()
    signal.addEventListener('abort', onAbort)
    let read = (to: Sink): Promise<void> => this.#first.body(to)
    try {
      while (!this.#ended) {
        try {
          await read(following)
          this.#ended = true
        } catch (error) {
          if (sinkFault !== undefined) throw sinkFault.error
          signal.throwIfAborted()
          this.#checkResumable(error)
          await patience.wait(error, signal)
          read = async (to) => {
            const again = await this.#reopen(signal)
            await again(to)
          }
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    this.#checkLength()
  }

  #checkResumable(error: unknown): void {
    if (this.#done > 0 && this.#opened.validator === undefined && error instanceof CdiError) {
      throw refuseToResume(error, this.#done)
    }
  }

  /** Asks for the rest; what comes back reads it. */
  async #reopen(signal: AbortSignal): Promise<(sink: Sink) => Promise<void>> {
    const { client, validator } = this.#opened
    const headers: HeaderLine[] =
      this.#done === 0 || validator === undefined
        ? []
        : [
            ['Range', `bytes=${this.#done}-`],
            ['If-Range', ifRange(validator)],
          ]
    const response = await client.send({ method: 'GET', headers }, signal)
    try {
      return this.#readerOf(response)
    } catch (error) {
      response.discard()
      throw error
    }
  }

  #readerOf(response: ClientResponse): (sink: Sink) => Promise<void> {
    const { validator } = this.#opened
    const offset = this.#done
    switch (response.status) {
      case 206: {
        checkSameVersion(validator, response)
        const { first, totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
        if (first !== offset || (this.#sizeBytes ?? totalBytes) !== totalBytes) {
          throw changed(`asked for bytes from ${offset} the server sent ${response.headers.get('content-range')}`)
        }
        return (sink) => response.body(sink)
      }
      case 200:
        checkSameVersion(validator, response)
        if (offset > 0 && validator?.etag === undefined) {
          throw new CdiError(
            'CDI_SOURCE_CHANGED',
            `the source cannot be resumed at byte ${offset}: the server has no ranges and no ETag for it`,
          )
        }
        return (sink) => response.body(skipping(offset, sink))
      case 416: {
        const { totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
        // The cut came after the last byte of a body whose length was not told.
        if (totalBytes === offset) {
          response.discard()
          return () => Promise.resolve()
        }
        throw totalBytes === undefined ? statusFault(response, 206) : changed(`it has ${totalBytes} bytes now`)
      }
      case 412:
        throw changed('the server says that it is not the same any more')
      default:
        throw statusFault(response, offset === 0 ? 200 : 206)
    }
  }

  #checkLength(): void {
    if (this.#sizeBytes === undefined || this.#done === this.#sizeBytes) return
    throw new CdiError(
      'CDI_SOURCE_TRUNCATED',
      `the source ended after ${this.#done} of the announced ${this.#sizeBytes} bytes`,
      { details: { sizeBytes: this.#sizeBytes, receivedBytes: this.#done } },
    )
  }
}

function skipping(bytes: number, sink: Sink): Sink {
  let left = bytes
  return (chunk) => {
    if (left === 0) return sink(chunk)
    const skipped = Math.min(left, chunk.length)
    left -= skipped
    return skipped < chunk.length ? sink(chunk.subarray(skipped)) : undefined
  }
}

/** What is told about the source besides its bytes; only a validator that shows every change names a version. */
function factsOf({ contentType, validator }: Opened): { contentType?: string; validator?: string } {
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(validator?.strong ? { validator: ifRange(validator) } : {}),
  }
}

/**
 * Length of a 200: its own Content-Length, else what HEAD told of the same version (contract: import §8). A zero told by
 * HEAD alone is what servers say that do not know.
 */
function announcedLength(response: ResponseHead, told: ResponseHead | undefined): number | undefined {
  const own = response.headers.get('content-length')
  if (own !== undefined && response.headers.get('transfer-encoding') === undefined) return parseLength(own)
  const earlier = told?.headers.get('content-length')
  if (earlier === undefined || told?.headers.get('etag') !== response.headers.get('etag')) return undefined
  return /^[1-9]\d{0,14}$/.test(earlier) ? parseLength(earlier) : undefined
}

/** The texts that conditions show (contract: import §8): `expected status code 200, got 404. Status: 404 Not Found`. */
function statusFault(response: ResponseHead, expected: number): CdiError {
  const { status, reason } = response
  const retryAfterMs = parseRetryAfter(response)
  return new CdiError(
    'CDI_SOURCE_STATUS',
    `expected status code ${expected}, got ${status}. Status: ${`${status} ${reason}`.trim()}`,
    { details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) } },
  )
}

/** Longest wait that a server may ask for, in milliseconds. */
const longestRetryAfterMs = 300_000

/** Retry-After in seconds or as a date, measured by the server's own clock (RFC 9110 §10.2.3). */
function parseRetryAfter({ headers }: ResponseHead): number | undefined {
  const value = headers.get('retry-after')
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.parse(headers.get('date') ?? '')
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, longestRetryAfterMs) : undefined
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  // The text may hold a password, so it is not quoted.
  if (url === null || url.hostname === '') throw new CdiError('CDI_USAGE', 'the address of the source is not a URL')
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new CdiError('CDI_USAGE', `the source is not http or https but ${url.protocol.slice(0, -1)}`)
  }
  return url
}

function fromUserInfo(url: URL): { user: string; password: string } | undefined {
  if (url.username === '') return undefined
  return { user: decodeURIComponent(url.username), password: decodeURIComponent(url.password) }
}
