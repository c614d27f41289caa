/**
 * VMDK with packed grains in one pass (VMware Virtual Disk Format 5.0, "Stream-Optimized Compressed Sparse Extents").
 * Grains and tables stand one behind the other, and before each a marker says what it is. VMware and VirtualBox write
 * grains, tables, directory, footer, end; qemu and open-vmdk go back and write directory and tables in front, and qemu
 * leaves out the end. Data is placed by its markers; since other programs find it through the tables, both have to agree.
 */
import type { ImageFacts, VmdkStreamOnePass } from '../facts.ts'
import { invalidImage } from '../invalid-image.ts'
import type { Invalid } from '../invalid-image.ts'
import { tablePieces } from '../table-pieces.ts'
import { parseVmdkExtent } from '../vmdk.ts'
import type { ForwardReader, ForwardTables } from './forward.ts'
import { GrainLedger } from './grain-ledger.ts'
import { readInTurn } from './in-turn.ts'
import type { InTurn, Wanted } from './in-turn.ts'
import type { ReaderInput } from './readers.ts'

const sector = 512
const entryBytes = 4
const pieceEntries = 16 * 1024
/** A sector number, a length, and of what is not a grain the kind: 64, 32 and 32 bits. */
const markerBytes = 16
/** The bytes of a grain begin where the others have their kind. */
const grainMarkerBytes = 12
const kind = { end: 0, table: 1, directory: 2, footer: 3, progress: 4 } as const
/** What follows a marker is as long as it has to be, or padded by no more than this. */
const mostPaddingBytes = 64 * 1024

export function readVmdkStreamForward(input: ReaderInput<VmdkStreamOnePass>): ForwardReader {
  return (tables) => {
    const walk = new Walk(input, tables)
    const { directoryOffset, firstMarkerOffset } = input.layout
    const isInFront = directoryOffset !== undefined && directoryOffset < firstMarkerOffset
    readInTurn(tables, isInFront ? walk.behindTables(directoryOffset) : walk.beforeTables())
  }
}

interface Marker {
  /** A grain: its first sector on the disk; else: how many sectors follow. */
  readonly sectors: number
  /** Bytes of a packed grain; 0 if it is something else. */
  readonly grainBytes: number
  readonly kind: number
}

class Walk {
  readonly #layout: VmdkStreamOnePass
  readonly #facts: ImageFacts
  readonly #tables: ForwardTables
  readonly #invalid: Invalid
  readonly #ledger: GrainLedger
  /** Where the next marker stands. */
  #offset: number
  #directoryOffset: number | undefined

  constructor({ layout, facts, name }: ReaderInput<VmdkStreamOnePass>, tables: ForwardTables) {
    this.#layout = layout
    this.#facts = facts
    this.#tables = tables
    this.#invalid = invalidImage({ name, format: facts.format })
    this.#ledger = new GrainLedger(layout)
    this.#offset = layout.firstMarkerOffset
  }

  /** The tables tell how many grains there are. There may be no end, and gaps where an image was opened once more. */
  *behindTables(directoryOffset: number): InTurn {
    const { tableEntries, firstMarkerOffset } = this.#layout
    yield* this.#readDirectory(directoryOffset)
    for (const offset of this.#ledger.tableOffsets()) {
      this.#ledger.addTable(offset, yield { offset, length: tableEntries * entryBytes })
    }
    this.#tables.ignore(0, firstMarkerOffset)
    const { wantedGrains } = this.#ledger
    for (let grains = 0; grains < wantedGrains;) {
      const marker = yield* this.#readMarker()
      if (marker.grainBytes > 0) {
        this.#placeGrain(marker)
        grains += 1
      } else {
        this.#skip(sector + marker.sectors * sector)
      }
    }
    this.#end()
  }

  /** The end has to come, and before it tables, directory and, unless the header names the directory, a footer. */
  *beforeTables(): InTurn {
    this.#tables.ignore(0, this.#offset)
    let footer = this.#layout.directoryOffset
    for (;;) {
      const marker = yield* this.#readMarker()
      if (marker.grainBytes > 0) {
        this.#placeGrain(marker)
        continue
      }
      const dataOffset = this.#offset + sector
      switch (marker.kind) {
        case kind.table: {
          const length = this.#layout.tableEntries * entryBytes
          this.#requireLength('grain table', marker, length)
          this.#ledger.addTable(dataOffset, yield { offset: dataOffset, length })
          break
        }
        case kind.directory:
          this.#requireLength('grain directory', marker, this.#layout.directoryEntries * entryBytes)
          yield* this.#readDirectory(dataOffset)
          break
        case kind.footer:
          this.#requireLength('footer', marker, sector)
          footer = this.#readFooter(yield { offset: dataOffset, length: sector })
          break
        case kind.progress:
          this.#requireLength('note of progress', marker, 0)
          break
        case kind.end:
          if (marker.sectors !== 0) throw this.#invalid(`a marker of no kind stands at byte ${this.#offset}`)
          if (footer === undefined) throw this.#invalid('it ends without a footer')
          if (footer !== this.#directoryOffset) throw this.#invalid('its footer does not lead to its grain directory')
          yield { offset: this.#offset + markerBytes, length: sector - markerBytes }
          this.#skip(sector)
          this.#end(this.#offset)
          return
        default:
          throw this.#invalid(`a marker of kind ${marker.kind} stands at byte ${this.#offset}`)
      }
      this.#skip(sector + marker.sectors * sector)
    }
  }

  *#readMarker(): Generator<Wanted, Marker, Buffer> {
    const bytes = yield { offset: this.#offset, length: markerBytes }
    const sectors = bytes.readUInt32LE(4) * 2 ** 32 + bytes.readUInt32LE(0)
    if (!Number.isSafeInteger(sectors * sector)) throw this.#invalid(`a marker at byte ${this.#offset} is absurd`)
    return { sectors, grainBytes: bytes.readUInt32LE(8), kind: bytes.readUInt32LE(12) }
  }

  #placeGrain({ sectors, grainBytes: sourceBytes }: Marker): void {
    const { grainBytes } = this.#layout
    const { virtualSizeBytes } = this.#facts
    const diskOffset = sectors * sector
    const at = `a grain at byte ${this.#offset}`
    if (diskOffset >= virtualSizeBytes) throw this.#invalid(`${at} lies outside of the disk`)
    if (diskOffset % grainBytes !== 0) throw this.#invalid(`${at} begins within another one, at sector ${sectors}`)
    if (sourceBytes > 2 * grainBytes) throw this.#invalid(`${at} has ${sourceBytes} bytes`)
    if (!this.#ledger.meet(diskOffset / grainBytes, this.#offset)) {
      throw this.#invalid(`${at} holds what another one has held, from sector ${sectors} on`)
    }
    const sourceOffset = this.#offset + grainMarkerBytes
    const diskBytes = Math.min(grainBytes, virtualSizeBytes - diskOffset)
    this.#tables.extent({ coding: 'zlib', diskOffset, diskBytes, sourceOffset, sourceBytes })
    this.#offset = sourceOffset + sourceBytes
    this.#skip((sector - (this.#offset % sector)) % sector)
  }

  *#readDirectory(offset: number): InTurn {
    const entries = this.#layout.directoryEntries
    this.#directoryOffset = offset
    for (const piece of tablePieces({ offset, entries, entryBytes, pieceEntries })) {
      this.#ledger.addDirectory(piece.firstEntry, yield piece)
    }
  }

  /** Returns where the directory is. */
  #readFooter(bytes: Buffer): number {
    const { grainBytes, tableEntries, directoryOffset } = this.#layout
    const footer = parseVmdkExtent({ invalid: this.#invalid, unsupported: this.#invalid }, bytes)
    const offset = Number(footer.directorySector) * sector
    if (
      Number(footer.capacitySectors) * sector !== this.#facts.virtualSizeBytes ||
      Number(footer.grainSectors) * sector !== grainBytes ||
      footer.tableEntries !== tableEntries ||
      footer.compression !== 1 ||
      offset !== (directoryOffset ?? offset)
    ) {
      throw this.#invalid('header and footer contradict each other')
    }
    return offset
  }

  #requireLength(what: string, { sectors }: Marker, leastBytes: number): void {
    const bytes = sectors * sector
    if (bytes < leastBytes || bytes > leastBytes + mostPaddingBytes) {
      throw this.#invalid(`the marker of a ${what} at byte ${this.#offset} speaks of ${sectors} sectors`)
    }
  }

  /** Goes on so much later; what was not looked at by now is not wanted. */
  #skip(bytes: number): void {
    if (bytes > 0) this.#tables.ignore(this.#offset, bytes)
    this.#offset += bytes
  }

  #end(offset?: number): void {
    if (!this.#ledger.agrees()) throw this.#invalid('its grain tables and its markers contradict each other')
    this.#tables.complete(offset)
  }
}
