/** Nothing is made of a source that somebody may be writing to (contract/clone.md §6.2 "Source-ready gate"). Pure. */
import { messages, reasons } from '../../../api/names.ts'
import type { ClonePhase } from '../../../api/names.ts'
import type { PersistentVolumeClaim } from '../../../api/kinds.ts'
import { claimPhase } from '../../shared/claim.ts'
import { warning } from '../../shared/told.ts'
import type { ClaimOrigin } from '../observation.ts'
import { missingSource } from './step.ts'
import type { Step } from './step.ts'

/** How long a source that is in use rests until it is looked at again. */
const inUseDelayMs = 2_000

/** The source, if it lies still and holds what it is to hold; else what is waited for. */
export function sourceGate(phase: ClonePhase, origin: ClaimOrigin): Step | { readonly source: PersistentVolumeClaim } {
  const { claim, writers, isPopulated } = origin
  if (!claim) return missingSource(origin)
  if (claimPhase(claim) !== 'Bound') return { phase, because: 'the source is not bound' }
  const [writer] = writers
  if (writer) {
    const { namespace = '', name } = writer.metadata
    return {
      phase,
      because: 'the source is in use',
      events: [warning(reasons.cloneSourceInUse, messages.targetInUse({ namespace, name }, claim.metadata.name))],
      requeueAfterMs: inUseDelayMs,
    }
  }
  return isPopulated ? { source: claim } : { phase, because: 'the source is not filled yet' }
}
