/**
 * The phase of a DataVolume (contract/datavolume.md §2), evaluated after each sync: a table of cases, the first match
 * wins. Two points are better than the old service, and no known client can tell: `Succeeded` waits until T is Bound, and a
 * T that was made anew after the end starts from Pending instead of staying Succeeded (§17).
 */
import { annotations, messages, phases, reasons } from '../../api/names.ts'
import type { Phase } from '../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim, StorageClass } from '../../api/kinds.ts'
import type { CloneOrder } from '../clone/tokens.ts'
import { hasAnnotation } from '../shared/annotated.ts'
import {
  claimPhase,
  isTerminating,
  isWaitForFirstConsumer,
  selectedNode,
  wantsImmediateBinding,
} from '../shared/claim.ts'
import { normal, warning } from '../shared/told.ts'
import { sourceKindOf } from './source-kinds.ts'
import type { PhaseOutcome } from './sources/source-kind.ts'
import {
  isPopulatedByOthers,
  isPopulatedFor,
  isAdoptable,
  ownershipOf,
  usesPopulator,
  expectedVolumes,
} from './work.ts'

export interface PhaseInput {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim | undefined
  /** The claim that the worker writes to: P, or T itself. */
  readonly carrier: PersistentVolumeClaim | undefined
  readonly storageClass: StorageClass | undefined
  /** Whether the storage can fill T from what it names, if it names something that we do not serve (§14). */
  readonly isServedByStorage: boolean
  readonly honorWaitForFirstConsumer: boolean
  readonly adoptionGate: boolean
  /** What a clone is made of. */
  readonly clone?: CloneOrder | undefined
}

export function phaseOf(input: PhaseInput): PhaseOutcome {
  const { dataVolume, target } = input
  const current = (dataVolume.status?.phase ?? phases.unset) as Phase
  if (!target) {
    return { phase: hasAnnotation(dataVolume, annotations.prePopulated) || current === '' ? phases.pending : current }
  }
  if (hasAnnotation(dataVolume, annotations.checkStaticVolume) && expectedVolumes(target))
    return { phase: phases.pending }
  if (isTerminating(target)) return { phase: current }
  // What a claim that is not ours went through says nothing of this DataVolume (§5, ErrResourceExists).
  if (ownershipOf({ ...input, target }) === 'foreign') return { phase: current }
  const done = isPopulatedFor({ ...input, target }) || isAdoptable({ ...input, target })
  if (isPopulatedByOthers(target) && !done) return externalPhase(input, target, current)
  return ownPhase(input, target, restarted(current, target, done), done)
}

/** A phase that an earlier T reached says nothing of one that no worker has touched. */
function restarted(current: Phase, target: PersistentVolumeClaim, done: boolean): Phase {
  const untouched =
    !done && !hasAnnotation(target, annotations.podPhase) && !hasAnnotation(target, annotations.clonePhase)
  const stale: readonly Phase[] = [
    phases.succeeded,
    phases.failed,
    phases.importInProgress,
    phases.uploadReady,
    phases.paused,
  ]
  return untouched && stale.includes(current) ? phases.pending : current
}

function ownPhase(input: PhaseInput, target: PersistentVolumeClaim, current: Phase, done: boolean): PhaseOutcome {
  const { storageClass } = input
  const claim = claimPhase(target)
  switch (claim) {
    case 'Lost':
      return { phase: phases.failed, event: warning(reasons.errClaimLost, messages.claimLost(target.metadata.name)) }
    case 'Other':
      return { phase: phases.unknown }
    case 'Bound': {
      if (done) return { phase: phases.succeeded }
      const waited: readonly Phase[] = [phases.pending, phases.waitForFirstConsumer, phases.unknown]
      return workerPhase(input, target, waited.includes(current) ? phases.pvcBound : current)
    }
    case 'Pending': {
      if (done) return { phase: phases.succeeded }
      if (!usesPopulator(target)) {
        const waits = isWaitForFirstConsumer(storageClass) && input.honorWaitForFirstConsumer
        return { phase: waits ? phases.waitForFirstConsumer : phases.pending }
      }
      const waits = isWaitForFirstConsumer(storageClass) && !selectedNode(target) && !wantsImmediateBinding(target)
      return waits ? { phase: phases.pendingPopulation } : workerPhase(input, target, current)
    }
    default:
      return claim satisfies never
  }
}

/** What the worker's state on T means. */
function workerPhase(input: PhaseInput, target: PersistentVolumeClaim, current: Phase): PhaseOutcome {
  const kind = sourceKindOf(input.dataVolume, input.clone)
  if (!kind) return { phase: current }
  if (kind.isDone(target)) {
    if (claimPhase(target) !== 'Bound') return { phase: current }
    return {
      phase: phases.succeeded,
      event: kind.succeeded(target.metadata.name),
      passed: kind.pathOf?.(target) ?? [],
    }
  }
  return kind.hasWorker(target, input.carrier) ? kind.phaseOf(target, current) : { phase: current }
}

/** A claim that the storage itself fills (§14). */
function externalPhase(input: PhaseInput, target: PersistentVolumeClaim, current: Phase): PhaseOutcome {
  const { storageClass, isServedByStorage } = input
  const source = target.spec?.dataSourceRef ?? target.spec?.dataSource
  const claim = claimPhase(target)
  // It may be bound, but to an empty volume: whoever waits for the disk must not take it for one.
  if (!isServedByStorage && (claim === 'Bound' || claim === 'Pending')) return { phase: current }
  switch (claim) {
    case 'Bound':
      return {
        phase: phases.succeeded,
        event: normal(
          reasons.externalPopulationSucceeded,
          messages.externalPopulationSucceeded(target.metadata.name, source?.name ?? ''),
        ),
      }
    case 'Pending':
      if (isWaitForFirstConsumer(storageClass)) return { phase: phases.pendingPopulation }
      return { phase: current === phases.unset ? phases.pending : current }
    case 'Lost':
      return { phase: phases.failed, event: warning(reasons.errClaimLost, messages.claimLost(target.metadata.name)) }
    case 'Other':
      return { phase: phases.unknown }
    default:
      return claim satisfies never
  }
}
