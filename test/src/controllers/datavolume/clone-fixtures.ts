/** A clone as the DataVolume controller sees it, each part as a test wishes. */
import type {
  DataVolume,
  PersistentVolumeClaim,
  VolumeSnapshot,
  VolumeSnapshotContent,
} from '../../../../src/api/kinds.ts'
import { annotations } from '../../../../src/api/names.ts'
import type { CloneOrder } from '../../../../src/controllers/clone/tokens.ts'
import { noLeftovers } from '../../../../src/controllers/datavolume/clone/leftovers.ts'
import type { CloneObservation } from '../../../../src/controllers/datavolume/clone/observe.ts'
import type { SyncObservation } from '../../../../src/controllers/datavolume/sync.ts'
import { cdiConfig, claim, csiDriver, dataVolume, storageClass, storageProfile } from '../fixtures.ts'
import type { ClaimFacts } from '../fixtures.ts'

export const orderOfPvc: CloneOrder = {
  source: { kind: 'pvc', namespace: 'vms', name: 'src' },
  target: { namespace: 'vms', name: 'dv' },
}
export const orderFromAfar: CloneOrder = { ...orderOfPvc, source: { kind: 'pvc', namespace: 'golden', name: 'src' } }
export const orderOfSnapshot: CloneOrder = {
  ...orderOfPvc,
  source: { kind: 'snapshot', namespace: 'vms', name: 'snap' },
}

/** A DataVolume of 64Mi on the class `csi` that clones what the order names. */
export function cloneDataVolume({
  order = orderOfPvc,
  ...facts
}: {
  order?: CloneOrder
  spec?: Partial<DataVolume['spec']>
  annotated?: Record<string, string>
  labels?: Record<string, string>
  status?: DataVolume['status']
  finalizers?: string[]
} = {}): DataVolume {
  const { kind, namespace, name } = order.source
  const made = dataVolume({ ...facts, spec: { source: { [kind]: { namespace, name } }, ...facts.spec } })
  return facts.finalizers ? { ...made, metadata: { ...made.metadata, finalizers: facts.finalizers } } : made
}

/** The claim that is cloned: bound, a file system of the size that the DataVolume asks for. */
export function sourceClaim(facts: ClaimFacts & { namespace?: string; capacity?: string } = {}): PersistentVolumeClaim {
  const made = claim({ name: 'src', uid: 'uid-src', phase: 'Bound', ...facts })
  return {
    ...made,
    metadata: { ...made.metadata, namespace: facts.namespace ?? 'vms' },
    status: { phase: 'Bound', capacity: { storage: facts.capacity ?? '71135396' } },
  }
}

export function sourceSnapshot({
  status,
  ...facts
}: { status?: VolumeSnapshot['status'] | undefined; namespace?: string } = {}): VolumeSnapshot {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name: 'snap', namespace: facts.namespace ?? 'vms', uid: 'uid-snap', resourceVersion: '1' },
    spec: { source: { persistentVolumeClaimName: 'src' }, volumeSnapshotClassName: 'snaps' },
    status: status ?? { readyToUse: true, restoreSize: '64Mi', boundVolumeSnapshotContentName: 'content' },
  }
}

export function snapshotContent(driver = 'csi.example'): VolumeSnapshotContent {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotContent',
    metadata: { name: 'content', uid: 'uid-content', resourceVersion: '1' },
    spec: { driver, sourceVolumeMode: 'Filesystem' },
  }
}

/** T of a clone in populator mode. */
export function cloneTarget(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    owner: dataVolume(),
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.usePopulator]: 'true',
      ...facts.annotated,
    },
    spec: {
      dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'volume-clone-source-uid-dv' },
      ...facts.spec,
    },
  })
}

/** T of a clone in the direct mode. */
export function copyTarget(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    owner: dataVolume(),
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.usePopulator]: 'false',
      [annotations.cloneRequest]: 'vms/src',
      ...facts.annotated,
    },
  })
}

export function seenClone(facts: Partial<CloneObservation> = {}): CloneObservation {
  return {
    order: orderOfPvc,
    authority: 'needless',
    origin: { claim: sourceClaim() },
    isSourcePopulated: true,
    users: [],
    sizePod: undefined,
    copySource: undefined,
    labels: {},
    leftovers: noLeftovers,
    settings: { image: 'importer:1', pullPolicy: 'IfNotPresent', verbosity: 1, installer: {} },
    cdi: undefined,
    now: Date.parse('2026-01-01T00:00:00Z'),
    ...facts,
  }
}

export function seen(
  facts: Partial<Omit<SyncObservation, 'clone'>> = {},
  clone: Partial<CloneObservation> = {},
): SyncObservation {
  return {
    dataVolume: cloneDataVolume(clone.order ? { order: clone.order } : {}),
    target: undefined,
    prime: undefined,
    source: undefined,
    storageClasses: [storageClass()],
    storageProfiles: [storageProfile()],
    csiDrivers: [csiDriver()],
    persistentVolumes: [],
    cdiConfig: cdiConfig(),
    honorWaitForFirstConsumer: true,
    adoptionGate: false,
    installer: {},
    clone: seenClone(clone),
    ...facts,
  }
}
