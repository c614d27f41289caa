/** Whether a DataVolume may be created or changed (contract/platform.md §8.1, "Validating"). */
import { annotations, maxNameLength } from '../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { isAdoptable } from '../../controllers/datavolume/work.ts'
import { annotationOf } from '../../controllers/shared/annotated.ts'
import { controllerOf } from '../../kube/owners.ts'
import { dataVolumeSpecCause, nameTooLongMessage } from './datavolume-spec.ts'
import { fieldsOf } from './fields.ts'
import { metadataOf } from './review.ts'
import type { AdmissionRequest } from './review.ts'
import { specChange } from './spec-change.ts'
import { admitted, invalid, rejected, verdictOf } from './verdict.ts'
import type { Verdict } from './verdict.ts'

export interface DataVolumeSurroundings {
  /** The claim of the DataVolume's name; looked up on creation only. */
  readonly claim: PersistentVolumeClaim | undefined
  /** Feature gate DataVolumeClaimAdoption. */
  readonly adoptionGate: boolean
}

/**
 * The verdict. An update that leaves the spec alone is none of this webhook's business: it must be possible to take a
 * finalizer off whatever the spec looks like.
 */
export function validateDataVolume(
  request: AdmissionRequest,
  { claim, adoptionGate }: DataVolumeSurroundings,
): Verdict {
  const { operation, name, namespace, object, oldObject } = request
  const spec = fieldsOf(object['spec'])
  if (operation === 'UPDATE') {
    const change = specChange(fieldsOf(oldObject['spec']), spec)
    if (change === 'none') return admitted
    if (change === 'forbidden') return rejected(invalid('spec', 'Cannot update DataVolume Spec'))
  }
  return verdictOf(
    () => (name.length > maxNameLength ? invalid('metadata.name', nameTooLongMessage(maxNameLength)) : undefined),
    () =>
      operation === 'CREATE' && claim && !mayTake(request, claim, adoptionGate)
        ? invalid('metadata.name', `Destination PVC ${namespace}/${name} already exists`)
        : undefined,
    () => dataVolumeSpecCause(spec, 'spec'),
  )
}

/** A claim that is there already is no obstacle if it holds the data, may be adopted, or belongs to some DataVolume. */
function mayTake({ object, name }: AdmissionRequest, claim: PersistentVolumeClaim, adoptionGate: boolean): boolean {
  const { uid, annotations: own } = metadataOf(object)
  const dataVolume = { metadata: { name, uid, annotations: own } } as unknown as DataVolume
  return (
    annotationOf(claim, annotations.populatedFor) === name ||
    isAdoptable({ dataVolume, target: claim, adoptionGate }) ||
    controllerOf(claim)?.kind === 'DataVolume'
  )
}
