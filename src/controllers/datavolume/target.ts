/** T and the source resource as they are made for a DataVolume (contract/datavolume.md §6.4, §7, §8.1). */
import { annotations, volumeImportSourceName } from '../../api/names.ts'
import { cdiGroup } from '../../api/kinds.ts'
import type { CSIDriver, DataVolume, PersistentVolumeClaim, StorageClass, VolumeImportSource } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { controllerRef } from '../../kube/owners.ts'
import { annotationOf, parseBoolean } from '../shared/annotated.ts'
import { annotationsOfSource, importSourceOf } from '../shared/import-source.ts'
import { kubernetesDefaultStorageClass } from '../storageclass.ts'
import type { RenderedPvc } from './render.ts'

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
  readonly population: Mode | 'none'
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
      population === 'populator'
        ? {
            ...rendered.spec,
            dataSourceRef: {
              apiGroup: cdiGroup,
              kind: 'VolumeImportSource',
              name: volumeImportSourceName(dataVolume.metadata.uid),
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
  switch (population) {
    case 'none':
      return {}
    case 'direct':
      return {
        [annotations.usePopulator]: 'false',
        ...annotationsOfSource(importSourceOf(dataVolume.spec.source)),
      }
    case 'populator':
      return {
        [annotations.usePopulator]: 'true',
        ...(honorWaitForFirstConsumer ? {} : { [annotations.bindImmediate]: '' }),
      }
    default:
      return population satisfies never
  }
}

/** The source resource that T refers to in populator mode. It says only what the DataVolume says. */
export function renderImportSource(dataVolume: DataVolume): NewObject<VolumeImportSource> {
  const { contentType, preallocation, source } = dataVolume.spec
  return {
    apiVersion: `${cdiGroup}/v1beta1`,
    kind: 'VolumeImportSource',
    metadata: {
      name: volumeImportSourceName(dataVolume.metadata.uid),
      ...(dataVolume.metadata.namespace ? { namespace: dataVolume.metadata.namespace } : {}),
      ownerReferences: [controllerRef(dataVolume)],
    },
    spec: {
      source: importSourceOf(source),
      ...(contentType === undefined ? {} : { contentType }),
      ...(preallocation === undefined ? {} : { preallocation }),
    },
    status: {},
  }
}
