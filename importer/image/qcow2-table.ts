/**
 * What the entries of a qcow2 table mean (QEMU docs/interop/qcow2, "Cluster mapping" and "Extended L2 Entries"). Big
 * endian. Pure: whoever reads the tables, by ranges or as they pass, hands them in and gets the pieces of the disk.
 */
import type { CdiError } from '../../src/errors.ts'

/** Of the upper half of an entry. */
const offsetHighBits = 0x00ff_ffff
const compressedBit = 0x4000_0000
/** The lower nine bits hold flags. */
const lowFlags = 512
const zeroBit = 1
const high = 2 ** 32
/** Of a cluster, where entries have a bitmap of them. */
const subclusters = 32
const sector = 512

export interface Qcow2Layout {
  readonly version: number
  readonly clusterBits: number
  /** Entries of 16 bytes, with a bitmap of subclusters. */
  readonly extendedL2: boolean
}

/** Told what a table says, in the order of the disk. Offsets and lengths in bytes. */
export interface Qcow2Pieces {
  /** A piece that lies in the file as it is; at the end of the disk it may reach over it. */
  stored(diskOffset: number, sourceOffset: number, length: number): void
  /** A cluster that is packed into at most `sourceBytes`. */
  packed(diskOffset: number, sourceOffset: number, sourceBytes: number): void
  /** Space of the file that is set aside but reads as zeros. */
  unused?(sourceOffset: number, length: number): void
  invalid(why: string): CdiError
}

/** How much of the disk a second-level table describes. */
export function tableCoverBytes({ clusterBits, extendedL2 }: Qcow2Layout): number {
  return 2 ** clusterBits * (2 ** clusterBits / entryBytes(extendedL2))
}

export function entryBytes(extendedL2: boolean): number {
  return extendedL2 ? 16 : 8
}

/** Where the table or cluster of an entry stands; 0 for none. From 2^53 on it is not exact. */
export function offsetAt(table: Buffer, at: number): number {
  const lower = table.readUInt32BE(at + 4)
  return (table.readUInt32BE(at) & offsetHighBits) * high + lower - (lower % lowFlags)
}

/**
 * Reads the second-level table of what begins at `diskStart`, up to the end of the disk. Throws what `pieces.invalid`
 * makes of entries that contradict themselves.
 */
export function readL2Table({
  layout: { version, clusterBits, extendedL2 },
  l2,
  diskStart,
  diskEnd,
  pieces,
}: {
  readonly layout: Qcow2Layout
  readonly l2: Buffer
  readonly diskStart: number
  readonly diskEnd: number
  readonly pieces: Qcow2Pieces
}): void {
  const clusterBytes = 2 ** clusterBits
  const step = entryBytes(extendedL2)
  const end = Math.min(l2.length, Math.ceil((diskEnd - diskStart) / clusterBytes) * step)
  // A compressed cluster's entry holds its offset in the lower bits and its sectors in as many as remain of 62.
  const sectorsShift = 62 - (clusterBits - 8) - 32
  for (let at = 0, diskOffset = diskStart; at < end; at += step, diskOffset += clusterBytes) {
    const upper = l2.readUInt32BE(at)
    if ((upper & compressedBit) !== 0) {
      const sourceOffset = (upper & (2 ** sectorsShift - 1)) * high + l2.readUInt32BE(at + 4)
      const sectors = ((upper & (compressedBit - 1)) >>> sectorsShift) + 1
      pieces.packed(diskOffset, sourceOffset, sectors * sector - (sourceOffset % sector))
      continue
    }
    const sourceOffset = offsetAt(l2, at)
    if (sourceOffset % clusterBytes !== 0) throw pieces.invalid(`a cluster stands at byte ${sourceOffset}`)
    if (extendedL2) {
      const zeros = l2.readUInt32BE(at + 8)
      const allocated = l2.readUInt32BE(at + 12)
      addSubclusters({ pieces, diskOffset, sourceOffset, clusterBytes, zeros, allocated })
      continue
    }
    const isZero = (l2.readUInt8(at + 7) & zeroBit) !== 0
    if (isZero && version < 3) throw pieces.invalid('version 2 with a cluster of zeros')
    if (sourceOffset === 0) continue
    if (isZero) pieces.unused?.(sourceOffset, clusterBytes)
    else pieces.stored(diskOffset, sourceOffset, clusterBytes)
  }
}

function addSubclusters({
  pieces,
  diskOffset,
  sourceOffset,
  clusterBytes,
  zeros,
  allocated,
}: {
  readonly pieces: Qcow2Pieces
  readonly diskOffset: number
  readonly sourceOffset: number
  readonly clusterBytes: number
  /** A bit for each subcluster, the first in the lowest. */
  readonly zeros: number
  readonly allocated: number
}): void {
  if ((zeros & allocated) !== 0) throw pieces.invalid('a subcluster both of data and of zeros')
  if (sourceOffset === 0) {
    if (allocated !== 0) throw pieces.invalid('a subcluster of data without a place')
    return
  }
  const length = clusterBytes / subclusters
  for (let from = 0; from < subclusters;) {
    const isData = (allocated >>> from) & 1
    let to = from + 1
    while (to < subclusters && ((allocated >>> to) & 1) === isData) to += 1
    const start = from * length
    const bytes = (to - from) * length
    if (isData === 1) pieces.stored(diskOffset + start, sourceOffset + start, bytes)
    else pieces.unused?.(sourceOffset + start, bytes)
    from = to
  }
}
