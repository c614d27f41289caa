/**
 * What an admission webhook decides, as plain values. A *rejection* names the fields at fault (422; the message is that of
 * all causes, each with a blank before it), an *error* is about something outside of the object (400). Clients see both as
 * `admission webhook "NAME" denied the request: MESSAGE` (contract/platform.md §8).
 */

/** One step of a JSON patch (RFC 6902). */
export type PatchStep =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: unknown }
  | { readonly op: 'remove'; readonly path: string }

/** What is wrong with a field (`metav1.StatusCause`). */
export interface Cause {
  readonly reason: 'FieldValueInvalid' | 'FieldValueDuplicate'
  readonly message: string
  /** Path of the field, e.g. `spec.source`. */
  readonly field: string
}

export type Verdict =
  | { readonly allowed: true; readonly patch?: readonly PatchStep[]; readonly warnings?: readonly string[] }
  | { readonly allowed: false; readonly causes: readonly Cause[] }
  | { readonly allowed: false; readonly error: string }

/** Lets the request pass as it is. */
export const admitted: Verdict = { allowed: true }

/** A fault of one field. */
export function invalid(field: string, message: string): Cause {
  return { reason: 'FieldValueInvalid', message, field }
}

/** Two fields that exclude each other. */
export function duplicate(field: string, message: string): Cause {
  return { reason: 'FieldValueDuplicate', message, field }
}

export function rejected(cause: Cause): Verdict {
  return { allowed: false, causes: [cause] }
}

export function refused(error: string): Verdict {
  return { allowed: false, error }
}

/** Rejects for the first rule that is broken, else admits. Rules are looked at one after the other, so later ones may rely on earlier ones. */
export function verdictOf(...rules: readonly (() => Cause | undefined)[]): Verdict {
  const cause = firstCause(...rules)
  return cause ? rejected(cause) : admitted
}

/** The first rule that is broken. */
export function firstCause(...rules: readonly (() => Cause | undefined)[]): Cause | undefined {
  for (const rule of rules) {
    const cause = rule()
    if (cause) return cause
  }
  return undefined
}

/** The member of a JSON pointer (RFC 6901) with this name. */
export function pointerTo(...names: readonly string[]): string {
  return names.map((name) => `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('')
}
