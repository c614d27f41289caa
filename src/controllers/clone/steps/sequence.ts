/**
 * The steps of a clone (contract/clone.md §6.2). Each looks at what is there and says what comes next, or that it is done; the
 * first that is not done is the one that T tells. No step remembers anything: what a later step has made shows that the ones
 * before it are over. Pure.
 */
import { clonePhases, cloneStrategies } from '../../../api/names.ts'
import type { CloneStrategy } from '../../../api/names.ts'
import { formatKey, keyOf } from '../../../kube/object.ts'
import type { ClaimOrigin, CloneObservation, Origin, SnapshotOrigin } from '../observation.ts'
import { isTemporaryOf } from '../temporary.ts'
import { hostClone, isFilled } from './host-clone.ts'
import { prepClaim } from './prep-claim.ts'
import { csiClone, restoreToCopy, snapshotClone } from './provision.ts'
import { rebind } from './rebind.ts'
import { snapshot } from './snapshot.ts'
import { failed, storageRequestOf } from './step.ts'
import type { Step } from './step.ts'

/** What comes next; the last step lasts until T is bound. */
export function nextStep(seen: CloneObservation, strategy: CloneStrategy, origin: Origin): Step {
  const stranger = strangerAmong(seen)
  if (stranger) return failed(clonePhases.pending, stranger)
  return (origin.kind === 'pvc' ? ofClaim(seen, strategy, origin) : ofSnapshot(seen, strategy, origin)) ?? rebind(seen)
}

function ofClaim(seen: CloneObservation, strategy: CloneStrategy, origin: ClaimOrigin): Step | undefined {
  switch (strategy) {
    case cloneStrategies.copy:
      return hostClone(seen, { origin, from: origin.claim })
    case cloneStrategies.snapshot:
      return snapshot(seen, origin) ?? snapshotClone(seen, origin, seen.temporary.snapshot) ?? prepTarget(seen)
    case cloneStrategies.csiClone:
      return csiClone(seen, origin) ?? prepTarget(seen)
    default:
      return strategy satisfies never
  }
}

function ofSnapshot(seen: CloneObservation, strategy: CloneStrategy, origin: SnapshotOrigin): Step | undefined {
  if (strategy !== cloneStrategies.copy) return snapshotClone(seen, origin, origin.snapshot) ?? prepTarget(seen)
  const { claim, sourceClaim: from } = seen.temporary
  // What a copy reads may be taken away while it is under way; it is restored again then.
  const isRead = claim !== undefined && (from !== undefined || isFilled(claim))
  return (isRead ? undefined : (restoreToCopy(seen, origin) ?? prepSource(seen))) ?? hostClone(seen, { origin, from })
}

/** The claim that becomes T's is to be as large as T asks for. */
function prepTarget(seen: CloneObservation): Step | undefined {
  const { claim } = seen.temporary
  return claim && prepClaim(seen, claim, storageRequestOf(seen.target))
}

function prepSource(seen: CloneObservation): Step | undefined {
  const { sourceClaim } = seen.temporary
  return sourceClaim && prepClaim(seen, sourceClaim, storageRequestOf(sourceClaim))
}

/** Objects that bear our names without our label would be filled, and never deleted. */
function strangerAmong({ target, temporary }: CloneObservation): string | undefined {
  const { claim, sourceClaim, snapshot: taken, prepPod } = temporary
  const stranger = [claim, sourceClaim, taken, prepPod].find((object) => object && !isTemporaryOf(object, target))
  return stranger && `${formatKey(keyOf(stranger))} was not made for ${formatKey(keyOf(target))}`
}
