/** The step Snapshot: one is taken of the source. Pure. */
import { cloneFallbacks, clonePhases, reasons } from '../../../api/names.ts'
import { isTerminating } from '../../shared/claim.ts'
import { snapshotClassFor } from '../facts.ts'
import type { ClaimOrigin, CloneObservation } from '../observation.ts'
import { renderTemporarySnapshot } from '../temporary.ts'
import { sourceGate } from './source-gate.ts'
import { failed } from './step.ts'
import type { Step } from './step.ts'

/** Takes the snapshot, as soon as nobody writes to the source. */
export function snapshot(seen: CloneObservation, origin: ClaimOrigin): Step | undefined {
  const { target, temporary } = seen
  const phase = clonePhases.snapshot
  if (temporary.claim) return undefined
  const { claim } = origin
  const present = temporary.snapshot
  if (present && isTerminating(present)) return { phase, because: 'the former snapshot has not gone yet' }
  const chosen = claim && snapshotClassFor(seen, origin, claim)
  if (present) {
    // Whoever took it may have been killed before it could say how.
    const events = chosen && chosen.name === present.spec.volumeSnapshotClassName ? [chosen.event] : []
    return present.status?.creationTime ? undefined : { phase, because: 'the snapshot is being taken', events }
  }
  const gate = sourceGate(phase, origin)
  if ('because' in gate) return gate
  if (!chosen) return failed(phase, cloneFallbacks[reasons.noVolumeSnapshotClass])
  const { namespace, name } = origin
  return {
    phase,
    because: 'a snapshot is to be taken',
    action: {
      do: 'createSnapshot',
      snapshot: renderTemporarySnapshot({ target, namespace, sourceName: name, snapshotClass: chosen.name }),
    },
    events: [chosen.event],
  }
}
