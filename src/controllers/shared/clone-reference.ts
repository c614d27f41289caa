/** Which VolumeCloneSource a claim is to be filled from (contract/clone.md §1.2, §1.3). */
import { annotations } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { annotationOf } from './annotated.ts'

/** Whether the clone populator fills the claim. */
export function isClone({ spec }: PersistentVolumeClaim): boolean {
  const reference = spec?.dataSourceRef
  return reference?.apiGroup === kinds.volumeCloneSource.group && reference.kind === kinds.volumeCloneSource.kind
}

/**
 * The VolumeCloneSource of a claim; undefined if it names none. Its namespace is the claim's, or one that an annotation names:
 * a reference of the API across namespaces would have to be granted, which is not served.
 */
export function cloneSourceKeyOf(
  claim: PersistentVolumeClaim,
): (ObjectKey & { readonly namespace: string }) | undefined {
  const name = claim.spec?.dataSourceRef?.name
  if (!isClone(claim) || !name) return undefined
  const namespace = annotationOf(claim, annotations.dataSourceNamespace) || (claim.metadata.namespace ?? '')
  return { namespace, name }
}
