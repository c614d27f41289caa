// Made from crds/ovirtvolumepopulators.forklift.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface OvirtVolumePopulator extends KubeObject {
  spec: OvirtVolumePopulatorSpec
  status?: OvirtVolumePopulatorStatus | undefined
}

export interface OvirtVolumePopulatorStatus {
  progress?: string | undefined
}

export interface OvirtVolumePopulatorSpec {
  diskId: string
  engineUrl: string
  secretRef: string
  transferNetwork?: string | undefined
}
