/**
 * VHDX ([MS-VHDX] 2.2 header section, 2.3 log, 2.5 block allocation table, 2.6 metadata region). Little endian; headers
 * and region tables stand twice and are guarded by CRC-32C.
 */
import { crc32c } from './crc32c.ts'
import type { HeaderReader } from './header-reader.ts'
import type { ImageFacts } from './facts.ts'

const kibibyte = 1024
const mebibyte = 1024 * kibibyte
const headerOffsets = [64 * kibibyte, 128 * kibibyte] as const
const headerBytes = 4 * kibibyte
const regionOffsets = [192 * kibibyte, 256 * kibibyte] as const
const regionBytes = 64 * kibibyte
const metadataTableBytes = 64 * kibibyte
const maxRegions = 2047
const maxMetadataItems = 2047
/** Log sectors that are looked at for entries to be replayed. */
const maxLogBytes = mebibyte
const maxDiskBytes = 64n * 1024n ** 4n

const guid = {
  none: '00000000-0000-0000-0000-000000000000',
  bat: '2dc27766-f623-4200-9d64-115e9bfd4a08',
  metadata: '8b7ca206-4790-4b9a-b8fe-575f050f886e',
  fileParameters: 'caa16737-fa36-4d43-b3b6-33f0aa44e76b',
  virtualDiskSize: '2fa54224-cd1b-4876-b211-5dbed83bf4b8',
  logicalSectorSize: '8141bf1d-a96f-4709-ba47-f233a8faab5f',
  physicalSectorSize: 'cda348c7-445d-4471-9cc9-e9885251c556',
  page83: 'beca12ab-b2e6-4523-93ef-c309e000c746',
  parentLocator: 'a8d35f2d-b30b-454d-abf7-d3d84834ab0c',
} as const
const knownItems: ReadonlySet<string> = new Set(Object.values(guid))

interface Place {
  readonly offset: number
  readonly length: number
}

export async function inspectVhdx(reader: HeaderReader): Promise<ImageFacts> {
  if ((await reader.read(0, 8)).toString('latin1') !== 'vhdxfile') throw reader.invalid('the signature is missing')
  const header = await currentHeader(reader)
  await requireEmptyLog(reader, header)
  const regions = await readRegions(reader)
  const items = await readMetadata(reader, regions.metadata)
  if (items.has(guid.parentLocator)) throw reader.backedBy('(named by a parent locator)')

  const parameters = await readItem(reader, items, guid.fileParameters, 8)
  if ((parameters.readUInt32LE(4) & 2) !== 0) throw reader.backedBy('(it is a differencing disk)')
  const blockBytes = parameters.readUInt32LE(0)
  if (blockBytes < mebibyte || blockBytes > 256 * mebibyte || (blockBytes & (blockBytes - 1)) !== 0) {
    throw reader.invalid(`blocks of ${blockBytes} bytes`)
  }
  const sectorBytes = (await readItem(reader, items, guid.logicalSectorSize, 4)).readUInt32LE(0)
  if (sectorBytes !== 512 && sectorBytes !== 4096) throw reader.invalid(`sectors of ${sectorBytes} bytes`)
  // qemu reads 512-byte sectors only; better said before a transfer than after.
  if (sectorBytes !== 512) throw reader.unsupported(`logical sectors of ${sectorBytes} bytes`)
  const size = (await readItem(reader, items, guid.virtualDiskSize, 8)).readBigUInt64LE(0)
  if (size > maxDiskBytes) throw reader.invalid(`its virtual size is absurd (${size} bytes)`)
  const virtualSizeBytes = reader.requireDiskSize(size)

  const dataBlocks = Math.ceil(virtualSizeBytes / blockBytes)
  const chunkRatio = (2 ** 23 * sectorBytes) / blockBytes
  const entries = dataBlocks + Math.floor((dataBlocks - 1) / chunkRatio)
  if (entries * 8 > regions.bat.length) {
    throw reader.invalid(`its block table has ${regions.bat.length} bytes, ${entries * 8} are needed`)
  }
  reader.requireInside('block table', regions.bat.offset, entries * 8)
  const tables = {
    kind: 'vhdx',
    batOffset: regions.bat.offset,
    batEntries: entries,
    chunkRatio,
    blockBytes,
  } as const
  return {
    format: 'vhdx',
    virtualSizeBytes,
    clusterBytes: blockBytes,
    features: [(parameters.readUInt32LE(4) & 1) === 0 ? 'dynamic' : 'fixed'],
    layout: 'mapped',
    notes: [],
    tables,
    onePass: tables,
  }
}

/** Of two headers the intact one with the higher sequence number. */
async function currentHeader(reader: HeaderReader): Promise<Buffer> {
  let current: Buffer | undefined
  for (const offset of headerOffsets) {
    const header = await reader.read(offset, headerBytes)
    if (header.toString('latin1', 0, 4) !== 'head' || crc32c(header, 4) !== header.readUInt32LE(4)) continue
    if (!current || header.readBigUInt64LE(8) > current.readBigUInt64LE(8)) current = header
  }
  if (!current) throw reader.invalid('both headers are damaged')
  if (current.readUInt16LE(66) !== 1) throw reader.unsupported(`version ${current.readUInt16LE(66)}`)
  if (current.readUInt16LE(64) !== 0) throw reader.unsupported(`log version ${current.readUInt16LE(64)}`)
  return current
}

/**
 * A log with entries of the current log GUID must be replayed before the disk is whole, which needs write access to the
 * image (qemu refuses too when it opens one for reading). A GUID without entries is harmless.
 */
async function requireEmptyLog(reader: HeaderReader, header: Buffer): Promise<void> {
  const logGuid = guidAt(header, 48)
  if (logGuid === guid.none) return
  const length = header.readUInt32LE(68)
  const offset = reader.safe('log', header.readBigUInt64LE(72))
  if (length % mebibyte !== 0 || offset % mebibyte !== 0 || offset < mebibyte)
    throw reader.invalid('its log has an odd place')
  reader.requireInside('log', offset, length)
  const log = await reader.read(offset, Math.min(length, maxLogBytes))
  for (let at = 0; at + 64 <= log.length; at += 4 * kibibyte) {
    if (log.toString('latin1', at, at + 4) === 'loge' && guidAt(log, at + 32) === logGuid) {
      throw reader.unsupported(
        'it was not closed properly and its log must be replayed first: open it once with Hyper-V or `qemu-img check -r all`',
      )
    }
  }
}

async function readRegions(reader: HeaderReader): Promise<{ bat: Place; metadata: Place }> {
  for (const offset of regionOffsets) {
    const table = await reader.read(offset, regionBytes)
    if (table.toString('latin1', 0, 4) === 'regi' && crc32c(table, 4) === table.readUInt32LE(4)) {
      return parseRegions(reader, table)
    }
  }
  throw reader.invalid('both region tables are damaged')
}

function parseRegions(reader: HeaderReader, table: Buffer): { bat: Place; metadata: Place } {
  const count = table.readUInt32LE(8)
  if (count > maxRegions) throw reader.invalid(`${count} regions`)
  let bat: Place | undefined
  let metadata: Place | undefined
  for (let index = 0; index < count; index++) {
    const at = 16 + index * 32
    const name = guidAt(table, at)
    const place = { offset: reader.safe('region', table.readBigUInt64LE(at + 16)), length: table.readUInt32LE(at + 24) }
    if (place.offset < mebibyte || place.offset % mebibyte !== 0) throw reader.invalid('a region has an odd place')
    if (name === guid.bat) bat = place
    else if (name === guid.metadata) metadata = place
    else if ((table.readUInt32LE(at + 28) & 1) !== 0) throw reader.unsupported(`required region ${name}`)
  }
  if (!bat || !metadata) throw reader.invalid('its block table or its metadata is missing')
  return { bat, metadata }
}

/** Places of the metadata items, by GUID. */
async function readMetadata(reader: HeaderReader, region: Place): Promise<ReadonlyMap<string, Place>> {
  if (region.length < metadataTableBytes) throw reader.invalid('its metadata region is too small')
  const table = await reader.read(region.offset, metadataTableBytes)
  if (table.toString('latin1', 0, 8) !== 'metadata') throw reader.invalid('its metadata table is missing')
  const count = table.readUInt16LE(10)
  if (count > maxMetadataItems) throw reader.invalid(`${count} metadata items`)
  const items = new Map<string, Place>()
  for (let index = 0; index < count; index++) {
    const at = 32 + index * 32
    const name = guidAt(table, at)
    const offset = table.readUInt32LE(at + 16)
    const length = table.readUInt32LE(at + 20)
    const flags = table.readUInt32LE(at + 24)
    if (!knownItems.has(name)) {
      if ((flags & 4) !== 0) throw reader.unsupported(`required metadata item ${name}`)
      continue
    }
    if (offset < metadataTableBytes || offset + length > region.length)
      throw reader.invalid('a metadata item has an odd place')
    if (items.has(name)) throw reader.invalid('a metadata item stands twice')
    items.set(name, { offset: region.offset + offset, length })
  }
  return items
}

async function readItem(
  reader: HeaderReader,
  items: ReadonlyMap<string, Place>,
  name: string,
  length: number,
): Promise<Buffer> {
  const place = items.get(name)
  if (!place || place.length < length) throw reader.invalid(`metadata item ${name} is missing`)
  return reader.read(place.offset, length)
}

/** The usual way to write a GUID: the first three fields are little endian. */
function guidAt(bytes: Buffer, at: number): string {
  const hex = (from: number, to: number): string => bytes.toString('hex', at + from, at + to)
  const number = (from: number, length: number): string =>
    bytes
      .readUIntLE(at + from, length)
      .toString(16)
      .padStart(length * 2, '0')
  return `${number(0, 4)}-${number(4, 2)}-${number(6, 2)}-${hex(8, 10)}-${hex(10, 16)}`
}
