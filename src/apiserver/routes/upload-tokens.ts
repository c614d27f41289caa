/**
 * `POST …/namespaces/NAMESPACE/uploadtokenrequests`: a token for whoever the cluster lets create one (contract/upload.md
 * §2.2–2.4). Nothing is stored, so there is nothing to get, list or delete.
 */
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../../log.ts'
import type { TokenClaims } from '../../tokens/token.ts'
import type { AskAccess, User } from '../access.ts'
import { userOf } from '../front-proxy.ts'
import type { FrontProxy } from '../front-proxy.ts'
import { acceptsJson, isJson } from '../media-type.ts'
import { neverReached, refuseOtherMethods } from '../methods.ts'
import { uploadGroup, uploadTokenRequest, uploadVersion, versionPath } from '../resource.ts'
import { statusOf } from '../status.ts'
import { parseTokenRequest, withToken } from '../token-request.ts'

export interface UploadTokenDependencies {
  /** The front proxy that a connection comes from, if it does. */
  readonly frontProxyOf: (socket: TLSSocket) => FrontProxy | undefined
  readonly askAccess: AskAccess
  readonly signToken: (claims: TokenClaims) => Promise<string>
  readonly log: Log
}

interface Call {
  Params: { namespace: string; name?: string }
  Querystring: Readonly<Record<string, string | string[] | undefined>>
}

const bodyLimit = 1024 * 1024
const namespacePattern = '^[a-z0-9][a-z0-9\\-]*$'
const collection = `${versionPath}/namespaces/:namespace(${namespacePattern})/${uploadTokenRequest.plural}`

export function addUploadTokens(app: FastifyInstance, dependencies: UploadTokenDependencies): void {
  app.decorateRequest('user')
  app.post<Call>(
    collection,
    {
      bodyLimit,
      // Before the body is read: what a stranger sends is nobody's business.
      onRequest: [
        async (request, reply) => refuseMediaTypes(request, reply),
        async (request, reply) => authorize(request, reply, dependencies),
      ],
    },
    (request, reply) => issue(request, reply, dependencies),
  )
  refuseOtherMethods(app, collection, `the server does not allow this method on ${uploadTokenRequest.plural}`)
  app.route<Call>({
    method: app.supportedMethods,
    url: `${collection}/:name`,
    // `kubectl apply` looks whether the object is there, and makes it if it is not.
    onRequest: async ({ params: { name = '' } }, reply) =>
      reply.code(404).send(
        statusOf(404, `${uploadTokenRequest.plural}.${uploadGroup} ${JSON.stringify(name)} not found`, {
          group: uploadGroup,
          kind: uploadTokenRequest.plural,
          name,
        }),
      ),
    handler: neverReached,
  })
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Who asks for a token; set once that is known and allowed. */
    user?: User
  }
}

function refuseMediaTypes({ headers }: FastifyRequest, reply: FastifyReply): FastifyReply | undefined {
  if (!isJson(headers['content-type'])) {
    return reply.code(415).send(statusOf(415, 'the body must be application/json'))
  }
  if (!acceptsJson(headers.accept)) return reply.code(406).send(statusOf(406, 'the answer is application/json'))
  return undefined
}

async function authorize(
  request: FastifyRequest<Call>,
  reply: FastifyReply,
  { frontProxyOf, askAccess, log }: UploadTokenDependencies,
): Promise<FastifyReply | undefined> {
  const { namespace } = request.params
  const frontProxy = frontProxyOf(request.raw.socket as TLSSocket)
  if (!frontProxy) return unauthenticated(reply, 'request is not authenticated')
  const user = userOf(frontProxy, request.raw.headersDistinct)
  if ('needs' in user) {
    return unauthenticated(reply, `one of these headers required for authorization: [${user.needs.join(' ')}]`)
  }
  const { allowed, reason } = await askAccess(user, {
    namespace,
    verb: 'create',
    group: uploadGroup,
    version: uploadVersion,
    resource: uploadTokenRequest.plural,
  })
  if (!allowed) {
    log.info({ user: user.name, namespace }, 'upload token refused')
    return reply
      .code(403)
      .send(statusOf(403, forbidden(user, namespace, reason), { group: uploadGroup, kind: uploadTokenRequest.plural }))
  }
  request.user = user
  return undefined
}

function unauthenticated(reply: FastifyReply, why: string): FastifyReply {
  return reply.code(401).type('text/plain').send(why)
}

/** In the API server's words. */
function forbidden({ name }: User, namespace: string, reason: string): string {
  const resource = `${uploadTokenRequest.plural}.${uploadGroup}`
  const what = `User ${JSON.stringify(name)} cannot create resource "${uploadTokenRequest.plural}" in API group "${uploadGroup}" in the namespace "${namespace}"`
  return `${resource} is forbidden: ${what}${reason === '' ? '' : `: ${reason}`}`
}

async function issue(
  request: FastifyRequest<Call>,
  reply: FastifyReply,
  { signToken, log }: UploadTokenDependencies,
): Promise<FastifyReply> {
  const { params, query, body, user } = request
  const { namespace } = params
  const dryRun = textsOf(query['dryRun'])
  if (dryRun.some((value) => value !== 'All')) {
    return reply.code(400).send(statusOf(400, `Invalid value: ${JSON.stringify(dryRun)}: supported values: "All"`))
  }
  const wanted = parseTokenRequest(body)
  if ('problem' in wanted) return reply.code(wanted.problem.code).send(wanted.problem.status)
  const unknown = wanted.unknownFields.map((field) => `unknown field ${JSON.stringify(field)}`)
  const [validation] = textsOf(query['fieldValidation'])
  if (validation === 'Strict' && unknown.length > 0) {
    return reply.code(400).send(statusOf(400, `strict decoding error: ${unknown.join(', ')}`))
  }
  if (validation === 'Warn') for (const text of unknown) reply.header('warning', `299 - ${JSON.stringify(text)}`)
  if (dryRun.length > 0) return reply.send(withToken(wanted, undefined))
  const token = await signToken({
    operation: 'Upload',
    name: wanted.pvcName,
    namespace,
    resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
  })
  log.info({ user: user?.name, namespace, pvc: wanted.pvcName }, 'upload token issued')
  return reply.send(withToken(wanted, token))
}

function textsOf(value: string | string[] | undefined): string[] {
  return value === undefined ? [] : [value].flat()
}
