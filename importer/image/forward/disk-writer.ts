/**
 * Puts what the engine serves where it belongs on the disk. Packed units are decoded in threads, some ahead, and written
 * in the order in which they came.
 */
import { Gather } from '../../target/gather.ts'
import type { Target } from '../../target/target.ts'
import { giveBack, unpack } from '../unpack.ts'
import type { Unpacked } from '../unpack.ts'
import type { ForwardDisk, PackedUnit } from './engine.ts'

const mebibyte = 1024 * 1024
/** What is in the threads or waits for those before it: so many units, and so many bytes of the disk unless that is two. */
const mostAhead = 16
const mostAheadBytes = 4 * mebibyte
const leastAhead = 2
const slabs = 3

export interface DiskWriterOptions {
  readonly target: Pick<Target, 'write'>
  /** Size of what is packed, decoded. */
  readonly unitBytes: number
  /** The image as messages name it. */
  readonly name: string
  readonly signal: AbortSignal
}

interface Ahead {
  readonly diskOffset: number
  readonly decoding: Promise<Unpacked>
  readonly room: Buffer
  readonly onUsed: (usedBytes: number) => void
}

export class DiskWriter implements ForwardDisk {
  readonly #target: Pick<Target, 'write'>
  readonly #unitBytes: number
  readonly #name: string
  readonly #signal: AbortSignal
  /** One for each way, so that each has neighbours to gather. */
  #storedGather: Gather | undefined
  #packedGather: Gather | undefined
  readonly #ahead: Ahead[] = []
  readonly #mostAhead: number
  readonly #rooms: Buffer[] = []

  constructor({ target, unitBytes, name, signal }: DiskWriterOptions) {
    this.#target = target
    this.#unitBytes = unitBytes
    this.#name = name
    this.#signal = signal
    this.#mostAhead = Math.max(leastAhead, Math.min(mostAhead, Math.floor(mostAheadBytes / unitBytes)))
  }

  stored(diskOffset: number, bytes: Buffer): void | Promise<void> {
    this.#storedGather ??= this.#gather(diskOffset)
    return place(this.#storedGather, diskOffset, bytes)
  }

  async room(bytes: number): Promise<Buffer> {
    if (this.#ahead.length === this.#mostAhead) await this.#writeOldest()
    let room = this.#rooms.pop()
    if (room === undefined || room.length < bytes) room = Buffer.allocUnsafeSlow(Math.max(bytes, this.#unitBytes))
    return room.subarray(0, bytes)
  }

  packed(unit: PackedUnit, bytes: Buffer, onUsed: (usedBytes: number) => void): void {
    const decoding = unpack({ unit, bytes, unitBytes: this.#unitBytes, name: this.#name })
    // Looked at when its turn comes; until then a failure is no news for anybody.
    decoding.catch(() => {})
    this.#ahead.push({ diskOffset: unit.diskOffset, decoding, room: bytes, onUsed })
  }

  /** Writes what was taken and waits for all of it; more may follow. Throws CDI_CONVERT_FAILED, CDI_TARGET_*. */
  async settle(): Promise<void> {
    while (this.#ahead.length > 0) await this.#writeOldest()
    await this.#storedGather?.end()
    await this.#packedGather?.end()
    this.#storedGather = undefined
    this.#packedGather = undefined
  }

  async #writeOldest(): Promise<void> {
    const { diskOffset, decoding, room, onUsed } = this.#ahead.shift() as Ahead
    const unpacked = await decoding
    this.#signal.throwIfAborted()
    this.#rooms.push(Buffer.from(room.buffer))
    onUsed(unpacked.usedBytes)
    this.#packedGather ??= this.#gather(diskOffset)
    await place(this.#packedGather, diskOffset, unpacked.bytes)
    giveBack(unpacked)
  }

  #gather(offset: number): Gather {
    return new Gather({ target: this.#target, offset, slabs })
  }
}

function place(gather: Gather, diskOffset: number, bytes: Buffer): void | Promise<void> {
  if (gather.position !== diskOffset) gather.seek(diskOffset)
  return gather.push(bytes)
}
