/**
 * From a DataVolume to its target claim T (contract/datavolume.md §6): `spec.pvc` is copied, `spec.storage` is completed
 * from StorageClass, StorageProfile and CDIConfig. Pure: the same input gives the same claim, and what is missing is a
 * value, not an exception.
 *
 * The population mode is decided with the rendered class, so its traces (annotation usePopulator, dataSourceRef of the
 * source resource, annotations of the source) are added by the caller.
 */
import type {
  CDIConfig,
  DataVolume,
  PersistentVolume,
  PersistentVolumeClaimSpec,
  StorageClass,
  StorageProfile,
} from '../../api/kinds.ts'
import { annotations, labels, labelValues, messages, reasons, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { mebibyte, requiredBytes, tryParseQuantity } from '../../quantity.ts'
import { filesystemOverhead } from '../filesystem-overhead.ts'
import { isClaimWebhookOn } from '../shared/settings.ts'
import { storageClassFor } from '../storageclass.ts'

export interface RenderInput {
  readonly dataVolume: DataVolume
  readonly storageClasses: readonly StorageClass[]
  readonly storageProfiles: readonly StorageProfile[]
  readonly cdiConfig: CDIConfig | undefined
  /** Looked through for a class that does not exist as an object. */
  readonly persistentVolumes: readonly PersistentVolume[]
  readonly installer?: InstallerLabels
}

export interface RenderedPvc {
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
  readonly spec: PersistentVolumeClaimSpec
}

/** Why there is no claim: reason and message of the conditions Bound and Ready and of a Warning event. */
export interface RenderProblem {
  readonly reason: typeof reasons.errClaimNotValid
  readonly message: string
  /** Message of a second Warning event with the same reason. */
  readonly warning?: string
}

export type Rendering =
  | { readonly pvc: RenderedPvc }
  | { readonly problem: RenderProblem }
  /** The StorageProfile of this class is not there yet: come again when it changes, tell nobody. */
  | { readonly waitsForProfile: string }

export type ContentType = 'kubevirt' | 'archive'
/** More than any storage has, and with any overhead still a number that is exact: 4 PiB. */
const largestBytes = 2 ** 52

type ClaimModes = Pick<PersistentVolumeClaimSpec, 'accessModes' | 'volumeMode'>

/** What volumeMode of a claim is set to when the webhook shall choose: Kubernetes would make Filesystem of nothing. */
export const volumeModeFromProfile = 'FromStorageProfile'

/** Written by `kubectl apply` about the DataVolume; on another object it would confuse the next apply. */
const lastAppliedAnnotation = 'kubectl.kubernetes.io/last-applied-configuration'

/**
 * Annotations of the DataVolume that do not go on to T. What allows a clone, and where its source lies, is set anew, so that
 * nobody smuggles it in; a T that said from the beginning that it is done would never be filled.
 */
const notCopied = new Set<string>([
  annotations.populatedFor,
  annotations.podPhase,
  annotations.clonePhase,
  annotations.cloneOf,
  annotations.dataSourceNamespace,
  annotations.cloneToken,
  annotations.extendedCloneToken,
  lastAppliedAnnotation,
])

/** The target claim of a DataVolume, or what is in the way. */
export function renderTarget(input: RenderInput): Rendering {
  const { dataVolume } = input
  const rendered = dataVolume.spec.storage
    ? renderStorage(input, dataVolume.spec.storage)
    : { spec: pvcSpecOf(dataVolume) }
  if (!('spec' in rendered)) return rendered
  return {
    pvc: {
      labels: labelsOf(input, rendered.spec),
      annotations: annotationsOf(input),
      spec: rendered.spec,
    },
  }
}

/**
 * Whether the claim is one of those that the webhook completes. A DataVolume's is completed here all the same, by the same
 * rules: the webhook knows the controller and leaves its claims alone. What cannot be completed is told as by the webhook.
 */
export function followsWebhook({ dataVolume, cdiConfig }: Pick<RenderInput, 'dataVolume' | 'cdiConfig'>): boolean {
  const isLabelled = dataVolume.metadata.labels?.[labels.applyStorageProfile] === 'true'
  return isLabelled && dataVolume.spec.storage !== undefined && isClaimWebhookOn(cdiConfig)
}

/** Whether a claim is filled from a resource of this kind. */
export function isFilledFrom({ dataSource, dataSourceRef }: PersistentVolumeClaimSpec, kind: string): boolean {
  return dataSourceRef?.kind === kind || dataSource?.kind === kind
}

/** Whether somebody else fills the claim: it names a data source and the DataVolume none of ours. */
export function isExternallyPopulated({ spec }: DataVolume): boolean {
  const claim = spec.pvc ?? spec.storage
  return !spec.source && !spec.sourceRef && Boolean(claim?.dataSource ?? claim?.dataSourceRef)
}

export function contentTypeOf({ spec }: DataVolume): ContentType {
  return spec.contentType === 'archive' ? 'archive' : 'kubevirt'
}

function pvcSpecOf({ spec }: DataVolume): PersistentVolumeClaimSpec {
  return structuredClone(spec.pvc ?? {}) as PersistentVolumeClaimSpec
}

type StorageSpec = NonNullable<DataVolume['spec']['storage']>

function renderStorage(
  input: RenderInput,
  storage: StorageSpec,
): { spec: PersistentVolumeClaimSpec } | Exclude<Rendering, { pvc: RenderedPvc }> {
  const { dataVolume } = input
  const { volumeMode, ...spec } = structuredClone(storage) as PersistentVolumeClaimSpec
  const wanted = volumeMode && volumeMode !== volumeModeFromProfile ? { ...spec, volumeMode } : spec
  const placed = completeModes(wanted, contentTypeOf(dataVolume), input)
  if (!('spec' in placed)) return placed
  if (followsWebhook(input) && isFilledFrom(placed.spec, 'VolumeSnapshot')) return { spec: placed.spec }
  // A clone's size may come later, from its source.
  const isLater = placed.spec.resources?.requests?.['storage'] === undefined && takesSizeFromSource(dataVolume)
  return isLater ? { spec: placed.spec } : completeSize(placed, input)
}

/** A claim whose class and modes are decided. */
export interface PlacedClaim {
  readonly spec: PersistentVolumeClaimSpec
  /** The least that its storage makes. */
  readonly minimumBytes: number
}

/** What claims are completed from. */
export type ClaimSurroundings = Pick<
  RenderInput,
  'storageClasses' | 'storageProfiles' | 'cdiConfig' | 'persistentVolumes'
>

/** The class and the modes of a claim (contract/golden-images.md §2, steps 2–4); also used by the claim webhook. */
export function completeModes(
  wanted: PersistentVolumeClaimSpec,
  contentType: ContentType,
  { storageClasses, storageProfiles, persistentVolumes }: ClaimSurroundings,
): PlacedClaim | Exclude<Rendering, { pvc: RenderedPvc }> {
  const spec = { ...wanted }
  if (contentType === 'archive') {
    if (spec.volumeMode === 'Block') return invalid(messages.archiveNeedsFilesystem)
    spec.volumeMode = 'Filesystem'
  }
  const storageClass = storageClassFor(storageClasses, spec.storageClassName, contentType)
  let minimumBytes = 0
  if (storageClass) {
    const { name } = storageClass.metadata
    spec.storageClassName = name
    const profile = storageProfiles.find(({ metadata }) => metadata.name === name)
    const needsProfile = !spec.accessModes?.length || !spec.volumeMode
    if (needsProfile && !profile?.status?.storageClass) return { waitsForProfile: name }
    const modes = modesFromProfile(spec, name, profile)
    if ('problem' in modes) return modes
    Object.assign(spec, modes)
    minimumBytes = tryParseQuantity(profile?.metadata.annotations?.[annotations.minimumSupportedPvcSize]) ?? 0
  } else {
    Object.assign(spec, modesFromVolume(spec, persistentVolumes))
    if (!spec.accessModes?.length) return invalid(messages.missingAccessModeAndClass)
  }
  return { spec, minimumBytes }
}

/** Fills in the modes that the user left open; those that were given always win. */
function modesFromProfile(
  spec: ClaimModes,
  name: string,
  profile: StorageProfile | undefined,
): ClaimModes | { problem: RenderProblem } {
  const sets = profile?.status?.claimPropertySets ?? []
  const { accessModes = [], volumeMode } = spec
  if (accessModes.length > 0) {
    if (volumeMode) return {}
    const shared = sets.find((set) => set.accessModes.some((mode) => accessModes.includes(mode)))
    return shared ? { volumeMode: shared.volumeMode } : {}
  }
  if (volumeMode) {
    const same = sets.find((set) => set.volumeMode === volumeMode && set.accessModes.length > 0)
    return same
      ? { accessModes: [...same.accessModes] }
      : invalid(messages.noMatchingAccessModeInProfile(name), messages.cannotGetAccessMode(name))
  }
  const [first] = sets
  return first && first.accessModes.length > 0
    ? { accessModes: [...first.accessModes], volumeMode: first.volumeMode }
    : invalid(messages.noAccessModeInProfile(name))
}

/**
 * The modes of a volume that lies ready for a class without an object: the smallest one that fits, so that the choice
 * does not depend on the order of a list.
 */
function modesFromVolume(spec: PersistentVolumeClaimSpec, volumes: readonly PersistentVolume[]): ClaimModes {
  const { storageClassName } = spec
  if (storageClassName === undefined) return {}
  const volume = volumes
    .filter((candidate) => isAvailable(candidate) && (candidate.spec?.storageClassName ?? '') === storageClassName)
    .filter((candidate) => satisfiesClaim(candidate, spec))
    .toSorted((a, b) => capacityBytes(a) - capacityBytes(b) || (a.metadata.name < b.metadata.name ? -1 : 1))
    .at(0)
  if (!volume) return {}
  return {
    volumeMode: volume.spec?.volumeMode ?? 'Filesystem',
    ...(spec.accessModes?.length ? {} : { accessModes: [...(volume.spec?.accessModes ?? [])] }),
  }
}

/** Whether a volume may be bound: phase Available and not being deleted. */
function isAvailable({ metadata, status }: PersistentVolume): boolean {
  return status?.phase === 'Available' && metadata.deletionTimestamp === undefined
}

/** Whether a volume has the size, the volume mode (none means Filesystem) and the access modes that a claim asks for. */
export function satisfiesClaim(volume: PersistentVolume, claim: PersistentVolumeClaimSpec): boolean {
  const request = claim.resources?.requests?.['storage']
  const wantedBytes = request === undefined ? 0 : (tryParseQuantity(request) ?? Number.POSITIVE_INFINITY)
  const offered = volume.spec?.accessModes ?? []
  return (
    capacityBytes(volume) >= wantedBytes &&
    (volume.spec?.volumeMode ?? 'Filesystem') === (claim.volumeMode ?? 'Filesystem') &&
    (claim.accessModes ?? []).every((mode) => offered.includes(mode))
  )
}

function capacityBytes({ spec }: PersistentVolume): number {
  return tryParseQuantity(spec?.capacity?.['storage']) ?? 0
}

/**
 * The size of a claim: room for the file system and at least what the storage takes (contract/golden-images.md §2, step 5);
 * also used by the claim webhook.
 */
export function completeSize(
  { spec, minimumBytes }: PlacedClaim,
  { storageClasses, cdiConfig }: Pick<ClaimSurroundings, 'storageClasses' | 'cdiConfig'>,
): { spec: PersistentVolumeClaimSpec } | { problem: RenderProblem } {
  const request = spec.resources?.requests?.['storage']
  if (request === undefined) return invalid(messages.missingSize)
  const askedBytes = tryParseQuantity(request)
  if (askedBytes === undefined || askedBytes > largestBytes) return invalid(messages.sizeOutOfRange(request))
  if (askedBytes < mebibyte) return invalid(messages.sizeTooSmall)
  const overhead = filesystemOverhead({ storageClassName: spec.storageClassName, storageClasses, cdiConfig })
  const neededBytes = spec.volumeMode === 'Block' ? askedBytes : requiredBytes(overhead, askedBytes)
  const storage = String(Math.max(neededBytes, minimumBytes))
  return { spec: { ...spec, resources: { ...spec.resources, requests: { ...spec.resources?.requests, storage } } } }
}

function takesSizeFromSource({ spec }: DataVolume): boolean {
  return Boolean(spec.source?.pvc ?? spec.source?.snapshot ?? spec.sourceRef)
}

function invalid(message: string, warning?: string): { problem: RenderProblem } {
  return { problem: { reason: reasons.errClaimNotValid, message, ...(warning === undefined ? {} : { warning }) } }
}

/** Labels of T: the DataVolume's own win over `app` and the alert's, the recommended ones over everything. */
function labelsOf({ dataVolume, installer }: RenderInput, spec: PersistentVolumeClaimSpec): Record<string, string> {
  const { [labels.app]: app = labelValues.app, ...recommended } = recommendedLabels(installer)
  return {
    [labels.app]: app,
    // A disk image fills its file system by design; the alert would never be silent.
    ...(spec.volumeMode === 'Block' ? {} : { [labels.fillingUpAlert]: 'disabled' }),
    ...dataVolume.metadata.labels,
    ...recommended,
  }
}

function annotationsOf({ dataVolume, cdiConfig }: RenderInput): Record<string, string> {
  const { metadata, spec } = dataVolume
  const own = Object.entries(metadata.annotations ?? {}).filter(([key]) => !notCopied.has(key))
  const preallocation = spec.preallocation ?? cdiConfig?.status?.preallocation ?? false
  return {
    ...Object.fromEntries(own),
    [annotations.podRestarts]: '0',
    [annotations.contentType]: contentTypeOf(dataVolume),
    ...(spec.priorityClassName ? { [annotations.podPriorityClassName]: spec.priorityClassName } : {}),
    ...(spec.serviceAccountName ? { [annotations.podServiceAccountName]: spec.serviceAccountName } : {}),
    [annotations.preallocationRequested]: String(preallocation),
    [annotations.createdForDataVolume]: metadata.uid,
    ...(isExternallyPopulated(dataVolume) ? { [annotations.externalPopulation]: 'true' } : {}),
  }
}
