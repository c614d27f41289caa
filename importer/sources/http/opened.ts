/** What opening an HTTP source found out; both kinds of source are made of it. */
import type { PatienceOptions } from '../resumable.ts'
import type { HttpClient } from './client.ts'
import type { HeaderLine } from './head.ts'
import type { Explain } from './status.ts'
import { ifRange } from './validator.ts'
import type { Validator } from './validator.ts'

/** What was found out while opening; shared by both kinds of source. */
export interface Opened {
  readonly client: Pick<HttpClient, 'send'> & AsyncDisposable
  readonly patience: PatienceOptions
  readonly name: string
  readonly contentType: string | undefined
  readonly validator: Validator | undefined
  /** How many streams at once the server is good for. */
  readonly parallel: number
  /** Header that ties a range to the version: with `If-Match` another one is a 412, with `If-Range` a 200. */
  readonly guard: 'If-Range' | 'If-Match'
  /** Finds words for refused answers; those of the status line if absent. */
  readonly explain?: Explain | undefined
  /** The address names its content (digests): all pieces belong to one version, whatever validators there are. */
  readonly immutable?: boolean
}

/** The header that ties a range to the version that was opened; none if nothing names it. */
export function guardLines({ validator, guard }: Pick<Opened, 'validator' | 'guard'>): HeaderLine[] {
  if (validator === undefined) return []
  if (guard === 'If-Range') return [['If-Range', ifRange(validator)]]
  // If-Match takes no dates (RFC 9110 §13.1.1); this is its sister for them, and fails with 412 too.
  return [validator.etag === undefined ? ['If-Unmodified-Since', ifRange(validator)] : ['If-Match', validator.etag]]
}

/** What is told about the source besides its bytes; only a validator that shows every change names a version. */
export function factsOf({ contentType, validator }: Opened): { contentType?: string; validator?: string } {
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(validator?.strong ? { validator: ifRange(validator) } : {}),
  }
}
