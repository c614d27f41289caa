/** What the status line and the length of an answer mean to a source. */
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import type { ClientResponse } from './client.ts'
import { parseLength } from './head.ts'
import type { ResponseHead } from './head.ts'

/**
 * Length of a 200: its own Content-Length, else what HEAD told of the same version (contract: import §8). A zero told by
 * HEAD alone is what servers say that do not know.
 */
export function announcedLength(response: ResponseHead, told: ResponseHead | undefined): number | undefined {
  const own = response.headers.get('content-length')
  if (own !== undefined && response.headers.get('transfer-encoding') === undefined) return parseLength(own)
  const earlier = told?.headers.get('content-length')
  if (earlier === undefined || told?.headers.get('etag') !== response.headers.get('etag')) return undefined
  return /^[1-9]\d{0,14}$/.test(earlier) ? parseLength(earlier) : undefined
}

/** The texts that conditions show (contract: import §8): `expected status code 200, got 404. Status: 404 Not Found`. */
export function statusFault(response: ResponseHead, expected: number): CdiError {
  const { status, reason } = response
  const retryAfterMs = parseRetryAfter(response)
  return new CdiError(
    'CDI_SOURCE_STATUS',
    `expected status code ${expected}, got ${status}. Status: ${`${status} ${reason}`.trim()}`,
    { details: { status, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) } },
  )
}

/** What a refused answer means, in the words of the other side; its code decides whether it is tried again. */
export interface Explanation {
  readonly code: ErrorCode
  readonly text: string
  readonly details?: Readonly<Record<string, unknown>>
}

/**
 * Reads an explanation out of a refused answer: `body` is its beginning, as much as came in time. Undefined if there is
 * none in it; then the status speaks for itself.
 */
export type Explain = (answer: ResponseHead, body: Buffer) => Explanation | undefined

/** How much of a refused answer is read, and for how long. Who refuses may be slow, endless or worse. */
const longestExplanation = { bytes: 16 * 1024, waitMs: 5000 } as const

/** The fault that a refused answer stands for. Ends the answer. */
export async function refusal(
  response: ClientResponse,
  expected: number,
  { explain, signal }: { explain: Explain | undefined; signal: AbortSignal },
): Promise<CdiError> {
  const fault = statusFault(response, expected)
  const explanation = explain?.(response, await beginningOf(response))
  response.discard()
  signal.throwIfAborted()
  if (explanation === undefined) return fault
  const { code, text, details = {} } = explanation
  return new CdiError(code, text, { cause: fault, details: { ...fault.details, ...details } })
}

async function beginningOf(response: ClientResponse): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  const timer = setTimeout(() => response.discard(), longestExplanation.waitMs)
  try {
    await response.body((chunk) => {
      chunks.push(Buffer.from(chunk.subarray(0, longestExplanation.bytes - bytes)))
      bytes += chunk.length
      if (bytes >= longestExplanation.bytes) throw new RangeError('enough')
    })
  } catch {
    // What came may explain it all the same.
  } finally {
    clearTimeout(timer)
  }
  return Buffer.concat(chunks)
}

/** Longest wait that a server may ask for, in milliseconds. */
const longestRetryAfterMs = 300_000

/** Retry-After in seconds or as a date, measured by the server's own clock (RFC 9110 §10.2.3). */
export function parseRetryAfter({ headers }: ResponseHead): number | undefined {
  const value = headers.get('retry-after')
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.parse(headers.get('date') ?? '')
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, longestRetryAfterMs) : undefined
}
