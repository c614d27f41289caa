// Made from crds/objecttransfers.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Moves a claim or DataVolume to another namespace. Used by this service itself. */
export interface ObjectTransfer extends KubeObject {
  /** What to move, and where to. */
  spec: ObjectTransferSpec
  /** How far the move has come. */
  status?: ObjectTransferStatus | undefined
}

/** How far the move has come. */
export interface ObjectTransferStatus {
  /** What is true of this object at the moment, each with its reason. */
  conditions?: ObjectTransferStatusConditionsItem[] | undefined
  /** Notes that a restart needs. */
  data?: Record<string, string> | undefined
  /** Pending, Running, Complete or Error. */
  phase?: string | undefined
}

export interface ObjectTransferStatusConditionsItem {
  /** When status, reason or message last changed. */
  lastHeartbeatTime?: string | undefined
  /** When the status last changed. */
  lastTransitionTime?: string | undefined
  /** A sentence for people: why the status is as it is. */
  message?: string | undefined
  /** One word for programs: why the status is as it is. */
  reason?: string | undefined
  /** True, False or Unknown. */
  status: string
  /** Name of the condition. */
  type: string
}

/** What to move, and where to. */
export interface ObjectTransferSpec {
  /** Name of the ObjectTransfer that this one is a part of. */
  parentName?: string | undefined
  /** The object to move. */
  source: ObjectTransferSpecSource
  /** Where it shall be; what is left out stays as it was. */
  target: ObjectTransferSpecTarget
}

/** Where it shall be; what is left out stays as it was. */
export interface ObjectTransferSpecTarget {
  /** New name. */
  name?: string | undefined
  /** New namespace. */
  namespace?: string | undefined
}

/** The object to move. */
export interface ObjectTransferSpecSource {
  /** Group and version of its API. */
  apiVersion?: string | undefined
  /** PersistentVolumeClaim or DataVolume. */
  kind: string
  /** Its name. */
  name: string
  /** Its namespace. */
  namespace: string
  /** Annotations that it must have before it is moved. */
  requiredAnnotations?: Record<string, string> | undefined
}
