/**
 * Looks at a source before anything is written: which encodings lie around the data, which disk format is inside, how
 * large the disk is, and whether it is an image that we take at all. Reads the first bytes and, where ranges are to be
 * had, the image's headers; never the data.
 */
import { CdiError } from '../src/errors.ts'
import type { Encoding } from './formats/decoder.ts'
import { peel, peelBytes } from './formats/decoders.ts'
import { detectFormat, isVhdFooter } from './formats/detect.ts'
import type { DiskFormat } from './formats/detect.ts'
import { plainSize } from './formats/plain-size.ts'
import type { ImageFacts } from './image/facts.ts'
import { inspectImage } from './image/inspect.ts'
import { planImport } from './plan.ts'
import type { Plan } from './plan.ts'
import { readRange } from './sources/source.ts'
import type { Source } from './sources/source.ts'

export const vhdFooterBytes = 512
/** What is looked at where the headers are not all among the first bytes: VHDX has them in its first megabytes. */
const deepBytes = 8 * 1024 * 1024

export interface Survey {
  /** Outer encodings, outermost first. */
  readonly encodings: readonly Encoding[]
  readonly format: DiskFormat
  /** Size of the disk as a guest sees it; absent if only the end of the stream will tell. */
  readonly virtualSizeBytes?: number
  /** What the encoding around a raw disk says that it holds at least; the footer of a fixed VHD counts. */
  readonly plainSizeBytes?: number
  readonly facts?: ImageFacts
  readonly plan: Plan
}

export interface SurveyInput {
  readonly source: Source
  readonly contentType: 'kubevirt' | 'archive'
  /** Take this format for granted instead of looking. */
  readonly format?: DiskFormat
  /** A digest will be taken of the source. */
  readonly checksum?: boolean
  readonly signal: AbortSignal
}

/** Surveys an open source. Throws CDI_FORMAT_*, CDI_IMAGE_*, CDI_ENCODING_UNSUPPORTED, CDI_DECODE_* and the source's faults. */
export async function surveySource({
  source,
  contentType,
  format: forced,
  checksum = false,
  signal,
}: SurveyInput): Promise<Survey> {
  const outer = await readHead(source, peelBytes, signal)
  const { encodings, head } = await peel(outer, signal)
  const format = contentType === 'archive' ? 'raw' : (forced ?? detectFormat(head))
  const isImage = contentType !== 'archive' && format !== 'raw'
  const facts = isImage ? await inspectWithin({ source, encodings, format, outer, head, signal }) : undefined
  const plan = planImport({
    contentType,
    source: { kind: source.kind, pinned: source.kind === 'ranged' && source.pinned },
    encodings,
    format,
    checksum,
    ...(facts?.tables === undefined ? {} : { tables: facts.tables }),
    ...(facts?.onePass === undefined ? {} : { onePass: facts.onePass }),
  })
  if (contentType === 'archive') return { encodings, format, plan }
  if (format === 'raw') return { encodings, format, plan, ...(await rawSize({ source, encodings, outer, signal })) }
  return { encodings, format, plan, ...(facts ? { facts, virtualSizeBytes: facts.virtualSizeBytes } : {}) }
}

function readHead(source: Source, bytes: number, signal: AbortSignal): Promise<Buffer> {
  if (source.kind === 'forward') return source.peek(signal, bytes)
  return readRange(source, { offset: 0, length: Math.min(bytes, source.sizeBytes) }, signal)
}

/** A raw disk is as large as its file; a fixed VHD is a raw disk with a footer of 512 bytes, which is left out. */
async function rawSize({
  source,
  encodings,
  outer,
  signal,
}: {
  source: Source
  encodings: readonly Encoding[]
  outer: Buffer
  signal: AbortSignal
}): Promise<Pick<Survey, 'virtualSizeBytes' | 'plainSizeBytes'>> {
  if (encodings.length > 0) {
    const plainSizeBytes = await plainSize({ source, encodings, head: outer }, signal)
    return plainSizeBytes === undefined ? {} : { plainSizeBytes }
  }
  if (source.kind === 'forward') return source.sizeBytes === undefined ? {} : { virtualSizeBytes: source.sizeBytes }
  const { sizeBytes } = source
  if (sizeBytes <= vhdFooterBytes) return { virtualSizeBytes: sizeBytes }
  const tail = await readRange(source, { offset: sizeBytes - vhdFooterBytes, length: vhdFooterBytes }, signal)
  return { virtualSizeBytes: isVhdFooter(tail) ? sizeBytes - vhdFooterBytes : sizeBytes }
}

/** Marks a header that lies beyond the bytes at hand: it is then looked at after staging. */
class BeyondHead extends Error {}

async function inspectWithin({
  source,
  encodings,
  format,
  outer,
  head,
  signal,
}: {
  source: Source
  encodings: readonly Encoding[]
  format: Exclude<DiskFormat, 'raw'>
  /** The first bytes of the source, and of what is in it. */
  outer: Buffer
  head: Buffer
  signal: AbortSignal
}): Promise<ImageFacts | undefined> {
  const { name } = source
  if (source.kind === 'ranged' && encodings.length === 0) {
    const read = (offset: number, length: number): Promise<Buffer> => {
      if (offset < 0 || offset + length > source.sizeBytes) {
        throw new CdiError('CDI_FORMAT_INVALID', `${format} header points beyond the end of the image`)
      }
      return readRange(source, { offset, length }, signal)
    }
    return inspectImage({ format, read, sizeBytes: source.sizeBytes, name })
  }
  const found = await inspectHead({ name, format, head })
  if (found !== undefined) return found
  // Mostly there is little in the first megabytes, and the bytes at hand unpack to all of them.
  const unpacked = await peel(outer, signal, deepBytes)
  const deep = await inspectHead({ name, format, head: unpacked.head })
  if (deep !== undefined || unpacked.head.length >= deepBytes) return deep
  const deeper = await peel(await readHead(source, deepBytes, signal), signal, deepBytes)
  return inspectHead({ name, format, head: deeper.head })
}

/**
 * Inspects an image of which only the first bytes are at hand, and its length if that is known. Undefined if the headers are
 * not all among them; throws CDI_FORMAT_*, CDI_IMAGE_*.
 */
export async function inspectHead({
  head,
  ...image
}: {
  name: string
  format: Exclude<DiskFormat, 'raw'>
  head: Buffer
  sizeBytes?: number
}): Promise<ImageFacts | undefined> {
  const read = (offset: number, length: number): Promise<Buffer> => {
    if (offset + length > head.length) throw new BeyondHead()
    return Promise.resolve(head.subarray(offset, offset + length))
  }
  try {
    return await inspectImage({ ...image, read })
  } catch (error) {
    if (error instanceof BeyondHead) return undefined
    throw error
  }
}
