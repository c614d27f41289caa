/** Ends a server for sure. */
import type { Server, Socket } from 'node:net'

/**
 * Follows the connections of a server from now on; the returned function closes it and all of them. Node's own
 * `closeAllConnections` knows only connections that have finished their TLS handshake: a client that is just connecting
 * would keep the server, and with it the process, for as long as it likes.
 */
export function closable(server: Server): () => Promise<void> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  return async () => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    for (const socket of sockets) socket.destroy()
    await closed
  }
}
