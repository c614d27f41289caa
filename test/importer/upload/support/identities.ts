/** Certificates of an upload server and of those who come to it, made once for a test file. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../../src/certs/authority.ts'
import { uploadProxyClientName } from '../../../../src/api/upload-env.ts'

export interface Identities {
  /** CA of the server's certificate. */
  readonly serverCa: string
  /** CA that the server trusts for clients. */
  readonly clientCa: string
  readonly server: CertificatePair
  /** The proxy's. */
  readonly proxy: CertificatePair
  /** Of the right CA, with another name. */
  readonly stranger: CertificatePair
  /** The right name from a CA that nobody trusts. */
  readonly forged: CertificatePair
}

const lifetimeMs = 3_600_000

export async function makeIdentities(): Promise<Identities> {
  const now = Date.now()
  const ca = (commonName: string): Promise<CertificatePair> => createAuthority({ commonName, lifetimeMs, now })
  const [servers, clients, others] = await Promise.all([ca('servers'), ca('clients'), ca('clients')])
  const client = (authority: CertificatePair, commonName: string): Promise<CertificatePair> =>
    issueClientCertificate({ authority, commonName, lifetimeMs, now })
  return {
    serverCa: servers.certPem,
    clientCa: clients.certPem,
    server: await issueServerCertificate({ authority: servers, hosts: ['localhost', '127.0.0.1'], lifetimeMs, now }),
    proxy: await client(clients, uploadProxyClientName),
    stranger: await client(clients, 'somebody/else-ns/name'),
    forged: await client(others, uploadProxyClientName),
  }
}

/** Writes what curl and an upload server's pod need; resolves with the paths. */
export async function writeIdentities(
  directory: string,
  { serverCa, clientCa, server, proxy }: Identities,
): Promise<Readonly<Record<'serverCa' | 'clientCa' | 'serverCert' | 'serverKey' | 'cert' | 'key', string>>> {
  await mkdir(directory, { recursive: true })
  const texts = {
    serverCa,
    clientCa,
    serverCert: server.certPem,
    serverKey: server.keyPem,
    cert: proxy.certPem,
    key: proxy.keyPem,
  }
  const paths = Object.fromEntries(Object.keys(texts).map((name) => [name, join(directory, `${name}.pem`)]))
  for (const [name, text] of Object.entries(texts)) await writeFile(paths[name] as string, text)
  return paths as Record<keyof typeof texts, string>
}
