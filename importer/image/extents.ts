/**
 * Which bytes of an image are which bytes of the disk. Tables are read a piece at a time and what lies together is joined,
 * so that memory stays bounded however large the disk is; what no extent names reads as zero.
 */
import type { CdiError } from '../../src/errors.ts'
import type { ImageFacts, ImageTables } from './facts.ts'
import { truncatedImage, wholeEnd } from './file-end.ts'
import type { ReadImage } from './header-reader.ts'
import { invalidImage } from './invalid-image.ts'
import { readQcow2Extents } from './qcow2-extents.ts'
import { readVdiExtents } from './vdi-extents.ts'
import { readVhdExtents } from './vhd-extents.ts'
import { readVhdxExtents } from './vhdx-extents.ts'
import { readVmdkExtents } from './vmdk-extents.ts'

/** `stored`: as it is; `deflate`: a raw deflate stream (qcow2); `grain`: a marker and a zlib stream (VMDK). */
export type Coding = 'stored' | 'deflate' | 'grain'

/** A piece of the disk and where it is in the image, in bytes. */
export interface Extent {
  readonly coding: Coding
  readonly diskOffset: number
  /** What of the disk it holds; what was packed may decode to more at the end of the disk. */
  readonly diskBytes: number
  readonly sourceOffset: number
  /** If stored the same as `diskBytes`, else a bound: the stream may end before. */
  readonly sourceBytes: number
}

const mostTableReads = 8
const largestTableReadBytes = 1024 * 1024

/** What the readers of all formats need: checked reads, and a list that joins neighbours. */
export class ImageMap {
  readonly name: string
  readonly format: string
  readonly virtualSizeBytes: number
  readonly #sizeBytes: number
  readonly #lastBytes: number
  readonly #read: ReadImage
  #extents: Extent[] = []

  constructor({
    facts,
    sizeBytes,
    name,
    read,
  }: {
    facts: ImageFacts
    sizeBytes: number
    name: string
    read: ReadImage
  }) {
    this.name = name
    this.format = facts.format
    this.virtualSizeBytes = facts.virtualSizeBytes
    this.#sizeBytes = sizeBytes
    this.#lastBytes = wholeEnd(facts, sizeBytes)
    this.#read = read
  }

  /** Reads a piece of a table. Throws CDI_CONVERT_FAILED if it does not lie in the image. */
  async read(offset: number, length: number): Promise<Buffer> {
    if (offset + length > this.#sizeBytes) throw this.#truncated(offset + length)
    return this.#read(offset, length)
  }

  /** Reads tables of one length, several at once, and those that lie together in one go. The answers are in turn. */
  async readTables(offsets: readonly number[], length: number): Promise<readonly Buffer[]> {
    const found: Buffer[] = []
    const order = [...offsets.keys()].sort((one, other) => (offsets[one] ?? 0) - (offsets[other] ?? 0))
    const groups: number[][] = []
    for (const index of order) {
      const group = groups.at(-1)
      const first = offsets[group?.[0] ?? 0] ?? 0
      const last = offsets[group?.at(-1) ?? 0] ?? 0
      const at = offsets[index] ?? 0
      const joins = at <= last + length && at + length - first <= largestTableReadBytes
      if (group !== undefined && joins) group.push(index)
      else groups.push([index])
    }
    for (let next = 0; next < groups.length; next += mostTableReads) {
      await Promise.all(
        groups.slice(next, next + mostTableReads).map(async (group) => {
          const first = offsets[group[0] ?? 0] ?? 0
          const last = offsets[group.at(-1) ?? 0] ?? 0
          const bytes = await this.read(first, last + length - first)
          for (const index of group) {
            const at = (offsets[index] ?? 0) - first
            found[index] = bytes.subarray(at, at + length)
          }
        }),
      )
    }
    return found
  }

  /** Adds a piece that lies in the image as it is; what reaches over the end of the disk is cut off. */
  stored(diskOffset: number, sourceOffset: number, length: number): void {
    const end = sourceOffset + length
    if (end > this.#lastBytes) throw this.#truncated(end)
    const diskBytes = Math.min(length, this.virtualSizeBytes - diskOffset, this.#sizeBytes - sourceOffset)
    if (diskBytes <= 0) return
    const last = this.#extents.at(-1)
    if (
      last?.coding === 'stored' &&
      last.diskOffset + last.diskBytes === diskOffset &&
      last.sourceOffset + last.sourceBytes === sourceOffset
    ) {
      const joined = last.diskBytes + diskBytes
      this.#extents[this.#extents.length - 1] = { ...last, diskBytes: joined, sourceBytes: joined }
      return
    }
    this.#extents.push({ coding: 'stored', diskOffset, diskBytes, sourceOffset, sourceBytes: diskBytes })
  }

  /** Adds a unit that is packed into at most `sourceBytes`. */
  packed(
    coding: 'deflate' | 'grain',
    { diskOffset, diskBytes, sourceOffset, sourceBytes }: Omit<Extent, 'coding'>,
  ): void {
    if (diskOffset >= this.virtualSizeBytes) return
    if (sourceOffset >= this.#sizeBytes) throw this.#truncated(sourceOffset)
    this.#extents.push({
      coding,
      diskOffset,
      diskBytes: Math.min(diskBytes, this.virtualSizeBytes - diskOffset),
      sourceOffset,
      sourceBytes: Math.min(sourceBytes, this.#sizeBytes - sourceOffset),
    })
  }

  /** What was added since the last call. */
  take(): readonly Extent[] {
    const taken = this.#extents
    this.#extents = []
    return taken
  }

  invalid(why: string): CdiError {
    return invalidImage(this)(why)
  }

  #truncated(wantedBytes: number): CdiError {
    return truncatedImage({ name: this.name, sizeBytes: this.#sizeBytes, wantedBytes })
  }
}

/** Adds extents to the map, and stops for a moment whenever a piece of the tables is through. */
export function readExtents(map: ImageMap, tables: ImageTables): AsyncGenerator<void> {
  switch (tables.kind) {
    case 'qcow2':
      return readQcow2Extents(map, tables)
    case 'vhd':
      return readVhdExtents(map, tables)
    case 'vhdx':
      return readVhdxExtents(map, tables)
    case 'vmdk':
      return readVmdkExtents(map, tables)
    case 'vdi':
      return readVdiExtents(map, tables)
    default:
      return tables satisfies never
  }
}
