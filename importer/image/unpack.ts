/** Decodes a packed cluster or grain, in a thread of the pool. */
import { promisify } from 'node:util'
import { inflate, inflateRaw, zstdDecompress } from 'node:zlib'
import type { InputType } from 'node:zlib'
import { CdiError } from '../../src/errors.ts'
import type { Extent } from './extents.ts'

/** `deflate` is a raw stream, `zlib` has its frame, `grain` is one behind the marker of VMDK, `zstd` a frame. */
export type PackedCoding = 'deflate' | 'zlib' | 'grain' | 'zstd'

/** A cluster or grain that is packed, in bytes. */
export interface PackedUnit {
  readonly coding: PackedCoding
  /** What of the disk it holds: of the decoded unit, whose rest is dropped at the end of the disk. */
  readonly diskBytes: number
  readonly sourceOffset: number
}

interface Packing {
  /** The packed bytes and perhaps more behind them; lent until the promise settles. */
  readonly bytes: Buffer
  /** Size of a cluster or grain. */
  readonly unitBytes: number
  /** The image as messages name it. */
  readonly name: string
}

export interface Unpacked {
  /** Of the disk. */
  readonly bytes: Buffer
  /** How many of the packed bytes belonged to it. */
  readonly usedBytes: number
}

interface DecodeOptions {
  readonly chunkSize: number
  readonly maxOutputLength: number
  readonly windowBits?: number
}

/** What node:zlib calls back with if it is asked for `info`. */
interface Decoded {
  readonly buffer: Buffer
  readonly engine: { readonly bytesWritten: number }
}

type Decode = (bytes: InputType, options: DecodeOptions & { readonly info: true }) => Promise<Decoded>

const decoders = {
  deflate: promisify(inflateRaw) as unknown as Decode,
  zlib: promisify(inflate) as unknown as Decode,
  zstd: promisify(zstdDecompress) as unknown as Decode,
} as const
/** qcow2 packs with a window of 4 KiB. */
const qcow2WindowBits = 12
/** A sector number and the length of the stream. */
const grainMarkerBytes = 12
/** Room behind the decoded unit, so that its end and the stream's are seen in one step. */
const spareBytes = 64

/** Resolves with the extent's bytes of the disk. Throws CDI_CONVERT_FAILED if they are damaged. */
export async function unpackExtent({ extent, ...packing }: Packing & { readonly extent: Extent }): Promise<Buffer> {
  const { coding, diskBytes, sourceOffset } = extent
  if (coding === 'stored') throw new CdiError('CDI_INTERNAL', 'what is stored needs no decoding')
  const { bytes } = await unpack({ unit: { coding, diskBytes, sourceOffset }, ...packing })
  return bytes
}

/** Resolves with the unit's bytes of the disk. Throws CDI_CONVERT_FAILED if they are damaged. */
export async function unpack({
  unit,
  bytes,
  unitBytes,
  name,
}: Packing & { readonly unit: PackedUnit }): Promise<Unpacked> {
  const { coding, diskBytes, sourceOffset } = unit
  const damaged = (cause?: unknown): CdiError =>
    new CdiError('CDI_CONVERT_FAILED', `Image ${name} is damaged: what lies at byte ${sourceOffset} does not decode`, {
      cause,
    })
  let decoded: Decoded
  try {
    decoded = await decoders[coding === 'grain' ? 'zlib' : coding](coding === 'grain' ? grainStream(bytes) : bytes, {
      chunkSize: unitBytes + spareBytes,
      maxOutputLength: unitBytes,
      info: true,
      ...(coding === 'deflate' ? { windowBits: qcow2WindowBits } : {}),
    })
  } catch (error) {
    throw damaged(error)
  }
  const { buffer, engine } = decoded
  // A cluster is packed as a whole, a grain only as far as the disk reaches.
  const wantedBytes = coding === 'deflate' || coding === 'zstd' ? unitBytes : diskBytes
  if (buffer.length < wantedBytes) throw damaged()
  return { bytes: buffer.length === diskBytes ? buffer : buffer.subarray(0, diskBytes), usedBytes: engine.bytesWritten }
}

/**
 * Gives the memory of what was unpacked back at once, instead of when the garbage collector comes by: a worker has 50 MB
 * less at its peak. The bytes are gone then.
 */
export function giveBack({ bytes: { buffer } }: Unpacked): void {
  // What is smaller is a piece of the memory that all small buffers share.
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize) buffer.transfer(0)
}

function grainStream(bytes: Buffer): Buffer {
  const length = bytes.readUInt32LE(grainMarkerBytes - 4)
  if (length === 0 || grainMarkerBytes + length > bytes.length) throw new RangeError(`a grain of ${length} bytes`)
  return bytes.subarray(grainMarkerBytes, grainMarkerBytes + length)
}
