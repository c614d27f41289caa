/** Dynamic VHD in one pass: the block table stands in front, blocks follow in any order, behind them the footer. */
import type { VhdTables } from '../facts.ts'
import { placeVhdBlocks, vhdTablePieces } from '../vhd-extents.ts'
import { BlockClaims } from './block-claims.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import { readInTurn } from './in-turn.ts'
import type { InTurn } from './in-turn.ts'
import type { ReaderInput } from './readers.ts'

export function readVhdForward(input: ReaderInput<VhdTables>): ForwardReader {
  return (tables) => readInTurn(tables, readBlockTable(input, tables))
}

function* readBlockTable(
  { layout, facts: { virtualSizeBytes } }: ReaderInput<VhdTables>,
  tables: ForwardTables,
): InTurn {
  const claims = new BlockClaims({ tables, virtualSizeBytes, blockBytes: layout.blockBytes })
  for (const piece of vhdTablePieces(layout, virtualSizeBytes)) {
    const entries = yield piece
    placeVhdBlocks({ tables: layout, piece, entries }, (diskOffset, sourceOffset) => {
      claims.add(diskOffset, sourceOffset)
    })
  }
  claims.requireWhole()
  tables.complete()
}
