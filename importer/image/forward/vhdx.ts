/** VHDX in one pass: regions, metadata and block table stand in front, blocks follow in any order. */
import type { VhdxTables } from '../facts.ts'
import { invalidImage } from '../invalid-image.ts'
import { placeVhdxBlocks, vhdxTablePieces } from '../vhdx-extents.ts'
import { BlockClaims } from './block-claims.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import { readInTurn } from './in-turn.ts'
import type { InTurn } from './in-turn.ts'
import type { ReaderInput } from './readers.ts'

export function readVhdxForward(input: ReaderInput<VhdxTables>): ForwardReader {
  return (tables) => readInTurn(tables, readBlockTable(input, tables))
}

function* readBlockTable(
  { layout, facts: { format, virtualSizeBytes }, name }: ReaderInput<VhdxTables>,
  tables: ForwardTables,
): InTurn {
  const claims = new BlockClaims({ tables, virtualSizeBytes, blockBytes: layout.blockBytes })
  const invalid = invalidImage({ name, format })
  for (const piece of vhdxTablePieces(layout)) {
    const entries = yield piece
    placeVhdxBlocks({ tables: layout, piece, entries, invalid }, (diskOffset, sourceOffset) => {
      claims.add(diskOffset, sourceOffset)
    })
  }
  claims.requireWhole()
  tables.complete()
}
