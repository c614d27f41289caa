/** Whether the source of a clone lies still (contract/clone.md §6.2 "Source-ready gate"). Pure. */
import { kinds } from '../../api/kinds.ts'
import type { Container, DataVolume, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotations, labels, labelValues, phases } from '../../api/names.ts'
import { keyOf } from '../../kube/object.ts'
import { controllerOf } from '../../kube/owners.ts'
import { annotationOf } from '../shared/annotated.ts'
import { besides, indexes, inNamespaceOf } from '../shared/caches.ts'
import type { Caches } from '../shared/caches.ts'
import { isUnfinished } from '../shared/claim.ts'

/** The unfinished pods that mount a claim. */
export function usersOf({ pods }: Pick<Caches, 'pods'>, claim: PersistentVolumeClaim): Pod[] {
  return pods.byIndex(indexes.claim, inNamespaceOf(claim, claim.metadata.name)).filter(isUnfinished)
}

/** Those of them that may write; pods that read it for another clone do not count. */
export function writersOf(caches: Pick<Caches, 'pods'>, claim: PersistentVolumeClaim): Pod[] {
  return usersOf(caches, claim).filter((pod) => !isSourcePod(pod) && mayWrite(pod, claim.metadata.name))
}

function isSourcePod({ metadata }: Pod): boolean {
  return metadata.labels?.[labels.component] === labelValues.cloneSource
}

/** Whether a pod has a claim open for writing; a block device always counts as open so. */
export function mayWrite({ spec }: Pod, claimName: string): boolean {
  const volumes = (spec?.volumes ?? []).filter(({ persistentVolumeClaim }) => {
    return persistentVolumeClaim?.claimName === claimName
  })
  const containers = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])]
  return volumes.some(({ name, persistentVolumeClaim }) => {
    if (containers.some(({ volumeDevices = [] }) => volumeDevices.some((device) => device.name === name))) return true
    return !persistentVolumeClaim?.readOnly && !containers.every((container) => onlyReads(container, name))
  })
}

function onlyReads({ volumeMounts = [] }: Container, volume: string): boolean {
  return volumeMounts.every(({ name, readOnly }) => name !== volume || readOnly === true)
}

/** Whether a claim holds what it is to hold: nobody's DataVolume, or one that has succeeded. */
export function isPopulated({ dataVolumes }: Pick<Caches, 'dataVolumes'>, claim: PersistentVolumeClaim): boolean {
  const owner = controllerOf(claim)
  if (owner?.kind !== kinds.dataVolume.kind) return true
  const dataVolume: DataVolume | undefined = dataVolumes.get(besides(claim, owner.name))
  // One that is going away, or a namesake of another time, says nothing more of the claim.
  if (!dataVolume || keyOf(dataVolume).name !== owner.name || dataVolume.metadata.uid !== owner.uid) return true
  return dataVolume.status?.phase === phases.succeeded && !isBegunAnew(claim, dataVolume)
}

/** Whether a claim in the direct mode was made again for a DataVolume that does not show it yet. */
function isBegunAnew(claim: PersistentVolumeClaim, { metadata: { uid } }: DataVolume): boolean {
  return (
    annotationOf(claim, annotations.createdForDataVolume) === uid &&
    annotationOf(claim, annotations.usePopulator) === 'false' &&
    annotationOf(claim, annotations.podPhase) !== 'Succeeded'
  )
}
