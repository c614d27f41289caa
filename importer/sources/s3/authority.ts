/** Who we are to an S3 store: signs requests, and heals what a refusal may come from (clock, credentials of yesterday). */
import { CdiError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { Authority, AuthorityRequest } from '../http/client.ts'
import type { HeaderLine, ResponseHead } from '../http/head.ts'
import { untilAborted } from '../until-aborted.ts'
import { defaultRegion } from './address.ts'
import type { Aws } from './aws.ts'

/**
 * `keys`: given outright. `settings`: found by the SDK, renewed when they are refused. `none`: anonymous. `machine`:
 * anonymous, and where that is refused with the role of the machine, if it has one.
 */
export type Identity = 'keys' | 'settings' | 'none' | 'machine'

export interface S3AuthorityOptions {
  readonly identity: Identity
  /** Called on first use, once. */
  readonly loadAws: () => Promise<Aws>
  /** Time of day in milliseconds since 1970. */
  readonly timeOfDay: () => number
  readonly log: Log
}

/** Stores take signatures of the last quarter of an hour; a clock that is wrong by less is not the reason. */
const noticedSkewMs = 5 * 60_000
/** Credentials that are younger were not the reason for a refusal; a token service is not asked more often. */
const youngMs = 60_000

export class S3Authority implements Authority {
  /** Signed for; found out while opening. */
  region = defaultRegion
  readonly #options: S3AuthorityOptions
  #anonymous: boolean
  #machineAsked = false
  /** What to add to our clock for the store's. */
  #skewMs = 0
  #obtainedMs: number | undefined
  #renewNext = false

  constructor(options: S3AuthorityOptions) {
    this.#options = options
    this.#anonymous = options.identity === 'none' || options.identity === 'machine'
  }

  /** True as long as nothing is signed. */
  get anonymous(): boolean {
    return this.#anonymous
  }

  async headersFor({ method, url }: AuthorityRequest, signal: AbortSignal): Promise<readonly HeaderLine[]> {
    if (this.#anonymous) return []
    if (this.#renewNext) await this.#renew(signal)
    return this.#sign({ method, url }, signal)
  }

  async refused(answer: ResponseHead, { method, url }: AuthorityRequest, signal: AbortSignal): Promise<boolean> {
    if (this.#anonymous) return this.#becomeMachine({ method, url }, signal)
    return this.#correctClock(answer) || this.#renew(signal)
  }

  /** The store says that the credentials have expired: the next request gets new ones. */
  expired(): void {
    this.#renewNext = true
  }

  async #sign(request: Pick<AuthorityRequest, 'method' | 'url'>, signal: AbortSignal): Promise<HeaderLine[]> {
    const { loadAws, timeOfDay } = this.#options
    const aws = await loadAws()
    const date = new Date(timeOfDay() + this.#skewMs)
    const lines = await untilAborted(aws.sign({ ...request, region: this.region, date }), signal)
    this.#obtainedMs ??= timeOfDay()
    return lines
  }

  #correctClock({ headers }: ResponseHead): boolean {
    const skewMs = Date.parse(headers.get('date') ?? '') - this.#options.timeOfDay()
    if (!(Math.abs(skewMs - this.#skewMs) > noticedSkewMs)) return false
    this.#options.log.warn({ skewSeconds: Math.round(skewMs / 1000) }, 'signing by the clock of the S3 server')
    this.#skewMs = skewMs
    return true
  }

  /** Gets credentials anew if that promises something; true if there are new ones. */
  async #renew(signal: AbortSignal): Promise<boolean> {
    const { identity, loadAws, timeOfDay, log } = this.#options
    this.#renewNext = false
    if (identity === 'keys' || timeOfDay() - (this.#obtainedMs ?? timeOfDay()) < youngMs) return false
    log.info('S3 refused our credentials, getting new ones')
    const aws = await loadAws()
    await untilAborted(aws.renew(), signal)
    this.#obtainedMs = timeOfDay()
    return true
  }

  /** Asks for the machine's role, once; true if there is one. */
  async #becomeMachine(request: Pick<AuthorityRequest, 'method' | 'url'>, signal: AbortSignal): Promise<boolean> {
    if (this.#options.identity !== 'machine' || this.#machineAsked) return false
    this.#machineAsked = true
    try {
      await this.#sign(request, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CdiError)) throw error
      this.#options.log.debug({ err: error }, 'refused without credentials, and this machine has no role')
      return false
    }
    this.#anonymous = false
    return true
  }
}
