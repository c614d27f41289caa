/** What an image's headers say, and where its tables are. Types only: the formats and whoever plans by them share these. */
import type { DiskFormat } from '../formats/detect.ts'

export interface ImageFacts {
  readonly format: DiskFormat
  /** Size of the disk as a guest sees it, in bytes. */
  readonly virtualSizeBytes: number
  /** Unit in which the format maps the disk (cluster, grain, block), in bytes. */
  readonly clusterBytes?: number
  /** Words for people: `version 3`, `zstd clusters`, `extended L2`, … */
  readonly features: readonly string[]
  /** `flat`: the disk lies as it is; `mapped`: through tables; `streamed`: mapped, and written in one pass. */
  readonly layout: 'flat' | 'mapped' | 'streamed'
  /** VHD: the field that holds the disk's size, for qemu's `force_size_calc`. */
  readonly vhdSize?: 'chs' | 'current_size'
  /** Things a user may want to know: snapshots that are left out, an unclean shutdown. */
  readonly notes: readonly string[]
  /** The tables, if they are of a kind that we read ourselves; else the reason why not, as a clause. */
  readonly tables?: ImageTables | string
  /**
   * What a reader goes by that sees the image once, from front to end (importer/image/forward); else the reason why it
   * has to be staged, as a clause. Absent if it is not known yet.
   */
  readonly onePass?: OnePass | string
}

/** Where an image's tables are. All offsets and lengths are in bytes of the image file and were checked to lie in it. */
export type ImageTables = Qcow2Tables | VhdTables | VhdxTables | VmdkTables | VdiTables

export interface Qcow2Tables {
  readonly kind: 'qcow2'
  readonly version: number
  readonly l1Offset: number
  /** As many as the disk needs. */
  readonly l1Entries: number
  readonly clusterBits: number
}

/** A format that is read in one pass has its entry here and a line in importer/image/forward/readers.ts. */
export type OnePass = Qcow2OnePass | VmdkOnePass | VmdkStreamOnePass | VdiTables | VhdTables | VhdxTables

export interface Qcow2OnePass extends Qcow2Tables {
  /** Entries of 16 bytes, with a bitmap of subclusters. */
  readonly extendedL2: boolean
  /** Of clusters that are packed. */
  readonly coding: 'deflate' | 'zstd'
  /** Of the reference counts, which are not looked at. */
  readonly referenceTableOffset: number
  readonly referenceTableBytes: number
}

export interface VhdTables {
  readonly kind: 'vhd'
  readonly tableOffset: number
  readonly blockBytes: number
  /** Of the bitmap in front of each block. */
  readonly bitmapBytes: number
}

export interface VhdxTables {
  readonly kind: 'vhdx'
  readonly batOffset: number
  /** Payload entries and the bitmap entries between them. */
  readonly batEntries: number
  /** After so many payload entries stands one for a sector bitmap. */
  readonly chunkRatio: number
  readonly blockBytes: number
}

export interface VmdkTables {
  readonly kind: 'vmdk'
  readonly directoryOffset: number
  readonly directoryEntries: number
  /** Entries of each grain table. */
  readonly tableEntries: number
  readonly grainBytes: number
  /** An entry of 1 means zeros. */
  readonly zeroGrains: boolean
  /** Every grain is a marker and a zlib stream. */
  readonly deflated: boolean
}

/** A VMDK of stored grains. */
export interface VmdkOnePass extends VmdkTables {
  /** Where copies of the directory and of all tables lie, which nobody reads; empty if there are none. */
  readonly copies: { readonly offset: number; readonly length: number }
}

/** A VMDK of packed grains. Markers tell of each what it is, so that it can be read whether its tables come first or last. */
export interface VmdkStreamOnePass {
  readonly kind: 'vmdk-stream'
  /** Absent if only the footer tells. */
  readonly directoryOffset?: number
  readonly directoryEntries: number
  readonly tableEntries: number
  readonly grainBytes: number
  readonly zeroGrains: boolean
  /** Where the first marker stands. */
  readonly firstMarkerOffset: number
}

export interface VdiTables {
  readonly kind: 'vdi'
  readonly mapOffset: number
  readonly dataOffset: number
  readonly blockBytes: number
}

/** The smallest unit of tables that we read: below, the account of what was written to a device would grow too large. */
export const leastUnitBytes = 64 * 1024
