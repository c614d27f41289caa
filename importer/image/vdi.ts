/** VirtualBox disk images, version 1.1 (VirtualBox VDICore.h; QEMU block/vdi documents the same fields). Little endian. */
import type { HeaderReader } from './header-reader.ts'
import type { ImageFacts } from './facts.ts'

const headerBytes = 0x200
const signature = 0xbeda107f
const version = 0x0001_0001
const blockBytes = 1024 * 1024
const imageTypes: Readonly<Record<number, string>> = { 1: 'dynamic', 2: 'fixed' }
/** Blocks that qemu takes at most; their map then has 2 GiB. */
const maxBlocks = 0x1fff_ff80
/** The largest map that we let a converter load, in bytes: enough for a disk of 64 TiB. */
const maxMapBytes = 256 * 1024 * 1024

export async function inspectVdi(reader: HeaderReader): Promise<ImageFacts> {
  const header = await reader.read(0, headerBytes)
  if (header.readUInt32LE(0x40) !== signature) throw reader.invalid('the signature is missing')
  if (header.readUInt32LE(0x44) !== version) {
    throw reader.unsupported(`version ${header.readUInt16LE(0x46)}.${header.readUInt16LE(0x44)}`)
  }
  const type = header.readUInt32LE(0x4c)
  const isZero = (from: number, to: number): boolean => header.subarray(from, to).every((byte) => byte === 0)
  // A differencing image names its parent by UUID only.
  if (type === 4 || !isZero(0x1a8, 0x1c8)) throw reader.backedBy(`with UUID ${header.toString('hex', 0x1a8, 0x1b8)}`)
  const typeName = imageTypes[type]
  if (typeName === undefined) throw reader.unsupported(`image type ${type}`)

  if (header.readUInt32LE(0x168) !== 512) throw reader.unsupported(`sectors of ${header.readUInt32LE(0x168)} bytes`)
  if (header.readUInt32LE(0x178) !== blockBytes)
    throw reader.unsupported(`blocks of ${header.readUInt32LE(0x178)} bytes`)
  // VirtualBox makes disks of any size; qemu rounds them up to whole sectors, and so do we.
  const diskBytes = header.readBigUInt64LE(0x170)
  const virtualSizeBytes = reader.requireDiskSize(((diskBytes + 511n) / 512n) * 512n)
  const blocks = header.readUInt32LE(0x180)
  if (blocks > maxBlocks || blocks * 4 > maxMapBytes) throw reader.invalid(`a map of ${blocks} blocks`)
  if (virtualSizeBytes > blocks * blockBytes) {
    throw reader.invalid(`${blocks} blocks do not hold ${virtualSizeBytes} bytes`)
  }
  const mapOffset = header.readUInt32LE(0x154)
  const dataOffset = header.readUInt32LE(0x158)
  if (
    mapOffset % 512 !== 0 ||
    dataOffset % 512 !== 0 ||
    mapOffset < headerBytes ||
    dataOffset < mapOffset + blocks * 4
  ) {
    throw reader.invalid('its map and its data overlap')
  }
  reader.requireInside('block map', mapOffset, blocks * 4)
  const allocated = header.readUInt32LE(0x184)
  if (allocated > blocks) throw reader.invalid(`${allocated} of ${blocks} blocks are said to be allocated`)
  const tables = { kind: 'vdi', mapOffset, dataOffset, blockBytes } as const
  return {
    format: 'vdi',
    virtualSizeBytes,
    clusterBytes: blockBytes,
    features: [typeName],
    layout: 'mapped',
    notes: [],
    tables,
    onePass: tables,
  }
}
