/**
 * Credentials in a docker config.json, as `docker login`, `podman login` and Secrets of type
 * kubernetes.io/dockerconfigjson write them (containers-auth.json(5)). Programs that keep credentials elsewhere
 * (`credHelpers`, `credsStore`) are not run: a worker has none. Pure.
 */
import { CdiError } from '../../../src/errors.ts'
import type { DockerReference } from './reference.ts'

export interface PasswordCredentials {
  readonly user: string
  readonly password: string
}

/** A refresh token (OAuth 2), which is exchanged for tokens by POST. */
export interface IdentityCredentials {
  readonly identityToken: string
}

export type RegistryCredentials = PasswordCredentials | IdentityCredentials

export interface FoundCredentials {
  readonly credentials?: RegistryCredentials
  /** Why there are none although somebody logged in: for logs and for the error if it fails without. */
  readonly hint?: string
}

/** Looks up the registry's credentials. Throws CDI_CREDENTIALS_INVALID, quoting nothing of the text. */
export function credentialsFromDockerConfig(
  text: string,
  { registry, repository }: Pick<DockerReference, 'registry' | 'repository'>,
): FoundCredentials {
  const config = parseConfig(text)
  const entry = findEntry(objectIn(config['auths']) ?? {}, registry, repository)
  const credentials = entry === undefined ? undefined : credentialsOf(entry, registry)
  if (credentials !== undefined) return { credentials }
  const helper = objectIn(config['credHelpers'])?.[registry] ?? (entry === undefined ? undefined : config['credsStore'])
  if (typeof helper !== 'string' || helper === '') return {}
  return {
    hint:
      `the docker config.json leaves the credentials of ${registry} to the credential helper ` +
      `${JSON.stringify(helper.slice(0, 100))}, which is not run; put them into the file (podman login) or give a secret`,
  }
}

function parseConfig(text: string): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    // Without its cause, which quotes the text.
    throw invalid('the docker config.json is not JSON')
  }
  const config = objectIn(parsed)
  if (config === undefined) throw invalid('the docker config.json is not a JSON object')
  return config
}

/** The entry with the longest key that fits: `host/namespace/repository`, …, `host`; then keys in Docker's old style. */
function findEntry(
  auths: Record<string, unknown>,
  registry: string,
  repository: string,
): Record<string, unknown> | undefined {
  const components = [registry, ...repository.split('/')]
  for (let count = components.length; count > 0; count -= 1) {
    const key = components.slice(0, count).join('/')
    const entry = Object.hasOwn(auths, key) ? objectIn(auths[key]) : undefined
    if (entry !== undefined) return entry
  }
  const old = Object.keys(auths).find((key) => hostOfKey(key) === registry && objectIn(auths[key]) !== undefined)
  return old === undefined ? undefined : objectIn(auths[old])
}

/** `https://index.docker.io/v1/` → `docker.io`; undefined for keys with a namespace. */
function hostOfKey(key: string): string | undefined {
  const [host = '', ...path] = key.replace(/^https?:\/\//, '').split('/')
  if (!['', 'v1', 'v1/', 'v2', 'v2/'].includes(path.join('/'))) return undefined
  return host === 'index.docker.io' || host === 'registry-1.docker.io' ? 'docker.io' : host
}

function credentialsOf(entry: Record<string, unknown>, registry: string): RegistryCredentials | undefined {
  const { identitytoken, auth, username, password } = entry
  if (typeof identitytoken === 'string' && identitytoken !== '') return { identityToken: identitytoken }
  if (typeof auth === 'string' && auth !== '') {
    const pair = Buffer.from(auth, 'base64').toString('utf8').replace(/\0+$/, '')
    const colon = pair.indexOf(':')
    if (colon < 1) throw invalid(`the entry of ${registry} in the docker config.json is not user:password in base64`)
    return { user: pair.slice(0, colon), password: pair.slice(colon + 1) }
  }
  if (typeof username === 'string' && username !== '' && typeof password === 'string') {
    return { user: username, password }
  }
  return undefined
}

function objectIn(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined
}

function invalid(text: string): CdiError {
  return new CdiError('CDI_CREDENTIALS_INVALID', text)
}
