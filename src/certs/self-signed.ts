/** A certificate that a server makes for itself at start (metrics endpoints: clients do not verify it). */
import { isIP } from 'node:net'
import { generateKeys, loadX509, ownAlgorithm, privateKeyPem, randomSerial } from './x509.ts'

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
  const { x509, crypto } = await loadX509()
  const keys = await generateKeys()
  const now = Date.now()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      name: [{ CN: [commonName] }],
      notBefore: new Date(now - backdatedMs),
      notAfter: new Date(now + validityMs),
      signingAlgorithm: ownAlgorithm,
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
    crypto,
  )
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: await privateKeyPem(keys.privateKey) }
}
