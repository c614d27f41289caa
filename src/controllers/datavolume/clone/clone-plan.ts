/**
 * The steps of a clone that no other DataVolume has (contract/clone.md §3), in their order: before T is made the source is
 * looked at, and what the controller may do there proved; afterwards T gets what its populator needs, and at the end all of
 * it is taken away. Pure: everything that was seen in, one step out.
 */
import { annotations, cloneFallbacks, finalizers, messages, phases, reasons } from '../../../api/names.ts'
import type { Phase } from '../../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim, StorageClass } from '../../../api/kinds.ts'
import { tryParseQuantity } from '../../../quantity.ts'
import { classForSnapshot } from '../../clone/source-class.ts'
import { filesystemOverhead } from '../../filesystem-overhead.ts'
import { annotationOf, changesOf, hasAnnotation, isEmpty } from '../../shared/annotated.ts'
import type { MapPatch } from '../../shared/annotated.ts'
import { claimPhase } from '../../shared/claim.ts'
import { warning } from '../../shared/told.ts'
import type { Told } from '../../shared/told.ts'
import { planCloneSize } from '../clone-size/plan.ts'
import type { CloneSizePlan } from '../clone-size/plan.ts'
import { cloneProblemOf, sourceProblemOf } from '../clone-size/validation.ts'
import type { CloneOrigin } from '../../clone/origin.ts'
import type { ClonePlan, CloneStart, SyncObservation, SyncPlan } from '../sync.ts'
import { contentTypeOf } from '../render.ts'
import type { RenderedPvc } from '../render.ts'
import { cloneKind, isCopiedInto } from '../sources/clone.ts'
import { renderSource } from '../target.ts'
import type { Mode } from '../target.ts'
import { needsWork, usesPopulator } from '../work.ts'
import { isCloned } from './clone-phase.ts'
import { renderCopySource } from './copy-source.ts'
import type { SnapshotOrigin } from './copy-source.ts'
import { isNothing, unwantedBy } from './leftovers.ts'
import type { CloneObservation } from './observe.ts'
import { endsOf, isAcrossNamespaces } from './order.ts'

export interface StartInput {
  readonly seen: SyncObservation
  readonly clone: CloneObservation
  /** T without a size, if that comes from the source. */
  readonly rendered: RenderedPvc
  readonly mode: Mode
  /** What is to be noted on the DataVolume in any case. */
  readonly marks: MapPatch
}

/** What comes before T. */
export function planStart(input: StartInput): ClonePlan | CloneStart | Extract<SyncPlan, { act: 'refuse' }> {
  const { seen, clone, mode, marks } = input
  const { dataVolume } = seen
  const { order, authority, origin } = clone
  const { source } = order
  if (clone.unresolved !== undefined) return block(dataVolume, 'the source is not known', clone.unresolved)
  if (typeof authority === 'object') return block(dataVolume, 'the source may not be read', authority.refused)
  if (authority === 'short') {
    return { act: 'extendToken', because: 'the token of the user does not last', order, annotations: marks }
  }
  if (!origin) {
    return refuse(input, reasons.cloneWithoutSource, messages.cloneWithoutSource(source.kind, source.name))
  }
  const unusable = sourceProblemOf({ dataVolume, source: origin })
  if (unusable !== undefined) return refuseClone(input, unusable)
  const size = planSize(input, origin)
  if (size.act === 'refuse') return refuseClone(input, size.message)
  const sized = withSize(input, size)
  const problem = cloneProblemOf({ dataVolume, source: origin, ...sized })
  if (problem !== undefined) return refuseClone(input, problem)
  const isRestored = mode === 'direct' && 'snapshot' in origin && origin.content !== undefined
  if (isRestored && !classFor(seen, origin, sized.rendered.spec.storageClassName)) {
    return block(dataVolume, 'no class restores the snapshot', messages.noClassForSnapshot)
  }
  const waiting = {
    act: 'schedule',
    failure: {
      phase: phases.cloneScheduled,
      reason: reasons.cloneScheduled,
      message: messages.cloneScheduled(endsOf(order)),
    },
    annotations: marks,
  } as const
  switch (size.act) {
    case 'makePod':
      return { ...waiting, because: 'the size has to be found out', makePod: size.pod, ...pace(size) }
    case 'wait':
      return { ...waiting, because: 'the size is not known yet', ...pace(size) }
    case 'retry':
      return { ...waiting, because: 'the size was not found out', deletePod: size.deletePod, ...pace(size) }
    case 'keep':
    case 'use':
      break
    default:
      return size satisfies never
  }
  const { finalizers: present = [] } = dataVolume.metadata
  if (mode === 'populator' && isAcrossNamespaces(order) && !present.includes(finalizers.dataVolume)) {
    return {
      ...waiting,
      because: 'what is made in the namespace of the source has to be taken away again',
      finalizers: [...present, finalizers.dataVolume],
      events: [],
    }
  }
  return {
    act: 'start',
    rendered: sized.rendered,
    marks: { ...marks, ...noted(dataVolume, sized.permissive, mode) },
    sourceMarks: sourceMarksOf(size, origin),
    targetEvents: mode === 'direct' ? [noPopulator] : [],
  }
}

/** What a T that is ours needs next; undefined if it goes on by itself. */
export function planClone(
  seen: SyncObservation,
  clone: CloneObservation,
  target: PersistentVolumeClaim,
): ClonePlan | Extract<SyncPlan, { act: 'makeSource' | 'annotateDataVolume' }> | undefined {
  const { dataVolume } = seen
  const works = needsWork({ ...seen, target })
  const isDone = isCloned(target)
  if (works) {
    const changes = changesOf(dataVolume.metadata.annotations, {
      [annotations.cloneType]: annotationOf(target, annotations.cloneType),
    })
    if (!isEmpty(changes)) {
      return { act: 'annotateDataVolume', because: 'how it is cloned is to be seen on it', annotations: changes }
    }
  }
  if (dataVolume.status?.phase === phases.succeeded && (isDone || !works)) {
    const leftovers = unwantedBy(dataVolume, clone.leftovers)
    const isHeld = dataVolume.metadata.finalizers?.includes(finalizers.dataVolume) ?? false
    return isNothing(leftovers) && !isHeld ? undefined : { act: 'cleanUp', because: 'the work is done', leftovers }
  }
  const phase = claimPhase(target)
  return works && !isDone && (phase === 'Pending' || phase === 'Bound') ? planSupply(seen, clone, target) : undefined
}

/** What T's populator, or the copy into T, needs. T's token comes first, so that nobody finds T without one. */
function planSupply(
  seen: SyncObservation,
  clone: CloneObservation,
  target: PersistentVolumeClaim,
): ReturnType<typeof planClone> {
  const { dataVolume, source } = seen
  const { order, authority, unresolved } = clone
  const isPopulated = usesPopulator(target)
  const needsCopySource = isCopiedInto(target) && order.source.kind === 'snapshot' && !clone.copySource
  const needsToken = isAcrossNamespaces(order) && !hasOwnToken(target, dataVolume)
  const needsSource = isPopulated && !source
  if (!isPopulated && !isCopiedInto(target)) return undefined
  if (!needsToken && !needsSource && !needsCopySource) return undefined
  if (unresolved !== undefined) return block(dataVolume, 'the source is not known', unresolved)
  if (typeof authority === 'object') return block(dataVolume, 'the source may not be read', authority.refused)
  if (needsToken) return { act: 'extendTargetToken', because: 'the token of the DataVolume is not for T', order }
  if (needsSource) {
    return {
      act: 'makeSource',
      because: 'the populator looks for it',
      source: renderSource(dataVolume, cloneKind(order)),
    }
  }
  return planCopySource(seen, clone, target)
}

function planCopySource(
  seen: SyncObservation,
  { origin }: CloneObservation,
  target: PersistentVolumeClaim,
): ClonePlan | undefined {
  const { dataVolume } = seen
  // A snapshot without content cannot be restored; its watch tells when it can.
  if (!origin || !('snapshot' in origin) || !origin.content) return undefined
  const storageClass = classFor(seen, origin, target.spec?.storageClassName)
  if (!storageClass) return block(dataVolume, 'no class restores the snapshot', messages.noClassForSnapshot)
  return {
    act: 'makeCopySource',
    because: 'a snapshot is copied from a claim that it was restored to',
    claim: renderCopySource({ dataVolume, origin, target, storageClass }),
  }
}

/** T bears its own token, not the one that its DataVolume has. */
function hasOwnToken(target: PersistentVolumeClaim, dataVolume: DataVolume): boolean {
  const token = annotationOf(target, annotations.extendedCloneToken)
  return token !== undefined && token !== annotationOf(dataVolume, annotations.extendedCloneToken)
}

const noPopulator = warning(reasons.noPopulator, cloneFallbacks[reasons.noPopulator])

/** The class that restores a snapshot, beside a T of this class; undefined also while the snapshot has no content. */
function classFor(
  { dataVolume, storageClasses: classes }: SyncObservation,
  { content }: SnapshotOrigin,
  targetClass: string | undefined,
): StorageClass | undefined {
  return (
    content &&
    classForSnapshot({ driver: content.spec.driver, targetClass, classes, contentType: contentTypeOf(dataVolume) })
  )
}

function planSize({ seen, clone, rendered }: StartInput, origin: CloneOrigin): CloneSizePlan {
  const { dataVolume, storageClasses, storageProfiles, cdiConfig } = seen
  if (!dataVolume.spec.storage)
    return { act: 'keep', permissive: hasAnnotation(dataVolume, annotations.permissiveClone) }
  const { storageClassName } = rendered.spec
  const profile = storageProfiles.find(({ metadata }) => metadata.name === storageClassName)
  return planCloneSize({
    dataVolume,
    source: origin,
    rendered,
    pod: clone.sizePod,
    users: clone.users,
    isSourcePopulated: clone.isSourcePopulated,
    overhead: filesystemOverhead({ storageClassName, storageClasses, cdiConfig }),
    minimumBytes: tryParseQuantity(profile?.metadata.annotations?.[annotations.minimumSupportedPvcSize]) ?? 0,
    settings: clone.settings,
    config: cdiConfig,
    cdi: clone.cdi,
    now: clone.now,
  })
}

/** T with the size that is known by now. */
function withSize(
  { seen, rendered }: StartInput,
  size: CloneSizePlan,
): { readonly rendered: RenderedPvc; readonly permissive: boolean } {
  const isKnown = size.act === 'use' || size.act === 'keep'
  const permissive = isKnown ? size.permissive : hasAnnotation(seen.dataVolume, annotations.permissiveClone)
  const { spec } = rendered
  return {
    permissive,
    rendered: {
      labels: rendered.labels,
      annotations: permissive
        ? { ...rendered.annotations, [annotations.permissiveClone]: 'true' }
        : rendered.annotations,
      spec:
        size.act === 'use'
          ? {
              ...spec,
              resources: { ...spec.resources, requests: { ...spec.resources?.requests, storage: size.storage } },
            }
          : spec,
    },
  }
}

/** What the DataVolume shows of how it is cloned, when that is decided before T. */
function noted({ metadata }: DataVolume, permissive: boolean, mode: Mode): MapPatch {
  return changesOf(metadata.annotations, {
    [annotations.permissiveClone]:
      permissive && !metadata.annotations?.[annotations.permissiveClone] ? 'true' : undefined,
    [annotations.cloneType]: mode === 'direct' ? 'copy' : undefined,
  })
}

function sourceMarksOf(size: CloneSizePlan, origin: CloneOrigin): CloneStart['sourceMarks'] {
  if (size.act !== 'use' || !size.annotateSource || !('claim' in origin)) return undefined
  const changes = changesOf(origin.claim.metadata.annotations, size.annotateSource)
  return isEmpty(changes) ? undefined : { claim: origin.claim, annotations: changes }
}

function pace(size: { readonly events: readonly Told[]; readonly requeueAfterMs?: number }): {
  events: readonly Told[]
  requeueAfterMs?: number
} {
  const { events, requeueAfterMs } = size
  return { events, ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }) }
}

/** The phase of a DataVolume whose T cannot be made: as it was. */
function keptPhase({ status }: DataVolume): Phase {
  return ((status?.phase || undefined) as Phase | undefined) ?? phases.pending
}

function refuse({ seen, marks }: StartInput, reason: string, message: string): Extract<SyncPlan, { act: 'refuse' }> {
  return {
    act: 'refuse',
    because: 'the source cannot be cloned as it is',
    failure: { phase: keptPhase(seen.dataVolume), reason, message },
    events: [],
    dataVolumeAnnotations: marks,
  }
}

function refuseClone(input: StartInput, problem: string): Extract<SyncPlan, { act: 'refuse' }> {
  return refuse(input, reasons.cloneValidationFailed, messages.cloneValidationFailed(problem))
}

function block(dataVolume: DataVolume, because: string, message: string): ClonePlan {
  return {
    act: 'block',
    because,
    message,
    failure: {
      phase: keptPhase(dataVolume),
      reason: reasons.notFound,
      message: messages.noPvcFoundSince(message),
    },
  }
}
