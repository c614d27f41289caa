/**
 * The HTTPS server of an upload pod (contract: upload §6): a short table of addresses over Node's own server, which is up
 * within milliseconds and costs little memory. Clients need not have a certificate (the kubelet's probe has none), but
 * one that is shown must verify; uploads need the right one.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { CdiError } from '../../src/errors.ts'
import { closable } from '../../src/closable-server.ts'
import type { TlsProfile } from '../../src/tls-profile.ts'
import { RequestRefusal, answerTo } from './answers.ts'
import type { ServerIdentity } from './config.ts'
import type { Protocol, UploadContext } from './context.ts'
import { Exchange } from './exchange.ts'
import type { Linger } from './exchange.ts'
import { passGate, plainAddress } from './gate.ts'
import { takePlain } from './plain.ts'
import { SlotRefusal } from './slot.ts'

/** How long a client may take for the head of a request; bodies have all the time as long as they move. */
const headTimeoutMs = 10_000
/** The proxy may come back on the same connection. */
const keepAliveMs = 60_000
/** How long the end waits for answers that are on their way. */
const closeMs = 2000

export interface UploadServerOptions {
  readonly context: UploadContext
  /** Besides the plain addresses. */
  readonly protocols: readonly Protocol[]
  /** False for a volume that only its cloner may fill: the plain addresses then refuse. */
  readonly takesUploads?: boolean
  readonly identity: ServerIdentity
  /** Common name that a client's certificate must bear. */
  readonly clientName: string
  readonly tls: TlsProfile
  /** Told of a fault that came when the client had its 200 already. */
  readonly onUnseenFault: (fault: CdiError) => void
  readonly linger?: Linger
}

export class UploadServer implements AsyncDisposable {
  readonly #options: UploadServerOptions
  readonly #server: ReturnType<typeof createServer>
  readonly #destroyAll: () => Promise<void>
  readonly #exchanges = new Set<Promise<void>>()
  #closing = false

  constructor(options: UploadServerOptions) {
    this.#options = options
    this.#server = createServer({
      ...secureContextOf(options),
      requestCert: true,
      rejectUnauthorized: false,
      headersTimeout: headTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: keepAliveMs,
    })
    this.#server.on('secureConnection', (socket: TLSSocket) => {
      if (!socket.authorized && socket.getPeerX509Certificate() !== undefined) socket.destroy()
    })
    this.#server.on('request', (request, response) => this.#begin(request, response, false))
    this.#server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) =>
      this.#begin(request, response, true),
    )
    this.#destroyAll = closable(this.#server)
  }

  /** For connections that come from now on. Throws if the texts are none that TLS can use; the former ones stay then. */
  setIdentity(identity: ServerIdentity): void {
    this.#server.setSecureContext(secureContextOf({ ...this.#options, identity }))
  }

  /** Resolves with the port when connections are taken; rejects if the port cannot be had. */
  async listen(port: number, host?: string): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(port, host, () => {
        this.#server.off('error', reject)
        resolve()
      })
    })
    return (this.#server.address() as AddressInfo).port
  }

  /** Takes nothing new, lets answers that are on their way go out, for a while, and closes all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing = true
    const timeout = Promise.withResolvers<void>()
    const timer = setTimeout(timeout.resolve, closeMs)
    await Promise.race([Promise.all(this.#exchanges), timeout.promise])
    clearTimeout(timer)
    await this.#destroyAll()
  }

  #begin(request: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const { linger } = this.#options
    const exchange = new Exchange({ request, response, expectsContinue, ...(linger === undefined ? {} : { linger }) })
    const serving = this.#serve(exchange).finally(() => this.#exchanges.delete(serving))
    this.#exchanges.add(serving)
  }

  /** Never throws. */
  async #serve(exchange: Exchange): Promise<void> {
    const { log } = this.#options.context
    try {
      await this.#dispatch(exchange)
    } catch (err) {
      const { status, text, headers } = answerTo(err)
      const { method, path } = exchange
      log[status < 500 || status === 503 ? 'warn' : 'error'](
        { err, method, path, status, answer: text },
        'request refused',
      )
      await exchange.answer({ status, ...(text === undefined ? {} : { text }), ...(headers ? { headers } : {}) })
    }
  }

  async #dispatch(exchange: Exchange): Promise<void> {
    const { context, protocols, takesUploads = true, onUnseenFault } = this.#options
    const { path, method } = exchange
    if (path === '/healthz') return void (await exchange.answer({ status: 200, text: 'OK' }))
    if (this.#closing) throw new RequestRefusal(503, 'this upload server is ending')
    const address = plainAddress(path)
    if (address !== undefined) {
      const passage = passGate({ method, address, isTrusted: this.#isTrusted(exchange), refusal: this.#refusal() })
      if (passage.kind === 'refuse') throw passage.refusal
      if (passage.kind === 'answer') return void (await exchange.answer({ status: passage.status }))
      if (!takesUploads) throw new RequestRefusal(403, 'this volume is the target of a clone: it takes no uploads')
      return takePlain({ context, exchange, address, onUnseenFault })
    }
    const protocol = protocols.find(({ serves }) => serves(path))
    if (protocol === undefined) return void (await exchange.answer({ status: 404 }))
    if (!this.#isTrusted(exchange, protocol.alsoFor)) return void (await exchange.answer({ status: 401 }))
    return protocol.handle(exchange)
  }

  #isTrusted({ request }: Exchange, alsoFor?: string): boolean {
    const socket = request.socket as TLSSocket
    if (!socket.authorized) return false
    const name = socket.getPeerCertificate().subject?.CN
    return name === this.#options.clientName || (alsoFor !== undefined && name === alsoFor)
  }

  #refusal(): SlotRefusal | undefined {
    try {
      this.#options.context.slot.assertFree()
      return undefined
    } catch (error) {
      if (error instanceof SlotRefusal) return error
      throw error
    }
  }
}

function secureContextOf({ identity, tls }: Pick<UploadServerOptions, 'identity' | 'tls'>): SecureContextOptions {
  const { key, cert, clientCa: ca } = identity
  return { key, cert, ca, minVersion: tls.minVersion, ciphers: tls.ciphers }
}
