/**
 * As much of structured fields (RFC 9651) as the draft of resumable uploads needs: items that are booleans or
 * non-negative integers, and dictionaries of integers. What cannot be read is as if the header were absent, which is what
 * the draft wants of each of its headers. Pure.
 */

/** Parameters of an item, which mean nothing here. */
const parameters = /^(?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=(?:[^;"]|"(?:[^"\\]|\\.)*")*)?)*$/

function bareItem(text: string | undefined): string | undefined {
  if (text === undefined) return undefined
  const trimmed = text.replaceAll(/^[ ]+|[ ]+$/g, '')
  const [bare = ''] = /^[^;]*/.exec(trimmed) ?? []
  return parameters.test(trimmed.slice(bare.length)) ? bare : undefined
}

/** `?1` or `?0`. */
export function parseBoolean(text: string | undefined): boolean | undefined {
  const bare = bareItem(text)
  return bare === '?1' ? true : bare === '?0' ? false : undefined
}

/** An integer from 0 to 999,999,999,999,999, the largest that there is. */
export function parseCount(text: string | undefined): number | undefined {
  const bare = bareItem(text)
  return bare !== undefined && /^[0-9]{1,15}$/.test(bare) ? Number(bare) : undefined
}

export function formatBoolean(value: boolean): string {
  return value ? '?1' : '?0'
}

/** A dictionary of integers, in that order. */
export function formatCounts(members: Readonly<Record<string, number>>): string {
  return Object.entries(members)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')
}
