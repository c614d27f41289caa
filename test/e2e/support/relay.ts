/** A port of loopback at the address that pods see; what the pods get is counted. */
import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import type { TestCluster } from './cluster.ts'

export interface Relay extends AsyncDisposable {
  /** `HOST:PORT` as pods see it. */
  readonly host: string
  /** Bytes that went to the pods so far, with headers and whatever is around them. */
  readonly sentBytes: number
}

/** Resolves when it listens; every connection leads to `port` of 127.0.0.1. */
export async function startRelay({ hostAddress }: Pick<TestCluster, 'hostAddress'>, port: number): Promise<Relay> {
  let sentBytes = 0
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
    upstream.on('data', ({ length }) => {
      sentBytes += length
    })
    pod.on('close', () => upstream.destroy())
    pod.pipe(upstream)
    upstream.pipe(pod)
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, hostAddress, resolve)
  })
  return {
    host: `${hostAddress}:${(server.address() as AddressInfo).port}`,
    get sentBytes() {
      return sentBytes
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}
