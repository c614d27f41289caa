/**
 * Grain directory and grain tables of a VMDK sparse extent (VMware Virtual Disk Format 5.0, "Hosted Sparse Extents").
 * Little endian, in sectors.
 */
import type { ImageMap } from './extents.ts'
import type { VmdkTables } from './facts.ts'
import { tablePieces } from './table-pieces.ts'
import type { Place, TablePiece } from './table-pieces.ts'

const sector = 512
const entryBytes = 4
/** Grain tables that are read together; each describes 32 MiB of disk in grains of 64 KiB. */
const tablesAtOnce = 64
const directoryPieceEntries = 16 * 1024
const zeroGrain = 1

export async function* readVmdkExtents(map: ImageMap, tables: VmdkTables): AsyncGenerator<void> {
  const { tableEntries, grainBytes, deflated } = tables
  const placeGrain: Place = (diskOffset, sourceOffset) => {
    // How long it is says its marker; qemu takes up to two grains.
    if (deflated) map.packed('grain', { diskOffset, diskBytes: grainBytes, sourceOffset, sourceBytes: 2 * grainBytes })
    else map.stored(diskOffset, sourceOffset, grainBytes)
  }
  for (const piece of vmdkDirectoryPieces(tables)) {
    const directory = await map.read(piece.offset, piece.length)
    const wanted: { readonly diskStart: number; readonly offset: number }[] = []
    placeVmdkTables({ tables, piece, directory }, (diskStart, offset) => void wanted.push({ diskStart, offset }))
    for (let done = 0; done < wanted.length; done += tablesAtOnce) {
      const together = wanted.slice(done, done + tablesAtOnce)
      const offsets = together.map(({ offset }) => offset)
      const found = await map.readTables(offsets, tableEntries * entryBytes)
      for (const [at, { diskStart }] of together.entries()) {
        const table = found[at] as Buffer
        placeVmdkGrains({ tables, table, diskStart, virtualSizeBytes: map.virtualSizeBytes }, placeGrain)
      }
      yield
    }
  }
}

/** The grain directory in pieces. */
export function vmdkDirectoryPieces({ directoryOffset, directoryEntries }: VmdkTables): Iterable<TablePiece> {
  return tablePieces({
    offset: directoryOffset,
    entries: directoryEntries,
    entryBytes,
    pieceEntries: directoryPieceEntries,
  })
}

/** Places the grain tables that a piece of the directory names: where on the disk their grains begin, and where they are. */
export function placeVmdkTables(
  {
    tables: { tableEntries, grainBytes },
    piece: { firstEntry },
    directory,
  }: {
    readonly tables: Pick<VmdkTables, 'tableEntries' | 'grainBytes'>
    readonly piece: TablePiece
    readonly directory: Buffer
  },
  place: Place,
): void {
  for (let at = 0; at < directory.length; at += entryBytes) {
    const entry = directory.readUInt32LE(at)
    if (entry !== 0) place((firstEntry + at / entryBytes) * tableEntries * grainBytes, entry * sector)
  }
}

/** Places the grains that hold data, in the order of the disk. */
export function placeVmdkGrains(
  {
    tables: { grainBytes, zeroGrains },
    table,
    diskStart,
    virtualSizeBytes,
  }: {
    readonly tables: Pick<VmdkTables, 'grainBytes' | 'zeroGrains'>
    readonly table: Buffer
    /** Where on the disk the table's first grain begins. */
    readonly diskStart: number
    readonly virtualSizeBytes: number
  },
  place: Place,
): void {
  for (let at = 0; at < table.length; at += entryBytes) {
    const entry = table.readUInt32LE(at)
    const diskOffset = diskStart + (at / entryBytes) * grainBytes
    if (diskOffset >= virtualSizeBytes) return
    if (entry === 0 || (zeroGrains && entry === zeroGrain)) continue
    place(diskOffset, entry * sector)
  }
}
