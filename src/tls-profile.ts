/**
 * Which TLS versions and cipher suites our servers offer: `spec.tlsSecurityProfile` of CDIConfig, in OpenShift's shape
 * (contract/upload.md §8). The lists of the named profiles are Mozilla's (server side TLS 5), with OpenSSL's names.
 */
import { getCiphers } from 'node:tls'

type MinVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3'

/** Can be given to `tls.createServer`, `createSecureContext` and `setSecureContext` as it is. */
export interface TlsProfile {
  readonly minVersion: MinVersion
  /** Colon separated, TLS 1.3 suites included. Servers need `dhparam: 'auto'` for the DHE suites among them. */
  readonly ciphers: string
}

const tls13Suites = ['TLS_AES_128_GCM_SHA256', 'TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256']

const intermediateSuites = [
  ...tls13Suites,
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'DHE-RSA-AES128-GCM-SHA256',
  'DHE-RSA-AES256-GCM-SHA384',
]

const oldSuites = [
  ...intermediateSuites,
  'DHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-SHA256',
  'ECDHE-RSA-AES128-SHA256',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-ECDSA-AES256-SHA384',
  'ECDHE-RSA-AES256-SHA384',
  'ECDHE-ECDSA-AES256-SHA',
  'ECDHE-RSA-AES256-SHA',
  'DHE-RSA-AES128-SHA256',
  'DHE-RSA-AES256-SHA256',
  'AES128-GCM-SHA256',
  'AES256-GCM-SHA384',
  'AES128-SHA256',
  'AES256-SHA256',
  'AES128-SHA',
  'AES256-SHA',
  'DES-CBC3-SHA',
]

/** Kubernetes' names of versions, and Node's. */
const versions = {
  VersionTLS10: 'TLSv1',
  VersionTLS11: 'TLSv1.1',
  VersionTLS12: 'TLSv1.2',
  VersionTLS13: 'TLSv1.3',
} as const satisfies Record<string, MinVersion>

/** OpenSSL counts the signatures of TLS 1.0 and 1.1 (MD5 with SHA-1) as weak and offers them at this level only. */
const everyStrength = '@SECLEVEL=0'

/** Suites that this OpenSSL knows; anything else, its cipher-list operators included, never reaches it. */
const known = new Set(getCiphers().map((name) => name.toUpperCase()))

const intermediate = profile('TLSv1.2', intermediateSuites)

/** The profile that the configuration asks for; Intermediate when it asks for none or for one that makes no sense. */
export function tlsProfileOf(config: { spec: { tlsSecurityProfile?: unknown } } | undefined): TlsProfile {
  const asked = (config?.spec.tlsSecurityProfile ?? {}) as {
    type?: unknown
    custom?: { ciphers?: unknown; minTLSVersion?: unknown } | null
  }
  switch (asked.type) {
    case 'Old':
      return profile('TLSv1', oldSuites)
    case 'Modern':
      return profile('TLSv1.3', tls13Suites)
    case 'Custom': {
      if (!asked.custom) return intermediate
      const { ciphers, minTLSVersion } = asked.custom
      return profile(versionOf(minTLSVersion), Array.isArray(ciphers) ? ciphers : [])
    }
    default:
      return intermediate
  }
}

/** The two variables by which a worker pod is told. */
export function renderTlsProfile({ ciphers, minVersion }: TlsProfile): { ciphers: string; minVersion: string } {
  const [version = 'VersionTLS12'] = Object.entries(versions).find(([, name]) => name === minVersion) ?? []
  return {
    ciphers: ciphers
      .split(':')
      .filter((name) => name !== everyStrength)
      .join(','),
    minVersion: version,
  }
}

/** The opposite of {@link renderTlsProfile}; Intermediate where nothing is given. */
export function parseTlsProfile({ ciphers, minVersion }: { ciphers: string; minVersion: string }): TlsProfile {
  return profile(versionOf(minVersion), ciphers.split(','))
}

function versionOf(name: unknown): MinVersion {
  return typeof name === 'string' && Object.hasOwn(versions, name) ? versions[name as keyof typeof versions] : 'TLSv1.2'
}

function profile(minVersion: MinVersion, asked: readonly unknown[]): TlsProfile {
  const suites = asked.filter((name): name is string => typeof name === 'string' && known.has(name))
  const modern = suites.filter((name) => name.startsWith('TLS_'))
  const older = suites.filter((name) => !name.startsWith('TLS_'))
  // A list without TLS 1.3 suites does not mean to switch TLS 1.3 off; elsewhere (Go) they cannot be chosen at all. A list in
  // which no suite is known says nothing.
  const chosen = [
    ...(modern.length > 0 ? modern : tls13Suites),
    ...(suites.length > 0 || minVersion === 'TLSv1.3' ? older : intermediateSuites.slice(tls13Suites.length)),
  ]
  const weak = minVersion === 'TLSv1' || minVersion === 'TLSv1.1'
  return { minVersion, ciphers: [...chosen, ...(weak ? [everyStrength] : [])].join(':') }
}
