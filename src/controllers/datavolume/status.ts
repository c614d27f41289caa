/**
 * The status of a DataVolume from what was seen, and the events that go with the change (contract/datavolume.md §2–§5).
 * Pure. The caller writes it with the resourceVersion it was computed from, so that the events belong to exactly one write.
 */
import { annotations, phases, progressTexts, reasons } from '../../api/names.ts'
import type { Phase } from '../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { findCondition, sameFacts, setCondition } from '../../kube/conditions.ts'
import type { Condition, ConditionFacts } from '../../kube/conditions.ts'
import { annotationOf } from '../shared/annotated.ts'
import { claimPhase } from '../shared/claim.ts'
import { toldKey } from '../shared/claim-events.ts'
import { normal, warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { boundCondition, readyCondition, runningCondition } from './conditions.ts'
import type { Override } from './conditions.ts'
import { phaseOf } from './phase.ts'
import type { PhaseInput } from './phase.ts'
import { sourceKindOf } from './source-kinds.ts'
import type { PhaseOutcome } from './sources/source-kind.ts'
import { needsWork, usesPopulator } from './work.ts'

export type DataVolumeStatus = NonNullable<DataVolume['status']>

export interface StatusInput extends PhaseInput {
  /** Why T could not be made. `phase` is forced with it. */
  readonly failure?: (Override & { readonly phase: Phase }) | undefined
  /** Progress that a worker in the direct mode reported, 0–100. */
  readonly progressPercent?: number | undefined
  /** Keys (`toldKey`) of what this process told on the DataVolume before. */
  readonly alreadyTold: ReadonlySet<string>
  /** RFC 3339, whole seconds. */
  readonly now: string
}

export interface StatusOutcome {
  /** The whole status as it should be; undefined if it is so already. */
  readonly status: DataVolumeStatus | undefined
  readonly events: readonly Told[]
}

export function statusOf(input: StatusInput): StatusOutcome {
  const { dataVolume, target, failure, now } = input
  const before = dataVolume.status ?? {}
  const outcome: PhaseOutcome = failure ? { phase: failure.phase } : phaseOf(input)
  const { phase } = outcome

  const running = runningCondition(target)
  const bound = boundCondition(target, failure)
  const ready = readyCondition({ phase, running, override: target ? undefined : failure })
  let conditions = (before.conditions ?? []) as readonly Condition[]
  for (const facts of [bound, ready, running]) conditions = setCondition(conditions, facts, now)

  const restarts = restartCountOf(target, before.restartCount)
  const status: DataVolumeStatus = {
    ...(phase === phases.unset ? {} : { phase }),
    ...(target ? { claimName: target.metadata.name, progress: progressOf(input, phase) } : kept(before)),
    ...(restarts > 0 ? { restartCount: restarts } : {}),
    conditions: [...conditions],
  }

  const events: Told[] = []
  const beforePhase = (before.phase ?? phases.unset) as Phase
  const isNews = !sameStatus(before, status)
  if (phase !== beforePhase) events.push(...unseen(outcome.passed, beforePhase))
  if (outcome.event && (phase !== beforePhase || (outcome.isToldAnyway && isNews))) events.push(outcome.event)
  if (failure) events.push(...failureEvents(failure, before, phase !== beforePhase))
  events.push(...conditionEvents({ input, phase, bound, running, ready }))

  return { status: isNews ? status : undefined, events }
}

/** The events of phases that were gone through since the one that was shown last. */
function unseen(passed: PhaseOutcome['passed'] = [], before: Phase): Told[] {
  const shown = passed.findIndex(({ phase }) => phase === before)
  return passed.slice(shown + 1).flatMap(({ event }) => event ?? [])
}

/** Merge patch that turns one status into another: members that went away are removed by `null`. */
export function statusPatch(before: DataVolumeStatus | undefined, after: DataVolumeStatus): Record<string, unknown> {
  const removed = Object.keys(before ?? {}).filter((key) => !(key in after))
  return { ...after, ...Object.fromEntries(removed.map((key) => [key, null])) }
}

/** Without a claim its name, progress and restarts stay as they were told last. */
function kept(before: DataVolumeStatus): DataVolumeStatus {
  return {
    ...(before.claimName === undefined ? {} : { claimName: before.claimName }),
    ...(before.progress === undefined ? {} : { progress: before.progress }),
  }
}

function progressOf(input: StatusInput, phase: Phase): string {
  const { dataVolume, target, progressPercent } = input
  const kind = sourceKindOf(dataVolume, input.clone)
  if (!target || !kind?.workerOf) return progressTexts.none
  const wasFilled =
    annotationOf(target, annotations.createdForDataVolume) === dataVolume.metadata.uid && kind.isDone(target)
  if (!needsWork({ ...input, target }) && !wasFilled) return progressTexts.none
  if (phase === phases.succeeded) return progressTexts.done
  if (usesPopulator(target)) return annotationOf(target, annotations.populatorProgress) ?? progressTexts.none
  if (progressPercent !== undefined) return `${progressPercent.toFixed(2)}%`
  // Without a worker on this T, what stands there is of an earlier one.
  const hasWorker = annotationOf(target, annotations.podPhase) !== undefined
  return (hasWorker ? dataVolume.status?.progress : undefined) ?? progressTexts.none
}

function restartCountOf(target: PersistentVolumeClaim | undefined, before: number | undefined): number {
  const text = target && annotationOf(target, annotations.podRestarts)
  const count = text === undefined ? Number.NaN : Number.parseInt(text, 10)
  return Number.isFinite(count) ? count : (before ?? 0)
}

/** What heals by itself in the usual case warns only when the phase comes of it (contract/datavolume.md §5, clone.md §3). */
const warnedOfWithPhase: ReadonlySet<string> = new Set([
  reasons.errExceededQuota,
  reasons.cloneWithoutSource,
  reasons.cloneValidationFailed,
])

/** Waiting is no failure: the Normal event of the Bound condition says enough. */
const notWarnedOf: ReadonlySet<string> = new Set([reasons.cloneScheduled, reasons.notFound])

/** A claim that was refused or cannot be rendered is a Warning as well, once for each new text. */
function failureEvents(failure: Override, before: DataVolumeStatus, phaseChanges: boolean): Told[] {
  if (notWarnedOf.has(failure.reason)) return []
  const bound = findCondition(before.conditions, 'Bound')
  const isNew = bound?.reason !== failure.reason || bound.message !== failure.message
  const tells = warnedOfWithPhase.has(failure.reason) ? phaseChanges : isNew
  return tells ? [warning(failure.reason, failure.message)] : []
}

function conditionEvents({
  input,
  phase,
  bound,
  running,
  ready,
}: {
  input: StatusInput
  phase: Phase
  bound: ConditionFacts
  running: ConditionFacts
  ready: ConditionFacts
}): Told[] {
  const { dataVolume, target, carrier, alreadyTold } = input
  const before = (dataVolume.status?.conditions ?? []) as readonly Condition[]
  const events: Told[] = []
  const boundBefore = findCondition(before, 'Bound')
  const told = normal(bound.reason ?? '', bound.message ?? '')
  // What a pending claim waits for goes back and forth; events are rationed, and those that come later matter more.
  const isRepeated = bound.reason === reasons.pending && alreadyTold.has(toldKey(told))
  if (!isRepeated && !(boundBefore && sameFacts(boundBefore, bound))) events.push(told)

  const message = running.message ?? ''
  const isNews = message !== '' && findCondition(before, 'Running')?.message !== message
  const atRest = ready.status === 'False' && running.status === 'False'
  const waiting: readonly Phase[] = [phases.pending, phases.pendingPopulation]
  const concerns = bound.status === 'True' || (target && usesPopulator(target) && !waiting.includes(phase))
  if (isNews && atRest && concerns && !isHarmless(running, carrier)) {
    events.push(warning(running.reason ?? '', message))
  }
  return events
}

/** Words of healthy runs that the old service warns of without need; they still stand in the condition. */
function isHarmless({ reason }: ConditionFacts, carrier: PersistentVolumeClaim | undefined): boolean {
  if (reason === reasons.scratchSpaceRequired || reason === reasons.completed) return true
  return reason === reasons.unschedulable && (!carrier || claimPhase(carrier) !== 'Bound')
}

function sameStatus(before: DataVolumeStatus, after: DataVolumeStatus): boolean {
  const conditionsBefore = before.conditions ?? []
  const conditionsAfter = after.conditions ?? []
  return (
    before.phase === after.phase &&
    before.claimName === after.claimName &&
    before.progress === after.progress &&
    before.restartCount === after.restartCount &&
    conditionsBefore.length === conditionsAfter.length &&
    conditionsAfter.every((condition, index) => condition === conditionsBefore[index])
  )
}
