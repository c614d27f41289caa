/**
 * Which parts of a disk go over the line, and in what pieces: data as large as a request may be, and long stretches of
 * zeros apart from it, of which only the place is told. Files are read for that (Node cannot ask where holes are); what
 * was read a moment before it is sent is still in the page cache.
 */
import type { FileBytes } from './upload-bytes.ts'

/** Half-open, in bytes. */
export type Range = readonly [start: number, end: number]

export interface DiskPiece {
  readonly start: number
  readonly end: number
  readonly isZero: boolean
}

const mebibyte = 1024 * 1024
const blockBytes = mebibyte
/** Shorter zeros cost less as bytes than as a request. */
export const leastZeroBytes = 4 * mebibyte
/** The server writes or discards them in one request. */
const mostZeroBytes = 1024 * mebibyte
/** What is looked through before it is sent. */
const mostDataBytes = 256 * mebibyte
const zeros = Buffer.alloc(blockBytes)

/** What is missing between the ranges that are there. Pure. */
export function gapsOf(length: number, ranges: readonly Range[]): Range[] {
  const gaps: Range[] = []
  let at = 0
  for (const [start, end] of [...ranges].sort(([one], [other]) => one - other)) {
    if (start > at) gaps.push([at, start])
    at = Math.max(at, end)
  }
  if (at < length) gaps.push([at, length])
  return gaps
}

export interface PiecesOptions {
  readonly bytes: Pick<FileBytes, 'read'>
  readonly gaps: readonly Range[]
  /** Tell zeros apart from data. */
  readonly skipsZeros: boolean
}

/** Hands out the pieces of some gaps in order, to whoever asks next. */
export class Pieces {
  readonly #o: PiecesOptions
  #gap = 0
  #at: number
  /** One after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: PiecesOptions) {
    this.#o = options
    this.#at = options.gaps[0]?.[0] ?? 0
  }

  /**
   * The next piece, undefined when there is none.
   * @param mostBytes of data
   */
  next(mostBytes: number): Promise<DiskPiece | undefined> {
    const turn = this.#turn.then(() => this.#next(Math.min(mostBytes, mostDataBytes)))
    this.#turn = turn.catch(() => {})
    return turn
  }

  async #next(mostBytes: number): Promise<DiskPiece | undefined> {
    const gap = this.#o.gaps[this.#gap]
    if (gap === undefined) return undefined
    const start = this.#at
    const piece = this.#o.skipsZeros
      ? await this.#look(start, gap[1], mostBytes)
      : { start, end: Math.min(start + mostBytes, gap[1]), isZero: false }
    this.#at = piece.end
    if (piece.end === gap[1]) {
      this.#gap += 1
      this.#at = this.#o.gaps[this.#gap]?.[0] ?? 0
    }
    return piece
  }

  /** Data up to the next long stretch of zeros, or that stretch. */
  async #look(start: number, end: number, mostBytes: number): Promise<DiskPiece> {
    let at = start
    let zeroFrom = start
    while (at < end) {
      const blockEnd = Math.min(end, (Math.floor(at / blockBytes) + 1) * blockBytes)
      const isZero = await this.#isZero(at, blockEnd)
      if (!isZero && zeroFrom < at && at - zeroFrom >= leastZeroBytes) break
      if (!isZero) {
        zeroFrom = blockEnd
        if (blockEnd - start >= mostBytes) return { start, end: blockEnd, isZero: false }
      } else if (zeroFrom > start && blockEnd - zeroFrom >= leastZeroBytes) {
        return { start, end: zeroFrom, isZero: false }
      } else if (zeroFrom === start && blockEnd - start >= mostZeroBytes) {
        return { start, end: blockEnd, isZero: true }
      }
      at = blockEnd
    }
    // Zeros to the end of the gap or to the next data, if there was nothing before them.
    return { start, end: at, isZero: zeroFrom === start && at - start >= leastZeroBytes }
  }

  async #isZero(start: number, end: number): Promise<boolean> {
    for (let at = start; at < end;) {
      const chunk = await this.#o.bytes.read(at, end - at)
      if (!chunk.equals(zeros.subarray(0, chunk.length))) return false
      at += chunk.length
    }
    return true
  }
}
