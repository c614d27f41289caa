/** A line to a server that cuts every connection after a while, as bad ingresses do, and is only so fast. */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { closable } from '../../../../src/closable-server.ts'

export interface CuttingLine extends AsyncDisposable {
  readonly port: number
  /** From client to server, ciphertext. */
  bytes: number
  cuts: number
}

export interface CuttingLineOptions {
  readonly port: number
  readonly cutAfterMs: number
  /** For each connection, from client to server. */
  readonly bytesPerSecond?: number
}

export async function startCuttingLine(options: CuttingLineOptions): Promise<CuttingLine> {
  const server = createServer({ allowHalfOpen: true })
  const line: CuttingLine = { port: 0, bytes: 0, cuts: 0, [Symbol.asyncDispose]: closable(server) }
  server.on('connection', (client) => void lead(client, line, options))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  return Object.assign(line, { port: (server.address() as AddressInfo).port })
}

async function lead(
  client: Socket,
  line: CuttingLine,
  { port, cutAfterMs, bytesPerSecond }: CuttingLineOptions,
): Promise<void> {
  const upstream = connect({ port, host: '127.0.0.1' })
  const end = (): void => {
    client.destroy()
    upstream.destroy()
  }
  for (const socket of [client, upstream]) socket.on('error', end).on('close', end)
  upstream.pipe(client)
  const timer = setTimeout(() => {
    line.cuts += 1
    client.resetAndDestroy()
    upstream.destroy()
  }, cutAfterMs)
  try {
    for await (const chunk of client as AsyncIterable<Buffer>) {
      line.bytes += chunk.length
      if (!upstream.write(chunk)) await new Promise((resolve) => upstream.once('drain', resolve).once('close', resolve))
      if (bytesPerSecond !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, (chunk.length / bytesPerSecond) * 1000))
      }
    }
    upstream.end()
  } catch {
    // Cut.
  } finally {
    clearTimeout(timer)
  }
}
