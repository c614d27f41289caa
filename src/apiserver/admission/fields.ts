/**
 * Reading JSON that nobody has checked yet. Mutating webhooks see objects before their schema does, so any member may be
 * missing, null or of another type; such a member reads as empty here, and the schema speaks about it later.
 */
import { compareQuantities, QuantityError } from '../../quantity.ts'

/** A JSON object whose members are not known to be anything. */
export type Fields = Readonly<Record<string, unknown>>

const none: Fields = Object.freeze({})

/** The value if it is a JSON object, else an empty one. */
export function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : none
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The value if it is a string, else `''`. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

/** The items of a list; nothing for anything else. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** The strings of a list. */
export function textsOf(value: unknown): string[] {
  return listOf(value).filter((item) => typeof item === 'string')
}

/** Whether a member is there: `null` says no more than nothing. */
export function isGiven(value: unknown): boolean {
  return value !== undefined && value !== null
}

/** The string members of a JSON object: labels, annotations. */
export function textMapOf(value: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(fieldsOf(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  )
}

/**
 * Whether two specs ask for the same: null and empty lists count as absent, and quantities are compared by amount, since
 * `1Gi` and `1024Mi` are the same wish in other words.
 */
export function isSameSpec(one: unknown, other: unknown): boolean {
  return isSame(one, other, false)
}

function isSame(one: unknown, other: unknown, isAmount: boolean): boolean {
  if (isAbsent(one) || isAbsent(other)) return isAbsent(one) && isAbsent(other)
  if (Object.is(one, other)) return true
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, at) => isSame(item, other[at], false))
  }
  if (isFields(one) && isFields(other)) {
    return [...new Set([...Object.keys(one), ...Object.keys(other)])].every((key) =>
      isSame(one[key], other[key], key === 'storage'),
    )
  }
  return isAmount && isSameAmount(one, other)
}

function isAbsent(value: unknown): boolean {
  return !isGiven(value) || (Array.isArray(value) && value.length === 0)
}

function isSameAmount(one: unknown, other: unknown): boolean {
  const isWritten = (value: unknown): value is string | number => ['string', 'number'].includes(typeof value)
  if (!isWritten(one) || !isWritten(other)) return false
  try {
    return compareQuantities(one, other) === 0
  } catch (error) {
    if (error instanceof QuantityError) return false
    throw error
  }
}
