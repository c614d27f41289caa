/**
 * With what a source pod comes to the upload server of its receiver (contract/clone.md §7.1): a certificate in the one name
 * that this server lets in. It is never renewed; a pod that fails with one that may be too old makes room for another.
 */
import { X509Certificate } from 'node:crypto'
import type { Pod } from '../../api/kinds.ts'
import { issueClientCertificate } from '../../certs/authority.ts'
import type { Lifetimes } from '../../certs/lifetimes.ts'
import type { ClientIdentity, UploadAuthorities } from '../upload/identity.ts'

export async function issueSourceIdentity({
  authorities: { client, serverBundle },
  commonName,
  lifetimes,
  now,
}: {
  authorities: UploadAuthorities
  /** The name that the upload server expects. */
  commonName: string
  lifetimes: Lifetimes
  /** Milliseconds since the epoch. */
  now: number
}): Promise<ClientIdentity> {
  const pair = await issueClientCertificate({
    authority: client,
    commonName,
    lifetimeMs: lifetimes.client.lifetimeMs,
    now,
  })
  return { ...pair, serverCaPem: serverBundle }
}

/**
 * Whether an upload server may refuse a source pod, or the pod the server, because of what the pod was given when it was
 * made: its certificate is due, or one of the authorities is younger than the pod.
 */
export function mayHaveOldCertificates({
  pod,
  authorities: { server, client },
  lifetimes,
  now,
}: {
  pod: Pod
  authorities: UploadAuthorities
  lifetimes: Lifetimes
  /** Milliseconds since the epoch. */
  now: number
}): boolean {
  const made = Date.parse(pod.metadata.creationTimestamp ?? '')
  if (!Number.isFinite(made)) return false
  const isYounger = ({ certPem }: { certPem: string }): boolean =>
    new X509Certificate(certPem).validFromDate.getTime() > made
  return now - made >= lifetimes.client.refreshMs || isYounger(server) || isYounger(client)
}
