// Made from crds/ovirtvolumepopulators.forklift.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Says from which oVirt disk a claim shall be filled that names this object in its dataSourceRef. */
export interface OvirtVolumePopulator extends KubeObject {
  /** The disk and how to reach it. */
  spec: OvirtVolumePopulatorSpec
  /** How far the transfer has come. */
  status?: OvirtVolumePopulatorStatus | undefined
}

/** How far the transfer has come. */
export interface OvirtVolumePopulatorStatus {
  /** Share of the transfer that is done. */
  progress?: string | undefined
}

/** The disk and how to reach it. */
export interface OvirtVolumePopulatorSpec {
  /** ID of the disk. */
  diskId: string
  /** URL of the oVirt engine. */
  engineUrl: string
  /** Secret in the same namespace with the credentials. */
  secretRef: string
  /** Network that the pod shall use for the transfer, as namespace/name of a NetworkAttachmentDefinition. */
  transferNetwork?: string | undefined
}
