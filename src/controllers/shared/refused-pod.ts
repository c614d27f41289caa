/** Tells of a worker's pod that the API server did not accept (contract/datavolume.md §5, contract/upload.md §4.4). */
import { quotaText } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { isForbidden } from '../../kube/api-error.ts'
import type { ApiError } from '../../kube/api-error.ts'
import type { ReconcileResult } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import { changesOf, isEmpty } from './annotated.ts'
import type { Dependencies, Recorder } from './dependencies.ts'
import { patchClaim } from './patch-claim.ts'
import { reportOfRefusedPod } from './pod-state.ts'

/** How long what was refused waits for its next try; a quota that was raised shows itself to nobody. */
export const refusedDelayMs = 10_000

/**
 * Writes on the claim that its pod was refused, tells it once, and logs the API server's own words: tools outside look for
 * them there, with their quotes escaped as in JSON.
 */
export async function tellRefusedPod(
  dependencies: Pick<Dependencies, 'client' | 'ownWrites' | 'log'> & { readonly recorder: Recorder },
  {
    carrier,
    podName,
    error,
    notRunning,
  }: {
    carrier: PersistentVolumeClaim
    podName: string
    error: ApiError
    notRunning?: Parameters<typeof reportOfRefusedPod>[0]['notRunning']
  },
): Promise<ReconcileResult> {
  const { log, recorder } = dependencies
  const exceededQuota = isForbidden(error) && error.message.includes(quotaText)
  log.warn({ pvc: keyOf(carrier), pod: podName, err: error }, 'the pod of a worker was refused')
  const report = reportOfRefusedPod({ podName, exceededQuota, notRunning })
  const changes = changesOf(carrier.metadata.annotations, report.annotations)
  if (!isEmpty(changes)) {
    await patchClaim(dependencies, carrier, { annotations: changes })
    recorder.event(carrier, report.event)
  }
  return { requeueAfterMs: refusedDelayMs }
}
