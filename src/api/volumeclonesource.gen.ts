// Made from crds/volumeclonesources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface VolumeCloneSource extends KubeObject {
  spec: VolumeCloneSourceSpec
}

export interface VolumeCloneSourceSpec {
  preallocation?: boolean | undefined
  priorityClassName?: string | undefined
  source: VolumeCloneSourceSpecSource
}

export interface VolumeCloneSourceSpecSource {
  apiGroup?: string | undefined
  kind: string
  name: string
}
