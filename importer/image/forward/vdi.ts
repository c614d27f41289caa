/** VDI in one pass: the map stands in front, blocks follow in any order. */
import type { VdiTables } from '../facts.ts'
import { placeVdiBlocks, vdiMapPieces } from '../vdi-extents.ts'
import { BlockClaims } from './block-claims.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import { readInTurn } from './in-turn.ts'
import type { InTurn } from './in-turn.ts'
import type { ReaderInput } from './readers.ts'

export function readVdiForward(input: ReaderInput<VdiTables>): ForwardReader {
  return (tables) => readInTurn(tables, readMap(input, tables))
}

function* readMap({ layout, facts: { virtualSizeBytes } }: ReaderInput<VdiTables>, tables: ForwardTables): InTurn {
  const claims = new BlockClaims({ tables, virtualSizeBytes, blockBytes: layout.blockBytes })
  for (const piece of vdiMapPieces(layout, virtualSizeBytes)) {
    const entries = yield piece
    placeVdiBlocks({ tables: layout, piece, entries }, (diskOffset, sourceOffset) => {
      claims.add(diskOffset, sourceOffset)
    })
  }
  tables.complete()
}
