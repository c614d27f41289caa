/** Requests to the API of one registry for one repository (OCI distribution specification, "Pull"). */
import { CdiError, toCdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import type { ClientResponse, HttpClient } from '../http/client.ts'
import type { HeaderLine, ResponseHead } from '../http/head.ts'
import { refusal } from '../http/status.ts'
import type { Explain } from '../http/status.ts'
import type { PatienceOptions } from '../resumable.ts'
import { RegistryAuthority } from './authority.ts'
import type { RegistryCredentials } from './docker-config.ts'
import { longestManifestBytes } from './manifest.ts'
import type { DockerReference } from './reference.ts'
import { mayHeal, pullFault, refusalText } from './refusal.ts'
import type { Transport } from './transport.ts'

export interface RegistryClientOptions {
  readonly reference: DockerReference
  readonly scheme: 'https' | 'http'
  readonly credentials: RegistryCredentials | undefined
  /** Said if the registry refuses us: why there are no credentials. */
  readonly hint: string | undefined
  readonly transport: Transport
  readonly patience: PatienceOptions
}

/** A small answer, read as a whole. */
export interface SmallAnswer extends ResponseHead {
  readonly bytes: Buffer
}

/** Quick tries for what may heal within seconds; after them the restart of the pod is the next try. */
const quickTries = 4
/** So long is waited between them if the registry asks for it. */
const longestPauseMs = 60_000

export class RegistryClient implements AsyncDisposable {
  readonly #options: RegistryClientOptions
  readonly #authority: RegistryAuthority
  readonly #api: URL
  readonly http: HttpClient

  constructor(options: RegistryClientOptions) {
    const { scheme, credentials, transport, patience, reference } = options
    const { apiHost, repository } = reference
    this.#options = options
    this.#api = new URL(`${scheme}://${apiHost}/v2/${repository}/`)
    this.#authority = new RegistryAuthority({ scheme, repository, credentials, transport, clock: patience.clock })
    this.http = transport.connect({ url: this.#api, authority: this.#authority, credentials: undefined })
  }

  get patience(): PatienceOptions {
    return this.#options.patience
  }

  /** `docker.io/library/fedora` */
  get repositoryName(): string {
    const { registry, repository } = this.#options.reference
    return `${registry}/${repository}`
  }

  /** `manifests/latest`, `blobs/sha256:…` */
  urlOf(path: string): URL {
    return new URL(path, this.#api)
  }

  /**
   * Gets a manifest or a small blob; `what` it is stands in the message if that fails. Throws CDI_REGISTRY_PULL or
   * CDI_SOURCE_* with `failed to pull image: …`, CDI_REGISTRY_MANIFEST if it is too large, or the signal's reason.
   */
  async get(
    { path, what, headers = [] }: { path: string; what: string; headers?: readonly HeaderLine[] },
    signal: AbortSignal,
  ): Promise<SmallAnswer> {
    return this.trying(
      what,
      async () => {
        const answer = await this.http.send({ method: 'GET', url: this.urlOf(path), headers }, signal)
        if (answer.status !== 200) throw await this.refusalOf(answer, { what, expected: 200, signal })
        return { ...answer, bytes: await readSmall(answer, what) }
      },
      signal,
    )
  }

  /** Does `work`, again a few times if what it throws may heal. Its faults then say that the image was not pulled. */
  async trying<T>(what: string, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { clock, random, limits, log } = this.#options.patience
    for (let tries = 1; ; tries += 1) {
      try {
        return await work()
      } catch (thrown) {
        signal.throwIfAborted()
        const error = toCdiError(thrown)
        if (tries === quickTries || !isHiccup(error)) throw this.#asPullFault(what, error)
        const askedMs = Math.min(Number(error.details['retryAfterMs'] ?? 0), longestPauseMs)
        log.info({ err: error }, 'registry stumbled, trying again')
        await clock.sleep(Math.max(askedMs, limits.firstPauseMs * 2 ** tries * (0.5 + random() / 2)), signal)
      }
    }
  }

  /** The fault of an answer that refuses: CDI_SOURCE_STATUS if it may heal, else CDI_REGISTRY_PULL. Ends the answer. */
  refusalOf(
    answer: ClientResponse,
    { what, expected, signal }: { what: string; expected: number; signal: AbortSignal },
  ): Promise<CdiError> {
    const explain: Explain = (head, body) => {
      const text = refusalText(head, body, this.#authority.hide)
      if (mayHeal(head.status)) return { code: 'CDI_SOURCE_STATUS', text }
      return { code: 'CDI_REGISTRY_PULL', text: pullFault(`${what}: ${text}${this.#advice(head.status)}`).message }
    }
    return refusal(answer, expected, { explain, signal })
  }

  /**
   * For refusals in the middle of a transfer, where any may heal: a registry that restarts says strange things, and it has
   * already given some of the blob.
   */
  explainInTransfer(what: string): Explain {
    return (head, body) => ({
      code: 'CDI_SOURCE_STATUS',
      text: pullFault(`${what}: ${refusalText(head, body, this.#authority.hide)}`).message,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#authority[Symbol.dispose]()
    await this.http[Symbol.asyncDispose]()
  }

  #asPullFault(what: string, error: CdiError): CdiError {
    const { code, message, details } = error
    if (code !== 'CDI_SOURCE_STATUS' && !ofTheWay.has(code)) return error
    const { registry } = this.#options.reference
    const advice = speaksNoTls.has(String(details['tlsCode']))
      ? `; if it speaks plain http, list ${registry} in insecureRegistries`
      : ''
    const fault = pullFault(`${what}: ${message.trim()}${advice}`, { cause: error, details })
    return code === 'CDI_SOURCE_STATUS' ? fault : new CdiError(code, fault.message, { cause: error, details })
  }

  #advice(status: number): string {
    const { credentials, hint } = this.#options
    if (status !== 401 && status !== 403) return ''
    if (hint !== undefined) return `; ${hint}`
    return credentials === undefined ? '; no credentials were given' : '; the given credentials do not suffice'
  }
}

async function readSmall(answer: ClientResponse, what: string): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  await answer.body((chunk) => {
    bytes += chunk.length
    if (bytes > longestManifestBytes) {
      throw new CdiError('CDI_REGISTRY_MANIFEST', `${what} gives more than ${longestManifestBytes} bytes`)
    }
    chunks.push(Buffer.from(chunk))
  })
  return Buffer.concat(chunks)
}

function isHiccup({ code, details }: CdiError): boolean {
  return code === 'CDI_SOURCE_INTERRUPTED' || (code === 'CDI_SOURCE_STATUS' && mayHeal(Number(details['status'])))
}

/** What OpenSSL says of an answer that is no TLS. */
const speaksNoTls: ReadonlySet<string> = new Set(['ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG'])

/** Faults of the way to the registry keep their code, since their remedies differ. */
const ofTheWay: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_SOURCE_UNREACHABLE',
  'CDI_SOURCE_TLS',
  'CDI_SOURCE_INTERRUPTED',
  'CDI_SOURCE_STALLED',
  'CDI_SOURCE_REDIRECT',
])
