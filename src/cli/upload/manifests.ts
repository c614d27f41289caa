/** The objects that `cdi upload` makes: what `virtctl image-upload` makes too (contract/upload.md §10). */
import { annotations, labels } from '../../api/annotations.ts'
import type { PersistentVolumeClaim } from '../../api/core.ts'
import type { DataVolume } from '../../api/datavolume.gen.ts'
import type { NewObject } from '../../kube/object.ts'
import { formatBytes } from '../../quantity.ts'
import type { UploadInput } from './options.ts'

export interface NewVolume extends Pick<
  UploadInput,
  'storageClass' | 'accessMode' | 'volumeMode' | 'forceBind' | 'archive'
> {
  readonly namespace: string
  readonly name: string
  /** Of the disk; the controller adds what a file system takes. */
  readonly diskBytes: number
}

export function dataVolumeManifest(o: NewVolume): NewObject<DataVolume> {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: {
      name: o.name,
      namespace: o.namespace,
      ...(o.forceBind ? { annotations: { [annotations.bindImmediate]: '' } } : {}),
    },
    spec: {
      source: { upload: {} },
      contentType: o.archive ? 'archive' : 'kubevirt',
      storage: { ...claimOf(o), ...(o.accessMode === undefined ? {} : { accessModes: [o.accessMode] }) },
    },
  }
}

/** The label makes the webhook fill in what is missing and leave room for the file system. */
export function claimManifest(o: NewVolume): NewObject<PersistentVolumeClaim> {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: o.name,
      namespace: o.namespace,
      labels: { [labels.applyStorageProfile]: 'true' },
      annotations: {
        [annotations.uploadTarget]: '',
        [annotations.contentType]: o.archive ? 'archive' : 'kubevirt',
        ...(o.forceBind ? { [annotations.bindImmediate]: '' } : {}),
      },
    },
    spec: { ...claimOf(o), accessModes: [o.accessMode ?? 'ReadWriteOnce'] },
  }
}

function claimOf({ diskBytes, storageClass, volumeMode, archive }: NewVolume) {
  // An archive goes into a file system, whatever the class prefers for disks.
  const mode = volumeMode ?? (archive ? 'Filesystem' : undefined)
  return {
    resources: { requests: { storage: formatBytes(diskBytes) } },
    ...(storageClass === undefined ? {} : { storageClassName: storageClass }),
    ...(mode === undefined ? {} : { volumeMode: mode }),
  }
}
