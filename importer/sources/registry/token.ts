/** Bearer tokens of registries: asked for at the place that the registry names (distribution, "Token Authentication"). */
import type { CdiError } from '../../../src/errors.ts'
import type { ClientRequest, HttpClient } from '../http/client.ts'
import { readAnswer } from '../http/small-answer.ts'
import { refusal } from '../http/status.ts'
import type { RegistryCredentials } from './docker-config.ts'
import { parseJsonObject } from './json.ts'
import { mayHeal, pullFault, refusalText } from './refusal.ts'

export interface TokenQuestion {
  /** Where tokens are made. */
  readonly realm: URL
  readonly service?: string
  readonly scopes: readonly string[]
  readonly credentials?: RegistryCredentials
  /** Takes secrets out of a text. */
  readonly hide: (text: string) => string
}

export interface BearerToken {
  readonly token: string
  readonly lifetimeMs: number
}

/** What a token server without manners means (distribution, "Requesting a Token": at least 60). */
const usualLifetimeSeconds = 60
const longestLifetimeSeconds = 24 * 3600
const longestAnswerBytes = 256 * 1024
const longestTokenChars = 32 * 1024
const clientId = 'cdi-importer'

/**
 * Asks once. `client` sends to the realm with the credentials of the question. Throws CDI_REGISTRY_PULL for a refusal,
 * CDI_SOURCE_STATUS for one that may heal, and what the client throws.
 */
export async function requestToken(
  client: HttpClient,
  question: TokenQuestion,
  signal: AbortSignal,
): Promise<BearerToken> {
  const answer = await client.send(tokenRequest(question), signal)
  if (answer.status === 200) return parseToken(await readAnswer(answer, longestAnswerBytes), question)
  const { status } = answer
  const what = `the token server ${question.realm.host}`
  throw await refusal(answer, 200, {
    explain: (head, body) => {
      const text = refusalText(head, body, question.hide)
      if (mayHeal(status)) return { code: 'CDI_SOURCE_STATUS', text: `${what} answered ${text}` }
      return { code: 'CDI_REGISTRY_PULL', text: pullFault(`${what} refused: ${text}`).message }
    },
    signal,
  })
}

function tokenRequest({ realm, service, scopes, credentials }: TokenQuestion): ClientRequest {
  if (credentials !== undefined && 'identityToken' in credentials) {
    const form = new URLSearchParams({
      grant_type: 'refresh_token',
      ...(service === undefined ? {} : { service }),
      client_id: clientId,
      scope: scopes.join(' '),
      refresh_token: credentials.identityToken,
    })
    return {
      method: 'POST',
      headers: [['Content-Type', 'application/x-www-form-urlencoded']],
      body: Buffer.from(form.toString()),
    }
  }
  const url = new URL(realm)
  if (service !== undefined) url.searchParams.set('service', service)
  for (const scope of scopes) url.searchParams.append('scope', scope)
  return { method: 'GET', url }
}

function parseToken(bytes: Buffer, { realm }: TokenQuestion): BearerToken {
  const fault = (text: string): CdiError => pullFault(`the token server ${realm.host}: ${text}`)
  const said = parseJsonObject(bytes, 'its answer', fault)
  const token = said['token'] || said['access_token']
  // It becomes a header: nothing but what a token may be made of.
  if (typeof token !== 'string' || token.length > longestTokenChars || !/^[\x21-\x7e]+$/.test(token)) {
    throw fault('its answer holds no token')
  }
  const seconds = Number(said['expires_in'] ?? 0)
  const lifetime = seconds > 0 ? Math.min(seconds, longestLifetimeSeconds) : usualLifetimeSeconds
  return { token, lifetimeMs: lifetime * 1000 }
}
