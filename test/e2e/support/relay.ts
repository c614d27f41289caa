/** A port of loopback at the address that pods see; what the pods get is counted. */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { Transform } from 'node:stream'
import type { TestCluster } from './cluster.ts'

export interface Relay extends AsyncDisposable {
  /** `HOST:PORT` as pods see it. */
  readonly host: string
  /** Bytes that went to the pods so far, with headers and whatever is around them. */
  readonly sentBytes: number
  /** To all pods together it goes so fast from now on. */
  setSpeed(bytesPerSecond: number): void
}

export interface RelayOptions {
  /** To all pods together; as fast as it can unless told. */
  readonly bytesPerSecond?: number
}

/** Resolves when it listens; every connection leads to `port` of 127.0.0.1. */
export async function startRelay(
  { hostAddress }: Pick<TestCluster, 'hostAddress'>,
  port: number,
  options: RelayOptions = {},
): Promise<Relay> {
  let sentBytes = 0
  let { bytesPerSecond = Number.POSITIVE_INFINITY } = options
  /** When the line is free again. */
  let freeAt = 0
  const line = (): Transform =>
    new Transform({
      transform(chunk: Buffer, _encoding, done) {
        const now = performance.now()
        freeAt = Math.max(freeAt, now) + (chunk.length / bytesPerSecond) * 1000
        const pass = (): void => {
          sentBytes += chunk.length
          done(null, chunk)
        }
        if (freeAt > now) setTimeout(pass, freeAt - now)
        else pass()
      },
    })
  const sockets = new Set<Socket>()
  const keep = (socket: Socket, other: Socket): void => {
    sockets.add(socket)
    // Pods see a cut as a cut; an orderly end goes on by `pipe`, after everything before it.
    socket.on('error', () => other.destroy())
    socket.on('close', () => sockets.delete(socket))
  }
  const server = createServer((pod) => {
    const upstream = connect(port, '127.0.0.1')
    keep(pod, upstream)
    keep(upstream, pod)
    pod.on('close', () => upstream.destroy())
    pod.pipe(upstream)
    upstream.pipe(line()).pipe(pod)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, hostAddress, resolve)
  })
  return {
    host: `${hostAddress}:${(server.address() as AddressInfo).port}`,
    get sentBytes() {
      return sentBytes
    },
    setSpeed(wanted) {
      bytesPerSecond = wanted
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}
