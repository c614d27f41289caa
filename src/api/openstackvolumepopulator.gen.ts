// Made from crds/openstackvolumepopulators.forklift.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface OpenstackVolumePopulator extends KubeObject {
  spec: OpenstackVolumePopulatorSpec
  status?: OpenstackVolumePopulatorStatus | undefined
}

export interface OpenstackVolumePopulatorStatus {
  progress?: string | undefined
}

export interface OpenstackVolumePopulatorSpec {
  identityUrl: string
  imageId: string
  secretRef: string
  transferNetwork?: string | undefined
}
