/**
 * How large the disk in a file-system volume is, as far as that was found out already: the source claim remembers it for
 * as long as its capacity stays, a detection pod has it in its last words (contract/clone.md §4.2). Pure.
 */
import { sizeDetectionReason } from '../../../api/cloner-env.ts'
import type { SizeDetectionReason } from '../../../api/cloner-env.ts'
import { annotations } from '../../../api/names.ts'
import type { ContainerStatus, PersistentVolumeClaim, Pod } from '../../../api/kinds.ts'
import { isEqual } from '../../../kube/merge-patch.ts'
import { tryParseQuantity } from '../../../quantity.ts'
import { annotationOf } from '../../shared/annotated.ts'
import { claimsOfPod, isTerminating } from '../../shared/claim.ts'
import { knownSizeOf, sizeDetectionContainer } from './pod.ts'

/** What a detection pod says. */
export type Detection =
  | { readonly is: 'found'; readonly bytes: number }
  | { readonly is: 'failed'; readonly reason: SizeDetectionReason }
  /** It looked before the source claim said that its size has to be found out anew. */
  | { readonly is: 'outdated' }
  | { readonly is: 'running' }
  /** It is going away, or is something else that bears the name. */
  | { readonly is: 'inTheWay' }

/** The size that a claim remembers, in bytes; undefined if it has none, or got another capacity since. */
export function rememberedBytes(claim: PersistentVolumeClaim): number | undefined {
  const capacity = tryParseQuantity(claim.status?.capacity?.['storage'])
  const then = tryParseQuantity(annotationOf(claim, annotations.sourceCapacity))
  return capacity !== undefined && capacity === then
    ? parseBytes(annotationOf(claim, annotations.virtualSize))
    : undefined
}

/** What makes a claim remember a size for its present capacity. */
export function memoryOf(claim: PersistentVolumeClaim, bytes: number): Record<string, string> {
  return {
    [annotations.virtualSize]: String(bytes),
    [annotations.sourceCapacity]: claim.status?.capacity?.['storage'] ?? '',
  }
}

export function detectionOf(pod: Pod, claim: PersistentVolumeClaim): Detection {
  if (isTerminating(pod) || !isDetectionPod(pod, claim)) return { is: 'inTheWay' }
  const status = pod.status?.containerStatuses?.find(({ name }) => name === sizeDetectionContainer)
  const ended = lastEndOf(status)
  const isOver = pod.status?.phase === 'Failed' || pod.status?.phase === 'Succeeded'
  if (!ended && !isOver) return { is: 'running' }
  if (!isEqual(knownSizeOf(pod), knownSizeOf(claim))) return { is: 'outdated' }
  const bytes = ended?.exitCode === 0 ? parseBytes(ended.message) : undefined
  if (bytes !== undefined) return { is: 'found', bytes }
  // A pod that died of itself, and words that are no size, have no code of their own.
  return { is: 'failed', reason: sizeDetectionReason(ended?.exitCode ?? Number.NaN) }
}

function isDetectionPod(pod: Pod, claim: PersistentVolumeClaim): boolean {
  const worker = pod.spec?.containers.some(({ name }) => name === sizeDetectionContainer) ?? false
  return worker && claimsOfPod(pod).includes(claim.metadata.name)
}

/** The last end of the container, also of one that was started again since: that it failed is known by then. */
function lastEndOf(
  status: ContainerStatus | undefined,
): NonNullable<NonNullable<ContainerStatus['state']>['terminated']> | undefined {
  return status?.state?.terminated ?? status?.lastState?.terminated
}

/** A size in decimal bytes; undefined for everything else. */
function parseBytes(text: string | undefined): number | undefined {
  if (!/^\s*[0-9]+\s*$/.test(text ?? '')) return undefined
  const bytes = Number(text)
  return Number.isSafeInteger(bytes) && bytes > 0 ? bytes : undefined
}
