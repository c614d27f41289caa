/** The annotations that go on from claims to pods (contract/datavolume.md §9). */
import { defaultPassThrough, passThroughAnnotations } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { annotationOf } from './annotated.ts'

/** The annotations that a claim hands on to pods, with the meshes switched off unless it says otherwise. */
export function passThroughOf(claim: PersistentVolumeClaim): Record<string, string> {
  const passed: Record<string, string> = { ...defaultPassThrough }
  for (const key of passThroughAnnotations) {
    const value = annotationOf(claim, key)
    if (value !== undefined) passed[key] = value
  }
  return passed
}
