/** What the upload populator puts on P (contract/upload.md §4.1). */
import { annotations, messages, reasons } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { CDIConfig, PersistentVolumeClaim, VolumeUploadSource } from '../../api/kinds.ts'
import { watching } from '../../kube/controller.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import { annotationOf } from '../shared/annotated.ts'
import { besides, indexes } from '../shared/caches.ts'
import type { Caches } from '../shared/caches.ts'
import { configOf } from '../shared/settings.ts'
import { normal, warning } from '../shared/told.ts'
import type { PopulatorWords } from './plan.ts'
import type { Population } from './populator.ts'

export const uploadPopulatorWords: PopulatorWords = {
  sourceKind: 'VolumeUploadSource',
  succeeded: (target) => normal(reasons.uploadSucceeded, messages.uploadSucceeded(target)),
  failed: (target) => warning(reasons.uploadFailed, messages.uploadFailed(target)),
  tellsProgress: false,
  keepsPrimeName: false,
}

/** The annotations of P for a source; undefined if there is none. */
export function uploadSourceAnnotations({
  source,
  target,
  config,
}: {
  source: VolumeUploadSource | undefined
  target: PersistentVolumeClaim
  config: CDIConfig | undefined
}): Record<string, string> | undefined {
  if (!source) return undefined
  const { contentType, preallocation } = source.spec
  const checksum = annotationOf(target, annotations.uploadChecksum)
  return {
    [annotations.uploadTarget]: '',
    ...(checksum === undefined ? {} : { [annotations.uploadChecksum]: checksum }),
    [annotations.contentType]: contentType === 'archive' ? 'archive' : 'kubevirt',
    [annotations.preallocationRequested]: String(preallocation ?? config?.status?.preallocation ?? false),
  }
}

/** The population of claims that refer to a VolumeUploadSource. Uploads tell no progress, so no worker is named. */
export function uploadPopulation(caches: Caches): Population {
  return {
    name: 'upload-populator',
    words: uploadPopulatorWords,
    sourceAnnotationsOf: (target) => {
      const reference = target.spec?.dataSourceRef
      const source = reference && caches.uploadSources.get(besides(target, reference.name))
      return uploadSourceAnnotations({ source, target, config: configOf(caches) })
    },
    sources: watching(caches.uploadSources, (source) =>
      caches.pvcs
        .byIndex(indexes.source, formatKey(keyOf(source)))
        .filter((claim) => claim.spec?.dataSourceRef?.kind === kinds.volumeUploadSource.kind)
        .map(keyOf),
    ),
  }
}
