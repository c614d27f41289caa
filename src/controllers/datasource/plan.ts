/**
 * What a DataSource says of itself: whether what it stands for can be cloned, and the labels that come from there
 * (contract/golden-images.md §3). Pure.
 */
import type { DataSource, DataVolume, PersistentVolumeClaim, VolumeSnapshot } from '../../api/kinds.ts'
import { isKubevirtLabel, phases } from '../../api/names.ts'
import { setCondition } from '../../kube/conditions.ts'
import type { Condition, ConditionFacts } from '../../kube/conditions.ts'
import { isEqual } from '../../kube/merge-patch.ts'
import { changesOf } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { namedBy } from './resolve.ts'
import type { ResolvedSource, SourceFields } from './resolve.ts'

type Status = NonNullable<DataSource['status']>

/** Where a DataSource leads to, before anybody has looked whether something is there. */
export type Direction =
  | { readonly to: 'nothing' }
  /** `fields` is the source as it was written. */
  | { readonly to: 'source'; readonly source: ResolvedSource; readonly fields: SourceFields }
  /** A pointer that is not followed, and why. */
  | { readonly to: 'nowhere'; readonly reason: string; readonly message: string }

/**
 * Where a DataSource leads to. A pointer is followed once, and only within its namespace: who may change a DataSource must
 * not be able to lend the right to clone from elsewhere.
 * @param find the DataSource of that name in the same namespace
 */
export function directionOf(
  { metadata: { name, namespace = '' }, spec }: DataSource,
  find: (name: string) => DataSource | undefined,
): Direction {
  const { dataSource: pointer, ...own } = spec.source
  if (!pointer) return directionTo(own, namespace)
  if (pointer.namespace && pointer.namespace !== namespace) {
    return nowhere('CrossNamespaceReference', 'DataSource cannot reference a DataSource in another namespace')
  }
  if (pointer.name === name) return nowhere('SelfReference', 'DataSource cannot self-reference')
  const pointed = find(pointer.name)
  if (!pointed) return nowhere('NotFound', `datasources.cdi.kubevirt.io "${pointer.name}" not found`)
  const { dataSource: next, ...fields } = pointed.spec.source
  if (next) return nowhere('MaxReferenceDepthReached', 'DataSource reference chain exceeds maximum depth of 1')
  return directionTo(fields, namespace)
}

function directionTo({ pvc, snapshot }: SourceFields, namespace: string): Direction {
  const fields: SourceFields = pvc ? { pvc } : { snapshot }
  const source = namedBy(fields, namespace)
  return source ? { to: 'source', source, fields } : { to: 'nothing' }
}

function nowhere(reason: string, message: string): Direction {
  return { to: 'nowhere', reason, message }
}

export interface DataSourceObservation {
  readonly dataSource: DataSource
  readonly direction: Direction
  /** Of the name of the claim that it leads to. */
  readonly dataVolume: DataVolume | undefined
  /** The claim that it leads to. */
  readonly claim: PersistentVolumeClaim | undefined
  /** The snapshot that it leads to. */
  readonly snapshot: VolumeSnapshot | undefined
  /** RFC 3339, whole seconds. */
  readonly now: string
}

export interface DataSourcePlan {
  readonly status: Status
  /** Labels to set; none is ever taken off, users have their own. */
  readonly labels: MapPatch
}

const isReady: Omit<ConditionFacts, 'type'> = {
  status: 'True',
  reason: 'Ready',
  message: 'DataSource is ready to be consumed',
}

export function planDataSource(seen: DataSourceObservation): DataSourcePlan {
  const { dataSource, direction, now } = seen
  const facts: ConditionFacts = { type: 'Ready', ...readiness(seen) }
  const ready = facts.status === 'True' && direction.to === 'source'
  const source: Status['source'] = ready ? direction.fields : {}
  const before = dataSource.status
  // Another source is another readiness, though it is called the same: its time tells clients to look again.
  const isSameSource = isEqual(before?.source ?? {}, source)
  const conditions = setCondition(isSameSource ? (before?.conditions as Condition[] | undefined) : [], facts, now)
  return {
    status: { conditions: [...conditions], source },
    labels: ready ? changesOf(dataSource.metadata.labels, labelsOf(seen)) : {},
  }
}

function readiness({ direction, dataVolume, claim, snapshot }: DataSourceObservation): Omit<ConditionFacts, 'type'> {
  switch (direction.to) {
    case 'nothing':
      return { status: 'False', reason: 'NoSource', message: 'No source PVC set' }
    case 'nowhere':
      return { status: 'False', reason: direction.reason, message: direction.message }
    case 'source':
      return direction.source.kind === 'pvc' ? readinessOfClaim(dataVolume, claim) : readinessOfSnapshot(snapshot)
    default:
      return direction satisfies never
  }
}

function readinessOfClaim(
  dataVolume: DataVolume | undefined,
  claim: PersistentVolumeClaim | undefined,
): Omit<ConditionFacts, 'type'> {
  if (!dataVolume) return claim ? isReady : { status: 'False', reason: 'NotFound', message: 'PVC not found' }
  const phase = dataVolume.status?.phase ?? ''
  if (phase === phases.succeeded) return isReady
  return { status: 'False', reason: phase, message: `Import DataVolume phase ${phase}` }
}

function readinessOfSnapshot(snapshot: VolumeSnapshot | undefined): Omit<ConditionFacts, 'type'> {
  if (!snapshot) return { status: 'False', reason: 'NotFound', message: 'Snapshot not found' }
  return snapshot.status?.readyToUse === true
    ? isReady
    : { status: 'False', reason: 'SnapshotNotReady', message: 'Snapshot phase is not ready' }
}

/** The labels of the source that travel on; of a claim and its DataVolume, the claim's win. */
function labelsOf({ dataVolume, claim, snapshot }: DataSourceObservation): Record<string, string> {
  const found = { ...dataVolume?.metadata.labels, ...claim?.metadata.labels, ...snapshot?.metadata.labels }
  return Object.fromEntries(Object.entries(found).filter(([key]) => isKubevirtLabel(key)))
}
