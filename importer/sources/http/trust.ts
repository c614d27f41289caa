/** Whom to trust: the system's roots, Node's own ones, and the CAs that were given (contract: import §8, §18). */
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { SecureContext } from 'node:tls'
import type { Log } from '../../../src/log.ts'

/** Where the distributions keep their bundle: Debian, Fedora, SUSE, Alpine and the rest. The first one counts. */
const systemBundles = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

const certificate = /-----BEGIN (?:TRUSTED )?CERTIFICATE-----[^-]+-----END (?:TRUSTED )?CERTIFICATE-----/g

/** The certificates in a PEM file, whatever else it contains. */
export function certificatesIn(pem: string): string[] {
  return pem.match(certificate) ?? []
}

function readSystemBundle(): string {
  for (const path of systemBundles) {
    try {
      return readFileSync(path, 'utf8')
    } catch {
      // Another distribution's place.
    }
  }
  return ''
}

/** Makes the context for all TLS connections of a source. Given CAs that cannot be read are logged and left out. */
export function createTrust({ ca, log }: { ca: readonly string[]; log: Log }): SecureContext {
  // Loaded only for https: it takes 12 ms.
  const { createSecureContext, rootCertificates } = process.getBuiltinModule('node:tls')
  const given = ca.flatMap(certificatesIn).filter((pem) => {
    try {
      void new X509Certificate(pem)
      return true
    } catch (error) {
      log.warn({ err: error }, 'a given CA certificate is damaged and not used')
      return false
    }
  })
  if (ca.length > 0 && given.length === 0) log.warn('the given CA files hold no certificate')
  const roots = new Set([...rootCertificates, ...certificatesIn(readSystemBundle()), ...given])
  return createSecureContext({ ca: [...roots], minVersion: 'TLSv1.2' })
}
