/**
 * `https://…/metrics` and `/healthz` of a control-plane program: HTTP/1.1, with a certificate that it makes for itself.
 * Health is for everybody, metrics for those whom `authorize` lets in.
 */
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Registry } from 'prom-client'
import { closable } from '../closable-server.ts'
import type { Log } from '../log.ts'
import { tlsProfileOf } from '../tls-profile.ts'
import type { TlsProfile } from '../tls-profile.ts'
import type { Authorize } from './metrics-access.ts'

export interface MetricsServerOptions {
  readonly metrics: Registry
  readonly log: Log
  readonly port: number
  /** All addresses unless told. */
  readonly host?: string
  /** Name in the certificate. */
  readonly commonName: string
  /** Who may read `/metrics`; everybody unless told. */
  readonly authorize?: Authorize
  /** Whether the program is well; it is unless told. */
  readonly isHealthy?: () => boolean
}

export interface MetricsServer extends AsyncDisposable {
  readonly port: number
  /** From now on for every handshake; one that OpenSSL does not take is logged, and the former stays. */
  readonly setTlsProfile: (profile: TlsProfile) => void
}

/** Starts the server with the profile Intermediate; rejects when the port cannot be had. */
export async function serveMetrics(options: MetricsServerOptions): Promise<MetricsServer> {
  const { selfSigned } = await import('../certs/self-signed.ts')
  const { certPem, keyPem } = await selfSigned({
    commonName: options.commonName,
    hosts: [options.commonName, 'localhost', '127.0.0.1'],
  })
  const contextOf = ({ minVersion, ciphers }: TlsProfile) => ({
    cert: certPem,
    key: keyPem,
    minVersion,
    ciphers,
    dhparam: 'auto',
  })
  const context = contextOf(tlsProfileOf(undefined))
  const server = createServer({ ...context, ALPNProtocols: ['http/1.1'] }, (request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.log.error({ err: error }, 'cannot serve metrics')
      if (response.headersSent) response.destroy()
      else response.writeHead(500).end()
    })
  })
  const close = closable(server)
  await listen(server, options)
  return {
    port: (server.address() as AddressInfo).port,
    setTlsProfile: (profile) => {
      try {
        server.setSecureContext(contextOf(profile))
      } catch (error) {
        options.log.error({ err: error }, 'TLS profile cannot be used for metrics, the former one stays')
      }
    },
    [Symbol.asyncDispose]: close,
  }
}

async function answer(
  options: MetricsServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = request.url?.split('?')[0]
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.writeHead(405, { allow: 'GET, HEAD' }).end()
  } else if (path === '/healthz') {
    const isHealthy = options.isHealthy?.() ?? true
    response.writeHead(isHealthy ? 200 : 503, { 'content-type': 'text/plain' }).end(isHealthy ? 'OK' : 'not healthy')
  } else if (path === '/metrics') {
    const status = (await options.authorize?.(request.headers.authorization, path)) ?? 200
    if (status !== 200) {
      response.writeHead(status, { 'content-type': 'text/plain' }).end(status === 401 ? 'Unauthorized' : 'Forbidden')
      return
    }
    response.writeHead(200, { 'content-type': options.metrics.contentType }).end(await options.metrics.metrics())
  } else {
    response.writeHead(404).end()
  }
}

function listen(server: Server, { port, host }: MetricsServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
