/** What proves that pieces belong to one version of an object (RFC 9110 §8.8), and ranges (§14). */
import { CdiError } from '../../../src/errors.ts'
import type { ByteRange } from '../source.ts'
import type { ResponseHead } from './head.ts'

export interface Validator {
  /** A strong ETag, quotes included. */
  readonly etag?: string
  readonly lastModified?: string
  /** Every change of the object shows. False for a date that may hide a second change within its second. */
  readonly strong: boolean
}

/** The best validator of an answer; undefined if there is none. Weak ETags say nothing about bytes and are no help. */
export function validatorOf({ headers }: Pick<ResponseHead, 'headers'>): Validator | undefined {
  const etag = headers.get('etag')
  const lastModified = headers.get('last-modified')
  const strongTag = etag !== undefined && /^"[^"]*"$/.test(etag) ? etag : undefined
  if (strongTag === undefined && lastModified === undefined) return undefined
  return {
    ...(strongTag === undefined ? {} : { etag: strongTag }),
    ...(lastModified === undefined ? {} : { lastModified }),
    strong: strongTag !== undefined || isSettled(lastModified, headers.get('date')),
  }
}

/** A date in the past of the answer can serve as a strong validator (RFC 9110 §8.8.2.2); a minute, as older RFCs ask. */
function isSettled(lastModified: string | undefined, date: string | undefined): boolean {
  return Date.parse(date ?? '') - Date.parse(lastModified ?? '') >= 60_000
}

/** The value of `If-Range`. */
export function ifRange({ etag, lastModified }: Validator): string {
  return etag ?? lastModified ?? ''
}

/**
 * Throws CDI_SOURCE_CHANGED unless the answer belongs to the version of `validator`. A date may be missing (RFC 9110
 * §15.3.7 lets a 206 to an If-Range leave it out), an ETag may not.
 */
export function checkSameVersion(validator: Validator | undefined, { headers }: Pick<ResponseHead, 'headers'>): void {
  if (validator === undefined) return
  const { etag, lastModified } = validator
  if (etag !== undefined) {
    if (headers.get('etag') !== etag) throw changed(`its ETag was ${etag} and is ${headers.get('etag') ?? 'missing'}`)
    return
  }
  const now = headers.get('last-modified')
  if (now !== undefined && now !== lastModified) throw changed(`it was modified ${lastModified} and now ${now}`)
}

export function changed(text: string): CdiError {
  return new CdiError('CDI_SOURCE_CHANGED', `the source changed while it was read: ${text}`)
}

export interface ContentRange {
  /** First and last byte, inclusive; missing in answers of status 416. */
  readonly first?: number
  readonly last?: number
  readonly totalBytes?: number
}

/** Reads `bytes 0-99/1000`, `bytes 0-99/*` or `bytes *\/1000`; undefined for anything else. */
export function parseContentRange(value: string | undefined): ContentRange | undefined {
  const parts = /^bytes\s+(?:(\d{1,15})-(\d{1,15})|\*)\/(?:(\d{1,15})|\*)$/i.exec(value?.trim() ?? '')
  if (parts === null) return undefined
  const [, first, last, total] = parts
  return {
    ...(first === undefined || last === undefined ? {} : { first: Number(first), last: Number(last) }),
    ...(total === undefined ? {} : { totalBytes: Number(total) }),
  }
}

/** The value of `Range` (the last byte is inclusive there). */
export function rangeHeader({ offset, length }: ByteRange): string {
  return `bytes=${offset}-${offset + length - 1}`
}

/**
 * How many bytes a 206 to `range` holds: at most as many as asked for. Throws CDI_SOURCE_CHANGED if it is another piece
 * or a piece of an object of another size.
 */
export function checkContentRange(range: ByteRange, sizeBytes: number | undefined, head: ResponseHead): number {
  const told = head.headers.get('content-range')
  const { first, last, totalBytes } = parseContentRange(told) ?? {}
  if (totalBytes !== undefined && sizeBytes !== undefined && totalBytes !== sizeBytes) {
    throw changed(`it had ${sizeBytes} bytes and has ${totalBytes}`)
  }
  const end = range.offset + range.length
  if (first !== range.offset || last === undefined || last < first || last >= end) {
    throw changed(`asked for ${rangeHeader(range)} the server sent ${told ?? 'no Content-Range'}`)
  }
  return last - first + 1
}
