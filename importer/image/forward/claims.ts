/**
 * Extents that wait for their bytes, in the order in which they can be served: what is stored from its first byte on, what
 * is packed when its last byte has come. Numbers in a heap rather than objects: there may be a million.
 */
import type { ForwardCoding, ForwardExtent } from './forward.ts'

/** A piece of the file that is wanted for the disk, or (`ignored`) by nobody. */
export interface Claim extends Omit<ForwardExtent, 'coding'> {
  readonly coding: ForwardCoding | 'ignored'
}

const codings = ['ignored', 'stored', 'deflate', 'zlib', 'zstd'] as const
/** Of a claim: where it is served, disk offset, source bytes, disk bytes with the coding. */
const fields = 4
const codingShare = 8
/** Joined neighbours stay far below 2^53 with the coding added. */
const longestBytes = 2 ** 40

export class ClaimQueue {
  #heap = new Float64Array(1024 * fields)
  #size = 0
  /** The latest claim, as long as its neighbour may follow. */
  #open: Claim | undefined

  get size(): number {
    return this.#size + (this.#open === undefined ? 0 : 1)
  }

  /** Where the next claim can be served; infinite if there is none. */
  get nextOffset(): number {
    this.#close()
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#at(0)
  }

  add(claim: Claim): void {
    const open = this.#open
    if (open !== undefined && joins(open, claim)) {
      const sourceBytes = open.sourceBytes + claim.sourceBytes
      this.#open = { ...open, sourceBytes, diskBytes: open.diskBytes + claim.diskBytes }
      return
    }
    this.#close()
    this.#open = claim
  }

  /** Takes the next claim; there must be one. */
  pop(): Claim {
    this.#close()
    const coding = codings[this.#field(0, 3) % codingShare] ?? 'ignored'
    const at = this.#at(0)
    const sourceBytes = this.#field(0, 2)
    const claim = {
      coding,
      diskOffset: this.#field(0, 1),
      diskBytes: Math.floor(this.#field(0, 3) / codingShare),
      sourceOffset: isPacked(coding) ? at - sourceBytes : at,
      sourceBytes,
    }
    this.#size -= 1
    if (this.#size > 0) this.#sink()
    return claim
  }

  #close(): void {
    const claim = this.#open
    if (claim === undefined) return
    this.#open = undefined
    if ((this.#size + 1) * fields > this.#heap.length) {
      const larger = new Float64Array(this.#heap.length * 2)
      larger.set(this.#heap)
      this.#heap = larger
    }
    const offset = isPacked(claim.coding) ? claim.sourceOffset + claim.sourceBytes : claim.sourceOffset
    let at = this.#size
    this.#size += 1
    for (let parent = (at - 1) >> 1; at > 0 && this.#at(parent) > offset; parent = (at - 1) >> 1) {
      this.#move(parent, at)
      at = parent
    }
    this.#heap[at * fields] = offset
    this.#heap[at * fields + 1] = claim.diskOffset
    this.#heap[at * fields + 2] = claim.sourceBytes
    this.#heap[at * fields + 3] = claim.diskBytes * codingShare + codings.indexOf(claim.coding)
  }

  /** Puts the last claim into the place of the first, and then where it belongs. */
  #sink(): void {
    const last = this.#size
    const offset = this.#at(last)
    let at = 0
    for (;;) {
      let child = at * 2 + 1
      if (child >= last) break
      if (child + 1 < last && this.#at(child + 1) < this.#at(child)) child += 1
      if (this.#at(child) >= offset) break
      this.#move(child, at)
      at = child
    }
    this.#move(last, at)
  }

  #at(index: number): number {
    return this.#field(index, 0)
  }

  #field(index: number, field: number): number {
    return this.#heap[index * fields + field] ?? 0
  }

  #move(from: number, to: number): void {
    for (let field = 0; field < fields; field += 1) this.#heap[to * fields + field] = this.#field(from, field)
  }
}

export function isPacked(coding: Claim['coding']): coding is Exclude<ForwardCoding, 'stored'> {
  return coding !== 'stored' && coding !== 'ignored'
}

function joins(open: Claim, next: Claim): boolean {
  return (
    open.coding === next.coding &&
    !isPacked(open.coding) &&
    open.sourceOffset + open.sourceBytes === next.sourceOffset &&
    open.diskOffset + open.diskBytes === next.diskOffset &&
    open.sourceBytes < longestBytes
  )
}
