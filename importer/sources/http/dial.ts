/** Makes connections: plain or TLS, direct or through an http or https proxy. */
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import type { SecureContext } from 'node:tls'
import { isIP } from 'node:net'
import { CdiError } from '../../../src/errors.ts'
import { hostOf, portOf, proxyAuthorization } from '../proxy.ts'
import { headEnd, longestHeadBytes, parseResponseHead, renderRequest } from './head.ts'
import { causeText } from './cause-text.ts'

/**
 * A connected socket and where its bytes go. `receive` is set by whoever uses the wire; it returns false to hold the
 * wire until `socket.resume()`. The chunk is lent: it holds its bytes until `receive` returns true, or until the wire is
 * resumed.
 */
export interface Wire {
  readonly socket: Socket
  receive: (chunk: Buffer) => boolean
}

export interface DialOptions {
  /** What is to be reached; only scheme, host and port count. */
  readonly url: URL
  readonly proxy: URL | undefined
  /** Made on first use, since reading all roots takes tens of milliseconds. */
  readonly secureContext: () => SecureContext
  readonly insecureSkipVerify: boolean
  /** For name resolution, TCP, the proxy and TLS together. */
  readonly timeoutMs: number
  readonly userAgent: string
}

/**
 * Bytes of a plain connection are all read into one buffer of this size: it stays in the processor's cache, and a read
 * costs neither page faults nor garbage. Against a fresh buffer for every few reads that is a third of the CPU time.
 */
const slabBytes = 256 * 1024

/**
 * Connects. Throws CDI_SOURCE_UNREACHABLE or CDI_SOURCE_TLS, both with `HTTP request errored: …` (contract: import §8),
 * or the signal's reason.
 */
export async function dial(options: DialOptions, signal: AbortSignal): Promise<Wire> {
  const { url, proxy } = options
  signal.throwIfAborted()
  const attempt = new AbortController()
  const timer = setTimeout(() => attempt.abort(), options.timeoutMs)
  try {
    return await dialWithin(options, AbortSignal.any([signal, attempt.signal]))
  } catch (error) {
    signal.throwIfAborted()
    if (!attempt.signal.aborted) throw error
    const first = proxy ?? url
    throw unreachable(`no connection to ${first.host} within ${Math.round(options.timeoutMs / 1000)} s`, error)
  } finally {
    clearTimeout(timer)
  }
}

async function dialWithin(options: DialOptions, signal: AbortSignal): Promise<Wire> {
  const { url, proxy } = options
  if (proxy === undefined) {
    return url.protocol === 'https:' ? wireOfStream(await secure(options, url, undefined, signal)) : plain(url, signal)
  }
  if (url.protocol === 'http:') {
    return proxy.protocol === 'https:'
      ? wireOfStream(await secure(options, proxy, undefined, signal))
      : plain(proxy, signal)
  }
  const toProxy =
    proxy.protocol === 'https:' ? await secure(options, proxy, undefined, signal) : await tcp(proxy, signal)
  await openTunnel(options, toProxy, proxy, signal)
  return wireOfStream(await secure(options, url, toProxy, signal))
}

/** A plain connection that reads into one slab, past all of Node's stream objects. */
async function plain(url: URL, signal: AbortSignal): Promise<Wire> {
  const slab = Buffer.allocUnsafeSlow(slabBytes)
  const wire: { socket?: Socket; receive: Wire['receive'] } = { receive: () => true }
  const socket = connectTcp({
    host: hostOf(url),
    port: portOf(url),
    noDelay: true,
    onread: {
      buffer: slab,
      callback: (length) => wire.receive(slab.subarray(0, length)),
    },
  })
  wire.socket = socket
  await connected(socket, 'connect', signal, (error) => unreachable(causeText(error), error))
  return wire as Wire
}

async function tcp(url: URL, signal: AbortSignal): Promise<Socket> {
  const socket = connectTcp({ host: hostOf(url), port: portOf(url), noDelay: true })
  await connected(socket, 'connect', signal, (error) => unreachable(causeText(error), error))
  return socket
}

async function secure(
  options: DialOptions,
  url: URL,
  through: Socket | undefined,
  signal: AbortSignal,
): Promise<Socket> {
  // Loaded only for https: it takes 12 ms.
  const { connect: connectTls } = process.getBuiltinModule('node:tls')
  const socket = through ?? (await tcp(url, signal))
  // From here on the encrypted socket reports what happens to this one.
  socket.on('error', () => {})
  const host = hostOf(url)
  const encrypted = connectTls({
    socket,
    // No names for addresses in SNI (RFC 6066 §3); `host` is what the certificate is checked against.
    ...(isIP(host) === 0 ? { servername: host } : {}),
    host,
    secureContext: options.secureContext(),
    minVersion: 'TLSv1.2',
    rejectUnauthorized: !options.insecureSkipVerify,
    ALPNProtocols: ['http/1.1'],
  })
  await connected(encrypted, 'secureConnect', signal, (error) => tlsFault(error))
  return encrypted
}

/** Waits for `event`; the socket is destroyed if that fails. */
function connected(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
  fault: (error: Error) => CdiError,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (error?: unknown): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off(event, onEvent).off('error', onError).off('close', onClose)
      if (error === undefined) {
        resolve()
        return
      }
      // A destroyed socket may still report an error; nobody else listens.
      socket.on('error', () => {})
      socket.destroy()
      reject(error)
    }
    const onEvent = (): void => finish()
    const onError = (error: Error): void => finish(fault(error))
    const onClose = (): void => finish(fault(new Error('the connection was closed while it was set up')))
    const onAbort = (): void => finish(signal.reason)
    socket.on(event, onEvent).on('error', onError).on('close', onClose)
    if (signal.aborted) onAbort()
    else signal.addEventListener('abort', onAbort)
  })
}

function wireOfStream(socket: Socket): Wire {
  const wire: Wire = { socket, receive: () => true }
  socket.on('data', (chunk: Buffer) => {
    if (!wire.receive(chunk)) socket.pause()
  })
  return wire
}

/** Asks a proxy for a tunnel (RFC 9110 §9.3.6). */
async function openTunnel(
  { url, userAgent }: DialOptions,
  socket: Socket,
  proxy: URL,
  signal: AbortSignal,
): Promise<void> {
  const target = `${url.hostname}:${portOf(url)}`
  const authorization = proxyAuthorization(proxy)
  socket.write(
    renderRequest({
      method: 'CONNECT',
      target,
      headers: [
        ['Host', target],
        ['User-Agent', userAgent],
        ...(authorization === undefined ? [] : ([['Proxy-Authorization', authorization]] as const)),
      ],
    }),
  )
  const { status, reason } = await tunnelAnswer(socket, signal)
  if (status >= 200 && status < 300) return
  socket.destroy()
  throw unreachable(`the proxy ${proxy.host} refused the tunnel to ${target}: ${status} ${reason}`, undefined, {
    status,
  })
}

function tunnelAnswer(socket: Socket, signal: AbortSignal): Promise<{ status: number; reason: string }> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0)
    const finish = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort)
      socket.off('readable', onReadable).off('error', onError).off('end', onEnd).off('close', onEnd)
      settle()
    }
    const fail = (error: unknown): void =>
      finish(() => {
        socket.on('error', () => {})
        socket.destroy()
        reject(error)
      })
    const onAbort = (): void => fail(signal.reason)
    const onError = (error: Error): void => fail(unreachable(`the proxy: ${causeText(error)}`, error))
    const onEnd = (): void => fail(unreachable('the proxy closed the connection instead of opening a tunnel'))
    const onReadable = (): void => {
      const chunk: Buffer | null = socket.read()
      if (chunk === null) return
      seen = Buffer.concat([seen, chunk])
      const end = headEnd(seen)
      if (end === -1) {
        if (seen.length > longestHeadBytes) fail(unreachable('the proxy sent an endless head'))
        return
      }
      try {
        const head = parseResponseHead(seen.subarray(0, end))
        finish(() => resolve(head))
      } catch (error) {
        fail(unreachable(`the proxy: ${causeText(error)}`, error))
      }
    }
    socket.on('readable', onReadable).on('error', onError).on('end', onEnd).on('close', onEnd)
    signal.addEventListener('abort', onAbort)
  })
}

function unreachable(text: string, cause?: unknown, details: Record<string, unknown> = {}): CdiError {
  return new CdiError('CDI_SOURCE_UNREACHABLE', `HTTP request errored: ${text}`, { cause, details })
}

/** Faults of the network stay what they are even if they strike during the handshake. */
const networkCodes = new Set(['ECONNRESET', 'ECONNREFUSED', 'ETIMEDOUT', 'EPIPE', 'EHOSTUNREACH', 'ENETUNREACH'])

function tlsFault(error: Error & { code?: string }): CdiError {
  if (error.code === undefined || networkCodes.has(error.code)) return unreachable(causeText(error), error)
  return new CdiError('CDI_SOURCE_TLS', `HTTP request errored: ${causeText(error)}`, {
    cause: error,
    details: { tlsCode: error.code },
  })
}
