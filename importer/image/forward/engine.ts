/**
 * Takes an image from front to end and serves what its reader asks for (forward.ts): tables when they have arrived, extents
 * as their bytes come. Stored extents go straight from the lent buffer to the disk; what is packed, tables and what
 * nobody has claimed yet lie in the reorder buffer in between. A byte that was served or ignored is gone, so that a second
 * claim for it is noticed.
 *
 * Claims that wait are bounded too: when there are too many, the next table waits until some were served, and what it
 * would claim is held like all else that nobody has claimed.
 *
 * A conversion can go on in another process ({@link ForwardEngine.checkpoint}): there the reader is shown the tables that
 * it has seen before, and what it then claims of bytes that have passed was served already.
 */
import { CdiError } from '../../../src/errors.ts'
import { isZero } from '../../target/data-runs.ts'
import type { ImageFacts } from '../facts.ts'
import { truncatedImage, wholeEnd } from '../file-end.ts'
import { invalidImage } from '../invalid-image.ts'
import { ClaimQueue, isPacked } from './claims.ts'
import type { Claim } from './claims.ts'
import type { ForwardCoding, ForwardExtent, ForwardReader, ForwardTables } from './forward.ts'
import { ReorderBuffer } from './reorder-buffer.ts'
import type { HeldPiece } from './reorder-buffer.ts'

const mebibyte = 1024 * 1024
/**
 * Bytes that are not stored data of the disk: tables, packed data, what is no longer in use. Far more than the disk has are
 * no image, but are made to keep the worker busy.
 */
const mostOtherBytes = { perDiskByte: 8, more: 1024 * mebibyte } as const
/** Claims are kept as numbers that are exact up to eight times this. */
const longestClaimBytes = 2 ** 48
/** Packed units share the last of these. */
const sector = 512

export interface ForwardLimits {
  /** Memory for what nobody has claimed yet. */
  readonly heldBytes: number
  /** Claims that wait before a table is made to wait; they take 32 bytes each. */
  readonly claims: number
}

export const forwardLimits: ForwardLimits = { heldBytes: 32 * mebibyte, claims: mebibyte }

/** Where the disk goes, one call after the other. */
export interface ForwardDisk {
  /** Takes bytes that are lent until it settles. */
  stored(diskOffset: number, bytes: Buffer): void | Promise<void>
  /** Resolves with room for a packed unit of so many bytes, to be handed over with {@link packed}. */
  room(bytes: number): Promise<Buffer>
  /** Takes a unit in its room. It is decoded later; `onUsed` then hears how many of the bytes belonged to it. */
  packed(unit: PackedUnit, bytes: Buffer, onUsed: (usedBytes: number) => void): void
}

export interface PackedUnit extends Omit<ForwardExtent, 'coding'> {
  readonly coding: Exclude<ForwardCoding, 'stored'>
}

/** Where a conversion stands between two calls of {@link ForwardEngine.take}. */
export interface ForwardCheckpoint {
  /** Bytes of the file that have come. */
  readonly position: number
  /** Of those, what was not stored data of the disk. */
  readonly otherBytes: number
  /** What has come and may still be wanted. */
  readonly held: readonly HeldPiece[]
}

/** A table of the file as it was looked at. */
export interface SeenTable {
  readonly offset: number
  readonly bytes: Buffer
}

/** A conversion that another process has begun. */
export interface ForwardResumption {
  readonly checkpoint: ForwardCheckpoint
  /** All tables that had been looked at by then (`onTable`), in that order. */
  readonly tables: readonly SeenTable[]
  /** Hears of each piece of the disk that was served before, in bytes of the disk. */
  readonly onServed?: (diskOffset: number, diskBytes: number) => void
}

export interface ForwardEngineOptions {
  readonly reader: ForwardReader
  readonly facts: ImageFacts
  /** The image as messages name it. */
  readonly name: string
  readonly disk: ForwardDisk
  /** Where goes what comes too early and is too much for memory; absent: that is CDI_SCRATCH_REQUIRED. */
  readonly scratchDirectory?: string | undefined
  readonly limits?: ForwardLimits
  readonly signal: AbortSignal
  /** Hears of each table as it is looked at; the bytes are lent until it returns. */
  readonly onTable?: (offset: number, bytes: Buffer) => void
  /** The next byte is the one at `checkpoint.position`; what came before is on the disk already. */
  readonly resume?: ForwardResumption
}

interface Table {
  readonly offset: number
  readonly end: number
  readonly use: (bytes: Buffer) => void
}

/** A stored extent whose bytes are passing. */
interface Passing {
  readonly end: number
  /** What is added to an offset in the file to get the one on the disk. */
  readonly shift: number
}

export class ForwardEngine implements ForwardTables, AsyncDisposable {
  readonly #facts: ImageFacts
  readonly #name: string
  readonly #disk: ForwardDisk
  readonly #limits: ForwardLimits
  readonly #signal: AbortSignal
  readonly #held: ReorderBuffer
  readonly #claims = new ClaimQueue()
  /** Tables that were asked for, in the order of their ends. */
  readonly #tables: Table[] = []
  /** Bytes of the file that have come. */
  #position = 0
  #passing: Passing | undefined
  /** Of those, what was not stored data of the disk. */
  #otherBytes = 0
  /** Up to here nobody wants what comes. */
  #ignoredUntil = 0
  #isComplete = false
  /** From here on only padding may come. */
  #endOffset = Number.POSITIVE_INFINITY
  /** Packed claims that wait, and the longest one ever. */
  #packedClaims = 0
  #longestPackedBytes = 0
  /** The table that is being looked at, and where in it the first claim of its own begins. */
  #looking: { readonly offset: number; readonly end: number; claimedFrom: number } | undefined
  #room: Buffer = Buffer.alloc(0)
  #extents = 0
  readonly #onTable: ((offset: number, bytes: Buffer) => void) | undefined
  /** What is claimed now of bytes that have passed was served by another process. */
  #isReplaying = false
  #onServed: ((diskOffset: number, diskBytes: number) => void) | undefined

  constructor(options: ForwardEngineOptions) {
    const { reader, facts, name, disk, scratchDirectory, limits = forwardLimits, signal, onTable, resume } = options
    this.#facts = facts
    this.#name = name
    this.#disk = disk
    this.#limits = limits
    this.#signal = signal
    this.#onTable = onTable
    this.#held = new ReorderBuffer({ limitBytes: limits.heldBytes, scratchDirectory })
    if (resume === undefined) reader(this)
    else this.#replay(reader, resume)
  }

  /** For the log. */
  get stats(): { readonly extents: number; readonly mostHeldBytes: number; readonly spilledBytes: number } {
    return { extents: this.#extents, ...this.#held.stats }
  }

  table(offset: number, length: number, use: (bytes: Buffer) => void): void {
    this.#assertClaimable(offset, length)
    const end = offset + length
    let at = this.#tables.length
    while (at > 0 && (this.#tables[at - 1] as Table).end > end) at -= 1
    this.#tables.splice(at, 0, { offset, end, use })
  }

  extent(extent: ForwardExtent): void {
    const { coding, diskOffset, diskBytes, sourceOffset, sourceBytes } = extent
    this.#assertClaimable(sourceOffset, sourceBytes)
    if (!(diskOffset >= 0 && diskBytes > 0 && diskOffset + diskBytes <= this.#facts.virtualSizeBytes)) {
      throw this.#invalid(`byte ${diskOffset} of its disk lies outside of it`)
    }
    if (coding === 'stored' && diskBytes !== sourceBytes) {
      throw new CdiError('CDI_INTERNAL', `${sourceBytes} stored bytes were claimed for ${diskBytes} bytes of the disk`)
    }
    if (isPacked(coding)) this.#longestPackedBytes = Math.max(this.#longestPackedBytes, sourceBytes)
    this.#extents += 1
    if (this.#isReplaying && this.#wasServed(extent)) return
    if (isPacked(coding)) this.#packedClaims += 1
    this.#claims.add(extent)
  }

  ignore(offset: number, length: number): void {
    this.#assertClaimable(offset, length)
    if (this.#isReplaying && offset <= this.#position) {
      this.#ignoredUntil = Math.max(this.#ignoredUntil, offset + length)
      return
    }
    this.#claims.add({
      coding: 'ignored',
      diskOffset: offset,
      diskBytes: length,
      sourceOffset: offset,
      sourceBytes: length,
    })
  }

  complete(endOffset = Number.POSITIVE_INFINITY): void {
    this.#isComplete = true
    this.#endOffset = endOffset
  }

  /**
   * Takes the next bytes of the image, which are lent until it settles. Throws CDI_FORMAT_INVALID, CDI_SCRATCH_REQUIRED,
   * CDI_TARGET_FULL or CDI_TARGET_IO of scratch, what reader and disk throw, or the signal's reason. One call at a time.
   */
  async take(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length;) {
      if (this.#isDue()) await this.#serve()
      const length = Math.min(chunk.length - at, this.#untilNext())
      const piece = length === chunk.length ? chunk : chunk.subarray(at, at + length)
      if (this.#position + length > this.#endOffset) this.#requirePadding(piece)
      const passing = this.#passing
      if (passing !== undefined) {
        const taken = this.#disk.stored(this.#position + passing.shift, piece)
        if (taken !== undefined) await taken
      } else {
        this.#countOther(length)
        if (this.#position >= this.#ignoredUntil && this.#isWanted()) this.#held.put(this.#position, piece)
      }
      this.#position += length
      at += length
      if (passing !== undefined && passing.end === this.#position) this.#passing = undefined
      if (this.#held.isFull) await this.#relieve()
    }
    if (this.#isDue()) await this.#serve()
  }

  /**
   * Says that the file has ended. Throws as {@link take}, and CDI_CONVERT_FAILED if there should be more: only the last
   * cluster may be there in part, since writers end the file behind the last byte that was written.
   */
  async end(): Promise<void> {
    const lastBytes = wholeEnd(this.#facts, this.#position)
    for (;;) {
      if (this.#isDue()) await this.#serve()
      if (this.#passing !== undefined && this.#passing.end > lastBytes) throw this.#truncated(this.#passing.end)
      const missing = this.#tables.find(({ end }) => end > this.#position)
      if (missing !== undefined) throw this.#truncated(missing.end)
      if (this.#claims.size === 0) break
      const claim = this.#claims.pop()
      if (claim.coding === 'ignored') continue
      // How long a packed unit is shows when it is decoded.
      const thereBytes = this.#position - claim.sourceOffset
      if (!isPacked(claim.coding) || thereBytes <= 0) throw this.#truncated(claim.sourceOffset + claim.sourceBytes)
      await this.#serveClaim({ ...claim, sourceBytes: thereBytes })
    }
    if (!this.#isComplete) throw this.#truncated(this.#position + 1)
    await this.#held.assertKept()
  }

  /**
   * All that another process needs, besides the tables, to go on from here; what the disk was given must be on it
   * (DiskWriter.settle) before this is called, and durable before the checkpoint is kept. Undefined if something lies in
   * scratch. Not while {@link take} is under way.
   */
  checkpoint(): ForwardCheckpoint | undefined {
    const held = this.#held.snapshot()
    return held && { position: this.#position, otherBytes: this.#otherBytes, held }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#held[Symbol.asyncDispose]()
  }

  /** Lets the reader make the claims that it has made before, in the same order. */
  #replay(reader: ForwardReader, { checkpoint, tables, onServed }: ForwardResumption): void {
    this.#onServed = onServed
    this.#position = checkpoint.position
    this.#otherBytes = checkpoint.otherBytes
    this.#held.restore(checkpoint.held)
    this.#isReplaying = true
    reader(this)
    for (const { offset, bytes } of tables) {
      const at = this.#tables.findIndex((table) => table.offset === offset && table.end === offset + bytes.length)
      const [table] = at === -1 ? [] : this.#tables.splice(at, 1)
      if (table === undefined) throw new CdiError('CDI_INTERNAL', `no table was asked for at byte ${offset}`)
      table.use(bytes)
    }
    this.#isReplaying = false
  }

  /** Whether a claim was served before the checkpoint; of a stored one that is passing there, the rest is to come. */
  #wasServed({ coding, diskOffset, diskBytes, sourceOffset, sourceBytes }: ForwardExtent): boolean {
    const end = sourceOffset + sourceBytes
    if (end <= this.#position) {
      this.#onServed?.(diskOffset, diskBytes)
      return true
    }
    if (isPacked(coding) || sourceOffset >= this.#position) return false
    if (this.#passing !== undefined) throw this.#usedTwice(this.#position)
    this.#passing = { end, shift: diskOffset - sourceOffset }
    this.#onServed?.(diskOffset, this.#position - sourceOffset)
    return true
  }

  #countOther(bytes: number): void {
    this.#otherBytes += bytes
    const { perDiskByte, more } = mostOtherBytes
    const most = perDiskByte * this.#facts.virtualSizeBytes + more
    if (this.#otherBytes > most) throw this.#invalid(`more than ${most} bytes of it are not data of its disk`)
  }

  #isDue(): boolean {
    if (this.#claims.nextOffset <= this.#position) return true
    const [table] = this.#tables
    return table !== undefined && table.end <= this.#position && this.#claims.size < this.#limits.claims
  }

  /** Bytes to the next place where something begins, ends or is due. */
  #untilNext(): number {
    const position = this.#position
    let next = this.#claims.nextOffset
    const [table] = this.#tables
    if (table !== undefined && table.end > position) next = Math.min(next, table.end)
    if (this.#passing !== undefined) next = Math.min(next, this.#passing.end)
    if (this.#ignoredUntil > position) next = Math.min(next, this.#ignoredUntil)
    return next - position
  }

  /** What nobody has claimed may be wanted until all is known; then only what is packed is held, until its last byte. */
  #isWanted(): boolean {
    return !this.#isComplete || this.#packedClaims > 0 || this.#tables.length > 0
  }

  async #serve(): Promise<void> {
    while (this.#isDue()) {
      this.#signal.throwIfAborted()
      if (this.#claims.nextOffset <= this.#position) await this.#serveClaim(this.#claims.pop())
      else await this.#lookAt(this.#tables.shift() as Table)
    }
  }

  async #lookAt({ offset, end, use }: Table): Promise<void> {
    const length = end - offset
    this.#assertHeld(offset, length)
    if (this.#room.length < length) this.#room = Buffer.allocUnsafeSlow(length)
    const bytes = this.#room.subarray(0, length)
    await this.#held.read(offset, bytes)
    const looking = { offset, end, claimedFrom: end }
    this.#looking = looking
    this.#onTable?.(offset, bytes)
    use(bytes)
    this.#looking = undefined
    this.#held.drop(offset, looking.claimedFrom - offset)
  }

  /** Serves a claim whose beginning (if it is packed: whose whole) has come. */
  async #serveClaim(claim: Claim): Promise<void> {
    const { coding, sourceOffset, sourceBytes } = claim
    const heldBytes = Math.min(sourceBytes, this.#position - sourceOffset)
    if (coding === 'ignored') {
      this.#held.drop(sourceOffset, heldBytes)
      this.#ignoredUntil = Math.max(this.#ignoredUntil, sourceOffset + sourceBytes)
      return
    }
    if (coding !== 'stored') {
      this.#packedClaims -= 1
      await this.#servePacked({ ...claim, coding })
      return
    }
    this.#assertHeld(sourceOffset, heldBytes)
    const shift = claim.diskOffset - sourceOffset
    await this.#held.lend(sourceOffset, heldBytes, (offset, bytes) => this.#disk.stored(offset + shift, bytes))
    this.#held.drop(sourceOffset, heldBytes)
    if (heldBytes === sourceBytes) return
    if (this.#passing !== undefined) throw this.#usedTwice(this.#position)
    this.#passing = { end: sourceOffset + sourceBytes, shift }
  }

  async #servePacked(unit: PackedUnit): Promise<void> {
    const { sourceOffset, sourceBytes } = unit
    // Of the last sector a part may belong to others, and be gone. If it does not, that shows when it is decoded.
    const heldBytes = this.#held.heldFrom(sourceOffset, sourceBytes)
    if (heldBytes === 0) throw this.#usedTwice(sourceOffset)
    const bytes = await this.#disk.room(heldBytes)
    await this.#held.read(sourceOffset, bytes)
    const end = sourceOffset + sourceBytes
    const sharedFrom = Math.max(sourceOffset + 1, end - 1 - ((end - 1) % sector))
    this.#held.drop(sourceOffset, sharedFrom - sourceOffset)
    this.#disk.packed(unit, bytes, (usedBytes) => {
      const usedEnd = sourceOffset + usedBytes
      if (usedEnd > sharedFrom) this.#held.drop(sharedFrom, usedEnd - sharedFrom)
    })
  }

  /** What comes now is behind the end of the image, or reaches over it. */
  #requirePadding(piece: Buffer): void {
    if (isZero(piece.subarray(Math.max(0, this.#endOffset - this.#position)))) return
    throw this.#invalid(`it ends at byte ${this.#endOffset}, and something else follows`)
  }

  async #relieve(): Promise<void> {
    if (this.#isComplete) {
      const first = this.#tables.reduce((least, { offset }) => Math.min(least, offset), this.#position)
      this.#held.dropBelow(Math.min(first, this.#position - this.#longestPackedBytes))
    }
    if (this.#held.isFull) await this.#held.relieve(this.#position)
  }

  #assertClaimable(offset: number, length: number): void {
    if (this.#isComplete) throw new CdiError('CDI_INTERNAL', 'a claim came after the reader was complete')
    const isExact = Number.isSafeInteger(offset) && Number.isSafeInteger(offset + length)
    if (!isExact || offset < 0 || length <= 0 || length > longestClaimBytes) {
      throw this.#invalid(`it has something at byte ${offset}, ${length} bytes long`)
    }
    const looking = this.#looking
    if (looking !== undefined && offset >= looking.offset && offset < looking.end) {
      looking.claimedFrom = Math.min(looking.claimedFrom, offset)
    }
  }

  #assertHeld(offset: number, length: number): void {
    if (this.#held.heldFrom(offset, length) < length) throw this.#usedTwice(offset)
  }

  #usedTwice(offset: number): CdiError {
    return this.#invalid(`what lies at byte ${offset} is used twice`)
  }

  #invalid(why: string): CdiError {
    return invalidImage({ name: this.#name, format: this.#facts.format })(why)
  }

  #truncated(wantedBytes: number): CdiError {
    return truncatedImage({ name: this.#name, sizeBytes: this.#position, wantedBytes })
  }
}
