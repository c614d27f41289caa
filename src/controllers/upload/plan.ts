/**
 * What the upload controller does next about one claim. Pure: everything that was seen in, one step out. A step that
 * changes the claim is written first, its events follow, then pod, Service and Secret are made or deleted; whoever comes
 * after a controller that was killed in between sees the same state and takes the same step.
 */
import { annotations, messages, reasons, serviceName, uploadPodName } from '../../api/names.ts'
import type { PersistentVolumeClaim, Pod, Service, StorageClass } from '../../api/kinds.ts'
import { isControlledBy } from '../../kube/owners.ts'
import { annotationOf, changesOf, hasAnnotation, isAnnotatedTrue, isEmpty, patched } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { boundAnnotations, boundOf } from '../shared/bound-annotations.ts'
import { bindsUnaided, claimPhase, isTerminating, missingCarrierLabel, wantsImmediateBinding } from '../shared/claim.ts'
import { diedPodDelayMs, endedAt, restartsOf } from '../shared/pod-state.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import {
  cloneClientName,
  cloneSourceOf,
  isCloneTarget,
  isCopied,
  isServed,
  isUploadTarget,
} from '../shared/upload-target.ts'
import { workerVolumeNames } from '../shared/worker-pod.ts'
import { reportOfUploadPod, wasRefused } from './pod-report.ts'
import type { UploadReport } from './pod-report.ts'

/** How long a claim whose Service's name is taken waits: the taker's end shows itself to its own claim only. */
export const takenServiceDelayMs = 5_000

export interface UploadObservation {
  readonly carrier: PersistentVolumeClaim
  /** The pod that bears the carrier's worker name, whoever made it. */
  readonly pod: Pod | undefined
  /** The Service that bears the name of the carrier's Service, whoever made it. */
  readonly service: Service | undefined
  /** Unfinished pods other than the worker that mount the carrier. */
  readonly otherUsers: readonly Pod[]
  readonly scratch: PersistentVolumeClaim | undefined
  readonly honorWaitForFirstConsumer: boolean
  /** The class that the carrier names. */
  readonly storageClass: StorageClass | undefined
  /** Text of the carrier's newest event, for its Bound condition while it is pending. */
  readonly newestEvent: string | undefined
  /** What the server has made durable, as it said last: JSON, or null for nothing; undefined while it has not said. */
  readonly resumption: string | null | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface UploadPlan {
  /** Why, in a few constant words for the log. */
  readonly because: string
  readonly annotations: MapPatch
  readonly labels: Readonly<Record<string, string>>
  /** Sent once the claim has been written; without a change to write they are sent at once. */
  readonly events: readonly Told[]
  /** Stands for as long as things are so: told when it is seen first, not at each look. */
  readonly state: Told | undefined
  readonly pod: 'keep' | 'delete' | { readonly create: string; readonly withScratch: boolean }
  readonly service: 'keep' | 'delete' | { readonly create: string }
  /** The pod is to have its Secret. */
  readonly needsSecret: boolean
  readonly makeScratch: boolean
  /** Ask the server what it has made durable. */
  readonly follow: boolean
  /** Something that only the user can put right; thrown. */
  readonly error: string | undefined
  readonly requeueAfterMs: number | undefined
}

const nothing: Omit<UploadPlan, 'because'> = {
  annotations: {},
  labels: {},
  events: [],
  state: undefined,
  pod: 'keep',
  service: 'keep',
  needsSecret: false,
  makeScratch: false,
  follow: false,
  error: undefined,
  requeueAfterMs: undefined,
}

/** The name of the claim's server: the stored one wins over the computed one. */
export function uploadServerOf(carrier: PersistentVolumeClaim): string {
  return annotationOf(carrier, annotations.uploadPodName) || uploadPodName(carrier.metadata.name)
}

/** The name of the Service under which the claim's server is found: the proxy computes it from the name of the claim. */
export function uploadServiceOf({ metadata: { name } }: PersistentVolumeClaim): string {
  return serviceName(uploadPodName(name))
}

export function planUpload(seen: UploadObservation): UploadPlan {
  const { carrier, pod, service } = seen
  const own = pod && isControlledBy(pod, carrier) ? pod : undefined
  if (isTerminating(carrier)) return { ...planRemoval(seen, own), because: 'the claim is going away' }
  if (!isServed(carrier)) {
    return {
      ...planRemoval(seen, own),
      because: 'no upload is wanted',
      annotations: own ? notReady(carrier) : {},
    }
  }
  const error = contradictionIn(carrier)
  if (error) return { ...nothing, because: 'the order makes no sense', error }
  if (pod && !own) return wrapUp(seen, { ...nothing, because: 'a pod of that name belongs to something else' })
  if (isFilled(carrier)) return wrapUp(seen, planDone(seen, own))
  if (service && !isControlledBy(service, carrier) && !own) {
    return wrapUp(seen, {
      ...nothing,
      because: 'a Service of that name belongs to something else',
      state: warning(reasons.errStartingPod, messages.serviceInUse(placeOf(service))),
      requeueAfterMs: takenServiceDelayMs,
    })
  }
  return wrapUp(seen, own ? planWithPod(seen, own) : planWithoutPod(seen))
}

/** Why nobody can be served by a claim, in words for whoever wrote its annotations; undefined if somebody can. */
function contradictionIn(carrier: PersistentVolumeClaim): string | undefined {
  if (!isCloneTarget(carrier)) return undefined
  const { name } = carrier.metadata
  if (isUploadTarget(carrier)) return `PVC ${name} is to be uploaded to and to be cloned into`
  return cloneSourceOf(carrier)
    ? undefined
    : `PVC ${name} has ${annotations.cloneRequest} with a value that is not <namespace>/<name>`
}

function isFilled(carrier: PersistentVolumeClaim): boolean {
  return annotationOf(carrier, annotations.podPhase) === 'Succeeded' || isCopied(carrier)
}

/** Whether the claim is left alone although it is one of those that upload servers fill; the log says so in fixed words. */
export function isLeftAlone({ carrier, honorWaitForFirstConsumer }: UploadObservation): boolean {
  if (isTerminating(carrier) || isFilled(carrier)) return true
  return claimPhase(carrier) !== 'Bound' && honorWaitForFirstConsumer && !wantsImmediateBinding(carrier)
}

/** Pod and Service go, as far as they are there and the claim's own. */
function planRemoval({ carrier, service }: UploadObservation, own: Pod | undefined): Omit<UploadPlan, 'because'> {
  return {
    ...nothing,
    pod: own && !isTerminating(own) ? 'delete' : 'keep',
    service: service && isControlledBy(service, carrier) && !isTerminating(service) ? 'delete' : 'keep',
  }
}

function planDone(seen: UploadObservation, own: Pod | undefined): UploadPlan {
  const { carrier } = seen
  const removal = isAnnotatedTrue(carrier, annotations.podRetainAfterCompletion) ? nothing : planRemoval(seen, own)
  const wanted = { ...notReady(carrier), [annotations.uploadResumption]: null }
  return { ...removal, because: 'the upload is done', annotations: changesOf(carrier.metadata.annotations, wanted) }
}

function planWithoutPod(seen: UploadObservation): UploadPlan {
  const { carrier, service, otherUsers, scratch } = seen
  const wait = (because: string, state?: Told): UploadPlan => ({
    ...nothing,
    because,
    state,
    annotations: notReady(carrier),
  })
  const phase = claimPhase(carrier)
  if (phase === 'Lost' || phase === 'Other') return wait('the claim is lost')
  const waitsForConsumer = seen.honorWaitForFirstConsumer && !wantsImmediateBinding(carrier)
  if (phase === 'Pending' && (waitsForConsumer || bindsUnaided(seen.storageClass))) {
    return wait('the claim is not bound yet')
  }
  const [user] = otherUsers
  if (user) {
    const text = messages.targetInUse(placeOf(user), carrier.metadata.name)
    return wait('another pod uses the claim', warning(reasons.uploadTargetInUse, text))
  }
  // What a cloner sends is written as it is.
  const withScratch = isAnnotatedTrue(carrier, annotations.requiresScratch) && !isCloneTarget(carrier)
  if (withScratch && scratch) return wait('the former scratch claim has not gone yet')
  const name = uploadServerOf(carrier)
  return {
    ...nothing,
    because: 'the claim needs a server',
    annotations: {
      ...notReady(carrier),
      ...changesOf(carrier.metadata.annotations, {
        [annotations.uploadPodName]: name,
        ...(isCloneTarget(carrier) ? ofCloneTarget(carrier) : {}),
      }),
    },
    labels: missingCarrierLabel(carrier),
    pod: { create: name, withScratch },
    service: service ? 'keep' : { create: uploadServiceOf(carrier) },
  }
}

/**
 * What a clone target says before its server is made. A server that goes away while the copy is under way counts as a
 * restart, although the next pod counts from zero; whose phase is changed with the count, it is not counted twice.
 */
function ofCloneTarget(carrier: PersistentVolumeClaim): Record<string, string> {
  return {
    [annotations.uploadClientName]: cloneClientName(carrier),
    ...(hadServer(carrier)
      ? { [annotations.podRestarts]: String(restartsOf(carrier) + 1), [annotations.podPhase]: 'Pending' }
      : {}),
  }
}

/** Whether a server has run that is not there any more; one that had to make room for fresh certificates left no phase. */
function hadServer(carrier: PersistentVolumeClaim): boolean {
  const phase = annotationOf(carrier, annotations.podPhase)
  return phase === 'Running' || (phase === 'Failed' && !wasRefused(carrier))
}

function planWithPod(seen: UploadObservation, pod: Pod): UploadPlan {
  const { carrier, service, scratch, now } = seen
  const report = reportOfUploadPod({ pod, carrier })
  // What is finished stays finished, whoever deletes the pod then.
  if (isTerminating(pod) && report.verdict !== 'succeeded') {
    return { ...nothing, because: 'the former pod has not gone yet', annotations: notReady(carrier) }
  }
  const changes = changesOf(carrier.metadata.annotations, report.annotations)
  const plan: UploadPlan = {
    ...nothing,
    because: reasonsOf[report.verdict],
    annotations: changes,
    labels: missingCarrierLabel(carrier),
    events: isEmpty(changes) ? [] : report.events,
  }
  switch (report.verdict) {
    case 'keep': {
      const hasScratch = (pod.spec?.volumes ?? []).some((volume) => volume.name === workerVolumeNames.scratch)
      return {
        ...plan,
        annotations: { ...changes, ...resumptionOf(seen) },
        makeScratch: hasScratch && !scratch,
        service: service ? 'keep' : { create: uploadServiceOf(carrier) },
        needsSecret: true,
        follow: pod.status?.phase === 'Running',
      }
    }
    case 'succeeded': {
      const done = planDone(seen, pod)
      return {
        ...plan,
        annotations: { ...done.annotations, ...changes },
        pod: done.pod,
        service: done.service,
      }
    }
    case 'needsScratch': {
      // What needs scratch has taken the place of whatever was half received.
      const forgotten = changesOf(carrier.metadata.annotations, { [annotations.uploadResumption]: null })
      return { ...plan, annotations: { ...changes, ...forgotten }, pod: 'delete' }
    }
    case 'deadlinePassed':
      return { ...plan, pod: 'delete' }
    case 'died': {
      const waitMs = endedAt(pod, now) + diedPodDelayMs - now
      return waitMs > 0 ? { ...plan, requeueAfterMs: waitMs } : { ...plan, pod: 'delete' }
    }
    default:
      return report.verdict satisfies never
  }
}

const reasonsOf: Readonly<Record<UploadReport['verdict'], string>> = {
  keep: 'the server is there',
  succeeded: 'the upload is done',
  needsScratch: 'the server needs a scratch volume',
  deadlinePassed: "the server's certificates are old",
  died: 'the pod died, another one is next',
}

/** What the next pod has to know if this one dies. */
function resumptionOf({ carrier, resumption }: UploadObservation): MapPatch {
  return changesOf(carrier.metadata.annotations, { [annotations.uploadResumption]: resumption })
}

/** Nobody can be sent to a pod that is not there; a claim that never had one says nothing. */
function notReady(carrier: PersistentVolumeClaim): MapPatch {
  const said = hasAnnotation(carrier, annotations.podReady)
  return said ? changesOf(carrier.metadata.annotations, { [annotations.podReady]: 'false' }) : {}
}

function placeOf({ metadata: { namespace = '', name } }: Pod | Service): { namespace: string; name: string } {
  return { namespace, name }
}

/** Adds the Bound annotations of the carrier (contract/datavolume.md §3) to whatever else is to be done. */
function wrapUp(seen: UploadObservation, plan: UploadPlan): UploadPlan {
  const wanted = plan.makeScratch
    ? boundAnnotations(reasons.creatingScratchSpace, messages.creatingScratchSpace)
    : boundOf(seen.carrier, seen.newestEvent)
  const merged = patched(seen.carrier.metadata.annotations, plan.annotations)
  return { ...plan, annotations: { ...plan.annotations, ...changesOf(merged, wanted) } }
}
