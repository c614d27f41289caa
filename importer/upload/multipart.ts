/**
 * Reads multipart bodies (RFC 2046 §5.1) part by part as they arrive. It pulls: whoever reads a part reads the body, so
 * back-pressure needs no events, and a reader that stops leaves nothing waiting. At most one chunk of the body and the
 * length of a delimiter are in memory, and the search is that of Buffer.
 *
 * (@fastify/busboy pushes into two streams in a row, and who gives up in the middle waits for a callback that does not
 * come; test/importer/upload/multipart.test.ts compares the two.)
 */
import { CdiError } from '../../src/errors.ts'

/** Names of headers in lower case. */
export type PartHeaders = ReadonlyMap<string, string>

const headerLimitBytes = 16 * 1024
/** Blanks that may stand behind a boundary. */
const paddingLimitBytes = 100

export class MultipartReader {
  readonly #chunks: AsyncIterator<Buffer>
  readonly #delimiter: Buffer
  /** What was read from the body and not handed out. Begins with the line break that the first delimiter may lack. */
  #rest: Buffer = Buffer.from('\r\n')
  /** Where in the body `#rest` begins: in content, at the line break in front of headers, or behind the last part. */
  #at: 'content' | 'headers' | 'end' = 'content'

  /** `boundary` without dashes in front. */
  constructor({ body, boundary }: { body: AsyncIterable<Buffer>; boundary: string }) {
    this.#chunks = body[Symbol.asyncIterator]()
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  }

  /** Passes over what is left of the last part; resolves with the headers of the next one, undefined behind the last. */
  async next(): Promise<PartHeaders | undefined> {
    const rest = this.content()
    while (!(await rest.next()).done);
    if (this.#at === 'end') return undefined
    let end: number
    // The blank line may follow the delimiter at once, so its own line break was left in place.
    while ((end = this.#rest.indexOf('\r\n\r\n')) === -1) {
      if (this.#rest.length > headerLimitBytes) throw malformedForm('the headers of a part do not end')
      if (!(await this.#fill())) throw malformedForm('it breaks off in the headers of a part')
    }
    const text = this.#rest.toString('utf8', 0, end)
    this.#rest = this.#rest.subarray(end + 4)
    this.#at = 'content'
    return parseHeaders(text)
  }

  /** The content of the part whose headers came last. Throws CDI_UPLOAD_MALFORMED if the body ends before the part does. */
  async *content(): AsyncGenerator<Buffer, void, undefined> {
    while (this.#at === 'content') {
      const { contentBytes, delimiter } = this.#search()
      const content = this.#rest.subarray(0, contentBytes)
      this.#rest = this.#rest.subarray(delimiter === undefined ? contentBytes : delimiter.end)
      if (delimiter !== undefined) this.#at = delimiter.isLast ? 'end' : 'headers'
      if (content.length > 0) yield content
      if (delimiter === undefined && !(await this.#fill())) throw malformedForm('it breaks off inside of a part')
    }
  }

  /** Reads the body to its end; what stands behind the last part means nothing. */
  async drain(): Promise<void> {
    while (await this.#fill()) this.#rest = Buffer.alloc(0)
  }

  async #fill(): Promise<boolean> {
    const next = await this.#chunks.next()
    if (next.done === true) return false
    this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value])
    return true
  }

  /** How many bytes are content for sure, and the delimiter behind them if it is there as a whole. */
  #search(): { contentBytes: number; delimiter?: { end: number; isLast: boolean } } {
    const rest = this.#rest
    let from = 0
    for (;;) {
      const at = rest.indexOf(this.#delimiter, from)
      if (at === -1) return { contentBytes: rest.length - this.#beginningBytes(rest) }
      const tail = delimiterTail(rest, at + this.#delimiter.length)
      if (tail === 'unclear') return { contentBytes: at }
      if (tail !== 'none') return { contentBytes: at, delimiter: tail }
      // Text that only begins like a delimiter.
      from = at + 1
    }
  }

  /** How many of the last bytes may be the beginning of a delimiter. */
  #beginningBytes(rest: Buffer): number {
    const delimiter = this.#delimiter
    let at = rest.indexOf('\r', Math.max(0, rest.length - delimiter.length + 1))
    while (at !== -1 && !rest.subarray(at).equals(delimiter.subarray(0, rest.length - at)))
      at = rest.indexOf('\r', at + 1)
    return at === -1 ? 0 : rest.length - at
  }
}

/** What stands behind a boundary: two dashes after the last part, or blanks and a line break, which is left in place. */
function delimiterTail(bytes: Buffer, at: number): { end: number; isLast: boolean } | 'none' | 'unclear' {
  const tail = bytes.toString('latin1', at, at + paddingLimitBytes)
  if (tail.startsWith('--')) return { end: at + 2, isLast: true }
  const padding = /^[ \t]*/.exec(tail)?.[0].length ?? 0
  if (tail.startsWith('\r\n', padding)) return { end: at + padding, isLast: false }
  const isCut = tail === '-' || ['', '\r'].includes(tail.slice(padding))
  return isCut && tail.length < paddingLimitBytes ? 'unclear' : 'none'
}

/** Lines that are no headers are passed over. */
function parseHeaders(text: string): PartHeaders {
  const headers = new Map<string, string>()
  for (const line of text.replaceAll(/\r\n(?=[ \t])/g, '').split('\r\n')) {
    const colon = line.indexOf(':')
    if (colon > 0) headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  return headers
}

export interface ParameterizedValue {
  /** In front of the parameters, lower case. */
  readonly value: string
  /** Names in lower case; the first one of a name counts. */
  readonly parameters: ReadonlyMap<string, string>
}

/** Reads `value; name=token; name="quoted"`, as Content-Type and Content-Disposition are written. Never throws. */
export function parseParameterized(text: string): ParameterizedValue {
  const parameters = new Map<string, string>()
  for (const [, name = '', quoted, token] of text.matchAll(
    /;\s*([^\s=;"]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/gs,
  )) {
    const key = name.toLowerCase()
    if (!parameters.has(key)) parameters.set(key, quoted?.replaceAll(/\\(.)/gs, '$1') ?? token ?? '')
  }
  return { value: (text.split(';', 1)[0] ?? '').trim().toLowerCase(), parameters }
}

export function malformedForm(text: string): CdiError {
  return new CdiError('CDI_UPLOAD_MALFORMED', `the form is malformed: ${text}`)
}
