/** The headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload), read and written. Pure. */
import { CdiError } from '../../../src/errors.ts'
import { RequestRefusal } from '../answers.ts'
import { parseChecksum } from '../../sources/checksum.ts'
import type { Checksum, ChecksumAlgorithm } from '../../sources/checksum.ts'

export const tusVersion = '1.0.0'
export const tusExtensions = [
  'creation',
  'creation-with-upload',
  'creation-defer-length',
  'expiration',
  'checksum',
  'termination',
] as const
export const tusChecksumAlgorithms = ['sha1', 'sha256', 'sha512', 'md5'] as const satisfies readonly ChecksumAlgorithm[]
/** What a piece must be sent as. */
export const tusPieceType = 'application/offset+octet-stream'
/** Status of the checksum extension for a piece that is not what was told of it. */
export const checksumMismatchStatus = 460

/** A non-negative integer, as `Upload-Offset` and `Upload-Length`. Throws RequestRefusal (400). */
export function parseTusCount(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!/^[0-9]+$/.test(text) || !Number.isSafeInteger(value)) throw invalid(name, 'a non-negative integer', text)
  return value
}

/** Length of the upload, or undefined if it is to be told later. Throws RequestRefusal (400) unless it is one of both. */
export function parseTusLength(length: string | undefined, deferLength: string | undefined): number | undefined {
  if (deferLength !== undefined && deferLength !== '1') throw invalid('Upload-Defer-Length', '1', deferLength)
  if ((length === undefined) === (deferLength === undefined)) {
    throw new RequestRefusal(400, 'a new upload has either Upload-Length or Upload-Defer-Length: 1')
  }
  return parseTusCount('Upload-Length', length)
}

/** Reads `key base64,key base64,…`; a value may be left out. Throws RequestRefusal (400). */
export function parseTusMetadata(text: string | undefined): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>()
  if (text === undefined || text.trim() === '') return metadata
  for (const pair of text.split(',')) {
    const [key = '', value = '', ...more] = pair.trim().split(' ')
    const isUsable = /^[\x21-\x7e]+$/.test(key) && isBase64(value) && more.length === 0 && !metadata.has(key)
    if (!isUsable) throw invalid('Upload-Metadata', 'pairs of a key and base64, each key once', text)
    metadata.set(key, Buffer.from(value, 'base64').toString('utf8'))
  }
  return metadata
}

/** What the metadata say of the whole: a checksum as `algorithm:hex` under the key `checksum`. Throws RequestRefusal (400). */
export function wholeChecksum(metadata: ReadonlyMap<string, string>): Checksum | undefined {
  const text = metadata.get('checksum')
  if (text === undefined) return undefined
  try {
    return parseChecksum(text)
  } catch (error) {
    if (error instanceof CdiError) throw new RequestRefusal(400, `Upload-Metadata: ${error.message}`)
    throw error
  }
}

/** Reads `algorithm base64` of a piece. Throws RequestRefusal (400), for algorithms that are not taken too. */
export function parseTusChecksum(text: string | undefined): Checksum | undefined {
  if (text === undefined) return undefined
  const [name = '', base64 = '', ...more] = text.trim().split(' ')
  const algorithm = tusChecksumAlgorithms.find((one) => one === name.toLowerCase())
  if (algorithm === undefined) {
    throw new RequestRefusal(400, `Upload-Checksum: the algorithms are ${tusChecksumAlgorithms.join(', ')}`)
  }
  const hex = Buffer.from(base64, 'base64').toString('hex')
  if (more.length > 0 || !isBase64(base64) || base64 === '')
    throw invalid('Upload-Checksum', 'an algorithm and base64', text)
  try {
    return parseChecksum(`${algorithm}:${hex}`)
  } catch {
    throw invalid('Upload-Checksum', `a digest ${algorithm} in base64`, text)
  }
}

/** A moment as HTTP writes it (RFC 9110 §5.6.7). */
export function formatHttpDate(ms: number): string {
  return new Date(ms).toUTCString()
}

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)
}

function invalid(name: string, wanted: string, text: string): RequestRefusal {
  const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text
  return new RequestRefusal(400, `${name} has to be ${wanted}, not ${JSON.stringify(shown)}`)
}
