/** Everything that the clone populator looks at before it decides about one claim T. Types only. */
import type {
  CDI,
  CDIConfig,
  Event,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  StorageProfile,
  VolumeCloneSource,
  VolumeSnapshot,
  VolumeSnapshotClass,
  VolumeSnapshotContent,
} from '../../api/kinds.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'

/** What is cloned, by the name that the VolumeCloneSource says. */
export type Origin = ClaimOrigin | SnapshotOrigin

export interface ClaimOrigin {
  readonly kind: 'pvc'
  readonly namespace: string
  readonly name: string
  /** Undefined while there is none. */
  readonly claim: PersistentVolumeClaim | undefined
  /** The volume that it is bound to. */
  readonly volume: PersistentVolume | undefined
  readonly profile: StorageProfile | undefined
  /** Unfinished pods that may write to it. */
  readonly writers: readonly Pod[]
  /** It holds what it is to hold. */
  readonly isPopulated: boolean
}

export interface SnapshotOrigin {
  readonly kind: 'snapshot'
  readonly namespace: string
  readonly name: string
  readonly snapshot: VolumeSnapshot | undefined
  readonly content: VolumeSnapshotContent | undefined
}

/** The temporary objects of T, whoever made them. */
export interface TemporaryObjects {
  /** Its volume becomes T's. */
  readonly claim: PersistentVolumeClaim | undefined
  /** The volume that it is bound to. */
  readonly volume: PersistentVolume | undefined
  readonly snapshot: VolumeSnapshot | undefined
  /** A snapshot restored, to be copied from. */
  readonly sourceClaim: PersistentVolumeClaim | undefined
  readonly prepPod: Pod | undefined
}

export interface CloneObservation {
  readonly target: PersistentVolumeClaim
  readonly storageClass: StorageClass | undefined
  readonly profile: StorageProfile | undefined
  readonly cloneSource: VolumeCloneSource | undefined
  /** Whether T may be made from what its VolumeCloneSource names; undefined while there is none. */
  readonly isAllowed: boolean | undefined
  /** Undefined while there is no VolumeCloneSource, or if its kind of source is not served. */
  readonly origin: Origin | undefined
  readonly temporary: TemporaryObjects
  readonly storageClasses: readonly StorageClass[]
  readonly snapshotClasses: readonly VolumeSnapshotClass[]
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
  readonly settings: WorkerSettings
  readonly targetEvents: readonly Event[]
  /** Of the temporary claims. */
  readonly temporaryEvents: readonly { readonly claim: string; readonly events: readonly Event[] }[]
  /** Keys (`toldKey`) of what this process told on T already, though the cache may not show it yet. */
  readonly alreadyTold: ReadonlySet<string>
  /** Last progress of the copy, 0–100. */
  readonly progressPercent: number | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}
