/** The annotations behind the Bound condition of a DataVolume (contract/datavolume.md §3 "Writers"). */
import { annotations, reasons } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { claimPhase } from './claim.ts'

/** The Bound annotations of a pending claim that an event tells of; none for all others. */
export function boundOf(claim: PersistentVolumeClaim, newestEvent: string | undefined): Record<string, string | null> {
  return claimPhase(claim) === 'Pending' && newestEvent
    ? boundAnnotations(reasons.pending, newestEvent)
    : {
        [annotations.conditionBound]: null,
        [annotations.conditionBoundMessage]: null,
        [annotations.conditionBoundReason]: null,
      }
}

/** A claim that is not bound, and why. */
export function boundAnnotations(reason: string, message: string): Record<string, string> {
  return {
    [annotations.conditionBound]: 'false',
    [annotations.conditionBoundMessage]: message,
    [annotations.conditionBoundReason]: reason,
  }
}
