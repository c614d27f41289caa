/** Shares what is to be read among workers, in parts as long as possible. Pure book-keeping. */

/** A piece of the source that can be cut. All places are bytes of the source. */
export interface Stretch {
  readonly offset: number
  readonly end: number
  /** The first place at or behind `at` where it may be cut in two; `end` if there is none before. */
  cut(at: number): number
  /** How far has to be read for what begins before `end`, which is a place to cut at. */
  readEnd(end: number): number
}

/** What one worker is at. */
export interface Part<S extends Stretch = Stretch> {
  readonly of: S
  /** Where the worker is in the source; it moves it on. */
  position: number
  /** What begins here or behind belongs to others; it comes nearer when another worker takes over the rest. */
  end: number
  /** How far this one has to read. */
  readEnd: number
}

/** Each part is a request, and a link stands still for a round trip before each; longer ones gain nothing that shows. */
const largestPartBytes = 256 * 1024 * 1024
const smallestPartBytes = 1024 * 1024

export class PartQueue<S extends Stretch> {
  readonly #workers: number
  readonly #running = new Set<Part<S>>()
  #stretches: readonly S[] = []
  /** The stretch that the next part is of, and where it begins there. */
  #index = 0
  #position = 0
  #partBytes = smallestPartBytes

  constructor({ workers }: { workers: number }) {
    this.#workers = workers
  }

  /** Puts stretches behind what is there, which must have been handed out. */
  add(stretches: readonly S[]): void {
    if (!this.drained) throw new RangeError('what was added before has not been handed out')
    this.#stretches = stretches
    this.#index = 0
    this.#position = stretches[0]?.offset ?? 0
    const totalBytes = stretches.reduce((sum, { offset, end }) => sum + end - offset, 0)
    const rounds = Math.ceil(totalBytes / (this.#workers * largestPartBytes))
    // The same for every worker, so that all end at about the same time.
    this.#partBytes = Math.max(smallestPartBytes, Math.ceil(totalBytes / (this.#workers * rounds)))
  }

  /** Everything was handed out. */
  get drained(): boolean {
    return this.#index >= this.#stretches.length
  }

  /** The next part that nobody has begun. */
  next(): Part<S> | undefined {
    const stretch = this.#stretches[this.#index]
    if (stretch === undefined) return undefined
    const position = this.#position
    // A little rest would cost a request of its own.
    const isLast = stretch.end - position < this.#partBytes + smallestPartBytes
    const end = isLast ? stretch.end : stretch.cut(position + this.#partBytes)
    this.#position = end
    if (end === stretch.end) {
      this.#index += 1
      this.#position = this.#stretches[this.#index]?.offset ?? 0
    }
    return this.#begin({ of: stretch, position, end, readEnd: stretch.readEnd(end) })
  }

  /** Half of what is left of the longest part under way, or undefined if that is not worth a stream of its own. */
  takeOver(): Part<S> | undefined {
    let longest: Part<S> | undefined
    for (const part of this.#running) {
      if (longest === undefined || part.end - part.position > longest.end - longest.position) longest = part
    }
    if (longest === undefined || longest.end - longest.position < 2 * smallestPartBytes) return undefined
    const { of, position, end } = longest
    const middle = of.cut(Math.ceil(position + (end - position) / 2))
    if (middle >= end) return undefined
    const { readEnd } = longest
    longest.end = middle
    longest.readEnd = of.readEnd(middle)
    return this.#begin({ of, position: middle, end, readEnd })
  }

  /** To be called when a part was worked through. */
  done(part: Part<S>): void {
    this.#running.delete(part)
  }

  #begin(part: Part<S>): Part<S> {
    this.#running.add(part)
    return part
  }
}
