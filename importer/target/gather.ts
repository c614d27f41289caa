/**
 * Makes large aligned writes of the small buffers that sockets and decoders hand out, without copying them. One write
 * runs while the next is gathered; the feeder is held back only when both are full.
 */
import type { Target } from './target.ts'

const batchBytes = 1024 * 1024
/** Writes end at multiples of this, a multiple of what zeros are told by. */
const edgeBytes = 64 * 1024

export class Gather {
  readonly #target: Pick<Target, 'write'>
  /** Where the gathered buffers begin. */
  #offset: number
  #buffers: Buffer[] = []
  #length = 0
  #running: Promise<void> | undefined
  #fault: { readonly error: unknown } | undefined

  constructor({ target, offset }: { target: Pick<Target, 'write'>; offset: number }) {
    this.#target = target
    this.#offset = offset
  }

  /** Where the next byte goes. */
  get position(): number {
    return this.#offset + this.#length
  }

  /** Takes the next buffer, which must not change any more. Throws what a write threw. */
  push(chunk: Buffer): void | Promise<void> {
    if (this.#fault !== undefined) throw this.#fault.error
    this.#buffers.push(chunk)
    this.#length += chunk.length
    if (this.#length < batchBytes) return undefined
    if (this.#running !== undefined) return this.#pushOn(this.#running)
    this.#start(this.#take())
    return undefined
  }

  /** Writes what is left and waits for all of it. */
  async end(): Promise<void> {
    await this.#running
    if (this.#fault === undefined && this.#length > 0) {
      this.#start({ offset: this.#offset, buffers: this.#buffers })
      this.#offset += this.#length
      this.#buffers = []
      this.#length = 0
      await this.#running
    }
    if (this.#fault !== undefined) throw this.#fault.error
  }

  async #pushOn(running: Promise<void>): Promise<void> {
    await running
    if (this.#fault !== undefined) throw this.#fault.error
    this.#start(this.#take())
  }

  /** All up to the last edge; the rest stays, so that writes meet at edges. */
  #take(): { offset: number; buffers: Buffer[] } {
    const batch = { offset: this.#offset, buffers: this.#buffers }
    const restBytes = this.position % edgeBytes
    this.#offset += this.#length - restBytes
    this.#length = restBytes
    this.#buffers = []
    for (let left = restBytes; left > 0;) {
      const last = batch.buffers.pop() as Buffer
      const kept = Math.min(left, last.length)
      this.#buffers.unshift(last.subarray(last.length - kept))
      if (kept < last.length) batch.buffers.push(last.subarray(0, last.length - kept))
      left -= kept
    }
    return batch
  }

  #start(batch: { offset: number; buffers: Buffer[] }): void {
    this.#running = this.#write(batch)
  }

  async #write({ offset, buffers }: { offset: number; buffers: Buffer[] }): Promise<void> {
    try {
      await this.#target.write(offset, buffers)
    } catch (error) {
      this.#fault ??= { error }
    }
    this.#running = undefined
  }
}
