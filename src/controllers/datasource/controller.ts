/**
 * Keeps the status of DataSources, the names of golden images: whether the claim or snapshot that one leads to can be cloned.
 * Several may lead to the same; one may point to another one of its namespace. There is no status subresource: status and
 * labels are written together.
 */
import { kinds } from '../../api/kinds.ts'
import type { DataSource } from '../../api/kinds.ts'
import { formatTime } from '../../kube/clock.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec } from '../../kube/controller.ts'
import { mergePatch } from '../../kube/merge-patch.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import type { KubeObject, ObjectKey } from '../../kube/object.ts'
import { isEmpty } from '../shared/annotated.ts'
import { besides, cloneOriginKey, indexes } from '../shared/caches.ts'
import { isTerminating } from '../shared/claim.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { directionOf, planDataSource } from './plan.ts'
import type { DataSourceObservation } from './plan.ts'

export function dataSourceController(dependencies: Dependencies): ControllerSpec {
  const { dataSources, dataVolumes, pvcs, volumeSnapshots } = dependencies.caches
  const leadingTo = (kind: string, { metadata: { namespace = '', name } }: KubeObject): DataSource[] =>
    dataSources.byIndex(indexes.origin, cloneOriginKey({ kind, namespace, name }))
  /** Itself, and those that point to it. */
  const withPointers = (dataSource: DataSource): ObjectKey[] => [
    keyOf(dataSource),
    ...leadingTo(kinds.dataSource.kind, dataSource).map(keyOf),
  ]
  const ofClaim = (object: KubeObject): ObjectKey[] => leadingTo(kinds.pvc.kind, object).flatMap(withPointers)
  const reconciler = new DataSourceReconciler(dependencies)
  return {
    name: 'datasource',
    watches: [
      watching(dataSources, withPointers),
      watching(pvcs, ofClaim),
      // It bears the name of its claim.
      watching(dataVolumes, ofClaim),
      watching(volumeSnapshots, (snapshot) => leadingTo(kinds.volumeSnapshot.kind, snapshot).flatMap(withPointers)),
    ],
    reconcile: (key) => reconciler.reconcile(key),
  }
}

class DataSourceReconciler {
  readonly #dependencies: Dependencies

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<void> {
    const { client, caches, ownWrites, log } = this.#dependencies
    const dataSource = caches.dataSources.get(key)
    if (!dataSource || isTerminating(dataSource) || ownWrites.isBehind(dataSource)) return
    const plan = planDataSource(this.#observe(dataSource))
    const status = mergePatch(dataSource.status, plan.status)
    if (status === undefined && isEmpty(plan.labels)) return
    const { resourceVersion } = dataSource.metadata
    const metadata = { resourceVersion, ...(isEmpty(plan.labels) ? {} : { labels: plan.labels }) }
    const body = { metadata, ...(status === undefined ? {} : { status }) }
    ownWrites.wrote(await client.patch(kinds.dataSource, key, body, { type: 'merge' }))
    const [condition] = plan.status.conditions ?? []
    log.info({ dataSource: formatKey(key), ready: condition?.status, reason: condition?.reason }, 'status written')
  }

  #observe(dataSource: DataSource): DataSourceObservation {
    const { caches, clock } = this.#dependencies
    const direction = directionOf(dataSource, (name) => caches.dataSources.get(besides(dataSource, name)))
    const { kind, ...source } = direction.to === 'source' ? direction.source : { kind: undefined, name: '' }
    return {
      dataSource,
      direction,
      dataVolume: kind === 'pvc' ? caches.dataVolumes.get(source) : undefined,
      claim: kind === 'pvc' ? caches.pvcs.get(source) : undefined,
      snapshot: kind === 'snapshot' ? caches.volumeSnapshots.get(source) : undefined,
      now: formatTime(clock.now()),
    }
  }
}
