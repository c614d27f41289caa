/**
 * Makes large aligned writes of the buffers that sources and decoders lend. Stretches of zeros are only counted; what is
 * data is copied into slabs of our own, which is cheaper than holding on to buffers: those are then free for the next
 * read while they are still in the processor's cache, and the feeder goes on while slabs are written. It is held back
 * only when all slabs are full.
 */
import { allocAligned, directBlockBytes } from './aligned.ts'
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
  readonly bytes = allocAligned(slabBytes)
  pieces: Piece[] = []
  filled = 0
}

export interface GatherOptions {
  readonly target: Pick<Target, 'write'>
  readonly offset: number
  /** Slabs of 1 MiB: one is filled while the others are written. */
  readonly slabs: number
}

export class Gather {
  readonly #target: Pick<Target, 'write'>
  #position: number
  /** The slab that is filled. */
  #slab = new Slab()
  /** Slabs that may still be made, and those that were written. */
  #unmade: number
  readonly #free: Slab[] = []
  /** The piece that the next byte belongs to; undefined after zeros. */
  #open: Piece | undefined
  /** Zeros behind this byte were only counted; they become part of a piece that begins within their last edge. */
  #settled: number
  readonly #running = new Set<Promise<void>>()
  #fault: { readonly error: unknown } | undefined

  constructor({ target, offset, slabs }: GatherOptions) {
    this.#target = target
    this.#position = offset
    this.#settled = offset
    this.#unmade = slabs - 1
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

  /** Writes what is left and waits for all of it. More may be pushed afterwards. */
  async end(): Promise<void> {
    this.#close()
    const isBegun = this.#fault === undefined && this.#slab.filled > 0
    if (isBegun) this.#start(this.#slab)
    await Promise.all(this.#running)
    this.#throwFault()
    // What was written lies among the free ones now.
    if (isBegun) this.#slab = this.#free.pop() ?? new Slab()
  }

  /** Waits for a slab. */
  async #pushLater(rest: Buffer): Promise<void> {
    await Promise.race(this.#running)
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
    if (this.#open === undefined) this.#alignFor(start)
    if (this.#slab.filled + before + bytes.length > slabBytes) return this.#nextSlab() && this.#take(bytes)
    const slab = this.#slab
    this.#open ??= this.#begin(start)
    slab.bytes.fill(0, slab.filled, slab.filled + before)
    bytes.copy(slab.bytes, slab.filled + before)
    slab.filled += before + bytes.length
    this.#open.end = slab.filled
    this.#position += bytes.length
    return true
  }

  /** The same distance from a block's beginning in memory as on the disk, for direct I/O. */
  #alignFor(diskOffset: number): void {
    const slab = this.#slab
    const wanted = diskOffset % directBlockBytes
    const ahead = wanted - (slab.filled % directBlockBytes)
    slab.filled += ahead >= 0 ? ahead : ahead + directBlockBytes
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

  /** Starts to write the slab if there is another one to take its place. */
  #nextSlab(): boolean {
    let next = this.#free.pop()
    if (next === undefined && this.#unmade > 0) {
      this.#unmade -= 1
      next = new Slab()
    }
    if (next === undefined) return false
    this.#close()
    this.#start(this.#slab)
    this.#slab = next
    return true
  }

  #start(slab: Slab): void {
    const writing = this.#write(slab).finally(() => {
      this.#running.delete(writing)
      this.#free.push(slab)
    })
    this.#running.add(writing)
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
  }

  #throwFault(): void {
    if (this.#fault !== undefined) throw this.#fault.error
  }
}
