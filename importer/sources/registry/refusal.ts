/** What a registry or its token server says when it refuses, in short and without secrets. */
import { CdiError } from '../../../src/errors.ts'
import type { CdiErrorOptions } from '../../../src/errors.ts'
import type { ResponseHead } from '../http/head.ts'

/** `failed to pull image: …`, which the controller looks for (contract: import §15). */
export function pullFault(text: string, options: CdiErrorOptions = {}): CdiError {
  return new CdiError('CDI_REGISTRY_PULL', `failed to pull image: ${text}`, options)
}

/** Answers that may heal within seconds; every other refusal is final, and the restart of the pod is the next try. */
export function mayHeal(status: number): boolean {
  return status === 408 || status === 429 || [500, 502, 503, 504].includes(status)
}

const mostWords = 3
const longestWordsChars = 200

/**
 * `404 Not Found (MANIFEST_UNKNOWN: manifest unknown)`: the status and what stands in the body, if it is the JSON of
 * registries (OCI distribution specification, "Error Codes") or of token servers (RFC 6749 §5.2, and Docker's `details`).
 * `hide` takes secrets out of what a stranger may have echoed.
 */
export function refusalText(
  { status, reason }: Pick<ResponseHead, 'status' | 'reason'>,
  body: Buffer,
  hide: (text: string) => string,
): string {
  const words = wordsIn(body).map((text) => plain(hide(text)))
  return `${plain(hide(`${status} ${reason}`))}${words.length === 0 ? '' : ` (${words.join('; ')})`}`
}

function wordsIn(body: Buffer): string[] {
  let said: unknown
  try {
    said = JSON.parse(body.toString('utf8'))
  } catch {
    return []
  }
  const { errors, error, error_description: description, details } = (said ?? {}) as Record<string, unknown>
  const listed = Array.isArray(errors) ? errors.slice(0, mostWords) : []
  const texts = [
    ...listed.map((one: unknown) => {
      const { code, message } = (one ?? {}) as Record<string, unknown>
      return joined([code, message])
    }),
    joined([error, description]),
    joined([details]),
  ]
  return texts.filter((text) => text !== '').slice(0, mostWords)
}

function joined(parts: readonly unknown[]): string {
  return parts.filter((part) => typeof part === 'string' && part !== '').join(': ')
}

function plain(text: string): string {
  return text
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ')
    .trim()
    .slice(0, longestWordsChars)
}
