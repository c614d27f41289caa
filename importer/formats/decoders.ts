/** All decoders, chains of them for nested encodings, and a look through them at the first bytes of a source. */
import { CdiError } from '../../src/errors.ts'
import { peekBytes } from '../sources/peekable.ts'
import type { Sink } from '../sources/source.ts'
import type { Decoder, Decoding, Encoding } from './decoder.ts'
import { detectEncoding } from './detect.ts'
import { gzipDecoder } from './gzip.ts'
import { xzDecoder } from './xz.ts'
import { zstdDecoder } from './zstd.ts'

/** The decoder that data of each encoding is decoded with. A new encoding is one line here and one in detect.ts. */
export const decoders: Readonly<Record<Encoding, Decoder>> = { gzip: gzipDecoder, xz: xzDecoder, zstd: zstdDecoder }

/** In the process and without a child, for a few KiB; its library is loaded only when there is xz data. */
async function headDecoder(encoding: Encoding): Promise<Decoder> {
  return encoding === 'xz' ? (await import('./xz-native.ts')).xzNativeDecoder : decoders[encoding]
}

/**
 * Starts decoding through `encodings` (outermost first; none passes the bytes on as they are) towards `sink`. Throws
 * CDI_DECODE_* from `write` and `end`, and the sink's own errors as they are.
 */
export function decodeThrough(encodings: readonly Encoding[], sink: Sink, signal: AbortSignal): Decoding {
  return new Chain(encodings, sink, signal, decoders)
}

class Chain implements Decoding {
  /** Outermost first. */
  readonly #links: Decoding[] = []
  readonly #first: Sink
  readonly #signal: AbortSignal

  constructor(
    encodings: readonly Encoding[],
    sink: Sink,
    signal: AbortSignal,
    by: Readonly<Record<Encoding, Decoder>>,
  ) {
    this.#signal = signal
    this.#first = encodings.reduceRight<Sink>((next, encoding) => {
      const link = by[encoding].start(next, signal)
      this.#links.unshift(link)
      return (chunk) => link.write(chunk)
    }, sink)
  }

  async write(chunk: Buffer): Promise<void> {
    this.#signal.throwIfAborted()
    await this.#first(chunk)
  }

  async end(): Promise<void> {
    this.#signal.throwIfAborted()
    for (const link of this.#links) await link.end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#links.map((link) => link[Symbol.asyncDispose]()))
  }
}

/** How many bytes of a source `peel` wants to see (or all, if it is shorter): what every forward source shows. */
export const peelBytes = peekBytes

/** How much is decoded of each layer, unless more is wanted. */
const layerBytes = 256 * 1024
/** A plain head of fewer bytes could hide the magic of a disk format. */
const tellingBytes = 512

export interface Peeled {
  /** Encodings around the data, outermost first; each at most once. */
  readonly encodings: readonly Encoding[]
  /** The first bytes of the data inside: 64 KiB (or what was wanted) unless there are fewer or the given head was too short. */
  readonly head: Buffer
}

/**
 * Looks through the encodings at the beginning of a source, given its first bytes ({@link peelBytes}). The head may end
 * anywhere. Throws CDI_DECODE_CORRUPT or CDI_DECODE_WINDOW if the layers cannot be decoded, CDI_ENCODING_UNSUPPORTED
 * for packings that are not taken, CDI_FORMAT_UNSUPPORTED if the data starts too late to be recognised.
 */
export async function peel(head: Buffer, signal: AbortSignal, wantedBytes: number = layerBytes): Promise<Peeled> {
  const encodings: Encoding[] = []
  let plain = head
  for (;;) {
    const encoding = detectEncoding(plain)
    // Twice the same is no packing that anybody means: the inner one is then the data.
    if (encoding === undefined || encodings.includes(encoding)) return { encodings, head: plain }
    encodings.push(encoding)
    const packed = plain
    plain = await decodeHead({ encoding, packed, wantedBytes, signal })
    if (plain.length < tellingBytes && packed.length >= peelBytes) {
      throw new CdiError(
        'CDI_FORMAT_UNSUPPORTED',
        `the first ${packed.length} bytes of the ${encoding} data unpack to ${plain.length} bytes only, so what it holds cannot be told`,
      )
    }
  }
}

/** Marks that enough was seen. */
class Enough extends Error {}

async function decodeHead({
  encoding,
  packed,
  wantedBytes,
  signal,
}: {
  encoding: Encoding
  packed: Buffer
  wantedBytes: number
  signal: AbortSignal
}): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  const decoder = await headDecoder(encoding)
  await using decoding = decoder.start((chunk) => {
    pieces.push(Buffer.from(chunk))
    length += chunk.length
    if (length >= wantedBytes) throw new Enough()
  }, signal)
  try {
    await decoding.write(packed)
    await decoding.end()
  } catch (error) {
    const isCut = error instanceof CdiError && error.code === 'CDI_DECODE_TRUNCATED'
    if (!isCut && !(error instanceof Enough)) throw error
  }
  return Buffer.concat(pieces).subarray(0, wantedBytes)
}
