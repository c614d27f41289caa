/**
 * Certificates of upload servers (contract/upload.md §4.5, §7): each pod gets a leaf of its own that is never renewed, hence
 * its deadline; and the certificate with which the controller itself asks servers. The authorities lie in the namespace of
 * the installation.
 */
import { X509Certificate } from 'node:crypto'
import type { ConfigMap, Secret } from '../../api/kinds.ts'
import { uploadProxyClientName } from '../../api/upload-env.ts'
import { issueClientCertificate, issueServerCertificate } from '../../certs/authority.ts'
import type { CertificatePair } from '../../certs/authority.ts'
import type { Lifetimes } from '../../certs/lifetimes.ts'
import { bundleKey, certificateNames } from '../../certs/names.ts'
import { certificatesIn } from '../../certs/pem.ts'
import type { Caches } from '../shared/caches.ts'

/** The authorities that are in force. */
export interface UploadAuthorities {
  readonly server: CertificatePair
  /** Those that a server's certificate is verified against, PEM. */
  readonly serverBundle: string
  readonly client: CertificatePair
  /** Those that a client's certificate is verified against, PEM. */
  readonly clientBundle: string
}

/** Where authorities are looked up. */
export interface AuthorityCaches {
  readonly cdiSecrets: Pick<Caches['cdiSecrets'], 'get'>
  readonly cdiConfigMaps: Pick<Caches['cdiConfigMaps'], 'get'>
}

/**
 * The authorities, or undefined while they are not all there. Caches are several streams: a bundle that does not know its
 * signer yet is an old one.
 */
export function uploadAuthorities(caches: AuthorityCaches, namespace: string): UploadAuthorities | undefined {
  const { uploadServer, uploadClient } = certificateNames
  const server = authorityOf(caches, namespace, uploadServer)
  const client = authorityOf(caches, namespace, uploadClient)
  return (
    server &&
    client && { server: server.pair, serverBundle: server.bundle, client: client.pair, clientBundle: client.bundle }
  )
}

function authorityOf(
  { cdiSecrets, cdiConfigMaps }: AuthorityCaches,
  namespace: string,
  names: { readonly signer: string; readonly bundle: string },
): { pair: CertificatePair; bundle: string } | undefined {
  const pair = pairOf(cdiSecrets.get({ namespace, name: names.signer }))
  const bundle = bundleOf(cdiConfigMaps.get({ namespace, name: names.bundle }))
  return pair && bundle && knows(bundle, pair) ? { pair, bundle } : undefined
}

function knows(bundle: string, { certPem }: CertificatePair): boolean {
  const [own] = certificatesIn(certPem)
  return certificatesIn(bundle).some(({ fingerprint256 }) => fingerprint256 === own?.fingerprint256)
}

function pairOf(secret: Secret | undefined): CertificatePair | undefined {
  const text = (key: string): string => Buffer.from(secret?.data?.[key] ?? '', 'base64').toString()
  const [certPem, keyPem] = [text('tls.crt'), text('tls.key')]
  return certPem && keyPem ? { certPem, keyPem } : undefined
}

function bundleOf(configMap: ConfigMap | undefined): string | undefined {
  return configMap?.data?.[bundleKey] || undefined
}

/** What a pod needs to be known by the proxy and to know it. */
export interface ServerIdentity extends CertificatePair {
  /** Those that clients' certificates are verified against, PEM. */
  readonly clientCaPem: string
  /** When the pod has to make room for one with fresh certificates, milliseconds since the epoch. */
  readonly deadline: number
}

export async function issueServerIdentity({
  authorities: { server, client, clientBundle },
  service,
  namespace,
  lifetimes,
  now,
}: {
  authorities: UploadAuthorities
  /** Name of the Service. */
  service: string
  namespace: string
  lifetimes: Lifetimes
  /** Milliseconds since the epoch. */
  now: number
}): Promise<ServerIdentity> {
  const leaf = await issueServerCertificate({
    authority: server,
    hosts: [service, `${service}.${namespace}`, `${service}.${namespace}.svc`],
    lifetimeMs: lifetimes.server.lifetimeMs,
    now,
  })
  const validity = (pem: string): { from: number; to: number } => {
    const { validFromDate, validToDate } = new X509Certificate(pem)
    return { from: validFromDate.getTime(), to: validToDate.getTime() }
  }
  return {
    ...leaf,
    clientCaPem: clientBundle,
    deadline: deadlineOf({
      lifetimes,
      leafEnds: validity(leaf.certPem).to,
      clientCaBegan: validity(client.certPem).from,
      now,
    }),
  }
}

/** A leaf that its authority cut short serves for this part of its life, and an authority signs for no longer. */
const usableShare = 0.8
/** A pod that had to go at once would never be ready. */
const leastMs = 60_000
/** A new authority has this share of the refresh time behind it before it signs clients (contract/upload.md §7). */
const youngShare = 0.1

/**
 * When a server has to go: before its own leaf is old; before the proxy may come with one that is newer than what the server
 * was told of; and, since the authority of the proxy is renewed too, before a certificate of the new authority may be used,
 * which the server would refuse for hours.
 */
export function deadlineOf({
  lifetimes: { ca, server, client },
  leafEnds,
  clientCaBegan,
  now,
}: {
  lifetimes: Lifetimes
  leafEnds: number
  clientCaBegan: number
  now: number
}): number {
  const renewedAfterMs = Math.min(ca.refreshMs, usableShare * ca.lifetimeMs)
  const strangerComes = clientCaBegan + renewedAfterMs + youngShare * client.refreshMs
  const wanted = Math.min(
    now + Math.min(server.refreshMs, client.refreshMs),
    now + usableShare * (leafEnds - now),
    // One that is overdue has been or is being renewed; the server was told of both.
    strangerComes > now ? strangerComes : Number.POSITIVE_INFINITY,
  )
  return Math.max(wanted, now + Math.min(leastMs, server.refreshMs))
}

/** With what the controller asks servers. */
export interface ClientIdentity extends CertificatePair {
  /** Those that a server's certificate is verified against, PEM. */
  readonly serverCaPem: string
}

/** A certificate of the controller is short-lived and made anew at half of its life. */
const ownLifetimeMs = 60 * 60 * 1000

/**
 * The controller's own identity towards servers, made when it is first asked for, and again when its authority or its age
 * says so. The returned function throws while there is no authority.
 */
export function ownIdentity({
  authorities,
  now,
}: {
  authorities: () => UploadAuthorities | undefined
  now: () => number
}): () => Promise<ClientIdentity> {
  let made: { readonly of: string; readonly at: number; readonly pair: Promise<CertificatePair> } | undefined
  return async () => {
    const present = authorities()
    if (!present) throw new Error('there is no authority for clients of upload servers yet')
    if (made?.of !== present.client.certPem || now() - made.at > ownLifetimeMs / 2) {
      const pair = issueClientCertificate({
        authority: present.client,
        commonName: uploadProxyClientName,
        lifetimeMs: ownLifetimeMs,
        now: now(),
      })
      made = { of: present.client.certPem, at: now(), pair }
    }
    const current = made
    try {
      return { ...(await current.pair), serverCaPem: present.serverBundle }
    } catch (error) {
      // What failed is not kept.
      if (made === current) made = undefined
      throw error
    }
  }
}
