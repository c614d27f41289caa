/** User and password that stand in an address (RFC 3986 §3.2.1). */
import { CdiError } from '../../../src/errors.ts'

/** Undefined if there are none. Throws CDI_USAGE for a `%` that begins no escape, quoting nothing. */
export function userInfoOf({ username, password }: URL): { user: string; password: string } | undefined {
  if (username === '' && password === '') return undefined
  try {
    return { user: decodeURIComponent(username), password: decodeURIComponent(password) }
  } catch {
    // Without its cause: the address is a secret.
    throw new CdiError(
      'CDI_USAGE',
      'user or password in an address have a % that begins no UTF-8 escape; write %25 for a percent sign',
    )
  }
}
