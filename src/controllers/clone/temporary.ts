/**
 * The temporary objects of a clone (contract/clone.md §6.2). They lie beside the source, where no owner reference to T is
 * possible, so they bear T's UID as a label: by it they are found, and deleted.
 */
import {
  annotations,
  labels,
  labelValues,
  prepPodName,
  temporaryPvcName,
  temporarySnapshotName,
  temporarySourcePvcName,
  recommendedLabels,
} from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type {
  CDI,
  CDIConfig,
  PersistentVolumeClaim,
  PersistentVolumeClaimSpec,
  Pod,
  VolumeSnapshot,
} from '../../api/kinds.ts'
import { apiVersionOf, formatKey, keyOf } from '../../kube/object.ts'
import type { KubeObject, NewObject } from '../../kube/object.ts'
import { passThroughOf } from '../shared/pass-through.ts'
import { dataVolumeOf, mounted, workerContainerParts, workerPodParts } from '../shared/worker-pod.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'

/** Whether an object was made for the clone into T. */
export function isTemporaryOf(object: KubeObject, target: PersistentVolumeClaim): boolean {
  return object.metadata.labels?.[labels.ownedByUid] === target.metadata.uid
}

type Reference = NonNullable<PersistentVolumeClaimSpec['dataSourceRef']>

export function claimReference(name: string): Reference {
  return { kind: kinds.pvc.kind, name }
}

export function snapshotReference(name: string): Reference {
  return { apiGroup: kinds.volumeSnapshot.group, kind: kinds.volumeSnapshot.kind, name }
}

/** What makes a claim one that the copy controller fills (contract/clone.md §7.1). */
export interface CopyOrder {
  /** `<namespace>/<name>` of the claim to copy from. */
  readonly from: string
  readonly preallocation: boolean
  readonly priorityClassName: string | undefined
}

export interface TemporaryClaimInput {
  readonly target: PersistentVolumeClaim
  /** Of the source. */
  readonly namespace: string
  /** A quantity. */
  readonly storage: string
  /** How the volume gets its content: the storage makes it of something, or it is copied. */
  readonly content:
    | { readonly by: 'storage'; readonly of: Reference }
    | { readonly by: 'copy'; readonly order: CopyOrder }
}

/** The claim whose volume becomes T's: like T, and filled already. */
export function renderTemporaryClaim({
  target,
  namespace,
  storage,
  content,
}: TemporaryClaimInput): NewObject<PersistentVolumeClaim> {
  const { dataSource: _, dataSourceRef: __, volumeName: ___, resources, ...spec } = target.spec ?? {}
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: temporaryPvcName(target.metadata.uid),
      namespace,
      labels: { ...labelsFor(target), [labels.veleroExclude]: 'true' },
      annotations: {
        ...inheritedAnnotations(target, namespace),
        [annotations.populatorKind]: kinds.volumeCloneSource.kind,
        [annotations.eventSourceKind]: kinds.pvc.kind,
        [annotations.eventSource]: formatKey(keyOf(target)),
        ...(content.by === 'copy' ? annotationsOfOrder(target, content.order) : {}),
      },
    },
    spec: {
      ...spec,
      resources: { ...resources, requests: { ...resources?.requests, storage } },
      ...(content.by === 'storage' ? { dataSourceRef: content.of } : {}),
    },
  }
}

function annotationsOfOrder(
  target: PersistentVolumeClaim,
  { from, preallocation, priorityClassName }: CopyOrder,
): Record<string, string> {
  return {
    [annotations.cloneRequest]: from,
    [annotations.preallocationRequested]: String(preallocation),
    [annotations.ownerUid]: target.metadata.uid,
    [annotations.podRestarts]: '0',
    [annotations.bindImmediate]: '',
    ...(priorityClassName ? { [annotations.podPriorityClassName]: priorityClassName } : {}),
  }
}

/** The claim that a snapshot is restored to, to be copied from. */
export function renderTemporarySource({
  target,
  namespace,
  storage,
  volumeMode,
  storageClassName,
  snapshotName,
}: {
  readonly target: PersistentVolumeClaim
  readonly namespace: string
  readonly storage: string
  readonly volumeMode: string
  readonly storageClassName: string
  readonly snapshotName: string
}): NewObject<PersistentVolumeClaim> {
  // Any node may read the source; only the receiver is bound to the node of T's consumer.
  const { [annotations.selectedNode]: _, ...inherited } = inheritedAnnotations(target, namespace)
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: temporarySourcePvcName(target.metadata.uid),
      namespace,
      labels: { ...labelsFor(target), [labels.veleroExclude]: 'true' },
      annotations: inherited,
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode,
      storageClassName,
      resources: { requests: { storage } },
      dataSourceRef: snapshotReference(snapshotName),
    },
  }
}

/** The snapshot of the source. */
export function renderTemporarySnapshot({
  target,
  namespace,
  sourceName,
  snapshotClass,
}: {
  readonly target: PersistentVolumeClaim
  readonly namespace: string
  readonly sourceName: string
  readonly snapshotClass: string
}): NewObject<VolumeSnapshot> {
  return {
    apiVersion: apiVersionOf(kinds.volumeSnapshot),
    kind: kinds.volumeSnapshot.kind,
    metadata: {
      name: temporarySnapshotName(target.metadata.uid),
      namespace,
      labels: { [labels.app]: labelValues.app, [labels.ownedByUid]: target.metadata.uid },
    },
    spec: {
      source: { persistentVolumeClaimName: sourceName },
      volumeSnapshotClassName: snapshotClass,
    },
  }
}

/** A pod that mounts a temporary claim and ends: to be bound, and to grow on its node, a volume needs somebody who uses it. */
export function renderPrepPod({
  target,
  claim,
  priorityClassName,
  settings,
  config,
  cdi,
}: {
  readonly target: PersistentVolumeClaim
  readonly claim: PersistentVolumeClaim
  readonly priorityClassName: string | undefined
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
}): NewObject<Pod> {
  const { volumes, container } = mounted([dataVolumeOf(claim)])
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: prepPodName(target.metadata.uid),
      ...(claim.metadata.namespace ? { namespace: claim.metadata.namespace } : {}),
      annotations: { [annotations.createdByController]: 'yes', ...passThroughOf(claim) },
      labels: {
        ...recommendedLabels(settings.installer),
        [labels.component]: labelValues.populatorPrep,
        [labels.ownedByUid]: target.metadata.uid,
      },
    },
    spec: {
      ...workerPodParts({ carrier: claim, config, cdi }),
      ...(priorityClassName ? { priorityClassName } : {}),
      containers: [
        {
          ...workerContainerParts({ config }),
          ...container,
          name: 'dummy',
          image: settings.image,
          imagePullPolicy: settings.pullPolicy,
          command: ['/bin/true'],
        },
      ],
      volumes,
    },
  }
}

/** T's labels. The one that lets the webhook complete a claim stays behind: these claims say what they need. */
function labelsFor(target: PersistentVolumeClaim): Record<string, string> {
  const { [labels.applyStorageProfile]: _, ...inherited } = target.metadata.labels ?? {}
  return { ...inherited, [labels.ownedByUid]: target.metadata.uid }
}

function inheritedAnnotations(target: PersistentVolumeClaim, namespace: string): Record<string, string> {
  // Nobody lends an account of another namespace to pods there by naming it at home.
  const isAtHome = namespace === target.metadata.namespace
  return Object.fromEntries(
    Object.entries(target.metadata.annotations ?? {}).filter(
      ([key]) =>
        !staysBehind.has(key) &&
        (isAtHome || key !== annotations.podServiceAccountName) &&
        !staysBehindFrom.some((prefix) => key.startsWith(prefix)),
    ),
  )
}

/**
 * Annotations that must not go to another namespace (tokens), and those that say of a claim what has been done about it or is
 * to be done: a claim that was made of another one's manifest would count as filled, or as another worker's.
 */
const staysBehind: ReadonlySet<string> = new Set([
  annotations.cloneToken,
  annotations.extendedCloneToken,
  annotations.podPhase,
  annotations.podReady,
  annotations.podSchedulable,
  annotations.preallocation,
  annotations.populatorProgress,
  annotations.cloneOf,
  annotations.cloneRequest,
  annotations.ownerUid,
  annotations.sourceClonePodName,
  annotations.uploadPodName,
  annotations.uploadClientName,
  annotations.uploadTarget,
  annotations.uploadChecksum,
  annotations.uploadResumption,
  annotations.importPodName,
  annotations.requiresScratch,
  annotations.fatalError,
  // To take them off again would get in the way of Kubernetes, which notes the provisioner on a new claim, and tries that
  // again only after a quarter of a minute.
  annotations.conditionBound,
  annotations.conditionBoundMessage,
  annotations.conditionBoundReason,
  annotations.conditionSourceRunning,
  annotations.conditionSourceRunningMessage,
  annotations.conditionSourceRunningReason,
  annotations.populatedFor,
  annotations.externalPopulation,
  annotations.persistentVolumeList,
  annotations.storageProvisioner,
  'volume.beta.kubernetes.io/storage-provisioner',
])

/** Whole families: orders of imports, what Kubernetes says about a claim's volume, and kubectl about a manifest. */
const staysBehindFrom = ['cdi.kubevirt.io/storage.import.', 'pv.kubernetes.io/', 'kubectl.kubernetes.io/'] as const
