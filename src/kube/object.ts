/**
 * Kubernetes objects as they stand on the wire: plain JSON with every field that the API server sent, known or not.
 * No imports, so that every part of the program may use these types.
 */

/** A reference from a dependent object to its owner (Kubernetes garbage collection). */
export interface OwnerReference {
  apiVersion: string
  kind: string
  name: string
  uid: string
  controller?: boolean
  blockOwnerDeletion?: boolean
}

/** The metadata that every object carries. Timestamps are RFC 3339 strings. */
export interface ObjectMeta {
  name: string
  namespace?: string
  uid: string
  resourceVersion: string
  generation?: number
  creationTimestamp?: string
  deletionTimestamp?: string
  deletionGracePeriodSeconds?: number
  labels?: Record<string, string>
  annotations?: Record<string, string>
  ownerReferences?: OwnerReference[]
  finalizers?: string[]
  generateName?: string
}

export interface KubeObject {
  apiVersion: string
  kind: string
  metadata: ObjectMeta
}

declare const objectType: unique symbol

/** Where a kind is served. `T` is the type of its objects; it exists only for the compiler. */
export interface Kind<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
  readonly namespaced: boolean
  readonly [objectType]?: T
}

/** What identifies an object of a known kind. `namespace` is absent for cluster-scoped kinds. */
export interface ObjectKey {
  readonly namespace?: string
  readonly name: string
}

/** Metadata of an object that is to be created: the server fills in the rest. */
export type NewMeta = Partial<ObjectMeta> & ({ name: string } | { generateName: string })

/** An object that is to be created. */
export type NewObject<T extends KubeObject> = Omit<T, 'metadata' | 'status'> & { metadata: NewMeta; status?: unknown }

/** The `apiVersion` of a kind: `v1`, `cdi.kubevirt.io/v1beta1`. */
export function apiVersionOf({ group, version }: Pick<Kind, 'group' | 'version'>): string {
  return group === '' ? version : `${group}/${version}`
}

/** The key of an object. */
export function keyOf({ metadata: { namespace, name } }: { metadata: ObjectKey }): ObjectKey {
  return namespace ? { namespace, name } : { name }
}

/** `namespace/name`, or `name` alone; names and namespaces never contain a slash. */
export function formatKey({ namespace, name }: ObjectKey): string {
  return namespace ? `${namespace}/${name}` : name
}

/** The opposite of {@link formatKey}. */
export function parseKey(text: string): ObjectKey {
  const slash = text.indexOf('/')
  return slash === -1 ? { name: text } : { namespace: text.slice(0, slash), name: text.slice(slash + 1) }
}
