/**
 * The HTTPS server under the app. Uploads last for hours and clients may think for long, so nothing is limited but the
 * handshake and the head of a request; connections on which nothing happens stay, and cost nothing but their memory.
 */
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { RequestListener } from 'node:http'
import type { SecureContextOptions } from 'node:tls'
import type { TlsProfile } from '../src/tls-profile.ts'

/** What the server shows and accepts; replaced while it runs. */
export interface ServerTls {
  /** The leaf, followed by what leads to its root. */
  readonly certPem: string
  readonly keyPem: string
  readonly profile: TlsProfile
}

/** For the handshake, and then for the head of a request, each. */
const headTimeoutMs = 10_000
/** How late a head may be noticed to be late. */
const checkMs = 2000
/** Longer than the load balancers in front, which would otherwise send a request into a connection that is just closing. */
const idleTimeoutMs = 620_000
const probeMs = 30_000

export function createProxyServer(tls: ServerTls, listener: RequestListener): Server {
  return createServer(
    {
      ...contextOptions(tls),
      ALPNProtocols: ['http/1.1'],
      handshakeTimeout: headTimeoutMs,
      headersTimeout: headTimeoutMs,
      requestTimeout: 0,
      connectionsCheckingInterval: checkMs,
      keepAliveTimeout: idleTimeoutMs,
      keepAlive: true,
      keepAliveInitialDelay: probeMs,
      noDelay: true,
    },
    listener,
  )
}

/** Certificate and profile for the connections that come from now on. Throws, and changes nothing, if they make no sense. */
export function replaceTls(server: Server, tls: ServerTls): void {
  server.setSecureContext(contextOptions(tls))
}

function contextOptions({ certPem, keyPem, profile: { ciphers, minVersion } }: ServerTls): SecureContextOptions {
  return { cert: certPem, key: keyPem, ciphers, minVersion, honorCipherOrder: true, dhparam: 'auto' }
}
