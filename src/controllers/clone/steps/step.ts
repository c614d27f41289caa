/** What a step of a clone says, and what steps have in common (contract/clone.md §6.2). Pure. */
import { clonePhases } from '../../../api/names.ts'
import type { ClonePhase } from '../../../api/names.ts'
import type { PersistentVolume, PersistentVolumeClaim, Pod, VolumeSnapshot } from '../../../api/kinds.ts'
import type { NewObject } from '../../../kube/object.ts'
import type { Told } from '../../shared/told.ts'
import { withoutSource } from '../choice.ts'
import type { Origin } from '../observation.ts'

export type Action =
  | { readonly do: 'createClaim'; readonly claim: NewObject<PersistentVolumeClaim> }
  | { readonly do: 'createSnapshot'; readonly snapshot: NewObject<VolumeSnapshot> }
  | { readonly do: 'createPod'; readonly pod: NewObject<Pod> }
  | { readonly do: 'deletePod'; readonly pod: Pod }
  /** Let a claim ask for more; `storage` is a quantity. */
  | { readonly do: 'enlarge'; readonly claim: PersistentVolumeClaim; readonly storage: string }
  /** Promise the volume to T. */
  | { readonly do: 'rebind'; readonly volume: PersistentVolume }

export interface Step {
  readonly phase: ClonePhase
  /** Why, in a few constant words for the log. */
  readonly because: string
  readonly action?: Action
  readonly events?: readonly Told[]
  /** What stops it, for T. */
  readonly error?: string
  readonly requeueAfterMs?: number
}

/** A source that is not there shows itself when it comes; this is for one that came unseen. */
export const withoutSourceDelayMs = 5_000

export function missingSource(origin: Origin): Step {
  return {
    phase: clonePhases.pending,
    because: 'there is no source',
    events: [withoutSource(origin)],
    requeueAfterMs: withoutSourceDelayMs,
  }
}

export function goneFirst(phase: ClonePhase): Step {
  return { phase, because: 'the former temporary claim has not gone yet' }
}

export function failed(phase: ClonePhase, error: string): Step {
  return { phase, because: 'it cannot go on', error }
}

/** What a claim asks for, a quantity. */
export function storageRequestOf({ spec }: PersistentVolumeClaim): string {
  return spec?.resources?.requests?.['storage'] ?? '0'
}
