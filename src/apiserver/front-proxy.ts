/**
 * Users of the aggregated API: the API server has authenticated them, proves by its client certificate that it is the API
 * server, and tells them in headers ("front proxy"; Kubernetes, "Configure the Aggregation Layer"). Which authority, names
 * and headers these are stands in a ConfigMap that the API server writes itself.
 */
import type { X509Certificate } from 'node:crypto'
import type { ConfigMap } from '../api/kinds.ts'
import { certificatesIn, commonNameOf } from '../certs/pem.ts'
import type { User } from './access.ts'

/** Where the API server writes it. */
export const frontProxyConfigMap = { namespace: 'kube-system', name: 'extension-apiserver-authentication' } as const

export interface FrontProxy {
  /** The authorities of the front proxy's certificate. */
  readonly caPem: string
  /** Common names of the front proxy; none means that any will do. */
  readonly allowedNames: readonly string[]
  readonly usernameHeaders: readonly string[]
  readonly uidHeaders: readonly string[]
  readonly groupHeaders: readonly string[]
  readonly extraHeaderPrefixes: readonly string[]
}

/** The ConfigMap is there and makes no sense; the message says what is wrong. */
export class FrontProxyError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'FrontProxyError'
  }
}

/**
 * What the ConfigMap says; undefined when the cluster has no front proxy.
 * @throws {FrontProxyError} when it cannot be understood: nobody may be let in by half of it
 */
export function parseFrontProxy({ data = {} }: Pick<ConfigMap, 'data'>): FrontProxy | undefined {
  const caPem = data['requestheader-client-ca-file'] ?? ''
  if (caPem.trim() === '') return undefined
  if (certificatesIn(caPem).length === 0) {
    throw new FrontProxyError('requestheader-client-ca-file holds no certificate')
  }
  const listOf = (key: string): string[] => parseList(key, data[key])
  return {
    caPem,
    allowedNames: listOf('requestheader-allowed-names'),
    usernameHeaders: listOf('requestheader-username-headers'),
    uidHeaders: listOf('requestheader-uid-headers'),
    groupHeaders: listOf('requestheader-group-headers'),
    extraHeaderPrefixes: listOf('requestheader-extra-headers-prefix'),
  }
}

function parseList(key: string, text: string | undefined): string[] {
  if (text === undefined || text.trim() === '') return []
  let list: unknown
  try {
    list = JSON.parse(text)
  } catch (error) {
    throw new FrontProxyError(`${key} is not JSON`, { cause: error })
  }
  if (list === null) return []
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'string')) {
    throw new FrontProxyError(`${key} is not a list of strings`)
  }
  return list
}

/** Whether a certificate, which the authority has signed, is one of those that may come. */
export function isAllowedName({ allowedNames }: FrontProxy, certificate: X509Certificate): boolean {
  return allowedNames.length === 0 || allowedNames.includes(commonNameOf(certificate) ?? '')
}

/** The values of each header, names in lower case, as in `IncomingMessage.headersDistinct`. */
export type DistinctHeaders = Readonly<Record<string, readonly string[] | undefined>>

/** The user that the headers tell, or the headers of which one is needed. A user need not be in any group. */
export function userOf(config: FrontProxy, headers: DistinctHeaders): User | { readonly needs: readonly string[] } {
  const [name = ''] = firstOf(headers, config.usernameHeaders)
  if (name === '') return { needs: config.usernameHeaders }
  const [uid = ''] = firstOf(headers, config.uidHeaders)
  return {
    name,
    ...(uid === '' ? {} : { uid }),
    groups: firstOf(headers, config.groupHeaders),
    extra: extraOf(headers, config.extraHeaderPrefixes),
  }
}

/** The values of the first of the named headers that is there. */
function firstOf(headers: DistinctHeaders, names: readonly string[]): readonly string[] {
  for (const name of names) {
    const values = headers[name.toLowerCase()]
    if (values !== undefined && values.length > 0) return values
  }
  return []
}

function extraOf(headers: DistinctHeaders, prefixes: readonly string[]): Record<string, string[]> {
  const extra = new Map<string, string[]>()
  for (const [name, values = []] of Object.entries(headers)) {
    for (const prefix of prefixes) {
      if (!name.startsWith(prefix.toLowerCase())) continue
      const key = unescape(name.slice(prefix.length))
      extra.set(key, [...(extra.get(key) ?? []), ...values])
    }
  }
  return Object.fromEntries(extra)
}

/** Percent-decoded; what is no proper encoding stays as it is. */
function unescape(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
