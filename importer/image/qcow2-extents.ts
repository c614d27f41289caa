/** The tables of a qcow2 image with standard clusters (QEMU docs/interop/qcow2, "Cluster mapping"). Big endian. */
import type { ImageMap } from './extents.ts'
import type { Qcow2Tables } from './facts.ts'

/** Entries of second-level tables that are read together, unless a single one has more. */
const entriesAtOnce = 64 * 1024
const l1PieceBytes = 64 * 1024
/** Of the upper half of an entry. */
const offsetHighBits = 0x00ff_ffff
const compressedBit = 0x4000_0000
/** The lower nine bits hold flags. */
const lowFlags = 512
const zeroBit = 1
const high = 2 ** 32

export async function* readQcow2Extents(map: ImageMap, tables: Qcow2Tables): AsyncGenerator<void> {
  const { l1Offset, l1Entries, clusterBits } = tables
  const clusterBytes = 2 ** clusterBits
  const coveredBytes = clusterBytes * (clusterBytes / 8)
  const tablesAtOnce = Math.max(1, entriesAtOnce / (clusterBytes / 8))
  for (let done = 0; done < l1Entries; done += l1PieceBytes / 8) {
    const count = Math.min(l1PieceBytes / 8, l1Entries - done)
    const l1 = await map.read(l1Offset + done * 8, count * 8)
    let wanted: { readonly diskOffset: number; readonly offset: number }[] = []
    for (let index = 0; index < count; index += 1) {
      const offset = offsetAt(l1, index * 8)
      if (offset % clusterBytes !== 0) throw map.invalid(`a table stands at byte ${offset}`)
      if (offset !== 0) wanted.push({ diskOffset: (done + index) * coveredBytes, offset })
      if (wanted.length < tablesAtOnce && index + 1 < count) continue
      const found = await map.readTables(
        wanted.map(({ offset }) => offset),
        clusterBytes,
      )
      for (const [at, { diskOffset }] of wanted.entries()) addTable(map, tables, found[at] as Buffer, diskOffset)
      wanted = []
      yield
    }
  }
}

function addTable(map: ImageMap, { version, clusterBits }: Qcow2Tables, l2: Buffer, diskStart: number): void {
  const clusterBytes = 2 ** clusterBits
  // A compressed cluster's entry holds its offset in the lower bits and its sectors in as many as remain of 62.
  const sectorsShift = 62 - (clusterBits - 8) - 32
  for (let at = 0; at < l2.length; at += 8) {
    const diskOffset = diskStart + (at / 8) * clusterBytes
    if (diskOffset >= map.virtualSizeBytes) return
    const upper = l2.readUInt32BE(at)
    if ((upper & compressedBit) !== 0) {
      const sourceOffset = (upper & (2 ** sectorsShift - 1)) * high + l2.readUInt32BE(at + 4)
      const sectors = ((upper & (compressedBit - 1)) >>> sectorsShift) + 1
      const sourceBytes = sectors * 512 - (sourceOffset % 512)
      map.packed('deflate', { diskOffset, diskBytes: clusterBytes, sourceOffset, sourceBytes })
      continue
    }
    const sourceOffset = offsetAt(l2, at)
    const isZero = (l2.readUInt8(at + 7) & zeroBit) !== 0
    if (sourceOffset % clusterBytes !== 0) throw map.invalid(`a cluster stands at byte ${sourceOffset}`)
    if (isZero && version < 3) throw map.invalid('version 2 with a cluster of zeros')
    if (!isZero && sourceOffset !== 0) map.stored(diskOffset, sourceOffset, clusterBytes)
  }
}

function offsetAt(table: Buffer, at: number): number {
  const lower = table.readUInt32BE(at + 4)
  return (table.readUInt32BE(at) & offsetHighBits) * high + lower - (lower % lowFlags)
}
