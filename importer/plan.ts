/**
 * Which way the bytes go. Pure: from what the source can do, how the data is packed and what disk format it holds, to one
 * named route and the reason, which the log and `cdi inspect` show.
 */
import type { Encoding } from './formats/decoder.ts'
import type { DiskFormat } from './formats/detect.ts'
import type { ImageFacts } from './image/facts.ts'

export type Route =
  | 'copyRanges'
  | 'copyStream'
  | 'copyExtents'
  | 'convertRanges'
  | 'convertStream'
  | 'convertStaged'
  | 'unpackArchive'

export interface PlanInput {
  readonly contentType: 'kubevirt' | 'archive'
  readonly source: {
    readonly kind: 'ranged' | 'forward'
    /** Ranged only: every piece is proved to come from one version. */
    readonly pinned: boolean
  }
  /** Outer encodings, outermost first. */
  readonly encodings: readonly Encoding[]
  readonly format: DiskFormat
  /** Images: their tables, or why only qemu-img reads them. */
  readonly tables?: ImageFacts['tables']
  /** Images: what reading them in one pass goes by, or why they have to be staged; absent if their headers were not seen. */
  readonly onePass?: ImageFacts['onePass']
  /** A digest has to see every byte, in order. */
  readonly checksum?: boolean
}

export interface Plan {
  readonly route: Route
  /** Why this route, as a clause: `the source can be read by ranges and holds a raw disk`. */
  readonly why: string
  readonly needsScratch: boolean
}

/** Chooses the route; never throws. */
export function planImport({
  contentType,
  source,
  encodings,
  format,
  tables,
  onePass,
  checksum = false,
}: PlanInput): Plan {
  if (contentType === 'archive') {
    return { route: 'unpackArchive', why: 'the content type is archive', needsScratch: false }
  }
  const packed = encodings.length > 0
  if (format === 'raw') {
    if (packed) {
      return {
        route: 'copyStream',
        why: `a raw disk inside ${encodings.join(' in ')} is decoded as it arrives`,
        needsScratch: false,
      }
    }
    if (source.kind === 'forward') {
      return { route: 'copyStream', why: 'a raw disk from a source that can only be read forward', needsScratch: false }
    }
    if (!source.pinned) {
      return {
        route: 'copyStream',
        why: 'a raw disk from a source whose validator may hide a change: pieces of two versions could be mixed, so one stream is read',
        needsScratch: false,
      }
    }
    return {
      route: 'copyRanges',
      why: 'a raw disk from a source that can be read by ranges, several at once',
      needsScratch: false,
    }
  }
  if (source.kind === 'ranged' && !packed) {
    const left = leftToQemu({ source, tables, checksum })
    const access = `${format} from a source that can be read by ranges`
    if (left === undefined) {
      return {
        route: 'copyExtents',
        why: `${access}: its tables say where the data lies, which is copied from there`,
        needsScratch: false,
      }
    }
    return {
      route: 'convertRanges',
      why: `${access}: only what is needed is fetched, by qemu-img because ${left}`,
      needsScratch: false,
    }
  }
  const access = packed
    ? `${format} inside ${encodings.join(' in ')}`
    : `${format} from a source that can only be read forward`
  if (typeof onePass === 'object') {
    return { route: 'convertStream', why: `${access}: converted while it streams by`, needsScratch: false }
  }
  const staged = onePass ?? 'its headers are not all among the first bytes'
  return {
    route: 'convertStaged',
    why: `${access}: staged before it is converted, because ${staged}`,
    needsScratch: true,
  }
}

/** Why qemu-img converts the image, as a clause; undefined if we copy from it ourselves. */
function leftToQemu({
  source,
  tables,
  checksum,
}: Pick<PlanInput, 'source' | 'tables' | 'checksum'>): string | undefined {
  if (typeof tables === 'string') return tables
  if (tables === undefined) return 'its tables are of another kind'
  if (!source.pinned) return 'its validator may hide a change'
  return checksum ? 'the checksum takes all bytes in order' : undefined
}
