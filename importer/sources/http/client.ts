/**
 * Requests to one host: redirects, credentials, proxies and connections. The first answer fixes ("pins") where later
 * requests for a URL go, so that a redirect costs once per transfer and not once per range; when the pinned place stops
 * answering (signed URLs expire), the original is asked again.
 */
import type { SecureContext } from 'node:tls'
import { CdiError } from '../../../src/errors.ts'
import { safeUrl } from '../../../src/log.ts'
import type { Log } from '../../../src/log.ts'
import { chooseProxy, portOf, proxyAuthorization } from '../proxy.ts'
import type { ProxySettings } from '../proxy.ts'
import type { Sink } from '../source.ts'
import { HttpConnection } from './connection.ts'
import { dial } from './dial.ts'
import type { HeaderLine, RequestHead, ResponseHead } from './head.ts'

/**
 * Who we are to the host of the URL: signs requests, asks for tokens. What it adds goes to that host only, never to the
 * target of a redirect to another one.
 */
export interface Authority {
  /** Headers for one request. Asked anew for each, so that signatures and tokens are fresh. */
  headersFor(request: AuthorityRequest, signal: AbortSignal): Promise<readonly HeaderLine[]>
  /** Told of an answer 401 or 403; true if the same request is worth another try, once. */
  refused?(answer: ResponseHead, request: AuthorityRequest, signal: AbortSignal): Promise<boolean>
}

export interface AuthorityRequest {
  readonly method: RequestHead['method']
  readonly url: URL
  /** What the request says besides. */
  readonly headers: readonly HeaderLine[]
}

export interface ClientOptions {
  /** What is asked for unless a request says otherwise; credentials and headers are for its host. */
  readonly url: URL
  readonly authority?: Authority | undefined
  /** Sent, like `headers`, to the host of `url` only. */
  readonly credentials: { readonly user: string; readonly password: string } | undefined
  readonly headers: readonly HeaderLine[]
  readonly secureContext: () => SecureContext
  readonly insecureSkipVerify: boolean
  readonly proxy: ProxySettings
  readonly idleTimeoutMs: number
  readonly connectTimeoutMs: number
  readonly userAgent: string
  /** Connections kept for the next request. */
  readonly keepIdle: number
  /** False: a redirect is an answer like any other. For requests that are signed or carry a secret in their body. */
  readonly followRedirects?: boolean | undefined
  readonly log: Log
}

export interface ClientRequest {
  readonly method: 'GET' | 'HEAD' | 'POST'
  /** Instead of the client's. */
  readonly url?: URL
  /** Sent with its Content-Length; small, for it is written at once. */
  readonly body?: Buffer
  readonly headers?: readonly HeaderLine[]
  /** Instead of the client's. */
  readonly idleTimeoutMs?: number
}

export interface ClientResponse extends ResponseHead {
  /** Hands the body to the sink; see {@link HttpConnection.body}. */
  body(sink: Sink): Promise<void>
  /** For a body that nobody wants. */
  discard(): void
}

const longestRedirectChain = 10
const redirects = new Set([301, 302, 303, 307, 308])
/** What a place says that does not know the file, or us, any more. */
const goneElsewhere = new Set([401, 403, 404, 410])

export class HttpClient implements AsyncDisposable {
  readonly #options: ClientOptions
  /** Where redirects have led to, by the URL that was asked for. */
  readonly #pinned = new Map<string, URL>()
  readonly #connections = new Set<HttpConnection>()
  /** Free connections by where they lead to, the latest last. */
  readonly #free = new Map<string, HttpConnection[]>()
  #secureContext: SecureContext | undefined
  #closed = false

  constructor(options: ClientOptions) {
    this.#options = options
  }

  /**
   * Sends a request, following redirects. Resolves with the head of the answer whatever its status; its body must be
   * read or discarded. Throws CDI_SOURCE_UNREACHABLE, _TLS, _REDIRECT, _INTERRUPTED, _STALLED, CDI_ABORTED
   * once the client is closed, or the signal's reason.
   */
  async send(request: ClientRequest, signal: AbortSignal): Promise<ClientResponse> {
    if (this.#closed) throw new CdiError('CDI_ABORTED', 'the source was closed')
    const original = request.url ?? this.#options.url
    const start = this.#pinned.get(original.href) ?? original
    let { response, url } = await this.#follow(start, request, signal)
    if (goneElsewhere.has(response.status) && start !== original) {
      this.#options.log.info({ url: safeUrl(start), status: response.status }, 'redirect expired, asking anew')
      response.discard()
      ;({ response, url } = await this.#follow(original, request, signal))
    }
    if (response.status === 200 || response.status === 206) this.#pinned.set(original.href, url)
    return response
  }

  /** Drops all connections; whoever still reads gets an error. */
  // oxlint-disable-next-line require-await -- disposal is asynchronous by interface
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    for (const connection of this.#connections) connection.close()
    this.#connections.clear()
    this.#free.clear()
  }

  async #follow(
    start: URL,
    request: ClientRequest,
    signal: AbortSignal,
  ): Promise<{ response: ClientResponse; url: URL }> {
    let url = start
    for (let hops = 0; hops <= longestRedirectChain; hops += 1) {
      const response = await this.#sendWithAuthority(url, request, signal)
      const location = response.headers.get('location')
      const follows = this.#options.followRedirects !== false && redirects.has(response.status)
      if (!follows || location === undefined) return { response, url }
      response.discard()
      url = this.#redirectTarget(url, location)
      this.#options.log.debug({ url: safeUrl(url), status: response.status }, 'following redirect')
    }
    throw new CdiError('CDI_SOURCE_REDIRECT', `HTTP request errored: stopped after ${longestRedirectChain} redirects`)
  }

  #redirectTarget(from: URL, location: string): URL {
    const target = URL.parse(location, from.href)
    if (target === null) {
      throw new CdiError(
        'CDI_SOURCE_REDIRECT',
        'HTTP request errored: the server redirects to something that is no URL',
      )
    }
    if (target.protocol !== 'http:' && target.protocol !== 'https:') {
      throw new CdiError(
        'CDI_SOURCE_REDIRECT',
        `HTTP request errored: the server redirects to ${target.protocol.slice(0, -1)}, which is not http or https`,
      )
    }
    if (from.protocol === 'https:' && target.protocol === 'http:' && this.#options.url.protocol === 'https:') {
      throw new CdiError(
        'CDI_SOURCE_REDIRECT',
        `HTTP request errored: the server redirects from https to unprotected http (${target.host})`,
      )
    }
    return target
  }

  async #sendWithAuthority(url: URL, request: ClientRequest, signal: AbortSignal): Promise<ClientResponse> {
    const { authority, url: original } = this.#options
    if (authority === undefined || !isSameHost(original, url)) return this.#sendTo(url, request, signal)
    const facts: AuthorityRequest = { method: request.method, url, headers: request.headers ?? [] }
    const send = async (): Promise<ClientResponse> => {
      const signed = await authority.headersFor(facts, signal)
      return this.#sendTo(url, { ...request, headers: [...signed, ...facts.headers] }, signal)
    }
    const response = await send()
    if ((response.status !== 401 && response.status !== 403) || authority.refused === undefined) return response
    if (!(await authority.refused(response, facts, signal))) return response
    response.discard()
    return send()
  }

  async #sendTo(url: URL, request: ClientRequest, signal: AbortSignal): Promise<ClientResponse> {
    const proxy = chooseProxy(this.#options.proxy, url)
    const head = this.#requestHead(url, proxy, request)
    const idleTimeoutMs = request.idleTimeoutMs ?? this.#options.idleTimeoutMs
    const key = `${url.origin} ${proxy?.href ?? ''}`
    for (;;) {
      const reused = this.#takeFree(key)
      const connection = reused ?? (await this.#connect(url, proxy, signal))
      try {
        const answer = await connection.request(head, { idleTimeoutMs }, signal)
        return this.#response(connection, key, answer)
      } catch (error) {
        this.#giveBack(connection, key)
        // A server may close an idle connection just as we use it; that says nothing about the request.
        const stale = reused !== undefined && connection.receivedBytes === 0 && !signal.aborted
        if (!stale || !(error instanceof CdiError) || error.code !== 'CDI_SOURCE_INTERRUPTED') throw error
      }
    }
  }

  #response(connection: HttpConnection, key: string, answer: ResponseHead): ClientResponse {
    // Read to its end: the connection belongs to whoever asks next, and what is done with this answer must not touch it.
    let over = false
    const giveBack = (): void => {
      over ||= connection.idle
      this.#giveBack(connection, key)
    }
    giveBack()
    return {
      ...answer,
      body: async (sink) => {
        if (over) return
        try {
          await connection.body(sink)
        } finally {
          giveBack()
        }
      },
      discard: () => {
        if (over) return
        if (!connection.idle) connection.close()
        giveBack()
      },
    }
  }

  #requestHead(url: URL, proxy: URL | undefined, { method, headers = [], body }: ClientRequest): RequestHead {
    const viaProxy = proxy !== undefined && url.protocol === 'http:'
    const authorization = viaProxy ? proxyAuthorization(proxy) : undefined
    const path = `${url.pathname}${url.search}`
    const own = this.#ownHeaders(url)
    const named = (name: string): boolean => [...own, ...headers].some(([given]) => given.toLowerCase() === name)
    return {
      method,
      target: viaProxy ? `${url.protocol}//${url.host}${path}` : path,
      headers: [
        ['Host', url.host],
        ...(named('user-agent') ? [] : ([['User-Agent', this.#options.userAgent]] as const)),
        ...(named('accept') ? [] : ([['Accept', '*/*']] as const)),
        // Bytes as they are: an encoding on the way would change lengths, ranges and checksums.
        ...(named('accept-encoding') ? [] : ([['Accept-Encoding', 'identity']] as const)),
        ...(authorization === undefined ? [] : ([['Proxy-Authorization', authorization]] as const)),
        ...own,
        ...headers,
        ...(body === undefined ? [] : ([['Content-Length', String(body.length)]] as const)),
      ],
      ...(body === undefined ? {} : { body }),
    }
  }

  /** Credentials and extra headers, if `url` is the host that they were given for. */
  #ownHeaders(url: URL): readonly HeaderLine[] {
    const { url: original, credentials, headers } = this.#options
    if (!isSameHost(original, url)) return []
    if (credentials === undefined || headers.some(([name]) => name.toLowerCase() === 'authorization')) return headers
    const pair = Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')
    return [['Authorization', `Basic ${pair}`], ...headers]
  }

  async #connect(url: URL, proxy: URL | undefined, signal: AbortSignal): Promise<HttpConnection> {
    const { insecureSkipVerify, connectTimeoutMs, userAgent } = this.#options
    const wire = await dial(
      {
        url,
        proxy,
        secureContext: () => (this.#secureContext ??= this.#options.secureContext()),
        insecureSkipVerify,
        timeoutMs: connectTimeoutMs,
        userAgent,
      },
      signal,
    )
    const connection = new HttpConnection(wire)
    if (this.#closed) connection.close()
    else this.#connections.add(connection)
    return connection
  }

  #takeFree(key: string): HttpConnection | undefined {
    const free = this.#free.get(key) ?? []
    for (let connection = free.pop(); connection !== undefined; connection = free.pop()) {
      if (connection.idle) return connection
      this.#connections.delete(connection)
    }
    return undefined
  }

  #giveBack(connection: HttpConnection, key: string): void {
    if (connection.closed) {
      this.#connections.delete(connection)
      return
    }
    if (!connection.idle) return
    const free = this.#free.get(key) ?? []
    this.#free.set(key, free)
    if (free.includes(connection)) return
    free.push(connection)
    if (free.length > this.#options.keepIdle) {
      const oldest = free.shift() as HttpConnection
      this.#connections.delete(oldest)
      oldest.close()
    }
  }
}

/**
 * Same host and port, or the same host after the usual upgrade from http to https. A redirect to anything else gets
 * neither credentials nor extra headers: the user gave them to the host in the URL and to nobody else.
 */
function isSameHost(original: URL, other: URL): boolean {
  if (original.hostname !== other.hostname) return false
  if (original.protocol === other.protocol) return portOf(original) === portOf(other)
  return original.protocol === 'http:' && portOf(original) === 80 && portOf(other) === 443
}
