// Made from crds/volumeuploadsources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface VolumeUploadSource extends KubeObject {
  spec: VolumeUploadSourceSpec
  status?: Record<string, unknown> | undefined
}

export interface VolumeUploadSourceSpec {
  contentType?: string | undefined
  preallocation?: boolean | undefined
}
