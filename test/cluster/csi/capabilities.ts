/** What a volume is asked to be, checked and put into the driver's words. */
import type { CapacityRange, VolumeCapability } from './messages.ts'
import { RpcError } from './rpc.ts'
import type { VolumeRecord } from './store.ts'

const mib = 1024 * 1024
const singleNode = [
  'SINGLE_NODE_WRITER',
  'SINGLE_NODE_READER_ONLY',
  'SINGLE_NODE_SINGLE_WRITER',
  'SINGLE_NODE_MULTI_WRITER',
]
const manyNodes = ['MULTI_NODE_READER_ONLY', 'MULTI_NODE_SINGLE_WRITER', 'MULTI_NODE_MULTI_WRITER']

export type VolumeKind = Pick<VolumeRecord, 'mode' | 'fsType'>

/** The volume mode and file system that all the capabilities together ask for. */
export function kindOf(capabilities: readonly VolumeCapability[]): VolumeKind {
  if (capabilities.length === 0) throw new RpcError('INVALID_ARGUMENT', 'volume capabilities are missing')
  const kinds = capabilities.map((capability): VolumeKind => {
    const mode = capability.access_mode?.mode ?? ''
    if (capability.block) {
      if (![...singleNode, ...manyNodes].includes(mode)) throw new RpcError('INVALID_ARGUMENT', `access mode ${mode}`)
      return { mode: 'Block', fsType: 'ext4' }
    }
    if (!capability.mount) throw new RpcError('INVALID_ARGUMENT', 'neither a block nor a mount capability')
    if (![...singleNode, 'MULTI_NODE_READER_ONLY'].includes(mode)) {
      throw new RpcError('INVALID_ARGUMENT', `a file system cannot be used with access mode ${mode}`)
    }
    const fsType = capability.mount.fs_type || 'ext4'
    if (fsType !== 'ext4' && fsType !== 'xfs') throw new RpcError('INVALID_ARGUMENT', `file system ${fsType}`)
    return { mode: 'Filesystem', fsType }
  })
  const [first] = kinds
  if (first === undefined || kinds.some(({ mode, fsType }) => mode !== first.mode || fsType !== first.fsType)) {
    throw new RpcError('INVALID_ARGUMENT', 'a volume cannot be of two kinds')
  }
  return first
}

/** The smallest size that can be made: whole MiB, and what the file system's tools accept. */
export function sizeFor(range: CapacityRange | null, kind: VolumeKind, atLeastBytes = 0): number {
  // mkfs.xfs refuses less than 300 MiB.
  const floor = kind.mode === 'Block' ? mib : kind.fsType === 'xfs' ? 300 * mib : 4 * mib
  const wanted = Math.max(range?.required_bytes ?? 0, atLeastBytes, floor)
  const sizeBytes = Math.ceil(wanted / mib) * mib
  const limit = range?.limit_bytes ?? 0
  if (limit > 0 && sizeBytes > limit)
    throw new RpcError('OUT_OF_RANGE', `needs ${sizeBytes} bytes, the limit is ${limit}`)
  return sizeBytes
}
