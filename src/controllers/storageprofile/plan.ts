/**
 * What a StorageProfile should say (contract/golden-images.md §1.2, §1.5, §1.6), from the class, the corrections in its spec and
 * what else there is in the cluster.
 */
import { annotations } from '../../api/names.ts'
import type { CSIDriver, PersistentVolume, StorageClass, StorageProfile, VolumeSnapshotClass } from '../../api/kinds.ts'
import { setCondition } from '../../kube/conditions.ts'
import type { Condition } from '../../kube/conditions.ts'
import {
  advisedCloneStrategy,
  advisedSourceFormat,
  capabilitiesOf,
  isUnsupported,
  keepsImagesApart,
  minimumSizeOf,
  noProvisioner,
} from './capabilities.ts'
import { profileKey, unknownKey } from './profile-key.ts'

type Status = NonNullable<StorageProfile['status']>
type ClaimPropertySet = NonNullable<Status['claimPropertySets']>[number]

export interface ProfileObservation {
  readonly storageClass: StorageClass
  /** Absent when it is about to be made. */
  readonly profile?: StorageProfile | undefined
  /** All of the cluster; undefined when snapshots are not installed. */
  readonly snapshotClasses: readonly VolumeSnapshotClass[] | undefined
  readonly csiDrivers: readonly Pick<CSIDriver, 'metadata'>[]
  /** The volumes of this class; looked at for classes without a provisioner only. */
  readonly volumes: readonly PersistentVolume[]
  /** OpenShift on one node, where ReadWriteMany is of no use. */
  readonly isSingleNode: boolean
  /** RFC 3339. */
  readonly now: string
}

/** The labels of the metric `kubevirt_cdi_storageprofile_info`. */
export interface ProfileFacts {
  readonly storageclass: string
  readonly provisioner: string
  readonly complete: boolean
  readonly default: boolean
  readonly virtdefault: boolean
  readonly rwx: boolean
  readonly smartclone: boolean
  readonly degraded: boolean
}

export interface ProfilePlan {
  readonly status: Status
  /** Annotations to set; null removes. */
  readonly annotations: Readonly<Record<string, string | null>>
  readonly facts: ProfileFacts
}

/** The snapshot class that somebody chose is not there: nothing is changed until it is, or another is chosen. */
export class MissingSnapshotClassError extends Error {
  constructor(name: string) {
    super(`the VolumeSnapshotClass ${name} that the StorageProfile names does not exist`)
    this.name = 'MissingSnapshotClassError'
  }
}

/** @throws {MissingSnapshotClassError} */
export function planProfile(observation: ProfileObservation): ProfilePlan {
  const { storageClass, profile } = observation
  const key = profileKey(storageClass)
  const claimPropertySets = propertySetsOf(observation, key)
  const snapshotClass = chooseSnapshotClass(observation)
  const cloneStrategy = cloneStrategyOf(observation, key, snapshotClass)
  const status: Status = {
    storageClass: storageClass.metadata.name,
    provisioner: storageClass.provisioner,
    cloneStrategy,
    dataImportCronSourceFormat:
      profile?.spec?.dataImportCronSourceFormat ??
      (snapshotClass === undefined ? 'pvc' : (advisedSourceFormat(key) ?? 'pvc')),
    conditions: conditionsOf(observation, key),
    ...(claimPropertySets.length > 0 ? { claimPropertySets } : {}),
    ...(snapshotClass === undefined ? {} : { snapshotClass }),
  }
  return { status, annotations: annotationsOf(observation, key), facts: factsOf(observation, status) }
}

function propertySetsOf({ storageClass, profile, volumes }: ProfileObservation, key: string): ClaimPropertySet[] {
  const corrected = profile?.spec?.claimPropertySets ?? []
  if (corrected.length > 0) return corrected
  if (storageClass.provisioner === noProvisioner) return propertySetsOfVolumes(volumes)
  return (capabilitiesOf(key) ?? []).map(({ accessMode, volumeMode }) => ({ accessModes: [accessMode], volumeMode }))
}

/** Every pair of modes that some volume has, in an order that stays the same. */
function propertySetsOfVolumes(volumes: readonly PersistentVolume[]): ClaimPropertySet[] {
  const pairs = new Set<string>()
  for (const { spec } of volumes) {
    for (const accessMode of spec?.accessModes ?? []) pairs.add(`${accessMode} ${spec?.volumeMode ?? 'Filesystem'}`)
  }
  return [...pairs].sort().map((pair) => {
    const [accessMode = '', volumeMode] = pair.split(' ')
    return { accessModes: [accessMode], volumeMode: volumeMode === 'Block' ? 'Block' : 'Filesystem' }
  })
}

function chooseSnapshotClass({ storageClass, profile, snapshotClasses }: ProfileObservation): string | undefined {
  const chosen = profile?.spec?.snapshotClass
  if (snapshotClasses === undefined) return undefined
  if (!chosen) return preferred(snapshotClasses.filter(({ driver }) => driver === storageClass.provisioner))
  const found = snapshotClasses.find(({ metadata }) => metadata.name === chosen)
  if (found === undefined) throw new MissingSnapshotClassError(chosen)
  return found.driver === storageClass.provisioner ? chosen : undefined
}

/** Of several classes the default one, else the first by name. */
function preferred(classes: readonly VolumeSnapshotClass[]): string | undefined {
  const byName = classes.toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
  const isDefault = ({ metadata }: VolumeSnapshotClass): boolean =>
    metadata.annotations?.[annotations.defaultSnapshotClass] === 'true'
  return (byName.find(isDefault) ?? byName[0])?.metadata.name
}

function cloneStrategyOf(
  { storageClass, profile }: ProfileObservation,
  key: string,
  snapshotClass: string | undefined,
): string {
  const asked = profile?.spec?.cloneStrategy ?? storageClass.metadata.annotations?.[annotations.cloneStrategy]
  if (asked) return asked
  const advised = advisedCloneStrategy(key)
  if (advised !== undefined) return advised === 'snapshot' && snapshotClass === undefined ? 'copy' : advised
  return snapshotClass === undefined ? 'copy' : 'snapshot'
}

function conditionsOf({ profile, now }: ProfileObservation, key: string): Condition[] {
  const before = (profile?.status?.conditions ?? []) as Condition[]
  const type = 'Recognized'
  if (key === unknownKey) {
    const message = 'Storage class parameters are not recognized'
    return [
      ...setCondition(before, { type, status: 'False', reason: 'UnrecognizedStorageClassParameters', message }, now),
    ]
  }
  const facts =
    capabilitiesOf(key) === undefined
      ? { status: 'False', reason: 'UnrecognizedProvisioner', message: 'Provisioner is not recognized' }
      : { status: 'True', reason: 'RecognizedProvisioner', message: 'Provisioner is recognized' }
  return [...setCondition(before, { type, ...facts } as Parameters<typeof setCondition>[1], now)]
}

function annotationsOf(
  { storageClass, profile, snapshotClasses = [] }: ProfileObservation,
  key: string,
): Record<string, string | null> {
  const present = profile?.metadata.annotations ?? {}
  const changes: Record<string, string | null> = {}
  const minimum = minimumSizeOf(key)
  if (minimum !== undefined && present[annotations.minimumSupportedPvcSize] === undefined) {
    changes[annotations.minimumSupportedPvcSize] = minimum
  }
  if (!keepsImagesApart(key)) return changes
  if (present[annotations.useReadWriteOnceForDataImportCron] === undefined) {
    changes[annotations.useReadWriteOnceForDataImportCron] = 'true'
  }
  const forImages = preferred(
    snapshotClasses.filter(
      ({ driver, parameters }) => driver === storageClass.provisioner && parameters?.['snapshot-type'] === 'images',
    ),
  )
  if (present[annotations.snapshotClassForDataImportCron] !== forImages) {
    changes[annotations.snapshotClassForDataImportCron] = forImages ?? null
  }
  return changes
}

function factsOf(
  { storageClass, snapshotClasses = [], csiDrivers, isSingleNode }: ProfileObservation,
  { cloneStrategy, claimPropertySets = [] }: Status,
): ProfileFacts {
  const { metadata, provisioner } = storageClass
  const rwx = claimPropertySets.some(({ accessModes }) => accessModes.includes('ReadWriteMany'))
  const smartclone =
    (cloneStrategy === 'csi-clone' && csiDrivers.some((driver) => driver.metadata.name === provisioner)) ||
    (cloneStrategy === 'snapshot' && snapshotClasses.some(({ driver }) => driver === provisioner))
  const hasModes = claimPropertySets.every(
    ({ accessModes, volumeMode }) => accessModes.length > 0 && Boolean(volumeMode),
  )
  return {
    storageclass: metadata.name,
    provisioner,
    complete: isUnsupported(provisioner) || (claimPropertySets.length > 0 && hasModes),
    default: metadata.annotations?.[annotations.defaultStorageClass] === 'true',
    virtdefault: metadata.annotations?.[annotations.defaultVirtStorageClass] === 'true',
    rwx,
    smartclone,
    degraded: !smartclone || (!rwx && !isSingleNode),
  }
}
