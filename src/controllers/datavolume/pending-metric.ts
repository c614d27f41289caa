/** How many DataVolumes may be waiting for a default class (contract/platform.md §10). */
import type { DataVolume } from '../../api/kinds.ts'
import { phases } from '../../api/names.ts'
import { measured } from '../../metrics.ts'
import type { Registry } from '../../metrics.ts'

export function showPending(metrics: Registry, dataVolumes: { readonly list: () => readonly DataVolume[] }): void {
  const facts = {
    name: 'kubevirt_cdi_datavolume_pending',
    help: 'Number of DataVolumes pending for default storage class to be configured',
  }
  measured(metrics, facts, () => dataVolumes.list().filter(waitsForDefaultClass).length)
}

/** Names no class, and has not begun. */
function waitsForDefaultClass({ spec, status }: DataVolume): boolean {
  const className = (spec.pvc ?? spec.storage)?.storageClassName
  const phase = status?.phase ?? phases.unset
  return className === undefined && (phase === phases.unset || phase === phases.pending)
}
