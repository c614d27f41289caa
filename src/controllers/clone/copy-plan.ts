/**
 * What the copy controller does next about one receiving claim. Pure: everything that was seen in, one step out. A step that
 * changes the claim is written first, its events follow, then the source pod is made or deleted; whoever comes after a
 * controller that was killed in between sees the same state and takes the same step.
 */
import { annotations, finalizers, messages, reasons, sourcePodName } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotationOf, changesOf, hasAnnotation, isAnnotatedTrue, isEmpty } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { claimPhase, isTerminating } from '../shared/claim.ts'
import { diedPodDelayMs, endedAt, runningState, stateOfPod, unschedulableText } from '../shared/pod-state.ts'
import type { Terminated } from '../shared/pod-state.ts'
import { normal, warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { cloneSourceOf, isCloneTarget, isCopied } from '../shared/upload-target.ts'
import { faultOfCopy } from './copy-fault.ts'
import type { CopyEnd } from './copy-fault.ts'

/** How soon a source that is missing, in use or not filled yet is looked at again (contract/clone.md §7.1). */
export const sourceDelayMs = 2_000
/** How long a source pod may run on when its receiver is filled; it knows of it after a moment, or will never. */
export const stragglerMs = 60_000
/** When a source pod has sent all, its receiver is filled after a moment; after this time nobody remembers what came. */
export const forgottenMs = 60_000

export interface CopySource extends CopyEnd {
  readonly isPopulated: boolean
  /** Unfinished pods that may write to it. */
  readonly writers: readonly Pod[]
  /** Why it must not be read for this receiver; undefined if it may. */
  readonly refusal: string | undefined
}

export interface CopyObservation {
  /** The claim that is copied to. */
  readonly receiver: PersistentVolumeClaim
  /** Share that file systems of the receiver's class take, as a decimal text. */
  readonly overhead: string
  /** The receiver's source pod, wherever it is. */
  readonly pod: Pod | undefined
  /** Undefined while there is no such claim, or it is going away. */
  readonly source: CopySource | undefined
  /** What the source pod was given at its birth may be refused by now. */
  readonly mayHaveOldCertificates: boolean
  /** For how long the receiver has been known to be filled, milliseconds. */
  readonly filledForMs: number
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface CopyPlan {
  /** Why, in a few constant words for the log. */
  readonly because: string
  readonly annotations: MapPatch
  /** The receiver's finalizers as a whole, if they change. */
  readonly finalizers: readonly string[] | undefined
  /** Belongs to the write; told on the receiver once it was done. */
  readonly event: Told | undefined
  /** A state that goes on: told on the receiver when it is seen first. */
  readonly state: Told | undefined
  /** As `state`, but on whoever asked for the copy. */
  readonly sourceState: Told | undefined
  readonly pod: 'keep' | 'delete' | 'create'
  /** The pod is to have its Secret. */
  readonly needsSecret: boolean
  readonly requeueAfterMs: number | undefined
}

const nothing: Omit<CopyPlan, 'because'> = {
  annotations: {},
  finalizers: undefined,
  event: undefined,
  state: undefined,
  sourceState: undefined,
  pod: 'keep',
  needsSecret: false,
  requeueAfterMs: undefined,
}

/** Whether the receiver is one that nothing is to be done about any more; the log says so in fixed words. */
export function isSettled(receiver: PersistentVolumeClaim): boolean {
  return isCloneTarget(receiver) && isCopied(receiver) && !isHeld(receiver)
}

/** Whether the receiver may not go before its source pod. */
export function isHeld({ metadata }: PersistentVolumeClaim): boolean {
  return metadata.finalizers?.includes(finalizers.cloneSource) ?? false
}

/**
 * Whether a source pod could be made as soon as the source lies still; only then does it matter what the source is, and
 * whether it may be read.
 */
export function wantsSource({ receiver, pod }: Pick<CopyObservation, 'receiver' | 'pod'>): boolean {
  return (
    !pod &&
    isCloneTarget(receiver) &&
    !isTerminating(receiver) &&
    !isCopied(receiver) &&
    !isFilled(receiver) &&
    hasServer(receiver)
  )
}

/**
 * Whether there is, or will be in a moment, a server to send to. One that runs is where it stays and is ready as a rule before
 * the source pod has started, which tries until it is.
 */
function hasServer(receiver: PersistentVolumeClaim): boolean {
  return (
    isAnnotatedTrue(receiver, annotations.podReady) ||
    (claimPhase(receiver) === 'Bound' && annotationOf(receiver, annotations.podPhase) === 'Running')
  )
}

/** Whether the upload server has everything and has ended. */
export function isFilled(receiver: PersistentVolumeClaim): boolean {
  return annotationOf(receiver, annotations.podPhase) === 'Succeeded'
}

export function planCopy(seen: CopyObservation): CopyPlan {
  const { receiver, pod } = seen
  if (!isCloneTarget(receiver)) return removal(seen, { because: 'no copy is wanted' })
  if (isTerminating(receiver)) {
    const ending = isFilled(receiver) && !isCopied(receiver) ? completion(seen) : {}
    return { ...removal(seen, { because: 'the claim is going away' }), ...ending }
  }
  const retains = isAnnotatedTrue(receiver, annotations.podRetainAfterCompletion)
  if (isCopied(receiver)) return removal(seen, { because: 'the copy is complete', retains })
  if (isFilled(receiver)) {
    if (isAtWork(pod) && seen.filledForMs < stragglerMs) {
      const requeueAfterMs = stragglerMs - seen.filledForMs
      return { ...nothing, because: 'the source pod has not ended yet', requeueAfterMs }
    }
    const { pod: fate } = removal(seen, { because: '', retains })
    return { ...nothing, because: 'the copy is complete', ...completion(seen), pod: fate }
  }
  if (pod) return planWithPod(seen, pod)
  return wantsSource(seen) ? planWithoutPod(seen) : { ...nothing, because: 'the upload server does not run yet' }
}

/** The source pod goes, and then what holds the receiver. A retained pod holds nothing. */
function removal(
  { receiver, pod }: CopyObservation,
  { because, retains = false }: { because: string; retains?: boolean },
): CopyPlan {
  if (pod && !isTerminating(pod) && !retains) return { ...nothing, because, pod: 'delete' }
  if (!isHeld(receiver)) return { ...nothing, because }
  const kept = (receiver.metadata.finalizers ?? []).filter((name) => name !== finalizers.cloneSource)
  return { ...nothing, because, finalizers: kept }
}

/** Whether a source pod's container runs. */
function isAtWork(pod: Pod | undefined): boolean {
  return pod !== undefined && !isTerminating(pod) && stateOfPod(pod).worker?.state?.running !== undefined
}

/** What the receiver says when it is filled, whatever became of the source pod. */
function completion({ receiver, pod }: CopyObservation): Pick<CopyPlan, 'annotations' | 'event'> {
  const hadPod = pod !== undefined || hasAnnotation(receiver, annotations.conditionSourceRunning)
  const ended = pod && stateOfPod(pod).ended
  const text = ended?.exitCode === 0 ? textOf(ended) : messages.cloneComplete
  const wanted = {
    [annotations.cloneOf]: 'true',
    ...(hadPod ? sourceRunning('true', text, reasons.completed) : {}),
  }
  return {
    annotations: changesOf(receiver.metadata.annotations, wanted),
    event: normal(reasons.cloneSucceeded, messages.cloneComplete),
  }
}

function planWithPod(seen: CopyObservation, pod: Pod): CopyPlan {
  const { receiver, now } = seen
  const plan: CopyPlan = { ...nothing, because: 'the source pod is there', ...marksOf(receiver) }
  if (isTerminating(pod)) return { ...plan, because: 'the former source pod has not gone yet' }
  const { phase, ended } = stateOfPod(pod)
  const failure = failureOf(pod)
  const told: CopyPlan = {
    ...plan,
    annotations: { ...plan.annotations, ...changesOf(receiver.metadata.annotations, conditionOf(receiver, pod)) },
    state: failure ? warning(reasons.errCloneFailed, failure) : undefined,
  }
  const replaceAfter = (delayMs: number, because: string): CopyPlan => {
    const waitMs = endedAt(pod, now) + delayMs - now
    return waitMs > 0 ? { ...told, requeueAfterMs: waitMs } : { ...told, because, pod: 'delete' }
  }
  if (phase === 'Failed') return replaceAfter(diedPodDelayMs, 'the pod died, another one is next')
  // The upload server that it was told by is gone, and has not said on the claim that it was filled.
  if (phase === 'Succeeded') return replaceAfter(forgottenMs, 'what it sent was lost, another one is next')
  if (ended && seen.mayHaveOldCertificates) return { ...told, because: 'its certificates are old', pod: 'delete' }
  return { ...told, needsSecret: true }
}

/** Name of the source pod and the hold on the receiver, as far as they are not there yet; written before there is a pod. */
function marksOf(receiver: PersistentVolumeClaim): Pick<CopyPlan, 'annotations' | 'finalizers'> {
  const { uid, annotations: noted, finalizers: held = [] } = receiver.metadata
  return {
    annotations: changesOf(noted, { [annotations.sourceClonePodName]: sourcePodName(uid) }),
    finalizers: isHeld(receiver) ? undefined : [...held, finalizers.cloneSource],
  }
}

function planWithoutPod({ receiver, overhead, source }: CopyObservation): CopyPlan {
  const marks: CopyPlan = { ...nothing, because: 'the source lies still', ...marksOf(receiver), pod: 'create' }
  const wait = (because: string, why: Told, more: Partial<CopyPlan> = { requeueAfterMs: sourceDelayMs }): CopyPlan => {
    const condition = changesOf(
      receiver.metadata.annotations,
      sourceRunning(stuckAt(receiver, 'false'), why.message, why.reason),
    )
    return { ...marks, because, pod: 'keep', annotations: { ...marks.annotations, ...condition }, ...more }
  }
  const refuse = (text: string): CopyPlan => {
    const told = warning(reasons.cloneValidationFailed, messages.cloneValidationFailed(text))
    return wait('the source cannot be copied', warning(reasons.cloneValidationFailed, text), { state: told })
  }
  const key = cloneSourceOf(receiver)
  if (!key) return { ...marks, because: 'the order makes no sense', pod: 'keep' }
  if (!source) {
    const told = warning(reasons.cloneWithoutSource, messages.cloneWithoutSource('pvc', key.name))
    // Whoever may not look into the other namespace shall not learn what is there and what is not.
    if (key.namespace !== receiver.metadata.namespace) {
      return { ...marks, because: 'there is no source', pod: 'keep', requeueAfterMs: sourceDelayMs }
    }
    return wait('there is no source', told, { sourceState: told, requeueAfterMs: sourceDelayMs })
  }
  if (source.refusal !== undefined) return refuse(source.refusal)
  if (!source.isPopulated) {
    return wait('the source is not filled yet', warning(reasons.importPvcNotReady, messages.importPvcNotReady))
  }
  const fault = faultOfCopy(source, { claim: receiver, overhead })
  if (fault !== undefined) return refuse(fault)
  const [writer] = source.writers
  if (writer) {
    const { namespace = '', name } = writer.metadata
    const told = warning(
      reasons.cloneSourceInUse,
      messages.targetInUse({ namespace, name }, source.claim.metadata.name),
    )
    return wait('the source is in use', told, { sourceState: told, requeueAfterMs: sourceDelayMs })
  }
  return marks
}

/** The three annotations of the source pod's part in the Running condition. */
function sourceRunning(value: 'true' | 'false', message: string, reason: string): Record<string, string> {
  return {
    [annotations.conditionSourceRunning]: value,
    [annotations.conditionSourceRunningMessage]: message,
    [annotations.conditionSourceRunningReason]: reason,
  }
}

/** Once it was "true" it stays so (contract/datavolume.md §3). */
function stuckAt(receiver: PersistentVolumeClaim, value: 'true' | 'false'): 'true' | 'false' {
  return isAnnotatedTrue(receiver, annotations.conditionSourceRunning) ? 'true' : value
}

/** What the receiver says of a source pod that the API server did not accept. */
export function sourceRefused(
  receiver: PersistentVolumeClaim,
  message: string,
  reason: string,
): Record<string, string> {
  return sourceRunning(stuckAt(receiver, 'false'), message, reason)
}

/** What the receiver says of its source pod. One that runs again after a bad end tells of that end all the time. */
function conditionOf(receiver: PersistentVolumeClaim, pod: Pod): Record<string, string> {
  const state = stateOfPod(pod)
  const told = runningState(pod, state)
  if (!told) {
    const text = unschedulableText(pod)
    const reason = text === undefined ? reasons.pending : reasons.unschedulable
    return sourceRunning(stuckAt(receiver, 'false'), text ?? '', reason)
  }
  const runs = told[annotations.conditionRunning] === 'true'
  const message = runs ? (failureOf(pod) ?? '') : (told[annotations.conditionRunningMessage] ?? '')
  const value = runs || state.ended?.exitCode === 0 ? 'true' : 'false'
  return sourceRunning(stuckAt(receiver, value), message, told[annotations.conditionRunningReason] ?? '')
}

/** Last words of a source pod's container that ended badly, even if it runs again; undefined without any. */
function failureOf(pod: Pod): string | undefined {
  const { worker } = stateOfPod(pod)
  const last = worker?.state?.terminated ?? worker?.lastState?.terminated
  return last && last.exitCode !== 0 ? textOf(last) || undefined : undefined
}

function textOf({ message }: Terminated): string {
  return (message ?? '').trim()
}

/** Whether a plan asks for nothing to be written. */
export function isIdle({ annotations: changes, finalizers: held, pod }: CopyPlan): boolean {
  return isEmpty(changes) && !held && pod === 'keep'
}
