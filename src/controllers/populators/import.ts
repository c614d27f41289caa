/** What the import populator puts on P (contract/datavolume.md §8.1, §8.5). */
import { annotations, messages, reasons } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { CDIConfig, PersistentVolumeClaim, VolumeImportSource } from '../../api/kinds.ts'
import { watching } from '../../kube/controller.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import { workerNameOf } from '../import/plan.ts'
import { progressOwnerUid } from '../import/pod.ts'
import { besides, indexes } from '../shared/caches.ts'
import type { Caches } from '../shared/caches.ts'
import { annotationOf } from '../shared/annotated.ts'
import { annotationsOfSource } from '../shared/import-source.ts'
import { configOf } from '../shared/settings.ts'
import { normal, warning } from '../shared/told.ts'
import type { PopulatorWords } from './plan.ts'
import type { Population } from './populator.ts'

export const importPopulatorWords: PopulatorWords = {
  sourceKind: 'VolumeImportSource',
  succeeded: (target) => normal(reasons.populatorImportSucceeded, messages.populatorImportSucceeded(target)),
  failed: (target) => warning(reasons.populatorImportFailed, messages.populatorImportFailed(target)),
  tellsProgress: true,
  keepsPrimeName: true,
}

/**
 * The annotations of P for a source; undefined if there is none, if it is meant for another claim, or if its kind of
 * source is not served.
 */
export function importSourceAnnotations({
  source,
  target,
  config,
}: {
  source: VolumeImportSource | undefined
  target: PersistentVolumeClaim
  config: CDIConfig | undefined
}): Record<string, string> | undefined {
  if (!source) return undefined
  const { targetClaim, contentType, preallocation } = source.spec
  if (targetClaim && targetClaim !== target.metadata.name) return undefined
  const written = annotationsOfSource(source.spec.source)
  // Only http sources have a field for it; for the others, and for http too, it may stand on the DataVolume and so on T.
  const checksum = annotationOf(target, annotations.importChecksum)
  return (
    written && {
      ...(checksum === undefined ? {} : { [annotations.importChecksum]: checksum }),
      ...written,
      [annotations.contentType]: contentType === 'archive' ? 'archive' : 'kubevirt',
      [annotations.preallocationRequested]: String(preallocation ?? config?.status?.preallocation ?? false),
    }
  )
}

/** The population of claims that refer to a VolumeImportSource. */
export function importPopulation(caches: Caches): Population {
  return {
    name: 'import-populator',
    words: importPopulatorWords,
    sourceAnnotationsOf: (target) => {
      const reference = target.spec?.dataSourceRef
      const source = reference && caches.importSources.get(besides(target, reference.name))
      return importSourceAnnotations({ source, target, config: configOf(caches) })
    },
    sources: watching(caches.importSources, (source) =>
      caches.pvcs
        .byIndex(indexes.source, formatKey(keyOf(source)))
        .filter((claim) => claim.spec?.dataSourceRef?.kind === kinds.volumeImportSource.kind)
        .map(keyOf),
    ),
    workerOf: (prime) => {
      const pod = caches.pods.get(besides(prime, workerNameOf(prime)))
      return pod && { pod, ownerUid: progressOwnerUid(prime) }
    },
  }
}
