/**
 * Which StorageClass a claim means (contract/golden-images.md §1.7): an explicit name is that class or none, `''`
 * included; no name is the default for virtual machines, else that of Kubernetes.
 */
import { annotations } from '../api/names.ts'
import type { StorageClass } from '../api/kinds.ts'

/** The class that Kubernetes itself takes for claims without one: of several defaults the newest, then by name. */
export function kubernetesDefaultStorageClass(classes: readonly StorageClass[]): StorageClass | undefined {
  return newestAnnotated(classes, annotations.defaultStorageClass)
}

/**
 * The class for a claim without one: for content `kubevirt` the virt default if there is one, else the default of
 * Kubernetes; for `archive` always the latter.
 */
export function defaultStorageClass(
  classes: readonly StorageClass[],
  contentType: 'kubevirt' | 'archive',
): StorageClass | undefined {
  const virtDefault =
    contentType === 'kubevirt' ? newestAnnotated(classes, annotations.defaultVirtStorageClass) : undefined
  return virtDefault ?? kubernetesDefaultStorageClass(classes)
}

/** The class that a claim with this `storageClassName` means, if there is one. */
export function storageClassFor(
  classes: readonly StorageClass[],
  name: string | undefined,
  contentType: 'kubevirt' | 'archive',
): StorageClass | undefined {
  return name === undefined
    ? defaultStorageClass(classes, contentType)
    : classes.find(({ metadata }) => metadata.name === name)
}

function newestAnnotated(classes: readonly StorageClass[], annotation: string): StorageClass | undefined {
  return classes
    .filter(({ metadata }) => metadata.annotations?.[annotation] === 'true')
    .toSorted(newestFirst)
    .at(0)
}

function newestFirst({ metadata: a }: StorageClass, { metadata: b }: StorageClass): number {
  if (a.creationTimestamp !== b.creationTimestamp) {
    return (a.creationTimestamp ?? '') > (b.creationTimestamp ?? '') ? -1 : 1
  }
  return a.name < b.name ? -1 : 1
}
