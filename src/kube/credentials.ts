/**
 * How to reach an API server and as whom. Two ways: inside of a pod with the files of its service account, which needs
 * no library, or with a kubeconfig, read by @kubernetes/client-node, which is loaded only then (it costs 50 MB).
 */
import { Agent, ProxyAgent } from 'undici'
import type { Dispatcher } from 'undici'

/** What one request needs besides its own. */
export interface Access {
  /** `authorization`, `impersonate-user`; never logged. */
  readonly headers: Readonly<Record<string, string>>
  /** Keeps connections open, shared by all requests with the same TLS identity. */
  readonly dispatcher: Dispatcher
}

export interface Credentials {
  /** Base URL of the API server, without a slash at the end. */
  readonly server: string
  /** The namespace of the context or of the pod. */
  readonly namespace: string | undefined
  /** The access for the next request; cheap, since files and plug-ins are asked only now and then. */
  access(): Promise<Access>
  /** Forgets what was read: the server did not accept it. The next `access()` reads everything anew. */
  renew(): void
  close(): Promise<void>
}

/** The TLS side of a connection, PEM. */
export interface TlsIdentity {
  readonly ca?: string | Buffer | undefined
  readonly cert?: string | Buffer | undefined
  readonly key?: string | Buffer | undefined
  readonly servername?: string | undefined
  readonly rejectUnauthorized?: boolean | undefined
  /** URL of an HTTP proxy in front of the API server. */
  readonly proxyUrl?: string | undefined
}

/** As client-go: found dead within a minute, and before load balancers forget an idle connection. */
const keepAliveInitialDelay = 30_000
const connectTimeoutMs = 10_000
/** A burst of requests waits here instead of in thousands of handshakes. Each watch occupies one for as long as it lives. */
const maxConnections = 100

function createDispatcher({ proxyUrl, ...tls }: TlsIdentity): Dispatcher {
  const connect = { ...definedOf(tls), keepAlive: true, keepAliveInitialDelay, timeout: connectTimeoutMs }
  const common = { keepAliveTimeout: 60_000, allowH2: false, connections: maxConnections }
  return proxyUrl === undefined
    ? new Agent({ ...common, connect })
    : new ProxyAgent({ ...common, uri: proxyUrl, requestTls: connect })
}

function definedOf<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}

/** Keeps one dispatcher as long as the TLS identity stays the same; a rotated certificate gets a new one. */
export class DispatcherPool {
  #current: { readonly fingerprint: string; readonly dispatcher: Dispatcher } | undefined

  dispatcherFor(identity: TlsIdentity): Dispatcher {
    const fingerprint = JSON.stringify([
      String(identity.ca ?? ''),
      String(identity.cert ?? ''),
      String(identity.key ?? ''),
      identity.servername,
      identity.rejectUnauthorized,
      identity.proxyUrl,
    ])
    if (this.#current?.fingerprint !== fingerprint) {
      // Requests under way, watches among them, end in their own time.
      void this.#current?.dispatcher.close().catch(() => undefined)
      this.#current = { fingerprint, dispatcher: createDispatcher(identity) }
    }
    return this.#current.dispatcher
  }

  async close(): Promise<void> {
    await this.#current?.dispatcher.destroy()
    this.#current = undefined
  }
}
