/** The share of a volume that its file system takes, as CDIConfig tells it (contract/datavolume.md §6.2.6). */
import type { CDIConfig, StorageClass } from '../api/kinds.ts'
import { kubernetesDefaultStorageClass } from './storageclass.ts'

/** Used while CDIConfig's status says nothing. */
const builtInOverhead = '0.06'

export interface OverheadInput {
  /** As the claim spells it: `''` means no class at all, undefined the default. */
  readonly storageClassName: string | undefined
  readonly storageClasses: readonly StorageClass[]
  readonly cdiConfig: CDIConfig | undefined
}

/**
 * The overhead of Filesystem volumes of a class as a decimal text, e.g. `0.06`. A class that does not exist counts as
 * the default one. Block volumes have none; the caller does not ask for them.
 */
export function filesystemOverhead({ storageClassName, storageClasses, cdiConfig }: OverheadInput): string {
  if (storageClassName === '' || cdiConfig === undefined) return '0'
  const { global = builtInOverhead, storageClass: byClass = {} } = cdiConfig.status?.filesystemOverhead ?? {}
  const exists = storageClasses.some(({ metadata }) => metadata.name === storageClassName)
  const name = exists ? storageClassName : kubernetesDefaultStorageClass(storageClasses)?.metadata.name
  return (name === undefined ? undefined : byClass[name]) ?? global
}
