/** The metric `kubevirt_cdi_storageprofile_info` (contract/golden-images.md §1.6): exactly one series for each class. */
import { gauge } from '../../metrics.ts'
import type { Registry } from '../../metrics.ts'
import type { ProfileFacts } from './plan.ts'

const labels = [
  'storageclass',
  'provisioner',
  'complete',
  'default',
  'virtdefault',
  'rwx',
  'smartclone',
  'degraded',
] as const

type Labels = Record<(typeof labels)[number], string>

export class ProfileInfo {
  readonly #gauge
  readonly #shown = new Map<string, Labels>()

  constructor(metrics: Registry) {
    this.#gauge = gauge(metrics, {
      name: 'kubevirt_cdi_storageprofile_info',
      help: '`StorageProfiles` info labels: `storageclass`, `provisioner`, `complete` indicates if all storage profiles recommended PVC settings are complete, `default` indicates if it is the Kubernetes default storage class, `virtdefault` indicates if it is the default virtualization storage class, `rwx` indicates if the storage class supports `ReadWriteMany`, `smartclone` indicates if it supports snapshot or CSI based clone, `degraded` indicates it is not optimal for virtualization',
      labels,
    })
  }

  /** Shows these facts in place of those shown before. */
  show(facts: ProfileFacts): void {
    this.remove(facts.storageclass)
    const series = Object.fromEntries(labels.map((label) => [label, String(facts[label])])) as Labels
    this.#shown.set(facts.storageclass, series)
    this.#gauge.set(series, 1)
  }

  remove(storageClassName: string): void {
    const series = this.#shown.get(storageClassName)
    if (series === undefined) return
    this.#shown.delete(storageClassName)
    this.#gauge.remove(series)
  }
}
