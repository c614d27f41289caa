/**
 * Makes large aligned writes of the buffers that sources and decoders lend. Stretches of zeros are only counted; what is
 * data is copied into slabs of our own, which is cheaper than holding on to buffers: those are then free for the next
 * read while they are still in the processor's cache, and the feeder goes on while a slab is written. It is held back
 * only when both slabs are full.
 */
import { isZero } from './data-runs.ts'
import type { Target } from './target.ts'

const slabBytes = 1024 * 1024
/** Stretches of data and of zeros meet at multiples of this on the disk; the target finds finer zeros. */
const edgeBytes = 64 * 1024

/** A piece of a slab and where it belongs on the disk. */
interface Piece {
  readonly diskOffset: number
  readonly from: number
  end: number
}

class Slab {
  readonly bytes = Buffer.allocUnsafeSlow(slabBytes)
  pieces: Piece[] = []
  filled = 0
}

export class Gather {
  readonly #target: Pick<Target, 'write'>
  #position: number
  /** The slab that is filled, and the other one, which is being written or empty. */
  #slab = new Slab()
  #other = new Slab()
  /** The piece that the next byte belongs to; undefined after zeros. */
  #open: Piece | undefined
  /** Zeros behind this byte were only counted; they become part of a piece that begins within their last edge. */
  #settled: number
  #running: Promise<void> | undefined
  #fault: { readonly error: unknown } | undefined

  constructor({ target, offset }: { target: Pick<Target, 'write'>; offset: number }) {
    this.#target = target
    this.#position = offset
    this.#settled = offset
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#position
  }

  /** The next byte goes to `offset`; nothing before it is written again. */
  seek(offset: number): void {
    this.#close()
    this.#position = offset
    this.#settled = offset
  }

  /** Takes the next buffer, which is lent as to a sink. Throws what a write threw. */
  push(chunk: Buffer): void | Promise<void> {
    this.#throwFault()
    let rest = chunk
    while (rest.length > 0) {
      const length = Math.min(rest.length, edgeBytes - (this.#position % edgeBytes))
      const bytes = length === rest.length ? rest : rest.subarray(0, length)
      if (!this.#take(bytes)) return this.#pushLater(rest)
      rest = rest.subarray(length)
    }
    return undefined
  }

  /** Writes what is left and waits for all of it. */
  async end(): Promise<void> {
    this.#close()
    while (this.#fault === undefined && (this.#running !== undefined || this.#slab.filled > 0)) {
      if (this.#running === undefined) this.#submit()
      await this.#running
    }
    this.#throwFault()
  }

  /** Waits for a slab. */
  async #pushLater(rest: Buffer): Promise<void> {
    await this.#running
    await this.push(rest)
  }

  /** Takes bytes that do not reach over an edge; false if there is no room for them until a write has ended. */
  #take(bytes: Buffer): boolean {
    const zero = isZero(bytes)
    if (zero && this.#position % edgeBytes === 0) this.#close()
    if (this.#open === undefined && zero) {
      this.#position += bytes.length
      return true
    }
    const edge = this.#position - (this.#position % edgeBytes)
    const start = this.#open === undefined ? Math.max(edge, this.#settled) : this.#position
    const before = this.#position - start
    if (this.#slab.filled + before + bytes.length > slabBytes) {
      if (this.#running !== undefined) return false
      this.#submit()
      return this.#take(bytes)
    }
    const slab = this.#slab
    this.#open ??= this.#begin(start)
    slab.bytes.fill(0, slab.filled, slab.filled + before)
    bytes.copy(slab.bytes, slab.filled + before)
    slab.filled += before + bytes.length
    this.#open.end = slab.filled
    this.#position += bytes.length
    return true
  }

  #begin(diskOffset: number): Piece {
    const { filled, pieces } = this.#slab
    const piece = { diskOffset, from: filled, end: filled }
    pieces.push(piece)
    return piece
  }

  #close(): void {
    if (this.#open === undefined) return
    this.#open = undefined
    this.#settled = this.#position
  }

  /** Starts to write the slab; the other one takes its place. Only when none is being written. */
  #submit(): void {
    this.#close()
    const full = this.#slab
    this.#slab = this.#other
    this.#other = full
    this.#running = this.#write(full)
  }

  async #write(slab: Slab): Promise<void> {
    try {
      for (const { diskOffset, from, end } of slab.pieces) {
        await this.#target.write(diskOffset, [slab.bytes.subarray(from, end)])
      }
    } catch (error) {
      this.#fault ??= { error }
    }
    slab.pieces = []
    slab.filled = 0
    this.#running = undefined
  }

  #throwFault(): void {
    if (this.#fault !== undefined) throw this.#fault.error
  }
}
