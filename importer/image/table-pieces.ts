/** Long tables are read a piece at a time. Pure. */

export interface TablePiece {
  /** Number of the first entry in it. */
  readonly firstEntry: number
  /** Offset in the image and length, in bytes. */
  readonly offset: number
  readonly length: number
}

export function* tablePieces({
  offset,
  entries,
  entryBytes,
  pieceEntries,
}: {
  readonly offset: number
  readonly entries: number
  readonly entryBytes: number
  readonly pieceEntries: number
}): Generator<TablePiece> {
  for (let firstEntry = 0; firstEntry < entries; firstEntry += pieceEntries) {
    const count = Math.min(pieceEntries, entries - firstEntry)
    yield { firstEntry, offset: offset + firstEntry * entryBytes, length: count * entryBytes }
  }
}

/** Hands out what is at one place on the disk and at another one in the image, both in bytes. */
export type Place = (diskOffset: number, sourceOffset: number) => void
