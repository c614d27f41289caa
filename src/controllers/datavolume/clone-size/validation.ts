/** Whether a clone is possible, as far as that can be told before T exists (contract/clone.md §3, §4.3 point 1). Pure. */
import { annotations, messages } from '../../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim, VolumeSnapshot } from '../../../api/kinds.ts'
import { roundUpToMebibyte, tryParseQuantity } from '../../../quantity.ts'
import { annotationOf, hasAnnotation } from '../../shared/annotated.ts'
import { contentTypeOf } from '../render.ts'
import type { RenderedPvc } from '../render.ts'
import {
  neededRestoreBytes,
  requestedBytesOf,
  restoreBytesOf,
  snapshotSizeProblems,
  volumeModeOf,
} from '../../clone/origin.ts'
import type { CloneOrigin } from '../../clone/origin.ts'

export interface CloneCandidate {
  readonly dataVolume: DataVolume
  readonly source: CloneOrigin
  /** T as rendered, before or after its size was filled in. */
  readonly rendered: RenderedPvc
  /** Sizes are not compared; the annotation of the DataVolume says the same. */
  readonly permissive: boolean
}

/** What speaks against a source whatever the sizes are: asked before anybody looks for those. The text as below. */
export function sourceProblemOf({
  dataVolume,
  source,
}: Pick<CloneCandidate, 'dataVolume' | 'source'>): string | undefined {
  if ('snapshot' in source) return problemOfState(source.snapshot)
  const sourceType = annotationOf(source.claim, annotations.contentType) || 'kubevirt'
  const targetType = contentTypeOf(dataVolume)
  return sourceType === targetType ? undefined : messages.contentTypesDiffer(sourceType, targetType)
}

/** What speaks against a clone: the text behind `The clone doesn't meet the validation requirements: `. */
export function cloneProblemOf(candidate: CloneCandidate): string | undefined {
  const { source } = candidate
  const problem = sourceProblemOf(candidate)
  if (problem !== undefined) return problem
  return 'snapshot' in source ? problemOfSnapshot(candidate, source.snapshot) : problemOfClaim(candidate, source.claim)
}

function problemOfClaim(candidate: CloneCandidate, claim: PersistentVolumeClaim): string | undefined {
  const { dataVolume } = candidate
  // What a file system takes of a claim of spec.storage depends on the class: the populator compares those.
  const isCompared =
    dataVolume.spec.pvc !== undefined || (isSizeGiven(dataVolume) && volumeModeOf(claim.spec) === 'Block')
  return isCompared ? tooSmall(candidate, requestedBytesOf(claim.spec)) : undefined
}

function problemOfState({ metadata: { name, namespace }, spec, status }: VolumeSnapshot): string | undefined {
  if (!status) return 'no status on source snapshot yet'
  if (status.error) return `snapshot in error state with msg: ${status.error.message || 'no details'}`
  if (!spec.volumeSnapshotClassName) {
    return `snapshot ${name}/${namespace} does not have volum snap class populated, can't clone`
  }
  return undefined
}

function problemOfSnapshot(candidate: CloneCandidate, snapshot: VolumeSnapshot): string | undefined {
  if (restoreBytesOf(snapshot) === undefined) return snapshotSizeProblems.none
  if (!isSizeGiven(candidate.dataVolume)) {
    const needed = neededRestoreBytes(snapshot)
    return 'problem' in needed ? needed.problem : undefined
  }
  const restoreBytes = restoreBytesOf(snapshot)
  // Storage makes whole MiB of what is asked for, and tells the snapshot's size so: a target that is asked for in the same
  // words as its source is not smaller.
  return restoreBytes !== undefined && restoreBytes <= roundUpToMebibyte(requestedBytesOf(candidate.rendered.spec) ?? 0)
    ? undefined
    : tooSmall(candidate, restoreBytes)
}

/** Whether the user named a size, which is not none of zero. */
function isSizeGiven({ spec }: DataVolume): boolean {
  return (tryParseQuantity((spec.pvc ?? spec.storage)?.resources?.requests?.['storage']) ?? 0) > 0
}

function tooSmall(
  { dataVolume, rendered, permissive }: CloneCandidate,
  source: number | undefined,
): string | undefined {
  const target = requestedBytesOf(rendered.spec)
  if (permissive || hasAnnotation(dataVolume, annotations.permissiveClone)) return undefined
  if (target === undefined || source === undefined || target >= source) return undefined
  return messages.cloneTooSmall(target, source)
}
