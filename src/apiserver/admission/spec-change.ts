/**
 * Specs are immutable, but for the checkpoints of a multi-stage import (vddk, imageio), which arrive one by one
 * (contract/platform.md §8.1).
 */
import { fieldsOf, isGiven, isSameSpec, listOf } from './fields.ts'
import type { Fields } from './fields.ts'

export type SpecChange = 'none' | 'checkpoints' | 'forbidden'

export function specChange(before: Fields, after: Fields): SpecChange {
  if (isSameSpec(before, after)) return 'none'
  const { vddk, imageio } = fieldsOf(after['source'])
  const isMultiStage = listOf(after['checkpoints']).length > 0 && (isGiven(vddk) || isGiven(imageio))
  return isMultiStage && isSameSpec(withoutCheckpoints(before), withoutCheckpoints(after)) ? 'checkpoints' : 'forbidden'
}

function withoutCheckpoints(spec: Fields): Fields {
  return { ...spec, checkpoints: undefined, finalCheckpoint: undefined }
}
