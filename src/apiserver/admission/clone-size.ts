/** How large the target of a clone must be when it does not say so (contract/golden-images.md §2, step 5). Pure. */
import type { PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeSnapshot } from '../../api/kinds.ts'
import { neededRestoreBytes, volumeModeOf } from '../../controllers/clone/origin.ts'
import type { ContentType } from '../../controllers/datavolume/render.ts'

/** What is cloned. */
export type CloneOrigin = { readonly claim: PersistentVolumeClaim } | { readonly snapshot: VolumeSnapshot }

export interface CloneTarget {
  /** With class and modes decided. */
  readonly spec: PersistentVolumeClaimSpec
  readonly contentType: ContentType
  readonly cloneType: string | undefined
}

const unknown = { problem: 'cannot detect the required pvc size' } as const

/** A quantity, or why there is none. */
export function cloneSizeOf(
  origin: CloneOrigin | undefined,
  target: CloneTarget,
): { readonly storage: string } | { readonly problem: string } {
  if (!origin) return unknown
  if ('snapshot' in origin) {
    const needed = neededRestoreBytes(origin.snapshot)
    // In the snapshot's own spelling.
    return 'problem' in needed ? needed : { storage: origin.snapshot.status?.restoreSize ?? String(needed.bytes) }
  }
  const { spec, status } = origin.claim
  const isFromFile = volumeModeOf(spec) === 'Filesystem'
  const isToDevice = volumeModeOf(target.spec) === 'Block'
  // How large the disk in a file is, only a look into the volume would tell.
  if (isFromFile && isToDevice && target.contentType === 'kubevirt' && target.cloneType === 'copy') return unknown
  const isAlike =
    volumeModeOf(spec) === volumeModeOf(target.spec) && spec?.storageClassName === target.spec.storageClassName
  const storage = isAlike ? spec?.resources?.requests?.['storage'] : status?.capacity?.['storage']
  return storage === undefined ? unknown : { storage }
}
