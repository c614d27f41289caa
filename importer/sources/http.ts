/**
 * Source http and https. Opening asks HEAD, then GET for the first bytes: the answer to that decides whether the source
 * can be read by ranges (206, total length and version told) or forward only (200; that very answer is then the stream).
 * Pieces of a file whose version nothing names could be of two versions, so it is read in one answer. Whatever heals is
 * retried inside (resumable.ts); what comes out are all bytes of one version, or one CdiError.
 *
 * http/ranged.ts      reading by ranges
 * http/forward.ts     reading from front to end
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
import type { Authority, ClientResponse } from './http/client.ts'
import { parseHeaderLines } from './http/extra-headers.ts'
import { httpForward } from './http/forward.ts'
import type { HeaderLine, ResponseHead } from './http/head.ts'
import type { Opened } from './http/opened.ts'
import { httpRanged } from './http/ranged.ts'
import { announcedLength, parseRetryAfter, refusal } from './http/status.ts'
import type { Explain } from './http/status.ts'
import { createTrust } from './http/trust.ts'
import { userInfoOf } from './http/user-info.ts'
import { changed, parseContentRange, rangeHeader, validatorOf } from './http/validator.ts'
import type { ProxySettings } from './proxy.ts'
import { defaultPatience, Pulse } from './resumable.ts'
import type { PatienceLimits, PatienceOptions } from './resumable.ts'
import type { ByteRange, ForwardSource, RangedSource, Source } from './source.ts'

export interface HttpOptions {
  readonly url: string
  /** Basic authentication; used only if both are non-empty. */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Signs requests instead of `credentials`: object stores and registries. */
  readonly authority?: Authority
  /** How a range is tied to the version that was opened; `If-Range` unless told. Object stores know only `If-Match`. */
  readonly guard?: Opened['guard']
  /** Finds words for refused answers. Whoever has them understands ranges too: nothing is asked again without them. */
  readonly explain?: Explain
  /** False: a redirect is a refused answer. */
  readonly followRedirects?: boolean
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

class Opening {
  readonly client: HttpClient
  readonly #name: string
  readonly #patience: PatienceOptions
  readonly #idleTimeoutMs: number
  readonly #guard: Opened['guard']
  readonly #explain: Explain | undefined
  /** Of the requests made here: the answer to one may live on as a forward stream, past the signal of opening. */
  readonly #requests = new AbortController()

  constructor(options: HttpOptions) {
    const { log, clock = systemClock, random = Math.random } = options
    const url = parseUrl(options.url)
    this.#name = safeUrl(url)
    this.#idleTimeoutMs = options.idleTimeoutMs ?? 60_000
    this.#guard = options.guard ?? 'If-Range'
    this.#explain = options.explain
    this.#patience = { clock, random, log, limits: options.patience ?? defaultPatience, pulse: new Pulse(clock) }
    const { credentials = userInfoOf(url) } = options
    url.username = ''
    url.password = ''
    this.client = new HttpClient({
      url,
      credentials: credentials?.user && credentials.password ? credentials : undefined,
      authority: options.authority,
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
      followRedirects: options.followRedirects,
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
      const isVersioned = validatorOf(response) !== undefined
      if (first === 0 && totalBytes !== undefined && isVersioned) return this.#ranged(response, totalBytes, signal)
    }
    const understood = this.#explain !== undefined && response.status !== 206 && response.status !== 416
    if (understood || [401, 403, 404, 407, 410].includes(response.status)) throw await this.#refusal(response)
    response.discard()
    // An empty file (416), a length or version that is not told, or a server that stumbles over Range.
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
    throw await this.#refusal(response)
  }

  #refusal(response: ClientResponse): Promise<CdiError> {
    return refusal(response, 200, { explain: this.#explain, signal: this.#requests.signal })
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
      parallel,
      guard: this.#guard,
      explain: this.#explain,
    }
  }
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
