/**
 * The kinds of DataVolumes that this controller answers for. A new one is one file in `sources/` and one entry here; clones
 * have a kind each, since a sourceRef may name anything.
 */
import type { DataVolume } from '../../api/kinds.ts'
import type { CloneOrder } from '../clone/tokens.ts'
import { namedOrder } from './clone/order.ts'
import { cloneKind } from './sources/clone.ts'
import { importKind } from './sources/import.ts'
import type { PlainSourceKind, SourceKind } from './sources/source-kind.ts'
import { uploadKind } from './sources/upload.ts'

const plainKinds: readonly PlainSourceKind[] = [importKind, uploadKind]

/**
 * Who fills a DataVolume; undefined for those that others fill, or nobody here.
 * @param order what it clones, as far as that is known better than by the DataVolume itself
 */
export function sourceKindOf(dataVolume: DataVolume, order?: CloneOrder): SourceKind | undefined {
  const clone = order ?? namedOrder(dataVolume)
  return clone ? cloneKind(clone) : plainKinds.find((kind) => kind.serves(dataVolume))
}
