/** JSON merge patches (RFC 7386): the smallest one that leads from what is there to what should be there. */

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined }

/**
 * The patch that makes `wanted` of `current`; undefined when they are equal. Members that are undefined count as absent, and so
 * do those that are null, which a merge patch cannot set. Lists are replaced as a whole.
 */
export function mergePatch(current: unknown, wanted: unknown): Json | undefined {
  if (!isObject(wanted)) return isEqual(current, wanted) ? undefined : (wanted as Json)
  const before = isObject(current) ? current : {}
  const patch: Record<string, Json> = {}
  for (const key of new Set([...Object.keys(before), ...Object.keys(wanted)])) {
    const value = wanted[key] ?? undefined
    if (value === undefined) {
      if (before[key] !== undefined && before[key] !== null) patch[key] = null
      continue
    }
    const change = mergePatch(before[key], value)
    if (change !== undefined) patch[key] = change
  }
  return Object.keys(patch).length === 0 && isObject(current) ? undefined : patch
}

/** Whether two JSON values are the same; the order of members does not count, undefined members count as absent. */
export function isEqual(one: unknown, other: unknown): boolean {
  if (Object.is(one, other)) return true
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, at) => isEqual(item, other[at]))
  }
  if (!isObject(one) || !isObject(other)) return false
  return [...new Set([...Object.keys(one), ...Object.keys(other)])].every((key) => isEqual(one[key], other[key]))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
