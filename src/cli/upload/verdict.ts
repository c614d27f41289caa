/** What an answer of the proxy or of the upload server means for an upload that wants to go on. */
import { CdiError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { errorTable } from '../../errors.ts'
import { uploadErrorHeader } from '../../api/upload-env.ts'
import type { Answer } from './connection.ts'

export type Verdict =
  | { readonly kind: 'ok' }
  /** The token was not accepted: try with a new one. */
  | { readonly kind: 'token'; readonly text: string }
  /** The server knows no such upload (any more). */
  | { readonly kind: 'gone'; readonly text: string }
  /** The server is at another place than we thought: ask where. */
  | { readonly kind: 'conflict'; readonly text: string }
  /** Passing trouble. */
  | { readonly kind: 'retry'; readonly text: string; readonly leastMs: number }
  | { readonly kind: 'fatal'; readonly error: CdiError }

const passing = new Set([408, 423, 425, 429, 502, 503, 504])

export function judge(answer: Answer): Verdict {
  const { status } = answer
  const text = `${status}${answer.text === '' ? '' : `: ${oneLine(answer.text)}`}`
  if (status >= 200 && status < 300) return { kind: 'ok' }
  const code = errorCodeOf(answer)
  // A fault of a known code says itself whether it passes; a server that needs scratch is started again with it.
  if (code !== undefined) {
    if (errorTable[code].kind !== 'terminal') return { kind: 'retry', text, leastMs: retryAfterMs(answer) }
    return { kind: 'fatal', error: new CdiError(code, oneLine(answer.text), { details: { status } }) }
  }
  if (status === 401) return { kind: 'token', text }
  if (status === 404 || status === 410) return { kind: 'gone', text }
  if (status === 409) return { kind: 'conflict', text }
  if (passing.has(status)) return { kind: 'retry', text, leastMs: retryAfterMs(answer) }
  if (status === 460) {
    return {
      kind: 'fatal',
      error: new CdiError('CDI_CHECKSUM_MISMATCH', oneLine(answer.text), { details: { status } }),
    }
  }
  return {
    kind: 'fatal',
    error: new CdiError('CDI_UPLOAD_REFUSED', `the server answered with status ${text}`, { details: { status } }),
  }
}

function errorCodeOf({ headers }: Answer): ErrorCode | undefined {
  const code = headers[uploadErrorHeader]
  return code !== undefined && Object.hasOwn(errorTable, code) ? (code as ErrorCode) : undefined
}

function retryAfterMs({ headers }: Answer): number {
  const seconds = Number(headers['retry-after'] ?? 0)
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, ' ').slice(0, 1000)
}
