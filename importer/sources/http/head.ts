/** Heads of HTTP/1.1 messages: what we send and what we understand of the answer (RFC 9112 §2–§5). */
import { ChunkedFraming, LengthFraming, UntilCloseFraming } from './framing.ts'
import type { Framing } from './framing.ts'

export type HeaderLine = readonly [name: string, value: string]

export interface RequestHead {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'CONNECT'
  /** Path and query, or the whole URL when a proxy is asked, or host:port for CONNECT. */
  readonly target: string
  readonly headers: readonly HeaderLine[]
  readonly body?: Buffer
}

export interface ResponseHead {
  readonly status: number
  /** Reason phrase; the registered one if the server sent none. */
  readonly reason: string
  /** HTTP/1.0 closes unless told otherwise. */
  readonly minorVersion: number
  /** Names in lower case; repeated headers are joined by `, `. */
  readonly headers: ReadonlyMap<string, string>
}

/** Longest head that is accepted, in bytes. */
export const longestHeadBytes = 64 * 1024
const longestReasonChars = 200

export function renderRequest({ method, target, headers }: RequestHead): string {
  const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`)
  return `${method} ${target} HTTP/1.1\r\n${lines.join('')}\r\n`
}

/** Where the head ends in `bytes` (the index behind the empty line), or -1. Bare line feeds are accepted, as Go does. */
export function headEnd(bytes: Buffer): number {
  const strict = bytes.indexOf('\r\n\r\n')
  const bare = bytes.indexOf('\n\n')
  if (strict === -1) return bare === -1 ? -1 : bare + 2
  return bare === -1 || strict < bare ? strict + 4 : bare + 2
}

/** Reads a head including its empty line. Throws a SyntaxError for anything that is not HTTP/1. */
export function parseResponseHead(bytes: Buffer): ResponseHead {
  const [first = '', ...lines] = bytes.toString('latin1', 0, bytes.length).trimEnd().split(/\r?\n/)
  const status = /^HTTP\/1\.(\d) (\d{3})(?: (.*))?$/.exec(first)
  if (status === null) throw new SyntaxError('the answer does not begin like HTTP/1.1')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    const name = line.slice(0, colon).toLowerCase()
    // Folded lines (leading blank) are obsolete and refused with the rest of what is no header (RFC 9112 §5.2).
    if (colon < 1 || !/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name))
      throw new SyntaxError('the answer has a malformed header')
    const value = printable(line.slice(colon + 1))
    const earlier = headers.get(name)
    headers.set(name, earlier === undefined ? value : `${earlier}, ${value}`)
  }
  const code = Number(status[2])
  return {
    status: code,
    reason: printable(status[3] ?? '').slice(0, longestReasonChars) || registeredReason(code),
    minorVersion: Number(status[1]),
    headers,
  }
}

/** Control characters have no business in a head (RFC 9110 §5.5), and people see parts of it in errors. */
function printable(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ').trim()
}

/** Node's HTTP is loaded for the few answers without a reason only: that takes 20 ms. */
function registeredReason(code: number): string {
  return process.getBuiltinModule('node:http').STATUS_CODES[code] ?? ''
}

/** How the body of this answer ends; undefined if there is none (RFC 9112 §6.3). Throws a SyntaxError. */
export function framingOf(method: RequestHead['method'], { status, headers }: ResponseHead): Framing | undefined {
  if (method === 'HEAD' || status === 204 || status === 304) return undefined
  const coding = headers.get('transfer-encoding')?.toLowerCase()
  if (coding !== undefined) {
    if (coding !== 'chunked') throw new SyntaxError(`the transfer coding ${JSON.stringify(coding)} is not known`)
    return new ChunkedFraming()
  }
  const length = headers.get('content-length')
  if (length === undefined) return new UntilCloseFraming()
  return new LengthFraming(parseLength(length))
}

/** The value of Content-Length, which may be repeated but must not contradict itself. Throws a SyntaxError. */
export function parseLength(value: string): number {
  const lengths = new Set(value.split(',').map((one) => one.trim()))
  const [length = ''] = lengths
  if (lengths.size !== 1 || !/^\d{1,15}$/.test(length)) throw new SyntaxError('the Content-Length is not a number')
  return Number(length)
}

/** True if the connection may be used again after the body. */
export function keepsAlive({ minorVersion, headers }: ResponseHead): boolean {
  const options = (headers.get('connection') ?? '')
    .toLowerCase()
    .split(',')
    .map((option) => option.trim())
  return minorVersion === 0 ? options.includes('keep-alive') : !options.includes('close')
}
