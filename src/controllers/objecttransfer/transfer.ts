/**
 * The terms in which ObjectTransfers are planned: what was seen, and one step out of it. A transfer is looked at again after
 * each step until a look changes nothing.
 */
import type {
  DataVolume,
  Namespace,
  ObjectTransfer,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
} from '../../api/kinds.ts'
import { annotations } from '../../api/names.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import type { Kind, KubeObject, NewObject, ObjectKey, ObjectMeta } from '../../kube/object.ts'
import { annotationOf } from '../shared/annotated.ts'
import { isTerminating } from '../shared/claim.ts'
import { faults, notes, transferPhases, words } from './words.ts'
import type { TransferPhase } from './words.ts'

/** Everything that matters for the next step. All but the pods is read from the API itself: a volume depends on it. */
export interface TransferObservation {
  readonly transfer: ObjectTransfer
  /** The claim of the source's name: the source, or that of the DataVolume that is. */
  readonly claim: PersistentVolumeClaim | undefined
  /** Whether that claim holds what it is to hold. */
  readonly isPopulated: boolean
  /** Unfinished pods that mount that claim. */
  readonly users: readonly Pod[]
  /** The volume that moves: the saved one, else that of the claim. */
  readonly volume: PersistentVolume | undefined
  /** The claim of the target's name. */
  readonly targetClaim: PersistentVolumeClaim | undefined
  /** The source of a transfer of a DataVolume; undefined for one of a claim, as the two that follow. */
  readonly dataVolume: DataVolume | undefined
  readonly targetDataVolume: DataVolume | undefined
  /** The transfer of the DataVolume's claim. */
  readonly child: ObjectTransfer | undefined
  /** The transfer that this one is a part of, if it is there. */
  readonly parent: ObjectTransfer | undefined
  /** Namespace of the target. */
  readonly namespace: Namespace | undefined
}

export type Write =
  | { readonly do: 'create'; readonly kind: Kind; readonly object: NewObject<KubeObject> }
  /** A merge patch; it names the version that was seen. */
  | { readonly do: 'patch'; readonly kind: Kind; readonly key: ObjectKey; readonly body: object }
  /** Of exactly this object, and if a version is named, only in that state. */
  | {
      readonly do: 'delete'
      readonly kind: Kind
      readonly key: ObjectKey
      readonly uid: string
      readonly resourceVersion?: string
    }

/** What the status is to say. */
export interface StatusFacts {
  readonly phase: TransferPhase
  readonly message: string
  readonly reason?: string
  /** Added to what is noted there. */
  readonly data?: Readonly<Record<string, string>>
}

export interface Step {
  readonly because: string
  /** Done first. */
  readonly write?: Write
  /** Written after it, if it is news. */
  readonly status?: StatusFacts
  /** For what shows itself to nobody. */
  readonly requeueAfterMs?: number
}

/** One kind of object that can be moved. */
export interface Movable {
  /** What keeps the transfer from beginning; undefined when nothing does. */
  readonly obstacleOf: (seen: TransferObservation) => Pick<StatusFacts, 'message' | 'reason'> | undefined
  /** The object that is moved, whatever state it is in. */
  readonly sourceOf: (seen: TransferObservation) => KubeObject | undefined
  /** What of that name is at the target already. */
  readonly targetOf: (seen: TransferObservation) => KubeObject | undefined
  /** What is noted of the source before anything is done to it. */
  readonly notesOf: (seen: TransferObservation) => Readonly<Record<string, string>>
  /** One step of the move. */
  readonly move: (seen: TransferObservation) => Step
  /** One step of taking back what can be; undefined when there is nothing left of that. */
  readonly takeBack: (seen: TransferObservation) => Step | undefined
}

/** Where the object is. */
export function sourcePlace({ spec: { source } }: ObjectTransfer): Required<ObjectKey> {
  return { namespace: source.namespace, name: source.name }
}

/** Where the object is to be. */
export function targetPlace({ spec: { source, target } }: ObjectTransfer): Required<ObjectKey> {
  return { namespace: target.namespace || source.namespace, name: target.name || source.name }
}

export function phaseOf({ status }: ObjectTransfer): TransferPhase {
  const { pending, running, complete, error, unset } = transferPhases
  return [pending, running, complete, error].find((phase) => phase === status?.phase) ?? unset
}

export function noteOf({ status }: ObjectTransfer, key: string): string | undefined {
  return status?.data?.[key] || undefined
}

/** An object as it is noted: without what only the API server knows what to do with. */
export function note(object: KubeObject): string {
  const { managedFields: _, ...metadata } = object.metadata as ObjectMeta & { managedFields?: unknown }
  return JSON.stringify({ ...object, metadata })
}

/** The noted source; undefined when there is none, or what stands there is nothing of the kind. */
export function savedSource<T extends KubeObject>(transfer: ObjectTransfer, { kind }: Kind<T>): T | undefined {
  try {
    const saved = JSON.parse(noteOf(transfer, notes.source) ?? '') as T | null
    return saved?.kind === kind && saved.metadata?.uid && saved.metadata.resourceVersion ? saved : undefined
  } catch {
    return undefined
  }
}

/** Name of the transfer that has an object in its hands. */
export function claimedBy(object: KubeObject | undefined): string | undefined {
  return object && (annotationOf(object, annotations.objectTransferName) || undefined)
}

export function isClaimedBy(object: KubeObject | undefined, { metadata: { name } }: ObjectTransfer): boolean {
  return claimedBy(object) === name
}

/** What is in the way of a transfer that wants an object. What its parent has in its hands, it may take over. */
export function otherTransferOn(
  transfer: ObjectTransfer,
  objects: readonly (KubeObject | undefined)[],
): Pick<StatusFacts, 'message' | 'reason'> | undefined {
  const own = [transfer.metadata.name, transfer.spec.parentName]
  const reason = objects.map(claimedBy).find((name) => name !== undefined && !own.includes(name))
  return reason === undefined ? undefined : { message: words.usedByOther, reason }
}

/** Whether the source bears all annotations that it must. */
export function hasRequiredAnnotations({ spec: { source } }: ObjectTransfer, object: KubeObject): boolean {
  return Object.entries(source.requiredAnnotations ?? {}).every(([key, value]) => annotationOf(object, key) === value)
}

/** A patch of metadata of an object as it was seen. */
export function patchMetadata(kind: Kind, object: KubeObject, metadata: object): Write {
  const { resourceVersion } = object.metadata
  return { do: 'patch', kind, key: keyOf(object), body: { metadata: { resourceVersion, ...metadata } } }
}

/** Lets go of an object that the transfer has in its hands. */
export function release(kind: Kind, object: KubeObject | undefined, transfer: ObjectTransfer): Step | undefined {
  if (!object || isTerminating(object) || !isClaimedBy(object, transfer)) return undefined
  const released = {
    annotations: { [annotations.objectTransferName]: null, [annotations.objectTransferBound]: null },
  }
  return { because: 'the object is free again', write: patchMetadata(kind, object, released) }
}

/** The move goes on when something changes. */
export function waiting(message: string, reason?: string): Step {
  return {
    because: message,
    status: { phase: transferPhases.running, message, ...(reason ? { reason } : {}) },
  }
}

/** How long what went wrong waits for its next try: a quota that was raised shows itself to nobody. */
export const retryMs = 10_000

/** Something that only a person can put right; it is tried again. */
export function fault(phase: TransferPhase, reason: string): Step {
  return { because: reason, status: { phase, message: words.error, reason }, requeueAfterMs: retryMs }
}

export function targetExists(transfer: ObjectTransfer, phase: TransferPhase): Step {
  return fault(phase, faults.targetExists(formatKey(targetPlace(transfer))))
}

/** What an object keeps of its metadata at its new place; an owner cannot be in another namespace. */
export function movedMetadata(
  saved: KubeObject,
  transfer: ObjectTransfer,
  annotated: Readonly<Record<string, string | undefined>>,
): NewObject<KubeObject>['metadata'] {
  const place = targetPlace(transfer)
  const { labels, ownerReferences } = saved.metadata
  const kept = Object.entries({ ...saved.metadata.annotations, ...annotated }).filter(
    (entry): entry is [string, string] => entry[1] !== undefined,
  )
  return {
    ...place,
    ...(labels ? { labels } : {}),
    annotations: { ...Object.fromEntries(kept), [annotations.objectTransferName]: transfer.metadata.name },
    ...(ownerReferences && place.namespace === saved.metadata.namespace ? { ownerReferences } : {}),
  }
}
