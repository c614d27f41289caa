/** What a StorageProfile depends on besides objects that are watched; asked now and then, because it hardly ever changes. */
import { isForbidden } from '../../kube/api-error.ts'
import type { Clock } from '../../kube/clock.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Kind, KubeObject } from '../../kube/object.ts'

interface Infrastructure extends KubeObject {
  status?: { controlPlaneTopology?: string; infrastructureTopology?: string }
}

const infrastructureKind: Kind<Infrastructure> = {
  group: 'config.openshift.io',
  version: 'v1',
  plural: 'infrastructures',
  kind: 'Infrastructure',
  namespaced: false,
}

const snapshotResources = ['volumesnapshots', 'volumesnapshotclasses', 'volumesnapshotcontents']
const snapshotsFreshMs = 15_000
const topologyFreshMs = 600_000

export interface ClusterFacts {
  /** Whether all three kinds of the snapshot API (v1) are served. */
  hasSnapshots(): Promise<boolean>
  /** OpenShift on a single node. */
  isSingleNode(): Promise<boolean>
}

export function clusterFacts({
  client,
  clock,
}: {
  client: Pick<KubeClient, 'get' | 'raw'>
  clock: Clock
}): ClusterFacts {
  return {
    hasSnapshots: remembered({ clock, freshMs: snapshotsFreshMs }, async () => {
      const { status, body } = await client.raw('GET', '/apis/snapshot.storage.k8s.io/v1')
      if (status !== 200) return false
      const { resources = [] } = body as { resources?: { name: string }[] }
      return snapshotResources.every((name) => resources.some((resource) => resource.name === name))
    }),
    isSingleNode: remembered({ clock, freshMs: topologyFreshMs }, async () => {
      try {
        const { status } = (await client.get(infrastructureKind, { name: 'cluster' })) ?? {}
        return status?.controlPlaneTopology === 'SingleReplica' && status.infrastructureTopology === 'SingleReplica'
      } catch (error) {
        if (isForbidden(error)) return false
        throw error
      }
    }),
  }
}

/** The answer of `ask`, asked again when it has become old; those who ask at the same time share one answer. */
function remembered<T>({ clock, freshMs }: { clock: Clock; freshMs: number }, ask: () => Promise<T>): () => Promise<T> {
  let known: { readonly answer: Promise<T>; readonly atMs: number } | undefined
  return async () => {
    const nowMs = clock.monotonicMs()
    if (known === undefined || nowMs - known.atMs >= freshMs) known = { answer: ask(), atMs: nowMs }
    const { answer } = known
    try {
      return await answer
    } catch (error) {
      if (known?.answer === answer) known = undefined
      throw error
    }
  }
}
