/**
 * Moves a DataVolume: its claim is taken out of its hands, the DataVolume is deleted, another transfer moves the claim, and a
 * DataVolume is made at the new place, which finds the claim filled. The claim has no owner before the DataVolume is deleted,
 * so that it does not go with it.
 */
import { cdiGroup, kinds } from '../../api/kinds.ts'
import type { DataVolume, ObjectTransfer, PersistentVolumeClaim } from '../../api/kinds.ts'
import { annotations, claimTransferName, phases } from '../../api/names.ts'
import { apiVersionOf, keyOf } from '../../kube/object.ts'
import type { NewObject } from '../../kube/object.ts'
import { controllerOf, controllerRef, isControlledBy } from '../../kube/owners.ts'
import { annotationOf, changesOf, isEmpty } from '../shared/annotated.ts'
import { claimPhase, isTerminating } from '../shared/claim.ts'
import {
  fault,
  hasRequiredAnnotations,
  isClaimedBy,
  movedMetadata,
  note,
  noteOf,
  otherTransferOn,
  patchMetadata,
  phaseOf,
  release,
  savedSource,
  sourcePlace,
  targetExists,
  targetPlace,
  waiting,
} from './transfer.ts'
import type { Movable, Step, TransferObservation } from './transfer.ts'
import { faults, notes, transferPhases, words } from './words.ts'

export const movableDataVolume: Movable = {
  sourceOf: ({ dataVolume }) => dataVolume,
  targetOf: ({ targetDataVolume, targetClaim }) => targetDataVolume ?? targetClaim,
  obstacleOf,
  notesOf: ({ dataVolume, claim }) => ({
    ...(dataVolume ? { [notes.source]: note(dataVolume) } : {}),
    ...(claim?.spec?.volumeName ? { [notes.volumeName]: claim.spec.volumeName } : {}),
  }),
  move,
  takeBack,
}

function obstacleOf({ transfer, dataVolume, claim, users }: TransferObservation): ReturnType<Movable['obstacleOf']> {
  if (!dataVolume || isTerminating(dataVolume)) return { message: words.noSource }
  if (dataVolume.status?.phase !== phases.succeeded) return { message: words.notPopulated }
  if (users.length > 0) return { message: words.podsUseDataVolume }
  if (!hasRequiredAnnotations(transfer, dataVolume)) return { message: words.annotationMissing }
  return otherTransferOn(transfer, [dataVolume, claim])
}

function move(seen: TransferObservation): Step {
  const { transfer, dataVolume, targetClaim, child } = seen
  const saved = savedSource(transfer, kinds.dataVolume)
  if (!saved) return fault(transferPhases.error, faults.notSaved)
  // A DataVolume of that name that was made since then is none of our business.
  if (dataVolume?.metadata.uid === saved.metadata.uid) return removeSource(seen, { dataVolume, saved })
  const volumeName = noteOf(transfer, notes.volumeName)
  if (!volumeName) return waiting(words.sourceHasNoClaim)
  const hasArrived = targetClaim?.spec?.volumeName === volumeName && claimPhase(targetClaim) === 'Bound'
  // Without a child it was deleted, which it lets happen only when it has done its work or nothing of it.
  if (!hasArrived || (child && phaseOf(child) !== transferPhases.complete)) return moveClaim(seen, volumeName)
  return makeTarget(seen, { saved, claim: targetClaim })
}

function removeSource(
  { transfer, claim }: TransferObservation,
  { dataVolume, saved }: { dataVolume: DataVolume; saved: DataVolume },
): Step {
  if (!claim) return waiting(words.sourceHasNoClaim)
  const other = otherTransferOn(transfer, [claim])
  if (other) return waiting(other.message, other.reason)
  const { volumeName } = claim.spec ?? {}
  if (!volumeName) return waiting(words.claimNotBound)
  if (noteOf(transfer, notes.volumeName) !== volumeName) return saving({ [notes.volumeName]: volumeName })
  const disowned = disowning(claim, dataVolume, transfer)
  if (disowned) {
    return { because: 'the claim must outlive its DataVolume', write: patchMetadata(kinds.pvc, claim, disowned) }
  }
  const { uid, resourceVersion } = dataVolume.metadata
  if (saved.metadata.resourceVersion !== resourceVersion) return saving({ [notes.source]: note(dataVolume) })
  if (isTerminating(dataVolume)) return waiting(words.running)
  return {
    because: 'the DataVolume is noted, and its claim does not hang on it any more',
    write: { do: 'delete', kind: kinds.dataVolume, key: keyOf(dataVolume), uid, resourceVersion },
  }
}

function saving(data: Readonly<Record<string, string>>): Step {
  return {
    because: 'the source has changed since it was noted',
    status: { phase: transferPhases.running, message: words.running, data },
  }
}

/** What takes a claim from its DataVolume for good; undefined when that has been done. */
function disowning(
  claim: PersistentVolumeClaim,
  { metadata: { uid } }: DataVolume,
  transfer: ObjectTransfer,
): object | undefined {
  const owners = claim.metadata.ownerReferences ?? []
  const others = owners.filter((owner) => owner.uid !== uid)
  const annotated = changesOf(claim.metadata.annotations, {
    [annotations.populatedFor]: null,
    // Its controller does not adopt what was made for it and then lost its owner.
    [annotations.createdForDataVolume]: uid,
    [annotations.objectTransferName]: transfer.metadata.name,
  })
  if (others.length === owners.length && isEmpty(annotated)) return undefined
  return { annotations: annotated, ...(others.length === owners.length ? {} : { ownerReferences: others }) }
}

function moveClaim({ transfer, claim, child }: TransferObservation, volumeName: string): Step {
  if (child) {
    if (phaseOf(child) === transferPhases.complete) return waiting(words.claimNotArrived)
    const condition = child.status?.conditions?.find(({ type }) => type === 'Complete')
    // What a person has to know to help it on, e.g. a quota.
    return waiting(words.claimTransferRuns, condition?.message === words.error ? condition.reason : undefined)
  }
  if (claim?.spec?.volumeName !== volumeName) return waiting(words.claimNotArrived)
  return {
    because: 'the DataVolume has gone',
    write: { do: 'create', kind: kinds.objectTransfer, object: renderChild(transfer) },
    status: { phase: transferPhases.running, message: words.claimTransferRuns },
  }
}

/** The transfer of the claim; it goes with its parent. */
export function renderChild(transfer: ObjectTransfer): NewObject<ObjectTransfer> {
  const { name, uid } = transfer.metadata
  return {
    apiVersion: apiVersionOf(kinds.objectTransfer),
    kind: kinds.objectTransfer.kind,
    metadata: { name: claimTransferName(uid), ownerReferences: [controllerRef(transfer)] },
    spec: {
      source: { kind: kinds.pvc.kind, ...sourcePlace(transfer) },
      target: targetPlace(transfer),
      parentName: name,
    },
  }
}

function makeTarget(
  { transfer, targetDataVolume }: TransferObservation,
  { saved, claim }: { saved: DataVolume; claim: PersistentVolumeClaim },
): Step {
  if (!targetDataVolume) {
    const annotated = changesOf(claim.metadata.annotations, {
      [annotations.populatedFor]: targetPlace(transfer).name,
      [annotations.objectTransferName]: transfer.metadata.name,
    })
    if (!isEmpty(annotated)) {
      return {
        because: 'the claim is to be known as filled',
        write: patchMetadata(kinds.pvc, claim, { annotations: annotated }),
      }
    }
    return {
      because: 'the claim has arrived',
      write: { do: 'create', kind: kinds.dataVolume, object: renderTarget(saved, transfer) },
    }
  }
  if (!isClaimedBy(targetDataVolume, transfer) && !isControlledBy(claim, targetDataVolume)) {
    return targetExists(transfer, transferPhases.error)
  }
  if (targetDataVolume.status?.phase !== phases.succeeded) return waiting(words.targetNotReady)
  return { because: 'the DataVolume is there', status: { phase: transferPhases.complete, message: words.complete } }
}

/** The DataVolume at its new place. */
export function renderTarget(saved: DataVolume, transfer: ObjectTransfer): NewObject<DataVolume> {
  return {
    apiVersion: `${cdiGroup}/v1beta1`,
    kind: kinds.dataVolume.kind,
    metadata: movedMetadata(saved, transfer, {
      // Nothing will be read from its source, which need not be there any more.
      [annotations.prePopulated]: targetPlace(transfer).name,
      [annotations.cloneToken]: undefined,
      [annotations.extendedCloneToken]: undefined,
    }),
    spec: saved.spec,
  }
}

/** A DataVolume that is still there gets its claim back. */
function takeBack({
  transfer,
  dataVolume,
  claim,
  targetClaim,
  targetDataVolume,
}: TransferObservation): Step | undefined {
  if (dataVolume && claim && isClaimedBy(dataVolume, transfer) && isClaimedBy(claim, transfer)) {
    const gone = isTerminating(dataVolume) || isTerminating(claim) || controllerOf(claim)
    const given = {
      ownerReferences: [...(claim.metadata.ownerReferences ?? []), controllerRef(dataVolume)],
      annotations: {
        [annotations.objectTransferName]: null,
        [annotations.populatedFor]: annotationOf(claim, annotations.populatedFor) ?? dataVolume.metadata.name,
      },
    }
    if (!gone) return { because: 'the claim is given back', write: patchMetadata(kinds.pvc, claim, given) }
  }
  return (
    release(kinds.pvc, claim, transfer) ??
    release(kinds.dataVolume, dataVolume, transfer) ??
    release(kinds.pvc, targetClaim, transfer) ??
    release(kinds.dataVolume, targetDataVolume, transfer)
  )
}
