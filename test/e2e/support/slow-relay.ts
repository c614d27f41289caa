/**
 * Something between clients and the proxy, as ingresses and mobile networks are: so fast and no faster, and if wanted it
 * cuts every connection after a time. Counts what goes up.
 */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { Address } from './proxy.ts'

export interface SlowRelayOptions {
  readonly to: Address
  /** Of all connections together, from clients to the server. */
  readonly bytesPerSecond: number
  /** Age at which a connection is cut; never unless told. */
  readonly cutAfterMs?: number
}

export interface SlowRelay extends AsyncDisposable {
  readonly address: Address
  /** Bytes that went from clients to the server so far, with TLS and headers. */
  readonly passedBytes: number
  /** Connections that were cut because of their age. */
  readonly cuts: number
  /** New connections go there from now on. */
  leadTo(address: Address): void
  /** The line is so fast from now on. */
  setSpeed(bytesPerSecond: number): void
}

/** Pieces are so small that hardly anything is in here when a connection is cut. */
const pieceBytes = 16 * 1024
const connectMs = 2000

export async function startSlowRelay(options: SlowRelayOptions): Promise<SlowRelay> {
  const { to, cutAfterMs } = options
  const sockets = new Set<Socket>()
  const stopped = new AbortController()
  let target = to
  let { bytesPerSecond } = options
  let passedBytes = 0
  let cuts = 0
  /** When the line is free again. */
  let freeAt = 0

  const pass = async (client: Socket, server: Socket): Promise<void> => {
    for await (const chunk of client as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const piece = chunk.subarray(at, at + pieceBytes)
        const now = performance.now()
        freeAt = Math.max(freeAt, now) + (piece.length / bytesPerSecond) * 1000
        if (freeAt > now) await delay(freeAt - now, undefined, { signal: stopped.signal })
        if (server.destroyed) return
        await new Promise<void>((resolve) => {
          server.write(piece, () => resolve())
        })
        passedBytes += piece.length
      }
    }
    server.end()
  }

  const listener = createServer({ highWaterMark: pieceBytes, allowHalfOpen: true }, (client) => {
    const server = connect({ ...target, allowHalfOpen: true })
    const both = [client, server]
    const end = (): void => both.forEach((socket) => socket.destroy())
    for (const socket of both) {
      sockets.add(socket)
      socket.on('error', end).on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    // An address that is not there any more does not say so.
    server.setTimeout(connectMs, end).once('connect', () => server.setTimeout(0))
    server.pipe(client)
    // What a broken connection takes with it is seen by both sides.
    pass(client, server).catch(end)
    if (cutAfterMs === undefined) return
    const age = setTimeout(() => {
      cuts += 1
      end()
    }, cutAfterMs)
    client.on('close', () => clearTimeout(age))
  })
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  return {
    address: { host: '127.0.0.1', port: (listener.address() as AddressInfo).port },
    get passedBytes() {
      return passedBytes
    },
    get cuts() {
      return cuts
    },
    leadTo(address) {
      target = address
    },
    setSpeed(wanted) {
      bytesPerSecond = wanted
    },
    async [Symbol.asyncDispose]() {
      stopped.abort()
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => {
        listener.close(resolve)
      })
    },
  }
}
