/**
 * Whether a certificate stays or is made anew (contract/upload.md §7). Pure: a Secret as it is, what it should be like, and
 * the time give a decision with its reason. The annotations of a Secret decide over its times, so that an edit of
 * `certificate-not-after` forces a renewal; the certificate itself has a say where it is worse than they claim.
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { Secret } from '../api/kinds.ts'
import type { CertificatePair } from './authority.ts'
import { formatLifetime } from './lifetimes.ts'
import type { Lifetime } from './lifetimes.ts'
import { certificateAnnotations, pairKeys, tlsSecretType } from './names.ts'
import { certificatesIn, commonNameOf, isKeyPair } from './pem.ts'
import { canSign } from './x509.ts'

/** Why a certificate is made anew. */
export type Trouble =
  | 'missing'
  /** The Secret is not of type kubernetes.io/tls, which cannot be changed. */
  | 'wrongType'
  /** No certificate, no key, or they do not belong together. */
  | 'unreadable'
  /** A signer that may not or cannot sign. */
  | 'notAuthority'
  /** The annotations about its times are missing or no times. */
  | 'validityUnknown'
  | 'notYetValid'
  | 'expired'
  /** It was made for other lifetimes than those that are configured now. */
  | 'configChanged'
  /** More than 80 % of its validity are over. */
  | 'mostlyUsed'
  | 'dueForRefresh'
  /** Its authority is in no bundle, so that nobody trusts it. */
  | 'issuerUntrusted'
  /** Its authority was made for other lifetimes and has been replaced for that reason. */
  | 'issuerOutdated'
  | 'hostsDiffer'
  | 'nameDiffers'

/** A certificate that is to be made anew. */
export interface Renewal {
  readonly kind: 'renew'
  readonly trouble: Trouble
}

export type SignerDecision = { readonly kind: 'keep'; readonly signer: Signer; readonly lookAgainAt: number } | Renewal

export type LeafDecision =
  | { readonly kind: 'keep'; readonly lookAgainAt: number }
  /** The user's own certificate, which is not ours to renew. */
  | { readonly kind: 'honour'; readonly certificate: X509Certificate; readonly lookAgainAt: number }
  | Renewal

/** Whom a leaf is for. */
export type Purpose = { readonly hosts: readonly string[] } | { readonly commonName: string }

/** A signer that is in force. */
export interface Signer {
  readonly pair: CertificatePair
  readonly certificate: X509Certificate
  /** From its annotations, epoch milliseconds. */
  readonly notBefore: number
  /** The earlier one of annotation and certificate. */
  readonly notAfter: number
}

/** Clocks of machines differ: so far in the future a certificate may begin. */
const skewMs = 5 * 60_000
/** A signer with less left could not sign anything that lasts. */
const leastRemainingMs = 10_000
/** Share of its validity after which a certificate is renewed in any case. */
const usedShare = 0.8
/** Share of the refresh time that a new signer rests before leaves are renewed with it, while its bundle spreads. */
const signerRestShare = 0.1
/** What certificates last longer than configured: they are dated back by a second. */
const lifetimeToleranceMs = 2_000

/** Whether the Secret of an authority stays. */
export function decideSigner(options: {
  readonly secret: Secret | undefined
  readonly lifetime: Lifetime
  readonly now: number
}): SignerDecision {
  const { secret, lifetime, now } = options
  const held = read(secret)
  if (typeof held === 'string') return renew(held)
  if (!held.certificate.ca || !canSign(held.pair.keyPem)) return renew('notAuthority')
  const schedule = scheduleOf(held, lifetime, now)
  if (typeof schedule === 'string') return renew(schedule)
  if (schedule.end - now < leastRemainingMs) return renew('mostlyUsed')
  if (now > schedule.refreshAt) return renew('dueForRefresh')
  return {
    kind: 'keep',
    signer: { ...newSigner(held.pair), notBefore: schedule.begin, notAfter: schedule.end },
    lookAgainAt: Math.min(schedule.refreshAt, schedule.mostlyUsedAt, schedule.end) + 1,
  }
}

/** A signer of which nothing but its pair is known. @throws when the pair cannot be read */
export function newSigner(pair: CertificatePair): Signer {
  const certificate = new X509Certificate(pair.certPem)
  const { validFromDate, validToDate } = certificate
  return { pair, certificate, notBefore: validFromDate.getTime(), notAfter: validToDate.getTime() }
}

/** Whether the Secret of a leaf stays. */
export function decideLeaf(options: {
  readonly secret: Secret | undefined
  readonly lifetime: Lifetime
  /** That of the authorities. */
  readonly caLifetime: Lifetime
  readonly purpose: Purpose
  readonly signer: Signer
  /** What peers trust, the signer included. */
  readonly bundle: readonly X509Certificate[]
  /** Whether a user may have put a certificate of his own into the Secret. */
  readonly mayBeForeign?: boolean
  readonly now: number
}): LeafDecision {
  const { secret, lifetime, caLifetime, purpose, signer, bundle, mayBeForeign = false, now } = options
  const foreign = mayBeForeign ? foreignCertificate(secret, bundle) : undefined
  if (foreign !== undefined) {
    const { validFromDate, validToDate } = foreign
    if (now > validToDate.getTime()) return renew('expired')
    if (validFromDate.getTime() > now + skewMs) return renew('notYetValid')
    return { kind: 'honour', certificate: foreign, lookAgainAt: validToDate.getTime() + 1 }
  }
  const held = read(secret)
  if (typeof held === 'string') return renew(held)
  const { certificate, annotations } = held
  const schedule = scheduleOf(held, lifetime, now)
  if (typeof schedule === 'string') return renew(schedule)
  const issuer = bundle.find((authority) => isIssuedBy(certificate, authority))
  if (issuer === undefined || annotations[certificateAnnotations.issuer] !== commonNameOf(issuer)) {
    return renew('issuerUntrusted')
  }
  const isOfSigner = issuer.fingerprint256 === signer.certificate.fingerprint256
  if (!isOfSigner && !lastsFor(issuer, caLifetime)) return renew('issuerOutdated')
  const difference = differenceTo(purpose, held)
  if (difference !== undefined) return renew(difference)
  const refreshAt = Math.max(schedule.refreshAt, signer.notBefore + lifetime.refreshMs * signerRestShare)
  if (now > refreshAt) return renew('dueForRefresh')
  return { kind: 'keep', lookAgainAt: Math.floor(Math.min(refreshAt, schedule.mostlyUsedAt, schedule.end)) + 1 }
}

/** The value of the annotation with the hosts. */
export function formatHosts(hosts: readonly string[]): string {
  return [...hosts].sort().join(',')
}

interface Held {
  readonly annotations: Readonly<Record<string, string>>
  readonly certificate: X509Certificate
  readonly pair: CertificatePair
}

function read(secret: Secret | undefined): Held | Trouble {
  if (secret === undefined) return 'missing'
  if (secret.type !== tlsSecretType) return 'wrongType'
  const pair = pairIn(secret)
  const certificate = certificateOf(pair)
  return certificate ? { annotations: secret.metadata.annotations ?? {}, certificate, pair } : 'unreadable'
}

/** The first certificate, if the key is its. */
function certificateOf({ certPem, keyPem }: CertificatePair): X509Certificate | undefined {
  return isKeyPair(certPem, keyPem) ? certificatesIn(certPem)[0] : undefined
}

/** The texts of a Secret, empty where it has none. */
export function pairIn({ data = {} }: Pick<Secret, 'data'>): CertificatePair {
  const text = (key: string): string => Buffer.from(data[key] ?? '', 'base64').toString()
  return { certPem: text(pairKeys.certificate), keyPem: text(pairKeys.key) }
}

interface Schedule {
  readonly begin: number
  readonly refreshAt: number
  readonly mostlyUsedAt: number
  readonly end: number
}

function scheduleOf({ annotations, certificate }: Held, lifetime: Lifetime, now: number): Schedule | Trouble {
  const begin = timeOf(annotations[certificateAnnotations.notBefore])
  const annotatedEnd = timeOf(annotations[certificateAnnotations.notAfter])
  if (begin === undefined || annotatedEnd === undefined) return 'validityUnknown'
  const end = Math.min(annotatedEnd, certificate.validToDate.getTime())
  if (now > end) return 'expired'
  if (begin >= end) return 'validityUnknown'
  if (Math.max(begin, certificate.validFromDate.getTime()) > now + skewMs) return 'notYetValid'
  if (annotations[certificateAnnotations.config] !== formatLifetime(lifetime)) return 'configChanged'
  const mostlyUsedAt = Math.floor(begin + (end - begin) * usedShare)
  if (now > mostlyUsedAt) return 'mostlyUsed'
  return { begin, refreshAt: begin + lifetime.refreshMs, mostlyUsedAt, end }
}

function differenceTo(purpose: Purpose, { annotations, certificate }: Held): Trouble | undefined {
  if ('commonName' in purpose) return commonNameOf(certificate) === purpose.commonName ? undefined : 'nameDiffers'
  const { hosts } = purpose
  if (annotations[certificateAnnotations.hosts] !== formatHosts(hosts)) return 'hostsDiffer'
  const isNamed = (host: string): boolean =>
    (isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)) !== undefined
  return hosts.every(isNamed) ? undefined : 'hostsDiffer'
}

/** The certificate that a user put in place of ours: a whole pair without any annotation of ours, and of no authority of ours. */
function foreignCertificate(
  secret: Secret | undefined,
  bundle: readonly X509Certificate[],
): X509Certificate | undefined {
  const annotations = secret?.metadata.annotations ?? {}
  if (secret === undefined || Object.values(certificateAnnotations).some((key) => annotations[key] !== undefined)) {
    return undefined
  }
  const certificate = certificateOf(pairIn(secret))
  if (certificate === undefined) return undefined
  return bundle.some((authority) => isIssuedBy(certificate, authority)) ? undefined : certificate
}

function isIssuedBy(certificate: X509Certificate, authority: X509Certificate): boolean {
  return certificate.checkIssued(authority) && certificate.verify(authority.publicKey)
}

/** Whether an authority was made to last as long as configured. */
function lastsFor(authority: X509Certificate, { lifetimeMs }: Lifetime): boolean {
  const lastsMs = authority.validToDate.getTime() - authority.validFromDate.getTime()
  return Math.abs(lastsMs - lifetimeMs) <= lifetimeToleranceMs
}

const rfc3339 = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/

function timeOf(text: string | undefined): number | undefined {
  if (text === undefined || !rfc3339.test(text)) return undefined
  const time = Date.parse(text)
  return Number.isNaN(time) ? undefined : time
}

function renew(trouble: Trouble): Renewal {
  return { kind: 'renew', trouble }
}
