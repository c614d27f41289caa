/**
 * What the DataVolume controller does next about T, before it writes the status. Pure: everything that was seen in, one
 * step out. Names are derived from UIDs, so a step that was interrupted is taken again without harm.
 */
import { annotations, instanceTypeLabels, messages, phases, reasons } from '../../api/names.ts'
import type {
  CDIConfig,
  CSIDriver,
  DataVolume,
  PersistentVolume,
  PersistentVolumeClaim,
  StorageClass,
  StorageProfile,
  VolumeImportSource,
} from '../../api/kinds.ts'
import type { InstallerLabels } from '../../api/names.ts'
import type { NewObject } from '../../kube/object.ts'
import { annotationOf, changesOf, hasAnnotation, isEmpty } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { claimPhase, isTerminating } from '../shared/claim.ts'
import { importSourceOf } from '../shared/import-source.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { isAvailable, isExternallyPopulated, renderTarget, satisfiesClaim } from './render.ts'
import type { RenderedPvc } from './render.ts'
import { claimsClass, hasCsiDriver, modeOf, renderClaim, renderImportSource } from './target.ts'
import type { StatusInput } from './status.ts'
import { isPopulatedFor, needsWork, ownershipOf, staticBindingOf, usesPopulator } from './work.ts'

export interface SyncObservation {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim | undefined
  readonly prime: PersistentVolumeClaim | undefined
  readonly importSource: VolumeImportSource | undefined
  readonly storageClasses: readonly StorageClass[]
  readonly storageProfiles: readonly StorageProfile[]
  readonly csiDrivers: readonly CSIDriver[]
  readonly persistentVolumes: readonly PersistentVolume[]
  readonly cdiConfig: CDIConfig | undefined
  readonly honorWaitForFirstConsumer: boolean
  readonly adoptionGate: boolean
  readonly installer: InstallerLabels
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
  | { readonly act: 'refuse'; readonly because: string; readonly failure: Failure; readonly events: readonly Told[] }
  | {
      readonly act: 'create'
      readonly because: string
      readonly dataVolumeAnnotations: MapPatch
      readonly importSource: NewObject<VolumeImportSource> | undefined
      readonly claim: NewObject<PersistentVolumeClaim>
      /** Told on T and on the DataVolume. */
      readonly events?: readonly Told[]
    }
  | { readonly act: 'adopt'; readonly because: string }
  | { readonly act: 'annotateTarget'; readonly because: string; readonly annotations: MapPatch }
  | { readonly act: 'annotateDataVolume'; readonly because: string; readonly annotations: MapPatch }
  | {
      readonly act: 'labelDataVolume'
      readonly because: string
      readonly labels: Readonly<Record<string, string>>
    }
  | { readonly act: 'makeImportSource'; readonly because: string; readonly importSource: NewObject<VolumeImportSource> }
  | { readonly act: 'deleteImportSource'; readonly because: string }
  /** T got a volume that is not its own: it goes, and a new one is made. */
  | { readonly act: 'deleteTarget'; readonly because: string; readonly message: string }

/** Whether this controller answers for a DataVolume: it imports, or the storage fills it. */
export function isOurs(dataVolume: DataVolume): boolean {
  return importSourceOf(dataVolume.spec.source) !== undefined || isExternallyPopulated(dataVolume)
}

export function planSync(seen: SyncObservation): SyncPlan {
  const { dataVolume, target } = seen
  if (!target) {
    return hasAnnotation(dataVolume, annotations.prePopulated)
      ? { act: 'none', because: 'the claim comes from elsewhere' }
      : planCreation(seen)
  }
  return planForTarget(seen, target)
}

function planForTarget(seen: SyncObservation, target: PersistentVolumeClaim): SyncPlan {
  const { dataVolume } = seen
  const name = target.metadata.name
  if (isTerminating(target)) {
    return {
      act: 'none',
      because: 'the former claim has not gone yet',
      events: [warning(reasons.errResourceMarkedForDeletion, messages.markedForDeletion(name))],
    }
  }
  switch (ownershipOf({ ...seen, target })) {
    case 'foreign':
      return {
        act: 'none',
        because: 'the claim belongs to something else',
        events: [warning(reasons.errResourceExists, messages.resourceExists(name))],
      }
    case 'free':
      return { act: 'adopt', because: 'the claim has its data already' }
    case 'ours':
      break
  }
  const binding = staticBindingOf(target)
  if (binding?.state === 'wrong') {
    return { act: 'deleteTarget', because: 'the claim was bound to an unexpected volume', message: binding.message }
  }
  if (binding?.state === 'arrived') {
    return {
      act: 'annotateTarget',
      because: 'the volume that lay ready has arrived',
      annotations: { [annotations.persistentVolumeList]: null, [annotations.populatedFor]: dataVolume.metadata.name },
    }
  }
  if (isPopulatedFor({ dataVolume, target }) && claimPhase(target) === 'Bound') {
    const changes = changesOf(dataVolume.metadata.annotations, { [annotations.prePopulated]: name })
    if (!isEmpty(changes)) {
      return { act: 'annotateDataVolume', because: 'the claim must not be made again', annotations: changes }
    }
  }
  const filledFor = annotationOf(dataVolume, annotations.populatedFor)
  if (filledFor !== undefined && dataVolume.status?.phase === phases.succeeded) {
    // So that a backup of the claim, restored later, counts as filled.
    const changes = changesOf(target.metadata.annotations, { [annotations.populatedFor]: filledFor })
    if (!isEmpty(changes)) {
      return { act: 'annotateTarget', because: 'the claim is to be known as filled', annotations: changes }
    }
  }
  const labels = instanceTypeOf(dataVolume, target)
  if (!isEmpty(labels)) {
    return { act: 'labelDataVolume', because: 'the image tells its instance type or preference', labels }
  }
  return planSource(seen, target)
}

/** What the image of a registry source has told on T (§6.4), for a DataVolume that says nothing of the kind itself. */
function instanceTypeOf(
  { spec, metadata }: DataVolume,
  { metadata: { labels: found = {} } }: PersistentVolumeClaim,
): Record<string, string> {
  const says = instanceTypeLabels.some((key) => metadata.labels?.[key] !== undefined)
  if (!spec.source?.registry || says) return {}
  return Object.fromEntries(
    instanceTypeLabels.flatMap((key) => (found[key] === undefined ? [] : [[key, found[key]] as const])),
  )
}

/** The source resource lives as long as T needs it. */
function planSource(seen: SyncObservation, target: PersistentVolumeClaim): SyncPlan {
  const { dataVolume, importSource, prime } = seen
  const podPhase = annotationOf(target, annotations.podPhase)
  if (importSource && dataVolume.status?.phase === phases.succeeded && podPhase === 'Succeeded') {
    return { act: 'deleteImportSource', because: 'the import is done' }
  }
  const waits = claimPhase(target) === 'Pending' && usesPopulator(target) && podPhase !== 'Succeeded'
  if (waits && !importSource && !prime && !isExternallyPopulated(dataVolume) && needsWork({ ...seen, target })) {
    return {
      act: 'makeImportSource',
      because: 'the source of a claim that waits for it has gone',
      importSource: renderImportSource(dataVolume),
    }
  }
  return { act: 'none', because: 'the claim is there' }
}

function planCreation(seen: SyncObservation): SyncPlan {
  const { dataVolume } = seen
  // Sizes and gates come from it; what is made without them cannot be put right later.
  if (!seen.cdiConfig) return { act: 'wait', because: 'CDIConfig is not there yet' }
  if (dataVolume.spec.source?.registry && dataVolume.spec.contentType === 'archive') {
    const failure = { phase: phases.unset, reason: reasons.errClaimNotValid, message: messages.registryNeedsKubevirt }
    return { act: 'refuse', because: 'an image holds no archive', failure, events: [] }
  }
  const rendering = renderTarget({ ...seen, webhookRenders: false })
  if ('waitsForProfile' in rendering) {
    return { act: 'wait', because: `StorageProfile ${rendering.waitsForProfile} has no status yet` }
  }
  if ('problem' in rendering) {
    const { reason, message, warning: second } = rendering.problem
    return {
      act: 'refuse',
      because: 'the claim cannot be rendered',
      failure: { phase: phases.unset, reason, message },
      events: second ? [warning(reason, second)] : [],
    }
  }
  const rendered = rendering.pvc
  if (isExternallyPopulated(dataVolume)) return planExternal(seen, rendered)

  const mode = modeOf({ ...seen, storageClassName: rendered.spec.storageClassName })
  const dataVolumeAnnotations = changesOf(dataVolume.metadata.annotations, {
    [annotations.usePopulator]: hasAnnotation(dataVolume, annotations.usePopulator)
      ? undefined
      : String(mode === 'populator'),
  })
  const staticVolumes = hasAnnotation(dataVolume, annotations.checkStaticVolume)
    ? volumesFor(dataVolume, rendered, seen.persistentVolumes)
    : []
  if (staticVolumes.length > 0) {
    return {
      act: 'create',
      because: 'a volume lies ready',
      dataVolumeAnnotations,
      importSource: undefined,
      claim: renderClaim({ ...seen, rendered, population: 'none', staticVolumes }),
    }
  }
  return {
    act: 'create',
    because: 'there is no claim yet',
    dataVolumeAnnotations,
    importSource: mode === 'populator' ? renderImportSource(dataVolume) : undefined,
    claim: renderClaim({ ...seen, rendered, population: mode }),
  }
}

/** The storage fills the claim, if it can: a CSI driver, or a snapshot, which the driver always knows. */
function planExternal(seen: SyncObservation, rendered: RenderedPvc): SyncPlan {
  const source = rendered.spec.dataSourceRef ?? rendered.spec.dataSource
  const served =
    source?.kind === 'VolumeSnapshot' || hasCsiDriver({ ...seen, storageClassName: rendered.spec.storageClassName })
  return {
    act: 'create',
    because: 'the storage fills the claim',
    dataVolumeAnnotations: {},
    importSource: undefined,
    claim: renderClaim({ ...seen, rendered, population: 'none' }),
    events: served ? [] : [warning(reasons.noCsiDriver, messages.noCsiDriver)],
  }
}

/** Names of the available volumes that are reserved for this DataVolume and satisfy its claim. */
function volumesFor(
  { metadata: { name, namespace } }: DataVolume,
  rendered: RenderedPvc,
  volumes: readonly PersistentVolume[],
): string[] {
  return volumes
    .filter(
      (volume) =>
        isAvailable(volume) &&
        volume.spec?.claimRef?.name === name &&
        volume.spec.claimRef.namespace === namespace &&
        satisfiesClaim(volume, rendered.spec),
    )
    .map((volume) => volume.metadata.name)
    .sort()
}

/** The class that decides how T is bound. */
export function bindingClassOf(
  target: PersistentVolumeClaim | undefined,
  storageClasses: readonly StorageClass[],
): StorageClass | undefined {
  return target && claimsClass(target.spec?.storageClassName, storageClasses)
}
