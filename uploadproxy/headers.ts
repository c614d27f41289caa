/**
 * Which headers go on, both ways. Flat lists of name and value in turn, as Node gives them (`rawHeaders`): order, case and
 * repetition stay as they were sent.
 */

/** Of one connection only (RFC 9110 §7.6.1). */
const hopByHop = [
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]

/**
 * Not for the server: the token (the server knows the proxy by its certificate), and the switch to clone streams, which only
 * clone sources may use. `Host` and `Expect` are the proxy's own.
 */
const keptFromServer = [...hopByHop, 'authorization', 'x-cdi-content-type', 'host', 'expect']

/** What the proxy says itself: see cors.ts. */
function isKeptFromClient(name: string): boolean {
  return name.startsWith('access-control-')
}

/** How the length of a body is told. */
export type Framing = 'none' | 'length' | 'chunked'

export interface Framed {
  readonly headers: {
    readonly 'transfer-encoding'?: string | undefined
    readonly 'content-length'?: string | undefined
  }
}

/** Whether a request has a body. Node has refused already what says both, or neither in a clear way (RFC 9112 §6.3). */
export function framingOf({ headers }: Framed): Framing {
  if (headers['transfer-encoding'] !== undefined) return 'chunked'
  return Number(headers['content-length'] ?? 0) > 0 ? 'length' : 'none'
}

/**
 * The headers of a request as the server gets them. A body is announced with `Expect: 100-continue`, whether the client
 * did or not: until the server has said that it takes the body, nothing is lost by asking it again, or another one.
 */
export function requestHeaders(
  rawHeaders: readonly string[],
  request: { host: string; framing: Framing; method: string },
): string[] {
  const { host, framing, method } = request
  const headers = ['Host', host, ...without(rawHeaders, keptFromServer)]
  if (framing === 'chunked') headers.push('Transfer-Encoding', 'chunked')
  if (framing !== 'none') headers.push('Expect', '100-continue')
  else if (['POST', 'PUT', 'PATCH'].includes(method) && !has(headers, 'content-length'))
    headers.push('Content-Length', '0')
  return headers
}

/** The headers of an answer as the client gets them. */
export function responseHeaders(rawHeaders: readonly string[]): string[] {
  const headers = without(rawHeaders, hopByHop, isKeptFromClient)
  // Every answer varies by origin; a server's own word on the matter is added to that.
  return has(headers, 'vary') ? [...headers, 'Vary', 'Origin'] : headers
}

/** Trailers as pairs, without what must not stand there (RFC 9110 §6.5.1). */
export function trailerPairs(rawTrailers: readonly string[]): [string, string][] {
  const flat = without(rawTrailers, [...keptFromServer, 'content-length', 'trailer'], isKeptFromClient)
  const pairs: [string, string][] = []
  for (let at = 0; at + 1 < flat.length; at += 2) pairs.push([flat[at] ?? '', flat[at + 1] ?? ''])
  return pairs
}

function without(
  raw: readonly string[],
  names: readonly string[],
  isDropped: (name: string) => boolean = () => false,
): string[] {
  const dropped = new Set(names)
  for (let at = 0; at + 1 < raw.length; at += 2) {
    if (raw[at]?.toLowerCase() !== 'connection') continue
    // What a client calls a matter of this connection is one, but nobody may take away what frames the message.
    for (const name of (raw[at + 1] ?? '').toLowerCase().split(',')) {
      if (name.trim() !== 'content-length') dropped.add(name.trim())
    }
  }
  const kept: string[] = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = (raw[at] ?? '').toLowerCase()
    if (!dropped.has(name) && !isDropped(name)) kept.push(raw[at] ?? '', raw[at + 1] ?? '')
  }
  return kept
}

function has(raw: readonly string[], wanted: string): boolean {
  return raw.some((name, at) => at % 2 === 0 && name.toLowerCase() === wanted)
}
