/**
 * The life of an ObjectTransfer (contract/clone.md §10): `""` → Pending → Running → Complete; Error is a Running that met with
 * something wrong. One step at a time; what it does to the objects is decided in `claim.ts` and `data-volume.ts`. Pure.
 */
import { kinds } from '../../api/kinds.ts'
import type { ObjectTransfer } from '../../api/kinds.ts'
import { annotations, claimTransferName, finalizers } from '../../api/names.ts'
import { setCondition } from '../../kube/conditions.ts'
import type { Condition } from '../../kube/conditions.ts'
import { keyOf } from '../../kube/object.ts'
import type { Kind } from '../../kube/object.ts'
import { isTerminating } from '../shared/claim.ts'
import { movableClaim } from './claim.ts'
import { movableDataVolume } from './data-volume.ts'
import { fault, isClaimedBy, patchMetadata, phaseOf, release, targetExists, targetPlace } from './transfer.ts'
import type { Movable, StatusFacts, Step, TransferObservation } from './transfer.ts'
import { faults, transferPhases, words } from './words.ts'

interface MovableKind {
  readonly kind: Kind
  readonly movable: Movable
}

function movableOf({ spec: { source } }: ObjectTransfer): MovableKind | undefined {
  switch (source.kind) {
    case kinds.pvc.kind:
      return { kind: kinds.pvc, movable: movableClaim }
    case kinds.dataVolume.kind:
      return { kind: kinds.dataVolume, movable: movableDataVolume }
    default:
      return undefined
  }
}

/** Undefined: there is nothing to do until something changes. */
export function planTransfer(seen: TransferObservation): Step | undefined {
  const { transfer } = seen
  const phase = phaseOf(transfer)
  const isKept = hasFinalizer(transfer)
  if (!isKept && (isTerminating(transfer) || phase === transferPhases.complete)) return undefined
  const moved = movableOf(transfer)
  // The webhook admits none; without it, this says why nothing happens.
  if (!moved) {
    return isTerminating(transfer)
      ? dropFinalizer(transfer)
      : fault(transferPhases.pending, faults.unsupportedKind(transfer.spec.source.kind))
  }
  if (!isKept) {
    const kept = [...(transfer.metadata.finalizers ?? []), finalizers.objectTransfer]
    return {
      because: 'what is begun must not be left half done',
      write: patchMetadata(kinds.objectTransfer, transfer, { finalizers: kept }),
    }
  }
  switch (phase) {
    case transferPhases.unset:
      if (isTerminating(transfer)) return dropFinalizer(transfer)
      return { because: 'it is new', status: { phase: transferPhases.pending, message: words.initializing } }
    case transferPhases.pending:
      return isTerminating(transfer) ? withdraw(seen, moved) : begin(seen, moved)
    case transferPhases.running:
      return moved.movable.move(seen)
    case transferPhases.error:
      return isTerminating(transfer) ? withdraw(seen, moved) : moved.movable.move(seen)
    case transferPhases.complete:
      return finish(seen)
    default:
      return phase satisfies never
  }
}

function begin(seen: TransferObservation, { kind, movable }: MovableKind): Step {
  const { transfer, namespace } = seen
  const { pending, running } = transferPhases
  const obstacle = movable.obstacleOf(seen)
  if (obstacle) return { because: obstacle.message, status: { phase: pending, ...obstacle } }
  // Nothing is taken from its place before there is one for it.
  if (!namespace || isTerminating(namespace)) return fault(pending, faults.noNamespace(targetPlace(transfer).namespace))
  if (movable.targetOf(seen)) return targetExists(transfer, pending)
  const source = movable.sourceOf(seen)
  if (source && !isClaimedBy(source, transfer)) {
    const claimed = { annotations: { [annotations.objectTransferName]: transfer.metadata.name } }
    return {
      because: 'no other transfer may have it',
      write: patchMetadata(kind, source, claimed),
      status: { phase: pending, message: words.pending },
    }
  }
  return {
    because: 'nothing is in the way',
    status: { phase: running, message: words.running, data: movable.notesOf(seen) },
  }
}

/** The user has changed their mind. */
function withdraw(seen: TransferObservation, { movable }: MovableKind): Step {
  return movable.takeBack(seen) ?? dropFinalizer(seen.transfer)
}

/** All is moved: what helped with it goes. */
function finish(seen: TransferObservation): Step {
  const { transfer, child, parent, targetClaim, targetDataVolume } = seen
  if (child && !isTerminating(child)) {
    return {
      because: 'the transfer of the claim is done',
      write: { do: 'delete', kind: kinds.objectTransfer, key: keyOf(child), uid: child.metadata.uid },
    }
  }
  // The transfer of the DataVolume takes the claim over.
  const isPart = parent && transfer.metadata.name === claimTransferName(parent.metadata.uid)
  const released = isPart
    ? undefined
    : (release(kinds.dataVolume, targetDataVolume, transfer) ?? release(kinds.pvc, targetClaim, transfer))
  return released ?? dropFinalizer(transfer)
}

function hasFinalizer({ metadata }: ObjectTransfer): boolean {
  return metadata.finalizers?.includes(finalizers.objectTransfer) ?? false
}

function dropFinalizer(transfer: ObjectTransfer): Step {
  const others = (transfer.metadata.finalizers ?? []).filter((finalizer) => finalizer !== finalizers.objectTransfer)
  return {
    because: 'there is nothing left to do',
    write: patchMetadata(kinds.objectTransfer, transfer, { finalizers: others }),
  }
}

/** What went wrong, as the status tells it; a transfer that has not begun stays where it is. */
export function failureOf(transfer: ObjectTransfer, reason: string): StatusFacts | undefined {
  const { pending, running, error, complete, unset } = transferPhases
  const phase = phaseOf(transfer)
  switch (phase) {
    case complete:
      return undefined
    case unset:
    case pending:
      return { phase, message: words.error, reason }
    case running:
    case error:
      return { phase: error, message: words.error, reason }
    default:
      return phase satisfies never
  }
}

/** The status that says it. @param now RFC 3339, whole seconds */
export function statusWith(transfer: ObjectTransfer, facts: StatusFacts, now: string): ObjectTransfer['status'] {
  const { phase, message, reason = '', data } = facts
  const before = transfer.status
  const status = phase === transferPhases.complete ? 'True' : 'False'
  const conditions = setCondition(
    before?.conditions as Condition[] | undefined,
    { type: 'Complete', status, message, reason },
    now,
  )
  const notes = { ...before?.data, ...data }
  return { phase, conditions: [...conditions], ...(Object.keys(notes).length > 0 ? { data: notes } : {}) }
}
