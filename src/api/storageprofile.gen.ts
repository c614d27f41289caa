// Made from crds/storageprofiles.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** What this service knows about a StorageClass of the same name. Made for every class; the spec is for corrections by hand. */
export interface StorageProfile extends KubeObject {
  /** Corrections: each field wins over what is known about the storage. */
  spec: StorageProfileSpec
  /** What is used for new DataVolumes of this class. */
  status?: StorageProfileStatus | undefined
}

/** What is used for new DataVolumes of this class. */
export interface StorageProfileStatus {
  /** Volume and access modes that the storage offers, the preferred ones first. */
  claimPropertySets?: StorageProfileStatusClaimPropertySetsItem[] | undefined
  /** How volumes of this class are cloned: csi-clone, snapshot or copy. */
  cloneStrategy?: string | undefined
  /** What is true of this object at the moment, each with its reason. */
  conditions?: StorageProfileStatusConditionsItem[] | undefined
  /** What a DataImportCron keeps on this class: pvc or snapshot. */
  dataImportCronSourceFormat?: string | undefined
  /** Provisioner of the StorageClass. */
  provisioner?: string | undefined
  /** VolumeSnapshotClass for snapshots of this class. */
  snapshotClass?: string | undefined
  /** Name of the StorageClass. */
  storageClass?: string | undefined
}

export interface StorageProfileStatusConditionsItem {
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

export interface StorageProfileStatusClaimPropertySetsItem {
  /** Access modes that go with this volume mode. */
  accessModes: string[]
  /** Filesystem or Block. */
  volumeMode: "Block" | "Filesystem"
}

/** Corrections: each field wins over what is known about the storage. */
export interface StorageProfileSpec {
  /** Volume and access modes that the storage offers, the preferred ones first. */
  claimPropertySets?: StorageProfileSpecClaimPropertySetsItem[] | undefined
  /** How volumes of this class are cloned: csi-clone, snapshot or copy. */
  cloneStrategy?: string | undefined
  /** What a DataImportCron keeps on this class: pvc or snapshot. */
  dataImportCronSourceFormat?: string | undefined
  /** VolumeSnapshotClass for snapshots of this class. */
  snapshotClass?: string | undefined
}

export interface StorageProfileSpecClaimPropertySetsItem {
  /** Access modes that go with this volume mode. */
  accessModes: string[]
  /** Filesystem or Block. */
  volumeMode: "Block" | "Filesystem"
}
