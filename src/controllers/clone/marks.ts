/** What T says about its clone (contract/clone.md §3.1, §6.1). Pure. */
import { annotations, clonePhases, labels, messages, progressTexts, reasons } from '../../api/names.ts'
import type { ClonePhase } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { controllerOf } from '../../kube/owners.ts'
import { percentText } from '../populators/plan.ts'
import { annotationOf } from '../shared/annotated.ts'
import { missingCarrierLabel } from '../shared/claim.ts'
import { running } from '../shared/pod-state.ts'

export interface CloneState {
  readonly phase: ClonePhase
  /** With phase Error: what stopped the last step. */
  readonly error?: string | undefined
  /** With phase Error: of the Running condition, `Error` unless told. */
  readonly reason?: string | undefined
  /** The temporary claim. */
  readonly claim: PersistentVolumeClaim | undefined
  /** Last progress of the copy, 0–100. */
  readonly progressPercent: number | undefined
}

type Marks = Record<string, string | null | undefined>

/** The annotations of T; null removes, undefined leaves alone. */
export function marksOf(target: PersistentVolumeClaim, state: CloneState): Marks {
  const { phase, error, claim, progressPercent } = state
  const isCopying = phase === clonePhases.hostClone
  return {
    [annotations.clonePhase]: phase,
    [annotations.cloneError]: error ?? null,
    [annotations.preallocation]: claim && annotationOf(claim, annotations.preallocation),
    [annotations.cloneOf]: claim && annotationOf(claim, annotations.cloneOf),
    [annotations.populatorProgress]:
      phase === clonePhases.succeeded ? progressTexts.done : isCopying ? percentText(progressPercent) : undefined,
    // Whoever has no DataVolume has nobody who reads the rest.
    ...(controllerOf(target)?.kind === kinds.dataVolume.kind ? runningOf(state) : {}),
  }
}

/** The labels that T lacks. */
export function missingLabels(target: PersistentVolumeClaim): Record<string, string> {
  const isFilesystem = target.spec?.volumeMode !== 'Block'
  const silent = 'disabled'
  return {
    ...missingCarrierLabel(target),
    ...(isFilesystem && target.metadata.labels?.[labels.fillingUpAlert] !== silent
      ? { [labels.fillingUpAlert]: silent }
      : {}),
  }
}

function runningOf({ phase, error, reason, claim }: CloneState): Marks {
  switch (phase) {
    case clonePhases.pending:
      return running('false', messages.clonePending, reasons.pending)
    case clonePhases.error:
      return running('false', error ?? '', reason ?? reasons.error)
    case clonePhases.succeeded:
      return running('false', messages.cloneComplete, reasons.completed)
    case clonePhases.hostClone:
      return runningOfCopy(claim)
    case clonePhases.snapshot:
    case clonePhases.snapshotClone:
    case clonePhases.csiClone:
    case clonePhases.prepClaim:
    case clonePhases.rebind:
      return populatorRuns
    default:
      return phase satisfies never
  }
}

const populatorRuns = running('true', '', messages.populatorRunning)

/**
 * The state of the receiving pod, which the temporary claim tells; while that one only waits for the source pod, the state of
 * the source pod.
 */
function runningOfCopy(claim: PersistentVolumeClaim | undefined): Marks {
  const told = claim && annotationOf(claim, annotations.conditionRunning)
  if (!claim || told === undefined) return populatorRuns
  const reason = annotationOf(claim, annotations.conditionRunningReason) ?? ''
  const waitsForSource =
    reason === reasons.podIsRunning && annotationOf(claim, annotations.conditionSourceRunning) === 'false'
  return {
    [annotations.podRestarts]: annotationOf(claim, annotations.podRestarts),
    ...(waitsForSource
      ? running(
          'false',
          annotationOf(claim, annotations.conditionSourceRunningMessage) ?? '',
          annotationOf(claim, annotations.conditionSourceRunningReason) ?? '',
        )
      : running(
          told === 'true' ? 'true' : 'false',
          annotationOf(claim, annotations.conditionRunningMessage) ?? '',
          reason,
        )),
  }
}

/** Whether T says that nothing is left to do. */
export function isCloned(target: PersistentVolumeClaim): boolean {
  return annotationOf(target, annotations.clonePhase) === clonePhases.succeeded
}
