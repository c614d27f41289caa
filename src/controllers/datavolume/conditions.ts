/** The conditions Bound, Ready and Running of a DataVolume (contract/datavolume.md §3), each a table of cases. */
import { annotations, messages, phases, reasons } from '../../api/names.ts'
import type { Phase } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import type { ConditionFacts } from '../../kube/conditions.ts'
import { annotationOf } from '../shared/annotated.ts'
import { claimPhase } from '../shared/claim.ts'

/** Why there is no claim, in the words of Bound and Ready. */
export interface Override {
  readonly reason: string
  readonly message: string
}

export function boundCondition(target: PersistentVolumeClaim | undefined, override?: Override): ConditionFacts {
  if (!target) {
    return {
      type: 'Bound',
      status: 'False',
      reason: override?.reason ?? reasons.notFound,
      message: override?.message ?? messages.noPvcFound,
    }
  }
  const name = target.metadata.name
  const told = annotationOf(target, annotations.conditionBound)
  const contradicts = told !== undefined && told !== 'true'
  const reason = annotationOf(target, annotations.conditionBoundReason) ?? ''
  const message = annotationOf(target, annotations.conditionBoundMessage) ?? ''
  const claim = claimPhase(target)
  switch (claim) {
    case 'Bound':
      // "Pending" on a bound claim is only waiting to be taken off.
      return contradicts && reason !== reasons.pending
        ? { type: 'Bound', status: 'False', reason, message }
        : { type: 'Bound', status: 'True', reason: reasons.bound, message: messages.pvcBound(name) }
    case 'Lost':
      return { type: 'Bound', status: 'False', reason: reasons.claimLost, message: messages.claimLostCondition }
    case 'Pending':
    case 'Other': {
      if (!contradicts) {
        return { type: 'Bound', status: 'False', reason: reasons.pending, message: messages.pvcPending(name) }
      }
      const prime = annotationOf(target, annotations.populatorPvcPrime)
      return { type: 'Bound', status: 'False', reason, message: messages.targetPending(name, prime, message) }
    }
    default:
      return claim satisfies never
  }
}

export function runningCondition(target: PersistentVolumeClaim | undefined): ConditionFacts {
  if (!target) return { type: 'Running', status: 'False' }
  if (annotationOf(target, annotations.podSchedulable) === 'false') {
    return {
      type: 'Running',
      status: 'False',
      reason: reasons.unschedulable,
      message: messages.importerUnschedulable,
    }
  }
  const { state, reason, message } = withSourcePod(target)
  switch (state) {
    case undefined:
      return { type: 'Running', status: 'False' }
    case 'true':
      return { type: 'Running', status: 'True', reason }
    case 'false':
      return { type: 'Running', status: 'False', reason, message }
    default:
      return { type: 'Running', status: 'Unknown', reason, message }
  }
}

/** The work on T as its annotations tell it; of a copy both pods have to run. */
function withSourcePod(target: PersistentVolumeClaim): { state: string | undefined; reason: string; message: string } {
  const receiver = {
    state: annotationOf(target, annotations.conditionRunning),
    reason: annotationOf(target, annotations.conditionRunningReason) ?? '',
    message: annotationOf(target, annotations.conditionRunningMessage) ?? '',
  }
  const state = annotationOf(target, annotations.conditionSourceRunning)
  if (receiver.state === undefined || state === undefined || state === 'true') return receiver
  const source = {
    state: 'false',
    reason: annotationOf(target, annotations.conditionSourceRunningReason) ?? '',
    message: annotationOf(target, annotations.conditionSourceRunningMessage) ?? '',
  }
  if (receiver.state === 'true') return source
  const both = (one: string, other: string): string => [one, other].filter((text) => text !== '').join(' and ')
  return {
    state: 'false',
    reason: both(receiver.reason, source.reason),
    message: both(receiver.message, source.message),
  }
}

export function readyCondition({
  phase,
  running,
  override,
}: {
  phase: Phase
  running: ConditionFacts
  override?: Override | undefined
}): ConditionFacts {
  if (override) return { type: 'Ready', status: 'False', ...override }
  if (running.status === 'True') return { type: 'Ready', status: 'False', reason: reasons.transferRunning }
  if (phase === phases.succeeded) return { type: 'Ready', status: 'True' }
  return { type: 'Ready', status: phase === phases.unknown ? 'Unknown' : 'False' }
}
