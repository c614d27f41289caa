/**
 * Which way the bytes go. Pure: from what the source can do, how the data is packed and what disk format it holds, to one
 * named route and the reason, which the log and `cdi inspect` show.
 */
import type { Encoding } from './formats/decoder.ts'
import type { DiskFormat } from './formats/detect.ts'

export type Route = 'copyRanges' | 'copyStream' | 'convertRanges' | 'convertStaged' | 'unpackArchive'

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
}

export interface Plan {
  readonly route: Route
  /** Why this route, as a clause: `the source can be read by ranges and holds a raw disk`. */
  readonly why: string
  readonly needsScratch: boolean
}

/** Chooses the route; never throws. */
export function planImport({ contentType, source, encodings, format }: PlanInput): Plan {
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
        why: 'a raw disk from a source without a validator: pieces of two versions could be mixed, so one stream is read',
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
    return {
      route: 'convertRanges',
      why: `${format} from a source that can be read by ranges: only what is needed is fetched`,
      needsScratch: false,
    }
  }
  const reason = packed
    ? `${format} inside ${encodings.join(' in ')}`
    : `${format} from a source that can only be read forward`
  return { route: 'convertStaged', why: `${reason}: staged before it is converted`, needsScratch: true }
}
