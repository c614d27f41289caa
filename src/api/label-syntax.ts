/** What Kubernetes takes as labels ("Labels and Selectors", "Syntax and character set"). */

/** Longest prefix of a key, a DNS subdomain. */
const longestPrefix = 253

/** At most 63 letters, digits, `-`, `_`, `.` between letters or digits. */
const label = /^[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?$/
/** A DNS subdomain, but for its length. */
const subdomain = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/

/** `name` or `prefix/name`. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf('/')
  if (slash < 0) return label.test(key)
  const prefix = key.slice(0, slash)
  return prefix.length <= longestPrefix && subdomain.test(prefix) && label.test(key.slice(slash + 1))
}

export function isLabelValue(value: string): boolean {
  return value === '' || label.test(value)
}
