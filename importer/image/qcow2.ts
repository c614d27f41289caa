/**
 * qcow2 headers, versions 2 and 3 (QEMU docs/interop/qcow2: header, header extensions, L1 table). All numbers are big
 * endian.
 */
import { printable } from './header-reader.ts'
import type { HeaderReader } from './header-reader.ts'
import { leastUnitBytes } from './facts.ts'
import type { ImageFacts, ImageTables, OnePass } from './facts.ts'
import { blockBytes } from './forward/byte-set.ts'
import { entryBytes } from './qcow2-table.ts'

const baseHeaderBytes = 104
const versionTwoHeaderBytes = 72
const incompatible = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  externalDataFile: 1n << 2n,
  compressionType: 1n << 3n,
  extendedL2: 1n << 4n,
} as const
const knownIncompatible = Object.values(incompatible).reduce((bits, bit) => bits | bit)
const extension = { end: 0, encryptionHeader: 0x0537be77, dataFileName: 0x44415441, bitmaps: 0x23852875 } as const

/** qemu's own limits (QCOW_MAX_L1_SIZE, QCOW_MAX_REFTABLE_SIZE, QCOW_MAX_SNAPSHOTS). */
const maxL1Bytes = 32 * 1024 * 1024
const maxReferenceTableBytes = 8 * 1024 * 1024
const maxSnapshots = 65_536
const maxBackingNameBytes = 1023

/**
 * What one pass takes: all data before the first-level table would have to be held, and the list of second-level tables
 * is kept.
 */
const farthestL1OffsetBytes = 32 * 1024 * 1024
const largestL1Bytes = 4 * 1024 * 1024
/** The account of what is held of clusters that are smaller than the blocks it is kept by, at worst. */
const largestAccountBytes = 64 * 1024 * 1024
const accountBytes = { ofBlock: 90, ofCluster: 8 } as const

interface Header {
  readonly version: number
  readonly backingOffset: bigint
  readonly backingLength: number
  readonly clusterBits: number
  readonly sizeBytes: bigint
  readonly encryption: number
  readonly l1Entries: number
  readonly l1Offset: bigint
  readonly referenceTableOffset: bigint
  readonly referenceTableClusters: number
  readonly snapshots: number
  readonly snapshotsOffset: bigint
  readonly features: bigint
  readonly referenceOrder: number
  readonly length: number
  readonly compression: number
}

export async function inspectQcow2(reader: HeaderReader): Promise<ImageFacts> {
  const header = await readHeader(reader)
  const clusterBytes = 2 ** header.clusterBits
  const has = (bit: bigint): boolean => (header.features & bit) !== 0n

  // What leads outside comes first: it is the more important thing to say about an image that is odd in other ways too.
  if (header.backingOffset !== 0n) throw reader.backedBy(await backingName(reader, header))
  const extensions = await readExtensions(reader, header, clusterBytes)
  if (has(incompatible.externalDataFile) || extensions.dataFile !== undefined) {
    throw reader.backedBy(extensions.dataFile || '(external data file)')
  }
  if (header.encryption !== 0 || extensions.encryptionHeader) throw reader.encrypted()

  const virtualSizeBytes = reader.requireDiskSize(header.sizeBytes)
  checkTables(reader, { header, clusterBytes, virtualSizeBytes, extendedL2: has(incompatible.extendedL2) })
  if (has(incompatible.corrupt)) throw reader.invalid('it is marked as corrupt; repair it with `qemu-img check -r all`')
  return {
    format: 'qcow2',
    virtualSizeBytes,
    clusterBytes,
    features: [
      `version ${header.version}`,
      ...(header.compression === 1 ? ['zstd clusters'] : []),
      ...(has(incompatible.extendedL2) ? ['extended L2'] : []),
    ],
    layout: 'mapped',
    notes: [
      ...(has(incompatible.dirty) ? ['was not closed properly; only its reference counts may be wrong'] : []),
      ...(header.snapshots > 0
        ? [`${header.snapshots} internal snapshots are left out, the current state is taken`]
        : []),
    ],
    tables: tables(header, extensions, virtualSizeBytes),
    onePass: onePass(header, virtualSizeBytes),
  }
}

function onePass(header: Header, virtualSizeBytes: number): OnePass | string {
  const clusterBytes = 2 ** header.clusterBits
  const extendedL2 = (header.features & incompatible.extendedL2) !== 0n
  const l1Offset = Number(header.l1Offset)
  const l1Entries = Math.ceil(virtualSizeBytes / (clusterBytes * (clusterBytes / entryBytes(extendedL2))))
  if (header.snapshots > 0) return 'it has internal snapshots'
  if (l1Offset > farthestL1OffsetBytes) return `its first table stands behind the data, at byte ${l1Offset}`
  if (l1Entries * 8 > largestL1Bytes) return `its first table has ${l1Entries} entries`
  const account =
    (virtualSizeBytes / blockBytes) * accountBytes.ofBlock + (virtualSizeBytes / clusterBytes) * accountBytes.ofCluster
  if (clusterBytes < blockBytes && account > largestAccountBytes) {
    return `a disk of ${virtualSizeBytes} bytes has too many clusters of ${clusterBytes} bytes`
  }
  return {
    kind: 'qcow2',
    version: header.version,
    l1Offset,
    l1Entries,
    clusterBits: header.clusterBits,
    extendedL2,
    coding: header.compression === 1 ? 'zstd' : 'deflate',
    referenceTableOffset: Number(header.referenceTableOffset),
    referenceTableBytes: header.referenceTableClusters * clusterBytes,
  }
}

/** What qemu checks in more places than the tables stays with qemu. */
function tables(header: Header, extensions: Extensions, virtualSizeBytes: number): ImageTables | string {
  const clusterBytes = 2 ** header.clusterBits
  if ((header.features & incompatible.extendedL2) !== 0n) return 'it has extended L2 entries'
  if (header.compression !== 0) return 'its clusters may be packed with zstd'
  if (clusterBytes < leastUnitBytes) return `its clusters have only ${clusterBytes} bytes`
  if (header.snapshots > 0) return 'it has internal snapshots'
  if (extensions.bitmaps) return 'it has bitmaps'
  return {
    kind: 'qcow2',
    version: header.version,
    l1Offset: Number(header.l1Offset),
    l1Entries: Math.ceil(virtualSizeBytes / (clusterBytes * (clusterBytes / 8))),
    clusterBits: header.clusterBits,
  }
}

async function readHeader(reader: HeaderReader): Promise<Header> {
  const base = await reader.read(0, versionTwoHeaderBytes)
  const version = base.readUInt32BE(4)
  if (version !== 2 && version !== 3) throw reader.unsupported(`version ${version}`)
  const clusterBits = base.readUInt32BE(20)
  if (clusterBits < 9 || clusterBits > 21) throw reader.invalid(`clusters of 2^${clusterBits} bytes`)
  const common = {
    version,
    backingOffset: base.readBigUInt64BE(8),
    backingLength: base.readUInt32BE(16),
    clusterBits,
    sizeBytes: base.readBigUInt64BE(24),
    encryption: base.readUInt32BE(32),
    l1Entries: base.readUInt32BE(36),
    l1Offset: base.readBigUInt64BE(40),
    referenceTableOffset: base.readBigUInt64BE(48),
    referenceTableClusters: base.readUInt32BE(56),
    snapshots: base.readUInt32BE(60),
    snapshotsOffset: base.readBigUInt64BE(64),
  }
  if (version === 2)
    return { ...common, features: 0n, referenceOrder: 4, length: versionTwoHeaderBytes, compression: 0 }
  const more = await reader.read(versionTwoHeaderBytes, baseHeaderBytes - versionTwoHeaderBytes)
  const at = (offset: number): number => offset - versionTwoHeaderBytes
  const length = more.readUInt32BE(at(100))
  if (length < baseHeaderBytes || length > 2 ** clusterBits) throw reader.invalid(`a header of ${length} bytes`)
  const features = more.readBigUInt64BE(at(72))
  const unknown = features & ~knownIncompatible
  if (unknown !== 0n) throw reader.unsupported(`incompatible features 0x${unknown.toString(16)}`)
  const compression = length > baseHeaderBytes ? (await reader.read(baseHeaderBytes, 1)).readUInt8(0) : 0
  if (compression > 1) throw reader.unsupported(`compression type ${compression}`)
  if ((compression !== 0) !== ((features & incompatible.compressionType) !== 0n)) {
    throw reader.invalid('compression type and feature bit contradict each other')
  }
  return { ...common, features, referenceOrder: more.readUInt32BE(at(96)), length, compression }
}

async function backingName(reader: HeaderReader, { backingOffset, backingLength }: Header): Promise<string> {
  if (backingLength === 0 || backingLength > maxBackingNameBytes) return ''
  const offset = reader.safe('backing file name', backingOffset)
  return (await reader.read(offset, backingLength)).toString('utf8')
}

interface Extensions {
  readonly dataFile?: string
  readonly encryptionHeader: boolean
  readonly bitmaps: boolean
}

/** Header extensions stand between the header and the end of the first cluster. */
async function readExtensions(reader: HeaderReader, header: Header, clusterBytes: number): Promise<Extensions> {
  const area = Math.min(clusterBytes, 65_536, reader.sizeBytes ?? clusterBytes) - header.length
  if (area < 8) return { encryptionHeader: false, bitmaps: false }
  // Real ones take a few hundred bytes, so that a short head of a packed image mostly suffices.
  const bytes = await reader.read(header.length, Math.min(area, 4096))
  let at = 0
  let encryptionHeader = false
  let bitmaps = false
  let dataFile: string | undefined
  while (at + 8 <= bytes.length) {
    const type = bytes.readUInt32BE(at)
    const length = bytes.readUInt32BE(at + 4)
    if (length > area - at - 8) throw reader.invalid(`a header extension of ${length} bytes`)
    if (type === extension.end) break
    if (type === extension.encryptionHeader) encryptionHeader = true
    if (type === extension.bitmaps) bitmaps = true
    if (type === extension.dataFileName) dataFile = printable(bytes.toString('utf8', at + 8, at + 8 + length))
    at += 8 + Math.ceil(length / 8) * 8
  }
  return { encryptionHeader, bitmaps, ...(dataFile === undefined ? {} : { dataFile }) }
}

function checkTables(
  reader: HeaderReader,
  {
    header,
    clusterBytes,
    virtualSizeBytes,
    extendedL2,
  }: { header: Header; clusterBytes: number; virtualSizeBytes: number; extendedL2: boolean },
): void {
  const l1Bytes = header.l1Entries * 8
  if (l1Bytes > maxL1Bytes) throw reader.invalid(`L1 size too big (${header.l1Entries} entries)`)
  const entriesPerL2 = clusterBytes / entryBytes(extendedL2)
  const neededEntries = Math.ceil(virtualSizeBytes / (clusterBytes * entriesPerL2))
  if (neededEntries * 8 > maxL1Bytes) throw reader.invalid(`L1 size too big (${neededEntries} entries are needed)`)
  if (header.l1Entries < neededEntries) {
    throw reader.invalid(
      `its L1 table has ${header.l1Entries} entries, ${virtualSizeBytes} bytes need ${neededEntries}`,
    )
  }
  checkTable(reader, { what: 'L1 table', offset: header.l1Offset, length: l1Bytes, clusterBytes })
  const referenceBytes = header.referenceTableClusters * clusterBytes
  if (referenceBytes > maxReferenceTableBytes) throw reader.invalid('its reference count table is too large')
  if (referenceBytes === 0) throw reader.invalid('it has no reference count table')
  checkTable(reader, {
    what: 'reference count table',
    offset: header.referenceTableOffset,
    length: referenceBytes,
    clusterBytes,
  })
  if (header.referenceOrder > 6) throw reader.invalid(`reference counts of 2^${header.referenceOrder} bits`)
  if (header.snapshots > maxSnapshots) throw reader.invalid(`${header.snapshots} snapshots`)
  if (header.snapshotsOffset % BigInt(clusterBytes) !== 0n) {
    throw reader.invalid(`its snapshots stand at byte ${header.snapshotsOffset}`)
  }
}

function checkTable(
  reader: HeaderReader,
  { what, offset, length, clusterBytes }: { what: string; offset: bigint; length: number; clusterBytes: number },
): void {
  const place = reader.safe(`${what}'s offset`, offset)
  if (place === 0 || place % clusterBytes !== 0) throw reader.invalid(`its ${what} stands at byte ${place}`)
  reader.requireInside(what, place, length)
}
