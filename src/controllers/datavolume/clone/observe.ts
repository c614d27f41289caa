/** What the DataVolume controller looks at for a clone, beside what it looks at for every DataVolume. */
import { kinds } from '../../../api/kinds.ts'
import type { CDI, DataVolume, PersistentVolumeClaim, Pod } from '../../../api/kinds.ts'
import {
  annotations,
  instanceTypeLabels,
  sizeDetectionPodName,
  snapshotCopySourceName,
  volumeCloneSourceName,
} from '../../../api/names.ts'
import { keyOf } from '../../../kube/object.ts'
import type { ObjectKey } from '../../../kube/object.ts'
import { isPopulated, usersOf } from '../../clone/source-use.ts'
import { CloneTokenError } from '../../clone/tokens.ts'
import type { CloneOrder, CloneTokens } from '../../clone/tokens.ts'
import { hasAnnotation } from '../../shared/annotated.ts'
import { cloneOriginKey, indexes } from '../../shared/caches.ts'
import type { Caches } from '../../shared/caches.ts'
import { cloneSourceKeyOf } from '../../shared/clone-reference.ts'
import { activeCdi } from '../../shared/settings.ts'
import type { WorkerSettings } from '../../shared/worker-pod.ts'
import type { CloneOrigin } from '../../clone/origin.ts'
import { needsWork } from '../work.ts'
import type { OwnershipInput } from '../work.ts'
import { isCloned } from './clone-phase.ts'
import { leftoversOf } from './leftovers.ts'
import type { Leftovers } from './leftovers.ts'
import { dataSourceKeyOf, isAcrossNamespaces, isClone, orderOf } from './order.ts'
import type { ResolvedOrder } from './order.ts'

/** Whether the source may be read for this DataVolume. */
export type Authority =
  /** It is in the same namespace, or nothing is going to be done with it. */
  | 'needless'
  /** The DataVolume bears a token of the webhook's, which does not last. */
  | 'short'
  /** It bears the token that the controller made of it. */
  | 'extended'
  | { readonly refused: string }

export interface CloneObservation extends ResolvedOrder {
  readonly authority: Authority
  /** Undefined while the source is not there. */
  readonly origin: CloneOrigin | undefined
  readonly isSourcePopulated: boolean
  /** Unfinished pods that mount the source, without the one that finds out its size. */
  readonly users: readonly Pod[]
  /** The pod that finds out the size of the source, whoever made it. */
  readonly sizePod: Pod | undefined
  /** In the direct mode: what the snapshot is restored to. */
  readonly copySource: PersistentVolumeClaim | undefined
  /** The instance type and preference that the source tells. */
  readonly labels: Readonly<Record<string, string>>
  readonly leftovers: Leftovers
  readonly settings: WorkerSettings
  readonly cdi: CDI | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface CloneSurroundings {
  readonly caches: Caches
  readonly tokens: CloneTokens
  readonly settings: WorkerSettings
  readonly now: number
}

/** Undefined for a DataVolume that is no clone. Rejects while a token would have to be looked at and cannot be. */
export async function observeClone(
  { caches, tokens, settings, now }: CloneSurroundings,
  { dataVolume, target, adoptionGate }: Omit<OwnershipInput, 'target'> & { target: PersistentVolumeClaim | undefined },
): Promise<CloneObservation | undefined> {
  const resolved = resolveOrder(caches, dataVolume)
  if (!resolved) return undefined
  const { order, unresolved } = resolved
  const origin = unresolved === undefined ? originOf(caches, order) : undefined
  const claim = origin && 'claim' in origin ? origin.claim : undefined
  const isSettled = target
    ? isCloned(target) || !needsWork({ dataVolume, target, adoptionGate })
    : hasAnnotation(dataVolume, annotations.prePopulated)
  const isAsked = isAcrossNamespaces(order) && unresolved === undefined && !isSettled
  const podName = claim && sizeDetectionPodName(claim.metadata.uid)
  return {
    ...resolved,
    authority: isAsked ? await authorityOf(tokens, dataVolume, order) : 'needless',
    origin,
    isSourcePopulated: !claim || isPopulated(caches, claim),
    users: claim ? usersOf(caches, claim).filter(({ metadata }) => metadata.name !== podName) : [],
    sizePod: podName === undefined ? undefined : caches.pods.get({ namespace: order.source.namespace, name: podName }),
    copySource: caches.pvcs.get({
      namespace: order.source.namespace,
      name: snapshotCopySourceName(dataVolume.metadata.uid),
    }),
    labels: instanceTypeOf(caches, dataVolume, origin),
    leftovers: leftoversOf(caches, keyOf(dataVolume)),
    settings,
    cdi: activeCdi(caches),
    now,
  }
}

/**
 * What a DataVolume clones as things are; undefined if it is no clone. Only the VolumeCloneSource that T names counts: one that
 * merely says whose it is may have been made by anybody, in any namespace.
 */
export function resolveOrder(
  { cloneSources, dataSources, pvcs }: Pick<Caches, 'cloneSources' | 'dataSources' | 'pvcs'>,
  dataVolume: DataVolume,
): ResolvedOrder | undefined {
  if (!isClone(dataVolume)) return undefined
  const key = dataSourceKeyOf(dataVolume)
  const target = pvcs.get(keyOf(dataVolume))
  const madeKey = target && cloneSourceKeyOf(target)
  const isOurs = madeKey?.name === volumeCloneSourceName(dataVolume.metadata.uid)
  const made = isOurs ? cloneSources.get(madeKey) : undefined
  return orderOf(dataVolume, { made, dataSource: key && dataSources.get(key) })
}

/**
 * Keys of the DataVolumes that wait for, or work with, an object that clones are made of, also those that name it by a
 * DataSource, or by one that points to another.
 */
export function dataVolumesOf(
  { dataVolumes, dataSources }: Pick<Caches, 'dataVolumes' | 'dataSources'>,
  kind: string,
  { namespace, name }: ObjectKey,
): ObjectKey[] {
  const pointingTo = (origin: string): string[] =>
    dataSources
      .byIndex(indexes.origin, origin)
      .map(({ metadata }) => originKey(kinds.dataSource.kind, metadata.namespace, metadata.name))
  const origin = originKey(kind, namespace, name)
  const once = pointingTo(origin)
  const origins = [origin, ...once, ...once.flatMap(pointingTo)]
  return origins.flatMap((key) => dataVolumes.byIndex(indexes.origin, key).map(keyOf))
}

function originKey(kind: string, namespace: string | undefined, name: string): string {
  return cloneOriginKey({ kind, namespace: namespace ?? '', name })
}

function originOf(
  { pvcs, volumeSnapshots, volumeSnapshotContents }: Caches,
  { source: { kind, ...key } }: CloneOrder,
): CloneOrigin | undefined {
  if (kind === 'pvc') {
    const claim = pvcs.get(key)
    return claim && { claim }
  }
  const snapshot = volumeSnapshots.get(key)
  const name = snapshot?.status?.boundVolumeSnapshotContentName
  return snapshot && { snapshot, content: name ? volumeSnapshotContents.get({ name }) : undefined }
}

/**
 * The long token goes before the short one, but one that is of no use (a DataVolume that was restored from a backup bears
 * that of its former life) does not take away what a short one allows.
 */
async function authorityOf(tokens: CloneTokens, dataVolume: DataVolume, order: CloneOrder): Promise<Authority> {
  const { [annotations.extendedCloneToken]: extended, ...others } = dataVolume.metadata.annotations ?? {}
  const withoutExtended = { ...dataVolume, metadata: { ...dataVolume.metadata, annotations: others } }
  const refusal = await refusalOf(tokens, dataVolume, order)
  if (refusal === undefined) return extended ? 'extended' : 'short'
  if (!extended) return { refused: refusal }
  return (await refusalOf(tokens, withoutExtended, order)) === undefined ? 'short' : { refused: refusal }
}

async function refusalOf(tokens: CloneTokens, dataVolume: DataVolume, order: CloneOrder): Promise<string | undefined> {
  try {
    await tokens.assertAllowed(dataVolume, order)
    return undefined
  } catch (error) {
    if (error instanceof CloneTokenError) return error.message
    throw error
  }
}

/** What the image tells of itself: on its DataSource, where one is referred to, or on the source. */
function instanceTypeOf(
  { dataSources }: Caches,
  dataVolume: DataVolume,
  origin: CloneOrigin | undefined,
): Record<string, string> {
  const key = dataSourceKeyOf(dataVolume)
  const source = origin && ('claim' in origin ? origin.claim : origin.snapshot)
  for (const object of [key && dataSources.get(key), source]) {
    const found = instanceTypeLabels.flatMap((label) => {
      const value = object?.metadata.labels?.[label]
      return value === undefined ? [] : [[label, value] as const]
    })
    if (found.length > 0) return Object.fromEntries(found)
  }
  return {}
}
