/** DataVolumes that an importer fills: http, s3, gcs, registry, blank. */
import { annotations, messages, phases, reasons, volumeImportSourceName } from '../../../api/names.ts'
import { kinds } from '../../../api/kinds.ts'
import { workerNameOf } from '../../import/plan.ts'
import { progressOwnerUid } from '../../import/pod.ts'
import { annotationOf, isAnnotatedTrue } from '../../shared/annotated.ts'
import { besides } from '../../shared/caches.ts'
import { annotationsOfSource, importSourceOf } from '../../shared/import-source.ts'
import { normal, warning } from '../../shared/told.ts'
import { commonSpec, hasPodSucceeded, hasWorkerOnceBound } from './source-kind.ts'
import type { PlainSourceKind } from './source-kind.ts'

export const importKind: PlainSourceKind = {
  name: 'import',
  serves: ({ spec }) => importSourceOf(spec.source) !== undefined,
  problemOf: ({ spec }) =>
    spec.source?.registry && spec.contentType === 'archive' ? messages.registryNeedsKubevirt : undefined,

  resource: kinds.volumeImportSource,
  resourceName: volumeImportSourceName,
  resourcesOf: ({ importSources }) => importSources,
  resourceBody: (dataVolume) => ({
    spec: { source: importSourceOf(dataVolume.spec.source), ...commonSpec(dataVolume) },
    status: {},
  }),
  order: ({ spec }) => annotationsOfSource(importSourceOf(spec.source)) ?? {},

  isDone: hasPodSucceeded,
  hasWorker: hasWorkerOnceBound((carrier) => Boolean(annotationOf(carrier, annotations.importPodName))),
  phaseOf: (target) => {
    const { name } = target.metadata
    switch (annotationOf(target, annotations.podPhase)) {
      case 'Pending':
        return { phase: phases.importScheduled, event: normal(reasons.importScheduled, messages.importScheduled(name)) }
      case 'Running':
        return {
          phase: phases.importInProgress,
          event: normal(reasons.importInProgress, messages.importInProgress(name)),
        }
      case 'Failed':
        return {
          phase: isAnnotatedTrue(target, annotations.fatalError) ? phases.failed : phases.importScheduled,
          event: warning(reasons.importFailed, messages.importFailed(name)),
        }
      case undefined:
      default:
        return { phase: phases.importScheduled }
    }
  },
  succeeded: (target) => normal(reasons.importSucceeded, messages.importSucceeded(target)),
  workerOf: (target, { pods }) => {
    const pod = pods.get(besides(target, workerNameOf(target)))
    return pod && { pod, ownerUid: progressOwnerUid(target) }
  },
}
