/**
 * VHD, dynamic and fixed (Microsoft Virtual Hard Disk Image Format Specification 1.0). Big endian. A dynamic image begins
 * with a copy of its footer; a fixed one has a footer only.
 */
import { printable } from './header-reader.ts'
import type { HeaderReader } from './header-reader.ts'
import { leastUnitBytes } from './facts.ts'
import type { ImageFacts, VhdTables } from './facts.ts'

const sector = 512
const footerBytes = 512
const dynamicHeaderBytes = 1024
const cookie = 'conectix'
const diskType = { fixed: 2, dynamic: 3, differencing: 4 } as const
/** 2040 GiB, as the specification says. */
const maxDiskBytes = 0xff00_0000n * 512n
/** Enough for 2040 GiB in blocks of 2 MiB with room for the odd writer. */
const maxTableEntries = 16 * 1024 * 1024
/** 65535 cylinders, 16 heads, 255 sectors: "larger than geometry can say". */
const maxGeometrySectors = 65_535 * 16 * 255
/** Programs that show their guests the geometry instead of the size, as qemu knows them. */
const geometryCreators = new Set(['vpc ', 'qemu'])

export async function inspectVhd(reader: HeaderReader): Promise<ImageFacts> {
  let footer = await reader.read(0, footerBytes)
  if (!startsWithCookie(footer)) {
    if (reader.sizeBytes === undefined) throw reader.invalid('it does not begin with a VHD footer')
    footer = await reader.read(reader.sizeBytes - footerBytes, footerBytes)
    if (!startsWithCookie(footer)) throw reader.invalid('it has no VHD footer')
  }
  if (footer.readUInt32BE(0x0c) !== 0x0001_0000)
    throw reader.unsupported(`version 0x${footer.toString('hex', 0x0c, 0x10)}`)
  requireChecksum(reader, 'footer', footer, 0x40)
  const type = footer.readUInt32BE(0x3c)
  const { bytes, vhdSize } = diskSize(footer)
  if (bytes > maxDiskBytes) throw reader.invalid(`its virtual size is absurd (${bytes} bytes)`)
  const virtualSizeBytes = reader.requireDiskSize(bytes)
  const common = { format: 'vhd', virtualSizeBytes, vhdSize, notes: [] } as const
  switch (type) {
    case diskType.fixed:
      reader.requireInside('disk', 0, virtualSizeBytes + footerBytes)
      return { ...common, features: ['fixed'], layout: 'flat' }
    case diskType.dynamic: {
      const tables = await readTables(reader, footer, virtualSizeBytes)
      const { blockBytes } = tables
      return {
        ...common,
        clusterBytes: blockBytes,
        features: ['dynamic'],
        layout: 'mapped',
        tables: blockBytes < leastUnitBytes ? `its blocks have only ${blockBytes} bytes` : tables,
        onePass: tables,
      }
    }
    case diskType.differencing:
      throw reader.backedBy(await parentName(reader, footer))
    default:
      throw reader.unsupported(`disk type ${type}`)
  }
}

function startsWithCookie(bytes: Buffer): boolean {
  return bytes.toString('latin1', 0, 8) === cookie
}

/** Ones' complement of the sum of all bytes but the checksum's own. */
function requireChecksum(reader: HeaderReader, what: string, bytes: Buffer, at: number): void {
  let sum = 0
  for (const [index, byte] of bytes.entries()) if (index < at || index >= at + 4) sum += byte
  if (~sum >>> 0 !== bytes.readUInt32BE(at)) throw reader.invalid(`the checksum of its ${what} is wrong`)
}

/**
 * Two fields tell the size. Virtual PC and old qemu go by the geometry, everybody else by the current size; where the
 * geometry is at its maximum it says nothing. Unlike qemu, which knows a few names only, the size of an unknown program's
 * image is not cut down to its geometry.
 */
function diskSize(footer: Buffer): { bytes: bigint; vhdSize: 'chs' | 'current_size' } {
  const sectors = footer.readUInt16BE(0x38) * footer.readUInt8(0x3a) * footer.readUInt8(0x3b)
  const creator = footer.toString('latin1', 0x1c, 0x20)
  if (geometryCreators.has(creator) && sectors !== maxGeometrySectors)
    return { bytes: BigInt(sectors) * 512n, vhdSize: 'chs' }
  const bytes = footer.readBigUInt64BE(0x30)
  // qemu counts whole sectors.
  return { bytes: bytes - (bytes % 512n), vhdSize: 'current_size' }
}

async function readDynamicHeader(reader: HeaderReader, footer: Buffer): Promise<Buffer> {
  const offset = reader.safe('dynamic header', footer.readBigUInt64BE(0x10))
  const header = await reader.read(offset, dynamicHeaderBytes)
  if (header.toString('latin1', 0, 8) !== 'cxsparse') throw reader.invalid('its dynamic header is missing')
  requireChecksum(reader, 'dynamic header', header, 0x24)
  return header
}

async function readTables(reader: HeaderReader, footer: Buffer, virtualSizeBytes: number): Promise<VhdTables> {
  const header = await readDynamicHeader(reader, footer)
  const entries = header.readUInt32BE(0x1c)
  const blockBytes = header.readUInt32BE(0x20)
  if (blockBytes < sector || (blockBytes & (blockBytes - 1)) !== 0)
    throw reader.invalid(`blocks of ${blockBytes} bytes`)
  if (entries > maxTableEntries) throw reader.invalid(`a block table of ${entries} entries`)
  if (entries * blockBytes < virtualSizeBytes) {
    throw reader.invalid(`${entries} blocks do not hold ${virtualSizeBytes} bytes`)
  }
  const tableOffset = reader.safe('block table', header.readBigUInt64BE(0x10))
  reader.requireInside('block table', tableOffset, entries * 4)
  // A bit for each sector, in whole sectors.
  const bitmapBytes = Math.ceil(blockBytes / (sector * 8) / sector) * sector
  return { kind: 'vhd', tableOffset, blockBytes, bitmapBytes }
}

async function parentName(reader: HeaderReader, footer: Buffer): Promise<string> {
  const header = await readDynamicHeader(reader, footer)
  return printable(header.subarray(0x40, 0x240).swap16().toString('utf16le').split('\0')[0] ?? '')
}
