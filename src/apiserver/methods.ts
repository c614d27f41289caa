/** Addresses that take one method only. Whoever comes with another one is told so before the body is looked at. */
import type { FastifyInstance } from 'fastify'
import { statusOf } from './status.ts'

/** Answers every method but POST with 405. */
export function refuseOtherMethods(app: FastifyInstance, url: string, message: string): void {
  app.route({
    method: app.supportedMethods.filter((method) => method !== 'POST'),
    url,
    onRequest: async (_, reply) => reply.code(405).header('allow', 'POST').send(statusOf(405, message)),
    handler: neverReached,
  })
}

/** The handler of a route whose hooks have answered already. */
export function neverReached(): never {
  throw new Error('a hook has answered')
}
