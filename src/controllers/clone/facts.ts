/** What an observation says about sizes, modes and drivers of source and target. Pure. */
import { annotations, labels } from '../../api/names.ts'
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../api/kinds.ts'
import { tryParseQuantity } from '../../quantity.ts'
import {
  capacityBytesOf,
  contentTypeOf,
  requestedBytesOf,
  restoreBytesOf,
  snapshotModeOf,
  volumeModeOf,
} from './origin.ts'
import { filesystemOverhead } from '../filesystem-overhead.ts'
import { annotationOf } from '../shared/annotated.ts'
import type { ClaimOrigin, CloneObservation, SnapshotOrigin } from './observation.ts'
import type { VolumeSize } from './sizes.ts'
import { chooseSnapshotClass } from './snapshot-class.ts'
import type { SnapshotClassChoice } from './snapshot-class.ts'
import { classForSnapshot } from './source-class.ts'
import type { ClaimCloneFacts, SnapshotCloneFacts } from './strategy.ts'

type Claim = PersistentVolumeClaim

/** Whether the webhook completes the claim: what it asks for leaves no room for a file system (contract/clone.md §4.4). */
export function isCompleted({ metadata }: Claim): boolean {
  return metadata.labels?.[labels.applyStorageProfile] === 'true'
}

export function factsOfClaimClone(seen: CloneObservation, origin: ClaimOrigin, claim: Claim): ClaimCloneFacts {
  return {
    sourceDriver: driverOf(claim, origin.volume, seen.storageClasses),
    targetDriver: seen.storageClass?.provisioner ?? '',
    snapshotClass: snapshotClassFor(seen, origin, claim)?.name,
    sourceMode: volumeModeOf(claim.spec),
    targetMode: volumeModeOf(seen.target.spec),
    sourceCapacityBytes: capacityBytesOf(claim),
    targetBytes: requestedBytesOf(seen.target.spec),
    allowsExpansion: seen.storageClass?.allowVolumeExpansion ?? false,
  }
}

export function factsOfSnapshotClone(
  seen: CloneObservation,
  { snapshot, content }: { [K in 'snapshot' | 'content']: NonNullable<SnapshotOrigin[K]> },
): SnapshotCloneFacts {
  return {
    contentDriver: content.spec.driver,
    targetProvisioner: seen.storageClass?.provisioner ?? '',
    sourceMode: snapshotModeOf({ snapshot, content }) ?? 'Filesystem',
    targetMode: volumeModeOf(seen.target.spec),
    restoreBytes: restoreBytesOf(snapshot),
    targetBytes: requestedBytesOf(seen.target.spec),
    allowsExpansion: seen.storageClass?.allowVolumeExpansion ?? false,
  }
}

/** The class to take a snapshot of the source with; undefined if there is none that fits both volumes. */
export function snapshotClassFor(
  { storageClass, storageClasses, snapshotClasses, profile }: CloneObservation,
  origin: ClaimOrigin,
  claim: Claim,
): SnapshotClassChoice | undefined {
  const driver = driverOf(claim, origin.volume, storageClasses)
  if (driver === undefined || driver !== storageClass?.provisioner) return undefined
  return chooseSnapshotClass({
    driver,
    classes: snapshotClasses,
    sourceProfileClass: origin.profile?.status?.snapshotClass,
    targetProfileClass: profile?.status?.snapshotClass,
  })
}

/** The class on which a snapshot is restored to be copied from. */
export function classToCopyFrom(seen: CloneObservation, driver: string): StorageClass | undefined {
  return classForSnapshot({
    driver,
    targetClass: seen.storageClass?.metadata.name,
    classes: seen.storageClasses,
    contentType: contentTypeOf(seen.target),
  })
}

/** T as it asks to be; undefined without a size. */
export function targetSize(seen: CloneObservation): VolumeSize | undefined {
  const { target } = seen
  return sizeOf(seen, {
    bytes: requestedBytesOf(target.spec),
    mode: volumeModeOf(target.spec),
    storageClassName: target.spec?.storageClassName,
  })
}

/** A claim that is copied from, as it asks to be. */
export function claimSize(seen: CloneObservation, claim: Claim): VolumeSize | undefined {
  return sizeOf(seen, {
    bytes: requestedBytesOf(claim.spec),
    mode: volumeModeOf(claim.spec),
    storageClassName: claim.spec?.storageClassName,
  })
}

/** The same, but a device as large as it is: all of it is copied. */
export function copiedSize(seen: CloneObservation, claim: Claim): VolumeSize | undefined {
  const size = claimSize(seen, claim)
  return size && size.mode === 'Block' ? { ...size, bytes: Math.max(size.bytes, capacityBytesOf(claim) ?? 0) } : size
}

/** The smallest volume of T's class, in bytes; undefined if nothing says so. */
export function minimumBytes({ profile }: CloneObservation): number | undefined {
  return profile && tryParseQuantity(annotationOf(profile, annotations.minimumSupportedPvcSize))
}

function sizeOf(
  { storageClasses, config }: CloneObservation,
  volume: { bytes: number | undefined; mode: string; storageClassName: string | undefined },
): VolumeSize | undefined {
  const { bytes, mode, storageClassName } = volume
  if (bytes === undefined) return undefined
  const overhead = filesystemOverhead({ storageClassName, storageClasses, cdiConfig: config })
  return { bytes, mode, overhead }
}

/** Who keeps a claim's volume. */
function driverOf(
  { spec }: Claim,
  volume: PersistentVolume | undefined,
  classes: readonly StorageClass[],
): string | undefined {
  const ofClass = classes.find(({ metadata }) => metadata.name === spec?.storageClassName)?.provisioner
  return volume?.spec?.csi?.driver ?? ofClass
}
