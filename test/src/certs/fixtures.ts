/** Secrets as the certificate manager writes them, for tests of what it decides about them. */
import type { Secret } from '../../../src/api/kinds.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import { formatLifetime, lifetimesOf } from '../../../src/certs/lifetimes.ts'
import type { Lifetime } from '../../../src/certs/lifetimes.ts'
import { certificateAnnotations } from '../../../src/certs/names.ts'
import { certificatesIn, commonNameOf } from '../../../src/certs/pem.ts'
import { formatHosts } from '../../../src/certs/rotation.ts'
import { formatTime } from '../../../src/kube/clock.ts'

export const hourMs = 3_600_000
export const { lifetimes } = lifetimesOf(undefined)
export const hosts = ['cdi-uploadproxy', 'cdi-uploadproxy.cdi', 'cdi-uploadproxy.cdi.svc']
export const clientName = 'client.upload-server.cdi.kubevirt.io'

/** A Secret around a pair, annotated with what stands in the certificate. */
export function secretOf(
  pair: CertificatePair,
  lifetime: Lifetime,
  facts: { issuer?: string; hosts?: readonly string[] } = {},
): Secret {
  const [certificate] = certificatesIn(pair.certPem)
  if (certificate === undefined) throw new Error('there is no certificate')
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: 'pair',
      namespace: 'cdi',
      uid: 'uid',
      resourceVersion: '1',
      annotations: {
        [certificateAnnotations.notBefore]: formatTime(certificate.validFromDate.getTime()),
        [certificateAnnotations.notAfter]: formatTime(certificate.validToDate.getTime()),
        [certificateAnnotations.issuer]: facts.issuer ?? commonNameOf(certificate) ?? '',
        [certificateAnnotations.config]: formatLifetime(lifetime),
        ...(facts.hosts ? { [certificateAnnotations.hosts]: formatHosts(facts.hosts) } : {}),
      },
    },
    type: 'kubernetes.io/tls',
    data: { 'tls.crt': base64(pair.certPem), 'tls.key': base64(pair.keyPem) },
  }
}

/** The Secret with some annotations changed, or removed where the value is undefined. */
export function annotated(secret: Secret, changes: Readonly<Record<string, string | undefined>>): Secret {
  const annotations = { ...secret.metadata.annotations }
  for (const [key, value] of Object.entries(changes)) {
    if (value === undefined) delete annotations[key]
    else annotations[key] = value
  }
  return { ...secret, metadata: { ...secret.metadata, annotations } }
}

/** The Secret with other contents. */
export function holding(secret: Secret, data: Readonly<Record<string, string>>): Secret {
  const encoded = Object.entries(data).map(([key, text]) => [key, Buffer.from(text).toString('base64')])
  return { ...secret, data: { ...secret.data, ...(Object.fromEntries(encoded) as Record<string, string>) } }
}

export async function signerSecret(
  now: number,
  { lifetime = lifetimes.ca, commonName = `cdi_signer@${now}` }: { lifetime?: Lifetime; commonName?: string } = {},
): Promise<{ pair: CertificatePair; secret: Secret }> {
  const pair = await createAuthority({ commonName, lifetimeMs: lifetime.lifetimeMs, now })
  return { pair, secret: secretOf(pair, lifetime) }
}

export async function serverSecret(
  authority: CertificatePair,
  now: number,
  { lifetime = lifetimes.server, names = hosts }: { lifetime?: Lifetime; names?: readonly string[] } = {},
): Promise<Secret> {
  const pair = await issueServerCertificate({ authority, hosts: names, lifetimeMs: lifetime.lifetimeMs, now })
  return secretOf(pair, lifetime, { issuer: issuerNameOf(authority), hosts: names })
}

export async function clientSecret(authority: CertificatePair, now: number, name = clientName): Promise<Secret> {
  const { lifetimeMs } = lifetimes.client
  const pair = await issueClientCertificate({ authority, commonName: name, lifetimeMs, now })
  return secretOf(pair, lifetimes.client, { issuer: issuerNameOf(authority) })
}

function issuerNameOf({ certPem }: CertificatePair): string {
  return certificatesIn(certPem).map(commonNameOf)[0] ?? ''
}
