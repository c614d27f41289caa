/**
 * Reads the index at the end of an xz file by ranges, a few hundred bytes: how large the data is when unpacked, before a
 * byte of it is fetched, and in how many blocks (more than one can be decoded in parallel).
 */
import lzma from 'lzma-native'
import { CdiError, toCdiError } from '../../src/errors.ts'
import { readRange } from '../sources/source.ts'
import type { RangedSource } from '../sources/source.ts'
import { explainLzmaError } from './xz-native.ts'

/** An index has some bytes for each block; this is enough for millions. */
const memoryBytes = 32 * 1024 * 1024
/** Three reads for each stream that was joined to the file, which may be any number of them. */
const mostReads = 32
/** Of all reads together. */
const mostBytes = 4 * 1024 * 1024

export interface XzIndex {
  readonly blocks: number
  readonly streams: number
  readonly uncompressedSizeBytes: number
}

/**
 * Throws CDI_DECODE_* for a file that is cut or has no proper index, CDI_FORMAT_UNSUPPORTED for one whose index takes
 * more than 32 reads or 4 MiB, and the source's errors.
 */
export async function readXzIndex(source: RangedSource, signal: AbortSignal): Promise<XzIndex> {
  let fault: { readonly error: unknown } | undefined
  let reads = 0
  let readBytes = 0
  const read = (offset: number, length: number): Promise<Buffer> => {
    reads += 1
    readBytes += length
    if (reads > mostReads || readBytes > mostBytes) {
      throw new CdiError('CDI_FORMAT_UNSUPPORTED', 'the index of the xz data lies in too many pieces to be read ahead')
    }
    return readRange(source, { offset, length }, signal)
  }
  try {
    const info = await new Promise<lzma.StreamInfo>((resolve, reject) => {
      lzma.parseFileIndex(
        {
          fileSize: source.sizeBytes,
          memlimit: memoryBytes,
          read(count, offset, done) {
            const reply = async (): Promise<void> => {
              try {
                done(null, await read(offset, count))
              } catch (error) {
                fault = { error }
                reject(toCdiError(error))
              }
            }
            void reply()
          },
        },
        (error: Error | null, info?: lzma.StreamInfo) => {
          if (info && !error) resolve(info)
          else reject(error ?? new Error('no index'))
        },
      )
    })
    return { blocks: info.blocks, streams: info.streams, uncompressedSizeBytes: info.uncompressedSize }
  } catch (error) {
    throw fault === undefined ? explainLzmaError(error as Error) : error
  }
}
