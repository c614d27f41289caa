/**
 * What a clone is made from, and what that says about sizes and modes (contract/clone.md §4). Pure; the webhook that
 * completes claims asks the same questions.
 */
import { annotations } from '../../api/names.ts'
import type {
  PersistentVolumeClaim,
  PersistentVolumeClaimSpec,
  VolumeSnapshot,
  VolumeSnapshotContent,
} from '../../api/kinds.ts'
import { tryParseQuantity } from '../../quantity.ts'
import { annotationOf } from '../shared/annotated.ts'

/** What is cloned; the content of a snapshot is undefined while it has none. */
export type CloneOrigin =
  | { readonly claim: PersistentVolumeClaim }
  | { readonly snapshot: VolumeSnapshot; readonly content: VolumeSnapshotContent | undefined }

/** What is wrong with a snapshot whose size is needed. */
export const snapshotSizeProblems = {
  none: 'snapshot has no restore size',
  /** The storage does not know, and the user did not say. */
  zero: "size not specified by user/provisioner, can't tell how much needed for restore",
} as const

/** The mode of a claim; one that says nothing is a file system. */
export function volumeModeOf(spec: PersistentVolumeClaimSpec | undefined): string {
  return spec?.volumeMode ?? 'Filesystem'
}

/** What a claim holds; one that says nothing holds a disk. */
export function contentTypeOf(claim: PersistentVolumeClaim): 'archive' | 'kubevirt' {
  return annotationOf(claim, annotations.contentType) === 'archive' ? 'archive' : 'kubevirt'
}

/** What a claim asks for, in bytes; undefined if it does not say. */
export function requestedBytesOf(spec: PersistentVolumeClaimSpec | undefined): number | undefined {
  return tryParseQuantity(spec?.resources?.requests?.['storage'])
}

/** What a claim has got, in bytes; undefined while it is not bound. */
export function capacityBytesOf({ status }: PersistentVolumeClaim): number | undefined {
  return tryParseQuantity(status?.capacity?.['storage'])
}

/** How large a volume a snapshot needs, in bytes. Zero is a size that a driver does not know; undefined is no size. */
export function restoreBytesOf({ status }: VolumeSnapshot): number | undefined {
  const bytes = tryParseQuantity(status?.restoreSize)
  return bytes === undefined || bytes < 0 ? undefined : bytes
}

/** How large a volume a snapshot needs, where nobody else says so: bytes, or why that is unknown. */
export function neededRestoreBytes(snapshot: VolumeSnapshot): { bytes: number } | { problem: string } {
  const bytes = restoreBytesOf(snapshot)
  if (bytes === undefined) return { problem: snapshotSizeProblems.none }
  return bytes === 0 ? { problem: snapshotSizeProblems.zero } : { bytes }
}

/** The mode of the volume that a snapshot was taken of; undefined if nothing tells. */
export function snapshotModeOf({
  snapshot,
  content,
}: {
  readonly snapshot: VolumeSnapshot
  readonly content: VolumeSnapshotContent | undefined
}): string | undefined {
  return content?.spec.sourceVolumeMode ?? (annotationOf(snapshot, annotations.sourceVolumeMode) || undefined)
}
