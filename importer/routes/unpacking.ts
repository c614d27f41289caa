/**
 * Decodes what is packed in an image while it arrives. Bytes are collected in rooms; as soon as an extent is whole it is
 * decoded in a thread, and what comes of it goes to the disk in the order in which it came. The stream is held back only
 * when all rooms are taken by what is still to be decoded.
 */
import type { Extent } from '../image/extents.ts'
import type { Run } from '../image/runs.ts'
import { unpackExtent } from '../image/unpack.ts'
import type { Sink } from '../sources/source.ts'
import type { Gather } from '../target/gather.ts'
import type { Part } from './parts.ts'
import { seek } from './place-stored.ts'

const mebibyte = 1024 * 1024
const rooms = 2
/** A room is larger if a single extent is. */
const roomBytes = mebibyte
/** What is in the threads at most: so many extents, and so many bytes of the disk unless that is one. */
const mostUnpacking = 8
const mostUnpackingBytes = 2 * mebibyte

interface Room {
  bytes: Buffer
  filled: number
  /** Pieces of it that are still needed. */
  users: number
}

/** A piece of the disk on its way there. */
interface Piece {
  readonly diskOffset: number
  readonly room: Room
  readonly decode: () => Promise<Buffer>
  decoding: Promise<Buffer> | undefined
}

export interface UnpackingOptions {
  readonly gather: Gather
  /** Size of a cluster or grain. */
  readonly unitBytes: number
  /** The image as messages name it. */
  readonly name: string
}

/** What one stream brings. */
export class Unpacking implements AsyncDisposable {
  readonly #options: UnpackingOptions
  readonly #mostAhead: number
  readonly #rooms: Room[] = []
  #room: Room | undefined
  #extents: readonly Extent[] = []
  /** The extent that is collected, and the first byte of it that is not on its way yet. */
  #index = 0
  #wanted = 0
  /** Where the next byte of the source comes from. */
  #position = 0
  /** In turn; the first ones are being decoded. */
  readonly #pieces: Piece[] = []
  #placing: Promise<void> | undefined
  #fault: { readonly error: unknown } | undefined
  #roomFree: PromiseWithResolvers<void> | undefined

  constructor(options: UnpackingOptions) {
    this.#options = options
    this.#mostAhead = Math.max(1, Math.min(mostUnpacking, mostUnpackingBytes / options.unitBytes))
  }

  /** A sink for the bytes of a part, after those of the one before. Throws CDI_CONVERT_FAILED, CDI_TARGET_*. */
  sinkFor({ of: run, position }: Part<Run>): Sink {
    this.#sendRest()
    this.#extents = run.extents
    this.#position = position
    this.#begin(run.indexAt(position))
    this.#wanted = Math.max(this.#wanted, position)
    return (chunk) => this.#take(chunk)
  }

  /** Waits until everything that came was handed over to the disk. Throws as the sink does. */
  async settle(): Promise<void> {
    this.#sendRest()
    await this.#placing
    this.#throwFault()
  }

  /** Drops what is not yet on the disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop(new Error('the stream was given up'))
    await this.#placing
  }

  #take(chunk: Buffer): void | Promise<void> {
    let rest = chunk
    while (rest.length > 0) {
      this.#throwFault()
      const extent = this.#extents[this.#index]
      if (extent === undefined) return undefined
      const gap = Math.min(rest.length, this.#wanted - this.#position)
      if (gap > 0) {
        this.#position += gap
        rest = rest.subarray(gap)
        continue
      }
      const room = this.#roomFor(extent)
      if (room === undefined) return this.#takeLater(rest)
      const left = extent.sourceOffset + extent.sourceBytes - this.#position
      const length = Math.min(rest.length, room.bytes.length - room.filled, left)
      rest.copy(room.bytes, room.filled, 0, length)
      room.filled += length
      this.#position += length
      rest = rest.subarray(length)
      this.#sendOff(room)
    }
    return undefined
  }

  async #takeLater(rest: Buffer): Promise<void> {
    this.#roomFree ??= Promise.withResolvers()
    await this.#roomFree.promise
    await this.#take(rest)
  }

  /** The room for the next byte of an extent, which holds what came of it before; undefined if all are taken. */
  #roomFor({ coding, sourceBytes }: Extent): Room | undefined {
    const held = this.#position - this.#wanted
    const room = this.#room
    const isStored = coding === 'stored'
    if (room !== undefined) {
      const space = room.bytes.length - room.filled
      // What is packed has to lie in one piece.
      if (isStored ? space > 0 : space >= sourceBytes - held) return room
    }
    const next = this.#freeRoom()
    if (next === undefined) return undefined
    const head = room?.bytes.subarray(room.filled - held, room.filled)
    if (!isStored && next.bytes.length < sourceBytes) next.bytes = Buffer.allocUnsafeSlow(sourceBytes)
    head?.copy(next.bytes)
    next.filled = held
    this.#room = next
    return next
  }

  #freeRoom(): Room | undefined {
    const free = this.#rooms.find(({ users }) => users === 0)
    if (free !== undefined || this.#rooms.length === rooms) return free
    const room = { bytes: Buffer.allocUnsafeSlow(roomBytes), filled: 0, users: 0 }
    this.#rooms.push(room)
    return room
  }

  /** Sends every extent on its way that is whole, and of a stored one what fills the room. */
  #sendOff(room: Room): void {
    for (let extent = this.#extents[this.#index]; extent !== undefined; extent = this.#extents[this.#index]) {
      const end = extent.sourceOffset + extent.sourceBytes
      const held = this.#position - this.#wanted
      const isWhole = this.#position >= end
      const isStored = extent.coding === 'stored'
      if (!(isWhole || (isStored && room.filled === room.bytes.length))) return
      if (held > 0) this.#send(extent, room, Math.min(held, end - this.#wanted))
      if (!isWhole) return
      this.#begin(this.#index + 1)
    }
  }

  /** A part may end inside of a stored extent. */
  #sendRest(): void {
    const extent = this.#extents[this.#index]
    const held = this.#position - this.#wanted
    if (this.#room !== undefined && extent?.coding === 'stored' && held > 0) this.#send(extent, this.#room, held)
  }

  #begin(index: number): void {
    this.#index = index
    this.#wanted = this.#extents[index]?.sourceOffset ?? this.#position
  }

  /** Sends `length` bytes on their way, from the first one that is wanted. */
  #send(extent: Extent, room: Room, length: number): void {
    const { unitBytes, name } = this.#options
    const from = room.filled - (this.#position - this.#wanted)
    const bytes = room.bytes.subarray(from, from + length)
    const diskOffset = extent.diskOffset + (this.#wanted - extent.sourceOffset)
    const decode = (): Promise<Buffer> =>
      extent.coding === 'stored' ? Promise.resolve(bytes) : unpackExtent({ extent, bytes, unitBytes, name })
    room.users += 1
    this.#pieces.push({ diskOffset, room, decode, decoding: undefined })
    this.#wanted += length
    this.#decodeAhead()
    this.#placing ??= this.#place()
  }

  #decodeAhead(): void {
    for (const piece of this.#pieces.slice(0, this.#mostAhead)) {
      if (piece.decoding !== undefined) continue
      piece.decoding = piece.decode()
      // Looked at when its turn comes; until then a failure is no news for anybody.
      piece.decoding.catch(() => {})
    }
  }

  /** Puts the pieces in their places, as long as there are any. Never rejects. */
  async #place(): Promise<void> {
    const { gather } = this.#options
    try {
      for (let piece = this.#pieces[0]; piece !== undefined; piece = this.#pieces[0]) {
        this.#decodeAhead()
        const bytes = await (piece.decoding as Promise<Buffer>)
        if (this.#fault !== undefined) return
        this.#pieces.shift()
        this.#decodeAhead()
        seek(gather, piece.diskOffset)
        await gather.push(bytes)
        this.#release(piece.room)
      }
    } catch (error) {
      this.#stop(error)
    } finally {
      // At once, so that no piece is left behind that comes before whoever waits hears of it.
      this.#placing = undefined
    }
  }

  #release(room: Room): void {
    room.users -= 1
    if (room.users === 0) this.#tellRoomFree()
  }

  #tellRoomFree(): void {
    this.#roomFree?.resolve()
    this.#roomFree = undefined
  }

  #stop(error: unknown): void {
    this.#fault ??= { error }
    this.#pieces.length = 0
    this.#tellRoomFree()
  }

  #throwFault(): void {
    if (this.#fault !== undefined) throw this.#fault.error
  }
}
