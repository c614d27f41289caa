/** Decodes a packed cluster or grain, in a thread of the pool. */
import { promisify } from 'node:util'
import { inflate, inflateRaw } from 'node:zlib'
import type { InputType, ZlibOptions } from 'node:zlib'
import { CdiError } from '../../src/errors.ts'
import type { Extent } from './extents.ts'

type Inflate = (bytes: InputType, options: ZlibOptions) => Promise<Buffer>
const inflateBytes: Inflate = promisify(inflate)
const inflateRawBytes: Inflate = promisify(inflateRaw)
/** qcow2 packs with a window of 4 KiB. */
const qcow2WindowBits = 12
/** A sector number and the length of the stream. */
const grainMarkerBytes = 12
/** Room behind the decoded unit, so that its end and the stream's are seen in one step. */
const spareBytes = 64

export interface UnpackExtent {
  readonly extent: Extent
  /** `extent.sourceBytes` bytes, lent until the promise settles. */
  readonly bytes: Buffer
  /** Size of a cluster or grain. */
  readonly unitBytes: number
  /** The image as messages name it. */
  readonly name: string
}

/** Resolves with the extent's bytes of the disk. Throws CDI_CONVERT_FAILED if they are damaged. */
export async function unpackExtent({ extent, bytes, unitBytes, name }: UnpackExtent): Promise<Buffer> {
  const options = { chunkSize: unitBytes + spareBytes, maxOutputLength: unitBytes }
  const damaged = (cause?: unknown): CdiError =>
    new CdiError(
      'CDI_CONVERT_FAILED',
      `Image ${name} is damaged: what lies at byte ${extent.sourceOffset} does not decode`,
      {
        cause,
      },
    )
  let decoded: Buffer
  try {
    decoded =
      extent.coding === 'deflate'
        ? await inflateRawBytes(bytes, { ...options, windowBits: qcow2WindowBits })
        : await inflateBytes(grainStream(bytes), options)
  } catch (error) {
    throw damaged(error)
  }
  const wantedBytes = extent.coding === 'deflate' ? unitBytes : extent.diskBytes
  if (decoded.length < wantedBytes) throw damaged()
  return decoded.length === extent.diskBytes ? decoded : decoded.subarray(0, extent.diskBytes)
}

function grainStream(bytes: Buffer): Buffer {
  const length = bytes.readUInt32LE(grainMarkerBytes - 4)
  if (length === 0 || grainMarkerBytes + length > bytes.length) throw new RangeError(`a grain of ${length} bytes`)
  return bytes.subarray(grainMarkerBytes, grainMarkerBytes + length)
}
