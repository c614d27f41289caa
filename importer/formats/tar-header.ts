/** Fields of a tar header block: POSIX ustar, GNU and the base-256 numbers of GNU and star (POSIX.1-2001 pax; GNU tar manual, "Basic Tar Format"). */
import { CdiError } from '../../src/errors.ts'
import { hasTarChecksum } from './detect.ts'

export const blockBytes = 512

/** A header block as it stands, before long names and pax records are applied. Strings are latin1: one char a byte. */
export interface TarHeader {
  readonly name: string
  readonly linkName: string
  readonly typeFlag: string
  readonly mode: number
  readonly sizeBytes: number
  readonly mtimeSeconds: number
}

/** Makes the error of an archive that is not what it should be. */
export function invalidArchive(reason: string, details?: Readonly<Record<string, unknown>>): CdiError {
  return new CdiError('CDI_ARCHIVE_INVALID', reason, details ? { details } : {})
}

/** Reads a header block of 512 bytes that is not all zeros. Throws CDI_ARCHIVE_INVALID. */
export function parseTarHeader(block: Buffer, isFirst: boolean): TarHeader {
  if (!hasTarChecksum(block)) {
    throw invalidArchive(isFirst ? 'this does not look like a tar archive' : 'the header of an entry is damaged')
  }
  const name = readString(block, 0, 100)
  return {
    name: withPrefix(block, name),
    linkName: readString(block, 157, 100),
    typeFlag: String.fromCharCode(block[156]!),
    mode: readNumber(block, 100, 8),
    sizeBytes: readSize(block, 124),
    mtimeSeconds: readNumber(block, 136, 12),
  }
}

/** GNU headers use the place of the prefix for other things; star's ends early. */
function withPrefix(block: Buffer, name: string): string {
  if (block.toString('latin1', 257, 263) !== 'ustar\0') return name
  const isStar = block.toString('latin1', 508, 512) === 'tar\0'
  const prefix = readString(block, 345, isStar ? 131 : 155)
  return prefix === '' ? name : `${prefix}/${name}`
}

function readString(block: Buffer, offset: number, length: number): string {
  const field = block.toString('latin1', offset, offset + length)
  const end = field.indexOf('\0')
  return end === -1 ? field : field.slice(0, end)
}

/** A size or an offset: never negative, never beyond what a number holds exactly. */
export function readSize(block: Buffer, offset: number): number {
  const value = readNumber(block, offset, 12)
  if (!Number.isSafeInteger(value) || value < 0) throw invalidArchive('an entry claims an impossible size')
  return value
}

/** Octal digits, or base 256 (two's complement) if the top bit of the first byte is set. */
function readNumber(block: Buffer, offset: number, length: number): number {
  const field = block.subarray(offset, offset + length)
  const first = field[0]!
  if (first & 0x80) {
    const negative = (first & 0x40) !== 0
    let value = negative ? first | ~0xff : first & 0x7f
    for (const byte of field.subarray(1)) value = value * 256 + byte
    return value
  }
  const digits = field.toString('latin1').replaceAll('\0', ' ').trim()
  if (digits === '') return 0
  if (!/^[0-7]+$/.test(digits)) throw invalidArchive('a number in the header of an entry is damaged')
  return Number.parseInt(digits, 8)
}

/** The most that a map in repeated keys (GNU sparse 0.0) fills a header of 8 MiB with; each takes memory of its own. */
const maxPaxRecords = 400_000

/**
 * The records of a pax extended header, in order and with repetitions (GNU sparse 0.0 repeats keys). Throws
 * CDI_ARCHIVE_INVALID.
 */
export function parsePaxRecords(bytes: Buffer): [key: string, value: string][] {
  const records: [string, string][] = []
  let at = 0
  while (at < bytes.length) {
    // Some writers pad the header with zeros.
    if (bytes[at] === 0) break
    const space = bytes.indexOf(0x20, at)
    const digits = bytes.toString('latin1', at, space === -1 ? at : Math.min(space, at + 12))
    const end = at + Number(digits)
    if (!/^\d+$/.test(digits) || end > bytes.length || end <= space + 1 || bytes[end - 1] !== 0x0a) {
      throw invalidArchive('the extended header of an entry is damaged')
    }
    const record = bytes.toString('latin1', space + 1, end - 1)
    const equals = record.indexOf('=')
    if (equals === -1) throw invalidArchive('the extended header of an entry is damaged')
    if (records.length === maxPaxRecords) throw invalidArchive('the extended header of an entry is absurdly long')
    records.push([record.slice(0, equals), record.slice(equals + 1)])
    at = end
  }
  return records
}
