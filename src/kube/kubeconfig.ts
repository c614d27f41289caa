/**
 * Credentials from a kubeconfig with all that people put there: certificates, tokens, exec plug-ins, OIDC, proxies.
 * @kubernetes/client-node reads and refreshes them; connections are ours, since it would open new ones every time.
 */
import { createRequire } from 'node:module'
import type { KubeConfig } from '@kubernetes/client-node'
import { CdiError } from '../errors.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { DispatcherPool } from './credentials.ts'
import type { Access, Credentials, TlsIdentity } from './credentials.ts'

export interface KubeConfigOptions {
  /** File to read; else `KUBECONFIG`, `~/.kube/config`, as kubectl does. */
  readonly kubeconfig?: string | undefined
  /** A context other than the current one. */
  readonly context?: string | undefined
  readonly clock?: Clock
}

/** How long headers and certificates are used before files and plug-ins are asked again. */
const reReadMs = 10_000

interface HttpsOptions {
  headers?: Record<string, string>
  ca?: Buffer | string
  cert?: Buffer | string
  key?: Buffer | string
  servername?: string
  rejectUnauthorized?: boolean
  auth?: string
}

export class KubeConfigCredentials implements Credentials {
  readonly server: string
  readonly namespace: string | undefined
  readonly #options: KubeConfigOptions
  readonly #clock: Clock
  readonly #pool = new DispatcherPool()
  #config: KubeConfig | undefined
  #read: { readonly access: Access; readonly atMs: number } | undefined

  /** @throws {CdiError} CDI_USAGE when there is no such file, context, cluster or user */
  constructor(options: KubeConfigOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#config = load(options)
    this.server = clusterOf(this.#config).server.replace(/\/+$/, '')
    this.namespace = this.#config.getContextObject(this.#config.getCurrentContext())?.namespace
  }

  async access(): Promise<Access> {
    if (this.#read === undefined || this.#clock.monotonicMs() - this.#read.atMs >= reReadMs) {
      this.#config ??= load(this.#options)
      this.#read = { access: await this.#readAccess(this.#config), atMs: this.#clock.monotonicMs() }
    }
    return this.#read.access
  }

  async #readAccess(config: KubeConfig): Promise<Access> {
    const options: HttpsOptions = {}
    await config.applyToHTTPSOptions(options)
    const headers: Record<string, string> = {}
    for (const [name, value] of Object.entries(options.headers ?? {})) headers[name.toLowerCase()] = value.trim()
    if (options.auth !== undefined) headers['authorization'] = `Basic ${Buffer.from(options.auth).toString('base64')}`
    const identity: TlsIdentity = {
      ca: options.ca,
      cert: options.cert,
      key: options.key,
      servername: options.servername,
      rejectUnauthorized: options.rejectUnauthorized,
      proxyUrl: config.getCurrentCluster()?.proxyUrl ?? undefined,
    }
    return { headers, dispatcher: this.#pool.dispatcherFor(identity) }
  }

  renew(): void {
    // The whole file: certificates may stand in it, and exec plug-ins hand out their cached token otherwise.
    this.#config = undefined
    this.#read = undefined
  }

  close(): Promise<void> {
    return this.#pool.close()
  }
}

function load({ kubeconfig, context }: KubeConfigOptions): KubeConfig {
  // Synchronously and only here, so that a pod with a service account never loads client-node.
  const { KubeConfig: Config } = createRequire(import.meta.url)('@kubernetes/client-node/dist/config.js') as {
    KubeConfig: new () => KubeConfig
  }
  const config = new Config()
  try {
    if (kubeconfig === undefined) config.loadFromDefault()
    else config.loadFromFile(kubeconfig)
  } catch (error) {
    const file = kubeconfig === undefined ? 'the kubeconfig' : `the kubeconfig ${kubeconfig}`
    throw new CdiError(
      'CDI_USAGE',
      `${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    )
  }
  if (kubeconfig === undefined && config.getCurrentContext() === 'loaded-context') {
    // client-node found nothing and made up http://localhost:8080.
    throw new CdiError('CDI_USAGE', 'no cluster is configured: set KUBECONFIG, name a kubeconfig, or run in a pod')
  }
  if (context !== undefined) config.setCurrentContext(context)
  const cluster = clusterOf(config)
  // client-node refuses plain http (as of `kubectl proxy`) unless TLS verification, which has no part in it, is off.
  if (cluster.server.startsWith('http:')) {
    config.clusters = config.clusters.map((each) => (each === cluster ? { ...each, skipTLSVerify: true } : each))
  }
  return config
}

function clusterOf(config: KubeConfig): NonNullable<ReturnType<KubeConfig['getCurrentCluster']>> {
  const cluster = config.getCurrentCluster()
  if (cluster) return cluster
  const name = config.getCurrentContext()
  throw new CdiError(
    'CDI_USAGE',
    name ? `the kubeconfig has no context ${name}, or it names no cluster` : 'the kubeconfig names no current context',
  )
}
