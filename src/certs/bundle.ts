/** Bundles: the authorities that peers trust. A new one is added before the first leaf of it appears, old ones stay until they expire. */
import type { X509Certificate } from 'node:crypto'
import { certificatesIn } from './pem.ts'

/** A bundle must fit into a ConfigMap even if somebody forces one renewal after the other. */
const maxAuthorities = 50

/** What a bundle should hold: the signer in force and every authority that was in it and has not expired, newest first. */
export function bundleOf(options: {
  /** The present PEM text. */
  readonly present: string
  readonly signer: X509Certificate
  readonly now: number
}): X509Certificate[] {
  const { present, signer, now } = options
  const others = new Map<string, X509Certificate>()
  for (const certificate of certificatesIn(present)) {
    const isSigner = certificate.fingerprint256 === signer.fingerprint256
    if (certificate.ca && !isSigner && isUnexpired(certificate, now))
      others.set(certificate.fingerprint256, certificate)
  }
  return [signer, ...[...others.values()].sort(newestFirst).slice(0, maxAuthorities - 1)].sort(newestFirst)
}

/** The text of a bundle. */
export function formatBundle(authorities: readonly X509Certificate[]): string {
  return authorities.map((authority) => authority.toString()).join('')
}

/** When the first authority of a bundle expires. */
export function bundleChangesAt(authorities: readonly X509Certificate[], now: number): number {
  const ends = authorities.map((authority) => authority.validToDate.getTime()).filter((end) => end >= now)
  return Math.min(...ends, Number.MAX_SAFE_INTEGER)
}

function isUnexpired(certificate: X509Certificate, now: number): boolean {
  return certificate.validToDate.getTime() >= now
}

function newestFirst(one: X509Certificate, other: X509Certificate): number {
  const byEnd = other.validToDate.getTime() - one.validToDate.getTime()
  if (byEnd !== 0) return byEnd
  return one.fingerprint256 < other.fingerprint256 ? -1 : 1
}
