/**
 * `cdi-apiserver`: the aggregated API `upload.cdi.kubevirt.io` and the admission webhooks, behind one HTTPS port
 * (contract/upload.md §2, platform.md §8, §9). `buildApp` puts the routes together; `run.ts` brings what they depend on.
 */
import { createHash } from 'node:crypto'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import fastify from 'fastify'
import type { FastifyError, FastifyInstance } from 'fastify'
import type { Log } from '../log.ts'
import { openApiDocument } from './openapi.ts'
import { addAdmission } from './routes/admission.ts'
import type { AdmissionDependencies } from './routes/admission.ts'
import { addDiscovery } from './routes/discovery.ts'
import { addUploadTokens } from './routes/upload-tokens.ts'
import type { UploadTokenDependencies } from './routes/upload-tokens.ts'
import type { ServerTls } from './server-tls.ts'
import { statusOf } from './status.ts'

export interface AppDependencies
  extends Omit<UploadTokenDependencies, 'frontProxyOf'>, Omit<AdmissionDependencies, 'log'> {
  readonly tls: ServerTls
  readonly log: Log
  /** Of this program, for the OpenAPI document. */
  readonly version: string
}

/** Longer than the API server keeps an idle connection (90 s): it must be the one to close it, or a request may be lost. */
const keepAliveTimeout = 120_000

/** The server, with all routes; nothing listens yet. */
export function buildApp(dependencies: AppDependencies): FastifyInstance {
  const { tls, log, version } = dependencies
  const app = fastify({
    serverFactory: (handler): Server => {
      const server = createServer({ ...tls.options, ALPNProtocols: ['http/1.1'], keepAliveTimeout }, handler)
      tls.attach(server)
      return server
    },
    // Names go up to 253 characters.
    routerOptions: { maxParamLength: 512 },
    // Bodies are read with care, never assigned from; a member of this name is a member like others.
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
  })
  app.addHook('onSend', async (_, reply) => {
    reply.header('x-content-type-options', 'nosniff')
    // JSON has no charset (RFC 8259 §11); the API server compares media types as texts.
    if (String(reply.getHeader('content-type')).startsWith('application/json')) {
      reply.header('content-type', 'application/json')
    }
  })
  app.setNotFoundHandler((_, reply) =>
    reply.code(404).send(statusOf(404, 'the server could not find the requested resource')),
  )
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const code = error.statusCode ?? 500
    if (code >= 500) log.error({ err: error, method: request.method, path: request.routeOptions.url }, 'request failed')
    return reply.code(code).send(statusOf(code, code >= 500 ? 'the server has met a fault' : error.message))
  })
  addDiscovery(app)
  addOpenApi(app, version)
  addUploadTokens(app, { ...dependencies, frontProxyOf: (socket) => tls.frontProxyOf(socket) })
  addAdmission(app, dependencies)
  return app
}

/** The API server fetches the document every few seconds, hence the tag. */
function addOpenApi(app: FastifyInstance, version: string): void {
  const text = JSON.stringify(openApiDocument(version))
  const etag = `"${createHash('sha256').update(text).digest('hex')}"`
  app.get('/openapi/v2', (request, reply) => {
    reply.header('etag', etag)
    if (request.headers['if-none-match'] === etag) return reply.code(304).send()
    return reply.type('application/json').send(text)
  })
}
