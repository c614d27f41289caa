/**
 * What the state of an importer pod means for its claim (contract/datavolume.md §10 "Carrier state from the pod",
 * contract/import.md §15). Pure: pod and claim in, annotations, event and verdict out. The same pod state always gives
 * the same annotations, so it does not matter which states a controller misses.
 */
import { isLabelKey, isLabelValue } from '../../api/label-syntax.ts'
import { annotations, labels, labelValues, messages, reasons, simplifyFailure } from '../../api/names.ts'
import type { ContainerStatus, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotationOf, isAnnotatedTrue } from '../shared/annotated.ts'
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

/** Last words of a worker that ended with exit code 0 (contract/import.md §15). */
interface TerminationMessage {
  readonly scratchSpaceRequired?: boolean
  readonly preallocationApplied?: boolean
  readonly labels?: Record<string, string>
  readonly message?: string
}

type Terminated = NonNullable<NonNullable<ContainerStatus['state']>['terminated']>

const imagePullReasons = new Set(['ImagePullBackOff', 'ErrImagePull', 'InvalidImageName'])

/** Reads a pod. Only a pod that was started without direct I/O is replaced after an OOM kill. */
export function reportOfPod({ pod, carrier }: { pod: Pod; carrier: PersistentVolumeClaim }): PodReport {
  const worker = workerStatusOf(pod)
  const wanted: Record<string, string> = {
    [annotations.podSchedulable]: isUnschedulable(pod) ? 'false' : 'true',
  }
  if (worker) wanted[annotations.podRestarts] = String(Math.max(worker.restartCount, restartsOf(carrier)))

  const ended = terminationOf(worker)
  const words = ended?.exitCode === 0 ? parseTermination(ended.message) : undefined

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
        ...doneOnce(carrier),
        ...running('false', words.message, reasons.checksumError),
        [annotations.podPhase]: 'Failed',
        [annotations.fatalError]: 'true',
      },
      labels: {},
      events: [warning(reasons.errImportFailed, words.message)],
    }
  }

  const phase = phaseOf({ pod, worker, words })
  wanted[annotations.podPhase] = phase
  const state = runningState({ pod, worker, ended, words, phase })
  if (state) Object.assign(wanted, state)

  if (phase === 'Succeeded') {
    if (words?.preallocationApplied) wanted[annotations.preallocation] = 'true'
    return {
      verdict: 'succeeded',
      annotations: { ...wanted, ...doneOnce(carrier) },
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

/** Annotations, and the event, of a pod that the API server did not accept (contract/datavolume.md §5). */
export function reportOfRefusedPod({ podName, exceededQuota }: { podName: string; exceededQuota: boolean }): {
  annotations: Record<string, string>
  event: Told
} {
  const reason = exceededQuota ? reasons.errExceededQuota : reasons.errStartingPod
  const message = messages.errorStartingPod(podName)
  return {
    annotations: { ...running('false', message, reason), [annotations.podPhase]: 'Failed' },
    event: warning(reason, message),
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

/** The label that every carrier must bear, if it lacks it. */
export function missingCarrierLabel(carrier: PersistentVolumeClaim): Record<string, string> {
  return carrier.metadata.labels?.[labels.app] === undefined ? { [labels.app]: labelValues.app } : {}
}

function running(value: 'true' | 'false', message: string, reason: string): Record<string, string> {
  return {
    [annotations.conditionRunning]: value,
    [annotations.conditionRunningMessage]: message,
    [annotations.conditionRunningReason]: reason,
  }
}

/** A wish for scratch or direct I/O that was fulfilled stays visible as `false`. */
function doneOnce(carrier: PersistentVolumeClaim): Record<string, string> {
  const done: Record<string, string> = {}
  for (const key of [annotations.requiresScratch, annotations.requiresDirectIo]) {
    if (isAnnotatedTrue(carrier, key)) done[key] = 'false'
  }
  return done
}

function restartsOf(carrier: PersistentVolumeClaim): number {
  return Number.parseInt(annotationOf(carrier, annotations.podRestarts) ?? '0', 10) || 0
}

function isUnschedulable(pod: Pod): boolean {
  return (
    pod.status?.phase === 'Pending' &&
    (pod.status.conditions ?? []).some(
      (condition) =>
        condition.type === 'PodScheduled' && condition.status === 'False' && condition.reason === 'Unschedulable',
    )
  )
}

function hasDirectIo(pod: Pod): boolean {
  return (pod.spec?.containers[0]?.env ?? []).some(
    (variable) => variable.name === 'CACHE_MODE' && Boolean(variable.value),
  )
}

/** The container that does the work, the first of the pod; a kubelet tells them in the order of their names. */
function workerStatusOf({ spec, status }: Pod): ContainerStatus | undefined {
  const name = spec?.containers[0]?.name
  return status?.containerStatuses?.find((container) => container.name === name) ?? status?.containerStatuses?.[0]
}

/**
 * The phase to show. A kubelet tells `Succeeded` only after it has cleaned up, a second or two later; a container that
 * ended with 0 is never restarted under OnFailure, so the import is done as soon as the worker has ended so, whatever
 * becomes of containers beside it. Of a pod that was killed meanwhile only last words are proof of that.
 */
function phaseOf({
  pod,
  worker,
  words,
}: {
  pod: Pod
  worker: ContainerStatus | undefined
  words: TerminationMessage | undefined
}): string {
  const phase = pod.status?.phase ?? 'Pending'
  const ended = worker?.state?.terminated?.exitCode === 0
  return ended && (phase !== 'Failed' || words?.message) ? 'Succeeded' : phase
}

/** The last end of a container: the present one, or while the kubelet waits to restart it, the one before. */
function terminationOf(container: ContainerStatus | undefined): Terminated | undefined {
  if (container?.state?.terminated) return container.state.terminated
  if (container?.state?.waiting?.reason === 'CrashLoopBackOff') return container.lastState?.terminated
  return undefined
}

function runningState({
  pod: { status },
  worker,
  ended,
  words,
  phase,
}: {
  pod: Pod
  worker: ContainerStatus | undefined
  ended: Terminated | undefined
  words: TerminationMessage | undefined
  phase: string
}): Record<string, string> | undefined {
  const containers = status?.containerStatuses ?? []
  if (phase !== 'Failed' && containers.length > 0 && containers.every((container) => container.state?.running)) {
    return running('true', '', reasons.podIsRunning)
  }
  const all = [...containers, ...(status?.initContainerStatuses ?? [])]
  const unpulled = all.find((container) => imagePullReasons.has(container.state?.waiting?.reason ?? ''))
  if (unpulled && ended?.exitCode !== 0) {
    return running('false', messages.imagePullFailed(unpulled.image), reasons.imagePullFailed)
  }
  if (ended) {
    const text = (words ? (words.message ?? '') : (ended.message ?? '')).trim()
    const failed = ended.exitCode !== 0
    const reason =
      failed && text.includes('failed to pull image')
        ? reasons.imagePullFailed
        : (ended.reason ?? (failed ? reasons.error : reasons.completed))
    return running('false', failed ? simplifyFailure(text) : text, reason)
  }
  const trouble = all
    .filter((container) => container !== worker)
    .map(troubleOf)
    .find(Boolean)
  if (trouble) return running('false', trouble.message, trouble.reason)
  const waiting = worker?.state?.waiting
  if (waiting && waiting.reason !== 'CrashLoopBackOff') {
    return running('false', waiting.message ?? '', waiting.reason ?? '')
  }
  if (phase === 'Failed') return running('false', status?.message ?? '', status?.reason ?? reasons.error)
  return undefined
}

/** Reasons of containers that wait for their turn. */
const patientReasons = new Set(['ContainerCreating', 'PodInitializing', 'CrashLoopBackOff'])

/** Why a container beside the worker does not run, without which the worker would wait in vain. */
function troubleOf(container: ContainerStatus): { message: string; reason: string } | undefined {
  const waiting = container.state?.waiting
  if (waiting && !patientReasons.has(waiting.reason ?? '')) {
    return { message: waiting.message ?? '', reason: waiting.reason ?? '' }
  }
  const end = terminationOf(container)
  if (!end || end.exitCode === 0) return undefined
  return { message: (end.message ?? '').trim(), reason: end.reason ?? reasons.error }
}

/** The JSON of a termination message; undefined if it is plain text or empty. */
function parseTermination(text: string | undefined): TerminationMessage | undefined {
  if (!text?.trimStart().startsWith('{')) return undefined
  try {
    const parsed: unknown = JSON.parse(text)
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined
  } catch {
    return undefined
  }
}
