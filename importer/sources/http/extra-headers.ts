/** Header lines as users write them in `extraHeaders` and in secrets (contract: import §8). */
import { CdiError } from '../../../src/errors.ts'
import type { HeaderLine } from './head.ts'

/** What belongs to the connection or to the range that we ask for, and what the URL decides. */
const ours = new Set([
  'connection',
  'content-length',
  'host',
  'if-range',
  'keep-alive',
  'proxy-connection',
  'range',
  'te',
  'transfer-encoding',
  'upgrade',
])

/**
 * Reads `Name: value` lines; blanks and line ends around a line are dropped, since secrets made from files end with one.
 * Lines that would break the transfer (Range, Host, …) are left out. Throws CDI_USAGE, without quoting the line.
 */
export function parseHeaderLines(lines: readonly string[], what: string): HeaderLine[] {
  return lines
    .map((line, index) => parseHeaderLine(line, `${what} ${index + 1}`))
    .filter(([name]) => !ours.has(name.toLowerCase()))
}

function parseHeaderLine(line: string, what: string): HeaderLine {
  const text = line.trim()
  const colon = text.indexOf(':')
  const name = text.slice(0, Math.max(colon, 0)).trim()
  const value = text.slice(colon + 1).trim()
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name)) throw new CdiError('CDI_USAGE', `${what} is not "Name: value"`)
  // The wire takes Latin-1; control characters would smuggle further headers.
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    throw new CdiError('CDI_USAGE', `${what} has a value with control or non-Latin characters`)
  }
  return [name, value]
}
