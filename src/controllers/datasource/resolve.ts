/** What a DataSource stands for (contract/golden-images.md §3, contract/clone.md §1.1). Pure. */
import type { DataSource } from '../../api/kinds.ts'

/** A claim or VolumeSnapshot that can be cloned. */
export interface ResolvedSource {
  readonly kind: 'pvc' | 'snapshot'
  readonly namespace: string
  readonly name: string
}

/** The claim or snapshot that a source names; the pointer to another DataSource is no such thing. */
export type SourceFields = Pick<DataSource['spec']['source'], 'pvc' | 'snapshot'>

/**
 * What a DataSource stands for: what it names itself, or, if it points to another DataSource, what its controller found
 * there. Undefined while it stands for nothing. It may stand for something that is not there (yet).
 */
export function resolveDataSource({ metadata, spec, status }: DataSource): ResolvedSource | undefined {
  const source = spec.source.dataSource ? status?.source : spec.source
  return namedBy(source ?? {}, metadata.namespace ?? '')
}

/** What a source names; a claim goes before a snapshot. @param namespace where it is looked for if the source names none */
export function namedBy({ pvc, snapshot }: SourceFields, namespace: string): ResolvedSource | undefined {
  const kind = pvc ? 'pvc' : 'snapshot'
  const reference = pvc ?? snapshot
  return reference?.name ? { kind, namespace: reference.namespace || namespace, name: reference.name } : undefined
}
