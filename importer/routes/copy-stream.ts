/**
 * The route for a raw disk that can only be taken from front to end: inside of encodings, or from a source without
 * ranges. Bytes are hashed as they come, decoded, and written; the disk grows with them.
 */
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Encoding } from '../formats/decoder.ts'
import { decodeThrough } from '../formats/decoders.ts'
import { isVhdFooter } from '../formats/detect.ts'
import type { Digest } from '../sources/checksum.ts'
import { streamInOrder } from '../sources/read-ahead.ts'
import type { Sink, Source } from '../sources/source.ts'
import { isZero } from '../target/data-runs.ts'
import { tooLarge } from '../target/faults.ts'
import { Gather } from '../target/gather.ts'
import type { Target } from '../target/target.ts'

export interface CopyStream {
  readonly source: Source
  /** Around the disk, outermost first. */
  readonly encodings: readonly Encoding[]
  readonly target: Target
  /** Size of the disk, if it is known before its end; bytes behind it are a footer. */
  readonly expectedSizeBytes?: number
  /** A disk of more bytes is refused as soon as that is seen. */
  readonly maxBytes: number
  /** Sees every byte of the source once, in order, before any decoding; the caller verifies it afterwards. */
  readonly digest?: Pick<Digest, 'update'>
  /** Hears of every byte as it is taken from the source. */
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Copies the disk into the target, which is left to be finished, and resolves with its size in bytes. Throws the
 * source's errors, CDI_DECODE_*, CDI_IMAGE_TOO_LARGE, CDI_TARGET_*, or the signal's reason.
 */
export async function copyStream({
  source,
  encodings,
  target,
  expectedSizeBytes,
  maxBytes,
  digest,
  onBytes,
  signal,
  log,
}: CopyStream): Promise<number> {
  // What arrives last may be a footer, so the disk is declared without it and grows when it is none.
  const sure = Math.max(0, (expectedSizeBytes ?? 0) - footerBytes)
  await target.begin(sure - (sure % roundBytes), signal, 'ours')
  const disk = new DiskSink({ target, limitBytes: Math.min(maxBytes, target.capacityBytes), expectedSizeBytes })
  await using decoding = decodeThrough(encodings, disk.take, signal)
  const take: Sink = encodings.length === 0 ? disk.take : (chunk) => decoding.write(chunk)
  const sink: Sink = (chunk) => {
    digest?.update(chunk)
    return take(chunk)
  }
  await streamAll({ source, sink, onBytes, signal })
  await decoding.end()
  const sizeBytes = await disk.end()
  await target.begin(sizeBytes, signal, 'ours')
  log.debug({ sizeBytes, source: source.name, encodings }, 'disk copied')
  return sizeBytes
}

/** Streams a source from front to end, over several connections if it has ranges. Throws as its streams do. */
export function streamAll({
  source,
  sink,
  onBytes,
  signal,
}: Pick<CopyStream, 'source' | 'onBytes' | 'signal'> & { sink: Sink }): Promise<void> {
  if (source.kind === 'ranged') return streamInOrder({ source, sink, onBytes, signal })
  return source.stream((chunk) => {
    onBytes(chunk.length)
    return sink(chunk)
  }, signal)
}

const footerBytes = 512
/** Devices are zeroed in whole sectors, of 4 KiB at most. */
const roundBytes = 4096

/**
 * Writes a disk whose end is not known. The last sector is held back until it is clear that it is no VHD footer, unless
 * it is all zeros: no footer can begin in it.
 */
class DiskSink {
  readonly #gather: Gather
  readonly #limitBytes: number
  readonly #expectedSizeBytes: number | undefined
  #held: Buffer = Buffer.alloc(0)
  #received = 0

  constructor(options: { target: Target; limitBytes: number; expectedSizeBytes: number | undefined }) {
    this.#gather = new Gather({ target: options.target, offset: 0, slabs: 4 })
    this.#limitBytes = options.limitBytes
    this.#expectedSizeBytes = options.expectedSizeBytes
  }

  readonly take: Sink = (chunk) => {
    this.#received += chunk.length
    // A footer does not count, as far as can be told.
    if (this.#received > this.#limitBytes + footerBytes) throw this.#tooLarge()
    if (chunk.length < footerBytes) return this.#takeLittle(chunk)
    const cut = isZero(chunk.subarray(-footerBytes)) ? chunk.length : chunk.length - footerBytes
    const before = this.#held
    this.#held = Buffer.from(chunk.subarray(cut))
    const first = this.#push(before)
    const rest = chunk.subarray(0, cut)
    if (first === undefined) return this.#push(rest)
    return first.then(() => this.#push(rest))
  }

  /** Resolves with the size of the disk in bytes when everything was written. */
  async end(): Promise<number> {
    const expected = this.#expectedSizeBytes
    if (expected !== undefined && this.#received < expected) {
      throw new CdiError('CDI_SOURCE_TRUNCATED', `the disk has ${this.#received} bytes instead of ${expected}`)
    }
    const isFooter = isVhdFooter(this.#held) && this.#received > footerBytes
    if (!isFooter) await this.#push(this.#held)
    await this.#gather.end()
    const sizeBytes = this.#gather.position
    if (sizeBytes > this.#limitBytes) throw this.#tooLarge()
    return sizeBytes
  }

  #push(bytes: Buffer): void | Promise<void> {
    return bytes.length > 0 ? this.#gather.push(bytes) : undefined
  }

  #takeLittle(chunk: Buffer): void | Promise<void> {
    const joined = Buffer.concat([this.#held, chunk])
    const cut = Math.max(0, joined.length - footerBytes)
    this.#held = joined.subarray(cut)
    return this.#push(joined.subarray(0, cut))
  }

  #tooLarge(): CdiError {
    return tooLarge({ sizeText: `of at least ${this.#received}`, capacityBytes: this.#limitBytes })
  }
}
