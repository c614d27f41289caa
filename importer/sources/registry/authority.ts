/**
 * Who we are to one registry. Nothing is sent before it asks; its challenge decides between a password (basic) and
 * tokens (bearer), which are renewed before they expire and when the registry says that they have. What is sent goes to
 * the registry's host only (http/client.ts sees to that), and to the token server that the registry names, if that is as
 * protected as the registry itself.
 */
import { CdiError } from '../../../src/errors.ts'
import type { Authority, AuthorityRequest } from '../http/client.ts'
import type { HeaderLine, ResponseHead } from '../http/head.ts'
import type { Clock } from '../clock.ts'
import { untilAborted } from '../until-aborted.ts'
import { parseChallenges } from './challenge.ts'
import type { Challenge } from './challenge.ts'
import type { PasswordCredentials, RegistryCredentials } from './docker-config.ts'
import { pullFault } from './refusal.ts'
import { requestToken } from './token.ts'
import type { BearerToken } from './token.ts'
import type { Transport } from './transport.ts'

export interface RegistryAuthorityOptions {
  readonly scheme: 'https' | 'http'
  readonly repository: string
  readonly credentials: RegistryCredentials | undefined
  readonly transport: Transport
  readonly clock: Clock
}

/** Where tokens come from, as the registry told. */
interface TokenPlace {
  readonly realm: URL
  readonly service?: string
  readonly scopes: readonly string[]
}

/** A token is renewed by so much of its lifetime early, and at most so early. */
const renewalShare = 0.1
const earliestRenewalMs = 10_000

export class RegistryAuthority implements Authority, Disposable {
  readonly #options: RegistryAuthorityOptions
  #usesPassword = false
  #place: TokenPlace | undefined
  #token: { readonly text: string; readonly goodUntilMs: number } | undefined
  #hadToken = false
  #renewing: Promise<void> | undefined
  /** The value of Authorization that went with a request, to know whether a refusal was meant for what we have now. */
  readonly #sent = new WeakMap<AuthorityRequest, string>()
  readonly #closing = new AbortController()

  constructor(options: RegistryAuthorityOptions) {
    this.#options = options
  }

  async headersFor(request: AuthorityRequest, signal: AbortSignal): Promise<readonly HeaderLine[]> {
    if (this.#place !== undefined && !this.#hasToken()) await this.#renew(signal)
    const value = this.#authorization()
    if (value === undefined) return []
    this.#sent.set(request, value)
    return [['Authorization', value]]
  }

  async refused(answer: ResponseHead, request: AuthorityRequest, signal: AbortSignal): Promise<boolean> {
    if (answer.status !== 401) return false
    const sent = this.#sent.get(request)
    // Another request has learnt or renewed it meanwhile.
    if (sent !== this.#authorization()) return true
    const challenges = parseChallenges(answer.headers.get('www-authenticate') ?? '')
    const bearer = challenges.find(({ scheme, parameters }) => scheme === 'bearer' && parameters.has('realm'))
    if (bearer !== undefined) {
      this.#place = this.#tokenPlace(bearer)
      this.#token = undefined
      await this.#renew(signal)
      return true
    }
    const basic = challenges.some(({ scheme }) => scheme === 'basic')
    if (!basic || this.#usesPassword || this.#password === undefined) return false
    this.#usesPassword = true
    return true
  }

  /** Takes out of a text what nobody may see, should somebody have put it there. */
  readonly hide = (text: string): string => {
    const { credentials } = this.#options
    const given =
      credentials === undefined
        ? []
        : 'password' in credentials
          ? [basicPair(credentials), credentials.password]
          : [credentials.identityToken]
    return [this.#token?.text ?? '', ...given]
      .filter((secret) => secret !== '')
      .reduce((shown, secret) => shown.replaceAll(secret, '[redacted]'), text)
  };

  [Symbol.dispose](): void {
    this.#closing.abort(new CdiError('CDI_ABORTED', 'the source was closed'))
  }

  get #password(): PasswordCredentials | undefined {
    const { credentials } = this.#options
    return credentials !== undefined && 'password' in credentials ? credentials : undefined
  }

  #authorization(): string | undefined {
    if (this.#token !== undefined) return `Bearer ${this.#token.text}`
    if (!this.#usesPassword || this.#password === undefined) return undefined
    return `Basic ${basicPair(this.#password)}`
  }

  #hasToken(): boolean {
    return this.#token !== undefined && this.#options.clock.now() < this.#token.goodUntilMs
  }

  #tokenPlace({ parameters }: Challenge): TokenPlace {
    const { scheme, repository } = this.#options
    const realm = URL.parse(parameters.get('realm') ?? '')
    if (realm === null || realm.hostname === '') throw pullFault('the registry names a token server that is no URL')
    if (realm.protocol !== 'https:' && !(realm.protocol === 'http:' && scheme === 'http')) {
      throw pullFault(
        `the registry names a token server that is not reached by https (${realm.host}); nothing is sent there`,
      )
    }
    const service = parameters.get('service')
    const scope = `repository:${repository}:pull`
    const told = parameters.get('scope') ?? ''
    return {
      realm,
      ...(service === undefined ? {} : { service }),
      // What is asked of us besides is asked for too, as Docker does; some registries have their own words.
      scopes: [...new Set([scope, told])].filter((one) => one !== ''),
    }
  }

  /** One renewal at a time, whoever waits for it; it ends with the authority and not with a signal. */
  async #renew(signal: AbortSignal): Promise<void> {
    if (this.#renewing === undefined) {
      this.#renewing = this.#askForToken().finally(() => {
        this.#renewing = undefined
      })
      // Who waited may have been called off.
      this.#renewing.catch(() => {})
    }
    await untilAborted(this.#renewing, signal)
  }

  async #askForToken(): Promise<void> {
    const { transport, credentials, clock } = this.#options
    const place = this.#place as TokenPlace
    const askedMs = clock.now()
    await using client = transport.connect({
      url: place.realm,
      credentials: this.#password,
      // A refresh token stands in the body, which must not be carried elsewhere.
      followRedirects: credentials === undefined || 'password' in credentials,
    })
    const question = { ...place, hide: this.hide, ...(credentials === undefined ? {} : { credentials }) }
    const { token, lifetimeMs }: BearerToken = await requestToken(client, question, this.#closing.signal).catch(
      (error: unknown) => {
        throw this.#hadToken ? sufferable(error) : error
      },
    )
    this.#hadToken = true
    const earlyMs = Math.min(earliestRenewalMs, lifetimeMs * renewalShare)
    this.#token = { text: token, goodUntilMs: askedMs + lifetimeMs - earlyMs }
  }
}

/** Who had a token is not refused for good by one answer in the middle: it is suffered as refusals of blobs are. */
function sufferable(error: unknown): unknown {
  if (!(error instanceof CdiError) || error.code !== 'CDI_REGISTRY_PULL') return error
  return new CdiError('CDI_SOURCE_STATUS', error.message, { cause: error, details: error.details })
}

function basicPair({ user, password }: PasswordCredentials): string {
  return Buffer.from(`${user}:${password}`).toString('base64')
}
