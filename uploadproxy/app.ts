/**
 * The upload proxy: where clients outside of the cluster bring their data. It keeps no state at all; it checks who comes
 * with what, and passes the bytes on to the upload server of the claim (docs/design/0007-uploads.md).
 */
import { METHODS } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import Fastify from 'fastify'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { answer } from './answer.ts'
import { corsHeaders, isPreflight, preflightHeaders } from './cors.ts'
import type { Asked } from './cors.ts'
import { discoveryHeaders } from './discovery.ts'
import { servePage } from './page-files.ts'
import type { PageFile } from './page-files.ts'
import { servePageApi } from './page-api.ts'
import type { UserApi } from './user-api.ts'
import { requestedPath, uploadPaths } from './paths.ts'
import type { UploadPath } from './paths.ts'
import { createProxyServer } from './server.ts'
import type { ServerTls } from './server.ts'
import { serveUpload } from './upload-request.ts'
import type { UploadDeps } from './upload-request.ts'

export interface ProxyDeps extends UploadDeps {
  /** What the server begins with; see `replaceTls`. */
  readonly tls: ServerTls
  /** The files of the page; see `loadPage`. */
  readonly page: readonly PageFile[]
  /** The Kubernetes API as the users of the page see it; without it the page can show nothing but uploads. */
  readonly userApi?: UserApi | undefined
}

export interface Proxy {
  readonly app: FastifyInstance
  /** What the app listens with. */
  readonly server: Server
}

/** The app, not listening yet. */
export function buildApp(deps: ProxyDeps): Proxy {
  let server: Server | undefined
  const app = Fastify({
    logger: false,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    bodyLimit: 4096,
    serverFactory: (route) => {
      server = createProxyServer(deps.tls, (request, response) => take(request, response, route))
      // Uploads ask for the body when their server wants it; everybody else reads at once.
      server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
        if (!isUploadUrl(request.url)) response.writeContinue()
        take(request, response, route)
      })
      return server
    },
  })
  // The proxy does not choose among methods; the server behind it does.
  for (const method of METHODS) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: true })
  }
  app.addHook('onRequest', async (request, reply) => {
    if (request.is404) await answerRaw(request, reply, { status: 404 })
  })
  app.get('/healthz', async () => 'OK')
  app.head('/healthz', async () => 'OK')
  for (const path of uploadPaths) addUploadRoute(app, deps, path)
  servePage(app, deps.page)
  if (deps.userApi !== undefined) servePageApi(app, { userApi: deps.userApi, log: deps.log })
  if (server === undefined) throw new Error('the framework made no server')
  return { app, server }
}

/** What every request goes through before it is routed. */
function take(
  request: IncomingMessage,
  response: ServerResponse,
  route: (request: IncomingMessage, response: ServerResponse) => void,
): void {
  const asked: Asked = { method: request.method ?? '', headers: request.headers }
  // The page is called from its own origin, which asks for no leave.
  if (isPreflight(asked) && !isPageUrl(request.url)) {
    void answer(request, response, { status: 200, headers: preflightHeaders(asked) })
    return
  }
  if (!isPageUrl(request.url)) {
    for (const [name, value] of Object.entries(corsHeaders(asked))) response.setHeader(name, value)
  }
  route(request, response)
}

function isUploadUrl(url: string | undefined): boolean {
  return /^\/v1(beta|alpha)1\/upload/.test(url ?? '')
}

/** As the framework routes it: percent escapes mean what they stand for. */
function isPageUrl(url = ''): boolean {
  const [path = ''] = url.split('?', 1)
  const plain = decoded(path)
  return plain === '/' || plain.startsWith('/page')
}

function decoded(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch {
    return path
  }
}

function addUploadRoute(app: FastifyInstance, deps: ProxyDeps, uploadPath: UploadPath): void {
  const { protocol, path, hasId } = uploadPath
  app.route({
    method: app.supportedMethods,
    url: hasId ? `${path}/:id` : path,
    // Here and not in the handler: before the framework looks at the body.
    onRequest: async (request, reply) => {
      const { id } = request.params as { id?: string }
      const asked = requestedPath(uploadPath, id)
      if (asked === undefined) return answerRaw(request, reply, { status: 404 })
      const discovery = discoveryHeaders(protocol)
      // Which extensions there are is told to everybody (tus 1.0, "OPTIONS"): it is known without asking the server.
      if (request.method === 'OPTIONS' && discovery !== undefined) {
        return answerRaw(request, reply, { status: 204, headers: discovery })
      }
      reply.hijack()
      void serveUpload(deps, { request: request.raw, response: reply.raw, protocol, path: asked })
    },
    handler: () => undefined,
  })
}

/** Answers past the framework, which would want to read and understand the body first. */
async function answerRaw(
  request: FastifyRequest,
  reply: FastifyReply,
  what: Parameters<typeof answer>[2],
): Promise<void> {
  reply.hijack()
  void answer(request.raw, reply.raw, what)
}
