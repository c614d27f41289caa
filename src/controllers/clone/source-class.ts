/** On which class a snapshot is restored that is to be copied from (contract/clone.md §6.2). Pure. */
import type { StorageClass } from '../../api/kinds.ts'
import { defaultStorageClass } from '../storageclass.ts'

/**
 * Of the classes of the snapshot's driver that of T, whose pools and parameters are the likeliest to fit, else the default one,
 * else the first by name; undefined if the driver has none.
 */
export function classForSnapshot({
  driver,
  targetClass,
  classes,
  contentType,
}: {
  readonly driver: string
  readonly targetClass: string | undefined
  readonly classes: readonly StorageClass[]
  readonly contentType: 'kubevirt' | 'archive'
}): StorageClass | undefined {
  const fitting = classes
    .filter(({ provisioner }) => provisioner === driver)
    .toSorted(({ metadata: a }, { metadata: b }) => (a.name < b.name ? -1 : 1))
  return (
    fitting.find(({ metadata }) => metadata.name === targetClass) ??
    defaultStorageClass(fitting, contentType) ??
    fitting[0]
  )
}
