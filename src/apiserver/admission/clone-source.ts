/**
 * From what a DataVolume is cloned, and what its maker must be allowed to do there (contract/clone.md §2.1). Pure; the
 * shell in `datavolume-mutate.ts` looks up and asks.
 */
import { cdiGroup } from '../../api/kinds.ts'
import type { ResolvedSource } from '../../controllers/datasource/resolve.ts'
import type { TokenClaims } from '../../tokens/token.ts'
import type { Access } from '../access.ts'
import { fieldsOf, isGiven, textOf } from './fields.ts'
import type { Fields } from './fields.ts'

export type CloneSource = ResolvedSource

/** What the spec says: a source, a DataSource that will tell one, or nothing of the kind. */
export type CloneWish =
  | { readonly from: 'nothing' }
  | { readonly from: 'source'; readonly source: CloneSource }
  | { readonly from: 'dataSource'; readonly namespace: string; readonly name: string }

/** @param namespace that of the DataVolume, where sources without one are looked for */
export function cloneWishOf(spec: Fields, namespace: string): CloneWish {
  const source = sourceIn(fieldsOf(spec['source']), namespace)
  if (source) return { from: 'source', source }
  const { kind, name, namespace: elsewhere } = fieldsOf(spec['sourceRef'])
  return kind === 'DataSource' && textOf(name) !== ''
    ? { from: 'dataSource', namespace: textOf(elsewhere) || namespace, name: textOf(name) }
    : { from: 'nothing' }
}

function sourceIn({ pvc, snapshot }: Fields, namespace: string): CloneSource | undefined {
  const kind = isGiven(pvc) ? 'pvc' : 'snapshot'
  const reference = fieldsOf(pvc ?? snapshot)
  const name = textOf(reference['name'])
  // Without a name it is no clone; the schema and the validating webhook say so.
  return name === '' ? undefined : { kind, name, namespace: textOf(reference['namespace']) || namespace }
}

/** The rights that suffice to read a source: all of any one line. */
export function rightsFor({ kind, namespace, name }: CloneSource): readonly (readonly Access[])[] {
  const create = (group: string, version: string, resource: string, subresource?: string): Access => ({
    namespace,
    verb: 'create',
    group,
    version,
    resource,
    ...(subresource === undefined ? {} : { subresource }),
    name,
  })
  const explicit = create(cdiGroup, 'v1beta1', 'datavolumes', 'source')
  const pods = create('', 'v1', 'pods')
  if (kind === 'pvc') return [[explicit], [pods]]
  // There is no resource named "pvcs", but bindings to it exist, and clients ask for it; the real name counts as well.
  return [[explicit], ...['pvcs', 'persistentvolumeclaims'].map((claims) => [pods, create('', 'v1', claims)])]
}

/** The resource that a token names. */
export function tokenResourceOf({ kind }: CloneSource): TokenClaims['resource'] {
  return kind === 'pvc'
    ? { group: '', version: 'v1', resource: 'persistentvolumeclaims' }
    : { group: 'snapshot.storage.k8s.io', version: 'v1', resource: 'volumesnapshots' }
}
