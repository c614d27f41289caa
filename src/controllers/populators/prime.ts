/** P, the claim that is filled in the place of T and hands its volume over (contract/datavolume.md §8.5). */
import { annotations, labels, primeName, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import type { PersistentVolumeClaim, PersistentVolumeClaimSpec } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { annotationOf } from '../shared/annotated.ts'
import { controllerRef } from '../../kube/owners.ts'
import { passThroughOf } from '../shared/pass-through.ts'

export interface PrimeInput {
  readonly target: PersistentVolumeClaim
  /** Kind of the source resource, e.g. `VolumeImportSource`. */
  readonly sourceKind: string
  /** What the source says: its own annotations, content type and preallocation. */
  readonly sourceAnnotations: Readonly<Record<string, string>>
  readonly installer: InstallerLabels
}

export function renderPrime({
  target,
  sourceKind,
  sourceAnnotations,
  installer,
}: PrimeInput): NewObject<PersistentVolumeClaim> {
  const { accessModes, resources, storageClassName, volumeMode } = target.spec ?? {}
  const spec: PersistentVolumeClaimSpec = {
    ...(accessModes ? { accessModes } : {}),
    ...(resources ? { resources } : {}),
    ...(storageClassName === undefined ? {} : { storageClassName }),
    ...(volumeMode ? { volumeMode } : {}),
  }
  const inherited = Object.fromEntries(
    [annotations.selectedNode, annotations.podRetainAfterCompletion, annotations.podVddkExtraArgs].flatMap((key) => {
      const value = annotationOf(target, key)
      return value === undefined ? [] : [[key, value]]
    }),
  ) as Record<string, string>
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: primeName(target.metadata.uid),
      ...(target.metadata.namespace ? { namespace: target.metadata.namespace } : {}),
      labels: { ...recommendedLabels(installer), [labels.veleroExclude]: 'true' },
      annotations: {
        [annotations.bindImmediate]: '',
        [annotations.populatorKind]: sourceKind,
        ...passThroughOf(target),
        ...inherited,
        ...sourceAnnotations,
      },
      ownerReferences: [controllerRef(target)],
    },
    spec,
  }
}
