/**
 * The objects that the controllers look at, each kind held once per process, and the ways from one object to the keys of
 * others that depend on it.
 */
import type { Registry } from 'prom-client'
import { kinds } from '../../api/kinds.ts'
import type {
  CDI,
  CDIConfig,
  CSIDriver,
  DataVolume,
  Event,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  StorageProfile,
  VolumeImportSource,
  VolumeSnapshotClass,
} from '../../api/kinds.ts'
import { annotations } from '../../api/names.ts'
import { Cache, trimManagedFields } from '../../kube/cache.ts'
import type { KubeClient } from '../../kube/client.ts'
import { formatKey } from '../../kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../kube/object.ts'
import { controllerOf } from '../../kube/owners.ts'
import type { Log } from '../../log.ts'
import { claimsOfPod, isPrime } from './claim.ts'

/** What a controller needs of a cache; tests may give a simpler one. */
export type Held<T extends KubeObject> = Pick<Cache<T>, 'get' | 'list' | 'byIndex' | 'addIndex' | 'onChange' | 'synced'>

export interface Caches {
  readonly dataVolumes: Held<DataVolume>
  readonly importSources: Held<VolumeImportSource>
  readonly pvcs: Held<PersistentVolumeClaim>
  readonly pvs: Held<PersistentVolume>
  readonly pods: Held<Pod>
  /** Events about claims only. */
  readonly events: Held<Event>
  readonly storageClasses: Held<StorageClass>
  readonly storageProfiles: Held<StorageProfile>
  readonly csiDrivers: Held<CSIDriver>
  readonly cdiConfigs: Held<CDIConfig>
  readonly cdis: Held<CDI>
  /** Empty when snapshots are not installed. */
  readonly volumeSnapshotClasses: Held<VolumeSnapshotClass>
}

/** Names of the indexes below. */
export const indexes = {
  /** Pods by each claim that they mount; claims' events by the claim: `namespace/name`. */
  claim: 'claim',
  /** Claims by the resource of ours that their dataSourceRef names: `namespace/name`. */
  source: 'source',
  /** Claims by class. */
  storageClass: 'storageClass',
  /** Claims by the name of their importer pod: `namespace/name`. */
  importPod: 'importPod',
  /** DataVolumes that have no claim yet, under {@link unclaimed}. */
  unclaimed: 'unclaimed',
} as const

export const unclaimed = 'yes'

/** All caches with their indexes; `start` lets them run until the signal. */
export function createCaches({ client, log, metrics }: { client: KubeClient; log: Log; metrics?: Registry }): Caches & {
  start(signal: AbortSignal): Promise<void>
} {
  const started: Cache<KubeObject>[] = []
  const cacheOf = <T extends KubeObject>(
    kind: Kind<T>,
    options: { fieldSelector?: string; transform?: (object: T) => T; optional?: boolean } = {},
  ): Cache<T> => {
    const cache = new Cache<T>({ client, kind, log, ...(metrics ? { metrics } : {}), ...options })
    started.push(cache as unknown as Cache<KubeObject>)
    return cache
  }
  const caches: Caches = {
    dataVolumes: cacheOf(kinds.dataVolume),
    importSources: cacheOf(kinds.volumeImportSource),
    pvcs: cacheOf(kinds.pvc),
    pvs: cacheOf(kinds.pv),
    pods: cacheOf(kinds.pod, { transform: trimPod }),
    events: cacheOf(kinds.event, { fieldSelector: 'involvedObject.kind=PersistentVolumeClaim' }),
    storageClasses: cacheOf(kinds.storageClass),
    storageProfiles: cacheOf(kinds.storageProfile),
    csiDrivers: cacheOf(kinds.csiDriver),
    cdiConfigs: cacheOf(kinds.cdiConfig),
    cdis: cacheOf(kinds.cdi),
    volumeSnapshotClasses: cacheOf(kinds.volumeSnapshotClass, { optional: true }),
  }
  addIndexes(caches)
  return {
    ...caches,
    start: async (signal) => {
      await Promise.all(started.map((cache) => cache.start(signal)))
    },
  }
}

export function addIndexes({ dataVolumes, pvcs, pods, events }: Caches): void {
  pods.addIndex(indexes.claim, (pod) => claimsOfPod(pod).map((name) => inNamespaceOf(pod, name)))
  events.addIndex(indexes.claim, ({ involvedObject: { namespace, name } }) => [
    formatKey({ ...(namespace ? { namespace } : {}), name: name ?? '' }),
  ])
  pvcs.addIndex(indexes.source, (claim) => {
    const reference = claim.spec?.dataSourceRef
    return reference?.apiGroup === 'cdi.kubevirt.io' && !reference.namespace
      ? [inNamespaceOf(claim, reference.name)]
      : []
  })
  pvcs.addIndex(indexes.storageClass, (claim) => [claim.spec?.storageClassName ?? ''])
  pvcs.addIndex(indexes.importPod, (claim) => {
    const name = claim.metadata.annotations?.[annotations.importPodName]
    return name ? [inNamespaceOf(claim, name)] : []
  })
  dataVolumes.addIndex(indexes.unclaimed, (dataVolume) => (dataVolume.status?.claimName ? [] : [unclaimed]))
}

/** The key of an object's neighbour as text. */
export function inNamespaceOf(object: KubeObject, name: string): string {
  return formatKey(besides(object, name))
}

/** The key of an object's neighbour. */
export function besides({ metadata: { namespace } }: KubeObject, name: string): ObjectKey {
  return namespace ? { namespace, name } : { name }
}

/** The claim that a P is filled for; the claim itself if it is no P. */
export function targetKeyOf(claim: PersistentVolumeClaim): ObjectKey {
  const owner = isPrime(claim) ? controllerOf(claim) : undefined
  return besides(claim, owner?.kind === 'PersistentVolumeClaim' ? owner.name : claim.metadata.name)
}

/** The events of this very claim, not of an earlier one of the same name. */
export function eventsOf(events: Held<Event>, claim: PersistentVolumeClaim): Event[] {
  return events
    .byIndex(indexes.claim, inNamespaceOf(claim, claim.metadata.name))
    .filter((event) => event.involvedObject.uid === claim.metadata.uid)
}

/** Every pod of the cluster is held, so only what is looked at is kept of those that are not ours. */
function trimPod(pod: Pod): Pod {
  const trimmed = trimManagedFields(pod)
  const ours = trimmed.metadata.labels?.['cdi.kubevirt.io'] !== undefined
  if (ours || !trimmed.spec) return trimmed
  const { namespace, name, uid, resourceVersion, ownerReferences, deletionTimestamp } = trimmed.metadata
  return {
    apiVersion: trimmed.apiVersion,
    kind: trimmed.kind,
    metadata: {
      name,
      uid,
      resourceVersion,
      ...(namespace ? { namespace } : {}),
      ...(ownerReferences ? { ownerReferences } : {}),
      ...(deletionTimestamp ? { deletionTimestamp } : {}),
    },
    spec: { containers: [], ...(trimmed.spec.volumes ? { volumes: trimmed.spec.volumes } : {}) },
    status: trimmed.status?.phase ? { phase: trimmed.status.phase } : {},
  }
}
