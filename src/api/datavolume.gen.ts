// Made from crds/datavolumes.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface DataVolume extends KubeObject {
  spec: DataVolumeSpec
  status?: DataVolumeStatus | undefined
}

export interface DataVolumeStatus {
  claimName?: string | undefined
  conditions?: DataVolumeStatusConditionsItem[] | undefined
  phase?: string | undefined
  progress?: string | undefined
  restartCount?: number | undefined
}

export interface DataVolumeStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface DataVolumeSpec {
  checkpoints?: DataVolumeSpecCheckpointsItem[] | undefined
  contentType?: "kubevirt" | "archive" | undefined
  finalCheckpoint?: boolean | undefined
  preallocation?: boolean | undefined
  priorityClassName?: string | undefined
  pvc?: DataVolumeSpecPvc | undefined
  serviceAccountName?: string | undefined
  source?: DataVolumeSpecSource | undefined
  sourceRef?: DataVolumeSpecSourceRef | undefined
  storage?: DataVolumeSpecStorage | undefined
}

export interface DataVolumeSpecStorage {
  accessModes?: string[] | undefined
  dataSource?: DataVolumeSpecStorageDataSource | undefined
  dataSourceRef?: DataVolumeSpecStorageDataSourceRef | undefined
  resources?: DataVolumeSpecStorageResources | undefined
  selector?: DataVolumeSpecStorageSelector | undefined
  storageClassName?: string | undefined
  volumeMode?: string | undefined
  volumeName?: string | undefined
}

export interface DataVolumeSpecStorageSelector {
  matchExpressions?: DataVolumeSpecStorageSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface DataVolumeSpecStorageSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface DataVolumeSpecStorageResources {
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface DataVolumeSpecStorageDataSourceRef {
  apiGroup?: string | undefined
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataVolumeSpecStorageDataSource {
  apiGroup?: string | undefined
  kind: string
  name: string
}

export interface DataVolumeSpecSourceRef {
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataVolumeSpecSource {
  blank?: Record<string, unknown> | undefined
  gcs?: DataVolumeSpecSourceGcs | undefined
  http?: DataVolumeSpecSourceHttp | undefined
  imageio?: DataVolumeSpecSourceImageio | undefined
  pvc?: DataVolumeSpecSourcePvc | undefined
  registry?: DataVolumeSpecSourceRegistry | undefined
  s3?: DataVolumeSpecSourceS3 | undefined
  snapshot?: DataVolumeSpecSourceSnapshot | undefined
  upload?: Record<string, unknown> | undefined
  vddk?: DataVolumeSpecSourceVddk | undefined
}

export interface DataVolumeSpecSourceVddk {
  backingFile?: string | undefined
  certConfigMap?: string | undefined
  extraArgs?: string | undefined
  initImageURL?: string | undefined
  secretRef?: string | undefined
  thumbprint?: string | undefined
  url?: string | undefined
  uuid?: string | undefined
}

export interface DataVolumeSpecSourceSnapshot {
  name: string
  namespace: string
}

export interface DataVolumeSpecSourceS3 {
  certConfigMap?: string | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataVolumeSpecSourceRegistry {
  certConfigMap?: string | undefined
  imageStream?: string | undefined
  platform?: DataVolumeSpecSourceRegistryPlatform | undefined
  pullMethod?: string | undefined
  secretRef?: string | undefined
  url?: string | undefined
}

export interface DataVolumeSpecSourceRegistryPlatform {
  architecture?: string | undefined
}

export interface DataVolumeSpecSourcePvc {
  name: string
  namespace: string
}

export interface DataVolumeSpecSourceImageio {
  certConfigMap?: string | undefined
  diskId: string
  insecureSkipVerify?: boolean | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataVolumeSpecSourceHttp {
  certConfigMap?: string | undefined
  checksum?: string | undefined
  extraHeaders?: string[] | undefined
  insecureSkipVerify?: boolean | undefined
  secretExtraHeaders?: string[] | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataVolumeSpecSourceGcs {
  secretRef?: string | undefined
  url: string
}

export interface DataVolumeSpecPvc {
  accessModes?: string[] | undefined
  dataSource?: DataVolumeSpecPvcDataSource | undefined
  dataSourceRef?: DataVolumeSpecPvcDataSourceRef | undefined
  resources?: DataVolumeSpecPvcResources | undefined
  selector?: DataVolumeSpecPvcSelector | undefined
  storageClassName?: string | undefined
  volumeAttributesClassName?: string | undefined
  volumeMode?: string | undefined
  volumeName?: string | undefined
}

export interface DataVolumeSpecPvcSelector {
  matchExpressions?: DataVolumeSpecPvcSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface DataVolumeSpecPvcSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface DataVolumeSpecPvcResources {
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface DataVolumeSpecPvcDataSourceRef {
  apiGroup?: string | undefined
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataVolumeSpecPvcDataSource {
  apiGroup?: string | undefined
  kind: string
  name: string
}

export interface DataVolumeSpecCheckpointsItem {
  current: string
  previous: string
}
