/**
 * In the direct mode a snapshot cannot be copied from: it is restored to a claim beside it first, and that is copied
 * (contract/clone.md §9). Pure.
 */
import { annotations, labels, labelValues, snapshotCopySourceName } from '../../../api/names.ts'
import { kinds } from '../../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim, StorageClass } from '../../../api/kinds.ts'
import { formatKey, keyOf } from '../../../kube/object.ts'
import type { NewObject } from '../../../kube/object.ts'
import { restoreBytesOf, snapshotModeOf } from '../../clone/origin.ts'
import type { CloneOrigin } from '../../clone/origin.ts'
import { contentTypeOf } from '../render.ts'

export type SnapshotOrigin = Extract<CloneOrigin, { snapshot: unknown }>

/** The claim that the snapshot is restored to. Nobody owns it: an owner cannot be in another namespace. */
export function renderCopySource({
  dataVolume,
  origin,
  target,
  storageClass,
}: {
  readonly dataVolume: DataVolume
  readonly origin: SnapshotOrigin
  readonly target: PersistentVolumeClaim
  readonly storageClass: StorageClass
}): NewObject<PersistentVolumeClaim> {
  const { metadata } = origin.snapshot
  const { uid } = dataVolume.metadata
  const bytes = restoreBytesOf(origin.snapshot)
  const storage = bytes ? String(bytes) : (target.spec?.resources?.requests?.['storage'] ?? '')
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: snapshotCopySourceName(uid),
      ...(metadata.namespace ? { namespace: metadata.namespace } : {}),
      labels: {
        [labels.app]: labelValues.app,
        [labels.component]: labelValues.snapshotCopySource,
        [labels.veleroExclude]: 'true',
      },
      annotations: {
        [annotations.ownedByDataVolume]: formatKey(keyOf(dataVolume)),
        [annotations.ownerUid]: uid,
        [annotations.contentType]: contentTypeOf(dataVolume),
      },
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: snapshotModeOf(origin) ?? target.spec?.volumeMode ?? 'Filesystem',
      storageClassName: storageClass.metadata.name,
      resources: { requests: { storage } },
      dataSourceRef: {
        apiGroup: kinds.volumeSnapshot.group,
        kind: kinds.volumeSnapshot.kind,
        name: metadata.name,
      },
    },
  }
}
