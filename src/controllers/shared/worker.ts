/**
 * Whose worker a pod is. A worker is owned by its claim, except where OpenShift has to resolve the name of an ImageStream: it
 * passes over pods with an owner, so such a worker names its claim in an annotation, and what Kubernetes does for owners is
 * done by the import controller (contract/datavolume.md §10).
 */
import { annotations } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { controllerOf, isControlledBy } from '../../kube/owners.ts'
import { annotationOf } from './annotated.ts'
import { besides } from './caches.ts'
import { claimsOfPod } from './claim.ts'

/** Whether a pod works for exactly this claim, not for a namesake of another time. */
export function isWorkerOf(pod: Pod, claim: PersistentVolumeClaim): boolean {
  return isControlledBy(pod, claim) || unownedWorkerOf(pod) === claim.metadata.uid
}

/** The UID of the claim that a worker without an owner was made for; undefined for all other pods. */
export function unownedWorkerOf(pod: Pod): string | undefined {
  return controllerOf(pod) ? undefined : annotationOf(pod, annotations.importWorkerOf)
}

/** Keys of the claims that a pod may be the worker of. */
export function claimKeysOfWorker(pod: Pod): ObjectKey[] {
  const owner = controllerOf(pod)
  if (owner) return owner.kind === 'PersistentVolumeClaim' ? [besides(pod, owner.name)] : []
  return unownedWorkerOf(pod) === undefined ? [] : claimsOfPod(pod).map((name) => besides(pod, name))
}
