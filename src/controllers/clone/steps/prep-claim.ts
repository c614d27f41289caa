/** The step PrepClaim: a volume that the storage made is bound, and grows. Pure. */
import { clonePhases } from '../../../api/names.ts'
import type { PersistentVolumeClaim } from '../../../api/kinds.ts'
import { tryParseQuantity } from '../../../quantity.ts'
import { capacityBytesOf, requestedBytesOf } from '../origin.ts'
import { claimPhase, isTerminating, isUnfinished } from '../../shared/claim.ts'
import { endedAt } from '../../shared/pod-state.ts'
import type { CloneObservation } from '../observation.ts'
import { renderPrepPod } from '../temporary.ts'
import { goneFirst } from './step.ts'
import type { Step } from './step.ts'

/** How long a pod that ended before its volume was ready is kept before another one is tried. */
const retryDelayMs = 2_000

/** Sees to it that a claim of the storage's making is bound and as large as wanted; both may need a pod that mounts it. */
export function prepClaim(seen: CloneObservation, claim: PersistentVolumeClaim, storage: string): Step | undefined {
  const phase = clonePhases.prepClaim
  const { target, temporary, cloneSource, settings, config, cdi, now } = seen
  const { prepPod } = temporary
  const wanted = tryParseQuantity(storage) ?? 0
  if (claimPhase(claim) === 'Lost') return undefined
  if (isTerminating(claim)) return goneFirst(phase)
  const isBound = claimPhase(claim) === 'Bound'
  if (isBound && (requestedBytesOf(claim.spec) ?? 0) < wanted) {
    return { phase, because: 'the volume is to grow', action: { do: 'enlarge', claim, storage } }
  }
  const isReady = isBound && (capacityBytesOf(claim) ?? 0) >= wanted
  if (isReady && !prepPod) return undefined
  if (prepPod && isTerminating(prepPod)) return { phase, because: 'the pod that mounts the volume has not gone yet' }
  if (isReady && prepPod) {
    return { phase, because: 'the volume is ready', action: { do: 'deletePod', pod: prepPod } }
  }
  if (!prepPod) {
    const priorityClassName = cloneSource?.spec.priorityClassName
    return {
      phase,
      because: isBound
        ? 'somebody has to mount the volume, so that it grows'
        : 'somebody has to make the claim be bound',
      action: {
        do: 'createPod',
        pod: renderPrepPod({ target, claim, priorityClassName, settings, config, cdi }),
      },
    }
  }
  if (isUnfinished(prepPod)) return { phase, because: 'the pod that mounts the volume is at work' }
  // The storage was slower than the pod: its node only learns at the next mount that the volume has grown.
  const waitMs = endedAt(prepPod, now) + retryDelayMs - now
  return waitMs > 0
    ? { phase, because: 'the volume is not ready although it was mounted', requeueAfterMs: waitMs }
    : { phase, because: 'another pod shall mount the volume', action: { do: 'deletePod', pod: prepPod } }
}
