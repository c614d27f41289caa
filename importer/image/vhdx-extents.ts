/** The block allocation table of a VHDX image without a parent ([MS-VHDX] 2.5). Little endian. */
import type { ImageMap } from './extents.ts'
import type { VhdxTables } from './facts.ts'
import { invalidImage } from './invalid-image.ts'
import type { Invalid } from './invalid-image.ts'
import { tablePieces } from './table-pieces.ts'
import type { Place, TablePiece } from './table-pieces.ts'

const entryBytes = 8
const pieceEntries = 32 * 1024
const mebibyte = 1024 * 1024
/** Not present, undefined, zero, unmapped, and unmapped as an early version of the format wrote it. */
const zeroStates = new Set([0, 1, 2, 3, 5])
const fullyPresent = 6

export async function* readVhdxExtents(map: ImageMap, tables: VhdxTables): AsyncGenerator<void> {
  for (const piece of vhdxTablePieces(tables)) {
    const entries = await map.read(piece.offset, piece.length)
    placeVhdxBlocks({ tables, piece, entries, invalid: invalidImage(map) }, (diskOffset, sourceOffset) => {
      map.stored(diskOffset, sourceOffset, tables.blockBytes)
    })
    yield
  }
}

/** The table in pieces. */
export function vhdxTablePieces({ batOffset, batEntries }: VhdxTables): Iterable<TablePiece> {
  return tablePieces({ offset: batOffset, entries: batEntries, entryBytes, pieceEntries })
}

/** Places the blocks that hold data, in the order of the disk. Throws what `invalid` makes of what it finds. */
export function placeVhdxBlocks(
  {
    tables: { chunkRatio, blockBytes },
    piece: { firstEntry },
    entries,
    invalid,
  }: {
    readonly tables: VhdxTables
    readonly piece: TablePiece
    readonly entries: Buffer
    readonly invalid: Invalid
  },
  place: Place,
): void {
  for (let at = 0; at < entries.length; at += entryBytes) {
    const entry = firstEntry + at / entryBytes
    const chunk = Math.floor(entry / (chunkRatio + 1))
    // Bitmaps say what a difference holds; there is none.
    if (entry % (chunkRatio + 1) === chunkRatio) continue
    const state = entries.readUInt8(at) & 7
    if (zeroStates.has(state)) continue
    if (state !== fullyPresent) throw invalid(`a block has state ${state}`)
    // The upper 44 bits count mebibytes.
    const upper = entries.readUInt32LE(at + 4)
    const sourceOffset = (upper * 4096 + (entries.readUInt32LE(at) >>> 20)) * mebibyte
    if (sourceOffset < mebibyte) throw invalid('a block lies within its headers')
    place((entry - chunk) * blockBytes, sourceOffset)
  }
}
