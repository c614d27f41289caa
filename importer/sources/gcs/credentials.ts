/** What stands in `credentials.json`: the key of a service account, or what `gcloud auth application-default login` left. */
import { createPrivateKey } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { CdiError } from '../../../src/errors.ts'
import { bypassesProxy } from '../proxy.ts'

interface ServiceAccount {
  readonly type: 'service_account'
  readonly email: string
  readonly privateKey: KeyObject
  readonly keyId?: string
  readonly tokenUrl: URL
}

interface AuthorizedUser {
  readonly type: 'authorized_user'
  readonly clientId: string
  readonly clientSecret: string
  readonly refreshToken: string
  readonly tokenUrl: URL
}

export type GoogleCredentials = ServiceAccount | AuthorizedUser

const googleTokenUrl = 'https://oauth2.googleapis.com/token'

/** Reads the JSON text. Throws CDI_CREDENTIALS_INVALID, which quotes nothing of it but its type. */
export function parseGoogleCredentials(json: string): GoogleCredentials {
  const fields = parseFields(json)
  const text = (name: string): string => {
    const value = fields[name]
    if (typeof value !== 'string' || value.trim() === '') throw invalid(`it has no ${name}`)
    return value.trim()
  }
  const tokenUrl = parseTokenUrl(fields['token_uri'] === undefined ? googleTokenUrl : text('token_uri'))
  switch (fields['type']) {
    case 'service_account':
      return {
        type: 'service_account',
        email: text('client_email'),
        privateKey: parsePrivateKey(text('private_key')),
        ...(typeof fields['private_key_id'] === 'string' ? { keyId: fields['private_key_id'] } : {}),
        tokenUrl,
      }
    case 'authorized_user':
      return {
        type: 'authorized_user',
        clientId: text('client_id'),
        clientSecret: text('client_secret'),
        refreshToken: text('refresh_token'),
        tokenUrl,
      }
    default:
      throw invalid(
        `its type is ${JSON.stringify(fields['type'])?.slice(0, 60) ?? 'missing'}, not "service_account" or "authorized_user"`,
      )
  }
}

function parseFields(json: string): Readonly<Record<string, unknown>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(json)
  } catch {
    // The cause would quote the text.
    throw invalid('it is no JSON')
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw invalid('it is no JSON object')
  return parsed as Record<string, unknown>
}

function parsePrivateKey(pem: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch {
    throw invalid('its private_key is no PEM text of a key')
  }
  if (key.asymmetricKeyType !== 'rsa') throw invalid('its private_key is not an RSA key')
  return key
}

function parseTokenUrl(text: string): URL {
  const url = URL.parse(text)
  const safe = url !== null && (url.protocol === 'https:' || (url.protocol === 'http:' && isThisMachine(url)))
  if (!safe) throw invalid('its token_uri is not an https URL')
  return url
}

/** Nothing is overheard on the way there. */
export function isThisMachine(url: URL): boolean {
  return bypassesProxy('', url)
}

function invalid(text: string): CdiError {
  return new CdiError('CDI_CREDENTIALS_INVALID', `the credentials for GCS cannot be used: ${text}`)
}
