/**
 * One layer of a container image as a tar archive: blob → digest → decoder (by magic; media types are wrong too often) →
 * tar reader. A layer is read to its very end whatever is found in it, since only then its digest is known.
 *
 * Three things are told apart. A layer that is no archive at all (too short, another kind of file) shows nothing and is
 * passed over. A layer that begins as one and is damaged may have hidden or replaced the disk, so it is a fault: of the
 * transfer if the digest is wrong, which another try may heal, else of the image. And what the handler throws (somebody
 * downstream wants no more) ends the reading at once.
 */
import { CdiError, prefixError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import type { Decoding, Encoding } from '../../formats/decoder.ts'
import { decodeThrough } from '../../formats/decoders.ts'
import { detectEncoding, isTar } from '../../formats/detect.ts'
import { TarReader } from '../../formats/tar.ts'
import type { TarContent, TarEntry, TarHandler } from '../../formats/tar.ts'
import { blockBytes, invalidArchive } from '../../formats/tar-header.ts'
import { isZero } from '../../target/data-runs.ts'
import type { Sink } from '../source.ts'
import { streamBlob } from './container-disk-blob.ts'
import type { Layer } from './image.ts'

const gib = 1024 ** 3
/**
 * What a layer may unpack to besides the disk, whose size is the target's business: a layer of a few MiB can unpack to
 * terabytes of zeros in front of it. Root file systems pack 2:1 to 4:1, and one with a sparse log of a large user id
 * (`lastlog`) has some GiB of zeros.
 */
const passedOverBytes = 64 * gib
const passedOverRatio = 32

export interface ReadLayer {
  readonly layer: Layer
  readonly handler: TarHandler
  /** Bytes that may be passed over; by the size of the layer unless told. */
  readonly limitBytes?: number
}

/**
 * Tells the handler about the entries of a layer. Resolves when all of it was read and proved right, with the reason why
 * there were none if it is no archive. Throws CDI_REGISTRY_DIGEST, CDI_DECODE_* and CDI_ARCHIVE_INVALID if it is damaged,
 * the blob's errors, the handler's as they are, or the signal's reason.
 */
export async function readLayer(
  { layer, handler, limitBytes = Math.max(passedOverBytes, passedOverRatio * layer.sizeBytes) }: ReadLayer,
  signal: AbortSignal,
): Promise<string | undefined> {
  await using archive = new LayerArchive({ handler, limitBytes, signal })
  await streamBlob({ layer, sink: (chunk) => archive.write(chunk) }, signal)
  try {
    await archive.end()
  } catch (error) {
    throw archive.isDamaged ? prefixError(`layer ${layer.digest} cannot be used`, error) : error
  }
  return archive.unreadable
}

/** Marks bytes that are no archive. */
class NoArchive extends Error {}

const damages: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_ARCHIVE_INVALID',
  'CDI_DECODE_CORRUPT',
  'CDI_DECODE_TRUNCATED',
  'CDI_DECODE_WINDOW',
  'CDI_ENCODING_UNSUPPORTED',
])

class LayerArchive implements AsyncDisposable {
  readonly #handler: WatchedHandler
  readonly #limitBytes: number
  readonly #signal: AbortSignal
  readonly #stored = new ByHead((head) => this.#decode(head))
  readonly #plain = new ByHead((head) => this.#unpack(head))
  #decoding: Decoding | undefined
  #tar: TarReader | undefined
  #plainBytes = 0
  #unreadable: string | undefined
  #damage: CdiError | undefined

  constructor({ handler, limitBytes, signal }: { handler: TarHandler; limitBytes: number; signal: AbortSignal }) {
    this.#handler = new WatchedHandler(handler)
    this.#limitBytes = limitBytes
    this.#signal = signal
  }

  /** Why these bytes are no archive, if they are none. */
  get unreadable(): string | undefined {
    return this.#unreadable
  }

  get isDamaged(): boolean {
    return this.#damage !== undefined
  }

  /** Takes stored bytes; damage is told at the end, when it is known whether they were the right ones. */
  async write(chunk: Buffer): Promise<void> {
    if (this.#unreadable !== undefined || this.#damage !== undefined) return
    await this.#judged(() => this.#stored.write(chunk))
  }

  /** All stored bytes were there, and right. Throws what is wrong with them. */
  async end(): Promise<void> {
    if (this.#unreadable === undefined && this.#damage === undefined) {
      await this.#judged(async () => {
        await this.#stored.end()
        await this.#decoding?.end()
        await this.#plain.end()
        // The digest says that nothing is missing, and not every builder marks the end.
        this.#tar?.end({ mark: 'optional' })
      })
    }
    if (this.#damage !== undefined) throw this.#damage
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#decoding?.[Symbol.asyncDispose]()
  }

  async #judged(work: () => void | Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      if (this.#handler.fault !== undefined) throw this.#handler.fault.error
      this.#signal.throwIfAborted()
      if (error instanceof NoArchive) this.#unreadable = error.message
      else if (error instanceof CdiError && damages.has(error.code)) this.#damage = error
      else throw error
    }
  }

  #decode(head: Buffer): Sink {
    const encoding = encodingOf(head)
    this.#decoding = decodeThrough(
      encoding === undefined ? [] : [encoding],
      (chunk) => this.#takePlain(chunk),
      this.#signal,
    )
    const decoding = this.#decoding
    return (chunk) => decoding.write(chunk)
  }

  #takePlain(chunk: Buffer): void | Promise<void> {
    this.#plainBytes += chunk.length
    if (this.#plainBytes - this.#handler.takenBytes > this.#limitBytes) {
      throw invalidArchive(`it unpacks to more than ${this.#limitBytes} bytes besides a disk`)
    }
    return this.#plain.write(chunk)
  }

  #unpack(head: Buffer): Sink {
    if (head.length < blockBytes) throw new NoArchive('it is shorter than the header of an archive')
    if (!isTar(head) && !isZero(head)) throw new NoArchive('it is no tar archive')
    const tar = new TarReader(this.#handler)
    this.#tar = tar
    return (chunk) => tar.write(chunk)
  }
}

function encodingOf(head: Buffer): Encoding | undefined {
  try {
    return detectEncoding(head)
  } catch (error) {
    throw new NoArchive(error instanceof Error ? error.message : String(error))
  }
}

/** Holds the first bytes back until there are enough of them to choose where all bytes go. */
class ByHead {
  readonly #choose: (head: Buffer) => Sink
  readonly #head = Buffer.alloc(blockBytes)
  #have = 0
  #next: Sink | undefined

  constructor(choose: (head: Buffer) => Sink) {
    this.#choose = choose
  }

  write(chunk: Buffer): void | Promise<void> {
    if (this.#next !== undefined) return this.#next(chunk)
    const taken = chunk.copy(this.#head, this.#have)
    this.#have += taken
    return this.#have === this.#head.length ? this.#begin(chunk.subarray(taken)) : undefined
  }

  /** No more will come: chooses by what there is. */
  async end(): Promise<void> {
    if (this.#next === undefined) await this.#begin(Buffer.alloc(0))
  }

  async #begin(rest: Buffer): Promise<void> {
    const head = this.#head.subarray(0, this.#have)
    this.#next = this.#choose(head)
    if (head.length > 0) await this.#next(head)
    if (rest.length > 0) await this.#next(rest)
  }
}

/** Knows what the handler itself threw, and how many bytes it took. */
class WatchedHandler implements TarHandler {
  readonly #handler: TarHandler
  fault: { readonly error: unknown } | undefined
  takenBytes = 0

  constructor(handler: TarHandler) {
    this.#handler = handler
  }

  async entry(entry: TarEntry): Promise<TarContent | undefined> {
    const content = await this.#watched(() => this.#handler.entry(entry))
    if (content === undefined) return undefined
    return {
      write: (offset, data) => {
        this.takenBytes += data.length
        return this.#watched(() => content.write(offset, data))
      },
      end: () => this.#watched(() => content.end()),
    }
  }

  async #watched<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      this.fault = { error }
      throw error
    }
  }
}
