/**
 * What the state of an importer pod means for its claim (contract/datavolume.md §10 "Carrier state from the pod",
 * contract/import.md §15). Pure: pod and claim in, annotations, event and verdict out. The same pod state always gives
 * the same annotations, so it does not matter which states a controller misses.
 */
import { isLabelKey, isLabelValue } from '../../api/label-syntax.ts'
import { annotations, messages, reasons } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { fulfilled, restartsToShow, running, runningState, stateOfPod, unschedulableText } from '../shared/pod-state.ts'
import { warning, normal } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'

/**
 * What is to be done with the pod: `keep` it going; it `succeeded`; it must make room for one with a scratch volume
 * (`needsScratch`) or direct I/O (`needsDirectIo`); its failure is `fatal`, no other pod may follow; or the pod itself
 * died (evicted, node shut down) and another one must take its place (`died`).
 */
export type PodVerdict = 'keep' | 'succeeded' | 'needsScratch' | 'needsDirectIo' | 'fatal' | 'died'

export interface PodReport {
  readonly verdict: PodVerdict
  /** Annotations that the claim should have; keys that are absent here stay as they are. */
  readonly annotations: Readonly<Record<string, string>>
  /** Labels that the worker found with the image; they never overwrite. */
  readonly labels: Readonly<Record<string, string>>
  /** To be told on the claim when the annotations changed. */
  readonly events: readonly Told[]
}

/** What a worker may ask for once. */
const wishes = [annotations.requiresScratch, annotations.requiresDirectIo] as const

/** Reads a pod. Only a pod that was started without direct I/O is replaced after an OOM kill. */
export function reportOfPod({ pod, carrier }: { pod: Pod; carrier: PersistentVolumeClaim }): PodReport {
  const state = stateOfPod(pod)
  const { worker, ended, words, phase } = state
  const wanted: Record<string, string> = {
    [annotations.podSchedulable]: unschedulableText(pod) === undefined ? 'true' : 'false',
  }
  if (worker) wanted[annotations.podRestarts] = restartsToShow(worker, carrier)

  if (words?.scratchSpaceRequired) {
    return {
      verdict: 'needsScratch',
      annotations: {
        ...wanted,
        ...running('false', messages.scratchSpaceRequired, reasons.scratchSpaceRequired),
        [annotations.requiresScratch]: 'true',
      },
      labels: {},
      events: [],
    }
  }
  const killed = [worker?.state?.terminated, worker?.lastState?.terminated].find((end) => end?.reason === 'OOMKilled')
  if (killed && !hasDirectIo(pod) && ended?.exitCode !== 0) {
    return {
      verdict: 'needsDirectIo',
      annotations: {
        ...wanted,
        ...running('false', killed.message ?? '', 'OOMKilled'),
        [annotations.requiresDirectIo]: 'true',
      },
      labels: {},
      events: [],
    }
  }
  if (words?.message?.includes('checksum mismatch')) {
    return {
      verdict: 'fatal',
      annotations: {
        ...wanted,
        ...fulfilled(carrier, wishes),
        ...running('false', words.message, reasons.checksumError),
        [annotations.podPhase]: 'Failed',
        [annotations.fatalError]: 'true',
      },
      labels: {},
      events: [warning(reasons.errImportFailed, words.message)],
    }
  }

  wanted[annotations.podPhase] = phase
  Object.assign(wanted, runningState(pod, state))

  if (phase === 'Succeeded') {
    if (words?.preallocationApplied) wanted[annotations.preallocation] = 'true'
    return {
      verdict: 'succeeded',
      annotations: { ...wanted, ...fulfilled(carrier, wishes) },
      labels: words?.labels ?? {},
      events: [normal(reasons.importSucceeded, messages.importSuccessful)],
    }
  }
  const failure = ended && ended.exitCode !== 0 ? (ended.message ?? '').trim() : undefined
  return {
    verdict: phase === 'Failed' ? 'died' : 'keep',
    annotations: wanted,
    labels: {},
    events: failure ? [warning(reasons.errImportFailed, failure)] : [],
  }
}

/**
 * Labels of the image that may be added to the claim: those whose key it does not have. They are made from what an image
 * says of itself, and a single one that Kubernetes refuses would keep the claim from being written at all.
 */
export function addableLabels(
  current: Readonly<Record<string, string>> | undefined,
  found: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(
    Object.entries(found).filter(
      ([key, value]) => current?.[key] === undefined && isLabelKey(key) && isLabelValue(value),
    ),
  )
}

function hasDirectIo(pod: Pod): boolean {
  return (pod.spec?.containers[0]?.env ?? []).some(
    (variable) => variable.name === 'CACHE_MODE' && Boolean(variable.value),
  )
}
