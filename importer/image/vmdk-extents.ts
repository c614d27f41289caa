/**
 * Grain directory and grain tables of a VMDK sparse extent (VMware Virtual Disk Format 5.0, "Hosted Sparse Extents").
 * Little endian, in sectors.
 */
import type { ImageMap } from './extents.ts'
import type { VmdkTables } from './facts.ts'

const sector = 512
/** Grain tables that are read together; each describes 32 MiB of disk in grains of 64 KiB. */
const tablesAtOnce = 64
const directoryPieceEntries = 16 * 1024
const zeroGrain = 1

export async function* readVmdkExtents(map: ImageMap, tables: VmdkTables): AsyncGenerator<void> {
  const { directoryOffset, directoryEntries, tableEntries, grainBytes } = tables
  for (let done = 0; done < directoryEntries; done += directoryPieceEntries) {
    const count = Math.min(directoryPieceEntries, directoryEntries - done)
    const directory = await map.read(directoryOffset + done * 4, count * 4)
    let wanted: { readonly diskOffset: number; readonly offset: number }[] = []
    for (let index = 0; index < count; index += 1) {
      const offset = directory.readUInt32LE(index * 4) * sector
      if (offset !== 0) wanted.push({ diskOffset: (done + index) * tableEntries * grainBytes, offset })
      if (wanted.length < tablesAtOnce && index + 1 < count) continue
      const found = await map.readTables(
        wanted.map(({ offset }) => offset),
        tableEntries * 4,
      )
      for (const [at, { diskOffset }] of wanted.entries()) addTable(map, tables, found[at] as Buffer, diskOffset)
      wanted = []
      yield
    }
  }
}

function addTable(
  map: ImageMap,
  { grainBytes, zeroGrains, deflated }: VmdkTables,
  table: Buffer,
  diskStart: number,
): void {
  for (let at = 0; at < table.length; at += 4) {
    const entry = table.readUInt32LE(at)
    const diskOffset = diskStart + (at / 4) * grainBytes
    if (diskOffset >= map.virtualSizeBytes) return
    if (entry === 0 || (zeroGrains && entry === zeroGrain)) continue
    const sourceOffset = entry * sector
    // How long it is says its marker; qemu takes up to two grains.
    if (deflated) map.packed('grain', { diskOffset, diskBytes: grainBytes, sourceOffset, sourceBytes: 2 * grainBytes })
    else map.stored(diskOffset, sourceOffset, grainBytes)
  }
}
