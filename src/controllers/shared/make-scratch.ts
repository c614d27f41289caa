/** Makes the scratch claim beside a worker. */
import { quotaText, reasons } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { isAlreadyExists, isForbidden } from '../../kube/api-error.ts'
import { keyOf } from '../../kube/object.ts'
import type { Dependencies, Recorder } from './dependencies.ts'
import { overheadOf } from './overhead-of.ts'
import { refusedDelayMs } from './refused-pod.ts'
import { renderScratchClaim } from './scratch.ts'
import { configOf } from './settings.ts'
import { warning } from './told.ts'

/** @returns when to come again, if a quota does not admit it now */
export async function makeScratch(
  { client, caches, log, recorder, installer }: MakeScratchDependencies,
  carrier: PersistentVolumeClaim,
  pod: Pod,
): Promise<number | undefined> {
  const scratch = renderScratchClaim({
    carrier,
    pod,
    config: configOf(caches),
    installer,
    overheadOf: (storageClassName) => overheadOf(caches, storageClassName),
  })
  try {
    await client.create(kinds.pvc, scratch)
    return undefined
  } catch (error) {
    if (isAlreadyExists(error)) return undefined
    if (!isForbidden(error)) throw error
    log.warn({ pvc: keyOf(carrier), err: error }, 'the scratch claim was refused')
    if (!error.message.includes(quotaText)) throw error
    recorder.event(carrier, warning(reasons.errExceededQuota, error.message))
    return refusedDelayMs
  }
}

export interface MakeScratchDependencies extends Pick<Dependencies, 'client' | 'caches' | 'log'> {
  readonly recorder: Recorder
  readonly installer: InstallerLabels
}
