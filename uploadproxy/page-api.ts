/**
 * The little that the page asks for, as JSON, below `/page/api/`. Who may see what is decided by the cluster: every request
 * bears the Kubernetes token of the user, which is passed on and kept nowhere.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../src/log.ts'
import { bearerToken, mayExist } from './gate.ts'
import { pageHeaders } from './page-files.ts'
import { UserApiError } from './user-api.ts'
import type { UserApi, UserCall } from './user-api.ts'

const bodyTimeoutMs = 10_000

export interface PageApiDeps {
  readonly userApi: Pick<UserApi, 'dataVolumes' | 'uploadToken'>
  readonly log: Log
}

export function servePageApi(app: FastifyInstance, { userApi, log }: PageApiDeps): void {
  const fail = (error: unknown, reply: FastifyReply): FastifyReply => {
    const { status, message } = failureOf(error)
    if (status >= 500) log.warn({ err: error }, 'page request failed')
    return reply.code(status).headers(apiHeaders).send({ status, message })
  }
  void app.register(
    async (scope) => {
      scope.setErrorHandler((error, _, reply) => fail(error, reply))
      // Uploads may take hours; a question that is not asked to its end is cut.
      scope.addHook('onRequest', async ({ raw }) => {
        const cut = (): void => void (raw.complete || raw.destroy())
        const late = setTimeout(cut, bodyTimeoutMs)
        for (const end of ['end', 'close']) raw.once(end, () => clearTimeout(late))
      })
      scope.get('/namespaces/:namespace/datavolumes', async (request, reply) => {
        const list = await userApi.dataVolumes(callOf(request))
        return reply.headers(apiHeaders).send(list)
      })
      scope.post('/namespaces/:namespace/uploadtokens', async (request, reply) => {
        const call = callOf(request)
        const pvcName = (request.body as { pvcName?: unknown } | null)?.pvcName
        if (typeof pvcName !== 'string' || !mayExist({ namespace: call.namespace, name: pvcName })) {
          throw new UserApiError(400, 'pvcName must be the name of a claim')
        }
        return reply.headers(apiHeaders).send(await userApi.uploadToken({ ...call, pvcName }))
      })
    },
    { prefix: '/page/api' },
  )
}

const apiHeaders = { ...pageHeaders, 'Cache-Control': 'no-store' }

/** @throws {UserApiError} 401 without a token, 400 for what is no namespace */
function callOf(request: FastifyRequest): UserCall {
  const token = bearerToken(request.headers.authorization)
  if (token === undefined) throw new UserApiError(401, 'send a Kubernetes token: Authorization: Bearer …')
  const { namespace } = request.params as { namespace: string }
  if (!mayExist({ namespace, name: 'any' })) throw new UserApiError(400, 'that is not the name of a namespace')
  const gone = new AbortController()
  request.raw.once('close', () => {
    if (!request.raw.complete) gone.abort()
  })
  return { namespace, token, signal: gone.signal }
}

/** What the user is told: of our own faults and of the framework's (a body that is no JSON) the message, of others nothing. */
function failureOf(error: unknown): { status: number; message: string } {
  if (error instanceof UserApiError) return { status: error.status, message: error.message }
  const { statusCode, message } = error as { statusCode?: unknown; message?: unknown }
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 && typeof message === 'string') {
    return { status: statusCode, message }
  }
  return { status: 500, message: 'internal error' }
}
