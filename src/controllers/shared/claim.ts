/** Questions about claims that several controllers ask. */
import { annotations, labels, labelValues } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod, StorageClass } from '../../api/kinds.ts'
import { annotationOf, hasAnnotation } from './annotated.ts'

export type ClaimPhase = 'Pending' | 'Bound' | 'Lost' | 'Other'

/** The phase of a claim; a claim that was only just made has none yet and counts as Pending. */
export function claimPhase(claim: PersistentVolumeClaim): ClaimPhase {
  const phase = claim.status?.phase
  if (!phase || phase === 'Pending') return 'Pending'
  return phase === 'Bound' || phase === 'Lost' ? phase : 'Other'
}

/** Whether a claim is a P: made by a populator of ours. */
export function isPrime(claim: PersistentVolumeClaim): boolean {
  return annotationOf(claim, annotations.populatorKind) !== undefined
}

export function isTerminating(object: { metadata: { deletionTimestamp?: string } }): boolean {
  return object.metadata.deletionTimestamp !== undefined
}

export function isWaitForFirstConsumer(storageClass: StorageClass | undefined): boolean {
  return storageClass?.volumeBindingMode === 'WaitForFirstConsumer'
}

/**
 * Whether a claim of this class is bound without a pod that uses it. A pod that is made before has to be found a node twice, and
 * a kubelet that looks too early at the claim may look again only after a quarter of a minute.
 */
export function bindsUnaided(storageClass: StorageClass | undefined): boolean {
  return storageClass !== undefined && !isWaitForFirstConsumer(storageClass)
}

/** The node that the scheduler chose for the claim's first consumer. */
export function selectedNode(claim: PersistentVolumeClaim): string | undefined {
  return annotationOf(claim, annotations.selectedNode) || undefined
}

export function wantsImmediateBinding(claim: PersistentVolumeClaim): boolean {
  return hasAnnotation(claim, annotations.bindImmediate)
}

/** Whether a pod still has work to do. */
export function isUnfinished(pod: Pod): boolean {
  return pod.status?.phase !== 'Succeeded' && pod.status?.phase !== 'Failed'
}

/** Names of the claims in a pod's namespace that it mounts. */
export function claimsOfPod(pod: Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap((volume) =>
    volume.persistentVolumeClaim ? [volume.persistentVolumeClaim.claimName] : [],
  )
}

/** The label that every claim that a worker fills must bear, if it lacks it. */
export function missingCarrierLabel(carrier: PersistentVolumeClaim): Record<string, string> {
  return carrier.metadata.labels?.[labels.app] === undefined ? { [labels.app]: labelValues.app } : {}
}
