/**
 * What the first bytes say: encodings that lie around the data, the disk format inside, and things that we know but do
 * not take. Only magic numbers decide, never a file name. All functions are pure and accept heads of any length: a
 * tar.gz of a few hundred bytes is as good as a disk.
 *
 * Magic at offset 0 cannot be a raw disk by accident: a disk that boots begins with x86 code or zeros, and `BZh9` or
 * `PK\3\4` are neither. LUKS and LVM headers, ISO 9660 and tar are raw disks to us (contract: import §5).
 */
import { CdiError } from '../../src/errors.ts'
import type { Encoding } from './decoder.ts'

export type DiskFormat = 'raw' | 'qcow2' | 'vmdk' | 'vdi' | 'vhd' | 'vhdx'

interface Magic<Name extends string> {
  readonly name: Name
  readonly offset: number
  readonly bytes: Buffer
}

const encodingMagics: readonly Magic<Encoding>[] = [
  { name: 'gzip', offset: 0, bytes: Buffer.from([0x1f, 0x8b]) },
  { name: 'zstd', offset: 0, bytes: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]) },
  { name: 'xz', offset: 0, bytes: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) },
]

const formatMagics: readonly Magic<Exclude<DiskFormat, 'raw'>>[] = [
  { name: 'qcow2', offset: 0, bytes: Buffer.from('QFI\xfb', 'latin1') },
  { name: 'vmdk', offset: 0, bytes: Buffer.from('KDMV') },
  { name: 'vdi', offset: 0x40, bytes: Buffer.from([0x7f, 0x10, 0xda, 0xbe]) },
  { name: 'vhd', offset: 0, bytes: Buffer.from('conectix') },
  { name: 'vhdx', offset: 0, bytes: Buffer.from('vhdxfile') },
]

/** Packings that are recognised only to be refused; the names are the programs that unpack them. */
const foreignPackings: readonly Magic<string>[] = [
  // The digit is the block size; the block magic behind it keeps text that happens to start with BZh from matching.
  ...Array.from({ length: 9 }, (_, digit) => ({
    name: 'bzip2',
    offset: 0,
    bytes: Buffer.concat([Buffer.from(`BZh${digit + 1}`), Buffer.from([0x31, 0x41, 0x59, 0x26, 0x53, 0x59])]),
  })),
  { name: 'lz4', offset: 0, bytes: Buffer.from([0x04, 0x22, 0x4d, 0x18]) },
  { name: '7z', offset: 0, bytes: Buffer.from([0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c]) },
  { name: 'zip', offset: 0, bytes: Buffer.from([0x50, 0x4b, 0x03, 0x04]) },
  { name: 'rar', offset: 0, bytes: Buffer.from([0x52, 0x61, 0x72, 0x21, 0x1a, 0x07]) },
  { name: 'lzip', offset: 0, bytes: Buffer.from('LZIP\x01', 'latin1') },
  { name: 'lzop', offset: 0, bytes: Buffer.from([0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a]) },
]

const foreignFormats: readonly (Magic<string> & { readonly advice: string })[] = [
  {
    name: 'vmdk descriptor',
    offset: 0,
    bytes: Buffer.from('# Disk DescriptorFile'),
    advice:
      'it is only the text that names the data files (…-flat.vmdk): import the flat file itself, which is a raw disk',
  },
  {
    name: 'sparse vmdk of ESX (COWD)',
    offset: 0,
    bytes: Buffer.from('COWD'),
    advice: 'convert it with vmkfstools or `qemu-img convert -O qcow2`',
  },
  {
    name: 'encrypted or compressed dmg',
    offset: 0,
    bytes: Buffer.from('encrcdsa'),
    advice: 'convert it with hdiutil',
  },
  {
    name: 'qed',
    offset: 0,
    bytes: Buffer.from('QED\0', 'latin1'),
    advice: 'convert it with `qemu-img convert -O qcow2`',
  },
  {
    name: 'Android sparse image',
    offset: 0,
    bytes: Buffer.from([0x3a, 0xff, 0x26, 0xed]),
    advice: 'unpack it with simg2img',
  },
]

function has(head: Buffer, { offset, bytes }: Magic<string>): boolean {
  return (
    head.length >= offset + bytes.length && head.compare(bytes, 0, bytes.length, offset, offset + bytes.length) === 0
  )
}

/**
 * The encoding whose magic stands at the beginning, or undefined. A zstd stream may open with skippable frames (RFC 8878
 * §3.1.2; pzstd and seekable zstd write them), which are stepped over as far as the head reaches. Throws
 * CDI_ENCODING_UNSUPPORTED for packings that are known but not taken, since their bytes are no disk.
 */
export function detectEncoding(head: Buffer): Encoding | undefined {
  const known = encodingMagics.find((magic) => has(head, magic))
  if (known) return known.name
  if (startsWithSkippedZstd(head)) return 'zstd'
  const foreign = foreignPackings.find((magic) => has(head, magic))
  if (foreign) {
    throw new CdiError('CDI_ENCODING_UNSUPPORTED', `the data is packed with ${foreign.name}, which is not supported`, {
      details: { packing: foreign.name },
    })
  }
  return undefined
}

function startsWithSkippedZstd(head: Buffer): boolean {
  let at = 0
  while (at + 8 <= head.length && (head.readUInt32LE(at) & 0xfffffff0) >>> 0 === 0x184d2a50) {
    at += 8 + head.readUInt32LE(at + 4)
  }
  if (at === 0) return false
  // Beyond the head nothing contradicts; the decoder is strict anyway.
  return at + 4 > head.length || head.readUInt32LE(at) === 0xfd2fb528
}

/**
 * The disk format whose magic the plain head carries; `raw` for everything else. Throws CDI_FORMAT_UNSUPPORTED for
 * formats that are known but cannot be imported. A fixed VHD has no header and is `raw` here, see {@link isVhdFooter}.
 */
export function detectFormat(head: Buffer): DiskFormat {
  const foreign = foreignFormats.find((magic) => has(head, magic))
  if (foreign) {
    throw new CdiError('CDI_FORMAT_UNSUPPORTED', `the data is a ${foreign.name}: ${foreign.advice}`, {
      details: { format: foreign.name },
    })
  }
  return formatMagics.find((magic) => has(head, magic))?.name ?? 'raw'
}

/**
 * True if the last 512 bytes of a source are the footer of a VHD (Microsoft VHD specification 1.0: cookie, file format
 * version 1.0 and a matching checksum). A source whose head is raw and whose tail is such a footer with disk type 2 is a
 * **fixed VHD**: a raw disk with 512 foreign bytes behind it. Only a ranged source can tell before the transfer; from a
 * forward one the footer arrives as the last sector. Anything but a fixed disk type is no fixed VHD.
 */
export function isVhdFooter(tail: Buffer): boolean {
  if (tail.length !== 512 || !tail.subarray(0, 8).equals(Buffer.from('conectix'))) return false
  if (tail.readUInt32BE(0x0c) !== 0x0001_0000 || tail.readUInt32BE(0x3c) !== 2) return false
  let sum = 0
  for (const [index, byte] of tail.entries()) if (index < 0x40 || index >= 0x44) sum += byte
  return ~sum >>> 0 === tail.readUInt32BE(0x40)
}

/**
 * True if the first 512 bytes are the header of a tar entry: `ustar` at 0x101, or for the oldest tars a matching header
 * checksum. With content type kubevirt a tar is a raw disk all the same.
 */
export function isTar(head: Buffer): boolean {
  if (head.length < 512) return false
  return head.toString('latin1', 0x101, 0x106) === 'ustar' || hasTarChecksum(head)
}

/** True if the checksum field of a tar header (octal at 148) is the sum of its bytes, signed or unsigned. */
export function hasTarChecksum(header: Buffer): boolean {
  const field = header.toString('latin1', 148, 156).replaceAll('\0', ' ').trim()
  if (!/^[0-7]+$/.test(field)) return false
  const wanted = Number.parseInt(field, 8)
  let unsigned = 0
  let signed = 0
  for (let index = 0; index < 512; index++) {
    const byte = index >= 148 && index < 156 ? 0x20 : header[index]!
    unsigned += byte
    signed += byte > 127 ? byte - 256 : byte
  }
  // Historic tars summed signed chars; POSIX asks readers to accept both.
  return wanted === unsigned || wanted === signed
}
