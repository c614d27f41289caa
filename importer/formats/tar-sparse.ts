/**
 * The maps of sparse entries. An archive stores only the pieces of a sparse file that hold data, one after the other,
 * and a map of where they belong; whoever takes the stored bytes for the file gets a short, wrong one. Four ways of
 * storing the map are in use, all of them written by GNU tar (manual, "Sparse Formats"): in and behind the header (old
 * GNU), in pax records (0.0 repeated keys, 0.1 one list), in front of the data (1.0).
 */
import { blockBytes, invalidArchive, readSize } from './tar-header.ts'

/** A piece of data in a sparse file. */
export interface SparsePiece {
  readonly offset: number
  readonly length: number
}

export interface SparseMap {
  readonly pieces: readonly SparsePiece[]
  /** Size of the file with its holes, in bytes. */
  readonly realSizeBytes: number
}

/** More pieces than this are no map that a sane writer made, and would take too much memory. */
const maxPieces = 1_000_000

/** Checks that pieces are in order, do not overlap, lie in the file and add up to the stored bytes. Throws CDI_ARCHIVE_INVALID. */
export function assertSparseMap({ pieces, realSizeBytes }: SparseMap, storedBytes: number): void {
  let end = 0
  let stored = 0
  for (const { offset, length } of pieces) {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || length < 0 || offset < end) {
      throw invalidArchive('the map of a sparse entry is damaged')
    }
    end = offset + length
    stored += length
  }
  if (end > realSizeBytes || stored !== storedBytes || !Number.isSafeInteger(realSizeBytes)) {
    throw invalidArchive('the map of a sparse entry does not fit its data')
  }
}

/** Collects an old GNU map: four pieces in the header, 21 in each block that follows while the last says so. */
export class OldGnuSparse {
  readonly #pieces: SparsePiece[] = []
  readonly #realSizeBytes: number
  #isExtended: boolean

  constructor(header: Buffer) {
    this.#take(header, 386, 4)
    this.#isExtended = header[482] !== 0
    this.#realSizeBytes = readSize(header, 483)
  }

  get isExtended(): boolean {
    return this.#isExtended
  }

  extend(block: Buffer): void {
    this.#take(block, 0, 21)
    this.#isExtended = block[504] !== 0
  }

  get map(): SparseMap {
    return { pieces: this.#pieces, realSizeBytes: this.#realSizeBytes }
  }

  #take(block: Buffer, start: number, count: number): void {
    for (let index = 0; index < count; index++) {
      const at = start + index * 24
      // An unused place begins with a zero byte; a piece of length 0 marks the end of the file.
      if (block[at] === 0 && block[at + 12] === 0) break
      push(this.#pieces, { offset: readSize(block, at), length: readSize(block, at + 12) })
    }
  }
}

function push(pieces: SparsePiece[], piece: SparsePiece): void {
  if (pieces.length >= maxPieces) throw invalidArchive('the map of a sparse entry is too long')
  pieces.push(piece)
}

function decimal(text: string | undefined): number {
  if (text === undefined || !/^\d{1,19}$/.test(text)) throw invalidArchive('the map of a sparse entry is damaged')
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw invalidArchive('the map of a sparse entry is damaged')
  return value
}

/** What the pax records say about sparseness. */
export interface PaxSparse {
  /** `records`: the map is complete. `data`: it stands in front of the data (1.0). */
  readonly mapIn: 'records' | 'data'
  readonly map: SparseMap
  /** The real name; the entry's own is a placeholder for programs that cannot read sparse entries. */
  readonly name?: string
}

/** Finds a sparse map in pax records; undefined for an ordinary file. Throws CDI_ARCHIVE_INVALID. */
export function paxSparse(records: readonly (readonly [string, string])[]): PaxSparse | undefined {
  const last = new Map(records)
  const name = last.get('GNU.sparse.name')
  const withName = name === undefined ? {} : { name }
  if (last.has('GNU.sparse.major')) {
    const version = `${last.get('GNU.sparse.major')}.${last.get('GNU.sparse.minor')}`
    if (version === '1.0') {
      return {
        mapIn: 'data',
        map: { pieces: [], realSizeBytes: decimal(last.get('GNU.sparse.realsize')) },
        ...withName,
      }
    }
    if (version !== '0.0' && version !== '0.1') throw invalidArchive(`sparse entries of version ${version} are unknown`)
  }
  const size = last.get('GNU.sparse.size')
  if (size === undefined) {
    if ([...last.keys()].some((key) => key.startsWith('GNU.sparse.') || key === 'SCHILY.realsize')) {
      throw invalidArchive('a sparse entry is stored in an unknown way')
    }
    return undefined
  }
  const pieces: SparsePiece[] = []
  const list = last.get('GNU.sparse.map')
  if (list === undefined) {
    let offset: number | undefined
    for (const [key, value] of records) {
      if (key === 'GNU.sparse.offset') offset = decimal(value)
      if (key !== 'GNU.sparse.numbytes') continue
      if (offset === undefined) throw invalidArchive('the map of a sparse entry is damaged')
      push(pieces, { offset, length: decimal(value) })
      offset = undefined
    }
  } else if (list !== '') {
    const numbers = list.split(',')
    for (let at = 0; at < numbers.length; at += 2) {
      push(pieces, { offset: decimal(numbers[at]), length: decimal(numbers[at + 1]) })
    }
  }
  const wanted = last.get('GNU.sparse.numblocks')
  if (wanted !== undefined && decimal(wanted) !== pieces.length) {
    throw invalidArchive('the map of a sparse entry is incomplete')
  }
  return { mapIn: 'records', map: { pieces, realSizeBytes: decimal(size) }, ...withName }
}

/** Collects the map in front of the data of a 1.0 entry: decimal numbers, one a line, padded to whole blocks. */
export class SparseMapReader {
  readonly #realSizeBytes: number
  readonly #pieces: SparsePiece[] = []
  #rest = ''
  #wanted: number | undefined
  #offset: number | undefined
  #takenBytes = 0

  constructor(realSizeBytes: number) {
    this.#realSizeBytes = realSizeBytes
  }

  /** Bytes of the entry's data that the map took so far: whole blocks. */
  get takenBytes(): number {
    return this.#takenBytes
  }

  /** Takes the next block; returns the map when it is complete. */
  take(block: Buffer): SparseMap | undefined {
    this.#takenBytes += blockBytes
    const lines = (this.#rest + block.toString('latin1')).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      if (this.#wanted === undefined) this.#wanted = decimal(line)
      else if (this.#pieces.length === this.#wanted) break
      else if (this.#offset === undefined) this.#offset = decimal(line)
      else {
        push(this.#pieces, { offset: this.#offset, length: decimal(line) })
        this.#offset = undefined
      }
    }
    if (this.#wanted !== undefined && this.#wanted > maxPieces) {
      throw invalidArchive('the map of a sparse entry is too long')
    }
    const isComplete = this.#wanted !== undefined && this.#pieces.length === this.#wanted
    // A number has at most 19 digits; a longer rest is no map.
    if (!isComplete && this.#rest.length > 20) throw invalidArchive('the map of a sparse entry is damaged')
    return isComplete ? { pieces: this.#pieces, realSizeBytes: this.#realSizeBytes } : undefined
  }
}
