/**
 * What differs between DataVolumes by who fills them: an importer, a client that uploads, another volume. Everything else
 * (rendering, ownership, adoption, conditions, the way of a source resource) is the same for all kinds. `../source-kinds.ts`
 * knows them all.
 */
import { annotations } from '../../../api/names.ts'
import type { Phase } from '../../../api/names.ts'
import type {
  DataVolume,
  PersistentVolumeClaim,
  VolumeCloneSource,
  VolumeImportSource,
  VolumeUploadSource,
} from '../../../api/kinds.ts'
import type { Kind } from '../../../kube/object.ts'
import { annotationOf } from '../../shared/annotated.ts'
import type { Caches, Held } from '../../shared/caches.ts'
import type { ProgressReader } from '../../shared/progress.ts'
import { claimPhase } from '../../shared/claim.ts'
import type { Told } from '../../shared/told.ts'
import { isRefusal } from '../../shared/pod-state.ts'

/** A resource of ours that T's dataSourceRef names in populator mode. */
export type SourceResource = VolumeImportSource | VolumeUploadSource | VolumeCloneSource

/** A phase that may have been too short to be seen. */
export interface PassedPhase {
  readonly phase: Phase
  /** Undefined for one that nobody misses. */
  readonly event?: Told
}

export interface PhaseOutcome {
  readonly phase: Phase
  /** Told only if the phase changes by it. */
  readonly event?: Told
  /** What was gone through on the way here, oldest first; what the phase before does not show is told now. */
  readonly passed?: readonly PassedPhase[]
  /** The event is told with any change of the status. */
  readonly isToldAnyway?: true
}

export interface SourceKind {
  /** Its events on DataVolumes come from `datavolume-<name>-controller`. */
  readonly name: 'import' | 'upload' | 'pvc-clone' | 'snapshot-clone'
  /** Why a DataVolume that is served cannot be right; undefined if it may be. */
  readonly problemOf: (dataVolume: DataVolume) => string | undefined

  readonly resource: Kind<SourceResource>
  readonly resourceName: (dataVolumeUid: string) => string
  /** Where the resource lives; without it, beside the DataVolume. */
  readonly resourceNamespace?: string
  readonly resourcesOf: (caches: Caches) => Pick<Held<SourceResource>, 'get'>
  /** The resource without its metadata. It says only what the DataVolume says. */
  readonly resourceBody: (dataVolume: DataVolume) => { readonly spec: object; readonly status?: object }
  /** In the direct mode, the annotations of T that order the work. */
  readonly order: (dataVolume: DataVolume) => Readonly<Record<string, string>>
  /** In either mode, the annotations of T that prove that its source may be read. */
  readonly permit?: (dataVolume: DataVolume) => Readonly<Record<string, string>>

  /** Whether T has been filled. */
  readonly isDone: (target: PersistentVolumeClaim) => boolean
  /** Whether somebody may be at work for T; the carrier is the claim that is written to (P, or T itself). */
  readonly hasWorker: (target: PersistentVolumeClaim, carrier: PersistentVolumeClaim | undefined) => boolean
  /** The source rule (contract/datavolume.md §2) for a T that is not filled yet and has a worker. */
  readonly phaseOf: (target: PersistentVolumeClaim, current: Phase) => PhaseOutcome
  /** The phases of the way to there that somebody may wait for; see {@link PhaseOutcome}. */
  readonly pathOf?: (target: PersistentVolumeClaim) => readonly PassedPhase[]
  /** Told when T is filled and bound. */
  readonly succeeded: (target: string) => Told
  /** Whose metrics tell the progress of work on T itself; without it progress is never told. */
  readonly workerOf?: (target: PersistentVolumeClaim, caches: Caches) => Parameters<ProgressReader['follow']>[1]
}

/** A kind that a DataVolume shows by itself. */
export interface PlainSourceKind extends SourceKind {
  /** Whether a DataVolume is filled in this way. */
  readonly serves: (dataVolume: DataVolume) => boolean
}

/** {@link SourceKind.isDone} where the worker's pod tells it. */
export function hasPodSucceeded(target: PersistentVolumeClaim): boolean {
  return annotationOf(target, annotations.podPhase) === 'Succeeded'
}

/** {@link SourceKind.hasWorker} where a worker needs a bound carrier that it was ordered for. */
export function hasWorkerOnceBound(
  isOrdered: (carrier: PersistentVolumeClaim) => boolean,
): (target: PersistentVolumeClaim, carrier: PersistentVolumeClaim | undefined) => boolean {
  return (_, carrier) => carrier !== undefined && claimPhase(carrier) === 'Bound' && isOrdered(carrier)
}

/** A pod that could not be made (a quota) failed in nothing: it is made later. Its own event says so. */
export function wasRefused(target: PersistentVolumeClaim): boolean {
  // A copy has two pods.
  return [annotations.conditionRunningReason, annotations.conditionSourceRunningReason].some((key) =>
    isRefusal(annotationOf(target, key)),
  )
}

/** The fields of the DataVolume that the resources of imports and uploads bear when they are set. */
export function commonSpec({ spec: { contentType, preallocation } }: DataVolume): {
  contentType?: string
  preallocation?: boolean
} {
  return {
    ...(contentType === undefined ? {} : { contentType }),
    ...(preallocation === undefined ? {} : { preallocation }),
  }
}
