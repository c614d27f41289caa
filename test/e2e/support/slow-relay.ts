/**
 * Something between clients and the proxy, as ingresses and mobile networks are: so fast and no faster, and if wanted it
 * cuts every connection after a time, or lets nothing pass for a while. Counts what goes up.
 */
import assert from 'node:assert/strict'
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
  /** What those had passed in their last {@link lateMs}: a machine that is busy has not taken it yet, and loses it. */
  readonly lateBytes: number
  /** Connections that lead to the server and that it has not ended. */
  readonly connections: number
  /** New connections go there from now on. */
  leadTo(address: Address): void
  /** The line is so fast from now on. */
  setSpeed(bytesPerSecond: number): void
  /**
   * Nothing goes from clients to the server while this is done, however long it takes; what the server says still comes.
   * Who connects meanwhile is led on afterwards.
   */
  whileHeld<T>(work: () => Promise<T>): Promise<T>
}

/** Pieces are so small that hardly anything is in here when a connection is cut. */
const pieceBytes = 16 * 1024
const connectMs = 2000
const lateMs = 500

export async function startSlowRelay(options: SlowRelayOptions): Promise<SlowRelay> {
  const { to, cutAfterMs } = options
  const sockets = new Set<Socket>()
  const stopped = new AbortController()
  let target = to
  let { bytesPerSecond } = options
  let passedBytes = 0
  let cuts = 0
  let lateBytes = 0
  let held: Promise<void> | undefined
  /** Ends of connections at the server that it has not ended. */
  const led = new Set<Socket>()
  /** When the line is free again. */
  let freeAt = 0

  const pass = async (client: Socket, server: Socket, recent: Recent): Promise<void> => {
    for await (const chunk of client as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; at += pieceBytes) {
        const piece = chunk.subarray(at, at + pieceBytes)
        const now = performance.now()
        freeAt = Math.max(freeAt, now) + (piece.length / bytesPerSecond) * 1000
        if (freeAt > now) await delay(freeAt - now, undefined, { signal: stopped.signal })
        await held
        if (server.destroyed) return
        // Who has ended its side listens no more, and must not be said to have got what nobody reads.
        if (server.readableEnded) continue
        const isPassed = await new Promise<boolean>((resolve) => {
          server.write(piece, (error) => resolve(!error))
        })
        if (!isPassed) return
        passedBytes += piece.length
        recent.add(piece.length)
      }
    }
    server.end()
  }

  const serve = async (client: Socket): Promise<void> => {
    const both = [client]
    const end = (): void => both.forEach((socket) => socket.destroy())
    const keep = (socket: Socket): void => {
      sockets.add(socket)
      socket.on('error', end).on('close', () => {
        sockets.delete(socket)
        end()
      })
    }
    keep(client)
    await held
    if (client.destroyed) return
    const server = connect({ ...target, allowHalfOpen: true })
    both.push(server)
    keep(server)
    // An address that is not there any more does not say so.
    server.setTimeout(connectMs, end).once('connect', () => server.setTimeout(0))
    led.add(server)
    for (const event of ['end', 'close'] as const) server.once(event, () => led.delete(server))
    server.pipe(client)
    const recent = new Recent()
    // What a broken connection takes with it is seen by both sides.
    pass(client, server, recent).catch(end)
    if (cutAfterMs === undefined) return
    const age = setTimeout(() => {
      cuts += 1
      lateBytes += recent.bytes
      end()
    }, cutAfterMs)
    client.on('close', () => clearTimeout(age))
  }
  const listener = createServer({ highWaterMark: pieceBytes, allowHalfOpen: true }, (client) => void serve(client))
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
    get lateBytes() {
      return lateBytes
    },
    get connections() {
      return led.size
    },
    leadTo(address) {
      target = address
    },
    setSpeed(wanted) {
      bytesPerSecond = wanted
    },
    async whileHeld(work) {
      const release = Promise.withResolvers<void>()
      held = release.promise
      try {
        return await work()
      } finally {
        held = undefined
        release.resolve()
      }
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

/** What one connection has passed in the {@link lateMs} before its last byte: when a whole machine stands, time does not. */
class Recent {
  readonly #pieces: { readonly atMs: number; readonly bytes: number }[] = []

  add(bytes: number): void {
    const atMs = performance.now()
    this.#pieces.push({ atMs, bytes })
    while ((this.#pieces[0]?.atMs ?? atMs) < atMs - lateMs) this.#pieces.shift()
  }

  get bytes(): number {
    return this.#pieces.reduce((sum, { bytes }) => sum + bytes, 0)
  }
}

/**
 * For an upload of so many bytes hardly more went over the line: 5 % unless told, which is what is promised, and what cuts
 * took from a busy machine. That is the last half second of each connection that was cut: a tenth of what it had brought
 * if it lived for 5 s. Who loses all that a connection has brought exceeds it ten times, or never comes to the end.
 */
export function assertHardlyMore(relay: SlowRelay, sizeBytes: number, share = 0.05): void {
  const { passedBytes, lateBytes, cuts } = relay
  const percent = (bytes: number): string => `${((100 * bytes) / sizeBytes).toFixed(2)} %`
  const extra = passedBytes - sizeBytes
  const most = share * sizeBytes + lateBytes
  assert.ok(
    extra <= most,
    `${percent(extra)} more than the image went over the line, with ${cuts} cuts; ` +
      `${percent(share * sizeBytes)} are promised, and ${percent(lateBytes)} may be lost by cuts on a busy machine`,
  )
}
