/** The end of a server in peace: what is going on may finish, what is idle ends at once, and nothing lasts for ever. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Server } from 'node:https'
import { closable } from '../src/closable-server.ts'

/**
 * Follows the requests of a server from now on. The returned function resolves when none is going on any more, or after
 * `graceMs`, and has closed all connections then. It does not stop the listening: call `close` of the server, or of what
 * is above it, before.
 */
export function drainable(server: Server): (graceMs: number) => Promise<void> {
  const closeAll = closable(server)
  let busy = 0
  let idle: (() => void) | undefined
  const follow = (_: IncomingMessage, response: ServerResponse): void => {
    busy++
    response.once('close', () => {
      busy--
      if (busy === 0) idle?.()
    })
  }
  server.prependListener('request', follow)
  server.prependListener('checkContinue', follow)
  return async (graceMs) => {
    const over = Promise.withResolvers<void>()
    const patience = setTimeout(over.resolve, graceMs)
    idle = over.resolve
    if (busy === 0) over.resolve()
    await over.promise
    clearTimeout(patience)
    await closeAll()
  }
}
