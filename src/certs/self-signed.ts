/**
 * A certificate that a server makes for itself at start (metrics endpoints: clients do not verify it). The certificate
 * library is loaded on the first call only, because it costs 0.2 s and most programs never need it.
 */
import { isIP } from 'node:net'

export interface SelfSigned {
  readonly certPem: string
  /** PKCS #8. */
  readonly keyPem: string
}

export interface SelfSignedOptions {
  readonly commonName: string
  /** DNS names and IP addresses for the subject alternative names. */
  readonly hosts: readonly string[]
  /** How long it is valid from now on; ten years unless told, since nobody renews it while the process lives. */
  readonly validityMs?: number
}

const tenYearsMs = 10 * 365 * 24 * 60 * 60 * 1000
/** Clocks of nodes differ. */
const backdatedMs = 60 * 60 * 1000

/** Makes an ECDSA P-256 key and a server certificate signed by itself. */
export async function selfSigned({
  commonName,
  hosts,
  validityMs = tenYearsMs,
}: SelfSignedOptions): Promise<SelfSigned> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  const { webcrypto } = await import('node:crypto')
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(15))).toString('hex'),
      name: [{ CN: [commonName] }],
      notBefore: new Date(now - backdatedMs),
      notAfter: new Date(now + validityMs),
      signingAlgorithm: algorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension(
          hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host })),
        ),
      ],
    },
    webcrypto as Parameters<typeof x509.X509CertificateGenerator.createSelfSigned>[1],
  )
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey))
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: pem('PRIVATE KEY', pkcs8) }
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`
}
