/** Whether a claim still needs its data, and whose it is (contract/datavolume.md §12). */
import { annotations, messages } from '../../api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { controllerOf, isControlledBy } from '../../kube/owners.ts'
import { annotationOf, isAnnotatedTrue, parseBoolean } from '../shared/annotated.ts'
import { claimPhase } from '../shared/claim.ts'

export interface OwnershipInput {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim
  /** Feature gate DataVolumeClaimAdoption. */
  readonly adoptionGate: boolean
}

/** The claim holds the data of this DataVolume already (a restore put it there). */
export function isPopulatedFor({ dataVolume, target }: Pick<OwnershipInput, 'dataVolume' | 'target'>): boolean {
  return annotationOf(target, annotations.populatedFor) === dataVolume.metadata.name
}

/** The DataVolume may take over a claim that somebody else made, with whatever is in it. */
export function isAdoptable({ dataVolume, target, adoptionGate }: OwnershipInput): boolean {
  if (annotationOf(target, annotations.createdForDataVolume) === dataVolume.metadata.uid) return false
  const wish = annotationOf(dataVolume, annotations.allowClaimAdoption)
  return wish === undefined ? adoptionGate : (parseBoolean(wish) ?? false)
}

/** The claim has to be filled by us. */
export function needsWork(input: OwnershipInput): boolean {
  return !isPopulatedFor(input) && !isAdoptable(input) && !isPopulatedByOthers(input.target)
}

/** Somebody else, known only to the storage, fills the claim. */
export function isPopulatedByOthers(target: PersistentVolumeClaim): boolean {
  return isAnnotatedTrue(target, annotations.externalPopulation)
}

/** T goes through P: it names a source resource and is marked so. */
export function usesPopulator(target: PersistentVolumeClaim): boolean {
  return target.spec?.dataSourceRef !== undefined && isAnnotatedTrue(target, annotations.usePopulator)
}

/** What stands between a DataVolume and a claim of its name that is there. */
export type Ownership =
  /** It is ours. */
  | 'ours'
  /** It has no owner and may be taken over. */
  | 'free'
  /** It is not ours and cannot be taken. */
  | 'foreign'

export function ownershipOf(input: OwnershipInput): Ownership {
  const { dataVolume, target } = input
  if (isControlledBy(target, dataVolume)) return 'ours'
  if (controllerOf(target)) return 'foreign'
  return isPopulatedFor(input) || isAdoptable(input) ? 'free' : 'foreign'
}

/** The names of the volumes that T may be bound to, if it waits for one that lies ready (§12.2). */
export function expectedVolumes(target: PersistentVolumeClaim): readonly string[] | undefined {
  const text = annotationOf(target, annotations.persistentVolumeList)
  if (text === undefined) return undefined
  try {
    const names: unknown = JSON.parse(text)
    return Array.isArray(names) ? names.filter((name) => typeof name === 'string') : []
  } catch {
    return []
  }
}

/** How a claim that waited for a volume of its own fares. */
export type StaticBinding =
  | { readonly state: 'waiting' | 'arrived' }
  | { readonly state: 'wrong'; readonly message: string }

export function staticBindingOf(target: PersistentVolumeClaim): StaticBinding | undefined {
  const expected = expectedVolumes(target)
  if (!expected) return undefined
  if (claimPhase(target) !== 'Bound') return { state: 'waiting' }
  const volume = target.spec?.volumeName ?? ''
  return expected.includes(volume)
    ? { state: 'arrived' }
    : { state: 'wrong', message: messages.unexpectedVolume(volume) }
}
