/**
 * Types of the Kubernetes objects that the controllers touch, as they stand in JSON. They are client-node's types with
 * the metadata of src/kube and strings for its Dates; nothing of client-node is loaded at run time.
 */
import type {
  CoreV1Event,
  V1APIService,
  V1ConfigMap,
  V1CSIDriver,
  V1CustomResourceDefinition,
  V1Deployment,
  V1Ingress,
  V1Lease,
  V1MutatingWebhookConfiguration,
  V1Namespace,
  V1Node,
  V1PersistentVolume,
  V1PersistentVolumeClaim,
  V1Pod,
  V1ResourceQuota,
  V1Secret,
  V1Service,
  V1StorageClass,
  V1SubjectAccessReview,
  V1ValidatingWebhookConfiguration,
} from '@kubernetes/client-node'
import type { KubeObject } from '../kube/object.ts'

/** A client-node type as JSON: dates are RFC 3339 strings, and optional members may be undefined. */
export type Wire<T> = T extends Date
  ? string
  : T extends (infer Item)[]
    ? Wire<Item>[]
    : T extends object
      ? { [K in keyof T]: Wire<T[K]> | (undefined extends T[K] ? undefined : never) }
      : T

/** A client-node type as an object of src/kube: with the metadata that every stored object has. */
type Stored<T> = KubeObject & Omit<Wire<T>, keyof KubeObject>

export type PersistentVolumeClaim = Stored<V1PersistentVolumeClaim>
export type PersistentVolumeClaimSpec = NonNullable<PersistentVolumeClaim['spec']>
export type PersistentVolume = Stored<V1PersistentVolume>
export type Pod = Stored<V1Pod>
export type PodSpec = NonNullable<Pod['spec']>
export type Container = PodSpec['containers'][number]
export type ContainerStatus = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number]
export type Volume = NonNullable<PodSpec['volumes']>[number]
export type ResourceRequirements = NonNullable<Container['resources']>
export type StorageClass = Stored<V1StorageClass>
export type CSIDriver = Stored<V1CSIDriver>
export type Event = Stored<CoreV1Event>
export type ConfigMap = Stored<V1ConfigMap>
export type Secret = Stored<V1Secret>
export type Namespace = Stored<V1Namespace>
export type Node = Stored<V1Node>
export type Lease = Stored<V1Lease>
export type Service = Stored<V1Service>
export type ResourceQuota = Stored<V1ResourceQuota>
export type CustomResourceDefinition = Stored<V1CustomResourceDefinition>
export type Ingress = Stored<V1Ingress>
export type Deployment = Stored<V1Deployment>
export type ValidatingWebhookConfiguration = Stored<V1ValidatingWebhookConfiguration>
export type MutatingWebhookConfiguration = Stored<V1MutatingWebhookConfiguration>
export type ApiService = Stored<V1APIService>
export type SubjectAccessReview = Stored<V1SubjectAccessReview>

/** route.openshift.io/v1, as far as this project reads it. */
export interface Route extends KubeObject {
  spec: {
    host?: string | undefined
    to?: { kind?: string | undefined; name?: string | undefined } | undefined
    tls?: { termination?: string | undefined; destinationCACertificate?: string | undefined } | undefined
  }
  status?: { ingress?: { host?: string | undefined }[] | undefined } | undefined
}

/** snapshot.storage.k8s.io/v1, as far as this project reads it (client-node has no types for CRDs). */
export interface VolumeSnapshotClass extends KubeObject {
  driver: string
  deletionPolicy: 'Delete' | 'Retain'
  parameters?: Record<string, string> | undefined
}

/** snapshot.storage.k8s.io/v1, as far as this project reads and writes it. */
export interface VolumeSnapshot extends KubeObject {
  spec: {
    source: { persistentVolumeClaimName?: string | undefined; volumeSnapshotContentName?: string | undefined }
    volumeSnapshotClassName?: string | undefined
  }
  status?:
    | {
        boundVolumeSnapshotContentName?: string | undefined
        creationTime?: string | undefined
        readyToUse?: boolean | undefined
        /** A quantity. */
        restoreSize?: string | undefined
        error?: { message?: string | undefined; time?: string | undefined } | undefined
      }
    | undefined
}

/** snapshot.storage.k8s.io/v1, as far as this project reads it. */
export interface VolumeSnapshotContent extends KubeObject {
  spec: {
    driver: string
    sourceVolumeMode?: 'Block' | 'Filesystem' | undefined
    volumeSnapshotRef?: { namespace?: string | undefined; name?: string | undefined } | undefined
  }
  status?: { restoreSize?: number | undefined; readyToUse?: boolean | undefined } | undefined
}
