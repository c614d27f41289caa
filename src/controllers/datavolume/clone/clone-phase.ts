/**
 * What the state of T means for a DataVolume that is a clone: phase and event (contract/clone.md §3.1; in the direct mode,
 * where T is copied into by itself, §9). Pure.
 */
import { annotations, clonePhases, cloneStrategies, messages, phases, reasons } from '../../../api/names.ts'
import type { CloneEnds, Phase } from '../../../api/names.ts'
import type { PersistentVolumeClaim } from '../../../api/kinds.ts'
import { annotationOf } from '../../shared/annotated.ts'
import { normal, warning } from '../../shared/told.ts'
import { wasRefused } from '../sources/source-kind.ts'
import type { PassedPhase, PhaseOutcome } from '../sources/source-kind.ts'
import { usesPopulator } from '../work.ts'

/** The phases of a clone that has begun and has not ended. */
const underWay: ReadonlySet<Phase> = new Set([
  phases.cloneScheduled,
  phases.cloneInProgress,
  phases.snapshotForSmartClone,
  phases.cloneFromSnapshotSource,
  phases.csiClone,
  phases.prepClaim,
  phases.rebind,
])

/** Whether T holds its copy. */
export function isCloned(target: PersistentVolumeClaim): boolean {
  return usesPopulator(target)
    ? annotationOf(target, annotations.clonePhase) === clonePhases.succeeded
    : annotationOf(target, annotations.podPhase) === 'Succeeded'
}

/** The phase of a clone whose T is not filled yet. @param current the phase until now */
export function clonePhaseOf(target: PersistentVolumeClaim, current: Phase, ends: CloneEnds): PhaseOutcome {
  return usesPopulator(target) ? populatedPhase(target, current, ends) : copiedPhase(target, current, ends)
}

function populatedPhase(target: PersistentVolumeClaim, current: Phase, ends: CloneEnds): PhaseOutcome {
  const outcome = shownPhase(target, current, ends)
  const path = pathOf(target, ends)
  const at = path.findIndex(({ phase }) => phase === outcome.phase)
  return at > 0 ? { ...outcome, passed: path.slice(0, at) } : outcome
}

/**
 * The phases of a clone that tell how it is made, from its beginning to the end. That a snapshot was taken, or that the storage
 * cloned, is how others know such a clone (contract/clone.md §3.1), so its events are told even if it was so quick that nobody
 * saw it.
 */
export function pathOf(target: PersistentVolumeClaim, ends: CloneEnds): readonly PassedPhase[] {
  if (!usesPopulator(target)) return []
  const strategy = annotationOf(target, annotations.cloneType)
  const end = [{ phase: phases.prepClaim }, { phase: phases.rebind }]
  if (strategy === cloneStrategies.csiClone) return [cloningByStorage(ends), ...end]
  const isSnapshot = strategy === cloneStrategies.snapshot && ends.kind === 'pvc'
  return isSnapshot ? [takingSnapshot(ends), restoringSnapshot(ends), ...end] : []
}

function shownPhase(target: PersistentVolumeClaim, current: Phase, ends: CloneEnds): PhaseOutcome {
  switch (annotationOf(target, annotations.clonePhase)) {
    case undefined:
    case clonePhases.pending:
      return scheduled(ends)
    case clonePhases.snapshot:
      return takingSnapshot(ends)
    case clonePhases.snapshotClone:
      return restoringSnapshot(ends)
    case clonePhases.csiClone:
      return cloningByStorage(ends)
    case clonePhases.hostClone:
      return inProgress(ends)
    case clonePhases.prepClaim:
      return { phase: phases.prepClaim, event: normal(reasons.prepClaim, messages.prepClaim(ends)) }
    case clonePhases.rebind:
      return { phase: phases.rebind, event: normal(reasons.rebind, messages.rebind(ends)) }
    case clonePhases.error:
    default:
      // What an earlier T came to says nothing of this one.
      return underWay.has(current) ? { phase: current } : { phase: phases.cloneScheduled }
  }
}

function copiedPhase(target: PersistentVolumeClaim, current: Phase, ends: CloneEnds): PhaseOutcome {
  switch (annotationOf(target, annotations.podPhase)) {
    case 'Running':
      return inProgress(ends)
    case 'Failed': {
      const phase = underWay.has(current) ? current : phases.cloneScheduled
      if (wasRefused(target)) return { phase }
      return { phase, event: warning(reasons.cloneFailed, messages.cloneFailed(ends)), isToldAnyway: true }
    }
    case 'Pending':
    case undefined:
    default:
      return scheduled(ends)
  }
}

function cloningByStorage(ends: CloneEnds): PhaseOutcome {
  return { phase: phases.csiClone, event: normal(reasons.csiClone, messages.csiClone(ends)) }
}

function takingSnapshot(ends: CloneEnds): PhaseOutcome {
  return {
    phase: phases.snapshotForSmartClone,
    event: normal(reasons.snapshotForSmartClone, messages.snapshotForSmartClone(ends)),
  }
}

function restoringSnapshot(ends: CloneEnds): PhaseOutcome {
  return {
    phase: phases.cloneFromSnapshotSource,
    event: normal(reasons.cloneFromSnapshotSource, messages.cloneFromSnapshotSource(ends)),
  }
}

function scheduled(ends: CloneEnds): PhaseOutcome {
  return { phase: phases.cloneScheduled, event: normal(reasons.cloneScheduled, messages.cloneScheduled(ends)) }
}

function inProgress(ends: CloneEnds): PhaseOutcome {
  return { phase: phases.cloneInProgress, event: normal(reasons.cloneInProgress, messages.cloneInProgress(ends)) }
}
