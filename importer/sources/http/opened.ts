/** What opening an HTTP source found out; both kinds of source are made of it. */
import type { PatienceOptions } from '../resumable.ts'
import type { HttpClient } from './client.ts'
import { ifRange } from './validator.ts'
import type { Validator } from './validator.ts'

/** What was found out while opening; shared by both kinds of source. */
export interface Opened {
  readonly client: HttpClient
  readonly patience: PatienceOptions
  readonly name: string
  readonly contentType: string | undefined
  readonly validator: Validator | undefined
  /** How many streams at once the server is good for. */
  readonly parallel: number
  /** Header that ties a range to the version: with `If-Match` another one is a 412, with `If-Range` a 200. */
  readonly guard: 'If-Range' | 'If-Match'
}

/** What is told about the source besides its bytes; only a validator that shows every change names a version. */
export function factsOf({ contentType, validator }: Opened): { contentType?: string; validator?: string } {
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(validator?.strong ? { validator: ifRange(validator) } : {}),
  }
}
