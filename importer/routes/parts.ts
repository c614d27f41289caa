/** Shares a disk among workers. Pure book-keeping. */

/** A piece that one worker is at. `position` moves with it; `end` comes nearer when another one takes over the rest. */
export interface Part {
  position: number
  end: number
}

const largestPartBytes = 16 * 1024 * 1024
const smallestPartBytes = 1024 * 1024
/** Parts begin at multiples of this, so that no two workers write to the same block. */
const edgeBytes = 64 * 1024

export class PartQueue {
  readonly #sizeBytes: number
  readonly #workers: number
  readonly #running = new Set<Part>()
  #next = 0

  constructor({ sizeBytes, workers }: { sizeBytes: number; workers: number }) {
    this.#sizeBytes = sizeBytes
    this.#workers = workers
  }

  /** The next part to work at, or undefined if nothing is left that is worth a stream of its own. */
  next(): Part | undefined {
    const part = this.#next < this.#sizeBytes ? this.#fresh() : this.#takeOver()
    if (part !== undefined) this.#running.add(part)
    return part
  }

  /** To be called when a part was worked through. */
  done(part: Part): void {
    this.#running.delete(part)
  }

  #fresh(): Part {
    const left = this.#sizeBytes - this.#next
    const share = Math.ceil(left / (2 * this.#workers) / edgeBytes) * edgeBytes
    const length = Math.min(left, Math.max(smallestPartBytes, Math.min(largestPartBytes, share)))
    const part = { position: this.#next, end: this.#next + length }
    this.#next += length
    return part
  }

  #takeOver(): Part | undefined {
    let longest: Part | undefined
    for (const part of this.#running) {
      if (longest === undefined || part.end - part.position > longest.end - longest.position) longest = part
    }
    if (longest === undefined || longest.end - longest.position < 2 * smallestPartBytes) return undefined
    const half = longest.position + (longest.end - longest.position) / 2
    const middle = Math.ceil(half / edgeBytes) * edgeBytes
    const part = { position: middle, end: longest.end }
    longest.end = middle
    return part
  }
}
