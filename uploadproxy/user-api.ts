/**
 * The two requests of the Kubernetes API that the page makes for its user, with the user's own token and never with the
 * proxy's. Paths are made here of names that were checked; nothing else of the API server can be reached.
 */
import { Agent, request } from 'undici'
import type { DataVolume } from '../src/api/kinds.ts'

/** Something that the user is told: the API server's own refusal, or that it could not be asked. */
export class UserApiError extends Error {
  readonly status: number

  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'UserApiError'
    this.status = status
  }
}

/** What the page shows of a DataVolume. */
export interface DataVolumeSummary {
  readonly name: string
  /** Empty while there is none. */
  readonly phase: string
  readonly progress: string
  readonly restarts: number
  /** As a quantity. */
  readonly size: string | null
  /** `upload`, `http`, …; `DataSource` for a sourceRef. */
  readonly source: string
  readonly conditions: readonly {
    readonly type: string
    readonly status: string
    readonly reason: string
    readonly message: string
  }[]
  /** Seconds. */
  readonly age: number
}

export interface DataVolumeList {
  readonly items: readonly DataVolumeSummary[]
  /** There are more, which are left out. */
  readonly truncated: boolean
}

export interface UserApiOptions {
  /** URL of the API server, without a slash at the end. */
  readonly server: string
  /** PEM; the system's CAs unless told. Called for each request, for CAs rotate. */
  readonly ca?: () => string | undefined
  readonly now: () => number
  readonly timeoutMs?: number
}

export interface UserCall {
  readonly namespace: string
  /** The user's credential. */
  readonly token: string
  readonly signal: AbortSignal
}

const defaultTimeoutMs = 10_000
const maxItems = 500
const maxAnswerBytes = 16 * 1024 * 1024
/** All users of the page together. */
const maxConnections = 16

export class UserApi implements AsyncDisposable {
  readonly #options: UserApiOptions
  #connections: { readonly ca: string | undefined; readonly agent: Agent } | undefined

  constructor(options: UserApiOptions) {
    this.#options = options
  }

  /** The DataVolumes of a namespace by name. @throws {UserApiError} */
  async dataVolumes({ namespace, token, signal }: UserCall): Promise<DataVolumeList> {
    const path = `/apis/cdi.kubevirt.io/v1beta1/namespaces/${namespace}/datavolumes?limit=${maxItems}`
    const list = (await this.#call({ method: 'GET', path, token, signal })) as {
      items?: DataVolume[] | null
      metadata?: { continue?: string }
    }
    const items = (list.items ?? []).map((each) => summaryOf(each, this.#options.now()))
    return {
      items: items.sort((one, other) => (one.name < other.name ? -1 : 1)),
      truncated: Boolean(list.metadata?.continue),
    }
  }

  /** A token for uploads to a claim, and when it ends (RFC 3339). @throws {UserApiError} */
  async uploadToken({
    namespace,
    token,
    signal,
    pvcName,
  }: UserCall & { pvcName: string }): Promise<{ token: string; expires: string }> {
    const path = `/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/${namespace}/uploadtokenrequests`
    const body = {
      apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
      kind: 'UploadTokenRequest',
      metadata: { generateName: 'token-for-page-', namespace },
      spec: { pvcName },
    }
    const made = (await this.#call({ method: 'POST', path, token, signal, body })) as { status?: { token?: unknown } }
    const uploadToken = made.status?.token
    if (typeof uploadToken !== 'string') throw new UserApiError(502, 'the API server gave no token')
    return { token: uploadToken, expires: expiryOf(uploadToken) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections?.agent.destroy()
  }

  async #call(what: {
    method: 'GET' | 'POST'
    path: string
    token: string
    signal: AbortSignal
    body?: object
  }): Promise<unknown> {
    const { method, path, token, body } = what
    const timeout = AbortSignal.timeout(this.#options.timeoutMs ?? defaultTimeoutMs)
    const signal = AbortSignal.any([what.signal, timeout])
    let status: number
    let text: string
    try {
      const reply = await request(this.#options.server + path, {
        dispatcher: this.#dispatcher(),
        method,
        headers: {
          authorization: `Bearer ${token}`,
          accept: 'application/json',
          'user-agent': 'cdi-uploadproxy-page',
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        signal,
      })
      status = reply.statusCode
      text = await boundedText(reply.body)
    } catch (cause) {
      if (cause instanceof UserApiError) throw cause
      if (timeout.aborted) throw new UserApiError(504, 'the API server did not answer in time', { cause })
      throw new UserApiError(502, 'the API server cannot be reached', { cause })
    }
    const answer = parse(text)
    if (status >= 200 && status < 300 && answer !== undefined) return answer
    const message = answer?.['message']
    const told = typeof message === 'string' ? message : text.trim().slice(0, 500)
    throw new UserApiError(status >= 400 && status < 600 ? status : 502, told || `the API server answered ${status}`)
  }

  #dispatcher(): Agent {
    const ca = this.#options.ca?.()
    if (this.#connections === undefined || this.#connections.ca !== ca) {
      void this.#connections?.agent.close().catch(() => undefined)
      const agent = new Agent({
        allowH2: false,
        connections: maxConnections,
        connect: { timeout: defaultTimeoutMs, ...(ca === undefined ? {} : { ca }) },
      })
      this.#connections = { ca, agent }
    }
    return this.#connections.agent
  }
}

async function boundedText(body: AsyncIterable<Buffer>): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of body) {
    size += part.length
    if (size > maxAnswerBytes) throw new UserApiError(502, 'the answer of the API server is too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}

function summaryOf({ metadata, spec, status }: DataVolume, nowMs: number): DataVolumeSummary {
  const size = spec?.storage?.resources?.requests?.['storage'] ?? spec?.pvc?.resources?.requests?.['storage']
  const createdMs = Date.parse(metadata.creationTimestamp ?? '')
  return {
    name: metadata.name,
    phase: status?.phase ?? '',
    progress: status?.progress ?? 'N/A',
    restarts: status?.restartCount ?? 0,
    size: size === undefined ? null : String(size),
    source: sourceOf(spec),
    conditions: (status?.conditions ?? []).map(({ type, status: value, reason = '', message = '' }) => ({
      type,
      status: value,
      reason,
      message,
    })),
    age: Number.isNaN(createdMs) ? 0 : Math.max(0, Math.floor((nowMs - createdMs) / 1000)),
  }
}

function sourceOf(spec: DataVolume['spec'] | undefined): string {
  if (spec?.sourceRef) return spec.sourceRef.kind
  const [source] = Object.entries(spec?.source ?? {}).find(([, value]) => value !== undefined && value !== null) ?? []
  return source ?? 'unknown'
}

/** What the token says of itself; the proxy that it is meant for verifies it. */
function expiryOf(token: string): string {
  const seconds = parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())?.['exp']
  if (typeof seconds !== 'number') throw new UserApiError(502, 'the API server gave a token that cannot be read')
  return new Date(seconds * 1000).toISOString().replace('.000Z', 'Z')
}
