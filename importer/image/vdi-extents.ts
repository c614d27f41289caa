/** The block map of a VDI image. Little endian. */
import type { ImageMap } from './extents.ts'
import type { VdiTables } from './facts.ts'
import { tablePieces } from './table-pieces.ts'
import type { Place, TablePiece } from './table-pieces.ts'

const entryBytes = 4
const pieceEntries = 64 * 1024
/** Entries from here on mean that a block was never written, or was given up. */
const firstUnallocated = 0xffff_fffe

export async function* readVdiExtents(map: ImageMap, tables: VdiTables): AsyncGenerator<void> {
  for (const piece of vdiMapPieces(tables, map.virtualSizeBytes)) {
    const entries = await map.read(piece.offset, piece.length)
    placeVdiBlocks({ tables, piece, entries }, (diskOffset, sourceOffset) => {
      map.stored(diskOffset, sourceOffset, tables.blockBytes)
    })
    yield
  }
}

/** The map in pieces, as far as the disk needs it. */
export function vdiMapPieces({ mapOffset, blockBytes }: VdiTables, virtualSizeBytes: number): Iterable<TablePiece> {
  const entries = Math.ceil(virtualSizeBytes / blockBytes)
  return tablePieces({ offset: mapOffset, entries, entryBytes, pieceEntries })
}

/** Places the blocks that hold data, in the order of the disk. */
export function placeVdiBlocks(
  {
    tables: { dataOffset, blockBytes },
    piece: { firstEntry },
    entries,
  }: { readonly tables: VdiTables; readonly piece: TablePiece; readonly entries: Buffer },
  place: Place,
): void {
  for (let at = 0; at < entries.length; at += entryBytes) {
    const entry = entries.readUInt32LE(at)
    if (entry >= firstUnallocated) continue
    place((firstEntry + at / entryBytes) * blockBytes, dataOffset + entry * blockBytes)
  }
}
