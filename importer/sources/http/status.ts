/** What the status line and the length of an answer mean to a source. */
import { CdiError } from '../../../src/errors.ts'
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

/** Longest wait that a server may ask for, in milliseconds. */
const longestRetryAfterMs = 300_000

/** Retry-After in seconds or as a date, measured by the server's own clock (RFC 9110 §10.2.3). */
export function parseRetryAfter({ headers }: ResponseHead): number | undefined {
  const value = headers.get('retry-after')
  if (value === undefined) return undefined
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.parse(headers.get('date') ?? '')
  return Number.isFinite(ms) && ms > 0 ? Math.min(ms, longestRetryAfterMs) : undefined
}
