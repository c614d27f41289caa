/** The block map of a VDI image. Little endian. */
import type { ImageMap } from './extents.ts'
import type { VdiTables } from './facts.ts'

const pieceEntries = 64 * 1024
/** Entries from here on mean that a block was never written, or was given up. */
const firstUnallocated = 0xffff_fffe

export async function* readVdiExtents(map: ImageMap, tables: VdiTables): AsyncGenerator<void> {
  const { mapOffset, dataOffset, blockBytes } = tables
  const blocks = Math.ceil(map.virtualSizeBytes / blockBytes)
  for (let done = 0; done < blocks; done += pieceEntries) {
    const count = Math.min(pieceEntries, blocks - done)
    const entries = await map.read(mapOffset + done * 4, count * 4)
    for (let index = 0; index < count; index += 1) {
      const entry = entries.readUInt32LE(index * 4)
      if (entry < firstUnallocated) map.stored((done + index) * blockBytes, dataOffset + entry * blockBytes, blockBytes)
    }
    yield
  }
}
