/**
 * Holds bytes of an image that have passed and may still be wanted. Memory is bounded: what is too much goes to a spill
 * file in scratch, the oldest first. Zeros take no room.
 */
import { CdiError } from '../../../src/errors.ts'
import { isZero } from '../../target/data-runs.ts'
import { ByteSet, blockBytes, blocksOf } from './byte-set.ts'
import { SpillFile } from './spill.ts'

/** Blocks that are spilled in one go. */
const blocksAtOnce = 16
/** Spilled bytes are read back in pieces of this size at most. */
const readBackBytes = 256 * 1024
/** What stays in memory when it was full, so that spilling is done in large steps. */
const keptShare = 0.75
const zeros = Buffer.alloc(blockBytes)

export interface ReorderBufferOptions {
  /** Blocks of 64 KiB are counted, of which at least two are kept. */
  readonly limitBytes: number
  /** Where what is too much goes. */
  readonly scratchDirectory?: string | undefined
}

/** A piece of what is held. */
export interface HeldPiece {
  /** In the file, in bytes. */
  readonly offset: number
  readonly length: number
  /** Absent for zeros. */
  readonly bytes?: Buffer
}

export class ReorderBuffer implements AsyncDisposable {
  readonly stats = { mostHeldBytes: 0, spilledBytes: 0 }
  readonly #limitBlocks: number
  readonly #scratchDirectory: string | undefined
  readonly #held = new ByteSet()
  /** By their number in the file, oldest first. What is held and not in here was spilled, or is zeros. */
  readonly #blocks = new Map<number, Buffer>()
  readonly #free: Buffer[] = []
  #spill: SpillFile | undefined
  /** For what is read back. */
  #room: Buffer | undefined

  constructor({ limitBytes, scratchDirectory }: ReorderBufferOptions) {
    this.#limitBlocks = Math.max(2, Math.floor(limitBytes / blockBytes))
    this.#scratchDirectory = scratchDirectory
  }

  /** More is in memory than should be: {@link drop} or {@link relieve} it. */
  get isFull(): boolean {
    return this.#blocks.size > this.#limitBlocks
  }

  /** Copies what has just passed: offsets never go back. */
  put(offset: number, bytes: Buffer): void {
    const end = offset + bytes.length
    for (const { block, from, to } of blocksOf(offset, end)) {
      const start = block * blockBytes + from - offset
      const part = bytes.subarray(start, start + to - from)
      let memory = this.#blocks.get(block)
      if (memory === undefined) {
        if (isZero(part)) continue
        memory = this.#free.pop() ?? Buffer.allocUnsafeSlow(blockBytes)
        // Zeros of this block may have been held without memory until now.
        if (this.#held.holdsAnyOf(block)) memory.fill(0, 0, from)
        this.#blocks.set(block, memory)
      }
      part.copy(memory, from)
    }
    this.#held.add(offset, end)
    this.stats.mostHeldBytes = Math.max(this.stats.mostHeldBytes, this.#blocks.size * blockBytes)
  }

  /** How many bytes are held without a gap from `offset` on, at most `length`. */
  heldFrom(offset: number, length: number): number {
    return this.#held.heldUntil(offset, offset + length) - offset
  }

  /** Fills the buffer with what is held from `offset` on. Throws what reading the spill file throws. */
  async read(offset: number, into: Buffer): Promise<void> {
    await this.lend(offset, into.length, (at, bytes) => {
      bytes.copy(into, at - offset)
    })
  }

  /** Hands out what is held, in order. Buffers are lent until the sink's promise settles. Throws as {@link read}. */
  async lend(
    offset: number,
    length: number,
    sink: (offset: number, bytes: Buffer) => void | Promise<void>,
  ): Promise<void> {
    const end = offset + length
    for (let at = offset; at < end;) {
      const from = at % blockBytes
      const to = Math.min(blockBytes, from + end - at)
      const memory = this.#blocks.get((at - from) / blockBytes)
      let bytes: Buffer
      if (memory !== undefined) bytes = memory.subarray(from, to)
      else if (this.#spill === undefined) bytes = zeros.subarray(from, to)
      else bytes = await this.#readBack(this.#spill, at, end)
      const taken = sink(at, bytes)
      if (taken !== undefined) await taken
      at += bytes.length
    }
  }

  /** Nobody will ask for this any more. */
  drop(offset: number, length: number): void {
    const end = offset + length
    this.#held.remove(offset, end)
    for (const { block } of blocksOf(offset, end)) if (!this.#held.holdsAnyOf(block)) this.#release(block)
  }

  /** Nobody will ask for anything before `offset` any more. */
  dropBelow(offset: number): void {
    this.#held.removeBelow(offset)
    const first = Math.floor(offset / blockBytes)
    for (const block of this.#blocks.keys()) if (block < first) this.#release(block)
  }

  /**
   * Spills the oldest of what is held, but not what stands in the block of `position`. Throws CDI_SCRATCH_REQUIRED if
   * there is no scratch, CDI_TARGET_FULL, CDI_TARGET_IO.
   */
  async relieve(position: number): Promise<void> {
    if (this.#scratchDirectory === undefined) {
      throw new CdiError('CDI_SCRATCH_REQUIRED', 'scratch space required and none found')
    }
    this.#spill ??= await SpillFile.create(this.#scratchDirectory)
    const excess = this.#blocks.size - Math.floor(this.#limitBlocks * keptShare)
    const current = Math.floor(position / blockBytes)
    const oldest = [...this.#blocks].filter(([block]) => block < current).slice(0, Math.max(0, excess))
    for (let done = 0; done < oldest.length;) {
      const [first = 0] = oldest[done] ?? []
      const run: Buffer[] = []
      for (
        let next = oldest[done];
        next?.[0] === first + run.length && run.length < blocksAtOnce;
        next = oldest[done]
      ) {
        run.push(next[1])
        done += 1
      }
      await this.#spill.write(first * blockBytes, run)
      this.stats.spilledBytes += run.length * blockBytes
      for (let block = first; block < first + run.length; block += 1) this.#release(block)
    }
  }

  /**
   * A copy of all that is held, in order; {@link restore} takes it. Undefined if a part was spilled: scratch is not kept
   * for anybody else.
   */
  snapshot(): HeldPiece[] | undefined {
    if (this.#spill !== undefined) return undefined
    const pieces: HeldPiece[] = []
    for (const { start, end } of this.#held.ranges()) {
      for (const { block, from, to } of blocksOf(start, end)) {
        const memory = this.#blocks.get(block)
        const piece = { offset: block * blockBytes + from, length: to - from }
        const before = pieces.at(-1)
        if (memory !== undefined) pieces.push({ ...piece, bytes: Buffer.from(memory.subarray(from, to)) })
        else if (before !== undefined && before.bytes === undefined && before.offset + before.length === piece.offset) {
          pieces[pieces.length - 1] = { offset: before.offset, length: before.length + piece.length }
        } else pieces.push(piece)
      }
    }
    return pieces
  }

  /** Holds what a {@link snapshot} of another buffer held; to be called before anything else. */
  restore(pieces: readonly HeldPiece[]): void {
    for (const { offset, length, bytes } of pieces) {
      if (bytes !== undefined) this.put(offset, bytes)
      else
        for (const { block, from, to } of blocksOf(offset, offset + length))
          this.put(block * blockBytes + from, zeros.subarray(from, to))
    }
  }

  /** To be called at the end, see {@link SpillFile.assertKept}. */
  async assertKept(): Promise<void> {
    await this.#spill?.assertKept()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#spill?.[Symbol.asyncDispose]()
  }

  /** From the spill file, up to `end` or to what is in memory. */
  async #readBack(spill: SpillFile, offset: number, end: number): Promise<Buffer> {
    this.#room ??= Buffer.allocUnsafeSlow(readBackBytes)
    let to = offset + blockBytes - (offset % blockBytes)
    while (to < end && to - offset < readBackBytes && !this.#blocks.has(to / blockBytes)) to += blockBytes
    const bytes = this.#room.subarray(0, Math.min(to, end, offset + readBackBytes) - offset)
    await spill.read(offset, bytes)
    return bytes
  }

  #release(block: number): void {
    const memory = this.#blocks.get(block)
    if (memory === undefined) return
    this.#blocks.delete(block)
    this.#free.push(memory)
  }
}
