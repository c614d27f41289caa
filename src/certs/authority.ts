/**
 * Certificate authorities and what they issue: server and client certificates (contract/upload.md §7). Times are whole
 * seconds; `notBefore` lies one second back, so that a peer whose clock is a moment behind does not refuse what was made
 * this very second. Nothing outlives the authority that signed it.
 */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import type { Extension, JsonName } from '@peculiar/x509'
import { certificatesIn } from './pem.ts'
import { generateKeys, importSigningKey, loadX509, ownAlgorithm, privateKeyPem, randomSerial } from './x509.ts'

export interface CertificatePair {
  /** The certificate; of servers followed by that of the authority. */
  readonly certPem: string
  /** PKCS #8. */
  readonly keyPem: string
}

const backdatedMs = 1_000

/** Longest common name by X.520; only that of clients, which nobody but our own servers reads, may be longer. */
const maxCommonName = 64

/** Makes a new authority with a key of its own; it may sign leaves only, no further authorities. */
export async function createAuthority(options: {
  readonly commonName: string
  readonly lifetimeMs: number
  /** Epoch milliseconds. */
  readonly now: number
}): Promise<CertificatePair> {
  const { x509, crypto } = await loadX509()
  const keys = await generateKeys()
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: randomSerial(),
      name: nameOf(options.commonName),
      ...validity(options),
      signingAlgorithm: ownAlgorithm,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(
          x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
          true,
        ),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  )
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: await privateKeyPem(keys.privateKey) }
}

/**
 * Issues a server certificate for DNS names and IP addresses; `certPem` is the leaf followed by the authority. The common
 * name is the first host, cut to what a common name may hold: clients look at the alternative names.
 * @throws {RangeError} when the authority has expired
 */
export async function issueServerCertificate(options: {
  readonly authority: CertificatePair
  readonly hosts: readonly string[]
  readonly lifetimeMs: number
  readonly now: number
}): Promise<CertificatePair> {
  const { authority, hosts } = options
  const { x509 } = await loadX509()
  const { certPem, keyPem } = await issue({
    ...options,
    commonName: (hosts[0] ?? '').slice(0, maxCommonName),
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        hosts.map((host) => ({ type: isIP(host) === 0 ? ('dns' as const) : ('ip' as const), value: host })),
      ),
    ],
  })
  return { certPem: certPem + (certificatesIn(authority.certPem)[0]?.toString() ?? ''), keyPem }
}

/**
 * Issues a client certificate that bears the common name, however long it is; `certPem` is that certificate alone.
 * @throws {RangeError} when the authority has expired
 */
export async function issueClientCertificate(options: {
  readonly authority: CertificatePair
  readonly commonName: string
  readonly lifetimeMs: number
  readonly now: number
}): Promise<CertificatePair> {
  const { x509 } = await loadX509()
  return issue({ ...options, extensions: [new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth])] })
}

async function issue(options: {
  readonly authority: CertificatePair
  readonly commonName: string
  readonly lifetimeMs: number
  readonly now: number
  readonly extensions: readonly Extension[]
}): Promise<CertificatePair> {
  const { authority, commonName, lifetimeMs, now, extensions } = options
  const { x509, crypto } = await loadX509()
  const issuer = new x509.X509Certificate(authority.certPem)
  const signer = importSigningKey(authority.keyPem)
  const times = validity({ lifetimeMs, now, notAfter: new X509Certificate(authority.certPem).validToDate })
  if (times.notAfter <= times.notBefore) throw new RangeError(`the authority ${issuer.subject} has expired`)
  const keys = await generateKeys()
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: randomSerial(),
      subject: nameOf(commonName),
      issuer: issuer.subjectName,
      ...times,
      signingAlgorithm: signer.algorithm,
      signingKey: signer.key,
      publicKey: keys.publicKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        ...extensions,
        await x509.AuthorityKeyIdentifierExtension.create(issuer, false, crypto),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  )
  return { certPem: `${certificate.toString('pem')}\n`, keyPem: await privateKeyPem(keys.privateKey) }
}

function nameOf(commonName: string): JsonName {
  return [{ CN: [commonName] }]
}

/** From a second ago until the end of the lifetime counted from now, but not longer than `notAfter`. */
function validity({ lifetimeMs, now, notAfter }: { lifetimeMs: number; now: number; notAfter?: Date }): {
  notBefore: Date
  notAfter: Date
} {
  const wholeSeconds = (time: number): number => Math.floor(time / 1000) * 1000
  const end = wholeSeconds(now + lifetimeMs)
  return {
    notBefore: new Date(wholeSeconds(now) - backdatedMs),
    notAfter: new Date(Math.min(end, notAfter?.getTime() ?? Number.POSITIVE_INFINITY)),
  }
}
