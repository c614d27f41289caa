/**
 * One request to an upload path from beginning to end (contract/upload.md §5.3):
 *
 *   token → claim of the token → look at the claim → forward
 *                                  ▲     │ not ready, or the server cannot be reached
 *                                  └─────┘ a second later, for ten seconds
 *
 * One line of the log tells what became of it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Clock } from '../src/kube/clock.ts'
import type { ObjectKey } from '../src/kube/object.ts'
import type { Log } from '../src/log.ts'
import { ForeignClaimsError, TokenError } from '../src/tokens/token.ts'
import type { TokenClaims } from '../src/tokens/token.ts'
import { answer } from './answer.ts'
import type { Linger } from './answer.ts'
import type { ClaimLooks } from './claim-looks.ts'
import { escapeHtml } from './escape-html.ts'
import { forward } from './forward.ts'
import { bearerToken, claimOfToken, decide, mayExist } from './gate.ts'
import type { Decision, Passage } from './gate.ts'
import { serverPath } from './paths.ts'
import type { UploadProtocol } from './paths.ts'
import type { UploadMetrics, UploadOutcome } from './upload-metrics.ts'
import type { UploadServers } from './upload-servers.ts'

export interface UploadDeps {
  /** @throws {TokenError} for a token that is none of ours, or not valid any more; ForeignClaimsError if it is no upload's */
  readonly verifyToken: (token: string) => Promise<TokenClaims>
  readonly looks: ClaimLooks
  readonly servers: UploadServers
  /** Called when a server was not trusted, so that the CAs are read anew. */
  readonly doubtTrust: () => void
  readonly metrics: UploadMetrics
  readonly log: Log
  readonly clock: Clock
  readonly linger?: Linger
}

export interface UploadRequest {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly protocol: UploadProtocol
  /** The path that was asked for, without the query. */
  readonly path: string
}

const patienceMs = 10_000
const pollMs = 1000
/** A server that is just starting again is there sooner than the claim tells. */
const reconnectMs = 500
/** Whoever comes newly wants to know how things stand now; whoever waits takes what others have learned. */
const freshMs = 100
const sharedMs = 900
const connectTimeoutMs = { longest: 5000, shortest: 1000 }

/** What became of a request, for log and metrics. */
interface Ending {
  readonly outcome: UploadOutcome
  readonly status?: number
  readonly claim?: Required<ObjectKey>
  readonly cause?: unknown
}

/** Counts for a metric, which is told seldom: pieces are small, and many. */
class ByteCount {
  readonly #tell: (count: number) => void
  #untold = 0
  total = 0

  constructor(tell: (count: number) => void) {
    this.#tell = tell
  }

  add(count: number): void {
    this.total += count
    this.#untold += count
    if (this.#untold >= tellBytes) this.flush()
  }

  flush(): void {
    if (this.#untold > 0) this.#tell(this.#untold)
    this.#untold = 0
  }
}

const tellBytes = 8 << 20

/** Serves the request to its end; never rejects. */
export async function serveUpload(deps: UploadDeps, upload: UploadRequest): Promise<void> {
  const { request, response, protocol, path } = upload
  const { clock, log, metrics } = deps
  const startedMs = clock.monotonicMs()
  const bytes = new ByteCount((count) => metrics.bytes(protocol, count))
  // Without listeners an error would end the process; the ends of both are seen by `close`.
  request.on('error', () => {})
  response.on('error', () => {})
  let ending: Ending
  try {
    ending = await serve(deps, upload, (count) => bytes.add(count))
  } catch (cause) {
    ending = { outcome: 'broken', status: 500, cause }
    if (response.headersSent) response.destroy()
    else await answer(request, response, { status: 500 })
  }
  bytes.flush()
  const seconds = (clock.monotonicMs() - startedMs) / 1000
  metrics.ended(protocol, ending.outcome, seconds)
  const { outcome, status, claim, cause } = ending
  const facts = {
    namespace: claim?.namespace,
    pvc: claim?.name,
    method: request.method,
    path,
    bytes: bytes.total,
    seconds: Math.round(seconds * 1000) / 1000,
    outcome,
    status,
    ...(cause === undefined ? {} : { err: cause }),
  }
  if (outcome === 'broken') log.warn(facts, 'upload request')
  // A resumable upload comes in hundreds of pieces.
  else if (outcome === 'succeeded' && protocol !== 'plain') log.debug(facts, 'upload request')
  else log.info(facts, 'upload request')
}

async function serve(deps: UploadDeps, upload: UploadRequest, onBytes: (count: number) => void): Promise<Ending> {
  const refuse = async (status: number, text = '', facts: Partial<Ending> = {}): Promise<Ending> => {
    const { request, response } = upload
    const headers: Record<string, string> = status === 401 ? { 'WWW-Authenticate': 'Bearer' } : {}
    void answer(request, response, { status, text: escapeHtml(text), headers, ...lingerOf(deps) })
    return { outcome: 'refused', status, ...facts }
  }
  const token = bearerToken(upload.request.headers.authorization)
  if (token === undefined) return refuse(400)
  let claims: TokenClaims
  try {
    claims = await deps.verifyToken(token)
  } catch (error) {
    if (error instanceof ForeignClaimsError) return refuse(400)
    if (error instanceof TokenError) return refuse(401)
    throw error
  }
  const claim = claimOfToken(claims)
  if (claim === undefined) return refuse(400)

  const gone = goneSignal(upload.response)
  const untilMs = deps.clock.monotonicMs() + patienceMs
  for (let maxAgeMs = freshMs; ; maxAgeMs = sharedMs) {
    const step = await lookAt(deps, claim, maxAgeMs, gone)
    if (gone.aborted) return { outcome: 'aborted', claim }
    const remainingMs = untilMs - deps.clock.monotonicMs()
    let waitMs = pollMs
    switch (step.verdict) {
      case 'refuse':
        return refuse(step.status, step.message, { claim })
      case 'wait':
        if (remainingMs <= 0) {
          return refuse(toldAbsence(upload, 503), step.message, { claim, outcome: 'timed_out', cause: step.cause })
        }
        break
      case 'forward': {
        const ending = await pass(deps, upload, step, { claim, remainingMs, onBytes })
        if (ending !== undefined) return ending
        waitMs = reconnectMs
        break
      }
      default:
        step satisfies never
    }
    deps.metrics.waiting(1)
    try {
      const leftMs = untilMs - deps.clock.monotonicMs()
      await deps.clock.sleep(Math.max(0, Math.min(waitMs, leftMs)), gone)
    } catch {
      return { outcome: 'aborted', claim }
    } finally {
      deps.metrics.waiting(-1)
    }
  }
}

/** Status of a server that is not there, or says that it is about to go. */
const absences: ReadonlySet<number> = new Set([502, 503, 504])

/**
 * The status to tell instead of `status`. Clients of tus (tus-js-client, Uppy) who ask where they stopped give up what they
 * have sent at any refusal but 423, after which they ask again.
 */
function toldAbsence({ protocol, request }: UploadRequest, status: number): number {
  return protocol === 'tus' && request.method === 'HEAD' && absences.has(status) ? 423 : status
}

function lingerOf({ linger }: UploadDeps): { linger?: Linger } {
  return linger === undefined ? {} : { linger }
}

/** Aborted when the client has gone. */
function goneSignal(response: ServerResponse): AbortSignal {
  const gone = new AbortController()
  if (response.destroyed) gone.abort()
  else response.once('close', () => gone.abort())
  return gone.signal
}

/** The decision about the claim as it is now; an API server that does not answer is waited for like anything else. */
async function lookAt(
  { looks, log }: UploadDeps,
  claim: Required<ObjectKey>,
  maxAgeMs: number,
  signal: AbortSignal,
): Promise<Decision & { readonly cause?: unknown }> {
  if (!mayExist(claim)) return decide(claim, { target: undefined, prime: undefined })
  try {
    return decide(claim, await looks.look(claim, { maxAgeMs, signal }))
  } catch (cause) {
    if (!signal.aborted) log.warn({ err: cause, ...claim }, 'cannot look up a claim')
    return { verdict: 'wait', message: `PVC ${claim.name} cannot be looked up: context deadline exceeded`, cause }
  }
}

interface Pass {
  /** That the token names. */
  readonly claim: Required<ObjectKey>
  readonly remainingMs: number
  readonly onBytes: (count: number) => void
}

/** Passes the request on; undefined when the server could not be reached and there is time for another try. */
async function pass(
  deps: UploadDeps,
  upload: UploadRequest,
  { claim: serverOf, isArchive }: Passage,
  { claim, remainingMs, onBytes }: Pass,
): Promise<Ending | undefined> {
  const { request, response, protocol, path } = upload
  const destination = await deps.servers.find(serverOf).catch((cause: unknown) => ({ cause }))
  if ('cause' in destination) {
    void answer(request, response, { status: 500, ...lingerOf(deps) })
    return { outcome: 'broken', status: 500, claim, cause: destination.cause }
  }
  const { longest, shortest } = connectTimeoutMs
  const query = /\?.*$/s.exec(request.url ?? '')?.[0] ?? ''
  deps.metrics.active(protocol, 1)
  const outcome = await forward({
    request,
    response,
    destination,
    path: serverPath(protocol, path, isArchive) + query,
    connectTimeoutMs: Math.max(shortest, Math.min(longest, remainingMs)),
    onBytes,
    shownStatus: (status) => toldAbsence(upload, status),
    ...lingerOf(deps),
  }).finally(() => deps.metrics.active(protocol, -1))
  switch (outcome.kind) {
    case 'answered':
      return { outcome: outcome.status < 400 ? 'succeeded' : 'refused_by_server', status: outcome.status, claim }
    case 'aborted':
      return { outcome: 'aborted', claim }
    case 'unreachable':
      deps.doubtTrust()
      if (remainingMs > 0) {
        deps.log.debug({ err: outcome.cause, ...claim }, 'upload server cannot be reached')
        return undefined
      }
      break
    case 'broken':
      break
    default:
      outcome satisfies never
  }
  const text = `error in upload-proxy: http: proxy error: ${outcome.cause.message}`
  const status = toldAbsence(upload, 502)
  void answer(request, response, { status, text: escapeHtml(text), ...lingerOf(deps) })
  return { outcome: 'broken', status, claim, cause: outcome.cause }
}
