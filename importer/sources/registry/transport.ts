/** How everything that belongs to a registry is connected to: the same trust, proxies and name for all of it. */
import type { SecureContext } from 'node:tls'
import type { Log } from '../../../src/log.ts'
import type { Access } from '../../request.ts'
import { HttpClient } from '../http/client.ts'
import type { ClientOptions } from '../http/client.ts'
import { createTrust } from '../http/trust.ts'

/** What proxies must see of everything that has to do with registries (contract: import §18). */
const userAgent = 'Go-http-client/1.1'
/** Silence of a connection before it is made anew. */
const idleTimeoutMs = 60_000
const connectTimeoutMs = 30_000

/** Streams at once that a registry is good for. */
export const parallel = 4

export interface TransportOptions extends Access {
  readonly log: Log
}

/** Makes clients that share one set of roots, which takes tens of milliseconds to read. */
export class Transport {
  readonly #options: TransportOptions
  #trust: SecureContext | undefined

  constructor(options: TransportOptions) {
    this.#options = options
  }

  connect(client: Pick<ClientOptions, 'url' | 'authority' | 'credentials' | 'followRedirects'>): HttpClient {
    const { ca, log, insecureSkipVerify, proxy } = this.#options
    return new HttpClient({
      ...client,
      headers: [],
      secureContext: () => (this.#trust ??= createTrust({ ca, log })),
      insecureSkipVerify,
      proxy,
      idleTimeoutMs,
      connectTimeoutMs,
      userAgent,
      keepIdle: 2 * parallel,
      log,
    })
  }
}
