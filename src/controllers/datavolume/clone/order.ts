/**
 * What a DataVolume clones (contract/clone.md §1.1). A sourceRef is resolved at each look and never written back; as soon as
 * there is a VolumeCloneSource, that one says what is cloned, whatever the DataSource stands for by now. Pure.
 */
import { kinds } from '../../../api/kinds.ts'
import type { DataSource, DataVolume, VolumeCloneSource } from '../../../api/kinds.ts'
import { messages } from '../../../api/names.ts'
import type { CloneEnds } from '../../../api/names.ts'
import { formatKey } from '../../../kube/object.ts'
import type { ObjectKey } from '../../../kube/object.ts'
import type { CloneOrder } from '../../clone/tokens.ts'
import { resolveDataSource } from '../../datasource/resolve.ts'

export interface ResolvedOrder {
  /** While the source is not known it names the DataSource in its place, so that there is something to tell of. */
  readonly order: CloneOrder
  /** Why the source is not known. */
  readonly unresolved?: string
}

/** Whether a DataVolume is filled with what another volume or a snapshot holds. */
export function isClone({ spec }: Pick<DataVolume, 'spec'>): boolean {
  return Boolean(spec.source?.pvc ?? spec.source?.snapshot ?? spec.sourceRef)
}

/** The DataSource that a DataVolume refers to. */
export function dataSourceKeyOf({ metadata, spec }: DataVolume): Required<ObjectKey> | undefined {
  const { sourceRef } = spec
  if (!sourceRef || sourceRef.kind !== kinds.dataSource.kind) return undefined
  return { namespace: sourceRef.namespace || (metadata.namespace ?? ''), name: sourceRef.name }
}

/** What the DataVolume itself names; of a sourceRef the DataSource stands in for its source. */
export function namedOrder({ metadata, spec }: DataVolume): CloneOrder | undefined {
  const namespace = metadata.namespace ?? ''
  const target = { namespace, name: metadata.name }
  const { pvc, snapshot } = spec.source ?? {}
  const named = pvc ?? snapshot ?? spec.sourceRef
  if (!named) return undefined
  const kind = !pvc && snapshot ? 'snapshot' : 'pvc'
  return { source: { kind, namespace: named.namespace || namespace, name: named.name }, target }
}

export function orderOf(
  dataVolume: DataVolume,
  {
    made,
    dataSource,
  }: {
    /** The VolumeCloneSource of this DataVolume, if there is one. */
    readonly made: VolumeCloneSource | undefined
    readonly dataSource: DataSource | undefined
  },
): ResolvedOrder | undefined {
  const order = namedOrder(dataVolume)
  if (!order) return undefined
  const { target } = order
  if (made) {
    const { source } = made.spec
    const kind = source.kind === kinds.volumeSnapshot.kind ? 'snapshot' : 'pvc'
    return { order: { source: { kind, namespace: made.metadata.namespace ?? '', name: source.name }, target } }
  }
  const { sourceRef } = dataVolume.spec
  if (!sourceRef || dataVolume.spec.source) return { order }
  if (sourceRef.kind !== kinds.dataSource.kind) {
    return { order, unresolved: messages.unsupportedSourceRef(sourceRef.kind) }
  }
  if (!dataSource) return { order, unresolved: messages.dataSourceNotFound(sourceRef.name) }
  const source = resolveDataSource(dataSource)
  return source ? { order: { source, target } } : { order, unresolved: messages.emptyDataSource(sourceRef.name) }
}

export function isAcrossNamespaces({ source, target }: CloneOrder): boolean {
  return source.namespace !== target.namespace
}

/** A clone as messages tell of it. */
export function endsOf({ source, target }: CloneOrder): CloneEnds {
  return { kind: source.kind, source: formatKey(source), target: formatKey(target) }
}
