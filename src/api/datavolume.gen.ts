// Made from crds/datavolumes.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** A DataVolume asks for a claim of the same name in its namespace and says with what it shall be filled: a disk image from a server, a copy of another volume, an upload, or nothing. */
export interface DataVolume extends KubeObject {
  /** What the volume shall hold and how large it is. It cannot be changed later, except for checkpoints. */
  spec: DataVolumeSpec
  /** DataVolumeStatus contains the current status of the DataVolume: how far the filling of its claim has come. */
  status?: DataVolumeStatus | undefined
}

/** DataVolumeStatus contains the current status of the DataVolume: how far the filling of its claim has come. */
export interface DataVolumeStatus {
  /** Name of the claim that belongs to this DataVolume, once there is one. */
  claimName?: string | undefined
  /** Bound (the claim has a volume), Ready (the data is there) and Running (a worker is at it). */
  conditions?: DataVolumeStatusConditionsItem[] | undefined
  /** Where the DataVolume stands, e.g. Pending, WaitForFirstConsumer, ImportScheduled, ImportInProgress, UploadReady, Succeeded or Failed. */
  phase?: string | undefined
  /** How much of the transfer is done, as a percentage such as 42.17%, or N/A when nothing is known. */
  progress?: string | undefined
  /** RestartCount is the number of times the pod populating the DataVolume has been restarted after a failed attempt. */
  restartCount?: number | undefined
}

export interface DataVolumeStatusConditionsItem {
  /** When status, reason or message last changed. */
  lastHeartbeatTime?: string | undefined
  /** When the status last changed. */
  lastTransitionTime?: string | undefined
  /** A sentence for people: why the status is as it is. */
  message?: string | undefined
  /** One word for programs: why the status is as it is. */
  reason?: string | undefined
  /** True, False or Unknown. */
  status: string
  /** Name of the condition. */
  type: string
}

/** What the volume shall hold and how large it is. It cannot be changed later, except for checkpoints. */
export interface DataVolumeSpec {
  /** Snapshots to import one after the other (warm migration from vddk or imageio), oldest first. */
  checkpoints?: DataVolumeSpecCheckpointsItem[] | undefined
  /** kubevirt (a disk image, the default) or archive (a tar file that is unpacked into the volume). */
  contentType?: "kubevirt" | "archive" | undefined
  /** The last checkpoint of the list is the last one of all: the import is complete after it. */
  finalCheckpoint?: boolean | undefined
  /** Take the whole space from the storage at once instead of leaving holes where the disk is empty. */
  preallocation?: boolean | undefined
  /** PriorityClass of the worker pods. */
  priorityClassName?: string | undefined
  /** The claim exactly as it shall be made, in the words of a PersistentVolumeClaim. Its size is used as it stands: leave room for the file system yourself, or use storage instead. */
  pvc?: DataVolumeSpecPvc | undefined
  /** ServiceAccount of the worker pods. */
  serviceAccountName?: string | undefined
  /** Where the data comes from: exactly one of the fields. */
  source?: DataVolumeSpecSource | undefined
  /** A DataSource that names the volume or snapshot to clone, instead of source. */
  sourceRef?: DataVolumeSpecSourceRef | undefined
  /** The claim in short: what is left out is taken from the StorageClass and its StorageProfile, and a Filesystem volume is made larger by what its file system takes. */
  storage?: DataVolumeSpecStorage | undefined
}

/** The claim in short: what is left out is taken from the StorageClass and its StorageProfile, and a Filesystem volume is made larger by what its file system takes. */
export interface DataVolumeSpecStorage {
  /** Access modes of the claim. Left out: those that the StorageProfile prefers. */
  accessModes?: string[] | undefined
  /** Object that somebody else fills the claim from; then source and sourceRef stay empty. */
  dataSource?: DataVolumeSpecStorageDataSource | undefined
  /** Like dataSource, for any kind that has a volume populator. */
  dataSourceRef?: DataVolumeSpecStorageDataSourceRef | undefined
  /** The size of the disk, in requests.storage. */
  resources?: DataVolumeSpecStorageResources | undefined
  /** Labels that a PersistentVolume must have to be bound. */
  selector?: DataVolumeSpecStorageSelector | undefined
  /** StorageClass to use. Left out: the default for virtual machines (storageclass.kubevirt.io/is-default-virt-class), else the default of the cluster. */
  storageClassName?: string | undefined
  /** Filesystem (the disk is a file named disk.img) or Block (the disk is the device). Left out: what the StorageProfile prefers. */
  volumeMode?: string | undefined
  /** Name of the PersistentVolume that the claim shall be bound to. */
  volumeName?: string | undefined
}

/** Labels that a PersistentVolume must have to be bound. */
export interface DataVolumeSpecStorageSelector {
  /** Further conditions on labels; all must hold. */
  matchExpressions?: DataVolumeSpecStorageSelectorMatchExpressionsItem[] | undefined
  /** Labels with exactly these values. */
  matchLabels?: Record<string, string> | undefined
}

export interface DataVolumeSpecStorageSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

/** The size of the disk, in requests.storage. */
export interface DataVolumeSpecStorageResources {
  /** Upper bounds, passed on to the claim. */
  limits?: Record<string, number | string> | undefined
  /** storage is the size of the disk that shall fit, e.g. 10Gi. */
  requests?: Record<string, number | string> | undefined
}

/** Like dataSource, for any kind that has a volume populator. */
export interface DataVolumeSpecStorageDataSourceRef {
  /** API group of the object; empty for the core group. */
  apiGroup?: string | undefined
  /** Kind of the object. */
  kind: string
  /** Name of the object. */
  name: string
  /** Must be empty: the object is in the namespace of the claim. */
  namespace?: string | undefined
}

/** Object that somebody else fills the claim from; then source and sourceRef stay empty. */
export interface DataVolumeSpecStorageDataSource {
  /** API group of the object; empty for the core group. */
  apiGroup?: string | undefined
  /** Kind of the object. */
  kind: string
  /** Name of the object. */
  name: string
}

/** A DataSource that names the volume or snapshot to clone, instead of source. */
export interface DataVolumeSpecSourceRef {
  /** DataSource. */
  kind: string
  /** Name of the DataSource. */
  name: string
  /** Namespace of the DataSource. Left out: that of the DataVolume. */
  namespace?: string | undefined
}

/** Where the data comes from: exactly one of the fields. */
export interface DataVolumeSpecSource {
  /** No data: an empty disk. */
  blank?: Record<string, unknown> | undefined
  /** An object in Google Cloud Storage. */
  gcs?: DataVolumeSpecSourceGcs | undefined
  /** A file on a web server: raw, qcow2, vmdk, vdi, vhd or vhdx, also packed with gzip, xz or zstd, or a tar file for content type archive. */
  http?: DataVolumeSpecSourceHttp | undefined
  /** A disk of an oVirt engine. */
  imageio?: DataVolumeSpecSourceImageio | undefined
  /** Another claim, to be cloned. */
  pvc?: DataVolumeSpecSourcePvc | undefined
  /** A container image that holds a disk under /disk. */
  registry?: DataVolumeSpecSourceRegistry | undefined
  /** An object in an S3 store. */
  s3?: DataVolumeSpecSourceS3 | undefined
  /** A VolumeSnapshot, to be restored. */
  snapshot?: DataVolumeSpecSourceSnapshot | undefined
  /** The data is sent by a client, for example by virtctl image-upload. */
  upload?: Record<string, unknown> | undefined
  /** A disk of a virtual machine on VMware vSphere. */
  vddk?: DataVolumeSpecSourceVddk | undefined
}

/** A disk of a virtual machine on VMware vSphere. */
export interface DataVolumeSpecSourceVddk {
  /** Path of the disk in its datastore, as the virtual machine names it. */
  backingFile?: string | undefined
  /** ConfigMap in the same namespace with PEM certificates of authorities that the host is trusted by. */
  certConfigMap?: string | undefined
  /** ConfigMap in the same namespace with further settings of the VDDK library (vddk-config-file) and of the pod (vddk-node-selector). */
  extraArgs?: string | undefined
  /** Container image that brings the VDDK library. Left out: the one of ConfigMap v2v-vmware. */
  initImageURL?: string | undefined
  /** Secret in the same namespace with accessKeyId (user) and secretKey (password). */
  secretRef?: string | undefined
  /** SHA-1 fingerprint of the certificate of the host. */
  thumbprint?: string | undefined
  /** URL of the vCenter or ESXi host. */
  url?: string | undefined
  /** UUID of the virtual machine. */
  uuid?: string | undefined
}

/** A VolumeSnapshot, to be restored. */
export interface DataVolumeSpecSourceSnapshot {
  /** Name of the VolumeSnapshot. */
  name: string
  /** Namespace of the VolumeSnapshot. */
  namespace: string
}

/** An object in an S3 store. */
export interface DataVolumeSpecSourceS3 {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the server is trusted by. */
  certConfigMap?: string | undefined
  /** Secret in the same namespace with accessKeyId and secretKey. */
  secretRef?: string | undefined
  /** URL of the object: scheme://host/bucket/key. */
  url: string
}

/** A container image that holds a disk under /disk. */
export interface DataVolumeSpecSourceRegistry {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the registry is trusted by. */
  certConfigMap?: string | undefined
  /** Name of an ImageStream in the same namespace; only with pullMethod node. */
  imageStream?: string | undefined
  /** Which image of an index to take. */
  platform?: DataVolumeSpecSourceRegistryPlatform | undefined
  /** pod (the worker reads the image from the registry, the default) or node (the kubelet pulls it). */
  pullMethod?: string | undefined
  /** Secret in the same namespace with accessKeyId (user) and secretKey (password). */
  secretRef?: string | undefined
  /** docker://[registry/]repository[:tag|@digest] or oci-archive:path. Either this or imageStream. */
  url?: string | undefined
}

/** Which image of an index to take. */
export interface DataVolumeSpecSourceRegistryPlatform {
  /** CPU architecture, e.g. amd64. Left out: that of the worker. */
  architecture?: string | undefined
}

/** Another claim, to be cloned. */
export interface DataVolumeSpecSourcePvc {
  /** Name of the claim. */
  name: string
  /** Namespace of the claim. */
  namespace: string
}

/** A disk of an oVirt engine. */
export interface DataVolumeSpecSourceImageio {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the engine is trusted by. */
  certConfigMap?: string | undefined
  /** ID of the disk. */
  diskId: string
  /** Accept any certificate of the engine. */
  insecureSkipVerify?: boolean | undefined
  /** Secret in the same namespace with accessKeyId (user@profile) and secretKey (password). */
  secretRef?: string | undefined
  /** URL of the engine API: https://host/ovirt-engine/api. */
  url: string
}

/** A file on a web server: raw, qcow2, vmdk, vdi, vhd or vhdx, also packed with gzip, xz or zstd, or a tar file for content type archive. */
export interface DataVolumeSpecSourceHttp {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the server is trusted by; every key counts. */
  certConfigMap?: string | undefined
  /** Checksum of the file as it is downloaded, before it is unpacked: md5:, sha1:, sha256: or sha512: and the hexadecimal digits. A file that does not match fails for good. */
  checksum?: string | undefined
  /** Header lines to send along, each as Name: value. */
  extraHeaders?: string[] | undefined
  /** Accept any certificate of the server. Anybody in between can then exchange the data; give a checksum too. */
  insecureSkipVerify?: boolean | undefined
  /** Secrets in the same namespace; each of their values is a header line to send along. */
  secretExtraHeaders?: string[] | undefined
  /** Secret in the same namespace with accessKeyId (user) and secretKey (password) for basic authentication. */
  secretRef?: string | undefined
  /** URL of the file, http or https. */
  url: string
}

/** An object in Google Cloud Storage. */
export interface DataVolumeSpecSourceGcs {
  /** Secret in the same namespace with the service account in its key credentials.json. Left out: anonymous access. */
  secretRef?: string | undefined
  /** gs://bucket/object, or http(s)://host/bucket/object. */
  url: string
}

/** The claim exactly as it shall be made, in the words of a PersistentVolumeClaim. Its size is used as it stands: leave room for the file system yourself, or use storage instead. */
export interface DataVolumeSpecPvc {
  /** Access modes of the claim, exactly one. */
  accessModes?: string[] | undefined
  /** Object that somebody else fills the claim from; then source and sourceRef stay empty. */
  dataSource?: DataVolumeSpecPvcDataSource | undefined
  /** Like dataSource, for any kind that has a volume populator. */
  dataSourceRef?: DataVolumeSpecPvcDataSourceRef | undefined
  /** The size of the claim, in requests.storage. */
  resources?: DataVolumeSpecPvcResources | undefined
  /** Labels that a PersistentVolume must have to be bound. */
  selector?: DataVolumeSpecPvcSelector | undefined
  /** StorageClass to use. Left out: the default of the cluster. */
  storageClassName?: string | undefined
  /** VolumeAttributesClass of the claim. */
  volumeAttributesClassName?: string | undefined
  /** Filesystem (the disk is a file named disk.img) or Block (the disk is the device). Left out: Filesystem. */
  volumeMode?: string | undefined
  /** Name of the PersistentVolume that the claim shall be bound to. */
  volumeName?: string | undefined
}

/** Labels that a PersistentVolume must have to be bound. */
export interface DataVolumeSpecPvcSelector {
  /** Further conditions on labels; all must hold. */
  matchExpressions?: DataVolumeSpecPvcSelectorMatchExpressionsItem[] | undefined
  /** Labels with exactly these values. */
  matchLabels?: Record<string, string> | undefined
}

export interface DataVolumeSpecPvcSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

/** The size of the claim, in requests.storage. */
export interface DataVolumeSpecPvcResources {
  /** Upper bounds, passed on to the claim. */
  limits?: Record<string, number | string> | undefined
  /** storage is the size of the claim, e.g. 10Gi. */
  requests?: Record<string, number | string> | undefined
}

/** Like dataSource, for any kind that has a volume populator. */
export interface DataVolumeSpecPvcDataSourceRef {
  /** API group of the object; empty for the core group. */
  apiGroup?: string | undefined
  /** Kind of the object. */
  kind: string
  /** Name of the object. */
  name: string
  /** Must be empty: the object is in the namespace of the claim. */
  namespace?: string | undefined
}

/** Object that somebody else fills the claim from; then source and sourceRef stay empty. */
export interface DataVolumeSpecPvcDataSource {
  /** API group of the object; empty for the core group. */
  apiGroup?: string | undefined
  /** Kind of the object. */
  kind: string
  /** Name of the object. */
  name: string
}

export interface DataVolumeSpecCheckpointsItem {
  /** The snapshot to copy in this stage. */
  current: string
  /** The snapshot that was copied before; only what changed since is copied. Empty in the first stage. */
  previous: string
}
