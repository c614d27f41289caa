/** A clone as its populator sees it; each builder takes what a test cares about and fills in the rest. */
import type {
  PersistentVolumeClaim,
  Pod,
  StorageProfile,
  VolumeCloneSource,
  VolumeSnapshot,
  VolumeSnapshotClass,
  VolumeSnapshotContent,
} from '../../../../src/api/kinds.ts'
import { annotations, finalizers, labels } from '../../../../src/api/names.ts'
import type {
  ClaimOrigin,
  CloneObservation,
  SnapshotOrigin,
  TemporaryObjects,
} from '../../../../src/controllers/clone/observation.ts'
import { cdiConfig, claim, dataVolume, namespace, storageClass, storageProfile, volume } from '../fixtures.ts'
import type { ClaimFacts } from '../fixtures.ts'

/** T of a DataVolume, at the moment of its making. */
export function target(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    owner: dataVolume(),
    labels: {},
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.preallocationRequested]: 'false',
      ...facts.annotated,
    },
    spec: {
      dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'volume-clone-source-uid-dv' },
      dataSource: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'volume-clone-source-uid-dv' },
      ...facts.spec,
    },
  })
}

/** T once its strategy is chosen. */
export function begun(strategy: string, facts: ClaimFacts = {}): PersistentVolumeClaim {
  return target({
    labels: { app: 'containerized-data-importer', 'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled' },
    finalizers: ['kubernetes.io/pvc-protection', finalizers.clonePopulator],
    ...facts,
    annotated: {
      [annotations.cloneType]: strategy,
      [annotations.clonePhase]: 'Pending',
      ...facts.annotated,
    },
  })
}

export function bound(object: PersistentVolumeClaim, volumeName: string, storage?: string): PersistentVolumeClaim {
  const capacity = storage ?? object.spec?.resources?.requests?.['storage'] ?? '0'
  return {
    ...object,
    spec: { ...object.spec, volumeName },
    status: { phase: 'Bound', capacity: { storage: capacity } },
  }
}

export function cloneSource(spec: Partial<VolumeCloneSource['spec']> = {}): VolumeCloneSource {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeCloneSource',
    metadata: { name: 'volume-clone-source-uid-dv', namespace, uid: 'uid-vcs', resourceVersion: '1' },
    spec: { source: { kind: 'PersistentVolumeClaim', name: 'src' }, ...spec },
  }
}

/** A claim to clone, bound and idle. */
export function claimOrigin(facts: Partial<ClaimOrigin> = {}): ClaimOrigin {
  return {
    kind: 'pvc',
    namespace,
    name: 'src',
    claim: bound(claim({ name: 'src' }), 'pv-src'),
    volume: driven('csi.example'),
    profile: undefined,
    writers: [],
    isPopulated: true,
    ...facts,
  }
}

/** The volume of the source, of a CSI driver. */
export function driven(driver: string): NonNullable<ClaimOrigin['volume']> {
  const made = volume({ name: 'pv-src' })
  return { ...made, spec: { ...made.spec, csi: { driver, volumeHandle: 'h' } } }
}

export function snapshotOrigin(facts: Partial<SnapshotOrigin> = {}): SnapshotOrigin {
  return {
    kind: 'snapshot',
    namespace,
    name: 'snap',
    snapshot: volumeSnapshot({ name: 'snap' }),
    content: snapshotContent(),
    ...facts,
  }
}

export function volumeSnapshot({
  name,
  ready = true,
  status,
  owned = false,
  className = 'snapclass',
}: {
  name: string
  ready?: boolean
  status?: VolumeSnapshot['status']
  owned?: boolean
  className?: string
}): VolumeSnapshot {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: {
      name,
      namespace,
      uid: `uid-${name}`,
      resourceVersion: '1',
      ...(owned ? { labels: { [labels.ownedByUid]: 'uid-dv' } } : {}),
    },
    spec: { source: { persistentVolumeClaimName: 'src' }, volumeSnapshotClassName: className },
    status: {
      boundVolumeSnapshotContentName: 'content',
      creationTime: '2026-01-01T00:00:00Z',
      readyToUse: ready,
      restoreSize: '71135396',
      ...status,
    },
  }
}

export function snapshotContent(spec: Partial<VolumeSnapshotContent['spec']> = {}): VolumeSnapshotContent {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotContent',
    metadata: { name: 'content', uid: 'uid-content', resourceVersion: '1' },
    spec: { driver: 'csi.example', sourceVolumeMode: 'Filesystem', ...spec },
  }
}

export function snapshotClass(
  name: string,
  { driver = 'csi.example', isDefault = false }: { driver?: string; isDefault?: boolean } = {},
): VolumeSnapshotClass {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotClass',
    metadata: {
      name,
      uid: `uid-${name}`,
      resourceVersion: '1',
      ...(isDefault ? { annotations: { 'snapshot.storage.kubernetes.io/is-default-class': 'true' } } : {}),
    },
    driver,
    deletionPolicy: 'Delete',
  }
}

/** The temporary claim of T, as somebody made it. */
export function temporaryClaim(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    name: 'tmp-pvc-uid-dv',
    labels: { [labels.ownedByUid]: 'uid-dv' },
    ...facts,
    annotated: { [annotations.populatorKind]: 'VolumeCloneSource', ...facts.annotated },
  })
}

export function prepPod(facts: { phase?: string; terminating?: boolean; finishedAt?: string } = {}): Pod {
  const { phase = 'Running', terminating, finishedAt } = facts
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'prep-uid-dv',
      namespace,
      uid: 'uid-prep',
      resourceVersion: '1',
      labels: { [labels.ownedByUid]: 'uid-dv' },
      ...(terminating ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    spec: { containers: [{ name: 'dummy' }] },
    status: {
      phase,
      ...(finishedAt
        ? {
            containerStatuses: [
              {
                name: 'dummy',
                image: '',
                imageID: '',
                ready: false,
                restartCount: 0,
                state: { terminated: { exitCode: 0, finishedAt } },
              },
            ],
          }
        : {}),
    },
  }
}

/** What T's StorageProfile wishes. */
export function wishing(cloneStrategy: string, snapshotClassName?: string): StorageProfile {
  return storageProfile('csi', {
    cloneStrategy,
    ...(snapshotClassName ? { snapshotClass: snapshotClassName } : {}),
  })
}

export function seen({
  temporary,
  ...facts
}: Partial<Omit<CloneObservation, 'temporary'>> & { temporary?: Partial<TemporaryObjects> } = {}): CloneObservation {
  return {
    target: target(),
    storageClass: storageClass(),
    profile: undefined,
    cloneSource: cloneSource(),
    isAllowed: true,
    origin: claimOrigin(),
    storageClasses: [storageClass()],
    snapshotClasses: [],
    config: cdiConfig(),
    cdi: undefined,
    settings: { image: 'cdi:1', pullPolicy: 'IfNotPresent', verbosity: 1, installer: {} },
    targetEvents: [],
    temporaryEvents: [],
    alreadyTold: new Set(),
    progressPercent: undefined,
    now: Date.parse('2026-01-01T00:01:00Z'),
    ...facts,
    temporary: {
      claim: undefined,
      volume: undefined,
      snapshot: undefined,
      sourceClaim: undefined,
      prepPod: undefined,
      ...temporary,
    },
  }
}
