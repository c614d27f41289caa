/**
 * Finds where the frames of a zstd stream end (RFC 8878 §3.1), by walking from header to header. Needed because
 * node:zlib (Node 24) takes the end of a frame for the end of the data and drops, without an error, what follows it in
 * the same write; several frames are normal (pzstd, seekable zstd, `cat a.zst b.zst`).
 */

const frameMagic = 0xfd2fb528
const skippableMagic = 0x184d2a50

function isSkippable(magic: number): boolean {
  return (magic & 0xfffffff0) >>> 0 === skippableMagic
}

/** Lengths of what follows a frame's descriptor, in this order. */
function frameFields(descriptor: number): { windowBytes: number; dictionaryBytes: number; contentSizeBytes: number } {
  const singleSegment = (descriptor >> 5) & 1
  return {
    windowBytes: 1 - singleSegment,
    dictionaryBytes: [0, 1, 2, 4][descriptor & 3]!,
    contentSizeBytes: [singleSegment, 2, 4, 8][descriptor >> 6]!,
  }
}

/** What the next `#need` bytes are. */
type State = 'magic' | 'skippable size' | 'descriptor' | 'block header' | 'lost'

export class ZstdFrames {
  #state: State = 'magic'
  /** Bytes of the field that is being collected; fields are at most 4 bytes long. */
  readonly #field = Buffer.alloc(4)
  #have = 0
  #need = 4
  /** Content bytes to step over before the next field. */
  #skip = 0
  #endsAfterSkip = false
  #checksumBytes = 0

  /** Cuts a chunk at the ends of frames; the pieces are views of it. Bytes that are no zstd are passed on uncut. */
  split(chunk: Buffer): Buffer[] {
    const pieces: Buffer[] = []
    let from = 0
    let at = 0
    while (at < chunk.length && this.#state !== 'lost') {
      if (this.#skip > 0) {
        const step = Math.min(this.#skip, chunk.length - at)
        this.#skip -= step
        at += step
      } else {
        const step = Math.min(this.#need - this.#have, chunk.length - at)
        chunk.copy(this.#field, this.#have, at, at + step)
        this.#have += step
        at += step
        if (this.#have === this.#need) this.#takeField()
      }
      if (this.#skip === 0 && this.#endsAfterSkip) {
        this.#endsAfterSkip = false
        this.#expect('magic', 4)
        pieces.push(chunk.subarray(from, at))
        from = at
      }
    }
    if (from < chunk.length) pieces.push(chunk.subarray(from))
    return pieces
  }

  #expect(state: State, bytes: number): void {
    this.#state = state
    this.#need = bytes
    this.#have = 0
  }

  #takeField(): void {
    switch (this.#state) {
      case 'magic': {
        const magic = this.#field.readUInt32LE()
        if (magic === frameMagic) this.#expect('descriptor', 1)
        else if (isSkippable(magic)) this.#expect('skippable size', 4)
        else this.#state = 'lost'
        break
      }
      case 'skippable size':
        this.#skip = this.#field.readUInt32LE()
        this.#endsAfterSkip = true
        break
      case 'descriptor': {
        const descriptor = this.#field.readUInt8()
        const { windowBytes, dictionaryBytes, contentSizeBytes } = frameFields(descriptor)
        this.#checksumBytes = descriptor & 4
        this.#skip = windowBytes + dictionaryBytes + contentSizeBytes
        this.#expect('block header', 3)
        break
      }
      case 'block header': {
        const header = this.#field.readUIntLE(0, 3)
        const isRunLength = ((header >> 1) & 3) === 1
        this.#skip = isRunLength ? 1 : header >> 3
        if (header & 1) {
          this.#skip += this.#checksumBytes
          this.#endsAfterSkip = true
        } else {
          this.#expect('block header', 3)
        }
        break
      }
      case 'lost':
        break
      default:
        this.#state satisfies never
    }
  }
}

/**
 * How many bytes the first frame says that it holds (RFC 8878 §3.1.1.1.4), given the beginning of the data; skippable
 * frames are stepped over. Undefined if it does not say, the head does not reach that far, or this is no zstd.
 */
export function zstdContentBytes(head: Buffer): number | undefined {
  let at = 0
  while (at + 8 <= head.length && isSkippable(head.readUInt32LE(at))) at += 8 + head.readUInt32LE(at + 4)
  if (at + 5 > head.length || head.readUInt32LE(at) !== frameMagic) return undefined
  const { windowBytes, dictionaryBytes, contentSizeBytes } = frameFields(head.readUInt8(at + 4))
  const field = head.subarray(at + 5 + windowBytes + dictionaryBytes).subarray(0, contentSizeBytes)
  if (contentSizeBytes === 0 || field.length < contentSizeBytes) return undefined
  if (contentSizeBytes === 8) {
    const bytes = Number(field.readBigUInt64LE())
    return Number.isSafeInteger(bytes) ? bytes : undefined
  }
  // Two bytes count from 256 on, since one is enough below.
  return field.readUIntLE(0, contentSizeBytes) + (contentSizeBytes === 2 ? 256 : 0)
}
