/**
 * What the clone populator does next about one claim T (contract/clone.md §6): one action at most, and what T has to say.
 * Pure; nothing is remembered but what stands on T and what is there of its temporary objects.
 */
import { annotations, clonePhases, cloneStrategies, finalizers, messages, reasons } from '../../api/names.ts'
import type { ClonePhase } from '../../api/names.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import { annotationOf, changesOf, hasAnnotation, isAnnotatedTrue, isEmpty } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { boundOf } from '../shared/bound-annotations.ts'
import {
  claimPhase,
  isTerminating,
  isWaitForFirstConsumer,
  selectedNode,
  wantsImmediateBinding,
} from '../shared/claim.ts'
import { newestText, retold, untold } from '../shared/claim-events.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { chooseStrategy, fallbackEvent } from './choice.ts'
import type { Choice } from './choice.ts'
import { isCloned, marksOf, missingLabels } from './marks.ts'
import type { CloneObservation } from './observation.ts'
import { nextStep } from './steps/sequence.ts'
import { withoutSourceDelayMs } from './steps/step.ts'
import type { Action } from './steps/step.ts'

export interface ClonePlan {
  /** Why, in a few constant words for the log. */
  readonly because: string
  /** Done before T is written. `cleanUp` deletes whatever is temporary. */
  readonly action: Action | { readonly do: 'cleanUp' } | undefined
  readonly annotations: MapPatch
  readonly labels: Readonly<Record<string, string>>
  /** All of T's, if they are to change. */
  readonly finalizers: readonly string[] | undefined
  /** Told on T after it was written. */
  readonly events: readonly Told[]
  /** Told on the temporary claim. */
  readonly temporaryEvents: readonly Told[]
  /** What stops it; thrown after everything else was done, so that it is tried again. */
  readonly error: string | undefined
  readonly requeueAfterMs: number | undefined
}

const nothing: Omit<ClonePlan, 'because'> = {
  action: undefined,
  annotations: {},
  labels: {},
  finalizers: undefined,
  events: [],
  temporaryEvents: [],
  error: undefined,
  requeueAfterMs: undefined,
}

export function planClone(seen: CloneObservation): ClonePlan {
  const { target } = seen
  if (isTerminating(target)) {
    return hasFinalizer(seen)
      ? {
          ...nothing,
          because: 'the claim is going away',
          action: { do: 'cleanUp' },
          finalizers: withoutFinalizer(seen),
        }
      : { ...nothing, because: 'the claim is going away' }
  }
  const phase = claimPhase(target)
  switch (phase) {
    case 'Bound':
      return planBound(seen)
    case 'Lost':
    case 'Other':
      return { ...nothing, because: 'the claim is lost' }
    case 'Pending':
      // One that was made of a finished one's manifest, by a backup for instance, gets its volume otherwise.
      return isCloned(target) && !hasFinalizer(seen)
        ? { ...nothing, because: 'the claim has been cloned' }
        : planPending(seen)
    default:
      return phase satisfies never
  }
}

/** The volume is T's. It is said first; then what was temporary goes, and the finalizer last. */
function planBound(seen: CloneObservation): ClonePlan {
  const { target, temporary } = seen
  if (!hasFinalizer(seen)) {
    return { ...nothing, because: 'the claim is bound', annotations: changes(seen, boundOf(target, undefined)) }
  }
  if (!isCloned(target)) {
    return { ...nothing, because: 'the claim is bound', ...told(seen, { phase: clonePhases.succeeded }) }
  }
  const said = { annotations: changes(seen, boundOf(target, undefined)) }
  if (!isRetained(seen)) {
    const end = { action: { do: 'cleanUp' } as const, finalizers: withoutFinalizer(seen) }
    return { ...nothing, ...said, ...end, because: 'the temporary objects are not needed any more' }
  }
  if (temporary.claim && claimPhase(temporary.claim) === 'Bound') {
    return { ...nothing, ...said, because: 'the temporary claim has not lost its volume yet' }
  }
  const retention = [warning(reasons.retainedPvcPrime, messages.retainedPvcPrime)]
  return {
    ...nothing,
    ...said,
    because: 'the temporary objects are retained',
    finalizers: withoutFinalizer(seen),
    events: unsaid(seen, retention),
    temporaryEvents: temporary.claim ? retention : [],
  }
}

function planPending(seen: CloneObservation): ClonePlan {
  const { target, storageClass, origin } = seen
  const pvc = formatKey(keyOf(target))
  if (namesForeignSource(seen) || seen.isAllowed === false) return stopped(seen, messages.crossNamespaceRefused)
  if (!seen.cloneSource) return waiting(seen, 'there is no VolumeCloneSource yet')
  if (!origin) return stopped(seen, messages.unknownCloneStrategy(seen.cloneSource.spec.source.kind))
  const className = target.spec?.storageClassName
  if (className === undefined) return waiting(seen, 'the claim has no storage class yet')
  if (className === '') return stopped(seen, messages.emptyStorageClassName(pvc))
  if (!storageClass) return stopped(seen, messages.storageClassNotFound(className))
  const { provisioner } = storageClass
  if (provisioner.startsWith('kubernetes.io/') && !hasAnnotation(target, annotations.migratedTo)) {
    return stopped(seen, messages.inTreeStorageClass(pvc, provisioner))
  }
  if (waitsForConsumer(seen)) {
    // What stood in the way stands there no longer.
    if (hasAnnotation(target, annotations.cloneError)) return waiting(seen, 'no consumer has been scheduled yet')
    const annotated = changes(seen, boundOf(target, newestText(seen.targetEvents)))
    return { ...nothing, because: 'no consumer has been scheduled yet', annotations: annotated }
  }
  const choice = chooseStrategy(seen, origin)
  if (choice.kind === 'error') return stopped(seen, choice.message, choice.events)
  if (choice.kind === 'waiting') {
    return { ...waiting(seen, 'there is no source', choice.events), requeueAfterMs: withoutSourceDelayMs }
  }
  if (!isBegun(seen)) return begin(seen, choice)
  const step = nextStep(seen, choice.strategy, origin)
  const events = [fallbackEvent(target) ?? [], step.events ?? []].flat()
  if (step.error) return stopped(seen, step.error, events)
  return {
    ...nothing,
    because: step.because,
    action: step.action,
    ...told(seen, { phase: step.phase, events }),
    requeueAfterMs: step.requeueAfterMs,
  }
}

/** Everything that a clone is known by stands on T before anything is made for it. */
function isBegun(seen: CloneObservation): boolean {
  return hasFinalizer(seen) && isEmpty(missingLabels(seen.target)) && hasAnnotation(seen.target, annotations.cloneType)
}

function begin(seen: CloneObservation, choice: Extract<Choice, { kind: 'strategy' }>): ClonePlan {
  const { target } = seen
  const { strategy, fallback, events } = choice
  const present = target.metadata.finalizers ?? []
  const state = told(seen, {
    phase: clonePhases.pending,
    events,
    more: { [annotations.cloneType]: strategy, [annotations.cloneFallbackReason]: fallback },
  })
  return {
    ...nothing,
    because: 'the strategy is chosen',
    ...state,
    labels: missingLabels(target),
    finalizers: hasFinalizer(seen) ? undefined : [...present, finalizers.clonePopulator],
  }
}

function waiting(seen: CloneObservation, because: string, events: readonly Told[] = []): ClonePlan {
  return { ...nothing, because, ...told(seen, { phase: clonePhases.pending, events }) }
}

/** What a step met that it cannot pass, as T tells it; `reason` is that of its Running condition. */
export function stopped(
  seen: CloneObservation,
  error: string,
  events: readonly Told[] = [],
  reason?: string,
): ClonePlan {
  const said = told(seen, { phase: clonePhases.error, error, reason, events })
  return { ...nothing, because: 'it cannot go on', ...said, error }
}

/** What T says in a phase, and the events that go with it, those of the temporary claims among them. */
function told(
  seen: CloneObservation,
  {
    phase,
    error,
    reason,
    events = [],
    more = {},
  }: {
    phase: ClonePhase
    error?: string
    reason?: string | undefined
    events?: readonly Told[]
    more?: Readonly<Record<string, string | undefined>>
  },
): Pick<ClonePlan, 'annotations' | 'events'> {
  const { target, temporary, targetEvents, temporaryEvents, alreadyTold, progressPercent } = seen
  const passedOn = temporaryEvents.flatMap(({ claim, events: primeEvents }) =>
    retold({ primeName: claim, primeEvents, targetEvents, alreadyTold }),
  )
  return {
    annotations: changes(seen, {
      ...more,
      ...marksOf(target, { phase, error, reason, claim: temporary.claim, progressPercent }),
      ...boundOf(target, newestText(targetEvents)),
    }),
    events: [...unsaid(seen, events), ...passedOn],
  }
}

function changes({ target }: CloneObservation, wanted: Parameters<typeof changesOf>[1]): MapPatch {
  return changesOf(target.metadata.annotations, wanted)
}

/** Each is told once, however often the same is decided. */
function unsaid(seen: CloneObservation, events: readonly Told[]): Told[] {
  return events.flatMap((event) => untold(event, seen))
}

/** A consumer decides where the volume is to be; what was begun is finished. */
function waitsForConsumer({ target, storageClass, temporary }: CloneObservation): boolean {
  return (
    isWaitForFirstConsumer(storageClass) &&
    !temporary.claim &&
    !temporary.snapshot &&
    !temporary.sourceClaim &&
    !selectedNode(target) &&
    !wantsImmediateBinding(target)
  )
}

/** References across namespaces would need grants, which are not served; an annotation with a token takes their place. */
function namesForeignSource({ target }: CloneObservation): boolean {
  const namespace = target.spec?.dataSourceRef?.namespace
  return namespace !== undefined && namespace !== ''
}

function isRetained({ target }: CloneObservation): boolean {
  return (
    annotationOf(target, annotations.cloneType) === cloneStrategies.copy &&
    isAnnotatedTrue(target, annotations.podRetainAfterCompletion)
  )
}

function hasFinalizer({ target }: CloneObservation): boolean {
  return target.metadata.finalizers?.includes(finalizers.clonePopulator) ?? false
}

function withoutFinalizer({ target }: CloneObservation): string[] {
  return (target.metadata.finalizers ?? []).filter((finalizer) => finalizer !== finalizers.clonePopulator)
}
