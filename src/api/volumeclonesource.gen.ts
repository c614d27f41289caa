// Made from crds/volumeclonesources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Says from which claim or snapshot a claim shall be cloned that names this object in its dataSourceRef. */
export interface VolumeCloneSource extends KubeObject {
  /** What to clone, and how. */
  spec: VolumeCloneSourceSpec
}

/** What to clone, and how. */
export interface VolumeCloneSourceSpec {
  /** Take the whole space from the storage at once instead of leaving holes where the disk is empty. */
  preallocation?: boolean | undefined
  /** PriorityClass of the pods that copy. */
  priorityClassName?: string | undefined
  /** The claim or VolumeSnapshot to clone, in the same namespace. */
  source: VolumeCloneSourceSpecSource
}

/** The claim or VolumeSnapshot to clone, in the same namespace. */
export interface VolumeCloneSourceSpecSource {
  /** API group: empty for a claim, snapshot.storage.k8s.io for a VolumeSnapshot. */
  apiGroup?: string | undefined
  /** PersistentVolumeClaim or VolumeSnapshot. */
  kind: string
  /** Name of the claim or VolumeSnapshot. */
  name: string
}
