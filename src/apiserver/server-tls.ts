/**
 * The TLS side of the server: its certificate, the profile, and the authority of client certificates, all of which change
 * while it runs. Each change makes a new secure context, which counts for all handshakes from then on.
 */
import { constants } from 'node:crypto'
import type { X509Certificate } from 'node:crypto'
import type { Server } from 'node:https'
import { createSecureContext } from 'node:tls'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { Log } from '../log.ts'
import type { TlsProfile } from '../tls-profile.ts'
import { isAllowedName } from './front-proxy.ts'
import type { FrontProxy } from './front-proxy.ts'

export interface ServerTlsState {
  readonly certPem: string
  readonly keyPem: string
  readonly profile: TlsProfile
  /** Who may come with a client certificate; nobody unless told. */
  readonly frontProxy: FrontProxy | undefined
}

export class ServerTls {
  #state: ServerTlsState
  #server: Server | undefined
  /** The connections whose client certificate was accepted, and by which configuration. */
  readonly #proven = new WeakMap<TLSSocket, FrontProxy>()
  readonly #log: Log

  /** @throws {Error} OpenSSL's, when certificate and key are of no use */
  constructor({ log, ...state }: ServerTlsState & { readonly log: Log }) {
    this.#log = log
    this.#state = state
    createSecureContext(contextOf(state))
  }

  /** Options for `https.createServer`. Client certificates are asked for and looked at by {@link attach}. */
  get options(): SecureContextOptions & { requestCert: true; rejectUnauthorized: false } {
    return { ...contextOf(this.#state), requestCert: true, rejectUnauthorized: false }
  }

  /** From now on the server follows every {@link change}, and connections with a wrong client certificate are cut. */
  attach(server: Server): void {
    this.#server = server
    // Before the listener that would read a request.
    server.prependListener('secureConnection', (socket: TLSSocket) => this.#look(socket))
    server.setSecureContext(contextOf(this.#state))
  }

  /** Takes over new parts; what cannot be used is logged and the former state stays in force. */
  change(part: Partial<ServerTlsState>): void {
    const state = { ...this.#state, ...part }
    try {
      // First on trial: the server keeps half of what it is given when the other half throws.
      createSecureContext(contextOf(state))
      this.#server?.setSecureContext(contextOf(state))
      this.#state = state
    } catch (error) {
      this.#log.error({ err: error }, 'TLS settings cannot be used, the former ones stay')
    }
  }

  /** The front proxy that a connection comes from, with its settings as of the handshake. */
  frontProxyOf(socket: TLSSocket): FrontProxy | undefined {
    return this.#proven.get(socket)
  }

  /** A certificate is optional, but one that is shown must be a good one: else the client believes it is known. */
  #look(socket: TLSSocket): void {
    const certificate: X509Certificate | undefined = socket.getPeerX509Certificate()
    if (certificate === undefined) return
    const { frontProxy } = this.#state
    if (frontProxy && socket.authorized && isAllowedName(frontProxy, certificate)) {
      this.#proven.set(socket, frontProxy)
      return
    }
    this.#log.warn(
      { subject: certificate.subject, reason: socket.authorizationError ?? 'the name is not an allowed one' },
      'client certificate refused',
    )
    socket.destroy()
  }
}

function contextOf({ certPem, keyPem, profile, frontProxy }: ServerTlsState): SecureContextOptions {
  return {
    cert: certPem,
    key: keyPem,
    // An empty list trusts nobody, an absent one would trust the authorities of the web.
    ca: frontProxy ? [frontProxy.caPem] : [],
    minVersion: profile.minVersion,
    ciphers: profile.ciphers,
    dhparam: 'auto',
    // No session is ever resumed: that would skip the look at the client certificate.
    secureOptions: constants.SSL_OP_NO_TICKET,
  }
}
