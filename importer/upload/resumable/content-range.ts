/** `Content-Range` of a request that brings a part of a whole (RFC 9110 §14.4, §14.5). Pure. */
import { RequestRefusal } from '../answers.ts'
import type { Extent } from '../../target/coverage.ts'

export interface ContentRange extends Extent {
  /** Of the whole, in bytes. */
  readonly total: number
}

/** Reads `bytes first-last/total`. Throws RequestRefusal (400). */
export function parseContentRange(text: string): ContentRange {
  const match = /^bytes[ ]+([0-9]+)-([0-9]+)\/([0-9]+|\*)$/i.exec(text.trim())
  if (match === null)
    throw refused(`Content-Range has to be bytes FIRST-LAST/TOTAL, not ${JSON.stringify(text.slice(0, 100))}`)
  const [, first = '', last = '', size = ''] = match
  if (size === '*') throw refused('Content-Range has to tell the length of the whole disk behind the slash')
  const start = Number(first)
  const end = Number(last) + 1
  const total = Number(size)
  if (!Number.isSafeInteger(total)) throw refused('Content-Range tells an absurd length')
  if (start >= end || end > total) throw refused(`Content-Range tells bytes ${first} to ${last} of ${total}`)
  return { start, end, total }
}

function refused(message: string): RequestRefusal {
  return new RequestRefusal(400, message)
}
