/**
 * The interim response 104 (Upload Resumption Supported) of the draft. Node sends only those interim responses that it
 * knows, so the few lines are written to the connection of an HTTP/1.1 request whose answer has not begun. Clients that
 * did not tell a draft version get none: they might mean the standard that the draft will become.
 */
import type { Exchange } from '../exchange.ts'

export interface Interim {
  /** Draft version that the client told. */
  readonly interop: number | undefined
  readonly headers: Readonly<Record<string, string | number>>
}

/** True if it was written. */
export function sendInterim({ request, response }: Exchange, { interop, headers }: Interim): boolean {
  const { socket } = response
  // Without a socket the answer to an earlier request of the connection is not through yet.
  const canSend = request.httpVersion === '1.1' && !response.headersSent && socket !== null && socket.writable
  if (interop === undefined || !canSend) return false
  const lines = Object.entries({ ...headers, 'upload-draft-interop-version': interop })
  const text = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
  socket.write(`HTTP/1.1 104 Upload Resumption Supported\r\n${text}\r\n`)
  return true
}
