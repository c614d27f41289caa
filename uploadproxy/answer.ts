/**
 * Answers that reach a client that is still sending. Closing a socket with unread bytes makes the kernel send a reset,
 * which can overtake the answer: so the whole answer goes out first, what still comes is thrown away for a while, and only
 * then the connection ends.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { framingOf } from './headers.ts'

/** How long the rest of a body is thrown away behind an early answer. */
export interface Linger {
  /** Nothing has come for so long. */
  readonly idleMs: number
  readonly totalMs: number
}

export const defaultLinger: Linger = { idleMs: 5000, totalMs: 30_000 }

/** Whether the client may still be sending: then the answer must say `Connection: close`, and {@link discardRest} follows. */
export function isSending(request: IncomingMessage): boolean {
  return !request.complete && framingOf(request) !== 'none'
}

export interface Answer {
  readonly status: number
  /** UTF-8; it is not escaped here. */
  readonly text?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly linger?: Linger
}

/**
 * Answers for the proxy itself, in plain text. Resolves once the answer is on its way and the client is done; never
 * rejects. Does nothing when an answer has begun already.
 */
export async function answer(request: IncomingMessage, response: ServerResponse, what: Answer): Promise<void> {
  const { status, text = '', headers = {}, linger = defaultLinger } = what
  if (response.headersSent || response.destroyed) return
  const isEarly = isSending(request)
  response.writeHead(status, {
    ...(text === '' ? {} : { 'Content-Type': 'text/plain; charset=utf-8' }),
    ...(status === 204 ? {} : { 'Content-Length': String(Buffer.byteLength(text)) }),
    'X-Content-Type-Options': 'nosniff',
    ...headers,
    ...(isEarly ? { Connection: 'close' } : {}),
  })
  if (text === '' || request.method === 'HEAD') response.flushHeaders()
  else response.write(text)
  await discardRest(request, linger)
  response.end()
}

/** Reads what still comes and throws it away, until it ends, the client goes, nothing comes any more, or time is up. */
export async function discardRest(request: IncomingMessage, { idleMs, totalMs }: Linger): Promise<void> {
  request.resume()
  if (request.complete || request.destroyed) return
  const over = Promise.withResolvers<void>()
  const total = setTimeout(over.resolve, totalMs)
  const idle = setTimeout(over.resolve, idleMs)
  const onData = (): unknown => idle.refresh()
  request.on('data', onData)
  request.once('end', over.resolve).once('close', over.resolve)
  await over.promise
  clearTimeout(total)
  clearTimeout(idle)
  request.off('data', onData)
}
