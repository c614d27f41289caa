/**
 * The upload server of the target, as the cloner sees it (importer/upload/clone/wire.ts): one request goes out and one
 * answer, or one fault, comes back. Nothing is repeated here. What can heal is thrown as {@link Setback}, the rest as
 * CdiError.
 */
import { Agent, request as send } from 'node:https'
import type { ClientRequest, IncomingMessage } from 'node:http'
import { CdiError, errorTable } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import { uploadErrorHeader } from '../../src/api/upload-env.ts'
import { IdleWatchdog } from '../sources/watchdog.ts'
import type { Extent } from '../target/coverage.ts'
import {
  cloneArchivePath,
  cloneDigestPath,
  cloneDiskPath,
  cloneIdHeader,
  cloneTargetPath,
  digestHeader,
  sparseHeader,
  tookHeader,
} from '../upload/clone/wire.ts'
import type { CloneState, CloneTargetFacts, SectionPlace } from '../upload/clone/wire.ts'

/** Nothing moved on a connection for so long: it is given up. The server may be busy with its storage meanwhile. */
const idleMs = 2 * 60_000
/** The same while a volume is finished or a tree is made durable, of which nothing is heard. */
const finishIdleMs = 30 * 60_000
/** Pieces in which bodies are handed to the connection, so that silence can be told from slowness. */
const writeBytes = 256 * 1024
const mostAnswerBytes = 8 * 1024 * 1024
/** AES with 128 bits costs about 15 % less than with 256, and is as good for what lives a few hours. */
const ciphers = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256'].join(':')

/** Something that another try may heal: no connection, a server that restarts or is not ready, bytes that were damaged. */
export class Setback extends Error {
  /** The server has another idea of what is there. */
  readonly isConflict: boolean
  /** What arrived was not what was sent. */
  readonly isDamage: boolean

  constructor(message: string, options: { cause?: unknown; isConflict?: boolean; isDamage?: boolean } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'Setback'
    this.isConflict = options.isConflict ?? false
    this.isDamage = options.isDamage ?? false
  }
}

export interface CloneTargetOptions {
  readonly url: URL
  readonly identity: { readonly key: string; readonly cert: string; readonly serverCa: string }
  /** Connections at the same time. */
  readonly streams: number
}

export interface PutSection {
  readonly id: string
  readonly place: SectionPlace
  readonly digest: string
  readonly isPacked: boolean
  readonly parts: readonly Buffer[]
  readonly signal: AbortSignal
}

interface Request {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly path: string
  readonly headers?: Readonly<Record<string, string | number>>
  readonly body?: Iterable<Buffer> | AsyncIterable<Buffer>
  readonly idleMs?: number
  readonly signal: AbortSignal
}

interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly text: string
}

export class CloneTarget implements AsyncDisposable {
  readonly #url: URL
  readonly #agent: Agent
  #sentBytes = 0

  constructor({ url, identity: { key, cert, serverCa }, streams }: CloneTargetOptions) {
    this.#url = url
    // Room for a question beside the sections.
    this.#agent = new Agent({ keepAlive: true, maxSockets: streams + 1, key, cert, ca: serverCa, ciphers })
  }

  /** Bytes of bodies that were handed to the network so far. */
  get sentBytes(): number {
    return this.#sentBytes
  }

  async facts(signal: AbortSignal): Promise<CloneTargetFacts> {
    const answer = await this.#expect([200], { method: 'GET', path: cloneTargetPath, signal })
    return parsed(answer) as CloneTargetFacts
  }

  /** What is there; undefined if nothing was begun. */
  async state(signal: AbortSignal): Promise<CloneState | undefined> {
    const answer = await this.#expect([200, 404], { method: 'GET', path: cloneDiskPath, signal, idleMs: finishIdleMs })
    return answer.status === 404 ? undefined : (parsed(answer) as CloneState)
  }

  /** Resolves when the section is taken, with the milliseconds that the server needed after it was there. */
  async put({ id, place: { start, end, total }, digest, isPacked, parts, signal }: PutSection): Promise<number> {
    const { headers } = await this.#expect([204], {
      method: 'PUT',
      path: cloneDiskPath,
      headers: {
        [cloneIdHeader]: id,
        [digestHeader]: digest,
        'content-range': `bytes ${start}-${end - 1}/${total}`,
        'content-length': parts.reduce((sum, { length }) => sum + length, 0),
        'content-type': 'application/octet-stream',
        ...(isPacked ? { 'content-encoding': 'zstd' } : {}),
      },
      body: parts,
      signal,
    })
    return Number(headers[tookHeader] ?? 0)
  }

  /**
   * SHA-256 of a stretch that is there, as the target holds it, in hexadecimal digits; undefined from a server that is older
   * than this question.
   */
  async digest(id: string, { start, end }: Extent, signal: AbortSignal): Promise<string | undefined> {
    const { status, headers } = await this.#expect([204, 404], {
      method: 'GET',
      path: cloneDigestPath,
      headers: { [cloneIdHeader]: id, range: `bytes=${start}-${end - 1}` },
      signal,
    })
    return status === 404 ? undefined : String(headers[digestHeader])
  }

  /** Says that all was sent. `missing`: something is not there. */
  async finish(
    id: string,
    signal: AbortSignal,
  ): Promise<{ outcome: 'done' | 'pending' | 'missing'; state: CloneState }> {
    const answer = await this.#expect([200, 202, 409], {
      method: 'POST',
      path: cloneDiskPath,
      headers: { [cloneIdHeader]: id, 'content-length': 0 },
      idleMs: finishIdleMs,
      signal,
    })
    if (answer.status === 409 && !answer.text.startsWith('{')) throw new Setback(answer.text, { isConflict: true })
    const outcome = answer.status === 200 ? 'done' : answer.status === 202 ? 'pending' : 'missing'
    return { outcome, state: parsed(answer) as CloneState }
  }

  /** Drops what is there. */
  async drop(signal: AbortSignal): Promise<void> {
    await this.#expect([204, 404, 410], { method: 'DELETE', path: cloneDiskPath, signal })
  }

  /** Sends a tree in frames; resolves when the volume is finished. */
  async sendTree({
    frames,
    isSparse,
    signal,
  }: {
    frames: AsyncIterable<Buffer>
    isSparse: boolean
    signal: AbortSignal
  }): Promise<{ preallocationApplied: boolean }> {
    const answer = await this.#expect([200], {
      method: 'POST',
      path: cloneArchivePath,
      headers: { [sparseHeader]: String(isSparse), 'content-type': 'application/octet-stream' },
      body: frames,
      idleMs: finishIdleMs,
      signal,
    })
    return parsed(answer) as { preallocationApplied: boolean }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
    return Promise.resolve()
  }

  async #expect(statuses: readonly number[], request: Request): Promise<Answer> {
    const answer = await this.#send(request)
    if (statuses.includes(answer.status)) return answer
    throw faultOf(answer)
  }

  async #send({ method, path, headers = {}, body, idleMs: answerIdleMs = idleMs, signal }: Request): Promise<Answer> {
    signal.throwIfAborted()
    const request = send(new URL(path, this.#url), { method, agent: this.#agent, headers })
    const stop = (): void => void request.destroy(signal.reason as Error)
    signal.addEventListener('abort', stop)
    try {
      const answer = answerOf(request)
      // Heard of below.
      answer.catch(() => {})
      {
        using watchdog = watch(request, idleMs)
        // An answer may come before the body has gone out: then it is a refusal, and says more than the broken pipe.
        if (body !== undefined) await Promise.race([this.#write(request, body, watchdog), answer])
        if (!request.writableEnded) request.end()
      }
      using _watchdog = watch(request, answerIdleMs)
      return await answer
    } catch (error) {
      signal.throwIfAborted()
      throw error instanceof CdiError || error instanceof Setback ? error : connectionFault(this.#url, error)
    } finally {
      signal.removeEventListener('abort', stop)
      if (!request.writableEnded) request.destroy()
    }
  }

  async #write(
    request: ClientRequest,
    body: Iterable<Buffer> | AsyncIterable<Buffer>,
    watchdog: IdleWatchdog,
  ): Promise<void> {
    const chunks = Symbol.asyncIterator in body ? body : [...body]
    for await (const chunk of chunks) {
      watchdog.touch()
      for (let at = 0; at < chunk.length; at += writeBytes) {
        if (request.destroyed) return
        const bytes = chunk.subarray(at, at + writeBytes)
        const taken = Promise.withResolvers<void>()
        request.write(bytes, (error) => (error == null ? taken.resolve() : taken.reject(error)))
        await taken.promise
        this.#sentBytes += bytes.length
        watchdog.touch()
      }
    }
  }
}

function watch(request: ClientRequest, limitMs: number): IdleWatchdog {
  const onIdle = (): void => void request.destroy(new Setback(`nothing moved for ${limitMs / 1000} s`))
  const watchdog = new IdleWatchdog({ limitMs, onIdle })
  watchdog.start()
  return watchdog
}

async function answerOf(request: ClientRequest): Promise<Answer> {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request.once('response', resolve)
    request.on('error', reject)
    request.once('close', () => reject(new Error('the connection was closed')))
  })
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > mostAnswerBytes) throw new CdiError('CDI_CLONE_REFUSED', 'the answer of the upload server has no end')
    chunks.push(chunk)
  }
  return { status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(chunks).toString() }
}

function parsed({ text }: Answer): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new Setback('the answer of the upload server is not what it should be', { cause })
  }
}

/** What an answer means that was not hoped for. */
function faultOf({ status, headers, text }: Answer): CdiError | Setback {
  const said = text.trim() === '' ? `status ${status}` : text.trim()
  if (status === 422) return new Setback(said, { isDamage: true })
  if (status === 409 || status === 410) return new Setback(said, { isConflict: true })
  const code = headers[uploadErrorHeader]
  const isKnown = typeof code === 'string' && Object.hasOwn(errorTable, code)
  const mayHeal = isKnown
    ? errorTable[code as ErrorCode].kind === 'transient'
    : status >= 500 || status === 408 || status === 429
  if (mayHeal) return new Setback(said)
  const why = status === 401 ? 'it expects the certificate of another client' : said
  return new CdiError('CDI_CLONE_REFUSED', `the upload server of the target refuses the clone: ${why}`, {
    details: { status, ...(isKnown ? { code } : {}) },
  })
}

/** Node's and OpenSSL's names for certificates that do not verify. */
const certificateFaults =
  /^(ERR_TLS_CERT_ALTNAME_INVALID|CERT_.*|UNABLE_TO_.*|SELF_SIGNED_.*|DEPTH_ZERO_.*|INVALID_(CA|PURPOSE)|HOSTNAME_MISMATCH)$/

function connectionFault(url: URL, error: unknown): CdiError | Setback {
  const { code, message } = error as NodeJS.ErrnoException
  if (code !== undefined && certificateFaults.test(code)) {
    return new CdiError('CDI_CLONE_TLS', `the certificate of ${url.host} is not accepted: ${message}`, { cause: error })
  }
  return new Setback(message || String(code), { cause: error })
}
