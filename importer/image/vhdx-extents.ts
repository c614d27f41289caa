/** The block allocation table of a VHDX image without a parent ([MS-VHDX] 2.5). Little endian. */
import type { ImageMap } from './extents.ts'
import type { VhdxTables } from './facts.ts'

const pieceEntries = 32 * 1024
const mebibyte = 1024 * 1024
/** Not present, undefined, zero, unmapped, and unmapped as an early version of the format wrote it. */
const zeroStates = new Set([0, 1, 2, 3, 5])
const fullyPresent = 6

export async function* readVhdxExtents(map: ImageMap, tables: VhdxTables): AsyncGenerator<void> {
  const { batOffset, batEntries, chunkRatio, blockBytes } = tables
  for (let done = 0; done < batEntries; done += pieceEntries) {
    const count = Math.min(pieceEntries, batEntries - done)
    const bat = await map.read(batOffset + done * 8, count * 8)
    for (let index = 0; index < count; index += 1) {
      const entry = done + index
      const chunk = Math.floor(entry / (chunkRatio + 1))
      // Bitmaps say what a difference holds; there is none.
      if (entry % (chunkRatio + 1) === chunkRatio) continue
      const state = bat.readUInt8(index * 8) & 7
      if (zeroStates.has(state)) continue
      if (state !== fullyPresent) throw map.invalid(`a block has state ${state}`)
      // The upper 44 bits count mebibytes.
      const upper = bat.readUInt32LE(index * 8 + 4)
      const sourceOffset = (upper * 4096 + (bat.readUInt32LE(index * 8) >>> 20)) * mebibyte
      if (sourceOffset < mebibyte) throw map.invalid('a block lies within its headers')
      map.stored((entry - chunk) * blockBytes, sourceOffset, blockBytes)
    }
    yield
  }
}
