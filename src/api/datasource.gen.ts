// Made from crds/datasources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** A name for the current version of a golden image: points to the claim or snapshot that holds it. */
export interface DataSource extends KubeObject {
  /** What the DataSource points to. */
  spec: DataSourceSpec
  /** Whether what it points to can be cloned. */
  status?: DataSourceStatus | undefined
}

/** Whether what it points to can be cloned. */
export interface DataSourceStatus {
  /** What is true of this object at the moment, each with its reason. */
  conditions?: DataSourceStatusConditionsItem[] | undefined
  /** The claim or VolumeSnapshot that is cloned at the moment. */
  source?: DataSourceStatusSource | undefined
}

/** The claim or VolumeSnapshot that is cloned at the moment. */
export interface DataSourceStatusSource {
  /** Unused. */
  dataSource?: DataSourceStatusSourceDataSource | undefined
  /** The claim. */
  pvc?: DataSourceStatusSourcePvc | undefined
  /** The VolumeSnapshot. */
  snapshot?: DataSourceStatusSourceSnapshot | undefined
}

/** The VolumeSnapshot. */
export interface DataSourceStatusSourceSnapshot {
  /** Name of the VolumeSnapshot. */
  name: string
  /** Namespace of the VolumeSnapshot. */
  namespace: string
}

/** The claim. */
export interface DataSourceStatusSourcePvc {
  /** Name of the claim. */
  name: string
  /** Namespace of the claim. */
  namespace: string
}

/** Unused. */
export interface DataSourceStatusSourceDataSource {
  /** Name of the object. */
  name: string
  /** Its namespace. */
  namespace: string
}

export interface DataSourceStatusConditionsItem {
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

/** What the DataSource points to. */
export interface DataSourceSpec {
  /** A claim, a VolumeSnapshot or another DataSource: one of the fields. */
  source: DataSourceSpecSource
}

/** A claim, a VolumeSnapshot or another DataSource: one of the fields. */
export interface DataSourceSpecSource {
  /** Another DataSource in the same namespace that is followed. */
  dataSource?: DataSourceSpecSourceDataSource | undefined
  /** A claim. */
  pvc?: DataSourceSpecSourcePvc | undefined
  /** A VolumeSnapshot. */
  snapshot?: DataSourceSpecSourceSnapshot | undefined
}

/** A VolumeSnapshot. */
export interface DataSourceSpecSourceSnapshot {
  /** Name of the VolumeSnapshot. */
  name: string
  /** Namespace of the VolumeSnapshot. */
  namespace: string
}

/** A claim. */
export interface DataSourceSpecSourcePvc {
  /** Name of the claim. */
  name: string
  /** Namespace of the claim. */
  namespace: string
}

/** Another DataSource in the same namespace that is followed. */
export interface DataSourceSpecSourceDataSource {
  /** Name of the object. */
  name: string
  /** Its namespace. */
  namespace: string
}
