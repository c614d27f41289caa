// Made from crds/volumeuploadsources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Says that a claim that names this object in its dataSourceRef is filled by a client. */
export interface VolumeUploadSource extends KubeObject {
  /** What the volume shall hold. */
  spec: VolumeUploadSourceSpec
  /** Unused. */
  status?: Record<string, unknown> | undefined
}

/** What the volume shall hold. */
export interface VolumeUploadSourceSpec {
  /** kubevirt (a disk image, the default) or archive (a tar file that is unpacked into the volume). */
  contentType?: string | undefined
  /** Take the whole space from the storage at once instead of leaving holes where the disk is empty. */
  preallocation?: boolean | undefined
}
