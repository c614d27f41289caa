/**
 * VMDK with one sparse extent and its descriptor inside: monolithicSparse and streamOptimized (VMware Virtual Disk
 * Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed Sparse Extents"). Little endian, in sectors of
 * 512 bytes.
 */
import { printable } from './header-reader.ts'
import type { HeaderReader } from './header-reader.ts'
import { leastUnitBytes } from './facts.ts'
import type { ImageFacts, ImageTables, OnePass, VmdkOnePass, VmdkTables } from './facts.ts'

const sector = 512
const flag = {
  newlineTest: 1 << 0,
  secondDirectory: 1 << 1,
  zeroGrains: 1 << 2,
  compressed: 1 << 16,
  markers: 1 << 17,
} as const
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
/** Of an image that is read in one pass: what is known of each table waits in memory. 4 TiB in grains of 64 KiB. */
const mostDirectoryEntries = 128 * 1024

/** The header of a sparse extent, which its footer repeats. */
export interface VmdkExtent {
  readonly version: number
  readonly flags: number
  readonly capacitySectors: bigint
  readonly grainSectors: bigint
  readonly descriptorSector: bigint
  readonly descriptorSectors: bigint
  readonly tableEntries: number
  readonly secondDirectorySector: bigint
  readonly directorySector: bigint
  readonly overheadSectors: bigint
  readonly compression: number
}

export async function inspectVmdk(reader: HeaderReader): Promise<ImageFacts> {
  const header = parseVmdkExtent(reader, await reader.read(0, sector))
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
    onePass: onePass(header, clusterBytes),
  }
}

/** The tables as they are read by ranges. */
function tables(extent: VmdkExtent, grainBytes: number): ImageTables | string {
  if (grainBytes < leastUnitBytes) return `its grains have only ${grainBytes} bytes`
  if (extent.directorySector === directoryAtEnd) return 'its grain directory is not known yet'
  return oddGrains(extent, grainBytes) ?? tablesOf(extent, grainBytes)
}

/** What is known from the header alone, before anything else has come. */
function onePass(header: VmdkExtent, grainBytes: number): OnePass | string {
  const odd = oddGrains(header, grainBytes)
  if (odd !== undefined) return odd
  const { deflated, ...found } = tablesOf(header, grainBytes)
  const { directoryEntries, directoryOffset, tableEntries, zeroGrains } = found
  if (directoryEntries > mostDirectoryEntries) return `its grain directory has ${directoryEntries} entries`
  const isAtEnd = header.directorySector === directoryAtEnd
  if (deflated) {
    if (header.overheadSectors === 0n) return 'its header does not say where its grains begin'
    return {
      kind: 'vmdk-stream',
      ...(isAtEnd ? {} : { directoryOffset }),
      directoryEntries,
      tableEntries,
      grainBytes,
      zeroGrains,
      firstMarkerOffset: Number(header.overheadSectors) * sector,
    }
  }
  if (isAtEnd) return 'its grain directory stands at its end, and its grains have no markers'
  return { ...found, deflated, copies: copiesOf(header, found) }
}

/** The second directory and its tables stand in front of the first ones. */
function copiesOf(
  { flags, secondDirectorySector, directorySector }: VmdkExtent,
  { directoryEntries, tableEntries }: Pick<VmdkTables, 'directoryEntries' | 'tableEntries'>,
): VmdkOnePass['copies'] {
  if ((flags & flag.secondDirectory) === 0 || secondDirectorySector === 0n || secondDirectorySector > directorySector) {
    return { offset: 0, length: 0 }
  }
  const offset = Number(secondDirectorySector) * sector
  const sectorsOf = (entries: number): number => Math.ceil((entries * 4) / sector)
  const mostBytes = (sectorsOf(directoryEntries) + directoryEntries * sectorsOf(tableEntries)) * sector
  return { offset, length: Math.min(mostBytes, Number(directorySector) * sector - offset) }
}

/** Why we leave the grains to qemu, as a clause. */
function oddGrains({ flags, compression, version }: VmdkExtent, grainBytes: number): string | undefined {
  if (compression === 1 && (flags & flag.markers) === 0) return 'its compressed grains have no markers'
  if (compression === 1 && grainBytes > mostDeflatedBytes) return `its compressed grains have ${grainBytes} bytes`
  if (compression === 0 && version > 2) return `version ${version} without compression`
  return undefined
}

function tablesOf(
  { flags, compression, capacitySectors, tableEntries, directorySector }: VmdkExtent,
  grainBytes: number,
): VmdkTables {
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

/** Parses header or footer. Throws what `faults` makes of what it finds. */
export function parseVmdkExtent(faults: Pick<HeaderReader, 'invalid' | 'unsupported'>, bytes: Buffer): VmdkExtent {
  if (bytes.toString('latin1', 0, 4) !== 'KDMV') throw faults.invalid('the magic is missing')
  const extent: VmdkExtent = {
    version: bytes.readUInt32LE(4),
    flags: bytes.readUInt32LE(8),
    capacitySectors: bytes.readBigUInt64LE(12),
    grainSectors: bytes.readBigUInt64LE(20),
    descriptorSector: bytes.readBigUInt64LE(28),
    descriptorSectors: bytes.readBigUInt64LE(36),
    tableEntries: bytes.readUInt32LE(44),
    secondDirectorySector: bytes.readBigUInt64LE(48),
    directorySector: bytes.readBigUInt64LE(56),
    overheadSectors: bytes.readBigUInt64LE(64),
    compression: bytes.readUInt16LE(77),
  }
  if (extent.version < 1 || extent.version > 3) throw faults.unsupported(`version ${extent.version}`)
  if (extent.compression > 1) throw faults.unsupported(`compression algorithm ${extent.compression}`)
  // The bytes \n, space, \r\n betray a transfer in text mode, which has damaged everything behind them too.
  if ((extent.flags & flag.newlineTest) !== 0 && bytes.toString('latin1', 73, 77) !== '\n \r\n') {
    throw faults.invalid('line ends were converted in transfer')
  }
  return extent
}

async function readDescriptor(reader: HeaderReader, extent: VmdkExtent): Promise<string> {
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
async function withFooter(reader: HeaderReader, header: VmdkExtent): Promise<VmdkExtent> {
  if (header.directorySector !== directoryAtEnd || reader.sizeBytes === undefined) return header
  const footer = parseVmdkExtent(reader, await reader.read(reader.sizeBytes - footerDistanceBytes, sector))
  if (footer.capacitySectors !== header.capacitySectors || footer.grainSectors !== header.grainSectors) {
    throw reader.invalid('header and footer contradict each other')
  }
  if (footer.directorySector === directoryAtEnd) throw reader.invalid('its footer does not name the grain directory')
  return footer
}

function checkTables(reader: HeaderReader, extent: VmdkExtent): number {
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
