// Made from crds/dataimportcrons.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface DataImportCron extends KubeObject {
  spec: DataImportCronSpec
  status?: DataImportCronStatus | undefined
}

export interface DataImportCronStatus {
  conditions?: DataImportCronStatusConditionsItem[] | undefined
  currentImports?: DataImportCronStatusCurrentImportsItem[] | undefined
  lastExecutionTimestamp?: string | undefined
  lastImportTimestamp?: string | undefined
  lastImportedPVC?: DataImportCronStatusLastImportedPVC | undefined
  sourceFormat?: string | undefined
}

export interface DataImportCronStatusLastImportedPVC {
  name: string
  namespace: string
}

export interface DataImportCronStatusCurrentImportsItem {
  DataVolumeName: string
  Digest: string
}

export interface DataImportCronStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface DataImportCronSpec {
  garbageCollect?: string | undefined
  importsToKeep?: number | undefined
  managedDataSource: string
  retentionPolicy?: string | undefined
  schedule: string
  serviceAccountName?: string | undefined
  template: DataImportCronSpecTemplate
}

export interface DataImportCronSpecTemplate {
  apiVersion?: string | undefined
  kind?: string | undefined
  metadata?: Record<string, unknown> | undefined
  spec: DataImportCronSpecTemplateSpec
  status?: DataImportCronSpecTemplateStatus | undefined
}

export interface DataImportCronSpecTemplateStatus {
  claimName?: string | undefined
  conditions?: DataImportCronSpecTemplateStatusConditionsItem[] | undefined
  phase?: string | undefined
  progress?: string | undefined
  restartCount?: number | undefined
}

export interface DataImportCronSpecTemplateStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface DataImportCronSpecTemplateSpec {
  checkpoints?: DataImportCronSpecTemplateSpecCheckpointsItem[] | undefined
  contentType?: "kubevirt" | "archive" | undefined
  finalCheckpoint?: boolean | undefined
  preallocation?: boolean | undefined
  priorityClassName?: string | undefined
  pvc?: DataImportCronSpecTemplateSpecPvc | undefined
  serviceAccountName?: string | undefined
  source?: DataImportCronSpecTemplateSpecSource | undefined
  sourceRef?: DataImportCronSpecTemplateSpecSourceRef | undefined
  storage?: DataImportCronSpecTemplateSpecStorage | undefined
}

export interface DataImportCronSpecTemplateSpecStorage {
  accessModes?: string[] | undefined
  dataSource?: DataImportCronSpecTemplateSpecStorageDataSource | undefined
  dataSourceRef?: DataImportCronSpecTemplateSpecStorageDataSourceRef | undefined
  resources?: DataImportCronSpecTemplateSpecStorageResources | undefined
  selector?: DataImportCronSpecTemplateSpecStorageSelector | undefined
  storageClassName?: string | undefined
  volumeMode?: string | undefined
  volumeName?: string | undefined
}

export interface DataImportCronSpecTemplateSpecStorageSelector {
  matchExpressions?: DataImportCronSpecTemplateSpecStorageSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface DataImportCronSpecTemplateSpecStorageSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface DataImportCronSpecTemplateSpecStorageResources {
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface DataImportCronSpecTemplateSpecStorageDataSourceRef {
  apiGroup?: string | undefined
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataImportCronSpecTemplateSpecStorageDataSource {
  apiGroup?: string | undefined
  kind: string
  name: string
}

export interface DataImportCronSpecTemplateSpecSourceRef {
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataImportCronSpecTemplateSpecSource {
  blank?: Record<string, unknown> | undefined
  gcs?: DataImportCronSpecTemplateSpecSourceGcs | undefined
  http?: DataImportCronSpecTemplateSpecSourceHttp | undefined
  imageio?: DataImportCronSpecTemplateSpecSourceImageio | undefined
  pvc?: DataImportCronSpecTemplateSpecSourcePvc | undefined
  registry?: DataImportCronSpecTemplateSpecSourceRegistry | undefined
  s3?: DataImportCronSpecTemplateSpecSourceS3 | undefined
  snapshot?: DataImportCronSpecTemplateSpecSourceSnapshot | undefined
  upload?: Record<string, unknown> | undefined
  vddk?: DataImportCronSpecTemplateSpecSourceVddk | undefined
}

export interface DataImportCronSpecTemplateSpecSourceVddk {
  backingFile?: string | undefined
  certConfigMap?: string | undefined
  extraArgs?: string | undefined
  initImageURL?: string | undefined
  secretRef?: string | undefined
  thumbprint?: string | undefined
  url?: string | undefined
  uuid?: string | undefined
}

export interface DataImportCronSpecTemplateSpecSourceSnapshot {
  name: string
  namespace: string
}

export interface DataImportCronSpecTemplateSpecSourceS3 {
  certConfigMap?: string | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataImportCronSpecTemplateSpecSourceRegistry {
  certConfigMap?: string | undefined
  imageStream?: string | undefined
  platform?: DataImportCronSpecTemplateSpecSourceRegistryPlatform | undefined
  pullMethod?: string | undefined
  secretRef?: string | undefined
  url?: string | undefined
}

export interface DataImportCronSpecTemplateSpecSourceRegistryPlatform {
  architecture?: string | undefined
}

export interface DataImportCronSpecTemplateSpecSourcePvc {
  name: string
  namespace: string
}

export interface DataImportCronSpecTemplateSpecSourceImageio {
  certConfigMap?: string | undefined
  diskId: string
  insecureSkipVerify?: boolean | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataImportCronSpecTemplateSpecSourceHttp {
  certConfigMap?: string | undefined
  checksum?: string | undefined
  extraHeaders?: string[] | undefined
  insecureSkipVerify?: boolean | undefined
  secretExtraHeaders?: string[] | undefined
  secretRef?: string | undefined
  url: string
}

export interface DataImportCronSpecTemplateSpecSourceGcs {
  secretRef?: string | undefined
  url: string
}

export interface DataImportCronSpecTemplateSpecPvc {
  accessModes?: string[] | undefined
  dataSource?: DataImportCronSpecTemplateSpecPvcDataSource | undefined
  dataSourceRef?: DataImportCronSpecTemplateSpecPvcDataSourceRef | undefined
  resources?: DataImportCronSpecTemplateSpecPvcResources | undefined
  selector?: DataImportCronSpecTemplateSpecPvcSelector | undefined
  storageClassName?: string | undefined
  volumeAttributesClassName?: string | undefined
  volumeMode?: string | undefined
  volumeName?: string | undefined
}

export interface DataImportCronSpecTemplateSpecPvcSelector {
  matchExpressions?: DataImportCronSpecTemplateSpecPvcSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface DataImportCronSpecTemplateSpecPvcSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface DataImportCronSpecTemplateSpecPvcResources {
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface DataImportCronSpecTemplateSpecPvcDataSourceRef {
  apiGroup?: string | undefined
  kind: string
  name: string
  namespace?: string | undefined
}

export interface DataImportCronSpecTemplateSpecPvcDataSource {
  apiGroup?: string | undefined
  kind: string
  name: string
}

export interface DataImportCronSpecTemplateSpecCheckpointsItem {
  current: string
  previous: string
}
