/**
 * A link with latency and a limit per connection in front of a server: toxiproxy, since the kernel's netem is not to be
 * had everywhere. Counts what crosses it.
 */
import { execFile } from 'node:child_process'
import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { promisify } from 'node:util'
import { startToxiproxy } from '../fixtures/toxiproxy.ts'

const execute = promisify(execFile)

export interface SlowLink extends AsyncDisposable {
  /** Port of loopback that stands for the server. */
  readonly port: number
  /** Bytes that came from the server so far. */
  sentBytes(): number
}

export interface SlowLinkOptions {
  readonly port: number
  readonly latencyMs: number
  readonly connectionBytesPerSecond: number
}

export async function slowed({ port, latencyMs, connectionBytesPerSecond }: SlowLinkOptions): Promise<SlowLink> {
  const counter = await countingRelay(port)
  const toxiproxy = await startToxiproxy()
  const link = await toxiproxy.link(counter.port)
  await link.add({ type: 'latency', attributes: { latency: latencyMs } })
  await link.add({ type: 'bandwidth', attributes: { rate: connectionBytesPerSecond / 1000 } })
  return {
    port: link.port,
    sentBytes: counter.sentBytes,
    async [Symbol.asyncDispose]() {
      await toxiproxy[Symbol.asyncDispose]()
      await counter.close()
    },
  }
}

export interface Carried {
  /** A file of at least so many bytes. */
  readonly url: string
  readonly bytes: number
  readonly connections: number
}

/**
 * Seconds that plain downloads take for so many bytes together, each of an equal share: what the link carries in fact,
 * with its latency and with what the emulation costs.
 */
export async function carriedSeconds({ url, bytes, connections }: Carried): Promise<number> {
  const share = Math.ceil(bytes / connections)
  const started = performance.now()
  await Promise.all(
    Array.from({ length: connections }, (_, index) =>
      execute('curl', ['-sf', '-o', '/dev/null', '-r', `${index * share}-${(index + 1) * share - 1}`, url]),
    ),
  )
  return (performance.now() - started) / 1000
}

async function countingRelay(port: number) {
  let sentBytes = 0
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = createConnection(port, '127.0.0.1')
    upstream.on('data', (chunk) => {
      sentBytes += chunk.length
    })
    client.pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => socket.destroy())
      socket.on('close', () => sockets.delete(socket))
    }
    // Who hangs up is sent no more.
    client.on('close', () => upstream.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    sentBytes: () => sentBytes,
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
