/**
 * What the DataVolume controller sees, and the steps that it may take. Deciding is in `plan.ts`, and for clones in
 * `clone/clone-plan.ts`. Types only.
 */
import type {
  CDIConfig,
  CSIDriver,
  DataVolume,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  StorageClass,
  StorageProfile,
} from '../../api/kinds.ts'
import type { InstallerLabels } from '../../api/names.ts'
import type { NewObject } from '../../kube/object.ts'
import type { CloneOrder } from '../clone/tokens.ts'
import type { MapPatch } from '../shared/annotated.ts'
import type { Told } from '../shared/told.ts'
import type { Leftovers } from './clone/leftovers.ts'
import type { CloneObservation } from './clone/observe.ts'
import type { RenderedPvc } from './render.ts'
import type { SourceResource } from './sources/source-kind.ts'
import type { StatusInput } from './status.ts'

export interface SyncObservation {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim | undefined
  readonly prime: PersistentVolumeClaim | undefined
  /** The resource that T's dataSourceRef names. */
  readonly source: SourceResource | undefined
  readonly storageClasses: readonly StorageClass[]
  readonly storageProfiles: readonly StorageProfile[]
  readonly csiDrivers: readonly CSIDriver[]
  readonly persistentVolumes: readonly PersistentVolume[]
  readonly cdiConfig: CDIConfig | undefined
  readonly honorWaitForFirstConsumer: boolean
  readonly adoptionGate: boolean
  readonly installer: InstallerLabels
  /** Of a clone. */
  readonly clone?: CloneObservation | undefined
}

export type Failure = NonNullable<StatusInput['failure']>

/** One step towards T. Whatever it is, the status is written after it (with T as the step left it). */
export type SyncPlan =
  | {
      readonly act: 'none'
      readonly because: string
      readonly events?: readonly Told[]
      readonly targetEvents?: readonly Told[]
    }
  /** Nothing can be said either: come again when something changes. */
  | { readonly act: 'wait'; readonly because: string }
  | {
      readonly act: 'refuse'
      readonly because: string
      readonly failure: Failure
      readonly events: readonly Told[]
      readonly dataVolumeAnnotations?: MapPatch
    }
  /** There is no T, and nothing but this is said of it: told once. */
  | { readonly act: 'tell'; readonly because: string; readonly event: Told }
  | {
      readonly act: 'create'
      readonly because: string
      readonly dataVolumeAnnotations: MapPatch
      readonly source: NewObject<SourceResource> | undefined
      readonly claim: NewObject<PersistentVolumeClaim>
      /** Told on T and on the DataVolume. */
      readonly events?: readonly Told[]
      /** Told on T alone. */
      readonly targetEvents?: readonly Told[]
      /** What was found out about the source of a clone, written before T is made. */
      readonly sourceMarks?: CloneStart['sourceMarks']
    }
  | { readonly act: 'adopt'; readonly because: string }
  | { readonly act: 'annotateTarget'; readonly because: string; readonly annotations: MapPatch }
  | { readonly act: 'annotateDataVolume'; readonly because: string; readonly annotations: MapPatch }
  | {
      readonly act: 'labelDataVolume'
      readonly because: string
      readonly labels: Readonly<Record<string, string>>
    }
  | { readonly act: 'makeSource'; readonly because: string; readonly source: NewObject<SourceResource> }
  | { readonly act: 'deleteSource'; readonly because: string }
  /** T got a volume that is not its own: it goes, and a new one is made. */
  | { readonly act: 'deleteTarget'; readonly because: string; readonly message: string }
  | ClonePlan

/** The steps of a clone that no other DataVolume has. */
export type ClonePlan =
  /** The DataVolume gets a token that lasts; what it allows was proved. */
  | {
      readonly act: 'extendToken'
      readonly because: string
      readonly order: CloneOrder
      readonly annotations: MapPatch
    }
  /** T gets a token of its own. */
  | { readonly act: 'extendTargetToken'; readonly because: string; readonly order: CloneOrder }
  /** T cannot be made yet: the DataVolume is scheduled, and what is awaited is helped on. */
  | {
      readonly act: 'schedule'
      readonly because: string
      readonly failure: Failure
      readonly annotations: MapPatch
      readonly finalizers?: readonly string[]
      readonly makePod?: NewObject<Pod>
      readonly deletePod?: Pod
      readonly events: readonly Told[]
      readonly requeueAfterMs?: number
    }
  /** Only somebody else can put it right; thrown after the status was written. */
  | { readonly act: 'block'; readonly because: string; readonly failure: Failure; readonly message: string }
  | { readonly act: 'makeCopySource'; readonly because: string; readonly claim: NewObject<PersistentVolumeClaim> }
  | { readonly act: 'cleanUp'; readonly because: string; readonly leftovers: Leftovers }

/** T may be made. */
export interface CloneStart {
  readonly act: 'start'
  readonly rendered: RenderedPvc
  readonly marks: MapPatch
  /** What was found out about the source, for the next clone of it. */
  readonly sourceMarks: { readonly claim: PersistentVolumeClaim; readonly annotations: MapPatch } | undefined
  readonly targetEvents: readonly Told[]
}
