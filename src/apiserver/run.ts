/**
 * The API server as a process: its files, its watches and its port. Everything that it serves with (certificate, TLS profile,
 * front proxy) is followed while it runs; nothing needs a restart.
 */
import { once } from 'node:events'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { kinds } from '../api/kinds.ts'
import { isKeyPair } from '../certs/pem.ts'
import { followFiles } from '../certs/reload.ts'
import { closable } from '../closable-server.ts'
import { activeCdi } from '../controllers/shared/settings.ts'
import type { KubeClient } from '../kube/client.ts'
import { systemClock } from '../kube/clock.ts'
import type { Clock } from '../kube/clock.ts'
import { controllerRef } from '../kube/owners.ts'
import type { Log } from '../log.ts'
import { ensureSigningKey } from '../tokens/signing-key.ts'
import type { SigningKey } from '../tokens/signing-key.ts'
import { signToken, userTokenLifetimeMs } from '../tokens/token.ts'
import { accessAsker } from './access.ts'
import { buildApp } from './app.ts'
import { watchSettings } from './cluster-settings.ts'
import { ServerTls } from './server-tls.ts'

export interface ApiServerOptions {
  readonly client: KubeClient
  readonly log: Log
  /** Namespace of the installation, where the signing key is. */
  readonly namespace: string
  readonly certFile: string
  readonly keyFile: string
  /** 0 is any that is free. */
  readonly port: number
  /** All addresses unless told. */
  readonly host?: string
  /** Of this program. */
  readonly version: string
  readonly clock?: Clock
  /** How long between two looks at the files. */
  readonly fileIntervalMs?: number
  /** How long requests are still taken after the signal; 3 s unless told. */
  readonly drainMs?: number
  /** Told once the server listens. */
  readonly onListening?: (port: number) => void
  readonly signal: AbortSignal
}

/** Services forget a pod only some moments after it was told to end. */
const usualDrainMs = 3_000
/** What takes longer than this afterwards is cut. */
const lastRequestsMs = 10_000
/** How long the settings of the cluster are waited for before the server goes on without them. */
const settingsMs = 10_000

/** Serves until the signal, and some moments longer. Rejects when the port, the key or the cluster cannot be had. */
export async function runApiServer(options: ApiServerOptions): Promise<void> {
  const { client, log, certFile, keyFile, fileIntervalMs, signal, clock = systemClock } = options
  // The watches go on while the last requests are answered.
  const over = new AbortController()
  let tls: ServerTls | undefined
  const settings = watchSettings({
    client,
    log,
    clock,
    onChange: (changed) => tls?.change(changed),
    signal: over.signal,
  })
  try {
    const key = await signingKey(options)
    const [certPem = '', keyPem = ''] = await followFiles({
      files: [certFile, keyFile],
      log,
      ...(fileIntervalMs === undefined ? {} : { intervalMs: fileIntervalMs }),
      isWhole: ([cert = '', privateKey = '']) => isKeyPair(cert, privateKey),
      onChange: ([cert = '', privateKey = '']) => tls?.change({ certPem: cert, keyPem: privateKey }),
      signal: AbortSignal.any([signal, over.signal]),
    })
    await Promise.race([settings.known, clock.sleep(settingsMs, signal)])
    tls = new ServerTls({ log, certPem, keyPem, ...settings.current() })
    await serve(tls, key, options)
  } finally {
    over.abort(new Error('the server has ended'))
    await settings.ended
  }
}

async function serve(tls: ServerTls, key: SigningKey, options: ApiServerOptions): Promise<void> {
  const { client, log, namespace, version, port, host, signal, clock = systemClock } = options
  const app = buildApp({
    client,
    log,
    version,
    tls,
    askAccess: accessAsker(client),
    controllerUser: `system:serviceaccount:${namespace}:cdi-sa`,
    signToken: (claims) =>
      signToken({
        claims,
        privateKey: key.privateKey,
        issuer: 'cdi-apiserver',
        lifetimeMs: userTokenLifetimeMs,
        now: clock.now(),
      }),
  })
  await app.ready()
  const server = app.server as Server
  const cut = closable(server)
  try {
    // Node's own choice of the address: both families where there are both.
    server.listen(port, host)
    await once(server, 'listening')
    const { port: taken } = server.address() as AddressInfo
    log.info({ port: taken }, 'serving')
    options.onListening?.(taken)
    if (!signal.aborted) await once(signal, 'abort')
    log.info({ reason: String(signal.reason) }, 'ending')
    await clock.sleep(options.drainMs ?? usualDrainMs)
    await lastRequests(server, clock)
  } finally {
    await cut()
    await app.close()
  }
}

/** Takes no more connections, and waits for the requests that are being answered. */
async function lastRequests(server: Server, clock: Clock): Promise<void> {
  const answered = new AbortController()
  server.close(() => answered.abort())
  await clock.sleep(lastRequestsMs, answered.signal).catch(() => undefined)
}

/** The key that signs tokens; made if it is not there, and then deleted with the installation. */
async function signingKey({ client, namespace, log, signal }: ApiServerOptions): Promise<SigningKey> {
  const { items } = await client.list(kinds.cdi, { signal })
  const cdi = activeCdi({ cdis: { list: () => items } })
  return ensureSigningKey({
    client,
    namespace,
    log,
    ...(cdi === undefined ? {} : { ownerReferences: [controllerRef(cdi)] }),
    signal,
  })
}
