/** Reading and changing annotations and labels. Writes are merge patches: a string sets a key, `null` removes it. */
import type { KubeObject } from '../../kube/object.ts'

/** A change of annotations or labels as a merge patch takes it. */
export type MapPatch = Record<string, string | null>

/** The value of an annotation, or undefined. */
export function annotationOf(object: KubeObject, key: string): string | undefined {
  return object.metadata.annotations?.[key]
}

/** Whether an annotation is there, whatever its value. */
export function hasAnnotation(object: KubeObject, key: string): boolean {
  return annotationOf(object, key) !== undefined
}

/** Whether an annotation says exactly `true`. */
export function isAnnotatedTrue(object: KubeObject, key: string): boolean {
  return annotationOf(object, key) === 'true'
}

/** The part of `wanted` that differs from what is there; `undefined` values mean "leave alone". */
export function changesOf(
  current: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string | null | undefined>>,
): MapPatch {
  const changes: MapPatch = {}
  for (const [key, value] of Object.entries(wanted)) {
    if (value === undefined) continue
    if (value === null ? current?.[key] !== undefined : current?.[key] !== value) changes[key] = value
  }
  return changes
}

/** Whether a patch changes nothing. */
export function isEmpty(patch: Readonly<Record<string, unknown>>): boolean {
  return Object.keys(patch).length === 0
}

/** The map after a patch, without the removed keys. */
export function patched(
  current: Readonly<Record<string, string>> | undefined,
  patch: Readonly<MapPatch>,
): Record<string, string> {
  const result: Record<string, string> = { ...current }
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = value
  }
  return result
}

/** Booleans as the existing service reads them: 1, t, T, TRUE, true, True and their opposites; undefined for the rest. */
export function parseBoolean(text: string): boolean | undefined {
  if (['1', 't', 'T', 'TRUE', 'true', 'True'].includes(text)) return true
  if (['0', 'f', 'F', 'FALSE', 'false', 'False'].includes(text)) return false
  return undefined
}
