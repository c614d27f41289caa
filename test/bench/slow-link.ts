/**
 * A link with latency and a limit per connection in front of a server: toxiproxy, since the kernel's netem is not to be
 * had everywhere. Counts what crosses it.
 */
import { createConnection, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { startToxiproxy } from '../fixtures/toxiproxy.ts'

export interface SlowLink extends AsyncDisposable {
  /** Port of loopback that stands for the server. */
  readonly port: number
  /** Bytes that came from the server so far. */
  sentBytes(): Promise<number>
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
    sentBytes: () => Promise.resolve(counter.sentBytes()),
    async [Symbol.asyncDispose]() {
      await toxiproxy[Symbol.asyncDispose]()
      await counter.close()
    },
  }
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
