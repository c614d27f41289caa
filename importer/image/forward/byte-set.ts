/**
 * Which bytes of a long file are held, exactly and in little memory: a bit for each block that is held as a whole, and
 * intervals for the few that are held in part.
 */

export const blockBytes = 64 * 1024

/** `from, to, from, to, …` within a block, in order and apart from each other. */
type Intervals = readonly number[]

export class ByteSet {
  #whole = new Uint8Array(1024)
  readonly #partial = new Map<number, Intervals>()

  add(start: number, end: number): void {
    for (const { block, from, to } of blocksOf(start, end)) {
      if (this.#isWhole(block)) continue
      const joined = union(this.#partial.get(block) ?? [], from, to)
      if (joined[0] === 0 && joined[1] === blockBytes) this.#setWhole(block)
      else this.#partial.set(block, joined)
    }
  }

  remove(start: number, end: number): void {
    for (const { block, from, to } of blocksOf(start, end)) {
      const held = this.#intervals(block)
      if (held === undefined) continue
      const left = difference(held, from, to)
      this.#clearWhole(block)
      if (left.length === 0) this.#partial.delete(block)
      else if (left[0] === 0 && left[1] === blockBytes) this.#setWhole(block)
      else this.#partial.set(block, left)
    }
  }

  /** Removes all blocks that end at `offset` or before. */
  removeBelow(offset: number): void {
    const block = Math.floor(offset / blockBytes)
    const bytes = Math.floor(block / 8)
    this.#whole.fill(0, 0, Math.min(bytes, this.#whole.length))
    for (let left = bytes * 8; left < block; left += 1) this.#clearWhole(left)
    for (const key of this.#partial.keys()) if (key < block) this.#partial.delete(key)
  }

  /** Where what is held without a gap from `start` on ends, at most `end`; `start` if that byte is not held. */
  heldUntil(start: number, end: number): number {
    for (const { block, from, to } of blocksOf(start, end)) {
      const until = untilIn(this.#intervals(block) ?? [], from)
      if (until < to) return block * blockBytes + until
    }
    return end
  }

  /** True if a byte of the block is held, which is told by its number. */
  holdsAnyOf(block: number): boolean {
    return this.#isWhole(block) || this.#partial.has(block)
  }

  /** What is held, in order, neighbours joined: half-open pieces of the file. */
  *ranges(): Generator<{ readonly start: number; readonly end: number }> {
    const whole: number[] = []
    for (const [index, bits] of this.#whole.entries()) {
      for (let bit = 0; bits >> bit !== 0; bit += 1) if ((bits >> bit) & 1) whole.push(index * 8 + bit)
    }
    const blocks = [...whole, ...this.#partial.keys()].sort((one, other) => one - other)
    let open: { start: number; end: number } | undefined
    for (const block of blocks) {
      const held = this.#intervals(block) ?? []
      for (let at = 0; at < held.length; at += 2) {
        const start = block * blockBytes + (held[at] ?? 0)
        const end = block * blockBytes + (held[at + 1] ?? 0)
        if (open?.end === start) {
          open.end = end
          continue
        }
        if (open !== undefined) yield open
        open = { start, end }
      }
    }
    if (open !== undefined) yield open
  }

  #intervals(block: number): Intervals | undefined {
    return this.#isWhole(block) ? [0, blockBytes] : this.#partial.get(block)
  }

  #isWhole(block: number): boolean {
    return ((this.#whole[Math.floor(block / 8)] ?? 0) & (1 << (block % 8))) !== 0
  }

  #setWhole(block: number): void {
    const index = Math.floor(block / 8)
    if (index >= this.#whole.length) {
      const larger = new Uint8Array(Math.max(index + 1, this.#whole.length * 2))
      larger.set(this.#whole)
      this.#whole = larger
    }
    this.#whole[index] = (this.#whole[index] ?? 0) | (1 << (block % 8))
    this.#partial.delete(block)
  }

  #clearWhole(block: number): void {
    const index = Math.floor(block / 8)
    if (index < this.#whole.length) this.#whole[index] = (this.#whole[index] ?? 0) & ~(1 << (block % 8))
  }
}

/** The parts of blocks that make up a range: number of the block, and bytes within it. */
export function* blocksOf(start: number, end: number): Generator<{ block: number; from: number; to: number }> {
  for (let at = start; at < end;) {
    const from = at % blockBytes
    const to = Math.min(blockBytes, from + end - at)
    yield { block: (at - from) / blockBytes, from, to }
    at += to - from
  }
}

function union(held: Intervals, from: number, to: number): Intervals {
  const joined: number[] = []
  let [low, high] = [from, to]
  let placed = false
  for (let at = 0; at < held.length; at += 2) {
    const start = held[at] ?? 0
    const end = held[at + 1] ?? 0
    if (end < low) {
      joined.push(start, end)
    } else if (start > high) {
      if (!placed) joined.push(low, high)
      placed = true
      joined.push(start, end)
    } else {
      low = Math.min(low, start)
      high = Math.max(high, end)
    }
  }
  if (!placed) joined.push(low, high)
  return joined
}

function difference(held: Intervals, from: number, to: number): Intervals {
  const left: number[] = []
  for (let at = 0; at < held.length; at += 2) {
    const start = held[at] ?? 0
    const end = held[at + 1] ?? 0
    if (start < Math.min(end, from)) left.push(start, Math.min(end, from))
    if (Math.max(start, to) < end) left.push(Math.max(start, to), end)
  }
  return left
}

function untilIn(held: Intervals, from: number): number {
  for (let at = 0; at < held.length; at += 2) {
    if ((held[at] ?? 0) <= from && from < (held[at + 1] ?? 0)) return held[at + 1] ?? 0
  }
  return from
}
