/**
 * The cache between a converter and a ranged source. Fixed blocks, fetched in long contiguous stretches by as many
 * streams as the source is good for; reading ahead where the reader moves forward; memory bounded.
 *
 * With a digest one cursor passes over the whole source from front to end. It hashes each byte exactly once, keeps what
 * it has passed for the converter while memory allows, and so takes the place of reading ahead. It holds back when too
 * much of what it fetched is still unread, and forgets about blocks that the converter has left behind.
 *
 * The first fault of the source fails every read from then on; see {@link BlockCache.failure}.
 */
import { CdiError, toCdiError } from '../../src/errors.ts'
import type { RangedSource } from '../sources/source.ts'

export interface BlockCacheOptions {
  readonly source: RangedSource
  /** Ends every stream under way. */
  readonly signal: AbortSignal
  /** Takes every byte of the source once and in order; verified by the caller after {@link BlockCache.finishDigest}. */
  readonly digest?: { update(chunk: Uint8Array): void }
  /** What is kept at most, in bytes (a little more while pieces of the source are arriving). */
  readonly maxBytes?: number
  /** Size of a block in bytes. */
  readonly blockBytes?: number
}

/** What the cache did, for logs and tests. */
export interface BlockCacheStats {
  /** Bytes taken from the source, re-reads included. */
  readonly fetchedBytes: number
  /** Streams opened on the source. */
  readonly streams: number
  /** Highest number of bytes held at once. */
  readonly peakBytes: number
}

/** What a read gives: views into the cache, good until they are given back. */
export interface Lease {
  readonly pieces: readonly Buffer[]
  /** To be called once, when the pieces are of no more use; their memory then serves other blocks. */
  readonly release: () => void
}

interface Block {
  /** There from the first byte on; complete when `filled` is the block's length. */
  buffer?: Buffer
  filled: number
  /** Reads that have not given the block back. */
  leases: number
  /** Thrown out while somebody still had it: its buffer is free when that one is done. */
  dropped: boolean
  ready: boolean
  /** Settled when the block becomes ready or its stretch fails. Made only when somebody waits. */
  waiting?: PromiseWithResolvers<void>
  /** Some of it was handed to the reader. */
  read: boolean
  /** Fetched by the digest's cursor and neither read nor left behind yet. */
  held: boolean
  /** How many bytes had been demanded when it arrived. */
  bornAt: number
}

/** One forward movement of the reader. */
interface Run {
  /** First block behind everything read so far. */
  front: number
  hits: number
  /** How far to read ahead, in blocks. */
  window: number
}

const mebibyte = 1024 * 1024
/** Behind this much of its front a read still belongs to a run: converters work out of order. */
const runSlackBytes = 48 * mebibyte
const maxRuns = 8
const maxStretchBytes = 8 * mebibyte

export class BlockCache implements AsyncDisposable {
  readonly #source: RangedSource
  readonly #digest: BlockCacheOptions['digest']
  readonly #maxBytes: number
  readonly #blockBytes: number
  readonly #blockCount: number
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal

  readonly #blocks = new Map<number, Block>()
  /** Buffers of former blocks: fresh memory for every block would cost page faults and garbage collection. */
  readonly #pool: Buffer[] = []
  /** Ready blocks in the order of their last use; those that were read go first when memory is short. */
  readonly #spent = new Set<number>()
  readonly #fresh = new Set<number>()
  readonly #urgent: { first: number; count: number }[] = []
  readonly #ahead: { first: number; count: number }[] = []
  readonly #runs: Run[] = []
  readonly #running = new Set<Promise<void>>()

  #heldBytes = 0
  #demandedBytes = 0
  #incomingBlocks = 0
  #unreadHeld = 0
  /** First block that was not hashed yet; blocks before it were. */
  #cursor = 0
  /** First block that the cursor did not ask for yet. */
  #cursorAsked = 0
  #paced = true
  #digestDone: PromiseWithResolvers<void> | undefined
  #failure: CdiError | undefined
  #fetchedBytes = 0
  #streams = 0
  #peakBytes = 0

  constructor({ source, signal, digest, maxBytes = 32 * mebibyte, blockBytes = 256 * 1024 }: BlockCacheOptions) {
    this.#source = source
    this.#digest = digest
    this.#maxBytes = maxBytes
    this.#blockBytes = blockBytes
    this.#blockCount = Math.ceil(source.sizeBytes / blockBytes)
    this.#signal = AbortSignal.any([signal, this.#stop.signal])
  }

  get sizeBytes(): number {
    return this.#source.sizeBytes
  }

  /** The source's fault that ended everything, if there was one. */
  get failure(): CdiError | undefined {
    return this.#failure
  }

  get stats(): BlockCacheStats {
    return { fetchedBytes: this.#fetchedBytes, streams: this.#streams, peakBytes: this.#peakBytes }
  }

  /**
   * The bytes at `offset`, as views into the cache that must not be changed and have to be given back. Throws RangeError
   * outside of the source and the source's CdiError when it fails.
   */
  async read(offset: number, length: number): Promise<Lease> {
    if (offset < 0 || length < 0 || offset + length > this.sizeBytes) {
      throw new RangeError(`${length} bytes at ${offset} lie outside of the source`)
    }
    if (length === 0) return { pieces: [], release: () => {} }
    const first = Math.floor(offset / this.#blockBytes)
    const last = Math.floor((offset + length - 1) / this.#blockBytes)
    this.#demandedBytes += length
    this.#demand(first, last)
    const pieces: Buffer[] = []
    const blocks: Block[] = []
    const release = (): void => {
      for (const block of blocks.splice(0)) this.#giveBack(block)
    }
    try {
      for (let index = first; index <= last; index++) {
        const block = await this.#take(index)
        block.leases++
        blocks.push(block)
        const start = index * this.#blockBytes
        pieces.push(
          block.buffer!.subarray(Math.max(0, offset - start), Math.min(block.filled, offset + length - start)),
        )
      }
    } catch (error) {
      release()
      throw error
    }
    this.#advance()
    return { pieces, release }
  }

  /** Reads on to the end of the source, for the digest. Resolves when every byte was hashed. */
  async finishDigest(): Promise<void> {
    if (!this.#digest) return
    if (this.#cursor >= this.#blockCount) return
    this.#throwFailure()
    this.#digestDone = Promise.withResolvers<void>()
    this.#paced = false
    // Nobody reads any more: what was asked for ahead of time need not wait for room.
    this.#urgent.push(...this.#ahead.splice(0))
    this.#advance()
    this.#pump()
    await this.#digestDone.promise
  }

  /** Ends all streams and waits for them. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled(this.#running)
    this.#blocks.clear()
  }

  #throwFailure(): void {
    if (this.#failure) throw this.#failure
    this.#signal.throwIfAborted()
  }

  #lengthOf(index: number): number {
    return Math.min(this.#blockBytes, this.sizeBytes - index * this.#blockBytes)
  }

  /** Asks for what the reader wants now and, if it moves forward, for what it will want. */
  #demand(first: number, last: number): void {
    this.#throwFailure()
    this.#ask(this.#urgent, first, last + 1)
    const run = this.#findRun(first, last)
    if (this.#digest) this.#leaveBehind(first - Math.ceil(runSlackBytes / 3 / this.#blockBytes))
    if (run.hits > 1) this.#readAhead(run)
    this.#advance()
  }

  #findRun(first: number, last: number): Run {
    const slack = Math.ceil(runSlackBytes / this.#blockBytes)
    const at = this.#runs.findIndex((run) => first >= run.front - slack && first <= run.front + run.window + 4)
    const [found] = at < 0 ? [] : this.#runs.splice(at, 1)
    const run = found ?? { front: last + 1, hits: 0, window: 0 }
    if (last + 1 > run.front || !found) {
      run.front = Math.max(run.front, last + 1)
      run.hits++
      const most = this.#windowBlocks
      if (run.hits > 1) run.window = Math.min(most, Math.max(run.window * 2, Math.ceil(mebibyte / this.#blockBytes)))
    }
    this.#runs.unshift(run)
    this.#runs.length = Math.min(this.#runs.length, maxRuns)
    return run
  }

  #readAhead(run: Run): void {
    const until = Math.min(this.#blockCount, run.front + run.window)
    let from = run.front
    while (from < until && this.#blocks.has(from)) from++
    if (from >= until) return
    // A long stretch costs one request; short ones at the front of a window would cost one each.
    const least = Math.min(run.window >> 2, this.#stretchBlocks)
    if (until - from < least && until < this.#blockCount) return
    this.#ask(this.#ahead, from, until)
  }

  /** How far ahead of a reader is fetched at most; the rest of the memory keeps what it is still busy with. */
  get #windowBlocks(): number {
    return Math.floor((this.#maxBytes * 0.75) / this.#blockBytes)
  }

  get #stretchBlocks(): number {
    const share = Math.floor(this.#windowBlocks / Math.max(1, this.#source.parallel))
    return Math.max(1, Math.min(maxStretchBytes / this.#blockBytes, share))
  }

  /** Queues the missing blocks of [from, until) as stretches. */
  #ask(queue: { first: number; count: number }[], from: number, until: number): void {
    let index = from
    while (index < until) {
      if (this.#blocks.has(index)) {
        index++
        continue
      }
      const first = index
      while (index < until && index - first < this.#stretchBlocks && !this.#blocks.has(index)) {
        this.#blocks.set(index, {
          filled: 0,
          leases: 0,
          dropped: false,
          ready: false,
          read: false,
          held: false,
          bornAt: 0,
        })
        index++
      }
      queue.push({ first, count: index - first })
    }
    // What is wanted now may have been queued for later.
    if (queue === this.#urgent) {
      for (let at = this.#ahead.length - 1; at >= 0; at--) {
        const stretch = this.#ahead[at]!
        if (stretch.first < until && stretch.first + stretch.count > from) {
          this.#ahead.splice(at, 1)
          this.#urgent.push(stretch)
        }
      }
    }
    this.#pump()
  }

  /** Starts streams: what the reader waits for first, and reading ahead only while there is room for it. */
  #pump(): void {
    const parallel = Math.max(1, this.#source.parallel)
    // Where there are several, one more for the reader's own wants: it need not wait for what is read ahead.
    const limit = (): number => (parallel > 1 && this.#urgent.length > 0 ? parallel + 1 : parallel)
    while (!this.#failure && !this.#signal.aborted && this.#running.size < limit()) {
      const stretch = this.#urgent.shift() ?? (this.#hasRoom() ? this.#ahead.shift() : undefined)
      if (!stretch) return
      this.#incomingBlocks += stretch.count
      const running = this.#fetch(stretch).finally(() => {
        this.#running.delete(running)
        this.#incomingBlocks -= stretch.count
        this.#advance()
        this.#pump()
      })
      this.#running.add(running)
    }
  }

  #hasRoom(): boolean {
    const next = this.#ahead[0]
    if (!next) return false
    this.#forgetStale()
    const unread = this.#fresh.size + this.#incomingBlocks + next.count
    return unread * this.#blockBytes <= this.#maxBytes
  }

  /** What was read ahead in vain (the reader jumped) must not keep the room for ever. */
  #forgetStale(): void {
    for (const index of this.#fresh) {
      const block = this.#blocks.get(index)!
      if (this.#demandedBytes - block.bornAt < 4 * this.#maxBytes) return
      if (block.waiting || block.held || (this.#digest && index >= this.#cursor)) continue
      this.#fresh.delete(index)
      this.#drop(index, block)
    }
  }

  async #fetch({ first, count }: { first: number; count: number }): Promise<void> {
    const offset = first * this.#blockBytes
    const length = Math.min(count * this.#blockBytes, this.sizeBytes - offset)
    let index = first
    this.#streams++
    const sink = (chunk: Buffer): void => {
      this.#fetchedBytes += chunk.length
      let at = 0
      while (at < chunk.length) {
        const block = this.#blocks.get(index)
        if (!block || index >= first + count)
          throw new CdiError('CDI_INTERNAL', 'the source sent more than was asked for')
        const room = this.#lengthOf(index) - block.filled
        const piece = chunk.length - at <= room ? chunk.subarray(at) : chunk.subarray(at, at + room)
        // The source only lends.
        block.buffer ??= this.#pool.pop() ?? Buffer.allocUnsafeSlow(this.#blockBytes)
        piece.copy(block.buffer, block.filled)
        block.filled += piece.length
        at += piece.length
        if (piece.length === room) this.#complete(index++, block)
      }
    }
    try {
      await this.#source.stream({ offset, length }, sink, this.#signal)
      if (index !== first + count) {
        throw new CdiError('CDI_SOURCE_TRUNCATED', `the source ended inside of ${length} bytes at ${offset}`)
      }
    } catch (error) {
      this.#fail(error)
    }
  }

  #complete(index: number, block: Block): void {
    block.ready = true
    block.bornAt = this.#demandedBytes
    this.#heldBytes += block.filled
    this.#peakBytes = Math.max(this.#peakBytes, this.#heldBytes)
    this.#fresh.add(index)
    block.waiting?.resolve()
    if (this.#digest && index === this.#cursor) this.#hash()
    this.#evict()
  }

  async #take(index: number): Promise<Block> {
    for (;;) {
      this.#throwFailure()
      let block = this.#blocks.get(index)
      if (!block?.ready) {
        // It may have come and gone before it was this one's turn, and even be queued again for later.
        this.#ask(this.#urgent, index, index + 1)
        block = this.#blocks.get(index)!
      }
      if (block.ready) {
        this.#touch(index, block)
        return block
      }
      block.waiting ??= Promise.withResolvers<void>()
      await block.waiting.promise
    }
  }

  #touch(index: number, block: Block): void {
    block.read = true
    if (block.held) {
      block.held = false
      this.#unreadHeld--
    }
    this.#fresh.delete(index)
    this.#spent.delete(index)
    this.#spent.add(index)
  }

  /** Frees memory: what was read first, then the oldest unread. What waits to be hashed goes last. */
  #evict(): void {
    for (const queue of [this.#spent, this.#fresh]) {
      for (const index of queue) {
        if (this.#heldBytes <= this.#maxBytes) return
        const block = this.#blocks.get(index)!
        // Somebody was promised this very block and has not come for it yet.
        if (block.waiting && !block.read) continue
        // Next in turn for the digest: dropping it would fetch it twice.
        if (this.#digest && index >= this.#cursor && index < this.#cursorAsked) continue
        queue.delete(index)
        this.#drop(index, block)
      }
    }
  }

  #drop(index: number, block: Block): void {
    if (block.held) this.#unreadHeld--
    this.#heldBytes -= block.filled
    this.#blocks.delete(index)
    block.dropped = true
    if (block.leases === 0) this.#recycle(block)
  }

  #giveBack(block: Block): void {
    block.leases--
    if (block.dropped && block.leases === 0) this.#recycle(block)
  }

  #recycle(block: Block): void {
    if (block.buffer && this.#heldBytes + this.#pool.length * this.#blockBytes < this.#maxBytes) {
      this.#pool.push(block.buffer)
    }
    delete block.buffer
  }

  /** Hashes whatever is there from the cursor on. */
  #hash(): void {
    for (;;) {
      const block = this.#blocks.get(this.#cursor)
      if (!block?.ready) break
      this.#digest!.update(block.buffer!.subarray(0, block.filled))
      if (!block.read) {
        block.held = true
        this.#unreadHeld++
      }
      this.#cursor++
    }
    if (this.#cursor >= this.#blockCount) this.#digestDone?.resolve()
  }

  /** Blocks that the cursor fetched and the reader has gone past count as read: they no longer hold the cursor back. */
  #leaveBehind(before: number): void {
    if (this.#unreadHeld === 0) return
    for (const index of this.#fresh) {
      const block = this.#blocks.get(index)!
      if (block.held && index < before) {
        block.held = false
        this.#unreadHeld--
        this.#fresh.delete(index)
        this.#spent.add(index)
      }
    }
  }

  /** Lets the digest's cursor go on as far as it may. */
  #advance(): void {
    if (!this.#digest || this.#failure) return
    this.#hash()
    const stretch = this.#stretchBlocks
    while (this.#cursorAsked < this.#blockCount) {
      this.#cursorAsked = Math.max(this.#cursorAsked, this.#cursor)
      const waiting = this.#unreadHeld + (this.#cursorAsked - this.#cursor)
      const window = this.#windowBlocks
      if (this.#paced ? waiting + stretch > window : this.#cursorAsked - this.#cursor + stretch > window) return
      const until = Math.min(this.#blockCount, this.#cursorAsked + stretch)
      const from = this.#cursorAsked
      this.#cursorAsked = until
      this.#ask(this.#paced ? this.#ahead : this.#urgent, from, until)
    }
  }

  #fail(thrown: unknown): void {
    this.#failure ??= toCdiError(thrown)
    this.#stop.abort(this.#failure)
    for (const block of this.#blocks.values()) block.waiting?.resolve()
    this.#digestDone?.reject(this.#failure)
  }
}
