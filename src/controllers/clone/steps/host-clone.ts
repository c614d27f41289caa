/** The step HostClone: pods copy the source into a claim; the copy controller sees to them. Pure. */
import { annotations, clonePhases, messages } from '../../../api/names.ts'
import type { PersistentVolumeClaim } from '../../../api/kinds.ts'
import { formatKey, keyOf } from '../../../kube/object.ts'
import { annotationOf } from '../../shared/annotated.ts'
import { claimPhase, isTerminating } from '../../shared/claim.ts'
import { copiedSize, isCompleted, targetSize } from '../facts.ts'
import type { CloneObservation, Origin } from '../observation.ts'
import { receiverBytes } from '../sizes.ts'
import { renderTemporaryClaim } from '../temporary.ts'
import { failed, goneFirst, missingSource, storageRequestOf } from './step.ts'
import type { Step } from './step.ts'

/** Makes the claim that the copy controller fills, and waits until it has. */
export function hostClone(
  seen: CloneObservation,
  { origin, from }: { origin: Origin; from: PersistentVolumeClaim | undefined },
): Step | undefined {
  const { target, temporary, cloneSource, config } = seen
  const phase = clonePhases.hostClone
  if (temporary.claim) {
    if (isTerminating(temporary.claim) && claimPhase(temporary.claim) !== 'Lost') return goneFirst(phase)
    // Preallocation is said in the write that says so; a copy that could not preallocate is complete all the same.
    if (isFilled(temporary.claim)) return undefined
    return claimPhase(temporary.claim) === 'Lost'
      ? failed(phase, messages.claimLost(temporary.claim.metadata.name))
      : { phase, because: 'the source is being copied' }
  }
  if (!from) return missingSource(origin)
  const requested = annotationOf(target, annotations.preallocationRequested)
  const preallocation =
    cloneSource?.spec.preallocation ??
    (requested === undefined ? (config?.status?.preallocation ?? false) : requested === 'true')
  return {
    phase,
    because: 'the source is to be copied',
    action: {
      do: 'createClaim',
      claim: renderTemporaryClaim({
        target,
        namespace: origin.namespace,
        storage: receiverStorage(seen, from),
        content: {
          by: 'copy',
          order: {
            from: formatKey(keyOf(from)),
            preallocation,
            priorityClassName: cloneSource?.spec.priorityClassName,
          },
        },
      }),
    },
  }
}

/** Whether a claim holds all of the copy. */
export function isFilled(claim: PersistentVolumeClaim): boolean {
  return annotationOf(claim, annotations.podPhase) === 'Succeeded'
}

/** In T's own spelling, unless more is needed. */
function receiverStorage(seen: CloneObservation, from: PersistentVolumeClaim): string {
  const asked = storageRequestOf(seen.target)
  const [source, target] = [copiedSize(seen, from), targetSize(seen)]
  if (!source || !target) return asked
  const bytes = receiverBytes({ source, target, isCompleted: isCompleted(seen.target) })
  return bytes > target.bytes ? String(bytes) : asked
}
