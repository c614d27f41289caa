/** The proxy as it runs in its pod: everything that may change is followed, the app listens, and it ends in peace. */
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { certificateNames } from '../src/certs/names.ts'
import { kinds } from '../src/api/kinds.ts'
import type { CDIConfig } from '../src/api/kinds.ts'
import { Cache } from '../src/kube/cache.ts'
import type { KubeClient } from '../src/kube/client.ts'
import { systemClock } from '../src/kube/clock.ts'
import type { Log } from '../src/log.ts'
import type { Registry } from '../src/metrics.ts'
import { tlsProfileOf } from '../src/tls-profile.ts'
import type { TlsProfile } from '../src/tls-profile.ts'
import { verifyToken } from '../src/tokens/token.ts'
import { buildApp } from './app.ts'
import { ClaimLooks } from './claim-looks.ts'
import type { ProxyConfig } from './config.ts'
import { followPair, followPublicKey } from './credentials.ts'
import type { Following, Pair } from './credentials.ts'
import { drainable } from './drain.ts'
import type { PageFile } from './page-files.ts'
import { replaceTls } from './server.ts'
import { Bundle } from './trust.ts'
import { uploadMetrics } from './upload-metrics.ts'
import { UploadServers } from './upload-servers.ts'
import type { UploadServersOptions } from './upload-servers.ts'
import type { UserApi } from './user-api.ts'

export interface RunOptions {
  readonly config: ProxyConfig
  readonly client: Pick<KubeClient, 'get' | 'list' | 'watch'>
  readonly log: Log
  readonly metrics: Registry
  readonly page: readonly PageFile[]
  readonly userApi?: UserApi | undefined
  /** All addresses unless told. */
  readonly host?: string
  /** How upload servers are reached; as in a cluster unless told. */
  readonly reach?: Pick<UploadServersOptions, 'port' | 'lookup'>
  /** Told the TLS profile of the cluster each time that its configuration changes. */
  readonly onTlsProfile?: (profile: TlsProfile) => void
  /** How often mounted files are looked at; some seconds unless told. */
  readonly filesIntervalMs?: number
  /** How long uploads may go on after the signal; {@link graceMs} unless told. */
  readonly graceMs?: number
  readonly onListening?: (port: number) => void
  /** Ends it. */
  readonly signal: AbortSignal
}

/** A pod is given 30 s to end. */
export const graceMs = 25_000
/** The settings of the cluster are waited for so long before the first client is let in. */
const settingsPatienceMs = 5000

/** Runs until the signal, and then until the uploads under way have ended or time is up. */
export async function runProxy(options: RunOptions): Promise<void> {
  const { config, client, log, signal } = options
  const following: Following = { log, signal, intervalMs: options.filesIntervalMs }
  const clock = systemClock
  const settings = new Cache<CDIConfig>({
    client,
    kind: kinds.cdiConfig,
    log,
    fieldSelector: 'metadata.name=config',
    optional: true,
  })
  const profile = () => tlsProfileOf(settings.get({ name: 'config' }))
  settings.onChange(() => options.onTlsProfile?.(profile()))
  const watching = settings.start(signal)

  let clientPair: Pair | undefined
  const takeClientPair = (pair: Pair): void => {
    clientPair = pair
  }
  // Not waited for: without it there is a proxy that says so.
  followPair(config.clientCertDirectory, following, takeClientPair).then(takeClientPair, () => undefined)
  const publicKey: () => KeyObject = await followPublicKey(config, following)

  let update: (() => void) | undefined
  let serverPair = await followPair(config.serverCertDirectory, following, (pair) => {
    serverPair = pair
    update?.()
  })
  await Promise.race([settings.synced, clock.sleep(settingsPatienceMs, signal)])

  const bundle = new Bundle({ client, clock, namespace: config.namespace, name: certificateNames.uploadServer.bundle })
  const servers = new UploadServers({
    ...options.reach,
    profile,
    trust: () => bundle.read(),
    identity: async () => {
      if (clientPair === undefined) throw new Error('there is no client certificate')
      return clientPair
    },
  })
  const { app, server } = buildApp({
    verifyToken: (token) => verifyToken({ token, publicKey: publicKey(), issuer: 'cdi-apiserver', now: clock.now() }),
    looks: new ClaimLooks({ client, clock }),
    servers,
    doubtTrust: () => bundle.forget(),
    metrics: uploadMetrics(options.metrics),
    log,
    clock,
    tls: { ...serverPair, profile: profile() },
    page: options.page,
    userApi: options.userApi,
  })
  update = () => {
    try {
      replaceTls(server, { ...serverPair, profile: profile() })
    } catch (error) {
      log.error({ err: error }, 'certificate or TLS profile cannot be used')
    }
  }
  settings.onChange(update)
  const drain = drainable(server)
  await app.ready()
  // Not through the framework, which wants a host: Node alone finds out whether there is IPv6.
  server.listen({ port: config.port, ...(options.host === undefined ? {} : { host: options.host }) })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  log.info({ port }, 'upload proxy is listening')
  options.onListening?.(port)
  await new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })

  log.info('upload proxy is ending')
  // Whoever comes on an old connection is sent away from now on.
  const closed = app.close()
  server.close()
  await drain(options.graceMs ?? graceMs)
  await closed
  servers.close()
  await watching
}
