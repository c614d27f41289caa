/**
 * Names of the objects that the controllers make. They are computed from their base alone, so that a controller that
 * was killed finds again what it made (contract/datavolume.md §1, contract/import.md §2). The other words of the
 * contract stand in `annotations.ts` (keys) and `phases.ts` (phases, conditions, events) and are passed on here.
 */
export * from './annotations.ts'
export * from './phases.ts'

/** Longest name of most Kubernetes objects (RFC 1123 subdomain). */
export const maxNameLength = 253

/** Longest name of a Service (RFC 1123 label). */
export const maxServiceNameLength = 63

/** Room for a hash of eight digits and the two dashes around it. */
const hashRoom = 10

/**
 * `<base>-<suffix>`; when that is longer than `limit`, the base is cut and told apart by its hash, so that different
 * bases keep different names.
 */
export function derivedName(base: string, suffix: string, limit: number = maxNameLength): string {
  const name = `${base}-${suffix}`
  if (name.length <= limit) return name
  const room = limit - hashRoom - suffix.length
  if (room > 0) return `${base.slice(0, room)}-${fnv1a32(base)}-${suffix}`
  return `${base.slice(0, limit - (hashRoom - 1))}-${fnv1a32(name)}`
}

/** The FNV-1a hash of a text's UTF-8 bytes, 32 bits, as eight hexadecimal digits. */
export function fnv1a32(text: string): string {
  let hash = 0x811c9dc5
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0).toString(16).padStart(8, '0')
}

/** A name that a Service may bear: dots become dashes, long names are cut. */
export function serviceName(name: string): string {
  const label = name.replaceAll('.', '-')
  return label.length <= maxServiceNameLength ? label : derivedName(label, 'cdi', maxServiceNameLength)
}

/** P, the claim that is filled in place of the target claim with this UID. */
export function primeName(targetUid: string): string {
  return `prime-${targetUid}`
}

/** The importer pod of a claim, and of one checkpoint of it in a multi-stage import. */
export function importerPodName(pvcName: string, checkpoint?: string): string {
  return derivedName('importer', checkpoint ? `${pvcName}-checkpoint-${checkpoint}` : pvcName)
}

/** The upload pod of a claim; its Secret bears the same name, its Service `serviceName` of it. */
export function uploadPodName(pvcName: string): string {
  return derivedName('cdi-upload', pvcName)
}

/** The scratch claim of a claim. */
export function scratchName(pvcName: string): string {
  return derivedName(pvcName, 'scratch')
}

/** The ConfigMap with the proxy's CA beside an importer pod. */
export function importProxyConfigMapName(pvcName: string): string {
  return derivedName('import-proxy-cm', pvcName)
}

export function volumeImportSourceName(dataVolumeUid: string): string {
  return `volume-import-source-${dataVolumeUid}`
}

export function volumeUploadSourceName(dataVolumeUid: string): string {
  return `volume-upload-source-${dataVolumeUid}`
}

export function volumeCloneSourceName(dataVolumeUid: string): string {
  return `volume-clone-source-${dataVolumeUid}`
}

/** The claim that a clone is made in before its volume goes to the claim with this UID. */
export function temporaryPvcName(targetUid: string): string {
  return `tmp-pvc-${targetUid}`
}

/** The snapshot that a clone into the claim with this UID is made of. */
export function temporarySnapshotName(targetUid: string): string {
  return `tmp-snapshot-${targetUid}`
}

/** The claim that a snapshot is restored to, to be copied into the claim with this UID. */
export function temporarySourcePvcName(targetUid: string): string {
  return `tmp-source-pvc-${targetUid}`
}

/** The pod that makes the storage bind or grow a temporary claim of the claim with this UID. */
export function prepPodName(targetUid: string): string {
  return `prep-${targetUid}`
}

/** The pod that reads the source of a copy, and its Secret, by the UID of the claim that receives. */
export function sourcePodName(receiverUid: string): string {
  return `${receiverUid}-source-pod`
}

/** The pod that finds out how large the disk in a claim is. */
export function sizeDetectionPodName(sourceUid: string): string {
  return `size-detection-${sourceUid}`
}

/** The claim that the snapshot of a DataVolume in the direct mode is restored to. */
export function snapshotCopySourceName(dataVolumeUid: string): string {
  return `${dataVolumeUid}-host-assisted-source-pvc`
}

/** The ObjectTransfer of the claim of a DataVolume, by the UID of the one that moves the DataVolume. */
export function claimTransferName(transferUid: string): string {
  return `pvc-transfer-${transferUid}`
}
