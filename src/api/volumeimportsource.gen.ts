// Made from crds/volumeimportsources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Says with what a claim shall be filled that names this object in its dataSourceRef. DataVolumes make one for themselves. */
export interface VolumeImportSource extends KubeObject {
  /** What the volume shall hold. */
  spec: VolumeImportSourceSpec
  /** Unused. */
  status?: Record<string, unknown> | undefined
}

/** What the volume shall hold. */
export interface VolumeImportSourceSpec {
  /** Snapshots to import one after the other (warm migration from vddk or imageio), oldest first. */
  checkpoints?: VolumeImportSourceSpecCheckpointsItem[] | undefined
  /** kubevirt (a disk image, the default) or archive (a tar file that is unpacked into the volume). */
  contentType?: string | undefined
  /** The last checkpoint of the list is the last one of all: the import is complete after it. */
  finalCheckpoint?: boolean | undefined
  /** Take the whole space from the storage at once instead of leaving holes where the disk is empty. */
  preallocation?: boolean | undefined
  /** Where the data comes from: exactly one of the fields. */
  source?: VolumeImportSourceSpecSource | undefined
  /** The one claim that may use this source; needed with checkpoints. */
  targetClaim?: string | undefined
}

/** Where the data comes from: exactly one of the fields. */
export interface VolumeImportSourceSpecSource {
  /** No data: an empty disk. */
  blank?: Record<string, unknown> | undefined
  /** An object in Google Cloud Storage. */
  gcs?: VolumeImportSourceSpecSourceGcs | undefined
  /** A file on a web server: raw, qcow2, vmdk, vdi, vhd or vhdx, also packed with gzip, xz or zstd, or a tar file for content type archive. */
  http?: VolumeImportSourceSpecSourceHttp | undefined
  /** A disk of an oVirt engine. */
  imageio?: VolumeImportSourceSpecSourceImageio | undefined
  /** A container image that holds a disk under /disk. */
  registry?: VolumeImportSourceSpecSourceRegistry | undefined
  /** An object in an S3 store. */
  s3?: VolumeImportSourceSpecSourceS3 | undefined
  /** A disk of a virtual machine on VMware vSphere. */
  vddk?: VolumeImportSourceSpecSourceVddk | undefined
}

/** A disk of a virtual machine on VMware vSphere. */
export interface VolumeImportSourceSpecSourceVddk {
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

/** An object in an S3 store. */
export interface VolumeImportSourceSpecSourceS3 {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the server is trusted by. */
  certConfigMap?: string | undefined
  /** Secret in the same namespace with accessKeyId and secretKey. */
  secretRef?: string | undefined
  /** URL of the object: scheme://host/bucket/key. */
  url: string
}

/** A container image that holds a disk under /disk. */
export interface VolumeImportSourceSpecSourceRegistry {
  /** ConfigMap in the same namespace with PEM certificates of authorities that the registry is trusted by. */
  certConfigMap?: string | undefined
  /** Name of an ImageStream in the same namespace; only with pullMethod node. */
  imageStream?: string | undefined
  /** Which image of an index to take. */
  platform?: VolumeImportSourceSpecSourceRegistryPlatform | undefined
  /** pod (the worker reads the image from the registry, the default) or node (the kubelet pulls it). */
  pullMethod?: string | undefined
  /** Secret in the same namespace with accessKeyId (user) and secretKey (password). */
  secretRef?: string | undefined
  /** docker://[registry/]repository[:tag|@digest] or oci-archive:path. Either this or imageStream. */
  url?: string | undefined
}

/** Which image of an index to take. */
export interface VolumeImportSourceSpecSourceRegistryPlatform {
  /** CPU architecture, e.g. amd64. Left out: that of the worker. */
  architecture?: string | undefined
}

/** A disk of an oVirt engine. */
export interface VolumeImportSourceSpecSourceImageio {
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
export interface VolumeImportSourceSpecSourceHttp {
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
export interface VolumeImportSourceSpecSourceGcs {
  /** Secret in the same namespace with the service account in its key credentials.json. Left out: anonymous access. */
  secretRef?: string | undefined
  /** gs://bucket/object, or http(s)://host/bucket/object. */
  url: string
}

export interface VolumeImportSourceSpecCheckpointsItem {
  /** The snapshot to copy in this stage. */
  current: string
  /** The snapshot that was copied before; only what changed since is copied. Empty in the first stage. */
  previous: string
}
