/**
 * VMDK with one sparse extent and its descriptor inside: monolithicSparse and streamOptimized (VMware Virtual Disk
 * Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents"). Little endian, in sectors of
 * 512 bytes.
 */
import { printable } from './header-reader.ts'
import type { HeaderReader } from './header-reader.ts'
import { leastUnitBytes } from './facts.ts'
import type { ImageFacts, ImageTables } from './facts.ts'

const sector = 512
const flag = { newlineTest: 1 << 0, zeroGrains: 1 << 2, compressed: 1 << 16, markers: 1 << 17 } as const
/** "The grain directory stands in the footer", 1024 bytes before the end. */
const directoryAtEnd = 0xffff_ffff_ffff_ffffn
const footerDistanceBytes = 1024
const noParent = 'ffffffff'
const ownExtentTypes = new Set(['monolithicsparse', 'streamoptimized'])

/** Bounds of qemu and of the format: entries of a grain directory, of a grain table, bytes of a descriptor. */
const maxDirectoryEntries = 32 * 1024 * 1024
const maxTableEntries = 512
const maxDescriptorBytes = 128 * 1024
const maxGrainSectors = 128 * 1024

/** Grains that are decoded as a whole. */
const mostDeflatedBytes = 1024 * 1024

interface Extent {
  readonly version: number
  readonly flags: number
  readonly capacitySectors: bigint
  readonly grainSectors: bigint
  readonly descriptorSector: bigint
  readonly descriptorSectors: bigint
  readonly tableEntries: number
  readonly directorySector: bigint
  readonly overheadSectors: bigint
  readonly compression: number
}

export async function inspectVmdk(reader: HeaderReader): Promise<ImageFacts> {
  const header = parseExtent(reader, await reader.read(0, sector))
  const descriptor = await readDescriptor(reader, header)
  const createType = checkDescriptor(reader, descriptor)
  const extent = await withFooter(reader, header)
  const clusterBytes = checkTables(reader, extent)
  const virtualSizeBytes = reader.requireDiskSize(extent.capacitySectors * BigInt(sector))
  return {
    format: 'vmdk',
    virtualSizeBytes,
    clusterBytes,
    features: [createType, `version ${extent.version}`, ...(extent.compression === 1 ? ['deflate grains'] : [])],
    layout: createType.toLowerCase() === 'streamoptimized' ? 'streamed' : 'mapped',
    notes: [],
    tables: tables(extent, clusterBytes),
  }
}

function tables(
  { flags, compression, version, capacitySectors, tableEntries, directorySector }: Extent,
  grainBytes: number,
): ImageTables | string {
  if (grainBytes < leastUnitBytes) return `its grains have only ${grainBytes} bytes`
  if (compression === 1 && (flags & flag.markers) === 0) return 'its compressed grains have no markers'
  if (compression === 1 && grainBytes > mostDeflatedBytes) return `its compressed grains have ${grainBytes} bytes`
  if (compression === 0 && version > 2) return `version ${version} without compression`
  if (directorySector === directoryAtEnd) return 'its grain directory is not known yet'
  return {
    kind: 'vmdk',
    directoryOffset: Number(directorySector) * sector,
    directoryEntries: Math.ceil((Number(capacitySectors) * sector) / (grainBytes * tableEntries)),
    tableEntries,
    grainBytes,
    zeroGrains: (flags & flag.zeroGrains) !== 0,
    deflated: compression === 1,
  }
}

function parseExtent(reader: HeaderReader, bytes: Buffer): Extent {
  if (bytes.toString('latin1', 0, 4) !== 'KDMV') throw reader.invalid('the magic is missing')
  const extent: Extent = {
    version: bytes.readUInt32LE(4),
    flags: bytes.readUInt32LE(8),
    capacitySectors: bytes.readBigUInt64LE(12),
    grainSectors: bytes.readBigUInt64LE(20),
    descriptorSector: bytes.readBigUInt64LE(28),
    descriptorSectors: bytes.readBigUInt64LE(36),
    tableEntries: bytes.readUInt32LE(44),
    directorySector: bytes.readBigUInt64LE(56),
    overheadSectors: bytes.readBigUInt64LE(64),
    compression: bytes.readUInt16LE(77),
  }
  if (extent.version < 1 || extent.version > 3) throw reader.unsupported(`version ${extent.version}`)
  if (extent.compression > 1) throw reader.unsupported(`compression algorithm ${extent.compression}`)
  // The bytes \n, space, \r\n betray a transfer in text mode, which has damaged everything behind them too.
  if ((extent.flags & flag.newlineTest) !== 0 && bytes.toString('latin1', 73, 77) !== '\n \r\n') {
    throw reader.invalid('line ends were converted in transfer')
  }
  return extent
}

async function readDescriptor(reader: HeaderReader, extent: Extent): Promise<string> {
  if (extent.descriptorSector === 0n || extent.descriptorSectors === 0n) {
    throw reader.unsupported('it has no descriptor: it is one piece of a disk that was split into several files')
  }
  const offset = reader.safe('descriptor', extent.descriptorSector) * sector
  const length = reader.safe('descriptor', extent.descriptorSectors) * sector
  if (length > maxDescriptorBytes) throw reader.invalid(`a descriptor of ${length} bytes`)
  const text = (await reader.read(offset, length)).toString('latin1')
  const end = text.indexOf('\0')
  return end < 0 ? text : text.slice(0, end)
}

/** Refuses whatever names other files; returns the createType. */
function checkDescriptor(reader: HeaderReader, text: string): string {
  const lines = text.split(/\r?\n/).map((line) => line.trim())
  const value = (key: string): string | undefined => {
    const line = lines.find((line) => line.toLowerCase().startsWith(`${key.toLowerCase()}=`))
    return (
      line &&
      printable(
        line
          .slice(key.length + 1)
          .replaceAll('"', '')
          .trim(),
      )
    )
  }
  const parent = value('parentCID')
  const hint = value('parentFileNameHint')
  if (hint !== undefined || (parent !== undefined && parent.toLowerCase() !== noParent)) {
    throw reader.backedBy(hint ?? `parentCID ${parent}`)
  }
  if (/^encryption\.(?:keysafe|data)/im.test(text)) throw reader.encrypted()
  const createType = value('createType')
  if (createType === undefined || !ownExtentTypes.has(createType.toLowerCase())) {
    throw reader.unsupported(
      `type ${createType ?? '(none)'}: only monolithicSparse and streamOptimized hold the whole disk in one file`,
    )
  }
  const extents = lines.filter((line) => /^(?:RW|RDONLY|NOACCESS)\s+\d/i.test(line))
  if (extents.length !== 1 || !/^\w+\s+\d+\s+SPARSE\s/i.test(extents[0]!)) {
    throw reader.unsupported(`its descriptor names ${extents.length} extents; one sparse extent is expected`)
  }
  return createType
}

/** A streamed image knows its directory only in the end; the footer then counts instead of the header. */
async function withFooter(reader: HeaderReader, header: Extent): Promise<Extent> {
  if (header.directorySector !== directoryAtEnd || reader.sizeBytes === undefined) return header
  const footer = parseExtent(reader, await reader.read(reader.sizeBytes - footerDistanceBytes, sector))
  if (footer.capacitySectors !== header.capacitySectors || footer.grainSectors !== header.grainSectors) {
    throw reader.invalid('header and footer contradict each other')
  }
  if (footer.directorySector === directoryAtEnd) throw reader.invalid('its footer does not name the grain directory')
  return footer
}

function checkTables(reader: HeaderReader, extent: Extent): number {
  const { capacitySectors, grainSectors, tableEntries } = extent
  if (grainSectors === 0n || grainSectors > BigInt(maxGrainSectors) || (grainSectors & (grainSectors - 1n)) !== 0n) {
    throw reader.invalid(`grains of ${grainSectors} sectors`)
  }
  if (tableEntries === 0) throw reader.invalid('grain tables without entries')
  if (tableEntries > maxTableEntries) throw reader.invalid(`L2 table size too big (${tableEntries} entries)`)
  const perEntry = grainSectors * BigInt(tableEntries)
  const entries = (capacitySectors + perEntry - 1n) / perEntry
  if (entries > BigInt(maxDirectoryEntries)) throw reader.invalid(`L1 size too big (${entries} entries)`)
  if (extent.directorySector !== directoryAtEnd) {
    const offset = reader.safe('grain directory', extent.directorySector) * sector
    reader.requireInside('grain directory', offset, Number(entries) * 4)
  }
  reader.requireInside('overhead', 0, reader.safe('overhead', extent.overheadSectors) * sector)
  return Number(grainSectors) * sector
}
