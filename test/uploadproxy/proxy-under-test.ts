/**
 * The proxy with everything that it needs around it: certificates and a signing key made on the spot, the objects of the
 * cluster in memory, and real upload servers on real TLS sockets that do what the test says.
 */
import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { Server, ServerOptions } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { annotations } from '../../src/api/annotations.ts'
import { kinds } from '../../src/api/kinds.ts'
import { serviceName, uploadPodName } from '../../src/api/names.ts'
import { uploadProxyClientName } from '../../src/api/upload-env.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../src/certs/authority.ts'
import type { CertificatePair } from '../../src/certs/authority.ts'
import { certificateNames } from '../../src/certs/names.ts'
import { closable } from '../../src/closable-server.ts'
import { ConnectionError } from '../../src/kube/api-error.ts'
import type { KubeClient } from '../../src/kube/client.ts'
import { systemClock } from '../../src/kube/clock.ts'
import type { Clock } from '../../src/kube/clock.ts'
import { silentLog } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { createRegistry } from '../../src/metrics.ts'
import type { Registry } from '../../src/metrics.ts'
import { tlsProfileOf } from '../../src/tls-profile.ts'
import { signToken, verifyToken } from '../../src/tokens/token.ts'
import type { TokenClaims } from '../../src/tokens/token.ts'
import { buildApp } from '../../uploadproxy/app.ts'
import { ClaimLooks } from '../../uploadproxy/claim-looks.ts'
import type { Linger } from '../../uploadproxy/answer.ts'
import type { PageFile } from '../../uploadproxy/page-files.ts'
import { Bundle } from '../../uploadproxy/trust.ts'
import { uploadMetrics } from '../../uploadproxy/upload-metrics.ts'
import { UploadServers } from '../../uploadproxy/upload-servers.ts'
import type { UserApi } from '../../uploadproxy/user-api.ts'
import { MemoryApi } from '../fixtures/memory-api.ts'
import type { Line } from '../fixtures/memory-api.ts'
import { freePort, tempDir } from '../fixtures/server-process.ts'

export const hourMs = 3_600_000
export const namespace = 'team'

/** One RSA key for all tests of a process; making one takes a while. */
const keys = generateKeyPairSync('rsa', { modulusLength: 2048 })

export interface Authorities {
  /** Of the proxy's own server certificate. */
  readonly proxy: CertificatePair
  readonly server: CertificatePair
  readonly client: CertificatePair
}

export async function makeAuthorities(): Promise<Authorities> {
  const make = (commonName: string) => createAuthority({ commonName, lifetimeMs: hourMs, now: Date.now() })
  return { proxy: await make('proxy-ca'), server: await make('server-ca'), client: await make('client-ca') }
}

export interface ProxyOptions {
  readonly clock?: Clock
  readonly log?: Log
  readonly linger?: Linger
  readonly page?: readonly PageFile[]
  readonly userApi?: UserApi
}

/** What a test may switch on and off. */
export interface Faults {
  apiIsDown: boolean
}

type Handler = (request: IncomingMessage, response: ServerResponse) => void

/** The upload server of one claim. */
export interface TestUploadServer extends AsyncDisposable {
  readonly server: Server
  /** Connections so far. */
  readonly connections: () => number
}

export class ProxyUnderTest implements AsyncDisposable {
  readonly api: MemoryApi
  /** What the API server was asked. */
  readonly line: Line
  readonly faults: Faults
  readonly metrics: Registry
  readonly authorities: Authorities
  readonly servers: UploadServers
  readonly port: number
  /** PEM file with the CA of the proxy's certificate, for curl. */
  readonly caFile: string
  /** Where upload servers listen. */
  readonly serverPort: number
  readonly #close: () => Promise<void>

  private constructor(fields: {
    api: MemoryApi
    line: Line
    faults: Faults
    metrics: Registry
    authorities: Authorities
    servers: UploadServers
    port: number
    serverPort: number
    caFile: string
    close: () => Promise<void>
  }) {
    this.api = fields.api
    this.line = fields.line
    this.faults = fields.faults
    this.metrics = fields.metrics
    this.authorities = fields.authorities
    this.servers = fields.servers
    this.port = fields.port
    this.serverPort = fields.serverPort
    this.caFile = fields.caFile
    this.#close = fields.close
  }

  static async start(options: ProxyOptions = {}): Promise<ProxyUnderTest> {
    const { clock = systemClock, log = silentLog() } = options
    const authorities = await makeAuthorities()
    const api = new MemoryApi()
    const line: Line = { isCut: false, requests: [] }
    const metrics = createRegistry()
    const reachable = api.client(line)
    const faults: Faults = { apiIsDown: false }
    const client: Pick<KubeClient, 'get'> = {
      get: async (kind, key, signal) => {
        if (faults.apiIsDown) throw new ConnectionError('no answer')
        return reachable.get(kind, key, signal)
      },
    }
    const serverPort = await freePort()
    const issued = { lifetimeMs: hourMs, now: Date.now() }
    const clientPair = await issueClientCertificate({
      authority: authorities.client,
      commonName: uploadProxyClientName,
      ...issued,
    })
    const serverPair = await issueServerCertificate({
      authority: authorities.proxy,
      hosts: ['localhost', '127.0.0.1'],
      ...issued,
    })
    api.objects.set(
      `${kinds.configMap.plural} cdi/${certificateNames.uploadServer.bundle}`,
      bundleOf(authorities.server.certPem),
    )
    const bundle = new Bundle({ client, clock, namespace: 'cdi', name: certificateNames.uploadServer.bundle })
    const servers = new UploadServers({
      identity: async () => clientPair,
      trust: () => bundle.read(),
      profile: () => tlsProfileOf(undefined),
      port: serverPort,
      lookup: lookupLoopback,
    })
    const { app, server } = buildApp({
      verifyToken: (token) =>
        verifyToken({ token, publicKey: keys.publicKey, issuer: 'cdi-apiserver', now: Date.now() }),
      looks: new ClaimLooks({ client, clock }),
      servers,
      doubtTrust: () => bundle.forget(),
      metrics: uploadMetrics(metrics),
      log,
      clock,
      tls: { ...serverPair, profile: tlsProfileOf(undefined) },
      page: options.page ?? [],
      userApi: options.userApi,
      ...(options.linger === undefined ? {} : { linger: options.linger }),
    })
    const closeAll = closable(server)
    await app.listen({ port: 0, host: '127.0.0.1' })
    const dir = await tempDir('uploadproxy')
    const caFile = join(dir.path, 'ca.pem')
    await writeFile(caFile, authorities.proxy.certPem)
    return new ProxyUnderTest({
      api,
      line,
      faults,
      metrics,
      authorities,
      servers,
      serverPort,
      caFile,
      port: (server.address() as AddressInfo).port,
      close: async () => {
        await closeAll()
        await app.close()
        servers.close()
        await dir[Symbol.asyncDispose]()
      },
    })
  }

  get url(): string {
    return `https://localhost:${this.port}`
  }

  /** Puts a claim that is ready for an upload, unless its annotations say otherwise; undefined takes one away. */
  putClaim(name: string, notes: Record<string, string | undefined> = {}, spec: object = {}): void {
    const all: Record<string, string | undefined> = {
      [annotations.uploadTarget]: '',
      [annotations.podReady]: 'true',
      [annotations.podPhase]: 'Running',
      ...notes,
    }
    const set = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
    this.api.objects.set(`${kinds.pvc.plural} ${namespace}/${name}`, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name, namespace, uid: `uid-${name}`, resourceVersion: '1', annotations: Object.fromEntries(set) },
      spec,
    } as never)
  }

  putBundle(pem: string): void {
    this.api.objects.set(`${kinds.configMap.plural} cdi/${certificateNames.uploadServer.bundle}`, bundleOf(pem))
  }

  token(name: string, claims: Partial<TokenClaims> = {}, o: { lifetimeMs?: number; privateKey?: KeyObject } = {}) {
    return signToken({
      claims: {
        operation: 'Upload',
        name,
        namespace,
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
        ...claims,
      },
      privateKey: o.privateKey ?? keys.privateKey,
      issuer: 'cdi-apiserver',
      lifetimeMs: o.lifetimeMs ?? 300_000,
      now: Date.now(),
    })
  }

  async authorization(name: string): Promise<string> {
    return `Bearer ${await this.token(name)}`
  }

  /** How often a claim was asked for. */
  looksAt(name: string): number {
    return this.line.requests.filter((each) => each === `get ${kinds.pvc.plural} ${namespace}/${name}`).length
  }

  /** Starts the server of a claim; there can be one at a time, since all listen on one port. */
  async serve(
    claim: string,
    handler: Handler,
    more: ServerOptions & { authority?: CertificatePair } = {},
  ): Promise<TestUploadServer> {
    const { authority = this.authorities.server, ...options } = more
    const host = `${serviceName(uploadPodName(claim))}.${namespace}.svc`
    const pair = await issueServerCertificate({ authority, hosts: [host], lifetimeMs: hourMs, now: Date.now() })
    let connections = 0
    const server = createServer(
      {
        key: pair.keyPem,
        cert: pair.certPem,
        ca: this.authorities.client.certPem,
        requestCert: true,
        rejectUnauthorized: true,
        ...options,
      },
      handler,
    )
    server.on('secureConnection', () => connections++)
    const close = closable(server)
    server.listen(this.serverPort, '127.0.0.1')
    await once(server, 'listening')
    return { server, connections: () => connections, [Symbol.asyncDispose]: close }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#close()
  }
}

/** Every name is this machine. */
export const lookupLoopback: LookupFunction = (_, options, callback) => {
  if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
  else callback(null, '127.0.0.1', 4)
}

function bundleOf(pem: string) {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: certificateNames.uploadServer.bundle, namespace: 'cdi', uid: 'bundle', resourceVersion: '1' },
    data: { 'ca-bundle.crt': pem },
  } as never
}

/** A handler that reads everything and answers with how much it was. */
export const countBytes: Handler = (request, response) => {
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.length
  })
  request.on('end', () => response.end(String(bytes)))
}
