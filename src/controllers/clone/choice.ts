/** Which strategy T gets, or why it has to wait or cannot be made at all (contract/clone.md §4.3, §5). Pure. */
import { annotations, cloneFallbacks, cloneStrategies, messages, reasons } from '../../api/names.ts'
import type { CloneStrategy } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { differenceOf } from './copy-fault.ts'
import { requestedBytesOf } from './origin.ts'
import { annotationOf, hasAnnotation } from '../shared/annotated.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { claimSize, factsOfClaimClone, factsOfSnapshotClone, isCompleted, minimumBytes, targetSize } from './facts.ts'
import type { ClaimOrigin, CloneObservation, Origin, SnapshotOrigin } from './observation.ts'
import { tooSmallForCopy, tooSmallForSource } from './sizes.ts'
import { decideClaimClone, decideSnapshotClone, isCloneStrategy, wantedStrategy } from './strategy.ts'
import type { Decision } from './strategy.ts'

export type Choice =
  | { readonly kind: 'strategy'; readonly strategy: CloneStrategy; readonly fallback?: string; readonly events: Told[] }
  /** The source is not there. */
  | { readonly kind: 'waiting'; readonly events: Told[] }
  | { readonly kind: 'error'; readonly message: string; readonly events: Told[] }

/**
 * What T says already wins, whoever wrote it, and nothing is compared then: a strategy that was begun is not left, and a user
 * may know better.
 */
export function chooseStrategy(seen: CloneObservation, origin: Origin): Choice {
  const saved = annotationOf(seen.target, annotations.cloneType)
  if (saved) {
    const isKnown = isCloneStrategy(saved) && (origin.kind === 'pvc' || saved !== cloneStrategies.csiClone)
    return isKnown ? { kind: 'strategy', strategy: saved, events: [] } : error(messages.unknownCloneStrategy(saved))
  }
  return origin.kind === 'pvc' ? chooseForClaim(seen, origin) : chooseForSnapshot(seen, origin)
}

/** Tells that there is nothing to clone. */
export function withoutSource({ kind, name }: Origin): Told {
  return warning(reasons.cloneWithoutSource, messages.cloneWithoutSource(kind, name))
}

/** Why the strategy of T is not the wanted one, as an event, from what T says of it. */
export function fallbackEvent(target: PersistentVolumeClaim): Told | undefined {
  const message = annotationOf(target, annotations.cloneFallbackReason)
  const reason = Object.entries(cloneFallbacks).find(([, text]) => text === message)?.[0]
  return reason === undefined || message === undefined ? undefined : warning(reason, message)
}

function chooseForClaim(seen: CloneObservation, origin: ClaimOrigin): Choice {
  const { claim } = origin
  if (!claim) return { kind: 'waiting', events: [withoutSource(origin)] }
  const tooSmall = isPermissive(seen)
    ? undefined
    : tooSmallForSource({
        sourceBytes: requestedBytesOf(claim.spec),
        targetBytes: requestedBytesOf(seen.target.spec),
        minimumBytes: minimumBytes(seen),
      })
  if (tooSmall) return invalid(tooSmall)
  const wanted = wantedStrategy(seen.cdi?.spec.cloneStrategyOverride, seen.profile?.status?.cloneStrategy)
  const choice = chosen(decideClaimClone(wanted, factsOfClaimClone(seen, origin, claim)))
  const isCopy = choice.kind === 'strategy' && choice.strategy === cloneStrategies.copy
  const problem = isCopy ? problemOfCopy(seen, claim) : undefined
  return problem ? invalid(problem) : choice
}

function chooseForSnapshot(seen: CloneObservation, origin: SnapshotOrigin): Choice {
  const { snapshot, content, namespace, name } = origin
  if (!snapshot) return { kind: 'waiting', events: [withoutSource(origin)] }
  if (!content) return error(`snapshot ${namespace}/${name} is not bound to a VolumeSnapshotContent`)
  return chosen(decideSnapshotClone(factsOfSnapshotClone(seen, { snapshot, content })))
}

function chosen(decision: Decision): Choice {
  if (decision.kind === 'sizesMissing') return error(messages.sizesMissing)
  const { strategy, fallback } = decision
  if (!fallback) return { kind: 'strategy', strategy, events: [] }
  const message = cloneFallbacks[fallback]
  return { kind: 'strategy', strategy, fallback: message, events: [warning(fallback, message)] }
}

/** What the copy itself would find out only when its pods are there. */
function problemOfCopy(seen: CloneObservation, claim: PersistentVolumeClaim): string | undefined {
  const { target } = seen
  const difference = differenceOf(claim, target)
  if (difference !== undefined) return difference
  if (isPermissive(seen)) return undefined
  const [source, wanted] = [claimSize(seen, claim), targetSize(seen)]
  if (!source || !wanted) return undefined
  // What the webhook completed says how much is to be copied; room for the file system is added to that.
  return tooSmallForCopy(source, isCompleted(target) ? { ...wanted, overhead: '0' } : wanted)
}

function isPermissive({ target }: CloneObservation): boolean {
  return hasAnnotation(target, annotations.permissiveClone)
}

function invalid(text: string): Choice {
  return {
    kind: 'error',
    message: text,
    events: [
      warning(reasons.errIncompatiblePvc, text),
      warning(reasons.cloneValidationFailed, messages.cloneValidation),
    ],
  }
}

function error(message: string): Choice {
  return { kind: 'error', message, events: [] }
}
