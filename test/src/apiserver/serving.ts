/** The app on a real port with real certificates, for the tests of this folder. */
import { once } from 'node:events'
import { request as send } from 'node:https'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Agent } from 'node:https'
import type { AccessAnswer } from '../../../src/apiserver/access.ts'
import type { Access, User } from '../../../src/apiserver/access.ts'
import { buildApp } from '../../../src/apiserver/app.ts'
import type { AppDependencies } from '../../../src/apiserver/app.ts'
import type { FrontProxy } from '../../../src/apiserver/front-proxy.ts'
import { ServerTls } from '../../../src/apiserver/server-tls.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import { closable } from '../../../src/closable-server.ts'
import { silentLog } from '../../../src/log.ts'
import type { Log } from '../../../src/log.ts'
import { tlsProfileOf } from '../../../src/tls-profile.ts'
import type { TokenClaims } from '../../../src/tokens/token.ts'

export const hourMs = 60 * 60 * 1000
const validity = { lifetimeMs: hourMs, now: Date.now() }

export const authority = await createAuthority({ commonName: 'server-ca', ...validity })
export const serverPair = await issueServerCertificate({ authority, hosts: ['localhost', '127.0.0.1'], ...validity })
export const frontProxyAuthority = await createAuthority({ commonName: 'front-proxy-ca', ...validity })
export const frontProxyPair = await clientPair('front-proxy-client')

/** A client certificate of the front proxy's authority unless told. */
export function clientPair(
  commonName: string,
  signer: CertificatePair = frontProxyAuthority,
): Promise<CertificatePair> {
  return issueClientCertificate({ authority: signer, commonName, ...validity })
}

export const frontProxy: FrontProxy = {
  caPem: frontProxyAuthority.certPem,
  allowedNames: ['front-proxy-client'],
  usernameHeaders: ['X-Remote-User'],
  uidHeaders: [],
  groupHeaders: ['X-Remote-Group'],
  extraHeaderPrefixes: ['X-Remote-Extra-'],
}

export function serverTls(log: Log = silentLog()): ServerTls {
  return new ServerTls({ log, ...serverPair, profile: tlsProfileOf(undefined), frontProxy })
}

/** Dependencies that allow everything and find nothing, unless told. */
export function dependencies(change: Partial<AppDependencies> = {}): AppDependencies & {
  readonly asked: { user: User; access: Access }[]
  readonly signed: TokenClaims[]
} {
  const asked: { user: User; access: Access }[] = []
  const signed: TokenClaims[] = []
  return {
    asked,
    signed,
    tls: serverTls(),
    log: silentLog(),
    version: '1.2.3',
    client: { get: async () => undefined, list: async () => ({ items: [], resourceVersion: '1' }) },
    askAccess: async (user, access): Promise<AccessAnswer> => {
      asked.push({ user, access })
      return { allowed: true, reason: '' }
    },
    controllerUser: 'system:serviceaccount:cdi:cdi-sa',
    signToken: async (claims) => {
      signed.push(claims)
      return 'a.signed.token'
    },
    ...change,
  }
}

export interface Serving extends AsyncDisposable {
  readonly port: number
}

export async function serve(deps: AppDependencies): Promise<Serving> {
  const app = buildApp(deps)
  await app.ready()
  const server = app.server as Server
  const cut = closable(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      await cut()
      await app.close()
    },
  }
}

export interface Call {
  readonly port: number
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | string[]>>
  /** Sent as it is. */
  readonly body?: string
  /** Client certificate. */
  readonly as?: CertificatePair
  /** The authority of the server; that of {@link serverPair} unless told. */
  readonly ca?: string
}

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** One request over a connection of its own, which trusts the server's authority only. */
export async function call({
  port,
  method = 'GET',
  path,
  headers = {},
  body,
  as,
  ca = authority.certPem,
}: Call): Promise<Answer> {
  const agent = new Agent({
    ca,
    ...(as === undefined ? {} : { cert: as.certPem, key: as.keyPem }),
  })
  const { promise, resolve, reject } = Promise.withResolvers<Answer>()
  const request = send({ host: '127.0.0.1', port, method, path, headers, agent }, (response) => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.once('error', reject)
    response.once('end', () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        text: Buffer.concat(chunks).toString(),
      }),
    )
  })
  request.once('error', reject)
  request.end(body)
  try {
    return await promise
  } finally {
    agent.destroy()
  }
}
