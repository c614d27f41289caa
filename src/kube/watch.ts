/**
 * The watch protocol: one JSON document a line, `{ type, object }`. An `ERROR` line is thrown as an ApiError; a line cut off
 * by the end of the stream is dropped, since its event comes again when the watch is taken up at the last version.
 */
import { apiErrorOf } from './api-error.ts'
import type { KubeObject } from './object.ts'

export type WatchEvent<T extends KubeObject = KubeObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  /** Nothing happened up to this version. */
  | { readonly type: 'BOOKMARK'; readonly object: Pick<KubeObject, 'metadata'> }

/** A line of the stream that is no watch event: something in between damaged it. */
export class WatchProtocolError extends Error {
  constructor(line: string, options?: ErrorOptions) {
    super(`not a watch event: ${line.slice(0, 200)}`, options)
    this.name = 'WatchProtocolError'
  }
}

/** Reads the events of a response body. */
export async function* watchEvents<T extends KubeObject>(
  body: AsyncIterable<Buffer>,
  request: string,
): AsyncGenerator<WatchEvent<T>, void, undefined> {
  for await (const line of lines(body)) yield eventOf<T>(line, request)
}

async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string, void, undefined> {
  let pending: Buffer[] = []
  for await (const chunk of body) {
    let start = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, start)) {
      pending.push(chunk.subarray(start, end))
      start = end + 1
      const line = (pending.length === 1 && pending[0] ? pending[0] : Buffer.concat(pending)).toString()
      pending = []
      if (line.trim() !== '') yield line
    }
    if (start < chunk.length) pending.push(chunk.subarray(start))
  }
}

function eventOf<T extends KubeObject>(line: string, request: string): WatchEvent<T> {
  let parsed: { type?: unknown; object?: Record<string, unknown> } | null
  try {
    parsed = JSON.parse(line) as typeof parsed
  } catch (error) {
    throw new WatchProtocolError(line, { cause: error })
  }
  const object = parsed?.object
  if (typeof object !== 'object' || object === null) throw new WatchProtocolError(line)
  switch (parsed?.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED': {
      const { metadata } = object as unknown as Partial<KubeObject>
      if (!metadata?.name || !metadata.resourceVersion) throw new WatchProtocolError(line)
      return { type: parsed.type, object: object as unknown as T }
    }
    case 'BOOKMARK':
      return { type: parsed.type, object: object as unknown as KubeObject }
    case 'ERROR':
      throw apiErrorOf({ status: typeof object['code'] === 'number' ? object['code'] : 500, body: object, request })
    default:
      throw new WatchProtocolError(line)
  }
}
