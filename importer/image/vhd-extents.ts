/** The block allocation table of a dynamic VHD. Big endian, in sectors. */
import type { ImageMap } from './extents.ts'
import type { VhdTables } from './facts.ts'
import { tablePieces } from './table-pieces.ts'
import type { Place, TablePiece } from './table-pieces.ts'

const sector = 512
const entryBytes = 4
const pieceEntries = 64 * 1024
const unallocated = 0xffff_ffff

export async function* readVhdExtents(map: ImageMap, tables: VhdTables): AsyncGenerator<void> {
  for (const piece of vhdTablePieces(tables, map.virtualSizeBytes)) {
    const entries = await map.read(piece.offset, piece.length)
    placeVhdBlocks({ tables, piece, entries }, (diskOffset, sourceOffset) => {
      map.stored(diskOffset, sourceOffset, tables.blockBytes)
    })
    yield
  }
}

/** The table in pieces, as far as the disk needs it. */
export function vhdTablePieces({ tableOffset, blockBytes }: VhdTables, virtualSizeBytes: number): Iterable<TablePiece> {
  const entries = Math.ceil(virtualSizeBytes / blockBytes)
  return tablePieces({ offset: tableOffset, entries, entryBytes, pieceEntries })
}

/**
 * Places the blocks that hold data, in the order of the disk. In front of each stands a bitmap of its sectors: writers set
 * all of it, and what a disk without a parent holds is not looked up in it, by qemu neither.
 */
export function placeVhdBlocks(
  {
    tables: { blockBytes, bitmapBytes },
    piece: { firstEntry },
    entries,
  }: { readonly tables: VhdTables; readonly piece: TablePiece; readonly entries: Buffer },
  place: Place,
): void {
  for (let at = 0; at < entries.length; at += entryBytes) {
    const entry = entries.readUInt32BE(at)
    if (entry === unallocated) continue
    place((firstEntry + at / entryBytes) * blockBytes, entry * sector + bitmapBytes)
  }
}
