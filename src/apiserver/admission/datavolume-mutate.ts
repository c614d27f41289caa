/**
 * What is put into a DataVolume before it is stored: the token that says its maker may read the source of a clone
 * (contract/platform.md §8.1, clone.md §2.1). This runs before the schema: anything may be missing, and is left to the
 * schema to complain about.
 */
import { randomInt } from 'node:crypto'
import { annotations } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import { resolveDataSource } from '../../controllers/datasource/resolve.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { TokenClaims } from '../../tokens/token.ts'
import type { AskAccess, User } from '../access.ts'
import { insufficientRights, mayClone } from './clone-rights.ts'
import { cloneWishOf, tokenResourceOf } from './clone-source.ts'
import type { CloneSource } from './clone-source.ts'
import { fieldsOf, isFields, isSameSpec } from './fields.ts'
import type { Fields } from './fields.ts'
import { hasWellFormedQuantities, quantityMessage } from './quantities.ts'
import { metadataOf } from './review.ts'
import type { AdmissionRequest } from './review.ts'
import { specChange } from './spec-change.ts'
import { admitted, invalid, pointerTo, refused, rejected } from './verdict.ts'
import type { PatchStep, Verdict } from './verdict.ts'

export interface MutateDependencies {
  readonly client: Pick<KubeClient, 'get'>
  readonly askAccess: AskAccess
  /** Signs a token for a clone. */
  readonly signToken: (claims: TokenClaims) => Promise<string>
  /** The end of a generated name; random unless told. */
  readonly nameSuffix?: (() => string) | undefined
}

/**
 * Checks, authorizes, signs. An update that leaves the source alone passes without a review: whoever may edit labels need
 * not have rights on a source that was cloned long ago.
 */
export async function mutateDataVolume(
  request: AdmissionRequest,
  dependencies: MutateDependencies,
  signal: AbortSignal,
): Promise<Verdict> {
  const { operation, namespace, object, oldObject, user } = request
  const spec = fieldsOf(object['spec'])
  const metadata = metadataOf(object)
  if (metadata.isBeingDeleted) return admitted
  const before = fieldsOf(oldObject['spec'])
  if (operation === 'UPDATE' && specChange(before, spec) === 'none') return admitted
  if (!hasWellFormedQuantities(spec)) return refused(quantityMessage)
  if (operation === 'UPDATE' && isSameSpec(originIn(before), originIn(spec))) return admitted
  const found = await findSource(request, dependencies, signal)
  if (found === undefined) return admitted
  const fault =
    'fault' in found ? found.fault : await rightsFault(found.source, { user, namespace }, dependencies, signal)
  if (fault) return isWaived(metadata.annotations) ? admitted : fault
  if ('fault' in found || operation !== 'CREATE') return admitted
  const { source } = found
  const { name, patch } = nameFor(metadata, dependencies.nameSuffix ?? randomSuffix)
  const token = await dependencies.signToken({
    operation: 'Clone',
    name: source.name,
    namespace: source.namespace,
    resource: tokenResourceOf(source),
    params: { targetNamespace: namespace, targetName: name },
  })
  return { allowed: true, patch: [...patch, ...annotationPatch(object['metadata'], annotations.cloneToken, token)] }
}

/** The part of a spec that says what is cloned. */
function originIn({ source, sourceRef }: Fields): Fields {
  return { source, sourceRef }
}

type Found = { readonly source: CloneSource } | { readonly fault: Verdict }

/** The source of a clone, what is in the way, or undefined when this is no clone (yet). */
async function findSource(
  { object, namespace }: AdmissionRequest,
  { client }: MutateDependencies,
  signal: AbortSignal,
): Promise<Found | undefined> {
  const wish = cloneWishOf(fieldsOf(object['spec']), namespace)
  switch (wish.from) {
    case 'nothing':
      return undefined
    case 'source':
      return { source: wish.source }
    case 'dataSource': {
      const dataSource = await client.get(kinds.dataSource, { namespace: wish.namespace, name: wish.name }, signal)
      if (!dataSource) return { fault: refused(`datasources.cdi.kubevirt.io "${wish.name}" not found`) }
      const source = resolveDataSource(dataSource)
      return source && { source }
    }
    default:
      return wish satisfies never
  }
}

/** Why the user may not clone this source into the namespace; undefined when nothing speaks against it. */
async function rightsFault(
  source: CloneSource,
  { user, namespace }: { readonly user: User; readonly namespace: string },
  { client, askAccess }: MutateDependencies,
  signal: AbortSignal,
): Promise<Verdict | undefined> {
  if (source.namespace === namespace) return undefined
  const home = await client.get(kinds.namespace, { name: source.namespace }, signal)
  if (!home) return refused(`namespaces "${source.namespace}" not found`)
  if (await mayClone(user, source, askAccess, signal)) return undefined
  return rejected(invalid('spec.source.PVC.namespace', insufficientRights(user, source.namespace)))
}

/** The data is there already, or may be: then nothing will be cloned, and no right is needed. */
function isWaived(own: Readonly<Record<string, string>>): boolean {
  return own[annotations.prePopulated] !== undefined || own[annotations.checkStaticVolume] !== undefined
}

/**
 * The name of the target. The API server generates names only after this webhook, but the token must contain it: so it is
 * generated here, in the API server's way.
 */
function nameFor(
  { name, generateName }: { readonly name: string; readonly generateName: string },
  suffix: () => string,
): { readonly name: string; readonly patch: readonly PatchStep[] } {
  if (name !== '' || generateName === '') return { name, patch: [] }
  const generated = `${generateName.slice(0, longestGenerateName)}${suffix()}`
  return { name: generated, patch: [{ op: 'add', path: '/metadata/name', value: generated }] }
}

/** The API server cuts there, so that five more characters fit into a label. */
const longestGenerateName = 58
/** No vowels and nothing that looks like one: no words come out. */
const suffixCharacters = 'bcdfghjklmnpqrstvwxz2456789'

function randomSuffix(): string {
  return Array.from({ length: 5 }, () => suffixCharacters[randomInt(suffixCharacters.length)]).join('')
}

function annotationPatch(metadata: unknown, key: string, value: string): PatchStep[] {
  if (!isFields(metadata)) return [{ op: 'add', path: '/metadata', value: { annotations: { [key]: value } } }]
  return isFields(metadata['annotations'])
    ? [{ op: 'add', path: pointerTo('metadata', 'annotations', key), value }]
    : [{ op: 'add', path: '/metadata/annotations', value: { [key]: value } }]
}
