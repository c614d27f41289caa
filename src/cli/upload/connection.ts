/**
 * Requests to the upload proxy: one at a time goes out and one answer, or one fault, comes back. Nothing is repeated
 * here; whoever uploads knows what a repetition means.
 */
import { Readable } from 'node:stream'
import { getCACertificates } from 'node:tls'
import { Agent, ProxyAgent, request as send } from 'undici'
import type { Dispatcher } from 'undici'
import { chooseProxy, proxyAuthorization } from '../../../importer/sources/proxy.ts'
import type { ProxySettings } from '../../../importer/sources/proxy.ts'
import { CdiError } from '../../errors.ts'
import { CutOff } from './cut-off.ts'
import type { TokenSource } from './token.ts'

export interface UploadRequest {
  readonly method: 'HEAD' | 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** Beginning with a slash. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: UploadBody
  readonly signal: AbortSignal
}

export interface UploadBody {
  readonly length: number
  readonly chunks: AsyncIterable<Buffer>
}

export interface Answer {
  readonly status: number
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
  /** The body, cut after {@link maxTextBytes}. */
  readonly text: string
}

/** The way to the proxy, as {@link UploadConnection} and test servers offer it. */
export interface Exchange {
  /** Any status is an answer. Throws {@link CutOff} when none came, CDI_UPLOAD_TLS when the other side is not trusted. */
  send(request: UploadRequest): Promise<Answer>
}

export interface ConnectionOptions {
  /** Origin and prefix of the proxy, without a slash at the end. */
  readonly url: URL
  readonly token: TokenSource
  /** PEM of certificates that are trusted besides the system's; `'any'` verifies nothing. */
  readonly trust: readonly string[] | 'any'
  /** Values of `https_proxy` and the like. */
  readonly proxy: ProxySettings
  /** An answer, or the next piece of the body, is waited for so long. */
  readonly idleMs?: number
}

/** The state of an upload in ranges with many gaps takes a few MiB. */
const maxTextBytes = 4 * 1024 * 1024

export class UploadConnection implements Exchange, AsyncDisposable {
  readonly #url: URL
  readonly #token: TokenSource
  readonly #dispatcher: Dispatcher
  readonly #idleMs: number
  #sentBytes = 0

  constructor({ url, token, trust, proxy, idleMs = 60_000 }: ConnectionOptions) {
    this.#url = url
    this.#token = token
    this.#idleMs = idleMs
    this.#dispatcher = dispatcherFor(url, trust, proxy)
  }

  /** Bytes of bodies that were handed to the network so far. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  async send({ method, path, headers = {}, body, signal }: UploadRequest): Promise<Answer> {
    const token = await this.#token.get(signal)
    using watchdog = new Watchdog(this.#idleMs, signal)
    try {
      const response = await send(new URL(`${this.#url.pathname.replace(/\/$/, '')}${path}`, this.#url), {
        dispatcher: this.#dispatcher,
        method,
        headers: {
          authorization: `Bearer ${token}`,
          'user-agent': 'cdi-upload',
          ...headers,
          ...(body === undefined ? {} : { 'content-length': String(body.length) }),
        },
        ...(body === undefined
          ? {}
          : {
              body: Readable.from(watchdog.watched(this.#counted(body.chunks)), {
                objectMode: false,
                highWaterMark: 1,
              }),
            }),
        headersTimeout: 0,
        bodyTimeout: 0,
        signal: watchdog.signal,
      })
      return { status: response.statusCode, headers: plain(response.headers), text: await firstText(response.body) }
    } catch (error) {
      signal.throwIfAborted()
      throw faultOf(watchdog.barks ? watchdog.signal.reason : error)
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#dispatcher.destroy()
  }

  async *#counted(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of chunks) {
      yield chunk
      this.#sentBytes += chunk.length
    }
  }
}

/** Ends a request in which nothing moves: no piece of its body is taken and no answer comes. */
class Watchdog implements Disposable {
  readonly #limitMs: number
  readonly #stop = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly signal: AbortSignal

  constructor(limitMs: number, outer: AbortSignal) {
    this.#limitMs = limitMs
    this.signal = AbortSignal.any([outer, this.#stop.signal])
    this.#timer = setTimeout(() => {
      this.#stop.abort(new CutOff(`nothing moved for ${Math.round(this.#limitMs / 1000)} s`))
    }, limitMs)
  }

  get barks(): boolean {
    return this.#stop.signal.aborted
  }

  async *watched(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    for await (const chunk of chunks) {
      this.#timer.refresh()
      yield chunk
    }
    this.#timer.refresh()
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}

function dispatcherFor(url: URL, trust: ConnectionOptions['trust'], settings: ProxySettings): Dispatcher {
  const connect = {
    timeout: 20_000,
    keepAlive: true,
    keepAliveInitialDelay: 30_000,
    ...(trust === 'any'
      ? { rejectUnauthorized: false }
      : {
          ca: [...getCACertificates('default'), ...getCACertificates('system'), ...trust],
          // uploadProxyCA may be a leaf, or an intermediate without its root.
          allowPartialTrustChain: true,
        }),
  }
  const common = { allowH2: false, pipelining: 1, keepAliveTimeout: 20_000 }
  const proxy = chooseProxy(settings, url)
  if (proxy === undefined) return new Agent({ ...common, connect })
  const authorization = proxyAuthorization(proxy)
  return new ProxyAgent({
    ...common,
    uri: proxy.origin,
    requestTls: connect,
    ...(authorization === undefined ? {} : { token: authorization }),
  })
}

function plain(headers: Record<string, string | string[] | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]],
    ),
  )
}

async function firstText(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of body) {
    if (length < maxTextBytes) chunks.push(chunk)
    length += chunk.length
  }
  return Buffer.concat(chunks).toString('utf8', 0, maxTextBytes).trim()
}

const certificateFaults = new Set([
  'CERT_HAS_EXPIRED',
  'CERT_NOT_YET_VALID',
  'CERT_REVOKED',
  'CERT_UNTRUSTED',
  'CERT_REJECTED',
  'CERT_SIGNATURE_FAILURE',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'INVALID_CA',
  'INVALID_PURPOSE',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

function faultOf(error: unknown): Error {
  if (error instanceof CdiError || error instanceof CutOff) return error
  const text = error instanceof Error ? error.message : String(error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (certificateFaults.has(code)) {
    return new CdiError('CDI_UPLOAD_TLS', `the upload proxy's certificate is not trusted: ${text}`, {
      cause: error,
      details: { code },
    })
  }
  return new CutOff(text === '' ? code : text, { cause: error })
}
