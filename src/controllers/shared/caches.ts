/**
 * The objects that the controllers look at, each kind held once per process, and the ways from one object to the keys of
 * others that depend on it.
 */
import type { Registry } from 'prom-client'
import { kinds } from '../../api/kinds.ts'
import type {
  CDI,
  CDIConfig,
  ConfigMap,
  Container,
  CSIDriver,
  DataSource,
  DataVolume,
  Event,
  Ingress,
  ObjectTransfer,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  Route,
  Secret,
  Service,
  StorageClass,
  StorageProfile,
  VolumeCloneSource,
  VolumeImportSource,
  VolumeSnapshot,
  VolumeSnapshotClass,
  VolumeSnapshotContent,
  VolumeUploadSource,
} from '../../api/kinds.ts'
import { annotations, labels, labelValues, phases, uploadServerSelector } from '../../api/names.ts'
import { Cache, trimManagedFields } from '../../kube/cache.ts'
import type { CacheOptions } from '../../kube/cache.ts'
import type { KubeClient } from '../../kube/client.ts'
import { formatKey } from '../../kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../kube/object.ts'
import { controllerOf } from '../../kube/owners.ts'
import type { Log } from '../../log.ts'
import { annotationOf } from './annotated.ts'
import { claimsOfPod, isPrime } from './claim.ts'
import { isCloneTarget, isUploadTarget } from './upload-target.ts'
import { cloneSourceKeyOf } from './clone-reference.ts'

/** What a controller needs of a cache; tests may give a simpler one. */
export type Held<T extends KubeObject> = Pick<Cache<T>, 'get' | 'list' | 'byIndex' | 'addIndex' | 'onChange' | 'synced'>

export interface Caches {
  readonly dataVolumes: Held<DataVolume>
  readonly importSources: Held<VolumeImportSource>
  readonly uploadSources: Held<VolumeUploadSource>
  readonly cloneSources: Held<VolumeCloneSource>
  readonly dataSources: Held<DataSource>
  readonly objectTransfers: Held<ObjectTransfer>
  readonly pvcs: Held<PersistentVolumeClaim>
  readonly pvs: Held<PersistentVolume>
  readonly pods: Held<Pod>
  /** Those of upload servers only. */
  readonly services: Held<Service>
  /** Events about claims only. */
  readonly events: Held<Event>
  readonly storageClasses: Held<StorageClass>
  readonly storageProfiles: Held<StorageProfile>
  readonly csiDrivers: Held<CSIDriver>
  readonly cdiConfigs: Held<CDIConfig>
  readonly cdis: Held<CDI>
  /** Empty when snapshots are not installed, as the two that follow. */
  readonly volumeSnapshotClasses: Held<VolumeSnapshotClass>
  readonly volumeSnapshots: Held<VolumeSnapshot>
  readonly volumeSnapshotContents: Held<VolumeSnapshotContent>
  /** Of the namespace of the installation, as all that follow. */
  readonly cdiSecrets: Held<Secret>
  readonly cdiConfigMaps: Held<ConfigMap>
  readonly ingresses: Held<Ingress>
  /** Empty where it is not OpenShift. */
  readonly routes: Held<Route>
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
  /** Claims that an upload server shall fill and has not, under {@link unfilled}. */
  unfilled: 'unfilled',
  /** Temporary claims, snapshots and pods of a clone by the UID of T. */
  ownedByUid: 'ownedByUid',
  /** Claims by the UID that they have. */
  uid: 'uid',
  /** Receiving claims of a copy by the claim that they are copied from: `namespace/name`. */
  cloneRequest: 'cloneRequest',
  /** Source pods of copies by the claim that receives: `namespace/name`. */
  receiver: 'receiver',
  /** Claims by the VolumeCloneSource that they name, in whichever namespace that is: `namespace/name`. */
  cloneSource: 'cloneSource',
  /**
   * VolumeCloneSources, DataSources, and DataVolumes that are not done, by what they name:
   * `<kind> <namespace>/<name>`, see {@link cloneOriginKey}.
   */
  origin: 'origin',
  /** VolumeCloneSources, pods and temporary claims by the DataVolume that they were made for: `namespace/name`. */
  madeFor: 'madeFor',
  /** ObjectTransfers by the places that they move from and to, whatever lies there: `namespace/name`. */
  place: 'place',
} as const

export const unfilled = 'yes'

/** All caches with their indexes; `start` lets them run until the signal. */
export function createCaches({
  client,
  log,
  metrics,
  cdiNamespace,
}: {
  client: KubeClient
  log: Log
  metrics?: Registry
  /** Namespace of the installation. */
  cdiNamespace: string
}): Caches & { start(signal: AbortSignal): Promise<void> } {
  const started: Cache<KubeObject>[] = []
  const cacheOf = <T extends KubeObject>(
    kind: Kind<T>,
    options: Omit<CacheOptions<T>, 'client' | 'kind' | 'log' | 'metrics'> = {},
  ): Cache<T> => {
    const cache = new Cache<T>({ client, kind, log, ...(metrics ? { metrics } : {}), ...options })
    started.push(cache as unknown as Cache<KubeObject>)
    return cache
  }
  const caches: Caches = {
    dataVolumes: cacheOf(kinds.dataVolume),
    importSources: cacheOf(kinds.volumeImportSource),
    uploadSources: cacheOf(kinds.volumeUploadSource),
    cloneSources: cacheOf(kinds.volumeCloneSource),
    dataSources: cacheOf(kinds.dataSource),
    objectTransfers: cacheOf(kinds.objectTransfer),
    pvcs: cacheOf(kinds.pvc),
    pvs: cacheOf(kinds.pv),
    pods: cacheOf(kinds.pod, { transform: trimPod }),
    services: cacheOf(kinds.service, { labelSelector: selectorText(uploadServerSelector) }),
    events: cacheOf(kinds.event, { fieldSelector: 'involvedObject.kind=PersistentVolumeClaim' }),
    storageClasses: cacheOf(kinds.storageClass),
    storageProfiles: cacheOf(kinds.storageProfile),
    csiDrivers: cacheOf(kinds.csiDriver),
    cdiConfigs: cacheOf(kinds.cdiConfig),
    cdis: cacheOf(kinds.cdi),
    volumeSnapshotClasses: cacheOf(kinds.volumeSnapshotClass, { optional: true }),
    volumeSnapshots: cacheOf(kinds.volumeSnapshot, { optional: true }),
    volumeSnapshotContents: cacheOf(kinds.volumeSnapshotContent, { optional: true }),
    cdiSecrets: cacheOf(kinds.secret, { namespace: cdiNamespace }),
    cdiConfigMaps: cacheOf(kinds.configMap, { namespace: cdiNamespace }),
    ingresses: cacheOf(kinds.ingress, { namespace: cdiNamespace, optional: true }),
    routes: cacheOf(kinds.route, { namespace: cdiNamespace, optional: true }),
  }
  addIndexes(caches)
  return {
    ...caches,
    start: async (signal) => {
      await Promise.all(started.map((cache) => cache.start(signal)))
    },
  }
}

export function addIndexes({
  dataVolumes,
  pvcs,
  pods,
  events,
  volumeSnapshots,
  cloneSources,
  dataSources,
  objectTransfers,
}: Caches): void {
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
  pvcs.addIndex(indexes.cloneSource, (claim) => {
    const key = cloneSourceKeyOf(claim)
    return key ? [formatKey(key)] : []
  })
  pvcs.addIndex(indexes.storageClass, (claim) => [claim.spec?.storageClassName ?? ''])
  pvcs.addIndex(indexes.importPod, (claim) => {
    const name = claim.metadata.annotations?.[annotations.importPodName]
    return name ? [inNamespaceOf(claim, name)] : []
  })
  pvcs.addIndex(indexes.unfilled, (claim) =>
    (isUploadTarget(claim) || isCloneTarget(claim)) && annotationOf(claim, annotations.podPhase) !== 'Succeeded'
      ? [unfilled]
      : [],
  )
  pvcs.addIndex(indexes.uid, ({ metadata: { uid } }) => [uid])
  pvcs.addIndex(indexes.cloneRequest, (claim) => {
    const request = annotationOf(claim, annotations.cloneRequest)
    return request ? [request] : []
  })
  pods.addIndex(indexes.receiver, (pod) => {
    const receiver = receiverOf(pod)
    return receiver ? [receiver] : []
  })
  const ownersUid = ({ metadata }: KubeObject): string[] => {
    const uid = metadata.labels?.[labels.ownedByUid]
    return uid ? [uid] : []
  }
  pvcs.addIndex(indexes.ownedByUid, ownersUid)
  pods.addIndex(indexes.ownedByUid, ownersUid)
  volumeSnapshots.addIndex(indexes.ownedByUid, ownersUid)
  cloneSources.addIndex(indexes.origin, ({ metadata: { namespace }, spec: { source } }) => [
    cloneOriginKey({ kind: source.kind, namespace: namespace ?? '', name: source.name }),
  ])
  dataSources.addIndex(indexes.origin, ({ metadata: { namespace = '' }, spec: { source } }) => {
    const named = [
      { kind: kinds.dataSource.kind, reference: source.dataSource },
      { kind: kinds.pvc.kind, reference: source.pvc },
      { kind: kinds.volumeSnapshot.kind, reference: source.snapshot },
    ]
    return named.flatMap(({ kind, reference }) =>
      reference ? [cloneOriginKey({ kind, namespace: reference.namespace || namespace, name: reference.name })] : [],
    )
  })
  objectTransfers.addIndex(indexes.place, ({ spec: { source, target } }) => [
    formatKey({ namespace: source.namespace, name: source.name }),
    formatKey({ namespace: target.namespace || source.namespace, name: target.name || source.name }),
  ])
  dataVolumes.addIndex(indexes.origin, (dataVolume) => (isDone(dataVolume) ? [] : originsOf(dataVolume)))
  const dataVolumeOf = (object: KubeObject): string[] => {
    const key = madeForKey(object)
    return key ? [key] : []
  }
  cloneSources.addIndex(indexes.madeFor, dataVolumeOf)
  pods.addIndex(indexes.madeFor, dataVolumeOf)
  // T has an owner too, but no such annotation: here are only those that are made beside it.
  pvcs.addIndex(indexes.madeFor, (claim) =>
    annotationOf(claim, annotations.ownedByDataVolume) ? dataVolumeOf(claim) : [],
  )
}

/** Whether a DataVolume has what it wanted; one whose claim was deleted afterwards begins anew. */
function isDone({ status }: DataVolume): boolean {
  const isBound = status?.conditions?.some(({ type, status: value }) => type === 'Bound' && value === 'True') ?? false
  return status?.phase === phases.succeeded && isBound
}

/** What a DataVolume that is a clone names. */
function originsOf({ metadata, spec }: DataVolume): string[] {
  const { pvc, snapshot } = spec.source ?? {}
  const named = pvc ?? snapshot ?? spec.sourceRef
  if (!named) return []
  const { kind } = pvc ? kinds.pvc : snapshot ? kinds.volumeSnapshot : kinds.dataSource
  return [cloneOriginKey({ kind, namespace: named.namespace || (metadata.namespace ?? ''), name: named.name })]
}

/** The DataVolume that an object was made for, `namespace/name`: its owner, or, in another namespace, the one it names. */
export function madeForKey(object: KubeObject): string | undefined {
  const owner = controllerOf(object)
  if (owner?.kind === kinds.dataVolume.kind) return inNamespaceOf(object, owner.name)
  return annotationOf(object, annotations.ownedByDataVolume)
}

/** A key of {@link indexes.origin}. */
export function cloneOriginKey({ kind, namespace, name }: { kind: string; namespace: string; name: string }): string {
  return `${kind} ${formatKey({ namespace, name })}`
}

/** The claim that a source pod of a copy sends to, `namespace/name`; undefined for all other pods. */
export function receiverOf(pod: Pod): string | undefined {
  const isSourcePod = pod.metadata.labels?.[labels.component] === labelValues.cloneSource
  return isSourcePod ? annotationOf(pod, annotations.ownerRef) : undefined
}

/** A set of labels as a list request takes it. */
function selectorText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(',')
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
    spec: {
      containers: trimmed.spec.containers.map(mountsOf),
      ...(trimmed.spec.initContainers ? { initContainers: trimmed.spec.initContainers.map(mountsOf) } : {}),
      ...(trimmed.spec.volumes ? { volumes: trimmed.spec.volumes } : {}),
    },
    status: trimmed.status?.phase ? { phase: trimmed.status.phase } : {},
  }
}

/** What a container does with volumes: whether it may write decides whether a claim is in use. */
function mountsOf({ name, volumeMounts, volumeDevices }: Container): Container {
  return { name, ...(volumeMounts ? { volumeMounts } : {}), ...(volumeDevices ? { volumeDevices } : {}) }
}
