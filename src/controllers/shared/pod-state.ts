/**
 * What the state of a worker's pod says, whatever its work is (contract/datavolume.md §10 "Carrier state from the pod",
 * contract/import.md §15). Pure. The same pod state always gives the same words, so it does not matter which states a
 * controller misses.
 */
import { annotations, messages, reasons, simplifyFailure } from '../../api/names.ts'
import type { ContainerStatus, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotationOf, isAnnotatedTrue } from './annotated.ts'
import { isTerminating } from './claim.ts'
import { warning } from './told.ts'
import type { Told } from './told.ts'

/** Last words of a worker that ended with exit code 0 (contract/import.md §15, contract/upload.md §4.5, §6.3). */
export interface TerminationMessage {
  readonly scratchSpaceRequired?: boolean
  readonly preallocationApplied?: boolean
  readonly deadlinePassed?: boolean
  readonly labels?: Record<string, string>
  readonly message?: string
}

export type Terminated = NonNullable<NonNullable<ContainerStatus['state']>['terminated']>

/** A pod as its claim sees it. */
export interface PodState {
  /** The status of the container that does the work; undefined while no node has the pod. */
  readonly worker: ContainerStatus | undefined
  /** The phase to show. */
  readonly phase: string
  /** The last end of the worker, unless it runs again. */
  readonly ended: Terminated | undefined
  /** What a worker that ended with 0 said. */
  readonly words: TerminationMessage | undefined
}

export function stateOfPod(pod: Pod): PodState {
  const worker = workerStatusOf(pod)
  const ended = terminationOf(worker)
  const words = ended?.exitCode === 0 ? parseTermination(ended.message) : undefined
  return { worker, ended, words, phase: phaseOf({ pod, worker, words }) }
}

/** The three annotations of the Running condition. */
export function running(value: 'true' | 'false', message: string, reason: string): Record<string, string> {
  return {
    [annotations.conditionRunning]: value,
    [annotations.conditionRunningMessage]: message,
    [annotations.conditionRunningReason]: reason,
  }
}

/**
 * Annotations, and the event, of a pod that the API server did not accept (contract/datavolume.md §5). `notRunning` makes
 * the annotations of the condition that the pod stands behind; the Running condition unless told.
 */
export function reportOfRefusedPod({
  podName,
  exceededQuota,
  notRunning = (message, reason) => running('false', message, reason),
}: {
  podName: string
  exceededQuota: boolean
  notRunning?: ((message: string, reason: string) => Record<string, string>) | undefined
}): {
  annotations: Record<string, string>
  event: Told
} {
  const reason = exceededQuota ? reasons.errExceededQuota : reasons.errStartingPod
  const message = messages.errorStartingPod(podName)
  return {
    annotations: { ...notRunning(message, reason), [annotations.podPhase]: 'Failed' },
    event: warning(reason, message),
  }
}

/** Whether the reason of a condition says that the API server did not accept a pod. */
export function isRefusal(reason: string | undefined): boolean {
  return reason === reasons.errExceededQuota || reason === reasons.errStartingPod
}

/** Wishes that were fulfilled stay visible as `false`. */
export function fulfilled(carrier: PersistentVolumeClaim, wishes: readonly string[]): Record<string, string> {
  return Object.fromEntries(wishes.filter((key) => isAnnotatedTrue(carrier, key)).map((key) => [key, 'false']))
}

/** The count of restarts to show: it never falls on one claim. */
export function restartsToShow(worker: ContainerStatus, carrier: PersistentVolumeClaim): string {
  return String(Math.max(worker.restartCount, restartsOf(carrier)))
}

/** The count of restarts that the claim shows. */
export function restartsOf(carrier: PersistentVolumeClaim): number {
  return Number.parseInt(annotationOf(carrier, annotations.podRestarts) ?? '0', 10) || 0
}

/** Why no node takes a pod; undefined if one did, or nobody has tried yet. */
export function unschedulableText(pod: Pod): string | undefined {
  if (pod.status?.phase !== 'Pending') return undefined
  const refusal = (pod.status.conditions ?? []).find(
    (condition) =>
      condition.type === 'PodScheduled' && condition.status === 'False' && condition.reason === 'Unschedulable',
  )
  return refusal && (refusal.message ?? '')
}

/** When a dead pod ended, as well as its status tells; `now` if it does not. Milliseconds since the epoch. */
export function endedAt(pod: Pod, now: number): number {
  const times = [
    ...(pod.status?.containerStatuses ?? []).map((container) => container.state?.terminated?.finishedAt),
    ...(pod.status?.conditions ?? []).map((condition) => condition.lastTransitionTime),
    pod.status?.startTime,
  ].flatMap((text) => (text ? [Date.parse(text)] : []))
  const latest = Math.max(...times.filter((time) => Number.isFinite(time)))
  return Number.isFinite(latest) ? Math.min(latest, now) : now
}

/** How long a pod that died of itself (evicted, node shut down) keeps its place before another is tried. */
export const diedPodDelayMs = 10_000

/** The container that does the work, the first of the pod; a kubelet tells them in the order of their names. */
function workerStatusOf({ spec, status }: Pod): ContainerStatus | undefined {
  const name = spec?.containers[0]?.name
  return status?.containerStatuses?.find((container) => container.name === name) ?? status?.containerStatuses?.[0]
}

/**
 * The phase to show. A kubelet tells `Succeeded` only after it has cleaned up, a second or two later; a container that
 * ended with 0 is never restarted under OnFailure, so the work is done as soon as the worker has ended so, whatever
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
  const wasKilled = phase === 'Failed' || isTerminating(pod)
  return ended && (!wasKilled || words?.message) ? 'Succeeded' : phase
}

/** The last end of a container: the present one, or while the kubelet waits to restart it, the one before. */
function terminationOf(container: ContainerStatus | undefined): Terminated | undefined {
  if (container?.state?.terminated) return container.state.terminated
  if (container?.state?.waiting?.reason === 'CrashLoopBackOff') return container.lastState?.terminated
  return undefined
}

const imagePullReasons = new Set(['ImagePullBackOff', 'ErrImagePull', 'InvalidImageName'])

/** The Running annotations that the state of a pod asks for; undefined if it says nothing (yet). */
export function runningState(
  { status }: Pod,
  { worker, ended, words, phase }: PodState,
): Record<string, string> | undefined {
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
