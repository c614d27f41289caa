/**
 * The way to an upload server: its name, the CA that it is verified with, and the certificate that it knows the proxy by
 * (contract/upload.md §5.4). All of these rotate; they are asked for before each request, and connections that were made
 * with the older ones are not used again.
 */
import { Agent } from 'node:https'
import type { LookupFunction } from 'node:net'
import { createSecureContext } from 'node:tls'
import type { SecureContext } from 'node:tls'
import { serviceName, uploadPodName } from '../src/api/names.ts'
import { uploadServerPort } from '../src/api/upload-env.ts'
import type { TlsProfile } from '../src/tls-profile.ts'

export interface ClientIdentity {
  readonly certPem: string
  readonly keyPem: string
}

export interface UploadServersOptions {
  /** The proxy's client certificate as it is now. Rejects when it cannot be had. */
  readonly identity: () => Promise<ClientIdentity>
  /** PEM bundle of the CAs of upload servers as it is now. Rejects when it cannot be had. */
  readonly trust: () => Promise<string>
  readonly profile: () => TlsProfile
  /** Port of upload servers; that of the contract unless told. */
  readonly port?: number
  /** How names are resolved; the system's way unless told. */
  readonly lookup?: LookupFunction
}

export interface Destination {
  /** For `Host`: `service.namespace.svc:8443`. */
  readonly authority: string
  /** Keeps connections open for the requests that follow. */
  readonly agent: Agent
  /** What `https.request` and every agent needs to connect. */
  readonly connection: {
    readonly host: string
    readonly port: number
    readonly servername: string
    readonly secureContext: SecureContext
    readonly lookup?: LookupFunction
    /** Bytes that may wait here to be sent before the client has to wait. */
    readonly highWaterMark: number
  }
}

/** All connections with one TLS identity. */
interface Generation {
  readonly fingerprint: string
  readonly agent: Agent
  readonly secureContext: SecureContext
}

/** Found dead, and kept in the tables of what lies in between, within half a minute. */
const keepAliveMs = 30_000
/** Node's own 16 KiB stop and start the client's socket at every piece, at a tenth of the whole cost. */
const highWaterMark = 256 << 10

export class UploadServers {
  readonly #options: UploadServersOptions
  #generation: Generation | undefined

  constructor(options: UploadServersOptions) {
    this.#options = options
  }

  /** Where the server of a claim is reached. Rejects when certificate or CA cannot be had. */
  async find({ namespace, name }: { namespace: string; name: string }): Promise<Destination> {
    const { agent, secureContext } = await this.#current()
    const { port = uploadServerPort, lookup } = this.#options
    const host = `${serviceName(uploadPodName(name))}.${namespace}.svc`
    return {
      authority: `${host}:${port}`,
      agent,
      connection: {
        host,
        port,
        servername: host,
        secureContext,
        highWaterMark,
        ...(lookup === undefined ? {} : { lookup }),
      },
    }
  }

  /** Closes the connections that nobody uses. */
  close(): void {
    for (const sockets of Object.values(this.#generation?.agent.freeSockets ?? {})) {
      for (const socket of sockets ?? []) socket.destroy()
    }
    this.#generation = undefined
  }

  async #current(): Promise<Generation> {
    const [{ certPem, keyPem }, ca] = await Promise.all([this.#options.identity(), this.#options.trust()])
    const { ciphers, minVersion } = this.#options.profile()
    const fingerprint = [certPem, keyPem, ca, ciphers, minVersion].join('\n')
    if (this.#generation?.fingerprint !== fingerprint) {
      const secureContext = createSecureContext({
        cert: certPem,
        key: keyPem,
        ca,
        ciphers,
        // Both ends are ours: nothing below TLS 1.2, however old the clients outside may be.
        minVersion: minVersion === 'TLSv1.3' ? 'TLSv1.3' : 'TLSv1.2',
      })
      this.close()
      this.#generation = {
        fingerprint,
        secureContext,
        agent: new Agent({ keepAlive: true, keepAliveMsecs: keepAliveMs }),
      }
    }
    return this.#generation
  }
}
