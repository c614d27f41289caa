/**
 * What the import controller does next about one claim. Pure: everything that was seen in, one step out. A step that
 * changes the claim is written first, its events follow, then the pod is made or deleted; whoever comes after a
 * controller that was killed in between sees the same state and takes the same step.
 */
import { annotations, finalizers, importerPodName, messages, reasons } from '../../api/names.ts'
import type { CDIConfig, PersistentVolumeClaim, Pod, StorageClass } from '../../api/kinds.ts'
import { annotationOf, changesOf, isAnnotatedTrue, isEmpty, patched } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { boundAnnotations, boundOf } from '../shared/bound-annotations.ts'
import { bindsUnaided, claimPhase, isTerminating, missingCarrierLabel, wantsImmediateBinding } from '../shared/claim.ts'
import { importOrderOf } from '../shared/import-source.ts'
import { diedPodDelayMs, endedAt } from '../shared/pod-state.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { workerVolumeNames } from '../shared/worker-pod.ts'
import { isWorkerOf } from '../shared/worker.ts'
import { trustedProxyCa } from './pod.ts'
import { addableLabels, reportOfPod } from './pod-report.ts'
import type { PodReport } from './pod-report.ts'

export interface ImportObservation {
  readonly carrier: PersistentVolumeClaim
  /** The pod that bears the carrier's worker name, whoever made it. */
  readonly pod: Pod | undefined
  /** Unfinished pods other than the worker that mount the carrier. */
  readonly otherUsers: readonly Pod[]
  readonly scratch: PersistentVolumeClaim | undefined
  readonly config: CDIConfig | undefined
  readonly honorWaitForFirstConsumer: boolean
  /** The class that the carrier names. */
  readonly storageClass: StorageClass | undefined
  /** Text of the carrier's newest event, for its Bound condition while it is pending. */
  readonly newestEvent: string | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface ImportPlan {
  /** Why, in a few constant words for the log. */
  readonly because: string
  readonly annotations: MapPatch
  readonly labels: Readonly<Record<string, string>>
  /** All finalizers that the claim shall have; undefined leaves them as they are. */
  readonly finalizers: readonly string[] | undefined
  /** Sent once the claim has been written; without a change to write they are sent at once. */
  readonly events: readonly Told[]
  /** Stands for as long as things are so: told when it is seen first, not at each look. */
  readonly state: Told | undefined
  readonly pod: 'keep' | 'delete' | { readonly create: string; readonly withScratch: boolean }
  readonly makeScratch: boolean
  /** Name in the CDI namespace of the ConfigMap that is to be copied beside the pod. */
  readonly copyProxyCa: string | undefined
  readonly requeueAfterMs: number | undefined
}

const nothing: Omit<ImportPlan, 'because'> = {
  annotations: {},
  labels: {},
  finalizers: undefined,
  events: [],
  state: undefined,
  pod: 'keep',
  makeScratch: false,
  copyProxyCa: undefined,
  requeueAfterMs: undefined,
}

/** The name of the claim's worker: the stored one wins over the computed one. */
export function workerNameOf(carrier: PersistentVolumeClaim): string {
  return annotationOf(carrier, annotations.importPodName) || importerPodName(carrier.metadata.name)
}

export function planImport(seen: ImportObservation): ImportPlan {
  const { carrier, pod } = seen
  const own = pod && isWorkerOf(pod, carrier) ? pod : undefined
  if (isTerminating(carrier)) {
    const because = 'the claim is going away'
    if (!own) return { ...nothing, because, finalizers: released(carrier) }
    // A running worker would hold the claim's protection finalizer, and the claim would never go.
    return { ...nothing, because, pod: isTerminating(own) ? 'keep' : 'delete' }
  }
  if (pod && !own) {
    return wrapUp(seen, { ...nothing, because: 'a pod of that name belongs to something else' })
  }
  if (annotationOf(carrier, annotations.podPhase) === 'Succeeded') return wrapUp(seen, planDone(seen))
  if (isAnnotatedTrue(carrier, annotations.fatalError)) return wrapUp(seen, planFailed(seen))
  return wrapUp(seen, pod ? planWithPod(seen, pod) : planWithoutPod(seen))
}

function planDone({ carrier, pod }: ImportObservation): ImportPlan {
  const because = 'the import is done'
  if (!pod) return { ...nothing, because, finalizers: released(carrier) }
  const stays = isTerminating(pod) || isAnnotatedTrue(carrier, annotations.podRetainAfterCompletion)
  return { ...nothing, because, pod: stays ? 'keep' : 'delete' }
}

function planFailed({ carrier, pod }: ImportObservation): ImportPlan {
  const because = 'the failure is final'
  if (!pod) return { ...nothing, because, finalizers: released(carrier) }
  return { ...nothing, because, pod: isTerminating(pod) ? 'keep' : 'delete' }
}

function planWithoutPod(seen: ImportObservation): ImportPlan {
  const { carrier, otherUsers, scratch } = seen
  const phase = claimPhase(carrier)
  if (phase === 'Lost' || phase === 'Other') return { ...nothing, because: 'the claim is lost' }
  const waitsForConsumer = seen.honorWaitForFirstConsumer && !wantsImmediateBinding(carrier)
  if (phase === 'Pending' && (waitsForConsumer || bindsUnaided(seen.storageClass))) {
    return { ...nothing, because: 'the claim is not bound yet' }
  }
  const [user] = otherUsers
  if (user) {
    const name = { namespace: user.metadata.namespace ?? '', name: user.metadata.name }
    return {
      ...nothing,
      because: 'another pod uses the claim',
      state: warning(reasons.importTargetInUse, messages.targetInUse(name, carrier.metadata.name)),
    }
  }
  const withScratch = isAnnotatedTrue(carrier, annotations.requiresScratch)
  if (withScratch && scratch) return { ...nothing, because: 'the former scratch claim has not gone yet' }
  const name = workerNameOf(carrier)
  return {
    ...nothing,
    because: 'the claim needs a worker',
    annotations: changesOf(carrier.metadata.annotations, { [annotations.importPodName]: name }),
    labels: missingCarrierLabel(carrier),
    finalizers: held(carrier),
    pod: { create: name, withScratch },
  }
}

function planWithPod(seen: ImportObservation, pod: Pod): ImportPlan {
  const { carrier, scratch, config } = seen
  const report = reportOfPod({ pod, carrier })
  // What is finished stays finished, whoever deletes the pod then.
  if (isTerminating(pod) && report.verdict !== 'succeeded') {
    return { ...nothing, because: 'the former pod has not gone yet' }
  }
  const plan: ImportPlan = {
    ...nothing,
    because: reasonsOf[report.verdict],
    annotations: changesOf(carrier.metadata.annotations, report.annotations),
    labels: { ...addableLabels(carrier.metadata.labels, report.labels), ...missingCarrierLabel(carrier) },
    copyProxyCa: trustedProxyCa(carrier, config),
  }
  const events = isEmpty(plan.annotations) ? [] : report.events
  switch (report.verdict) {
    case 'keep': {
      const hasScratch = (pod.spec?.volumes ?? []).some((volume) => volume.name === workerVolumeNames.scratch)
      return { ...plan, events, makeScratch: hasScratch && !scratch }
    }
    case 'succeeded':
      return {
        ...plan,
        events,
        copyProxyCa: undefined,
        pod: isAnnotatedTrue(carrier, annotations.podRetainAfterCompletion) ? 'keep' : 'delete',
      }
    case 'needsScratch':
    case 'needsDirectIo':
    case 'fatal':
      return { ...plan, events, copyProxyCa: undefined, pod: 'delete' }
    case 'died': {
      const waitMs = endedAt(pod, seen.now) + diedPodDelayMs - seen.now
      return waitMs > 0
        ? { ...plan, events, copyProxyCa: undefined, requeueAfterMs: waitMs }
        : { ...plan, events, copyProxyCa: undefined, pod: 'delete' }
    }
    default:
      return report.verdict satisfies never
  }
}

const reasonsOf: Readonly<Record<PodReport['verdict'], string>> = {
  keep: 'the worker is at work',
  succeeded: 'the worker has succeeded',
  needsScratch: 'the worker needs a scratch volume',
  needsDirectIo: 'the worker ran out of memory, direct I/O is next',
  fatal: 'the failure is final',
  died: 'the pod died, another one is next',
}

/** With the finalizer of a claim whose worker has no owner and is not to outlive it; undefined if nothing is to be changed. */
function held(carrier: PersistentVolumeClaim): string[] | undefined {
  const { finalizers: present = [] } = carrier.metadata
  const outlives = isAnnotatedTrue(carrier, annotations.podRetainAfterCompletion)
  if (!importOrderOf(carrier).isImageStream || outlives || present.includes(finalizers.importImageStream))
    return undefined
  return [...present, finalizers.importImageStream]
}

/** Without it, now that the worker has gone; undefined if nothing is to be changed. */
function released(carrier: PersistentVolumeClaim): string[] | undefined {
  const { finalizers: present = [] } = carrier.metadata
  if (!present.includes(finalizers.importImageStream)) return undefined
  return present.filter((finalizer) => finalizer !== finalizers.importImageStream)
}

/** Adds the Bound annotations of the carrier (contract/datavolume.md §3) to whatever else is to be done. */
function wrapUp(seen: ImportObservation, plan: ImportPlan): ImportPlan {
  const wanted = plan.makeScratch
    ? boundAnnotations(reasons.creatingScratchSpace, messages.creatingScratchSpace)
    : boundOf(seen.carrier, seen.newestEvent)
  const merged = patched(seen.carrier.metadata.annotations, plan.annotations)
  return { ...plan, annotations: { ...plan.annotations, ...changesOf(merged, wanted) } }
}
