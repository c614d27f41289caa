/**
 * What a populator does next about one claim T (contract/datavolume.md §8). It knows no source: the worker on P is
 * another controller's business, here P is made, watched and its volume handed over. Pure.
 */
import {
  annotations,
  messages,
  mirroredAnnotations,
  isKubevirtLabel,
  primeName,
  progressTexts,
  reasons,
} from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import type { Event, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { isControlledBy } from '../../kube/owners.ts'
import { annotationOf, changesOf, hasAnnotation, isAnnotatedTrue } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { boundOf } from '../shared/bound-annotations.ts'
import {
  claimPhase,
  isTerminating,
  isWaitForFirstConsumer,
  selectedNode,
  wantsImmediateBinding,
} from '../shared/claim.ts'
import { eventsForTarget, newestText, retold, untold } from '../shared/claim-events.ts'
import { normal, warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { renderPrime } from './prime.ts'

/** What differs between populators. */
export interface PopulatorWords {
  /** Kind of the source resource. */
  readonly sourceKind: string
  readonly succeeded: (target: string) => Told
  readonly failed: (target: string) => Told
  /** Whether T shows how far the worker has come. */
  readonly tellsProgress: boolean
  /** Whether T goes on naming its P when P's worker has succeeded (contract/datavolume.md §8.6). */
  readonly keepsPrimeName: boolean
}

export interface PopulationObservation {
  readonly target: PersistentVolumeClaim
  /** Annotations that the source resource puts on P; undefined if it is not there or not for this claim. */
  readonly sourceAnnotations: Readonly<Record<string, string>> | undefined
  readonly prime: PersistentVolumeClaim | undefined
  /** The volume that P is bound to. */
  readonly primeVolume: PersistentVolume | undefined
  /** The class that T names. */
  readonly storageClass: StorageClass | undefined
  readonly targetEvents: readonly Event[]
  readonly primeEvents: readonly Event[]
  /** Keys (`toldKey`) of what this process told on T already, though the cache may not show it yet. */
  readonly alreadyTold: ReadonlySet<string>
  /** Last progress that the worker reported, 0–100. */
  readonly progressPercent: number | undefined
  readonly installer: InstallerLabels
  readonly words: PopulatorWords
}

export interface PopulationPlan {
  readonly because: string
  readonly createPrime: NewObject<PersistentVolumeClaim> | undefined
  /** Hand the volume over before T is written. */
  readonly rebind: PersistentVolume | undefined
  readonly annotations: MapPatch
  readonly labels: Readonly<Record<string, string>>
  /** Told on T after it was written. */
  readonly events: readonly Told[]
  /** Told on P. */
  readonly primeEvents: readonly Told[]
  readonly deletePrime: boolean
  /** Something that only the user can put right; thrown after everything else was done. */
  readonly error: string | undefined
  readonly requeueAfterMs: number | undefined
}

const createdPrime = normal(reasons.createdPvcPrime, messages.createdPvcPrime)

const nothing: Omit<PopulationPlan, 'because'> = {
  createPrime: undefined,
  rebind: undefined,
  annotations: {},
  labels: {},
  events: [],
  primeEvents: [],
  deletePrime: false,
  error: undefined,
  requeueAfterMs: undefined,
}

export function planPopulation(seen: PopulationObservation): PopulationPlan {
  const { target, prime } = seen
  if (isTerminating(target)) return { ...nothing, because: 'the claim is going away' }
  if (prime && !isControlledBy(prime, target)) {
    return {
      ...nothing,
      because: 'P belongs to something else',
      error: `PVC ${prime.metadata.name} is not owned by ${target.metadata.name}`,
    }
  }
  const phase = claimPhase(target)
  if (phase === 'Lost' || phase === 'Other') return { ...nothing, because: 'the claim is lost' }
  if (!prime) {
    if (phase === 'Bound')
      return {
        ...nothing,
        because: 'the claim is bound',
        annotations: changesOf(target.metadata.annotations, boundOf(target, undefined)),
      }
    return planPrime(seen)
  }
  if (isTerminating(prime)) return { ...nothing, because: 'P is going away' }
  if (phase === 'Bound' && target.spec?.volumeName !== prime.spec?.volumeName) {
    // A volume that lay ready for it wins (§8.3): what P was being filled with is of no use any more.
    return { ...nothing, because: 'the claim was bound to another volume', deletePrime: true }
  }
  return planMirror(seen, prime, phase)
}

/** Whether, and how, P is made. */
function planPrime(seen: PopulationObservation): PopulationPlan {
  const { target, sourceAnnotations, storageClass, installer, words } = seen
  const wait = (because: string): PopulationPlan => ({ ...nothing, because })
  if (annotationOf(target, annotations.podPhase) === 'Succeeded') return wait('the volume has been handed over')
  if (!sourceAnnotations) return wait('there is no source yet')
  const className = target.spec?.storageClassName
  if (className === undefined) return wait('the claim has no storage class yet')
  if (className === '')
    return { ...nothing, because: 'no class', error: `PVC ${target.metadata.name} has no storage class` }
  if (!storageClass) return wait('the storage class does not exist yet')
  if (storageClass.provisioner.startsWith('kubernetes.io/') && !hasAnnotation(target, annotations.migratedTo)) {
    return wait('the provisioner does not serve populators')
  }
  if (isWaitForFirstConsumer(storageClass) && !selectedNode(target) && !wantsImmediateBinding(target)) {
    return wait('no consumer has been scheduled yet')
  }
  const createPrime = renderPrime({ target, sourceKind: words.sourceKind, sourceAnnotations, installer })
  return {
    ...nothing,
    because: 'the claim is to be filled',
    createPrime,
    annotations: changesOf(target.metadata.annotations, {
      [annotations.populatorPvcPrime]: primeName(target.metadata.uid),
    }),
    events: [createdPrime],
  }
}

/** T follows P; at the end P's volume becomes T's. */
function planMirror(
  seen: PopulationObservation,
  prime: PersistentVolumeClaim,
  phase: 'Pending' | 'Bound',
): PopulationPlan {
  const { target, primeVolume, primeEvents, words } = seen
  const podPhase = annotationOf(prime, annotations.podPhase)
  const wasPodPhase = annotationOf(target, annotations.podPhase)
  const { targetEvents, alreadyTold } = seen
  // Whoever made P may have been killed before it could say so.
  const created = podPhase === undefined ? untold(createdPrime, { targetEvents, alreadyTold }) : []
  const events = [...created, ...retold({ primeName: prime.metadata.name, primeEvents, targetEvents, alreadyTold })]

  let rebind: PersistentVolume | undefined
  if (podPhase === 'Succeeded' && phase === 'Pending') {
    if (!primeVolume && claimPhase(prime) === 'Lost') {
      return { ...nothing, because: 'the volume has vanished', events, error: messages.claimLost(prime.metadata.name) }
    }
    if (!primeVolume) {
      // P's volume is announced by P before the cache of volumes may have it.
      return { ...nothing, because: 'the volume has not been seen yet', events, requeueAfterMs: 200 }
    }
    const claim = holderOf(primeVolume, { prime, target })
    if (claim === 'prime') rebind = primeVolume
    else if (claim !== 'target') {
      return {
        ...nothing,
        because: 'the volume went elsewhere',
        events,
        error: messages.unexpectedClaim(primeVolume.metadata.name, claim.other),
      }
    }
  }

  const wanted: Record<string, string | null | undefined> = {
    [annotations.populatorPvcPrime]: podPhase !== 'Succeeded' || words.keepsPrimeName ? prime.metadata.name : null,
    ...(words.tellsProgress
      ? {
          [annotations.populatorProgress]:
            podPhase === 'Succeeded' ? progressTexts.done : percentText(seen.progressPercent),
        }
      : {}),
    ...boundOf(target, newestText(eventsForTarget(primeEvents))),
  }
  for (const key of mirroredAnnotations) wanted[key] = annotationOf(prime, key) ?? null
  for (const key of [annotations.podVddkHost, annotations.podVddkVersion]) wanted[key] = annotationOf(prime, key)
  const changes = changesOf(target.metadata.annotations, wanted)

  if (podPhase === 'Succeeded' && wasPodPhase !== 'Succeeded') events.push(words.succeeded(target.metadata.name))
  if (podPhase === 'Failed' && wasPodPhase !== 'Failed') events.push(words.failed(target.metadata.name))

  const retained = isAnnotatedTrue(target, annotations.podRetainAfterCompletion)
  const handedOver = podPhase === 'Succeeded' && phase === 'Bound'
  const tellsRetention =
    handedOver &&
    retained &&
    claimPhase(prime) === 'Lost' &&
    !primeEvents.some((event) => event.reason === reasons.retainedPvcPrime)
  return {
    ...nothing,
    because: handedOver ? 'the volume has been handed over' : 'the claim follows P',
    rebind,
    annotations: changes,
    labels: podPhase === 'Succeeded' ? inheritedLabels(target, prime) : {},
    events,
    primeEvents: tellsRetention ? [warning(reasons.retainedPvcPrime, messages.retainedPvcPrime)] : [],
    deletePrime: handedOver && !retained,
  }
}

/** Whom a volume is promised to. */
function holderOf(
  volume: PersistentVolume,
  { prime, target }: { prime: PersistentVolumeClaim; target: PersistentVolumeClaim },
): 'prime' | 'target' | { other: string } {
  const claim = volume.spec?.claimRef
  const namesClaim = (pvc: PersistentVolumeClaim): boolean =>
    claim?.namespace === pvc.metadata.namespace && claim?.name === pvc.metadata.name
  if (namesClaim(prime)) return 'prime'
  if (namesClaim(target)) return 'target'
  return { other: claim ? `${claim.namespace ?? ''}/${claim.name ?? ''}` : 'none' }
}

/** KubeVirt's labels of P that T does not have. */
function inheritedLabels(target: PersistentVolumeClaim, prime: PersistentVolumeClaim): Record<string, string> {
  return Object.fromEntries(
    Object.entries(prime.metadata.labels ?? {}).filter(
      ([key]) => isKubevirtLabel(key) && target.metadata.labels?.[key] === undefined,
    ),
  )
}

/** Two decimals; all of it is said only when the worker has succeeded. */
export function percentText(percent: number | undefined): string | undefined {
  if (percent === undefined) return undefined
  const text = `${percent.toFixed(2)}%`
  return text.startsWith('100') ? undefined : text
}
