/** Gathers from the caches what the clone populator looks at; nothing is asked of the API server. */
import { temporaryPvcName, temporarySnapshotName, temporarySourcePvcName, prepPodName } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim, VolumeCloneSource } from '../../api/kinds.ts'
import type { Kind, KubeObject } from '../../kube/object.ts'
import type { Caches } from '../shared/caches.ts'
import { eventsOf, indexes } from '../shared/caches.ts'
import { cloneSourceKeyOf } from '../shared/clone-reference.ts'
import { activeCdi, configOf } from '../shared/settings.ts'
import type { CloneObservation, Origin, TemporaryObjects } from './observation.ts'
import { isPopulated, writersOf } from './source-use.ts'
import type { CloneOrder } from './tokens.ts'

/** What the caches know of a clone; the rest of an observation is the caller's. */
export function gather(
  caches: Caches,
  target: PersistentVolumeClaim,
): Omit<CloneObservation, 'isAllowed' | 'settings' | 'alreadyTold' | 'progressPercent' | 'now'> {
  const cloneSource = cloneSourceOf(caches, target)
  const origin = cloneSource && originOf(caches, cloneSource)
  const namespace = cloneSourceKeyOf(target)?.namespace ?? ''
  const temporary = temporaryObjectsOf(caches, target, namespace)
  const temporaryClaims = [temporary.claim, temporary.sourceClaim].filter((claim) => claim !== undefined)
  const name = target.spec?.storageClassName ?? ''
  return {
    target,
    storageClass: caches.storageClasses.get({ name }),
    profile: caches.storageProfiles.get({ name }),
    cloneSource,
    origin,
    temporary,
    storageClasses: caches.storageClasses.list(),
    snapshotClasses: caches.volumeSnapshotClasses.list(),
    config: configOf(caches),
    cdi: activeCdi(caches),
    targetEvents: eventsOf(caches.events, target),
    temporaryEvents: temporaryClaims.map((claim) => ({
      claim: claim.metadata.name,
      events: eventsOf(caches.events, claim),
    })),
  }
}

/** The VolumeCloneSource that T names. */
function cloneSourceOf(caches: Caches, target: PersistentVolumeClaim): VolumeCloneSource | undefined {
  const key = cloneSourceKeyOf(target)
  return key && caches.cloneSources.get(key)
}

/** What a token has to allow, if the source lies in another namespace than T. */
export function orderOf(target: PersistentVolumeClaim, origin: Origin | undefined): CloneOrder | undefined {
  const { namespace = '', name } = target.metadata
  if (!origin || origin.namespace === namespace) return undefined
  const { kind, namespace: sourceNamespace, name: sourceName } = origin
  return { source: { kind, namespace: sourceNamespace, name: sourceName }, target: { namespace, name } }
}

function originOf(caches: Caches, { metadata, spec: { source } }: VolumeCloneSource): Origin | undefined {
  const { namespace = '' } = metadata
  const { name } = source
  const key = { namespace, name }
  switch (source.kind) {
    case kinds.pvc.kind: {
      const claim = caches.pvcs.get(key)
      const volumeName = claim?.spec?.volumeName
      return {
        kind: 'pvc',
        ...key,
        claim,
        volume: volumeName ? caches.pvs.get({ name: volumeName }) : undefined,
        profile: caches.storageProfiles.get({ name: claim?.spec?.storageClassName ?? '' }),
        writers: claim ? writersOf(caches, claim) : [],
        isPopulated: claim !== undefined && isPopulated(caches, claim),
      }
    }
    case kinds.volumeSnapshot.kind: {
      const snapshot = caches.volumeSnapshots.get(key)
      const contentName = snapshot?.status?.boundVolumeSnapshotContentName
      const content = contentName ? caches.volumeSnapshotContents.get({ name: contentName }) : undefined
      return { kind: 'snapshot', ...key, snapshot, content }
    }
    default:
      return undefined
  }
}

function temporaryObjectsOf(
  { pvcs, pvs, pods, volumeSnapshots }: Caches,
  { metadata: { uid } }: PersistentVolumeClaim,
  namespace: string,
): TemporaryObjects {
  const claim = pvcs.get({ namespace, name: temporaryPvcName(uid) })
  const volumeName = claim?.spec?.volumeName
  return {
    claim,
    volume: volumeName ? pvs.get({ name: volumeName }) : undefined,
    sourceClaim: pvcs.get({ namespace, name: temporarySourcePvcName(uid) }),
    snapshot: volumeSnapshots.get({ namespace, name: temporarySnapshotName(uid) }),
    prepPod: pods.get({ namespace, name: prepPodName(uid) }),
  }
}

/** What bears the label of temporary objects of the claim with this UID, by its kind. */
export function labelledWith(
  { pods, pvcs, volumeSnapshots }: Pick<Caches, 'pods' | 'pvcs' | 'volumeSnapshots'>,
  uid: string,
): readonly (readonly [Kind, readonly KubeObject[]])[] {
  return [
    [kinds.pod, pods.byIndex(indexes.ownedByUid, uid)],
    [kinds.pvc, pvcs.byIndex(indexes.ownedByUid, uid)],
    [kinds.volumeSnapshot, volumeSnapshots.byIndex(indexes.ownedByUid, uid)],
  ]
}
