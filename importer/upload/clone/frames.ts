/**
 * A stream in frames, each packed or not as it pays at the moment, with the digest of all of it at the end: how the tree
 * of a volume travels. A frame is one byte for its kind, four for the length of what follows (little-endian), and that:
 *
 *   0  bytes as they are
 *   1  bytes packed by zstd
 *   2  the end: SHA-256 of all bytes, unpacked
 */
import { createHash } from 'node:crypto'
import { constants, zstdDecompress } from 'node:zlib'
import { promisify } from 'node:util'
import { CdiError } from '../../../src/errors.ts'

const unpack = promisify(zstdDecompress)

export const frameKinds = { plain: 0, packed: 1, end: 2 } as const
export type FrameKind = keyof typeof frameKinds

const headBytes = 5
/** The most that is in a frame, unpacked. */
export const mostFrameBytes = 1024 * 1024

/** The beginning of a frame; `length` bytes follow. */
export function frameHead(kind: FrameKind, length: number): Buffer {
  const head = Buffer.allocUnsafe(headBytes)
  head[0] = frameKinds[kind]
  head.writeUInt32LE(length, 1)
  return head
}

/**
 * The bytes in the frames of a body. Throws CDI_SOURCE_TRUNCATED if there is no end, CDI_UPLOAD_MALFORMED if these are no
 * frames, CDI_CHECKSUM_MISMATCH, and what the body throws.
 */
export async function* unframed(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  const hash = createHash('sha256')
  const reader = new Reader(body)
  for (;;) {
    const head = await reader.take(headBytes)
    const kind = head.readUInt8(0)
    const length = head.readUInt32LE(1)
    if (length > mostFrameBytes) throw malformed(`a frame of ${length} bytes`)
    const bytes = await reader.take(length)
    switch (kind) {
      case frameKinds.plain: {
        hash.update(bytes)
        yield bytes
        break
      }
      case frameKinds.packed: {
        const plain = await unpacked(bytes)
        hash.update(plain)
        yield plain
        break
      }
      case frameKinds.end: {
        if (!hash.digest().equals(bytes)) {
          throw new CdiError('CDI_CHECKSUM_MISMATCH', 'the tree of the volume did not arrive as it was read')
        }
        return reader.end()
      }
      default:
        throw malformed(`a frame of kind ${kind}`)
    }
  }
}

async function unpacked(bytes: Buffer): Promise<Buffer> {
  try {
    return await unpack(bytes, { maxOutputLength: mostFrameBytes, params: { [constants.ZSTD_d_windowLogMax]: 23 } })
  } catch (cause) {
    throw new CdiError('CDI_CHECKSUM_MISMATCH', 'a frame of the clone cannot be unpacked', { cause })
  }
}

/** Takes so many bytes at a time from chunks of any length. */
class Reader {
  readonly #chunks: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(body: AsyncIterable<Buffer>) {
    this.#chunks = body[Symbol.asyncIterator]()
  }

  async take(bytes: number): Promise<Buffer> {
    if (this.#rest.length < bytes) {
      const taken = Buffer.allocUnsafe(bytes)
      let filled = this.#rest.copy(taken)
      this.#rest = Buffer.alloc(0)
      while (filled < bytes) {
        const next = await this.#chunks.next()
        if (next.done === true) throw new CdiError('CDI_SOURCE_TRUNCATED', 'the stream of the clone has no end')
        const copied = next.value.copy(taken, filled)
        filled += copied
        this.#rest = next.value.subarray(copied)
      }
      return taken
    }
    const taken = this.#rest.subarray(0, bytes)
    this.#rest = this.#rest.subarray(bytes)
    return taken
  }

  async end(): Promise<void> {
    const next = await this.#chunks.next()
    if (this.#rest.length > 0 || next.done !== true) throw malformed('bytes behind the end')
  }
}

function malformed(why: string): CdiError {
  return new CdiError('CDI_UPLOAD_MALFORMED', `the stream of the clone is malformed: ${why}`)
}
