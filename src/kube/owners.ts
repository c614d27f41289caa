/** Owner references: who is deleted with whom, and who answers for whom. */
import type { KubeObject, ObjectMeta, OwnerReference } from './object.ts'

type Owner = Pick<KubeObject, 'apiVersion' | 'kind'> & { metadata: Pick<ObjectMeta, 'name' | 'uid'> }

/** The reference of a dependent to its one controlling owner; its presence delays a foreground deletion of the owner. */
export function controllerRef(owner: Owner): OwnerReference {
  return { ...ownerRef(owner), controller: true, blockOwnerDeletion: true }
}

/** A reference that only lets the dependent be deleted with the owner. */
export function ownerRef({ apiVersion, kind, metadata: { name, uid } }: Owner): OwnerReference {
  return { apiVersion, kind, name, uid }
}

/** The reference to the owner that controls an object, if one does. */
export function controllerOf({
  metadata,
}: {
  metadata: Pick<ObjectMeta, 'ownerReferences'>
}): OwnerReference | undefined {
  return metadata.ownerReferences?.find((reference) => reference.controller === true)
}

/** Whether exactly this owner controls the object. Compares UIDs: a namesake made later is another owner. */
export function isControlledBy(
  object: { metadata: Pick<ObjectMeta, 'ownerReferences'> },
  owner: { metadata: Pick<ObjectMeta, 'uid'> },
): boolean {
  return controllerOf(object)?.uid === owner.metadata.uid
}
