/** Ways from an object to the claims T that the clone populator has to look at because of it. */
import { finalizers, labels } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { formatKey, keyOf, parseKey } from '../../kube/object.ts'
import type { KubeObject, ObjectKey } from '../../kube/object.ts'
import { besides, cloneOriginKey, indexes, receiverOf } from '../shared/caches.ts'
import type { Caches } from '../shared/caches.ts'
import { claimPhase, claimsOfPod } from '../shared/claim.ts'
import { isClone } from '../shared/clone-reference.ts'

type Neighbours = Pick<Caches, 'pvcs' | 'cloneSources'>

/** The T of a temporary object. */
export function byLabel({ pvcs }: Neighbours, { metadata }: KubeObject): ObjectKey[] {
  const uid = metadata.labels?.[labels.ownedByUid]
  return uid ? pvcs.byIndex(indexes.uid, uid).map(keyOf) : []
}

/** The T's that a VolumeCloneSource is named by. */
export function byCloneSource({ pvcs }: Neighbours, cloneSource: ObjectKey): ObjectKey[] {
  return pvcs.byIndex(indexes.cloneSource, formatKey(cloneSource)).map(keyOf)
}

/** The T's that are to be cloned from a claim or snapshot; those that are done have nothing to do with it any more. */
export function byOrigin(
  caches: Neighbours,
  kind: 'pvc' | 'volumeSnapshot',
  { namespace = '', name }: ObjectKey,
): ObjectKey[] {
  return caches.cloneSources
    .byIndex(indexes.origin, cloneOriginKey({ kind: kinds[kind].kind, namespace, name }))
    .flatMap((cloneSource) => caches.pvcs.byIndex(indexes.cloneSource, formatKey(keyOf(cloneSource))))
    .filter(
      (claim) => claimPhase(claim) === 'Pending' || claim.metadata.finalizers?.includes(finalizers.clonePopulator),
    )
    .map(keyOf)
}

/** T itself, the T of a temporary claim, the T's that are cloned from it. */
export function byClaim(caches: Neighbours, claim: PersistentVolumeClaim): ObjectKey[] {
  return [
    ...(isClone(claim) ? [keyOf(claim)] : []),
    ...byLabel(caches, claim),
    ...byOrigin(caches, 'pvc', keyOf(claim)),
  ]
}

/** The same of a claim that something else names. */
export function byNameOfClaim(caches: Neighbours, key: ObjectKey): ObjectKey[] {
  const claim = caches.pvcs.get(key)
  return claim ? [...(isClone(claim) ? [key] : []), ...byLabel(caches, claim)] : []
}

/** The T that a pod works for, or the T's whose source it uses. A pod that reads for one copy is in no other's way. */
export function byPod(caches: Neighbours, pod: Pod): ObjectKey[] {
  const receiver = receiverOf(pod)
  return [
    ...byLabel(caches, pod),
    ...(receiver
      ? byNameOfClaim(caches, parseKey(receiver))
      : claimsOfPod(pod).flatMap((name) => byOrigin(caches, 'pvc', besides(pod, name)))),
  ]
}

/** The T's of a class that are not done. */
export function byStorageClass({ pvcs }: Neighbours, name: string): ObjectKey[] {
  return pvcs
    .byIndex(indexes.storageClass, name)
    .filter((claim) => isClone(claim) && claimPhase(claim) === 'Pending')
    .map(keyOf)
}
