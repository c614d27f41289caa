/**
 * Takes the body of a section from its request into memory, as a whole: only what is known to be right is written. The
 * bytes of the extents come to lie as the disk has them, so that they can be written without going through the page cache.
 */
import { constants, zstdDecompress } from 'node:zlib'
import { promisify } from 'node:util'
import { CdiError } from '../../../src/errors.ts'
import { allocAligned } from '../../target/aligned.ts'
import type { Extent } from '../../target/coverage.ts'
import { PieceMismatch } from '../piece.ts'
import type { Stored } from '../raw-transfer.ts'
import { decodeHead, headLength, mostDataBytes, mostHeadBytes, sectionDigest } from './wire.ts'
import type { SectionPlace } from './wire.ts'

const unpack = promisify(zstdDecompress)

/** What a body may have at most, packed or not: what cannot be packed grows a little. */
const mostBodyBytes = mostHeadBytes + mostDataBytes + 64 * 1024
const headRoomBytes = 64 * 1024

/** Memory for one section after the other. */
export class SectionRoom {
  readonly head = Buffer.allocUnsafeSlow(headRoomBytes)
  readonly data = allocAligned(mostDataBytes)
}

export interface TakeBody {
  readonly room: SectionRoom
  readonly place: SectionPlace
  /** The body is packed by zstd. */
  readonly isPacked: boolean
  /** SHA-256 in hexadecimal digits. */
  readonly digest: string
}

/**
 * Resolves with the data of the section, which lies in the room. Throws PieceMismatch if the body does not have the
 * digest, CDI_UPLOAD_MALFORMED if it is no section, and what the body throws.
 */
export async function takeSection(
  body: AsyncIterable<Buffer>,
  { room, place, isPacked, digest }: TakeBody,
): Promise<Stored[]> {
  const taking = new Taking(room, place)
  if (isPacked) taking.take(await unpacked(body))
  else for await (const chunk of body) taking.take(chunk)
  return taking.end(digest)
}

async function unpacked(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > mostBodyBytes) throw malformed('its body is too long')
    // It is lent.
    chunks.push(Buffer.from(chunk))
  }
  try {
    return await unpack(Buffer.concat(chunks), {
      maxOutputLength: mostBodyBytes,
      params: { [constants.ZSTD_d_windowLogMax]: 23 },
    })
  } catch (cause) {
    // The connection carries its own check, so this is no accident on the way.
    throw new PieceMismatch(
      new CdiError('CDI_CHECKSUM_MISMATCH', 'a section of the clone cannot be unpacked', { cause }),
    )
  }
}

class Taking {
  readonly #room: SectionRoom
  readonly #place: SectionPlace
  #headFilled = 0
  #headBytes: number | undefined
  #extents: Extent[] | undefined
  #dataBytes = 0
  #dataFilled = 0

  constructor(room: SectionRoom, place: SectionPlace) {
    this.#room = room
    this.#place = place
  }

  take(chunk: Buffer): void {
    let rest = chunk
    while (this.#extents === undefined && rest.length > 0) rest = this.#takeHead(rest)
    if (rest.length > this.#dataBytes - this.#dataFilled) throw malformed('its body is longer than its head tells')
    rest.copy(this.#room.data, this.#dataFilled)
    this.#dataFilled += rest.length
  }

  end(digest: string): Stored[] {
    if (this.#extents === undefined || this.#dataFilled < this.#dataBytes) throw malformed('its body ends too early')
    const { head, data } = this.#room
    const calculated = sectionDigest(this.#place, {
      head: head.subarray(0, this.#headFilled),
      data: data.subarray(0, this.#dataBytes),
    })
    if (calculated !== digest) {
      const { start, end } = this.#place
      throw new PieceMismatch(
        new CdiError('CDI_CHECKSUM_MISMATCH', `bytes ${start} to ${end - 1} did not arrive as they were read`, {
          details: { expected: digest, calculated },
        }),
      )
    }
    let at = 0
    return this.#extents.map(({ start, end }) => {
      const bytes = data.subarray(at, at + end - start)
      at += end - start
      return { offset: start, bytes }
    })
  }

  /** Takes what belongs to the head; returns the rest. */
  #takeHead(chunk: Buffer): Buffer {
    const { head } = this.#room
    const wanted = this.#headBytes ?? 4
    const length = Math.min(chunk.length, wanted - this.#headFilled)
    chunk.copy(head, this.#headFilled, 0, length)
    this.#headFilled += length
    if (this.#headFilled === wanted && this.#headBytes === undefined) this.#headBytes = headLength(head)
    if (this.#headFilled === this.#headBytes) {
      this.#extents = decodeHead(head.subarray(0, this.#headFilled), this.#place)
      this.#dataBytes = this.#extents.reduce((sum, { start, end }) => sum + end - start, 0)
    }
    return chunk.subarray(length)
  }
}

function malformed(why: string): CdiError {
  return new CdiError('CDI_UPLOAD_MALFORMED', `a section of the clone is malformed: ${why}`)
}
