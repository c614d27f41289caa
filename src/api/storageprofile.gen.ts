// Made from crds/storageprofiles.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface StorageProfile extends KubeObject {
  spec: StorageProfileSpec
  status?: StorageProfileStatus | undefined
}

export interface StorageProfileStatus {
  claimPropertySets?: StorageProfileStatusClaimPropertySetsItem[] | undefined
  cloneStrategy?: string | undefined
  conditions?: StorageProfileStatusConditionsItem[] | undefined
  dataImportCronSourceFormat?: string | undefined
  provisioner?: string | undefined
  snapshotClass?: string | undefined
  storageClass?: string | undefined
}

export interface StorageProfileStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface StorageProfileStatusClaimPropertySetsItem {
  accessModes: string[]
  volumeMode: "Block" | "Filesystem"
}

export interface StorageProfileSpec {
  claimPropertySets?: StorageProfileSpecClaimPropertySetsItem[] | undefined
  cloneStrategy?: string | undefined
  dataImportCronSourceFormat?: string | undefined
  snapshotClass?: string | undefined
}

export interface StorageProfileSpecClaimPropertySetsItem {
  accessModes: string[]
  volumeMode: "Block" | "Filesystem"
}
