/** What it means for a DataVolume that the API server did not accept an object made for it. */
import { phases, quotaText, reasons } from '../../api/names.ts'
import { ApiError, isForbidden, isInvalid } from '../../kube/api-error.ts'
import type { Failure } from './sync.ts'

/** A quota that was raised shows itself to nobody, so what it refused is tried again this often. */
const refusedDelayMs = 10_000

/** Errors that say nothing to the user are thrown on. */
export function failureOf(error: unknown): { readonly failure: Failure; readonly requeueAfterMs?: number } {
  if (!(error instanceof ApiError)) throw error
  const { message } = error
  if (isForbidden(error) && message.includes(quotaText)) {
    return {
      failure: { phase: phases.pending, reason: reasons.errExceededQuota, message },
      requeueAfterMs: refusedDelayMs,
    }
  }
  if (isInvalid(error)) return { failure: { phase: phases.unset, reason: reasons.errClaimNotValid, message } }
  throw error
}
