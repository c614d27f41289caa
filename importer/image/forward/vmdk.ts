/**
 * VMDK with stored grains in one pass: directory and tables stand in front, grains follow in any order. Copies of both,
 * in front of them, are passed over.
 */
import type { VmdkOnePass } from '../facts.ts'
import { invalidImage } from '../invalid-image.ts'
import { placeVmdkGrains, placeVmdkTables, vmdkDirectoryPieces } from '../vmdk-extents.ts'
import { BlockClaims } from './block-claims.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import { readInTurn } from './in-turn.ts'
import type { InTurn } from './in-turn.ts'
import type { ReaderInput } from './readers.ts'

export function readVmdkForward(input: ReaderInput<VmdkOnePass>): ForwardReader {
  return (tables) => readInTurn(tables, readTables(input, tables))
}

function* readTables(
  { layout, facts: { format, virtualSizeBytes }, name }: ReaderInput<VmdkOnePass>,
  tables: ForwardTables,
): InTurn {
  const { copies, grainBytes, tableEntries } = layout
  const invalid = invalidImage({ name, format })
  const requireOwn = (offset: number): void => {
    if (offset >= copies.offset && offset < copies.offset + copies.length) {
      throw invalid(`what lies at byte ${offset} belongs to its tables and to their copies`)
    }
  }
  if (copies.length > 0) tables.ignore(copies.offset, copies.length)

  const wanted: { readonly diskStart: number; readonly offset: number }[] = []
  for (const piece of vmdkDirectoryPieces(layout)) {
    const directory = yield piece
    placeVmdkTables({ tables: layout, piece, directory }, (diskStart, offset) => {
      requireOwn(offset)
      wanted.push({ diskStart, offset })
    })
  }
  // In the order of the file, so that none has passed when its turn comes.
  wanted.sort((one, other) => one.offset - other.offset)

  const claims = new BlockClaims({ tables, virtualSizeBytes, blockBytes: grainBytes })
  for (const { diskStart, offset } of wanted) {
    const table = yield { offset, length: tableEntries * 4 }
    placeVmdkGrains({ tables: layout, table, diskStart, virtualSizeBytes }, (diskOffset, sourceOffset) => {
      requireOwn(sourceOffset)
      claims.add(diskOffset, sourceOffset)
    })
  }
  tables.complete()
}
