/**
 * A strict tar reader behind the push interface: takes the bytes of an archive in pieces of any size and tells a handler
 * about its entries. Reads v7, ustar, pax and GNU archives; sparse entries are handed out expanded, as pieces at their
 * real offsets.
 *
 * Written here because tar-stream (3.2) passes sparse entries on condensed, loses the repeated keys of sparse 0.0 and
 * stumbles over the extra header blocks of old GNU sparse entries.
 *
 * All names are latin1 strings, one character a byte, since names in an archive are bytes and need not be UTF-8.
 */
import { OldGnuSparse, SparseMapReader, assertSparseMap, paxSparse } from './tar-sparse.ts'
import type { PaxSparse, SparseMap } from './tar-sparse.ts'
import { blockBytes, invalidArchive, parsePaxRecords, parseTarHeader } from './tar-header.ts'
import type { TarHeader } from './tar-header.ts'

export type TarEntryType = 'file' | 'directory' | 'symlink' | 'hardlink' | 'character-device' | 'block-device' | 'fifo'

export interface TarEntry {
  readonly type: TarEntryType
  /** As stored: may be absolute, contain `..` or end with a slash. One character a byte. */
  readonly name: string
  /** Target of a link, as stored; empty for others. */
  readonly linkName: string
  /** All mode bits, without the type. */
  readonly mode: number
  readonly mtimeSeconds: number
  /** Size of the file when unpacked, holes included, in bytes; 0 for everything that is no file. */
  readonly sizeBytes: number
}

/** Takes the content of one file. Buffers are lent until the promise settles. */
export interface TarContent {
  /** Data at `offset`; what is never written is a hole. Offsets only grow. */
  write(offset: number, data: Buffer): Promise<void>
  /** All data was there. */
  end(): Promise<void>
}

export interface TarHandler {
  /** Called for each entry in order; for files the result takes the content, undefined skips it. */
  entry(entry: TarEntry): Promise<TarContent | undefined>
}

/** Long names and pax headers are collected in memory; sparse maps in records are the largest that are seen. */
const maxExtendedHeaderBytes = 8 * 1024 * 1024
/** Records for all entries to come, which are kept: a commit's name is what they usually hold. */
const maxGlobalRecordBytes = 1024 * 1024
/** Every entry is looked up in all of them. */
const maxGlobalRecords = 256

const typeOfFlag: Readonly<Record<string, TarEntryType>> = {
  '0': 'file',
  '\0': 'file',
  '7': 'file',
  S: 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  // A directory with a list of its files, of incremental archives; the list is skipped.
  D: 'directory',
}

/** Entries that say something about the archive, not about a file: volume label; Solaris ACL, attributes and inode. */
const skippedFlags = 'VAEI'

const zeroBlock = Buffer.alloc(blockBytes)

type Step =
  | { readonly step: 'header' }
  | { readonly step: 'extended header'; readonly typeFlag: string }
  | { readonly step: 'old sparse map'; readonly header: TarHeader; readonly sparse: OldGnuSparse }
  | { readonly step: 'sparse map'; readonly header: TarHeader; readonly pax: PaxSparse; readonly map: SparseMapReader }
  | { readonly step: 'content' }
  | { readonly step: 'end' }

export class TarReader {
  readonly #handler: TarHandler
  #step: Step = { step: 'header' }
  /** The block or extended header that is being collected. */
  #collected = Buffer.alloc(blockBytes)
  #have = 0
  #isFirst = true
  #zeroBlocks = 0
  #trailingBytes = 0

  // What extended headers said about the next entry.
  #longName: string | undefined
  #longLinkName: string | undefined
  #pax: [string, string][] | undefined
  readonly #globalPax = new Map<string, string>()

  // The content that is being read.
  #content: TarContent | undefined
  #pieces: readonly { readonly offset: number; readonly length: number }[] = []
  #piece = 0
  #pieceDone = 0
  #storedLeft = 0
  #paddingLeft = 0

  constructor(handler: TarHandler) {
    this.#handler = handler
  }

  /** Bytes other than zeros that stood behind the end of the archive. They are no part of it. */
  get trailingBytes(): number {
    return this.#trailingBytes
  }

  /** Takes more of the archive. Throws CDI_ARCHIVE_INVALID and what the handler throws. */
  async write(chunk: Buffer): Promise<void> {
    let at = 0
    while (at < chunk.length) {
      if (this.#step.step === 'content') {
        at += await this.#takeContent(chunk.subarray(at))
      } else if (this.#step.step === 'end') {
        this.#takeTrailing(chunk.subarray(at))
        return
      } else {
        const step = Math.min(this.#collected.length - this.#have, chunk.length - at)
        chunk.copy(this.#collected, this.#have, at, at + step)
        this.#have += step
        at += step
        if (this.#have === this.#collected.length) await this.#takeCollected()
      }
    }
  }

  /**
   * The archive is complete. Throws CDI_ARCHIVE_INVALID if it ends in the middle, or without the mark of its end unless
   * that may be missing (then whoever asks for that knows by other means that nothing was cut off).
   */
  end({ mark = 'required' }: { mark?: 'required' | 'optional' } = {}): void {
    if (this.#step.step === 'end' || this.#zeroBlocks > 0) return
    if (mark === 'optional' && this.#isBetweenEntries) return
    if (this.#isFirst) throw invalidArchive('the archive is empty or shorter than one header')
    throw invalidArchive('the archive ends in the middle (unexpected EOF)')
  }

  get #isBetweenEntries(): boolean {
    const isAnnounced = this.#pax !== undefined || this.#longName !== undefined || this.#longLinkName !== undefined
    return this.#step.step === 'header' && this.#have === 0 && !this.#isFirst && !isAnnounced
  }

  async #takeCollected(): Promise<void> {
    const block = this.#collected
    const step = this.#step
    this.#collect(blockBytes)
    switch (step.step) {
      case 'header':
        await this.#takeHeader(block)
        return
      case 'extended header':
        this.#takeExtendedHeader(step.typeFlag, block)
        this.#step = { step: 'header' }
        return
      case 'old sparse map':
        step.sparse.extend(block)
        if (!step.sparse.isExtended) await this.#begin(step.header, { map: step.sparse.map })
        return
      case 'sparse map': {
        const map = step.map.take(block)
        if (step.map.takenBytes > step.header.sizeBytes) throw invalidArchive('the map of a sparse entry is damaged')
        if (map) await this.#begin(step.header, { map, name: step.pax.name, mapBytes: step.map.takenBytes })
        return
      }
      case 'content':
      case 'end':
        return
      default:
        step satisfies never
    }
  }

  /** The next bytes are collected until there are `bytes` of them. */
  #collect(bytes: number): void {
    this.#collected = Buffer.allocUnsafe(bytes)
    this.#have = 0
  }

  async #takeHeader(block: Buffer): Promise<void> {
    if (block.equals(zeroBlock)) {
      // One block would do for most writers, POSIX asks for two.
      this.#isFirst = false
      if (++this.#zeroBlocks === 2) this.#step = { step: 'end' }
      return
    }
    if (this.#zeroBlocks > 0) throw invalidArchive('an entry follows a lone zero block')
    const header = parseTarHeader(block, this.#isFirst)
    this.#isFirst = false
    switch (header.typeFlag) {
      case 'L':
      case 'K':
      case 'x':
      case 'X':
      case 'g':
        this.#expectExtendedHeader(header)
        return
      case 'S': {
        if (block.toString('latin1', 257, 262) !== 'ustar' || block[262] !== 0x20) {
          throw invalidArchive('a sparse entry is stored in an unknown way')
        }
        const sparse = new OldGnuSparse(block)
        if (sparse.isExtended) this.#step = { step: 'old sparse map', header, sparse }
        else await this.#begin(header, { map: sparse.map })
        return
      }
      case 'M':
        throw invalidArchive('the archive is one of several volumes')
      case 'N':
        throw invalidArchive('the archive stores long names in a way that is no longer used')
      default: {
        const pax = paxSparse(this.#records())
        if (pax?.mapIn === 'data') {
          const sized = { ...header, sizeBytes: this.#sizeOf(header) }
          this.#step = { step: 'sparse map', header: sized, pax, map: new SparseMapReader(pax.map.realSizeBytes) }
        } else {
          await this.#begin(header, pax)
        }
      }
    }
  }

  #expectExtendedHeader({ typeFlag, sizeBytes }: TarHeader): void {
    if (sizeBytes > maxExtendedHeaderBytes) throw invalidArchive('an extended header is absurdly large')
    if (sizeBytes === 0) return
    this.#step = { step: 'extended header', typeFlag }
    this.#extendedBytes = sizeBytes
    this.#collect(sizeBytes + paddingOf(sizeBytes))
  }

  #extendedBytes = 0

  #takeExtendedHeader(typeFlag: string, padded: Buffer): void {
    const bytes = padded.subarray(0, this.#extendedBytes)
    if (typeFlag === 'L') this.#longName = untilZero(bytes)
    else if (typeFlag === 'K') this.#longLinkName = untilZero(bytes)
    else if (typeFlag === 'g') this.#takeGlobal(parsePaxRecords(bytes))
    else this.#pax = parsePaxRecords(bytes)
  }

  #takeGlobal(records: readonly [string, string][]): void {
    for (const [key, value] of records) this.#globalPax.set(key, value)
    let bytes = 0
    for (const [key, value] of this.#globalPax) bytes += key.length + value.length
    if (bytes > maxGlobalRecordBytes || this.#globalPax.size > maxGlobalRecords) {
      throw invalidArchive('the global headers of the archive are absurdly large')
    }
  }

  /** The pax records that are in force for the next entry; later ones win. */
  #records(): readonly [string, string][] {
    return [...this.#globalPax, ...(this.#pax ?? [])]
  }

  #sizeOf(header: TarHeader): number {
    const size = new Map(this.#records()).get('size')
    if (size === undefined) return header.sizeBytes
    if (!/^\d{1,16}$/.test(size) || !Number.isSafeInteger(Number(size))) {
      throw invalidArchive('an entry claims an impossible size')
    }
    return Number(size)
  }

  /** Tells the handler about an entry and gets ready for its content. */
  async #begin(
    header: TarHeader,
    sparse?: { readonly map: SparseMap; readonly name?: string | undefined; readonly mapBytes?: number },
  ): Promise<void> {
    const pax = new Map(this.#records())
    const type = typeOfFlag[header.typeFlag] ?? 'file'
    const name = sparse?.name ?? pax.get('path') ?? this.#longName ?? header.name
    const linkName = pax.get('linkpath') ?? this.#longLinkName ?? header.linkName
    // Old writers put the size of the file into hard links that carry no data.
    const storedBytes = type === 'hardlink' ? 0 : this.#sizeOf(header) - (sparse?.mapBytes ?? 0)
    const mtime = Number(pax.get('mtime') ?? header.mtimeSeconds)
    this.#pax = undefined
    this.#longName = undefined
    this.#longLinkName = undefined

    const isFile = type === 'file' && !name.endsWith('/')
    if (sparse) assertSparseMap(sparse.map, storedBytes)
    this.#pieces = sparse ? sparse.map.pieces : [{ offset: 0, length: storedBytes }]
    this.#piece = 0
    this.#pieceDone = 0
    this.#storedLeft = storedBytes
    this.#paddingLeft = paddingOf(storedBytes)
    this.#content = skippedFlags.includes(header.typeFlag)
      ? undefined
      : await this.#handler.entry({
          // Before ustar a trailing slash was all that marked a directory.
          type: type === 'file' && !isFile ? 'directory' : type,
          name,
          linkName,
          mode: header.mode & 0o7777,
          mtimeSeconds: Number.isFinite(mtime) ? mtime : 0,
          sizeBytes: isFile ? (sparse?.map.realSizeBytes ?? storedBytes) : 0,
        })
    this.#step = { step: 'content' }
    if (this.#storedLeft === 0) await this.#endContent()
  }

  /** Takes as much of the bytes as belongs to the entry; returns how many those were. */
  async #takeContent(bytes: Buffer): Promise<number> {
    if (this.#storedLeft === 0) {
      const padding = Math.min(this.#paddingLeft, bytes.length)
      this.#paddingLeft -= padding
      if (this.#paddingLeft === 0) this.#step = { step: 'header' }
      return padding
    }
    let piece = this.#pieces[this.#piece]
    while (piece && this.#pieceDone === piece.length) {
      this.#pieceDone = 0
      piece = this.#pieces[++this.#piece]
    }
    if (!piece) throw invalidArchive('the map of a sparse entry does not fit its data')
    const taken = Math.min(piece.length - this.#pieceDone, bytes.length)
    await this.#content?.write(piece.offset + this.#pieceDone, bytes.subarray(0, taken))
    this.#pieceDone += taken
    this.#storedLeft -= taken
    if (this.#storedLeft === 0) await this.#endContent()
    return taken
  }

  async #endContent(): Promise<void> {
    const content = this.#content
    this.#content = undefined
    await content?.end()
    if (this.#paddingLeft === 0) this.#step = { step: 'header' }
  }

  #takeTrailing(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += blockBytes) {
      const end = Math.min(at + blockBytes, bytes.length)
      if (bytes.compare(zeroBlock, 0, end - at, at, end) !== 0) this.#trailingBytes += end - at
    }
  }
}

function paddingOf(bytes: number): number {
  return (blockBytes - (bytes % blockBytes)) % blockBytes
}

function untilZero(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end === -1 ? bytes.length : end)
}
