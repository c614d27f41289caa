/** Observations of clones whose size is asked for: a 64Mi disk in a volume of 71135396 bytes, unless a test says else. */
import { annotations } from '../../../../../src/api/names.ts'
import type {
  ContainerStatus,
  DataVolume,
  PersistentVolumeClaim,
  Pod,
  VolumeSnapshot,
  VolumeSnapshotContent,
} from '../../../../../src/api/kinds.ts'
import type { CloneOrigin, CloneSizeObservation } from '../../../../../src/controllers/datavolume/clone-size/plan.ts'
import { renderSizeDetectionPod } from '../../../../../src/controllers/datavolume/clone-size/pod.ts'
import type { RenderedPvc } from '../../../../../src/controllers/datavolume/render.ts'
import { cdiConfig, claim, dataVolume, namespace } from '../../fixtures.ts'

export const diskBytes = 67_108_864
export const volumeBytes = 71_135_396

export type Mode = 'Filesystem' | 'Block'

export interface SourceFacts {
  name?: string
  mode?: Mode
  /** `null`: the claim does not say. */
  contentType?: 'kubevirt' | 'archive' | null
  request?: string
  /** `null`: not bound. */
  capacity?: string | null
  annotated?: Record<string, string>
  terminating?: boolean
}

export function sourceClaim(facts: SourceFacts = {}): PersistentVolumeClaim {
  const { name = 'src', mode = 'Filesystem', contentType = 'kubevirt', request, capacity, annotated } = facts
  const size = String(mode === 'Block' ? diskBytes : volumeBytes)
  const source = claim({
    name,
    phase: capacity === null ? 'Pending' : 'Bound',
    annotated: { [annotations.contentType]: contentType ?? undefined, ...annotated },
    spec: { volumeMode: mode, resources: { requests: { storage: request ?? size } } },
    ...(facts.terminating ? { terminating: true } : {}),
  })
  return capacity === null
    ? source
    : { ...source, status: { phase: 'Bound', capacity: { storage: capacity ?? request ?? size } } }
}

export interface SnapshotFacts {
  status?: VolumeSnapshot['status'] | null
  className?: string | null
  annotated?: Record<string, string>
}

export function snapshotOf({ status, className, annotated }: SnapshotFacts = {}): VolumeSnapshot {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: {
      name: 'snap',
      namespace,
      uid: 'uid-snap',
      resourceVersion: '1',
      ...(annotated ? { annotations: annotated } : {}),
    },
    spec: {
      source: { persistentVolumeClaimName: 'src' },
      ...(className === null ? {} : { volumeSnapshotClassName: className ?? 'snapclass' }),
    },
    ...(status === null ? {} : { status: { readyToUse: true, restoreSize: '64Mi', ...status } }),
  }
}

export function contentOf(sourceVolumeMode?: Mode): VolumeSnapshotContent {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotContent',
    metadata: { name: 'content', uid: 'uid-content', resourceVersion: '1' },
    spec: { driver: 'csi.example', ...(sourceVolumeMode ? { sourceVolumeMode } : {}) },
  }
}

/** A clone with `spec.storage`, or with `spec.pvc`. */
export function cloneOf({
  size,
  field = 'storage',
  contentType,
  annotated,
  priorityClassName,
}: {
  size?: string | undefined
  field?: 'storage' | 'pvc'
  contentType?: 'kubevirt' | 'archive'
  annotated?: Record<string, string>
  priorityClassName?: string
} = {}): DataVolume {
  const given = dataVolume(annotated ? { annotated } : {})
  return {
    ...given,
    spec: {
      source: { pvc: { namespace, name: 'src' } },
      [field]: { accessModes: ['ReadWriteOnce'], resources: size === undefined ? {} : { requests: { storage: size } } },
      ...(contentType ? { contentType } : {}),
      ...(priorityClassName ? { priorityClassName } : {}),
    },
  }
}

/** T as rendered. */
export function renderedAs({
  mode = 'Filesystem',
  size,
}: { mode?: string; size?: string | undefined } = {}): RenderedPvc {
  return {
    labels: {},
    annotations: {},
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: mode,
      storageClassName: 'csi',
      resources: size === undefined ? {} : { requests: { storage: size } },
    },
  }
}

const settings = { image: 'cdi-importer:1', pullPolicy: 'IfNotPresent', verbosity: 3, installer: {} }
export const resources = { limits: { cpu: '750m', memory: '600M' }, requests: { cpu: '100m', memory: '60M' } }

export function observation({
  source = { claim: sourceClaim() },
  target = {},
  ...facts
}: Partial<Omit<CloneSizeObservation, 'rendered'>> & {
  source?: CloneOrigin
  target?: { mode?: string; size?: string | undefined }
} = {}): CloneSizeObservation {
  return {
    dataVolume: cloneOf({ size: target.size }),
    source,
    rendered: renderedAs(target),
    pod: undefined,
    users: [],
    isSourcePopulated: true,
    overhead: '0.06',
    minimumBytes: 0,
    settings,
    config: cdiConfig({ defaultPodResourceRequirements: resources }),
    cdi: undefined,
    ...facts,
  }
}

export interface DetectionPodFacts {
  phase?: string
  state?: ContainerStatus['state']
  lastState?: ContainerStatus['state']
  terminating?: boolean
}

/** The detection pod of a claim as the API server has it. */
export function detectionPod(source: PersistentVolumeClaim, facts: DetectionPodFacts = {}): Pod {
  const { phase = 'Pending', state, lastState, terminating } = facts
  const made = renderSizeDetectionPod({
    dataVolume: cloneOf(),
    source,
    settings,
    config: undefined,
    cdi: undefined,
  }) as Pod
  return {
    ...made,
    metadata: {
      ...made.metadata,
      uid: 'uid-pod',
      resourceVersion: '1',
      ...(terminating ? { deletionTimestamp: '2026-01-01T00:00:00Z' } : {}),
    },
    status: {
      phase,
      ...(state || lastState
        ? {
            containerStatuses: [
              {
                name: 'size-detection-volume',
                image: 'cdi-importer:1',
                imageID: '',
                ready: false,
                restartCount: lastState ? 1 : 0,
                ...(state ? { state } : {}),
                ...(lastState ? { lastState } : {}),
              },
            ],
          }
        : {}),
    },
  }
}

/** A pod that has a claim mounted. */
export function userOf(claimName: string, name = 'vm'): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, uid: `uid-${name}`, resourceVersion: '1' },
    spec: { containers: [{ name: 'c' }], volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
    status: { phase: 'Running' },
  }
}
