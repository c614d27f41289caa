/** T and the source resource as they are made for a DataVolume (contract/datavolume.md §6.4, §7, §8.1). */
import { annotations } from '../../api/names.ts'
import { cdiGroup } from '../../api/kinds.ts'
import type {
  CSIDriver,
  DataVolume,
  PersistentVolumeClaim,
  PersistentVolumeClaimSpec,
  StorageClass,
} from '../../api/kinds.ts'
import { apiVersionOf, formatKey, keyOf } from '../../kube/object.ts'
import type { NewObject, ObjectKey } from '../../kube/object.ts'
import { controllerRef } from '../../kube/owners.ts'
import { annotationOf, parseBoolean } from '../shared/annotated.ts'
import { kubernetesDefaultStorageClass } from '../storageclass.ts'
import type { RenderedPvc } from './render.ts'
import type { SourceKind, SourceResource } from './sources/source-kind.ts'

/** How T is filled: through P (`populator`) or by a worker on T itself (`direct`). */
export type Mode = 'populator' | 'direct'

/**
 * The mode of a DataVolume: what it says, else whether a CSI driver serves the class. Throws if it says something that is
 * no boolean.
 */
export function modeOf({
  dataVolume,
  storageClassName,
  storageClasses,
  csiDrivers,
}: {
  dataVolume: DataVolume
  /** As rendered; undefined means the default of Kubernetes. */
  storageClassName: string | undefined
  storageClasses: readonly StorageClass[]
  csiDrivers: readonly CSIDriver[]
}): Mode {
  const said = annotationOf(dataVolume, annotations.usePopulator)
  if (said !== undefined) {
    const parsed = parseBoolean(said)
    if (parsed === undefined)
      throw new Error(`annotation ${annotations.usePopulator} is not a boolean: ${JSON.stringify(said)}`)
    return parsed ? 'populator' : 'direct'
  }
  return hasCsiDriver({ storageClassName, storageClasses, csiDrivers }) ? 'populator' : 'direct'
}

/**
 * Whether the storage itself can fill a claim from the data source that it names: a snapshot, which its driver always
 * knows, or anything in a class of a CSI driver (contract/datavolume.md §14).
 */
export function isServedByStorage(
  { dataSource, dataSourceRef, storageClassName }: PersistentVolumeClaimSpec,
  storage: { readonly storageClasses: readonly StorageClass[]; readonly csiDrivers: readonly CSIDriver[] },
): boolean {
  return (dataSourceRef ?? dataSource)?.kind === 'VolumeSnapshot' || hasCsiDriver({ ...storage, storageClassName })
}

/** Whether a CSI driver of this cluster provisions the class. */
export function hasCsiDriver({
  storageClassName,
  storageClasses,
  csiDrivers,
}: {
  storageClassName: string | undefined
  storageClasses: readonly StorageClass[]
  csiDrivers: readonly CSIDriver[]
}): boolean {
  const storageClass = claimsClass(storageClassName, storageClasses)
  return storageClass !== undefined && csiDrivers.some((driver) => driver.metadata.name === storageClass.provisioner)
}

/** The class that a claim with this name means to Kubernetes. */
export function claimsClass(
  storageClassName: string | undefined,
  storageClasses: readonly StorageClass[],
): StorageClass | undefined {
  return storageClassName === undefined
    ? kubernetesDefaultStorageClass(storageClasses)
    : storageClasses.find((candidate) => candidate.metadata.name === storageClassName)
}

export interface TargetInput {
  readonly dataVolume: DataVolume
  readonly rendered: RenderedPvc
  /** `none`: the claim gets its data from elsewhere (a static volume, the storage itself). */
  readonly population: { readonly mode: Mode; readonly kind: SourceKind } | 'none'
  readonly honorWaitForFirstConsumer: boolean
  /** Names of the volumes that the claim may be bound to, when one lies ready for it. */
  readonly staticVolumes?: readonly string[] | undefined
}

export function renderClaim(input: TargetInput): NewObject<PersistentVolumeClaim> {
  const { dataVolume, rendered, population, staticVolumes } = input
  const { name, namespace } = dataVolume.metadata
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      ...(namespace ? { namespace } : {}),
      labels: rendered.labels,
      annotations: {
        ...rendered.annotations,
        ...populationAnnotations(input),
        ...(staticVolumes ? { [annotations.persistentVolumeList]: JSON.stringify(staticVolumes) } : {}),
      },
      ownerReferences: [controllerRef(dataVolume)],
    },
    spec:
      population !== 'none' && population.mode === 'populator'
        ? {
            ...rendered.spec,
            dataSourceRef: {
              apiGroup: cdiGroup,
              kind: population.kind.resource.kind,
              name: population.kind.resourceName(dataVolume.metadata.uid),
            },
          }
        : rendered.spec,
  }
}

function populationAnnotations({
  dataVolume,
  population,
  honorWaitForFirstConsumer,
}: TargetInput): Record<string, string> {
  if (population === 'none') return {}
  const { mode, kind } = population
  switch (mode) {
    case 'direct':
      return { [annotations.usePopulator]: 'false', ...kind.order(dataVolume), ...kind.permit?.(dataVolume) }
    case 'populator':
      return {
        [annotations.usePopulator]: 'true',
        ...elsewhere(dataVolume, kind),
        ...kind.permit?.(dataVolume),
        ...(honorWaitForFirstConsumer ? {} : { [annotations.bindImmediate]: '' }),
      }
    default:
      return mode satisfies never
  }
}

/** The namespace of a source resource in another one; a dataSourceRef with a namespace needs a feature of the cluster. */
function elsewhere({ metadata }: DataVolume, { resourceNamespace }: SourceKind): Record<string, string> {
  return resourceNamespace === undefined || resourceNamespace === metadata.namespace
    ? {}
    : { [annotations.dataSourceNamespace]: resourceNamespace }
}

/** Where the source resource of a DataVolume is, or would be. */
export function sourceKeyOf({ metadata }: DataVolume, { resourceName, resourceNamespace }: SourceKind): ObjectKey {
  const namespace = resourceNamespace ?? metadata.namespace
  return { ...(namespace ? { namespace } : {}), name: resourceName(metadata.uid) }
}

/** The source resource that T refers to in populator mode. An owner cannot be in another namespace, so it is named there. */
export function renderSource(dataVolume: DataVolume, kind: SourceKind): NewObject<SourceResource> {
  const key = sourceKeyOf(dataVolume, kind)
  return {
    apiVersion: apiVersionOf(kind.resource),
    kind: kind.resource.kind,
    metadata: {
      ...key,
      ...(key.namespace === dataVolume.metadata.namespace
        ? { ownerReferences: [controllerRef(dataVolume)] }
        : { annotations: { [annotations.ownedByDataVolume]: formatKey(keyOf(dataVolume)) } }),
    },
    ...kind.resourceBody(dataVolume),
  }
}
