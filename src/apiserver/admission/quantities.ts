/**
 * The syntax of sizes, checked before the schema does: clients know this text and not the schema's
 * (contract/platform.md §8.1).
 */
import { compareQuantities, QuantityError } from '../../quantity.ts'
import { fieldsOf, isGiven } from './fields.ts'
import type { Fields } from './fields.ts'

/** Kubernetes' own words for a malformed quantity. */
export const quantityMessage =
  "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

/** Whether all resource quantities of the claim in a DataVolume's spec are well-formed. */
export function hasWellFormedQuantities(spec: Fields): boolean {
  return [spec['pvc'], spec['storage']].every((claim) => {
    const { requests, limits } = fieldsOf(fieldsOf(claim)['resources'])
    return [requests, limits].every((amounts) => Object.values(fieldsOf(amounts)).every(isWellFormed))
  })
}

function isWellFormed(value: unknown): boolean {
  if (!isGiven(value)) return true
  if (typeof value !== 'string' && typeof value !== 'number') return false
  try {
    compareQuantities(typeof value === 'string' ? value.trim() : value, 0)
    return true
  } catch (error) {
    if (error instanceof QuantityError) return false
    throw error
  }
}
