/**
 * Zstandard (RFC 8878): any number of frames and skippable frames. A frame's checksum is verified if it has one (the
 * `zstd` program writes it by default); a frame without one has no protection against flipped bits but its own grammar.
 */
import { constants, createZstdDecompress } from 'node:zlib'
import { CdiError } from '../../src/errors.ts'
import type { Decoder } from './decoder.ts'
import { ZlibDecoding, engineOptions } from './zlib-decoding.ts'
import { ZstdFrames } from './zstd-frames.ts'

/** The decoder keeps the whole window in memory: 2^27 = 128 MiB is what fits into a worker, and what zstd does without `--long=28` and up. */
const windowLogMax = 27

export const zstdDecoder: Decoder = {
  encoding: 'zstd',
  name: 'node:zlib',
  start(sink, signal) {
    const frames = new ZstdFrames()
    return new ZlibDecoding({
      encoding: 'zstd',
      engine: createZstdDecompress({ ...engineOptions, params: { [constants.ZSTD_d_windowLogMax]: windowLogMax } }),
      sink,
      signal,
      explain: explainZstdError,
      split: (chunk) => frames.split(chunk),
    })
  },
}

function explainZstdError(error: NodeJS.ErrnoException): CdiError {
  switch (error.code) {
    case 'Z_BUF_ERROR':
      return new CdiError('CDI_DECODE_TRUNCATED', 'the zstd data ends in the middle (unexpected EOF)', { cause: error })
    case 'ZSTD_error_frameParameter_windowTooLarge':
    case 'ZSTD_error_memory_allocation':
      return new CdiError(
        'CDI_DECODE_WINDOW',
        `the zstd data needs a window of more than ${2 ** (windowLogMax - 20)} MiB to unpack`,
        { cause: error, details: { windowLogMax } },
      )
    case 'ZSTD_error_dictionary_wrong':
      return new CdiError('CDI_ENCODING_UNSUPPORTED', 'the zstd data was made with a dictionary of its own', {
        cause: error,
      })
    case undefined:
    default:
      return new CdiError('CDI_DECODE_CORRUPT', `the zstd data is damaged: ${error.message}`, { cause: error })
  }
}
