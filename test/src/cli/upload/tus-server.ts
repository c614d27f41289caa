/**
 * A small tus 1.0.0 server over TLS (creation, deferred length) that keeps what arrived of a broken request,
 * and misbehaves when it is told to: cuts connections, refuses tokens, loses uploads, answers errors.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:https'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { promisify } from 'node:util'
import { selfSigned } from '../../../../src/certs/self-signed.ts'
import { closable } from '../../../../src/closable-server.ts'

export interface StoredUpload {
  length: number | undefined
  chunks: Buffer[]
  offset: number
  readonly headers: IncomingMessage['headers']
}

export interface TusServer extends AsyncDisposable {
  readonly url: string
  /** PEM of its self-signed certificate. */
  readonly ca: string
  readonly uploads: Map<string, StoredUpload>
  /** `METHOD path` of every request that got to the protocol. */
  readonly requests: string[]
  /** Bytes of bodies that arrived, repetitions and all. */
  arrivedBytes: number
  /** Every connection is cut after so long. */
  cutAfterMs: number | undefined
  /** Every PATCH is cut after so many of its bytes. */
  cutAfterBytes: number | undefined
  /** Bytes per second and connection. */
  bytesPerSecond: number | undefined
  /** Asked first; true when it has answered itself. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean
  /** Connections that are open; when there are none, nothing more arrives. */
  connections(): Promise<number>
  /** What is in the upload. */
  contentOf(address: string): Buffer
}

export interface TusServerOptions {
  readonly isTokenGood?: (token: string) => boolean
  /** Takes other requests, such as those for a page. */
  readonly elsewhere?: (request: IncomingMessage, response: ServerResponse) => boolean
}

const base = '/v1beta1/upload-tus'

export async function startTusServer({
  isTokenGood = () => true,
  elsewhere,
}: TusServerOptions = {}): Promise<TusServer> {
  const { certPem, keyPem } = await selfSigned({ commonName: 'tus', hosts: ['localhost', '127.0.0.1'] })
  const listener = createServer({ cert: certPem, key: keyPem })
  const close = closable(listener)
  const tus: TusServer = {
    url: '',
    ca: certPem,
    uploads: new Map(),
    requests: [],
    arrivedBytes: 0,
    cutAfterMs: undefined,
    cutAfterBytes: undefined,
    bytesPerSecond: undefined,
    intercept: () => false,
    connections: () => promisify(listener.getConnections.bind(listener))(),
    contentOf: (address) => Buffer.concat(tus.uploads.get(address.slice(base.length + 1))?.chunks ?? []),
    [Symbol.asyncDispose]: close,
  }
  listener.on('connection', (socket: Socket) => {
    if (tus.cutAfterMs !== undefined) setTimeout(() => socket.resetAndDestroy(), tus.cutAfterMs).unref()
  })
  listener.on('request', (request: IncomingMessage, response: ServerResponse) => {
    request.on('error', () => {})
    response.on('error', () => {})
    if (elsewhere?.(request, response) === true) return
    const token = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1]
    if (token === undefined || !isTokenGood(token)) {
      response.writeHead(token === undefined ? 400 : 401).end()
      return
    }
    tus.requests.push(`${request.method} ${request.url}`)
    if (tus.intercept(request, response)) return
    void serve(tus, request, response)
  })
  await listening(listener)
  const { port } = listener.address() as AddressInfo
  return Object.assign(tus, { url: `https://127.0.0.1:${port}` })
}

async function listening(server: Server): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
}

async function serve(tus: TusServer, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const answer = (status: number, headers: Record<string, string | number> = {}, text = ''): void => {
    response.writeHead(status, { 'tus-resumable': '1.0.0', 'cache-control': 'no-store', ...headers }).end(text)
  }
  if (request.headers['tus-resumable'] !== '1.0.0') return answer(412)
  const path = request.url ?? ''
  if (path === base && request.method === 'POST') {
    const id = randomUUID()
    const length = request.headers['upload-length']
    if (length === undefined && request.headers['upload-defer-length'] !== '1') return answer(400)
    tus.uploads.set(id, {
      length: length === undefined ? undefined : Number(length),
      chunks: [],
      offset: 0,
      headers: request.headers,
    })
    return answer(201, { location: `upload-tus/${id}` })
  }
  const upload = tus.uploads.get(path.slice(base.length + 1))
  if (upload === undefined) return answer(404, {}, 'no such upload')
  if (request.method === 'HEAD') {
    return answer(200, {
      'upload-offset': upload.offset,
      ...(upload.length === undefined ? { 'upload-defer-length': 1 } : { 'upload-length': upload.length }),
    })
  }
  if (request.method !== 'PATCH') return answer(405)
  if (request.headers['content-type'] !== 'application/offset+octet-stream') return answer(415)
  if (Number(request.headers['upload-offset']) !== upload.offset) {
    return answer(409, {}, `the offset is ${upload.offset}`)
  }
  if (request.headers['upload-length'] !== undefined) upload.length = Number(request.headers['upload-length'])
  let came = 0
  try {
    for await (const chunk of request as AsyncIterable<Buffer>) {
      upload.chunks.push(chunk)
      upload.offset += chunk.length
      came += chunk.length
      tus.arrivedBytes += chunk.length
      if (tus.cutAfterBytes !== undefined && came >= tus.cutAfterBytes) {
        request.socket.destroy()
        return undefined
      }
      if (tus.bytesPerSecond !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, (chunk.length / (tus.bytesPerSecond ?? 1)) * 1000))
      }
    }
  } catch {
    return undefined
  }
  return answer(204, { 'upload-offset': upload.offset })
}
