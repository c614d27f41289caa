/** Reads headers for the parsers and trusts nothing: every length is bounded and every field lies inside of what was read. */
import { CdiError } from '../../src/errors.ts'
import { invalidImage } from './invalid-image.ts'

/** Reads exactly `length` bytes at `offset` of the image. */
export type ReadImage = (offset: number, length: number) => Promise<Buffer>

/** What all parsers together may read of one image. */
const maxReads = 24
const maxTotalBytes = 4 * 1024 * 1024

export class HeaderReader {
  /** Name of the image for messages. */
  readonly name: string
  readonly format: string
  /** Length of the image file in bytes; unknown while it is still packed. */
  readonly sizeBytes: number | undefined
  readonly #read: ReadImage
  #reads = 0
  #totalBytes = 0

  constructor({
    read,
    sizeBytes,
    name,
    format,
  }: {
    read: ReadImage
    sizeBytes?: number | undefined
    name: string
    format: string
  }) {
    this.#read = read
    this.sizeBytes = sizeBytes
    this.name = name
    this.format = format
  }

  /** Throws CDI_FORMAT_INVALID if the piece does not lie in the image or headers become too many. */
  async read(offset: number, length: number): Promise<Buffer> {
    this.requireInside('header', offset, length)
    this.#reads++
    this.#totalBytes += length
    if (this.#reads > maxReads || this.#totalBytes > maxTotalBytes) throw this.invalid('its headers are too large')
    const bytes = await this.#read(offset, length)
    if (bytes.length !== length) throw this.invalid(`it ends at byte ${offset + bytes.length}, inside of a header`)
    return bytes
  }

  /** Throws CDI_FORMAT_INVALID unless [offset, offset+length) can lie in the image. */
  requireInside(what: string, offset: number, length: number): void {
    const end = offset + length
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(end) || offset < 0 || length < 0) {
      throw this.invalid(`its ${what} has an impossible place`)
    }
    if (this.sizeBytes !== undefined && end > this.sizeBytes) {
      throw this.invalid(`its ${what} ends at byte ${end}, but the image has only ${this.sizeBytes} bytes (truncated?)`)
    }
  }

  /** A number from 64 bits; absurd ones (above 2^53) are CDI_FORMAT_INVALID. */
  safe(what: string, value: bigint): number {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.invalid(`its ${what} is absurd (${value})`)
    return Number(value)
  }

  /** Sizes that a disk can have: whole sectors, more than none, less than an exabyte. */
  requireDiskSize(bytes: bigint): number {
    if (bytes === 0n) throw this.invalid('its virtual size is 0')
    if (bytes > 1n << 60n) throw this.invalid(`its virtual size is absurd (${bytes} bytes)`)
    if (bytes % 512n !== 0n) throw this.invalid(`its virtual size (${bytes} bytes) is not a multiple of 512`)
    return this.safe('virtual size', bytes)
  }

  invalid(why: string): CdiError {
    return invalidImage(this)(why)
  }

  unsupported(why: string): CdiError {
    return new CdiError('CDI_FORMAT_UNSUPPORTED', `Image ${this.name} (${this.format}) is not supported: ${why}`)
  }

  backedBy(file: string): CdiError {
    const shown = printable(file) || '(unnamed)'
    return new CdiError(
      'CDI_IMAGE_BACKING_FILE',
      `Image ${this.name} is invalid because it has invalid backing file ${shown}`,
      { details: { backingFile: shown } },
    )
  }

  encrypted(): CdiError {
    return new CdiError('CDI_IMAGE_ENCRYPTED', `Image ${this.name} is encrypted (${this.format})`)
  }
}

/** Text from a header as it may be shown: control characters gone, at most 200 characters. */
export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '').slice(0, 200)
}
