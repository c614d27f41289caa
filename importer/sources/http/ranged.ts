/**
 * A server's object that is read by ranges: every piece is checked to be the piece that was asked for, of the version
 * that was opened, and is fetched again from where it broke.
 */
import { CdiError } from '../../../src/errors.ts'
import { resumable } from '../resumable.ts'
import type { OpenRange } from '../resumable.ts'
import type { ByteRange, RangedSource } from '../source.ts'
import type { ClientResponse } from './client.ts'
import type { ResponseHead } from './head.ts'
import { factsOf, guardLines } from './opened.ts'
import type { Opened } from './opened.ts'
import { announcedLength, refusal } from './status.ts'
import { changed, checkContentRange, checkSameVersion, parseContentRange, rangeHeader } from './validator.ts'
import type { Validator } from './validator.ts'

export function httpRanged(opened: Opened, sizeBytes: number, beginning: Buffer): RangedSource {
  const { client, patience, validator, parallel, immutable = false } = opened
  const open = rangeOpener(opened, sizeBytes)
  const read = resumable({ ...patience, open, guarded: immutable || validator !== undefined })
  return {
    kind: 'ranged',
    name: opened.name,
    ...factsOf(opened),
    sizeBytes,
    pinned: immutable || validator?.strong === true,
    parallel,
    async stream({ offset, length }, sink, signal) {
      const end = offset + length
      if (offset < 0 || end > sizeBytes) throw new RangeError(`${offset}+${length} is beyond ${sizeBytes} bytes`)
      signal.throwIfAborted()
      let at = offset
      if (at < end && at < beginning.length) {
        const piece = beginning.subarray(at, Math.min(end, beginning.length))
        at += piece.length
        await sink(piece)
      }
      if (at < end) await read({ offset: at, length: end - at }, sink, signal)
    },
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  }
}

/** One GET for a range, checked to be that range of the right version. */
function rangeOpener(opened: Opened, sizeBytes: number): OpenRange {
  const { client, validator, explain } = opened
  return async (range, sink, signal) => {
    const headers = [['Range', rangeHeader(range)] as const, ...guardLines(opened)]
    const response = await client.send({ method: 'GET', headers }, signal)
    let expected: number | undefined
    try {
      expected = checkRangeAnswer(response, range, sizeBytes, validator)
    } catch (error) {
      response.discard()
      throw error
    }
    if (expected === undefined) throw await refusal(response, 206, { explain, signal })
    let left = expected
    await response.body((chunk) => {
      if (chunk.length > left) throw changed('an answer is longer than its Content-Range')
      left -= chunk.length
      return sink(chunk)
    })
    if (left > 0) {
      throw new CdiError('CDI_SOURCE_INTERRUPTED', 'HTTP request errored: an answer is shorter than its Content-Range')
    }
  }
}

/** How many bytes the body must have; undefined if the answer is a refusal. */
function checkRangeAnswer(
  response: ClientResponse,
  range: ByteRange,
  sizeBytes: number,
  validator: Validator | undefined,
): number | undefined {
  switch (response.status) {
    case 206:
      checkSameVersion(validator, response)
      return checkContentRange(range, sizeBytes, response)
    case 200:
      // Either If-Range did not hold, or the server has lost its ability for ranges.
      checkSameVersion(validator, response)
      if (range.offset === 0 && range.length === sizeBytes && announcedLength(response, undefined) === sizeBytes) {
        return sizeBytes
      }
      return undefined
    case 412:
      throw changed('the server says that it is not the same any more')
    case 416:
      checkStillAsLong(response, sizeBytes)
      return undefined
    default:
      return undefined
  }
}

function checkStillAsLong(response: ResponseHead, sizeBytes: number): void {
  const { totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
  if (totalBytes !== undefined && totalBytes !== sizeBytes) {
    throw changed(`it had ${sizeBytes} bytes and has ${totalBytes}`)
  }
}
