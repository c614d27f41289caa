/**
 * What the state of an upload server means for its claim (contract/upload.md §4.4, §4.5). Pure: pod and claim in,
 * annotations, event and verdict out. No end of a server is final but success: the client may always try again.
 */
import { annotations, messages, reasons } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotationOf } from '../shared/annotated.ts'
import {
  fulfilled,
  restartsOf,
  restartsToShow,
  running,
  runningState,
  stateOfPod,
  unschedulableText,
  isRefusal,
} from '../shared/pod-state.ts'
import type { PodState } from '../shared/pod-state.ts'
import { normal, warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { isCloneTarget } from '../shared/upload-target.ts'

/**
 * What is to be done with the pod: `keep` it going; it `succeeded`; it must make room for one with a scratch volume
 * (`needsScratch`) or with fresh certificates (`deadlinePassed`); or the pod itself died (evicted, node shut down) and
 * another one must take its place (`died`).
 */
export type UploadVerdict = 'keep' | 'succeeded' | 'needsScratch' | 'deadlinePassed' | 'died'

export interface UploadReport {
  readonly verdict: UploadVerdict
  /** Annotations that the claim should have; keys that are absent here stay as they are. */
  readonly annotations: Readonly<Record<string, string>>
  /** To be told on the claim when the annotations changed. */
  readonly events: readonly Told[]
}

/** What a server may ask for once. */
const wishes = [annotations.requiresScratch] as const

export function reportOfUploadPod({ pod, carrier }: { pod: Pod; carrier: PersistentVolumeClaim }): UploadReport {
  const state = stateOfPod(pod)
  const { worker, words, phase } = state
  const wanted: Record<string, string> = {
    [annotations.podReady]: String(isReady(pod)),
    ...(worker ? { [annotations.podRestarts]: restartsToShow(worker, carrier) } : {}),
  }
  if (words?.scratchSpaceRequired) {
    return {
      verdict: 'needsScratch',
      annotations: {
        ...wanted,
        ...running('false', messages.scratchSpaceRequired, reasons.scratchSpaceRequired),
        [annotations.requiresScratch]: 'true',
      },
      events: [],
    }
  }
  const shown = { ...wanted, ...(runningState(pod, state) ?? unscheduled(pod)) }
  if (words?.deadlinePassed) {
    return { verdict: 'deadlinePassed', annotations: { ...shown, [annotations.podPhase]: '' }, events: [] }
  }
  if (phase === 'Succeeded') {
    return {
      verdict: 'succeeded',
      annotations: {
        ...shown,
        ...fulfilled(carrier, wishes),
        ...(words?.preallocationApplied ? { [annotations.preallocation]: 'true' } : {}),
        [annotations.podPhase]: phase,
      },
      // Of a copy it is said when its source pod has ended too.
      events: isCloneTarget(carrier) ? [] : [normal(reasons.uploadSucceeded, messages.uploadSuccessful)],
    }
  }
  const failure = failureOf(state, carrier)
  return {
    verdict: phase === 'Failed' ? 'died' : 'keep',
    annotations: { ...shown, [annotations.podPhase]: wasSourceRefused(carrier) ? 'Failed' : phase },
    events: failure
      ? [warning(isCloneTarget(carrier) ? reasons.errCloneFailed : reasons.errUploadFailed, failure)]
      : [],
  }
}

/** Whether the claim says that its server was not accepted by the API server. */
export function wasRefused(carrier: PersistentVolumeClaim): boolean {
  return isRefusal(annotationOf(carrier, annotations.conditionRunningReason))
}

/**
 * Whether the claim says so of the source pod of its copy (contract/clone.md §6.3): its phase is then Failed, though its
 * server may be ready, until there is a source pod.
 */
function wasSourceRefused(carrier: PersistentVolumeClaim): boolean {
  return isRefusal(annotationOf(carrier, annotations.conditionSourceRunningReason))
}

/** Whether a server can be sent to; the readiness of one that has just ended may not have been taken back yet. */
function isReady({ metadata, status }: Pod): boolean {
  const containers = status?.containerStatuses ?? []
  const areReady = containers.every(({ ready, state }) => ready && state?.running !== undefined)
  return metadata.deletionTimestamp === undefined && containers.length > 0 && areReady
}

/** Nobody waits as long as somebody whose pod has no node, so it is said why. */
function unscheduled(pod: Pod): Record<string, string> {
  const text = unschedulableText(pod)
  return text === undefined ? {} : running('false', text, reasons.unschedulable)
}

/**
 * What a server said that ended badly. A kubelet starts it again at once, so the end itself is often missed and only the
 * count of restarts tells of it; a client that was answered before the end learns of it nowhere else.
 */
function failureOf({ worker, ended }: PodState, carrier: PersistentVolumeClaim): string | undefined {
  if (ended) return ended.exitCode === 0 ? undefined : (ended.message ?? '').trim()
  const wasSeen = annotationOf(carrier, annotations.conditionRunning) === 'false'
  if (!worker || worker.restartCount <= restartsOf(carrier) || wasSeen) return undefined
  const last = worker.lastState?.terminated
  return last && last.exitCode !== 0 ? (last.message ?? '').trim() : undefined
}
