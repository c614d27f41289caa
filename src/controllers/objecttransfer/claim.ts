/**
 * Moves a claim: its volume stays the same, the claim is deleted and another one is made for the volume. The order keeps the
 * volume safe wherever it stops: nothing is deleted before the volume is kept by its policy (Retain) and the claim is noted
 * in the status, in exactly the state in which it is deleted.
 */
import { kinds } from '../../api/kinds.ts'
import type { ObjectTransfer, PersistentVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { annotations, labels } from '../../api/names.ts'
import { keyOf } from '../../kube/object.ts'
import type { NewObject } from '../../kube/object.ts'
import { hasAnnotation } from '../shared/annotated.ts'
import { claimPhase, isTerminating } from '../shared/claim.ts'
import {
  fault,
  hasRequiredAnnotations,
  movedMetadata,
  note,
  noteOf,
  otherTransferOn,
  patchMetadata,
  release,
  savedSource,
  targetExists,
  targetPlace,
  waiting,
} from './transfer.ts'
import type { Movable, Step, TransferObservation, Write } from './transfer.ts'
import { faults, notes, transferPhases, words } from './words.ts'

const retain = 'Retain'

/** Of Kubernetes: set when claim and volume were bound, it would make the new claim Lost. */
const bindCompleted = 'pv.kubernetes.io/bind-completed'

/** Of the CSI sidecars: somebody reads the volume right now. */
const busyFinalizers = [
  'provisioner.storage.kubernetes.io/cloning-protection',
  'snapshot.storage.kubernetes.io/pvc-as-source-protection',
]

export const movableClaim: Movable = {
  sourceOf: ({ claim }) => claim,
  targetOf: ({ targetClaim }) => targetClaim,
  obstacleOf,
  notesOf: ({ claim, volume }) => ({
    ...(claim ? { [notes.source]: note(claim) } : {}),
    ...(volume
      ? {
          [notes.volumeName]: volume.metadata.name,
          [notes.reclaimPolicy]: volume.spec?.persistentVolumeReclaimPolicy ?? retain,
        }
      : {}),
  }),
  move,
  takeBack,
}

function obstacleOf({
  transfer,
  claim,
  isPopulated,
  users,
  volume,
}: TransferObservation): ReturnType<Movable['obstacleOf']> {
  if (!claim || isTerminating(claim)) return { message: words.noSource }
  if (!isPopulated) return { message: words.notPopulated }
  if (users.length > 0) return { message: words.podsUseClaim }
  if (claimPhase(claim) !== 'Bound' || !claim.spec?.volumeName) return { message: words.claimNotBound }
  if (volume?.status?.phase !== 'Bound' || !isHeldBy(volume, claim)) return { message: words.volumeNotBound }
  const finalizer = busyFinalizers.find((busy) => claim.metadata.finalizers?.includes(busy))
  if (finalizer) return { message: words.claimHasFinalizer(finalizer) }
  if (!hasRequiredAnnotations(transfer, claim)) return { message: words.annotationMissing }
  return otherTransferOn(transfer, [claim])
}

function move(seen: TransferObservation): Step {
  const { transfer, claim, volume } = seen
  const volumeName = noteOf(transfer, notes.volumeName)
  if (!volumeName) return waiting(words.volumeNameMissing)
  const saved = savedSource(transfer, kinds.pvc)
  if (!saved) return fault(transferPhases.error, faults.notSaved)
  if (!volume) return fault(transferPhases.error, faults.noVolume(volumeName))
  // A claim of that name that was made since then is none of our business.
  return claim?.metadata.uid === saved.metadata.uid
    ? removeSource(seen, { claim, saved, volume })
    : bindTarget(seen, { saved, volume })
}

function removeSource(
  { users }: TransferObservation,
  { claim, saved, volume }: { claim: PersistentVolumeClaim; saved: PersistentVolumeClaim; volume: PersistentVolume },
): Step {
  if (!isHeldBy(volume, claim)) return waiting(words.volumeHeldByOther)
  if (volume.spec?.persistentVolumeReclaimPolicy !== retain) return setPolicy(volume, retain)
  if (saved.metadata.resourceVersion !== claim.metadata.resourceVersion) {
    return {
      because: 'the source has changed since it was noted',
      status: { phase: transferPhases.running, message: words.running, data: { [notes.source]: note(claim) } },
    }
  }
  if (isTerminating(claim)) return waiting(words.running)
  // A pod that came meanwhile could not be started again once its claim is going away.
  if (users.length > 0) return waiting(words.podsUseClaim)
  const { uid, resourceVersion } = claim.metadata
  return {
    because: 'the claim is noted, and its volume is kept',
    write: { do: 'delete', kind: kinds.pvc, key: keyOf(claim), uid, resourceVersion },
  }
}

function bindTarget(
  { transfer, targetClaim }: TransferObservation,
  { saved, volume }: { saved: PersistentVolumeClaim; volume: PersistentVolume },
): Step {
  const place = targetPlace(transfer)
  const holder = volume.spec?.claimRef
  const isAtTarget = holder?.namespace === place.namespace && holder.name === place.name
  if (!isAtTarget && holder?.uid !== saved.metadata.uid) return waiting(words.volumeHeldByOther)
  if (targetClaim && targetClaim.spec?.volumeName !== volume.metadata.name) {
    return targetExists(transfer, transferPhases.error)
  }
  // A target that somebody deleted leaves its UID behind; a new one could not be bound.
  if (!isAtTarget || (holder.uid && holder.uid !== targetClaim?.metadata.uid)) return promise(volume, transfer)
  if (!targetClaim) {
    // Before that, Kubernetes takes the volume for the old claim's, and would look at the new one again only much later.
    if (volume.status?.phase !== 'Available') return waiting(words.targetNotBound)
    return {
      because: 'the volume waits for its claim',
      write: { do: 'create', kind: kinds.pvc, object: renderTarget(saved, volume, transfer) },
    }
  }
  if (claimPhase(targetClaim) !== 'Bound' || !isHeldBy(volume, targetClaim)) {
    return nudge(volume, targetClaim) ?? waiting(words.targetNotBound)
  }
  const missing = missingLabels(saved, targetClaim)
  if (missing) {
    return { because: 'the claim bears all its labels again', write: patchMetadata(kinds.pvc, targetClaim, missing) }
  }
  const policy = noteOf(transfer, notes.reclaimPolicy) ?? retain
  if (volume.spec?.persistentVolumeReclaimPolicy !== policy) return setPolicy(volume, policy)
  return { because: 'the claim has arrived', status: { phase: transferPhases.complete, message: words.complete } }
}

/**
 * The two workers of Kubernetes' volume controller may get into each other's way over a claim that names its volume: the
 * volume is bound, and the claim is left until the next change of it or the next round, a quarter of a minute later.
 */
function nudge(volume: PersistentVolume, claim: PersistentVolumeClaim): Step | undefined {
  if (volume.status?.phase !== 'Bound' || !isHeldBy(volume, claim)) return undefined
  if (hasAnnotation(claim, annotations.objectTransferBound)) return undefined
  const annotated = { annotations: { [annotations.objectTransferBound]: volume.metadata.name } }
  return { because: 'the volume is bound, the claim is not', write: patchMetadata(kinds.pvc, claim, annotated) }
}

/** Whether the volume is bound to exactly this claim. */
function isHeldBy({ spec }: PersistentVolume, { metadata: { uid } }: PersistentVolumeClaim): boolean {
  return spec?.claimRef?.uid === uid
}

function setPolicy(volume: PersistentVolume, policy: string): Step {
  return {
    because: "the volume's reclaim policy is another one",
    write: patchVolume(volume, { persistentVolumeReclaimPolicy: policy }),
  }
}

/** Kubernetes lets nobody but a claim of that place have the volume. */
function promise(volume: PersistentVolume, transfer: ObjectTransfer): Step {
  const claimRef = {
    apiVersion: 'v1',
    kind: kinds.pvc.kind,
    ...targetPlace(transfer),
    uid: null,
    resourceVersion: null,
  }
  return { because: 'the source has gone', write: patchVolume(volume, { claimRef }) }
}

function patchVolume({ metadata: { name, resourceVersion } }: PersistentVolume, spec: object): Write {
  return { do: 'patch', kind: kinds.pv, key: { name }, body: { metadata: { resourceVersion }, spec } }
}

/** The claim at its new place. */
export function renderTarget(
  saved: PersistentVolumeClaim,
  volume: PersistentVolume,
  transfer: ObjectTransfer,
): NewObject<PersistentVolumeClaim> {
  const metadata = movedMetadata(saved, transfer, {
    [bindCompleted]: undefined,
    [annotations.objectTransferBound]: undefined,
  })
  const { [labels.applyStorageProfile]: _, ...kept } = metadata.labels ?? {}
  return {
    apiVersion: 'v1',
    kind: kinds.pvc.kind,
    // The webhook would render it a second time, larger than its volume; see missingLabels.
    metadata: { ...metadata, ...(metadata.labels ? { labels: kept } : {}) },
    spec: { ...saved.spec, volumeName: volume.metadata.name },
  }
}

/** The label that the claim could not be created with. */
function missingLabels(saved: PersistentVolumeClaim, { metadata }: PersistentVolumeClaim): object | undefined {
  const key = labels.applyStorageProfile
  const value = saved.metadata.labels?.[key]
  return value === undefined || metadata.labels?.[key] !== undefined ? undefined : { labels: { [key]: value } }
}

/** Whoever has the volume gets it as it was before. While nobody has, it stays kept: that is all that can be done for it. */
function takeBack({ transfer, claim, targetClaim, volume }: TransferObservation): Step | undefined {
  const policy = noteOf(transfer, notes.reclaimPolicy)
  const holder = [claim, targetClaim].find((each) => each && volume && isHeldBy(volume, each))
  if (policy && volume && holder && !isTerminating(holder) && volume.spec?.persistentVolumeReclaimPolicy !== policy) {
    return setPolicy(volume, policy)
  }
  return release(kinds.pvc, claim, transfer) ?? release(kinds.pvc, targetClaim, transfer)
}
