/**
 * Access tokens of Google: got with a signed assertion (RFC 7523) or a refresh token (RFC 6749 §6), kept until shortly
 * before they expire, got anew when they are refused.
 */
import { CdiError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { Access } from '../../request.ts'
import type { Clock } from '../clock.ts'
import { askOnce } from '../http/small-answer.ts'
import { untilAborted } from '../until-aborted.ts'
import type { GoogleCredentials } from './credentials.ts'

export interface AccessTokensOptions {
  readonly credentials: GoogleCredentials
  readonly access: Access
  readonly log: Log
  readonly clock: Clock
  /** Time of day in milliseconds since 1970, for assertions. */
  readonly timeOfDay: () => number
}

const scope = 'https://www.googleapis.com/auth/devstorage.read_only'
const assertionLifeSeconds = 3600
/** Renewed this long before it expires, or half its life if that is short. */
const marginMs = 300_000
const longestAnswerBytes = 64 * 1024
const limitMs = 30_000

interface Token {
  readonly text: string
  /** By our clock, in milliseconds. */
  readonly renewAtMs: number
}

export class AccessTokens {
  readonly #options: AccessTokensOptions
  #token: Token | undefined
  /** One request for all streams that wait; it is given up with the one that began it. */
  #fetching: { readonly done: Promise<Token>; readonly signal: AbortSignal } | undefined

  constructor(options: AccessTokensOptions) {
    this.#options = options
  }

  /** A token that is good for a while. Throws CDI_SOURCE_*, or the signal's reason. */
  async token(signal: AbortSignal): Promise<string> {
    for (;;) {
      signal.throwIfAborted()
      const { clock } = this.#options
      if (this.#token !== undefined && clock.now() < this.#token.renewAtMs) return this.#token.text
      const fetching = (this.#fetching ??= this.#fetch(signal))
      try {
        const { text } = await untilAborted(fetching.done, signal)
        return text
      } catch (error) {
        signal.throwIfAborted()
        if (!fetching.signal.aborted) throw error
      }
    }
  }

  /** That token was refused: it is not handed out again. */
  forget(text: string): void {
    if (this.#token?.text === text) this.#token = undefined
  }

  #fetch(signal: AbortSignal): { done: Promise<Token>; signal: AbortSignal } {
    const fetch = async (): Promise<Token> => {
      try {
        return (this.#token = await this.#request(signal))
      } finally {
        this.#fetching = undefined
      }
    }
    return { done: fetch(), signal }
  }

  async #request(signal: AbortSignal): Promise<Token> {
    const { credentials, access, log, clock } = this.#options
    const { tokenUrl } = credentials
    const form = new URLSearchParams(await this.#grant())
    const answer = await askOnce(
      {
        method: 'POST',
        url: tokenUrl,
        headers: [['Content-Type', 'application/x-www-form-urlencoded']],
        body: Buffer.from(form.toString()),
        access,
        limitMs,
        longestBytes: longestAnswerBytes,
        log,
      },
      signal,
    )
    const told = parseAnswer(answer.bytes)
    const lifeSeconds = typeof told['expires_in'] === 'number' ? told['expires_in'] : assertionLifeSeconds
    const text = told['access_token']
    if (answer.status !== 200 || typeof text !== 'string' || !/^[\x21-\x7e]{1,16384}$/.test(text)) {
      throw new CdiError('CDI_SOURCE_STATUS', `no access token from ${tokenUrl.host}: ${reasonOf(answer, told)}`, {
        details: { status: answer.status },
      })
    }
    const lifeMs = Math.max(0, lifeSeconds) * 1000
    return { text, renewAtMs: clock.now() + lifeMs - Math.min(marginMs, lifeMs / 2) }
  }

  async #grant(): Promise<Record<string, string>> {
    const { credentials, timeOfDay } = this.#options
    if (credentials.type === 'authorized_user') {
      return {
        grant_type: 'refresh_token',
        client_id: credentials.clientId,
        client_secret: credentials.clientSecret,
        refresh_token: credentials.refreshToken,
      }
    }
    const { email, privateKey, keyId, tokenUrl } = credentials
    // Loaded for service accounts only; all of jose would take 50 ms and 15 MB.
    const { SignJWT } = await import('jose/jwt/sign')
    const nowSeconds = Math.floor(timeOfDay() / 1000)
    const assertion = await new SignJWT({ scope })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', ...(keyId === undefined ? {} : { kid: keyId }) })
      .setIssuer(email)
      .setAudience(tokenUrl.href)
      .setIssuedAt(nowSeconds)
      .setExpirationTime(nowSeconds + assertionLifeSeconds)
      .sign(privateKey)
    return { grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', assertion }
  }
}

function parseAnswer(body: Buffer): Readonly<Record<string, unknown>> {
  try {
    const parsed: unknown = JSON.parse(body.toString('utf8'))
    return typeof parsed === 'object' && parsed !== null ? (parsed as Record<string, unknown>) : {}
  } catch {
    return {}
  }
}

/** `invalid_grant: Invalid JWT Signature. (400 Bad Request)`, or the status alone. */
function reasonOf(
  { status, reason }: { status: number; reason: string },
  { error, error_description: description }: Readonly<Record<string, unknown>>,
): string {
  const words = [error, description].filter((text) => typeof text === 'string' && text !== '').join(': ')
  const plain = words.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, ' ').slice(0, 300)
  return plain === '' ? `${status} ${reason}` : `${plain} (${status} ${reason})`
}
