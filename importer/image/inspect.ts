/**
 * Looks at the headers of a disk image and says what is in it, or refuses it: whatever leads outside of the image
 * (backing files, data files, further extents), is encrypted, contradicts itself or asks for absurd tables. Pure but for
 * the reads, of which there are at most 24 with 4 MiB together. qemu-img is asked as well before anything is converted.
 */
import { CdiError } from '../../src/errors.ts'
import type { DiskFormat } from '../formats/detect.ts'
import type { ImageFacts } from './facts.ts'
import { HeaderReader } from './header-reader.ts'
import type { ReadImage } from './header-reader.ts'
import { inspectQcow2 } from './qcow2.ts'
import { inspectRaw } from './raw.ts'
import { inspectVdi } from './vdi.ts'
import { inspectVhd } from './vhd.ts'
import { inspectVhdx } from './vhdx.ts'
import { inspectVmdk } from './vmdk.ts'

export type { ReadImage } from './header-reader.ts'

export interface InspectInput {
  readonly format: DiskFormat
  /** Reads exactly that piece of the image; its errors pass through. */
  readonly read: ReadImage
  /** Length of the image file; absent while unknown, tables are then not checked against the end. */
  readonly sizeBytes?: number
  /** The image as messages name it. */
  readonly name: string
}

const inspectors: Readonly<Record<DiskFormat, (reader: HeaderReader) => Promise<ImageFacts>>> = {
  raw: inspectRaw,
  qcow2: inspectQcow2,
  vmdk: inspectVmdk,
  vdi: inspectVdi,
  vhd: inspectVhd,
  vhdx: inspectVhdx,
}

/**
 * Throws CDI_IMAGE_BACKING_FILE, CDI_IMAGE_ENCRYPTED, CDI_FORMAT_INVALID, CDI_FORMAT_UNSUPPORTED, and whatever `read`
 * throws.
 */
export function inspectImage({ format, read, sizeBytes, name }: InspectInput): Promise<ImageFacts> {
  return inspectors[format](new HeaderReader({ read, sizeBytes, name, format }))
}

/** Throws CDI_IMAGE_TOO_LARGE, in the words that conditions and scripts look for (contract: import §6). */
export function assertFits({
  virtualSizeBytes,
  availableBytes,
}: {
  readonly virtualSizeBytes: number
  readonly availableBytes: number
}): void {
  if (virtualSizeBytes <= availableBytes) return
  throw new CdiError(
    'CDI_IMAGE_TOO_LARGE',
    `virtual image size ${virtualSizeBytes} is larger than the reported available storage ${availableBytes}. A larger PVC is required`,
    { details: { virtualSizeBytes, availableBytes } },
  )
}
