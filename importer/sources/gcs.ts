/**
 * Source GCS: objects of Google Cloud Storage by its XML API, which is plain GET, so that any web server will do. By
 * ranges over several connections, resumed after cuts, every range tied to the version by If-Match.
 *
 * gcs/address.ts      where an object is
 * gcs/credentials.ts  what stands in credentials.json
 * gcs/tokens.ts       access tokens
 */
import type { Log } from '../../src/log.ts'
import type { GcsRequest } from '../request.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { parseGcsAddress } from './gcs/address.ts'
import { isThisMachine, parseGoogleCredentials } from './gcs/credentials.ts'
import { explainGcs } from './gcs/refusal.ts'
import { AccessTokens } from './gcs/tokens.ts'
import { openHttp } from './http.ts'
import type { Authority, AuthorityRequest } from './http/client.ts'
import type { PatienceLimits } from './resumable.ts'
import type { Source } from './source.ts'

export interface GcsOptions {
  readonly request: GcsRequest
  readonly log: Log
  /** Where STORAGE_EMULATOR_HOST may stand. */
  readonly environment?: Readonly<Record<string, string | undefined>>
  readonly clock?: Clock
  /** Time of day in milliseconds since 1970, for the assertions that tokens are got with. */
  readonly timeOfDay?: () => number
  readonly random?: () => number
  readonly patience?: PatienceLimits
}

/**
 * Opens an object. Throws CDI_USAGE for an address and CDI_CREDENTIALS_INVALID for credentials that make no sense, else
 * what openHttp throws.
 */
export async function openGcs(options: GcsOptions, signal: AbortSignal): Promise<Source> {
  const { request, log, environment = process.env, clock, random, patience } = options
  const { url, google } = parseGcsAddress(request.url, environment)
  const authority = authorityFor(url, options)
  if (authority !== undefined) [url.username, url.password] = ['', '']
  return openHttp(
    {
      url: url.href,
      ...(authority === undefined ? {} : { authority }),
      guard: 'If-Match',
      explain: (answer, body) => explainGcs(answer, body, { anonymous: authority === undefined }),
      // Google unpacks what was stored as gzip unless gzip is welcome; lengths, ranges and checksums are of what is stored.
      headers: google ? ['Accept-Encoding: gzip'] : [],
      secretHeaders: [],
      ca: request.ca,
      insecureSkipVerify: request.insecureSkipVerify,
      proxy: request.proxy,
      log,
      ...(clock === undefined ? {} : { clock }),
      ...(random === undefined ? {} : { random }),
      ...(patience === undefined ? {} : { patience }),
    },
    signal,
  )
}

function authorityFor(url: URL, options: GcsOptions): Authority | undefined {
  const { request, log, clock = systemClock, timeOfDay = Date.now } = options
  if (request.serviceAccount === undefined) return undefined
  // Read even if it is not sent, so that a mistake in it shows.
  const credentials = parseGoogleCredentials(request.serviceAccount)
  if (url.protocol !== 'https:' && !isThisMachine(url)) {
    log.warn(
      { host: url.host },
      'the credentials for GCS are not used: without https everybody on the way could read them',
    )
    return undefined
  }
  return new GoogleAuthority(new AccessTokens({ credentials, access: request, log, clock, timeOfDay }))
}

class GoogleAuthority implements Authority {
  readonly #tokens: AccessTokens
  readonly #used = new WeakMap<AuthorityRequest, string>()

  constructor(tokens: AccessTokens) {
    this.#tokens = tokens
  }

  async headersFor(request: AuthorityRequest, signal: AbortSignal) {
    const token = await this.#tokens.token(signal)
    this.#used.set(request, token)
    return [['Authorization', `Bearer ${token}`]] as const
  }

  /** 401 is about the token, 403 about whom it names. */
  // oxlint-disable-next-line require-await -- asynchronous by interface
  async refused({ status }: { status: number }, request: AuthorityRequest): Promise<boolean> {
    const token = this.#used.get(request)
    if (status !== 401 || token === undefined) return false
    this.#tokens.forget(token)
    return true
  }
}
