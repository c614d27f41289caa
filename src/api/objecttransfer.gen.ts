// Made from crds/objecttransfers.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface ObjectTransfer extends KubeObject {
  spec: ObjectTransferSpec
  status?: ObjectTransferStatus | undefined
}

export interface ObjectTransferStatus {
  conditions?: ObjectTransferStatusConditionsItem[] | undefined
  data?: Record<string, string> | undefined
  phase?: string | undefined
}

export interface ObjectTransferStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface ObjectTransferSpec {
  parentName?: string | undefined
  source: ObjectTransferSpecSource
  target: ObjectTransferSpecTarget
}

export interface ObjectTransferSpecTarget {
  name?: string | undefined
  namespace?: string | undefined
}

export interface ObjectTransferSpecSource {
  apiVersion?: string | undefined
  kind: string
  name: string
  namespace: string
  requiredAnnotations?: Record<string, string> | undefined
}
