/** The tables of a qcow2 image with standard clusters (QEMU docs/interop/qcow2, "Cluster mapping"). Big endian. */
import type { ImageMap } from './extents.ts'
import type { Qcow2Tables } from './facts.ts'
import { offsetAt, readL2Table, tableCoverBytes } from './qcow2-table.ts'
import type { Qcow2Pieces } from './qcow2-table.ts'

/** Entries of second-level tables that are read together, unless a single one has more. */
const entriesAtOnce = 64 * 1024
const l1PieceBytes = 64 * 1024

export async function* readQcow2Extents(map: ImageMap, tables: Qcow2Tables): AsyncGenerator<void> {
  const { l1Offset, l1Entries, version, clusterBits } = tables
  const clusterBytes = 2 ** clusterBits
  const layout = { version, clusterBits, extendedL2: false }
  const coveredBytes = tableCoverBytes(layout)
  const pieces: Qcow2Pieces = {
    stored: (diskOffset, sourceOffset, length) => map.stored(diskOffset, sourceOffset, length),
    packed: (diskOffset, sourceOffset, sourceBytes) =>
      map.packed('deflate', { diskOffset, diskBytes: clusterBytes, sourceOffset, sourceBytes }),
    invalid: (why) => map.invalid(why),
  }
  const tablesAtOnce = Math.max(1, entriesAtOnce / (clusterBytes / 8))
  for (let done = 0; done < l1Entries; done += l1PieceBytes / 8) {
    const count = Math.min(l1PieceBytes / 8, l1Entries - done)
    const l1 = await map.read(l1Offset + done * 8, count * 8)
    let wanted: { readonly diskStart: number; readonly offset: number }[] = []
    for (let index = 0; index < count; index += 1) {
      const offset = offsetAt(l1, index * 8)
      if (offset % clusterBytes !== 0) throw map.invalid(`a table stands at byte ${offset}`)
      if (offset !== 0) wanted.push({ diskStart: (done + index) * coveredBytes, offset })
      if (wanted.length < tablesAtOnce && index + 1 < count) continue
      const found = await map.readTables(
        wanted.map(({ offset }) => offset),
        clusterBytes,
      )
      for (const [at, { diskStart }] of wanted.entries()) {
        readL2Table({ layout, l2: found[at] as Buffer, diskStart, diskEnd: map.virtualSizeBytes, pieces })
      }
      wanted = []
      yield
    }
  }
}
