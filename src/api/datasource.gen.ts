// Made from crds/datasources.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface DataSource extends KubeObject {
  spec: DataSourceSpec
  status?: DataSourceStatus | undefined
}

export interface DataSourceStatus {
  conditions?: DataSourceStatusConditionsItem[] | undefined
  source?: DataSourceStatusSource | undefined
}

export interface DataSourceStatusSource {
  dataSource?: DataSourceStatusSourceDataSource | undefined
  pvc?: DataSourceStatusSourcePvc | undefined
  snapshot?: DataSourceStatusSourceSnapshot | undefined
}

export interface DataSourceStatusSourceSnapshot {
  name: string
  namespace: string
}

export interface DataSourceStatusSourcePvc {
  name: string
  namespace: string
}

export interface DataSourceStatusSourceDataSource {
  name: string
  namespace: string
}

export interface DataSourceStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface DataSourceSpec {
  source: DataSourceSpecSource
}

export interface DataSourceSpecSource {
  dataSource?: DataSourceSpecSourceDataSource | undefined
  pvc?: DataSourceSpecSourcePvc | undefined
  snapshot?: DataSourceSpecSourceSnapshot | undefined
}

export interface DataSourceSpecSourceSnapshot {
  name: string
  namespace: string
}

export interface DataSourceSpecSourcePvc {
  name: string
  namespace: string
}

export interface DataSourceSpecSourceDataSource {
  name: string
  namespace: string
}
