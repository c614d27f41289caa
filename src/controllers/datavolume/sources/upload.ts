/** DataVolumes that a client fills (contract/upload.md §4). They tell no progress, and never fail: the client tries again. */
import { annotations, messages, phases, reasons, volumeUploadSourceName } from '../../../api/names.ts'
import { kinds } from '../../../api/kinds.ts'
import { annotationOf, hasAnnotation, isAnnotatedTrue } from '../../shared/annotated.ts'
import { normal, warning } from '../../shared/told.ts'
import { commonSpec, hasPodSucceeded, hasWorkerOnceBound, wasRefused } from './source-kind.ts'
import type { PlainSourceKind } from './source-kind.ts'

export const uploadKind: PlainSourceKind = {
  name: 'upload',
  serves: ({ spec }) => spec.source?.upload !== undefined,
  problemOf: () => undefined,

  resource: kinds.volumeUploadSource,
  resourceName: volumeUploadSourceName,
  resourcesOf: ({ uploadSources }) => uploadSources,
  resourceBody: (dataVolume) => ({ spec: commonSpec(dataVolume), status: {} }),
  order: () => ({ [annotations.uploadTarget]: '' }),

  isDone: hasPodSucceeded,
  hasWorker: hasWorkerOnceBound((carrier) => hasAnnotation(carrier, annotations.uploadTarget)),
  phaseOf: (target) => {
    const { name } = target.metadata
    switch (annotationOf(target, annotations.podPhase)) {
      case 'Pending':
        return { phase: phases.uploadScheduled, event: normal(reasons.uploadScheduled, messages.uploadScheduled(name)) }
      case 'Running':
        return isAnnotatedTrue(target, annotations.podReady)
          ? { phase: phases.uploadReady, event: normal(reasons.uploadReady, messages.uploadReady(name)) }
          : { phase: phases.uploadScheduled }
      case 'Failed':
        return wasRefused(target)
          ? { phase: phases.uploadScheduled }
          : { phase: phases.uploadScheduled, event: warning(reasons.uploadFailed, messages.uploadFailed(name)) }
      case undefined:
      default:
        return { phase: phases.uploadScheduled }
    }
  },
  succeeded: (target) => normal(reasons.uploadSucceeded, messages.uploadSucceeded(target)),
}
