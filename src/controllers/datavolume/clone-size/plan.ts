/**
 * How large the target of a clone is to be when `spec.storage` does not say so, and whether sizes are to be compared when
 * it does (contract/clone.md §4.1, §4.2). Pure: everything that was seen in, one step out; whoever comes after a controller
 * that was killed sees the same and takes the same step.
 */
import { annotations, messages, reasons, sizeDetectionPodName } from '../../../api/names.ts'
import type { CDI, CDIConfig, DataVolume, PersistentVolumeClaim, Pod } from '../../../api/kinds.ts'
import type { NewObject } from '../../../kube/object.ts'
import { requiredBytes } from '../../../quantity.ts'
import { annotationOf, hasAnnotation } from '../../shared/annotated.ts'
import { isTerminating } from '../../shared/claim.ts'
import { diedPodDelayMs, endedAt } from '../../shared/pod-state.ts'
import { normal, warning } from '../../shared/told.ts'
import type { Told } from '../../shared/told.ts'
import type { WorkerSettings } from '../../shared/worker-pod.ts'
import type { RenderedPvc } from '../render.ts'
import { detectionOf, memoryOf, rememberedBytes } from './detection.ts'
import {
  capacityBytesOf,
  neededRestoreBytes,
  requestedBytesOf,
  snapshotModeOf,
  volumeModeOf,
} from '../../clone/origin.ts'
import type { CloneOrigin } from '../../clone/origin.ts'
import { renderSizeDetectionPod } from './pod.ts'

export type { CloneOrigin } from '../../clone/origin.ts'

export interface CloneSizeObservation {
  readonly dataVolume: DataVolume
  readonly source: CloneOrigin
  /** T as rendered: without a size `resources.requests.storage` is undefined, a size of spec.storage is inflated already. */
  readonly rendered: RenderedPvc
  /** `size-detection-<S UID>` in the source's namespace, whoever made it. */
  readonly pod: Pod | undefined
  /** Unfinished pods that mount the source; the detection pod is left out here. */
  readonly users: readonly Pod[]
  readonly isSourcePopulated: boolean
  /** Of the class of T, decimal text such as `0.06`. */
  readonly overhead: string
  /** The least that the storage of T makes; 0 if it does not say. */
  readonly minimumBytes: number
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
  /** Milliseconds since the epoch. A failed pod is kept for a while, so that none is made each second; without it, it goes at once. */
  readonly now?: number
}

/** `permissive`: DataVolume and T bear the annotation permissiveClone; it may be there already. */
export type CloneSizePlan =
  /** The request stays as rendered. */
  | { readonly act: 'keep'; readonly permissive: boolean }
  | {
      readonly act: 'use'
      /** The request, a quantity. */
      readonly storage: string
      readonly permissive: boolean
      /** Written on the source claim: what was found out. */
      readonly annotateSource?: Readonly<Record<string, string>>
    }
  | {
      readonly act: 'makePod'
      readonly pod: NewObject<Pod>
      readonly events: readonly Told[]
      readonly requeueAfterMs?: number
    }
  | { readonly act: 'wait'; readonly events: readonly Told[]; readonly requeueAfterMs: number }
  /** This pod is of no use; once it is gone another one is made. */
  | {
      readonly act: 'retry'
      readonly deletePod: Pod
      readonly events: readonly Told[]
      readonly requeueAfterMs: number
    }
  /** As things are there is no clone; the text behind `The clone doesn't meet the validation requirements: `. */
  | { readonly act: 'refuse'; readonly message: string }

/** What finishes an import, or a pod, shows itself to the DataVolume that waits mostly; this is for when it does not. */
const waitDelayMs = 2_000

/** How long a source in use is left alone. */
const inUseDelayMs = 5_000

/** Called for spec.storage only. */
export function planCloneSize(seen: CloneSizeObservation): CloneSizePlan {
  return 'snapshot' in seen.source ? planOfSnapshot(seen, seen.source) : planOfClaim(seen, seen.source.claim)
}

function planOfSnapshot(
  seen: CloneSizeObservation,
  source: Extract<CloneOrigin, { snapshot: unknown }>,
): CloneSizePlan {
  const permissive = isPermissive(seen)
  if (givenBytes(seen) !== undefined) return { act: 'keep', permissive }
  const needed = neededRestoreBytes(source.snapshot)
  if ('problem' in needed) return { act: 'refuse', message: needed.problem }
  // A snapshot of a file system has room for that already.
  const isGrowing = isFileSystem(seen) && snapshotModeOf(source) === 'Block'
  return { act: 'use', storage: requestFor(seen, needed.bytes, isGrowing), permissive }
}

function planOfClaim(seen: CloneSizeObservation, claim: PersistentVolumeClaim): CloneSizePlan {
  const given = givenBytes(seen)
  const holdsDisk = isDiskInFile(claim)
  const isWished = given === undefined || (holdsDisk && !isFileSystem(seen) && !isPermissive(seen))
  if (!isWished) return { act: 'keep', permissive: isPermissive(seen) }
  const capacity = capacityBytesOf(claim)
  if (capacity === undefined) return notReady
  const known = holdsDisk ? rememberedBytes(claim) : capacity
  if (known !== undefined) return planOfSize(seen, claim, { detected: known, capacity })
  if (!seen.isSourcePopulated || isTerminating(claim)) return notReady
  return seen.pod ? planOfPod(seen, claim, seen.pod, capacity) : makePod(seen, claim)
}

/** Nothing to be looked at yet. */
const notReady: CloneSizePlan = {
  act: 'wait',
  events: [normal(reasons.importPvcNotReady, messages.importPvcNotReady)],
  requeueAfterMs: waitDelayMs,
}

function makePod(
  { dataVolume, settings, config, cdi }: CloneSizeObservation,
  source: PersistentVolumeClaim,
): CloneSizePlan {
  return {
    act: 'makePod',
    pod: renderSizeDetectionPod({ dataVolume, source, settings, config, cdi }),
    events: [normal(reasons.sizeDetectionPodCreated, messages.sizeDetectionPodCreated)],
    requeueAfterMs: waitDelayMs,
  }
}

function planOfPod(
  seen: CloneSizeObservation,
  claim: PersistentVolumeClaim,
  pod: Pod,
  capacity: number,
): CloneSizePlan {
  const detection = detectionOf(pod, claim)
  switch (detection.is) {
    case 'found': {
      const plan = planOfSize(seen, claim, { detected: detection.bytes, capacity })
      return plan.act === 'use' ? { ...plan, annotateSource: memoryOf(claim, detection.bytes) } : plan
    }
    case 'failed': {
      const { reason } = detection
      const events = [warning(reason, messages.sizeDetectionPodFailed(reason))]
      const { now } = seen
      const restMs = now === undefined ? 0 : endedAt(pod, now) + diedPodDelayMs - now
      return restMs > 0
        ? { act: 'wait', events, requeueAfterMs: restMs }
        : { act: 'retry', deletePod: pod, events, requeueAfterMs: waitDelayMs }
    }
    case 'outdated':
      return { act: 'retry', deletePod: pod, events: [], requeueAfterMs: waitDelayMs }
    case 'inTheWay':
      return { act: 'wait', events: [], requeueAfterMs: waitDelayMs }
    case 'running':
      return waitForPod(seen, claim)
    default:
      return detection satisfies never
  }
}

/** The pod has not finished; who else uses the volume may be why. */
function waitForPod(
  { users }: CloneSizeObservation,
  { metadata: { name, uid } }: PersistentVolumeClaim,
): CloneSizePlan {
  const user = users.find(({ metadata }) => metadata.name !== sizeDetectionPodName(uid))
  const events = [normal(reasons.sizeDetectionPodNotReady, messages.sizeDetectionPodNotReady)]
  if (!user) return { act: 'wait', events, requeueAfterMs: waitDelayMs }
  const place = { namespace: user.metadata.namespace ?? '', name: user.metadata.name }
  const inUse = warning(reasons.cloneSourceInUse, messages.targetInUse(place, name))
  return { act: 'wait', events: [...events, inUse], requeueAfterMs: inUseDelayMs }
}

/** With the size known. A capacity beyond it need not be had by the target too: sizes are then not compared any more. */
function planOfSize(
  seen: CloneSizeObservation,
  claim: PersistentVolumeClaim,
  { detected, capacity }: { detected: number; capacity: number },
): CloneSizePlan {
  const given = givenBytes(seen)
  if (given === undefined) {
    const permissive = isPermissive(seen) || capacity > detected
    return { act: 'use', storage: requestFor(seen, detected, isFileSystem(seen)), permissive }
  }
  // Too small for what the source asked for is told later, on T; a disk that is larger than its claim only here.
  const isSilent = given < detected && given >= (requestedBytesOf(claim.spec) ?? 0)
  if (isSilent) return { act: 'refuse', message: messages.cloneTooSmall(given, detected) }
  return { act: 'use', storage: String(given), permissive: given >= detected }
}

function requestFor({ overhead, minimumBytes }: CloneSizeObservation, bytes: number, isGrowing: boolean): string {
  return String(Math.max(isGrowing ? requiredBytes(overhead, bytes) : bytes, minimumBytes))
}

/** What T asks for as rendered; a request of nothing is none. */
function givenBytes({ rendered }: CloneSizeObservation): number | undefined {
  return requestedBytesOf(rendered.spec) || undefined
}

/** Also while the mode is left to the webhook: what is enough for a file system is enough for a device. */
function isFileSystem({ rendered }: CloneSizeObservation): boolean {
  return volumeModeOf(rendered.spec) !== 'Block'
}

/** Whether the size to have is that of a file in the volume. Only a claim that says so itself is looked into. */
function isDiskInFile(claim: PersistentVolumeClaim): boolean {
  return volumeModeOf(claim.spec) === 'Filesystem' && annotationOf(claim, annotations.contentType) === 'kubevirt'
}

function isPermissive({ dataVolume }: CloneSizeObservation): boolean {
  return hasAnnotation(dataVolume, annotations.permissiveClone)
}
