// Made from crds/volumeimportsources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface VolumeImportSource extends KubeObject {
  spec: VolumeImportSourceSpec
  status?: Record<string, unknown> | undefined
}

export interface VolumeImportSourceSpec {
  checkpoints?: VolumeImportSourceSpecCheckpointsItem[] | undefined
  contentType?: string | undefined
  finalCheckpoint?: boolean | undefined
  preallocation?: boolean | undefined
  source?: VolumeImportSourceSpecSource | undefined
  targetClaim?: string | undefined
}

export interface VolumeImportSourceSpecSource {
  blank?: Record<string, unknown> | undefined
  gcs?: VolumeImportSourceSpecSourceGcs | undefined
  http?: VolumeImportSourceSpecSourceHttp | undefined
  imageio?: VolumeImportSourceSpecSourceImageio | undefined
  registry?: VolumeImportSourceSpecSourceRegistry | undefined
  s3?: VolumeImportSourceSpecSourceS3 | undefined
  vddk?: VolumeImportSourceSpecSourceVddk | undefined
}

export interface VolumeImportSourceSpecSourceVddk {
  backingFile?: string | undefined
  certConfigMap?: string | undefined
  extraArgs?: string | undefined
  initImageURL?: string | undefined
  secretRef?: string | undefined
  thumbprint?: string | undefined
  url?: string | undefined
  uuid?: string | undefined
}

export interface VolumeImportSourceSpecSourceS3 {
  certConfigMap?: string | undefined
  secretRef?: string | undefined
  url: string
}

export interface VolumeImportSourceSpecSourceRegistry {
  certConfigMap?: string | undefined
  imageStream?: string | undefined
  platform?: VolumeImportSourceSpecSourceRegistryPlatform | undefined
  pullMethod?: string | undefined
  secretRef?: string | undefined
  url?: string | undefined
}

export interface VolumeImportSourceSpecSourceRegistryPlatform {
  architecture?: string | undefined
}

export interface VolumeImportSourceSpecSourceImageio {
  certConfigMap?: string | undefined
  diskId: string
  insecureSkipVerify?: boolean | undefined
  secretRef?: string | undefined
  url: string
}

export interface VolumeImportSourceSpecSourceHttp {
  certConfigMap?: string | undefined
  checksum?: string | undefined
  extraHeaders?: string[] | undefined
  insecureSkipVerify?: boolean | undefined
  secretExtraHeaders?: string[] | undefined
  secretRef?: string | undefined
  url: string
}

export interface VolumeImportSourceSpecSourceGcs {
  secretRef?: string | undefined
  url: string
}

export interface VolumeImportSourceSpecCheckpointsItem {
  current: string
  previous: string
}
