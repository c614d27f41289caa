/** The admission webhooks over HTTP: an AdmissionReview in, one out. The API server comes without a certificate. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Log } from '../../log.ts'
import { parseReview, renderReview, ReviewError } from '../admission/review.ts'
import type { Review } from '../admission/review.ts'
import { refused } from '../admission/verdict.ts'
import type { Verdict } from '../admission/verdict.ts'
import { decide, webhooks } from '../admission/webhooks.ts'
import type { Webhook, WebhookDependencies } from '../admission/webhooks.ts'
import { isJson } from '../media-type.ts'
import { refuseOtherMethods } from '../methods.ts'
import { statusOf } from '../status.ts'

export interface AdmissionDependencies extends WebhookDependencies {
  readonly log: Log
}

/** Two objects of the largest size that the API server takes (3 MiB), and the rest of the review. */
const bodyLimit = 16 * 1024 * 1024

export function addAdmission(app: FastifyInstance, dependencies: AdmissionDependencies): void {
  for (const webhook of webhooks) {
    app.post(
      webhook.path,
      {
        bodyLimit,
        onRequest: async ({ headers }: FastifyRequest, reply: FastifyReply) =>
          isJson(headers['content-type'])
            ? undefined
            : reply.code(415).send(statusOf(415, 'the body must be application/json')),
      },
      async ({ body }, reply) => answer(webhook, body, reply, dependencies),
    )
    refuseOtherMethods(app, webhook.path, 'a webhook takes POST only')
  }
}

async function answer(
  webhook: Webhook,
  body: unknown,
  reply: FastifyReply,
  dependencies: AdmissionDependencies,
): Promise<FastifyReply> {
  let review: Review
  try {
    review = parseReview(body)
  } catch (error) {
    if (error instanceof ReviewError) return reply.code(400).send(statusOf(400, error.message))
    throw error
  }
  const verdict = await verdictFor(webhook, review, dependencies)
  const { request } = review
  const facts = {
    webhook: webhook.path,
    operation: request.operation,
    namespace: request.namespace,
    name: request.name,
    user: request.user.name,
  }
  if (verdict.allowed) dependencies.log.debug(facts, 'request admitted')
  else dependencies.log.info({ ...facts, fields: fieldsAtFault(verdict) }, 'request denied')
  return reply.send(renderReview(review, verdict))
}

/** What was wrong, without the messages: they quote the object, and addresses in it may hold passwords. */
function fieldsAtFault(verdict: Exclude<Verdict, { allowed: true }>): string[] {
  return 'causes' in verdict ? verdict.causes.map(({ field }) => field) : []
}

/** A webhook that cannot decide refuses: to let pass what it is there to stop is no way out. */
async function verdictFor(
  webhook: Webhook,
  { request }: Review,
  dependencies: AdmissionDependencies,
): Promise<Verdict> {
  try {
    return await decide(webhook, request, dependencies, AbortSignal.timeout(webhook.timeoutMs))
  } catch (error) {
    dependencies.log.error({ err: error, webhook: webhook.path, name: request.name }, 'webhook cannot decide')
    return refused(error instanceof Error ? error.message : String(error))
  }
}
