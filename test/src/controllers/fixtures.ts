/** Builders of objects as the API server hands them out; each takes what a test cares about and fills in the rest. */
import type {
  CDIConfig,
  ContainerStatus,
  CSIDriver,
  DataVolume,
  Event,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  StorageProfile,
} from '../../../src/api/kinds.ts'
import { annotations, importerPodName, uploadPodName } from '../../../src/api/names.ts'
import { controllerRef } from '../../../src/kube/owners.ts'

export const namespace = 'vms'

export function dataVolume({
  spec,
  annotated,
  status,
  labels,
}: {
  spec?: Partial<DataVolume['spec']>
  annotated?: Record<string, string>
  status?: DataVolume['status']
  labels?: Record<string, string>
} = {}): DataVolume {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: {
      name: 'dv',
      namespace,
      uid: 'uid-dv',
      resourceVersion: '1',
      ...(annotated ? { annotations: annotated } : {}),
      ...(labels ? { labels } : {}),
    },
    spec: {
      source: { http: { url: 'http://images.example/disk.qcow2' } },
      storage: {
        accessModes: ['ReadWriteOnce'],
        volumeMode: 'Filesystem',
        storageClassName: 'csi',
        resources: { requests: { storage: '64Mi' } },
      },
      ...spec,
    },
    ...(status ? { status } : {}),
  }
}

export interface ClaimFacts {
  name?: string
  uid?: string
  phase?: string
  annotated?: Record<string, string | undefined>
  labels?: Record<string, string>
  spec?: PersistentVolumeClaim['spec']
  owner?: { apiVersion: string; kind: string; metadata: { name: string; uid: string } } | undefined
  finalizers?: string[]
  terminating?: boolean
}

export function claim({
  name = 'dv',
  uid = `uid-${name}`,
  phase = 'Pending',
  annotated,
  labels,
  spec,
  owner,
  finalizers,
  terminating,
}: ClaimFacts = {}): PersistentVolumeClaim {
  const kept = Object.entries(annotated ?? {}).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name,
      namespace,
      uid,
      resourceVersion: '1',
      annotations: Object.fromEntries(kept),
      labels: labels ?? { app: 'containerized-data-importer' },
      ...(owner ? { ownerReferences: [controllerRef(owner)] } : {}),
      ...(finalizers ? { finalizers } : {}),
      ...(terminating ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      storageClassName: 'csi',
      resources: { requests: { storage: '71135396' } },
      ...spec,
    },
    status: { phase },
  }
}

/** T of a DataVolume in populator mode. */
export function populatedTarget(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    owner: dataVolume(),
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.usePopulator]: 'true',
      ...facts.annotated,
    },
    spec: {
      dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'volume-import-source-uid-dv' },
      ...facts.spec,
    },
  })
}

/** T of a DataVolume in the direct mode: it carries the order itself. */
export function directTarget(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    owner: dataVolume(),
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.usePopulator]: 'false',
      ...httpOrder,
      ...facts.annotated,
    },
  })
}

/** P of the target above. */
export function prime(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    name: 'prime-uid-dv',
    uid: 'uid-prime',
    owner: claim(),
    ...facts,
    annotated: {
      [annotations.bindImmediate]: '',
      [annotations.populatorKind]: 'VolumeImportSource',
      [annotations.preallocationRequested]: 'false',
      ...httpOrder,
      ...facts.annotated,
    },
  })
}

export const httpOrder = {
  [annotations.importSource]: 'http',
  [annotations.importEndpoint]: 'http://images.example/disk.qcow2',
  [annotations.contentType]: 'kubevirt',
} as const

type ContainerState = NonNullable<ContainerStatus['state']>

export interface PodFacts {
  phase?: string
  state?: ContainerState
  /** Of the container with the user's image, of a pod with pull method node. */
  server?: { state: ContainerState; lastState?: ContainerState }
  /** Of its init container. */
  init?: { state: ContainerState; lastState?: ContainerState }
  /** No owner, but the annotation that names its claim. */
  unowned?: boolean
  lastState?: ContainerState
  restarts?: number
  unschedulable?: boolean
  directIo?: boolean
  scratch?: boolean
  terminating?: boolean
  message?: string
  reason?: string
}

/** The importer pod of a claim. */
export function importerPod(owner: PersistentVolumeClaim, facts: PodFacts = {}): Pod {
  const { phase = 'Pending', state, server, init, unschedulable, directIo, scratch, terminating } = facts
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: importerPodName(owner.metadata.name),
      namespace,
      uid: 'uid-pod',
      resourceVersion: '1',
      ...(facts.unowned
        ? { annotations: { [annotations.importWorkerOf]: owner.metadata.uid } }
        : { ownerReferences: [controllerRef(owner)] }),
      ...(terminating ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: {
      containers: [
        { name: 'importer', ...(directIo ? { env: [{ name: 'CACHE_MODE', value: 'TRYNONE' }] } : {}) },
        ...(server ? [{ name: 'server', image: userImage }] : []),
      ],
      volumes: [
        { name: 'cdi-data-vol', persistentVolumeClaim: { claimName: owner.metadata.name } },
        ...(scratch
          ? [{ name: 'cdi-scratch-vol', persistentVolumeClaim: { claimName: `${owner.metadata.name}-scratch` } }]
          : []),
      ],
    },
    status: {
      phase,
      ...(facts.message ? { message: facts.message } : {}),
      ...(facts.reason ? { reason: facts.reason } : {}),
      ...(unschedulable ? { conditions: [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable' }] } : {}),
      ...(init ? { initContainerStatuses: [containerStatus('init', { ...init, image: 'importer:1' })] } : {}),
      ...(state
        ? {
            containerStatuses: [
              containerStatus('importer', { ...facts, state, image: 'importer:1' }),
              ...(server ? [containerStatus('server', { ...server, image: userImage })] : []),
            ],
          }
        : {}),
    },
  }
}

/** P of an upload. */
export function uploadPrime(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    name: 'prime-uid-dv',
    uid: 'uid-prime',
    owner: claim(),
    ...facts,
    annotated: {
      [annotations.bindImmediate]: '',
      [annotations.populatorKind]: 'VolumeUploadSource',
      [annotations.uploadTarget]: '',
      [annotations.contentType]: 'kubevirt',
      [annotations.preallocationRequested]: 'false',
      ...facts.annotated,
    },
  })
}

/** T of an upload in the direct mode, or a claim that a user annotated. */
export function uploadClaim(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({ ...facts, annotated: { [annotations.uploadTarget]: '', ...facts.annotated } })
}

/** The upload server of a claim. */
export function uploadPod(owner: PersistentVolumeClaim, facts: PodFacts & { ready?: boolean } = {}): Pod {
  const { ready = false, ...rest } = facts
  const pod = importerPod(owner, rest)
  pod.metadata.name = uploadPodName(owner.metadata.name)
  for (const container of pod.spec?.containers ?? []) container.name = 'server'
  for (const status of pod.status?.containerStatuses ?? []) Object.assign(status, { name: 'server', ready })
  return pod
}

/** The image that a user wants imported by pull method node. */
export const userImage = 'registry.example:5000/disks/fedora:41'

function containerStatus(
  name: string,
  {
    image,
    state,
    lastState = {},
    restarts = 0,
  }: { image: string; state: ContainerState; lastState?: ContainerState; restarts?: number },
): ContainerStatus {
  return { name, image, imageID: '', ready: false, restartCount: restarts, state, lastState }
}

export function exited(
  exitCode: number,
  message: string,
  reason = exitCode === 0 ? 'Completed' : 'Error',
): ContainerState {
  return { terminated: { exitCode, message, reason } }
}

export const completeWords = '{"scratchSpaceRequired":false,"preallocationApplied":false,"message":"Import Complete"}'

export function storageClass({
  name = 'csi',
  provisioner = 'csi.example',
  wffc = false,
  annotated,
}: { name?: string; provisioner?: string; wffc?: boolean; annotated?: Record<string, string> } = {}): StorageClass {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name, uid: `uid-${name}`, resourceVersion: '1', ...(annotated ? { annotations: annotated } : {}) },
    provisioner,
    volumeBindingMode: wffc ? 'WaitForFirstConsumer' : 'Immediate',
  }
}

export function csiDriver(name = 'csi.example'): CSIDriver {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'CSIDriver',
    metadata: { name, uid: `uid-${name}`, resourceVersion: '1' },
    spec: {},
  }
}

export function storageProfile(name = 'csi', status?: StorageProfile['status']): StorageProfile {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'StorageProfile',
    metadata: { name, uid: `uid-profile-${name}`, resourceVersion: '1' },
    spec: {},
    status: status ?? { storageClass: name, provisioner: 'csi.example' },
  }
}

export function cdiConfig(status: CDIConfig['status'] = {}, spec: CDIConfig['spec'] = {}): CDIConfig {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'CDIConfig',
    metadata: { name: 'config', uid: 'uid-config', resourceVersion: '1' },
    spec: { featureGates: ['HonorWaitForFirstConsumer'], ...spec },
    status: { filesystemOverhead: { global: '0.06' }, ...status },
  }
}

export function volume({
  name = 'pv-1',
  claimRef,
  phase = 'Bound',
  size = '71135396',
}: {
  name?: string
  claimRef?: { namespace: string; name: string; uid?: string }
  phase?: string
  size?: string
} = {}): PersistentVolume {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name, uid: `uid-${name}`, resourceVersion: '7' },
    spec: {
      accessModes: ['ReadWriteOnce'],
      capacity: { storage: size },
      storageClassName: 'csi',
      volumeMode: 'Filesystem',
      ...(claimRef ? { claimRef } : {}),
    },
    status: { phase },
  }
}

export function eventOf({
  message,
  reason = 'Provisioning',
  type = 'Normal',
  at = '2026-01-01T00:00:00Z',
}: {
  message: string
  reason?: string
  type?: string
  at?: string
}): Event {
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: { name: `e-${reason}`, namespace, uid: `uid-${reason}-${message}`, resourceVersion: '1' },
    involvedObject: {},
    message,
    reason,
    type,
    lastTimestamp: at,
  }
}
