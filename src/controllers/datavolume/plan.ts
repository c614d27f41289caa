/**
 * What the DataVolume controller does next about T, before it writes the status. Pure: everything that was seen in, one
 * step out. Names are derived from UIDs, so a step that was interrupted is taken again without harm.
 */
import { annotations, instanceTypeLabels, messages, phases, reasons } from '../../api/names.ts'
import type { DataVolume, PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../api/kinds.ts'
import { compareQuantities } from '../../quantity.ts'
import { annotationOf, changesOf, hasAnnotation, isEmpty } from '../shared/annotated.ts'
import { claimPhase, isTerminating } from '../shared/claim.ts'
import { warning } from '../shared/told.ts'
import { planClone, planStart } from './clone/clone-plan.ts'
import { isAcrossNamespaces } from './clone/order.ts'
import { followsWebhook, isExternallyPopulated, renderTarget, satisfiesClaim } from './render.ts'
import type { RenderedPvc } from './render.ts'
import { sourceKindOf } from './source-kinds.ts'
import { claimsClass, isServedByStorage, modeOf, renderClaim, renderSource } from './target.ts'
import type { SyncObservation, SyncPlan } from './sync.ts'
import { isPopulatedFor, needsWork, ownershipOf, staticBindingOf, usesPopulator } from './work.ts'

/** Whether this controller answers for a DataVolume: a worker of ours fills it, or the storage. */
export function isOurs(dataVolume: DataVolume): boolean {
  return sourceKindOf(dataVolume) !== undefined || isExternallyPopulated(dataVolume)
}

export function planSync(seen: SyncObservation): SyncPlan {
  const { dataVolume, target } = seen
  if (!target) {
    return hasAnnotation(dataVolume, annotations.prePopulated)
      ? { act: 'none', because: 'the claim comes from elsewhere' }
      : planCreation(seen)
  }
  return planForTarget(seen, target)
}

function planForTarget(seen: SyncObservation, target: PersistentVolumeClaim): SyncPlan {
  const { dataVolume } = seen
  const name = target.metadata.name
  if (isTerminating(target)) {
    return {
      act: 'none',
      because: 'the former claim has not gone yet',
      events: [warning(reasons.errResourceMarkedForDeletion, messages.markedForDeletion(name))],
    }
  }
  switch (ownershipOf({ ...seen, target })) {
    case 'foreign':
      return {
        act: 'none',
        because: 'the claim belongs to something else',
        events: [warning(reasons.errResourceExists, messages.resourceExists(name))],
      }
    case 'free':
      return { act: 'adopt', because: 'the claim has its data already' }
    case 'ours':
      break
  }
  const binding = staticBindingOf(target)
  if (binding?.state === 'wrong') {
    return { act: 'deleteTarget', because: 'the claim was bound to an unexpected volume', message: binding.message }
  }
  if (binding?.state === 'arrived') {
    return {
      act: 'annotateTarget',
      because: 'the volume that lay ready has arrived',
      annotations: { [annotations.persistentVolumeList]: null, [annotations.populatedFor]: dataVolume.metadata.name },
    }
  }
  if (isPopulatedFor({ dataVolume, target }) && claimPhase(target) === 'Bound') {
    const changes = changesOf(dataVolume.metadata.annotations, { [annotations.prePopulated]: name })
    if (!isEmpty(changes)) {
      return { act: 'annotateDataVolume', because: 'the claim must not be made again', annotations: changes }
    }
  }
  const filledFor = annotationOf(dataVolume, annotations.populatedFor)
  if (filledFor !== undefined && dataVolume.status?.phase === phases.succeeded) {
    // So that a backup of the claim, restored later, counts as filled.
    const changes = changesOf(target.metadata.annotations, { [annotations.populatedFor]: filledFor })
    if (!isEmpty(changes)) {
      return { act: 'annotateTarget', because: 'the claim is to be known as filled', annotations: changes }
    }
  }
  const labels = missingInstanceType(dataVolume, instanceTypeOf(seen, target))
  if (!isEmpty(labels)) {
    return { act: 'labelDataVolume', because: 'the image tells its instance type or preference', labels }
  }
  return seen.clone
    ? (planClone(seen, seen.clone, target) ?? { act: 'none', because: 'the claim is there' })
    : planSource(seen, target)
}

/**
 * What the image tells (§6.4): that of a registry source on T, that of a clone on its source. A source in another namespace
 * tells nothing to a DataVolume that did not have to be allowed to read it.
 */
function instanceTypeOf(seen: SyncObservation, target: PersistentVolumeClaim): Readonly<Record<string, string>> {
  const { dataVolume, clone } = seen
  if (clone) {
    const isRefused = typeof clone.authority === 'object'
    return isAcrossNamespaces(clone.order) && (isRefused || !needsWork({ ...seen, target })) ? {} : clone.labels
  }
  return dataVolume.spec.source?.registry ? (target.metadata.labels ?? {}) : {}
}

/** Nothing for a DataVolume that says something of the kind itself. */
function missingInstanceType(
  { metadata }: DataVolume,
  found: Readonly<Record<string, string>>,
): Record<string, string> {
  if (instanceTypeLabels.some((key) => metadata.labels?.[key] !== undefined)) return {}
  return Object.fromEntries(
    instanceTypeLabels.flatMap((key) => (found[key] === undefined ? [] : [[key, found[key]] as const])),
  )
}

/** The source resource lives as long as T needs it. */
function planSource(seen: SyncObservation, target: PersistentVolumeClaim): SyncPlan {
  const { dataVolume, source, prime } = seen
  const kind = sourceKindOf(dataVolume)
  const isDone = kind?.isDone(target) ?? false
  if (source && dataVolume.status?.phase === phases.succeeded && isDone) {
    return { act: 'deleteSource', because: 'the work is done' }
  }
  const waits = claimPhase(target) === 'Pending' && usesPopulator(target) && !isDone
  if (waits && !source && !prime && kind && needsWork({ ...seen, target })) {
    return {
      act: 'makeSource',
      because: 'the source of a claim that waits for it has gone',
      source: renderSource(dataVolume, kind),
    }
  }
  return { act: 'none', because: 'the claim is there' }
}

function planCreation(seen: SyncObservation): SyncPlan {
  const { dataVolume } = seen
  // Sizes and gates come from it; what is made without them cannot be put right later.
  if (!seen.cdiConfig) return { act: 'wait', because: 'CDIConfig is not there yet' }
  const kind = sourceKindOf(dataVolume, seen.clone?.order)
  const message = kind?.problemOf(dataVolume)
  if (message !== undefined) {
    const failure = { phase: phases.unset, reason: reasons.errClaimNotValid, message }
    return { act: 'refuse', because: 'the source cannot be right', failure, events: [] }
  }
  const rendering = renderTarget(seen)
  if ('waitsForProfile' in rendering) {
    return { act: 'wait', because: `StorageProfile ${rendering.waitsForProfile} has no status yet` }
  }
  if ('problem' in rendering) {
    const { warning: second, ...told } = rendering.problem
    const { reason, message: text } = told
    if (followsWebhook(seen)) {
      return { act: 'tell', because: 'the webhook would not complete the claim', event: warning(reason, text) }
    }
    return {
      act: 'refuse',
      because: 'the claim cannot be rendered',
      failure: { phase: phases.unset, ...told },
      events: second ? [warning(reason, second)] : [],
    }
  }
  const rendered = rendering.pvc
  const staticClaim = planStatic(seen, rendered)
  if (!kind) return staticClaim ? { ...staticClaim, dataVolumeAnnotations: {} } : planExternal(seen, rendered)

  const mode = modeOf({ ...seen, storageClassName: rendered.spec.storageClassName })
  const dataVolumeAnnotations = changesOf(dataVolume.metadata.annotations, {
    [annotations.usePopulator]: hasAnnotation(dataVolume, annotations.usePopulator)
      ? undefined
      : String(mode === 'populator'),
  })
  if (staticClaim) return { ...staticClaim, dataVolumeAnnotations }
  if (seen.clone) {
    const start = planStart({ seen, clone: seen.clone, rendered, mode, marks: dataVolumeAnnotations })
    if (start.act !== 'start') return start
    const { marks, sourceMarks, targetEvents } = start
    return {
      act: 'create',
      because: 'the clone may begin',
      dataVolumeAnnotations: marks,
      // It comes after T, which has to have its token first.
      source: undefined,
      claim: renderClaim({ ...seen, rendered: start.rendered, population: { mode, kind } }),
      sourceMarks,
      targetEvents,
    }
  }
  return {
    act: 'create',
    because: 'there is no claim yet',
    dataVolumeAnnotations,
    source: mode === 'populator' ? renderSource(dataVolume, kind) : undefined,
    claim: renderClaim({ ...seen, rendered, population: { mode, kind } }),
  }
}

/** The storage fills the claim, if it can. */
function planExternal(seen: SyncObservation, rendered: RenderedPvc): SyncPlan {
  return {
    act: 'create',
    because: 'the storage fills the claim',
    dataVolumeAnnotations: {},
    source: undefined,
    claim: renderClaim({ ...seen, rendered, population: 'none' }),
    events: isServedByStorage(rendered.spec, seen) ? [] : [warning(reasons.noCsiDriver, messages.noCsiDriver)],
  }
}

/** A claim for the volumes that lie ready for this DataVolume; undefined if there are none, or it does not ask for them. */
function planStatic(seen: SyncObservation, rendered: RenderedPvc): Extract<SyncPlan, { act: 'create' }> | undefined {
  const { dataVolume, persistentVolumes } = seen
  if (!hasAnnotation(dataVolume, annotations.checkStaticVolume)) return undefined
  const volumes = volumesFor(dataVolume, rendered, persistentVolumes)
  if (volumes.length === 0) return undefined
  return {
    act: 'create',
    because: 'a volume lies ready',
    dataVolumeAnnotations: {},
    source: undefined,
    claim: renderClaim({
      ...seen,
      rendered: withSizeOf(volumes, rendered),
      population: 'none',
      staticVolumes: volumes.map(({ metadata }) => metadata.name),
    }),
  }
}

/** A clone whose size was to come from its source asks for as much as the smallest of the volumes has. */
function withSizeOf(volumes: readonly PersistentVolume[], rendered: RenderedPvc): RenderedPvc {
  const { resources } = rendered.spec
  if (resources?.requests?.['storage'] !== undefined) return rendered
  const [smallest = '0'] = volumes
    .flatMap(({ spec }) => spec?.capacity?.['storage'] ?? [])
    .toSorted((a, b) => compareQuantities(a, b))
  const requests = { ...resources?.requests, storage: smallest }
  return { ...rendered, spec: { ...rendered.spec, resources: { ...resources, requests } } }
}

/** Nobody has it, or has had it; Kubernetes says so a moment after it was made. */
function isUntouched({ metadata, status }: PersistentVolume): boolean {
  return ['', 'Pending', 'Available'].includes(status?.phase ?? '') && metadata.deletionTimestamp === undefined
}

/** The untouched volumes that are reserved for this DataVolume and satisfy its claim. */
function volumesFor(
  { metadata: { name, namespace } }: DataVolume,
  rendered: RenderedPvc,
  volumes: readonly PersistentVolume[],
): PersistentVolume[] {
  return volumes
    .filter(
      (volume) =>
        isUntouched(volume) &&
        volume.spec?.claimRef?.name === name &&
        volume.spec.claimRef.namespace === namespace &&
        satisfiesClaim(volume, rendered.spec),
    )
    .toSorted((a, b) => (a.metadata.name < b.metadata.name ? -1 : 1))
}

/** The class that decides how T is bound. */
export function bindingClassOf(
  target: PersistentVolumeClaim | undefined,
  storageClasses: readonly StorageClass[],
): StorageClass | undefined {
  return target && claimsClass(target.spec?.storageClassName, storageClasses)
}
