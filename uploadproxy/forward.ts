/**
 * One request to an upload server and its answer, streamed both ways with back-pressure: whoever reads slowly makes the
 * other side send slowly, and nothing is kept here but what is on its way.
 *
 *   client ──head──► proxy ──head, Expect: 100-continue──► server
 *   client ◄──100─── proxy ◄──────────────100──────────── server      only then is the body read
 *   client ──body──► proxy ─────────────body────────────► server
 *   client ◄─answer─ proxy ◄───────────answer──────────── server      1xx on the way are passed on, too
 *
 * Until the server has taken the head and said 100, nothing is lost by trying again; that is told apart in the outcome.
 * An answer that comes while the client is still sending ends the passing on of the body.
 */
import { STATUS_CODES } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { defaultLinger, discardRest, isSending } from './answer.ts'
import type { Linger } from './answer.ts'
import { framingOf, requestHeaders, responseHeaders, trailerPairs } from './headers.ts'
import type { Destination } from './upload-servers.ts'

export interface ForwardOptions {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly destination: Destination
  /** Path and query at the server. */
  readonly path: string
  /** How long a connection may take to be made, handshake included. */
  readonly connectTimeoutMs: number
  /** Told the size of every piece of the body that is passed on. */
  readonly onBytes: (bytes: number) => void
  /** What the client is told instead of the server's status. */
  readonly shownStatus: (status: number) => number
  readonly linger?: Linger
}

export type Outcome =
  /** The server's answer went out. */
  | { readonly kind: 'answered'; readonly status: number }
  /** The server has done nothing yet and no byte of the body is gone: it may be tried again. */
  | { readonly kind: 'unreachable'; readonly cause: Error }
  /** The server went away in the middle. The client has no answer yet, or its connection was cut within the answer. */
  | { readonly kind: 'broken'; readonly cause: Error }
  /** The client went away; the server was told by cutting its connection. */
  | { readonly kind: 'aborted' }

/** Forwards once. Never rejects, except for headers that cannot be written again (a TypeError of Node's). */
export function forward(options: ForwardOptions): Promise<Outcome> {
  const { request, response, destination, path, onBytes, linger = defaultLinger } = options
  const framing = framingOf(request)
  const method = request.method ?? 'GET'
  const isSafe = method === 'GET' || method === 'HEAD'
  const { promise, resolve } = Promise.withResolvers<Outcome>()

  const upstream = httpsRequest({
    ...destination.connection,
    // What is done without a 100 in between, and not twice without harm, must not meet a connection that is just closing.
    agent: framing !== 'none' || isSafe ? destination.agent : new Agent(),
    method,
    path,
    headers: requestHeaders(request.rawHeaders, { host: destination.authority, framing, method }),
  })
  let isConnected = false
  let isTaken = false
  let isAnswered = false
  let isOver = false

  let isGathering = false
  const onData = (chunk: Buffer): void => {
    onBytes(chunk.length)
    // Pieces of 16 KiB, as TLS has them, come several at a time; they go on together, in one system call. Chunks stay as
    // they were sent.
    if (framing === 'length' && !isGathering) {
      isGathering = true
      upstream.cork()
      setImmediate(() => {
        isGathering = false
        upstream.uncork()
      })
    }
    if (!upstream.write(chunk)) request.pause()
  }
  const onDrain = (): void => void request.resume()
  const onEnd = (): void => {
    const trailers = trailerPairs(request.rawTrailers)
    if (framing === 'chunked' && trailers.length > 0) upstream.addTrailers(trailers)
    upstream.end()
  }
  const passBody = (): void => {
    if (isTaken || isAnswered || isOver) return
    isTaken = true
    if (expectsContinue(request)) response.writeContinue()
    request.on('data', onData).once('end', onEnd)
    upstream.on('drain', onDrain)
    // After an earlier try the body stands still, and an end that has come already is not told again.
    if (request.readableEnded) onEnd()
    else request.resume()
  }
  const stopBody = (): void => {
    request.off('data', onData).off('end', onEnd).pause()
    upstream.off('drain', onDrain)
  }
  const settle = (outcome: Outcome): void => {
    if (isOver) return
    isOver = true
    clearTimeout(patience)
    stopBody()
    response.off('close', onClientGone)
    resolve(outcome)
  }
  const onClientGone = (): void => {
    settle({ kind: 'aborted' })
    upstream.destroy()
  }
  const patience = setTimeout(() => {
    upstream.destroy(
      Object.assign(new Error(`no connection to ${destination.authority} in time`), { code: 'ETIMEDOUT' }),
    )
  }, options.connectTimeoutMs)
  const onConnected = (): void => {
    isConnected = true
    clearTimeout(patience)
  }

  response.once('close', onClientGone)
  upstream.once('socket', (socket) => {
    const isOpen = !socket.connecting && !(socket as TLSSocket & { secureConnecting?: boolean }).secureConnecting
    if (isOpen) onConnected()
    else socket.once('secureConnect', onConnected)
  })
  upstream.on('continue', passBody)
  upstream.on('information', ({ statusCode, rawHeaders }) => {
    if (statusCode === 100 || isOver || response.headersSent || request.httpVersion !== '1.1') return
    response.writeInformation(statusCode, responseHeaders(rawHeaders))
  })
  upstream.on('error', (cause) => {
    if (isAnswered) return
    const isUntouched = !isConnected || isSafe || (framing !== 'none' && !isTaken)
    settle({ kind: isUntouched ? 'unreachable' : 'broken', cause })
  })
  upstream.once('response', (reply) => {
    isAnswered = true
    clearTimeout(patience)
    stopBody()
    if (isOver) {
      reply.destroy()
      return
    }
    const isEarly = isSending(request)
    const told = reply.statusCode ?? 502
    const status = options.shownStatus(told)
    const headers = responseHeaders(reply.rawHeaders)
    response.writeHead(
      status,
      status === told ? reply.statusMessage : STATUS_CODES[status],
      isEarly ? [...headers, 'Connection', 'close'] : headers,
    )
    response.flushHeaders()
    reply.on('data', (chunk: Buffer) => {
      if (!response.write(chunk)) reply.pause()
    })
    response.on('drain', () => reply.resume())
    reply.once('error', (cause) => {
      settle({ kind: 'broken', cause })
      response.destroy()
    })
    reply.once('end', () => {
      if (isOver) return
      const trailers = trailerPairs(reply.rawTrailers)
      if (trailers.length > 0) response.addTrailers(trailers)
      settle({ kind: 'answered', status })
      // A server that did not want the rest of the body cannot use its connection for anything else.
      if (!upstream.writableFinished) upstream.destroy()
      void discardRest(request, linger).then(() => response.end())
    })
  })
  if (framing === 'none') upstream.end()
  return promise
}

function expectsContinue({ headers, httpVersion }: IncomingMessage): boolean {
  return httpVersion === '1.1' && /\b100-continue\b/i.test(headers.expect ?? '')
}
