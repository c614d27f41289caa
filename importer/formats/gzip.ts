/**
 * gzip (RFC 1952): any number of members one after the other, zero padding behind the last one; CRC and length of every
 * member are checked by zlib.
 */
import { createGunzip } from 'node:zlib'
import { CdiError } from '../../src/errors.ts'
import type { Decoder } from './decoder.ts'
import { ZlibDecoding, engineOptions } from './zlib-decoding.ts'

export const gzipDecoder: Decoder = {
  encoding: 'gzip',
  name: 'node:zlib',
  start: (sink, signal) =>
    new ZlibDecoding({
      encoding: 'gzip',
      engine: createGunzip(engineOptions),
      sink,
      signal,
      explain: explainGzipError,
    }),
}

function explainGzipError(error: NodeJS.ErrnoException): CdiError {
  if (error.code === 'Z_BUF_ERROR') {
    return new CdiError('CDI_DECODE_TRUNCATED', 'the gzip data ends in the middle (unexpected EOF)', { cause: error })
  }
  return new CdiError('CDI_DECODE_CORRUPT', `the gzip data is damaged: ${error.message}`, { cause: error })
}
