/**
 * A small JSON client for any kind: what comes back is what the server sent, unknown fields included. Errors are ApiError
 * (the server answered) or ConnectionError (it did not). Requests that may be sent twice without harm are repeated on broken
 * connections, 429 and 5xx; the server's wish to wait (`Retry-After`) is followed.
 */
import { homedir } from 'node:os'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { request as send } from 'undici'
import type { Dispatcher } from 'undici'
import { apiErrorOf, ApiError, ConnectionError, isExpired, isNotFound } from './api-error.ts'
import { backoffMs } from './backoff.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Credentials } from './credentials.ts'
import { inClusterOptions, InClusterCredentials } from './in-cluster.ts'
import { KubeConfigCredentials } from './kubeconfig.ts'
import { apiVersionOf } from './object.ts'
import type { Kind, KubeObject, NewObject, ObjectKey } from './object.ts'
import { watchEvents } from './watch.ts'
import type { WatchEvent } from './watch.ts'

export {
  ApiError,
  ConnectionError,
  isAlreadyExists,
  isConflict,
  isExpired,
  isForbidden,
  isInvalid,
  isNamespaceTerminating,
  isNotFound,
} from './api-error.ts'

export interface ListOptions {
  /** All namespaces unless told. */
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Size of one page; without it, all pages are fetched and joined. */
  readonly limit?: number | undefined
  /** The token of the previous page; only with `limit`. */
  readonly continue?: string | undefined
  readonly signal?: AbortSignal | undefined
}

export interface List<T extends KubeObject> {
  readonly items: T[]
  readonly resourceVersion: string
  /** Given when `limit` was and there is more. */
  readonly continue?: string
}

export interface PatchOptions {
  /**
   * `merge` (RFC 7386; `null` removes; `metadata.resourceVersion` in the body makes it fail with a conflict when the object
   * was changed meanwhile), `json` (RFC 6902), `apply` (server-side apply; needs `fieldManager`; creates what is not there).
   */
  readonly type: 'merge' | 'json' | 'apply'
  readonly subresource?: 'status' | undefined
  readonly fieldManager?: string | undefined
  /** With `apply`: take over fields of other managers. */
  readonly force?: boolean | undefined
  readonly signal?: AbortSignal | undefined
}

export interface DeleteOptions {
  /** Delete only this incarnation; a namesake gives a conflict. */
  readonly uid?: string | undefined
  readonly resourceVersion?: string | undefined
  readonly propagationPolicy?: 'Orphan' | 'Background' | 'Foreground' | undefined
  readonly gracePeriodSeconds?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface WatchOptions {
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** Events after this version are sent. */
  readonly resourceVersion: string
  readonly allowWatchBookmarks?: boolean | undefined
  /** How long the server lets it run before it ends it in an orderly way. */
  readonly timeoutSeconds?: number | undefined
  /** How long it may be silent before it counts as dead. */
  readonly idleTimeoutMs?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface KubeClient {
  /** The object, or undefined when it (or its kind) is not there. */
  get<T extends KubeObject>(kind: Kind<T>, key: ObjectKey, signal?: AbortSignal): Promise<T | undefined>
  /** A consistent list; `apiVersion` and `kind` are filled in, which lists leave out. */
  list<T extends KubeObject>(kind: Kind<T>, options?: ListOptions): Promise<List<T>>
  /** @throws {ApiError} AlreadyExists when the name is taken */
  create<T extends KubeObject>(kind: Kind<T>, object: NewObject<T>, signal?: AbortSignal): Promise<T>
  patch<T extends KubeObject>(kind: Kind<T>, key: ObjectKey, body: object, options: PatchOptions): Promise<T>
  /** Asks for the deletion; false when the object was gone already (after a repeated request: maybe by ourselves). */
  delete(kind: Kind, key: ObjectKey, options?: DeleteOptions): Promise<boolean>
  /** Ends when the server ends it in order; throws ApiError (410: list anew), ConnectionError, WatchProtocolError. */
  watch<T extends KubeObject>(kind: Kind<T>, options: WatchOptions): AsyncIterable<WatchEvent<T>>
  /** Any request, never repeated; a body is sent as JSON. Every status is returned and none thrown. */
  raw(
    method: string,
    path: string,
    body?: unknown,
    signal?: AbortSignal,
  ): Promise<{ status: number; body: unknown; headers: Record<string, string | string[] | undefined> }>
}

export interface ConnectedClient extends KubeClient {
  /** URL of the API server. */
  readonly server: string
  /** The namespace of the context or of the pod. */
  readonly namespace: string | undefined
  /** Closes the connections at once; watches end. */
  close(): Promise<void>
}

export interface ConnectOptions {
  /** A kubeconfig; else `KUBECONFIG`, `~/.kube/config`, or the service account of the pod. */
  readonly kubeconfig?: string | undefined
  readonly context?: string | undefined
  readonly userAgent?: string
}

/**
 * A client for the cluster that is configured; nothing is sent yet.
 * @throws {CdiError} CDI_USAGE when none is configured
 */
export function connect(options: ConnectOptions = {}): ConnectedClient {
  // The one place besides the mains that looks at the environment: every Kubernetes client finds its cluster there.
  const { kubeconfig, context, userAgent } = options
  const asked = kubeconfig ?? context ?? process.env['KUBECONFIG']
  const pod =
    asked === undefined && !existsSync(join(homedir(), '.kube', 'config')) ? inClusterOptions(process.env) : undefined
  const credentials = pod ? new InClusterCredentials(pod) : new KubeConfigCredentials({ kubeconfig, context })
  return new JsonClient({ credentials, ...(userAgent === undefined ? {} : { userAgent }) })
}

/** Rows of one page when everything is asked for; client-go's number. */
const pageSize = 500
const headersTimeoutMs = 60_000
const bodyTimeoutMs = 30_000
const defaultIdleTimeoutMs = 150_000
const maxRetries = 4
const maxRetryAfterMs = 30_000

const patchTypes = {
  merge: 'application/merge-patch+json',
  json: 'application/json-patch+json',
  apply: 'application/apply-patch+yaml',
} as const

interface Request {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly body?: unknown
  readonly contentType?: string
  /** May be sent again when it is unknown whether it arrived. */
  readonly repeatable: boolean
  readonly signal?: AbortSignal | undefined
}

interface Answer {
  readonly status: number
  readonly headers: Record<string, string | string[] | undefined>
  readonly body: unknown
}

/** The client over given credentials; `connect` is the usual way to one. */
export class JsonClient implements ConnectedClient {
  readonly #credentials: Credentials
  readonly #clock: Clock
  readonly #userAgent: string
  readonly #random: () => number

  constructor(options: { credentials: Credentials; clock?: Clock; userAgent?: string; random?: () => number }) {
    this.#credentials = options.credentials
    this.#clock = options.clock ?? systemClock
    this.#userAgent = options.userAgent ?? 'containerized-data-importer'
    this.#random = options.random ?? Math.random
  }

  get server(): string {
    return this.#credentials.server
  }

  get namespace(): string | undefined {
    return this.#credentials.namespace
  }

  close(): Promise<void> {
    return this.#credentials.close()
  }

  async get<T extends KubeObject>(kind: Kind<T>, key: ObjectKey, signal?: AbortSignal): Promise<T | undefined> {
    try {
      return (await this.#call({ method: 'GET', path: objectPath(kind, key), repeatable: true, signal })) as T
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  async list<T extends KubeObject>(kind: Kind<T>, options: ListOptions = {}): Promise<List<T>> {
    if (options.limit !== undefined) return this.#listPage(kind, options)
    const items: T[] = []
    let next: string | undefined
    let resourceVersion = ''
    do {
      let page: List<T>
      try {
        page = await this.#listPage(kind, { ...options, limit: pageSize, continue: next })
      } catch (error) {
        // The list took so long that its version was compacted away: one big answer cannot expire.
        if (next !== undefined && isExpired(error)) return this.#listPage(kind, { ...options, continue: undefined })
        throw error
      }
      for (const item of page.items) items.push(item)
      resourceVersion = page.resourceVersion
      next = page.continue
    } while (next !== undefined)
    return { items, resourceVersion }
  }

  async #listPage<T extends KubeObject>(kind: Kind<T>, options: ListOptions): Promise<List<T>> {
    const { namespace, labelSelector, fieldSelector, limit, continue: token, signal } = options
    const list = (await this.#call({
      method: 'GET',
      path: collectionPath(kind, namespace),
      query: { labelSelector, fieldSelector, limit, continue: token },
      repeatable: true,
      signal,
    })) as { items?: T[] | null; metadata?: { resourceVersion?: string; continue?: string } }
    const apiVersion = apiVersionOf(kind)
    return {
      items: (list.items ?? []).map((item) => ({ ...item, apiVersion, kind: kind.kind })),
      resourceVersion: list.metadata?.resourceVersion ?? '',
      ...(list.metadata?.continue ? { continue: list.metadata.continue } : {}),
    }
  }

  async create<T extends KubeObject>(kind: Kind<T>, object: NewObject<T>, signal?: AbortSignal): Promise<T> {
    return (await this.#call({
      method: 'POST',
      path: collectionPath(kind, object.metadata.namespace),
      body: object,
      repeatable: false,
      signal,
    })) as T
  }

  async patch<T extends KubeObject>(kind: Kind<T>, key: ObjectKey, body: object, options: PatchOptions): Promise<T> {
    const { type, subresource, fieldManager, force, signal } = options
    return (await this.#call({
      method: 'PATCH',
      path: objectPath(kind, key) + (subresource === undefined ? '' : `/${subresource}`),
      query: { fieldManager, force },
      body,
      contentType: patchTypes[type],
      // A merge or an apply gives the same object however often it is sent; a JSON patch may append to a list.
      repeatable: type !== 'json',
      signal,
    })) as T
  }

  async delete(kind: Kind, key: ObjectKey, options: DeleteOptions = {}): Promise<boolean> {
    const { uid, resourceVersion, propagationPolicy, gracePeriodSeconds, signal } = options
    try {
      await this.#call({
        method: 'DELETE',
        path: objectPath(kind, key),
        body: {
          apiVersion: 'v1',
          kind: 'DeleteOptions',
          ...(uid === undefined && resourceVersion === undefined ? {} : { preconditions: { uid, resourceVersion } }),
          propagationPolicy,
          gracePeriodSeconds,
        },
        repeatable: true,
        signal,
      })
      return true
    } catch (error) {
      if (isNotFound(error)) return false
      throw error
    }
  }

  async *watch<T extends KubeObject>(
    kind: Kind<T>,
    options: WatchOptions,
  ): AsyncGenerator<WatchEvent<T>, void, undefined> {
    const { namespace, labelSelector, fieldSelector, resourceVersion, signal } = options
    const request: Request = {
      method: 'GET',
      path: collectionPath(kind, namespace),
      query: {
        watch: true,
        labelSelector,
        fieldSelector,
        resourceVersion,
        allowWatchBookmarks: options.allowWatchBookmarks ?? true,
        timeoutSeconds: options.timeoutSeconds,
      },
      repeatable: false,
      signal,
    }
    const response = await this.#sendOnce(request, options.idleTimeoutMs ?? defaultIdleTimeoutMs)
    if (response.statusCode !== 200) throw errorOf(request, await read(request, response))
    try {
      yield* watchEvents<T>(response.body, describe(request))
    } catch (error) {
      throw connectionErrorOf(error, request)
    } finally {
      response.body.on('error', () => undefined).destroy()
    }
  }

  async raw(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<Answer> {
    const request: Request = { method: method as Request['method'], path, body, repeatable: false, signal }
    return read(request, await this.#sendOnce(request, bodyTimeoutMs))
  }

  /** Sends until it works, or trying on makes no sense; the parsed body of a 2xx answer. */
  async #call(request: Request): Promise<unknown> {
    let renewed = false
    for (let failures = 0; ; failures++) {
      const outcome = await this.#attempt(request)
      if (!(outcome instanceof Error)) return outcome.body
      request.signal?.throwIfAborted()
      if (outcome instanceof ApiError && outcome.status === 401 && !renewed) {
        renewed = true
        this.#credentials.renew()
        continue
      }
      const waitMs = failures < maxRetries ? this.#retryAfterMs(outcome, request, failures) : undefined
      if (waitMs === undefined) throw outcome
      await this.#clock.sleep(waitMs, request.signal)
    }
  }

  async #attempt(request: Request): Promise<Answer | Error> {
    try {
      const answer = await read(request, await this.#sendOnce(request, bodyTimeoutMs))
      return answer.status >= 200 && answer.status < 300 ? answer : errorOf(request, answer)
    } catch (error) {
      if (error instanceof ConnectionError) return error
      throw error
    }
  }

  /** How long to wait before the request is sent again, undefined when it must not be. */
  #retryAfterMs(error: Error, { repeatable }: Request, failures: number): number | undefined {
    const waitMs = backoffMs(failures, { baseMs: 100, maxMs: 5_000, random: this.#random })
    if (error instanceof ConnectionError) return repeatable || error.unsent ? waitMs : undefined
    if (!(error instanceof ApiError)) return undefined
    // "Come back later" says that nothing was done; without it, a 500 may be a webhook's verdict.
    const later = error.retryAfterMs !== undefined && (error.status === 429 || error.status >= 500)
    if (later) return Math.min(Math.max(error.retryAfterMs ?? 0, waitMs), maxRetryAfterMs)
    const passing = error.status === 429 || [502, 503, 504].includes(error.status)
    return passing && repeatable ? waitMs : undefined
  }

  async #sendOnce(request: Request, idleMs: number): Promise<Dispatcher.ResponseData> {
    const { method, path, query = {}, body, contentType = 'application/json', signal } = request
    const { headers, dispatcher } = await this.#credentials.access()
    const url = new URL(this.#credentials.server + path)
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value))
    }
    try {
      return await send(url, {
        dispatcher,
        method: method as Dispatcher.HttpMethod,
        headers: {
          ...headers,
          accept: 'application/json',
          'user-agent': this.#userAgent,
          ...(body === undefined ? {} : { 'content-type': contentType }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        headersTimeout: headersTimeoutMs,
        bodyTimeout: idleMs,
        ...(signal === undefined ? {} : { signal }),
      })
    } catch (error) {
      throw connectionErrorOf(error, request)
    }
  }
}

function describe({ method, path }: Request): string {
  return `${method} ${path}`
}

async function read(request: Request, response: Dispatcher.ResponseData): Promise<Answer> {
  let text: string
  try {
    text = await response.body.text()
  } catch (error) {
    throw connectionErrorOf(error, request)
  }
  return { status: response.statusCode, headers: response.headers, body: parse(text) }
}

/** JSON where it is JSON, else the text (a proxy's page, `ok` of /readyz). */
function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch {
    return text
  }
}

function errorOf(request: Request, { status, headers, body }: Answer): ApiError {
  const retryAfter = headers['retry-after']
  return apiErrorOf({
    status,
    body,
    request: describe(request),
    retryAfter: Array.isArray(retryAfter) ? retryAfter[0] : retryAfter,
  })
}

/** Failures before the first byte of a request is on its way. */
const unsentCodes = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'UND_ERR_CONNECT_TIMEOUT',
])

function connectionErrorOf(error: unknown, request: Request): Error {
  if (request.signal?.aborted) return asError(request.signal.reason)
  if (!(error instanceof Error)) return asError(error)
  if (error instanceof ApiError || error instanceof ConnectionError || error.name === 'WatchProtocolError') return error
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  return new ConnectionError(`${describe(request)}: ${error.message || code || error.name}`, {
    cause: error,
    unsent: unsentCodes.has(code),
  })
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}

function collectionPath({ group, version, plural, namespaced }: Kind, namespace?: string): string {
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`
  return namespaced && namespace !== undefined
    ? `${root}/namespaces/${segment(namespace)}/${plural}`
    : `${root}/${plural}`
}

function objectPath(kind: Kind, { namespace, name }: ObjectKey): string {
  return `${collectionPath(kind, namespace)}/${segment(name)}`
}

/** A name as one segment of a path. Throws a RangeError for those that would lead to another one. */
function segment(name: string): string {
  if (name === '.' || name === '..') throw new RangeError(`not a name: ${name}`)
  return encodeURIComponent(name)
}
