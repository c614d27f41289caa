/**
 * The end of an image as qemu should see it. qemu takes what lies beyond the end of a file for zeros: an image that was
 * cut becomes, without a word, a disk that lacks its last files. So a mapped image is shown as larger than it is, and a
 * read that its tables send beyond the end is a fault. Formats that look for something at their end, or compare their
 * tables with it themselves, see it where it is.
 */
import type { ImageFacts } from './facts.ts'
import { truncatedImage } from './file-end.ts'
import type { NbdPieces } from './nbd-server.ts'

const sectorBytes = 512
/** Shown as the size where reads beyond the end are to be noticed: more than any image has, exact as a number. */
const farEndBytes = 2 ** 52

/** Formats whose reader in qemu compares the tables with the end of the file. */
const comparesItself: ReadonlySet<ImageFacts['format']> = new Set(['vhd', 'vhdx'] as const)

type Read = (offset: number, length: number) => Promise<NbdPieces>

/** Sizes in bytes; `read` gets only ranges inside of the source. The result's size is a multiple of 512. */
export function withStrictEnd({
  sizeBytes,
  facts,
  name,
  read,
}: {
  readonly sizeBytes: number
  readonly facts: ImageFacts
  readonly name: string
  readonly read: Read
}): { readonly sizeBytes: number; readonly read: Read } {
  // The last cluster may be there in part: writers end the file behind the last byte that was written.
  const unit = Math.max(facts.clusterBytes ?? sectorBytes, sectorBytes)
  const lastBytes = Math.ceil(sizeBytes / unit) * unit
  const strict = facts.layout === 'mapped' && !comparesItself.has(facts.format)
  return {
    sizeBytes: strict ? farEndBytes : Math.ceil(sizeBytes / sectorBytes) * sectorBytes,
    async read(offset, length) {
      const end = offset + length
      if (end <= sizeBytes) return read(offset, length)
      if (strict && end > lastBytes) {
        throw truncatedImage({ name, sizeBytes, wantedBytes: end })
      }
      const there = Math.max(0, sizeBytes - offset)
      const found: NbdPieces = there > 0 ? await read(offset, there) : { pieces: [] }
      return { ...found, pieces: [...found.pieces, Buffer.alloc(length - there)] }
    },
  }
}
