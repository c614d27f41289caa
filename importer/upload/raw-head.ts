/** What an upload is, told from its first bytes alone: a raw disk as it stands, an image, or something packed. */
import { CdiError } from '../../src/errors.ts'
import type { Encoding } from '../formats/decoder.ts'
import { peel, peelBytes } from '../formats/decoders.ts'
import { detectEncoding, detectFormat } from '../formats/detect.ts'
import type { DiskFormat } from '../formats/detect.ts'
import type { ImageFacts } from '../image/facts.ts'
import { inspectHead } from '../survey.ts'

/** So many first bytes (or all) tell what an upload is. */
export const headBytes = peelBytes

export interface HeadFacts {
  /** Around the disk, outermost first. */
  readonly encodings: readonly Encoding[]
  readonly format: DiskFormat
  /** Of an image without encodings whose headers are all among the first bytes. */
  readonly facts?: ImageFacts
}

/** Throws CDI_ENCODING_UNSUPPORTED, CDI_FORMAT_*, CDI_IMAGE_*, CDI_DECODE_* as an import of these bytes would. */
export async function factsOfHead(head: Buffer, length: number | undefined, signal: AbortSignal): Promise<HeadFacts> {
  const { encodings, head: inner } = await peel(head, signal)
  const format = detectFormat(inner)
  if (format === 'raw' || encodings.length > 0) return { encodings, format }
  const sizeBytes = length === undefined ? {} : { sizeBytes: length }
  const facts = await inspectHead({ name: 'the upload', format, head, ...sizeBytes })
  return { encodings, format, ...(facts === undefined ? {} : { facts }) }
}

/** Throws CDI_FORMAT_UNSUPPORTED unless the first bytes are those of a raw disk without encoding. */
export function assertRaw(head: Buffer): void {
  const kind = detectEncoding(head) ?? detectFormat(head)
  if (kind === 'raw') return
  throw new CdiError(
    'CDI_FORMAT_UNSUPPORTED',
    `only raw disks can be uploaded in ranges, and this is ${kind}: ` +
      'upload it to /v1beta1/upload-tus, /v1beta1/upload-resumable or /v1beta1/upload',
    { details: { kind } },
  )
}
