// Made from crds/openstackvolumepopulators.forklift.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Says from which OpenStack image a claim shall be filled that names this object in its dataSourceRef. */
export interface OpenstackVolumePopulator extends KubeObject {
  /** The image and how to reach it. */
  spec: OpenstackVolumePopulatorSpec
  /** How far the transfer has come. */
  status?: OpenstackVolumePopulatorStatus | undefined
}

/** How far the transfer has come. */
export interface OpenstackVolumePopulatorStatus {
  /** Share of the transfer that is done. */
  progress?: string | undefined
}

/** The image and how to reach it. */
export interface OpenstackVolumePopulatorSpec {
  /** URL of the identity service. */
  identityUrl: string
  /** ID of the image. */
  imageId: string
  /** Secret in the same namespace with the credentials. */
  secretRef: string
  /** Network that the pod shall use for the transfer, as namespace/name of a NetworkAttachmentDefinition. */
  transferNetwork?: string | undefined
}
