/** csi.v1.Node: volumes become devices and mounts where the kubelet wants them. */
import { chmod, mkdir, open, rm, rmdir, stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { kindOf } from './capabilities.ts'
import { volumeOrNotFound } from './controller.ts'
import {
  attachLoop,
  detachLoop,
  fileSystemOn,
  growMounted,
  growUnmounted,
  isMounted,
  loopOf,
  makeFileSystem,
  mount,
  refreshLoop,
  unmount,
} from './devices.ts'
import type { Driver } from './driver.ts'
import type {
  NodeExpandRequest,
  NodeVolumeRequest,
  PublishRequest,
  StageRequest,
  UnpublishRequest,
  VolumeCapability,
} from './messages.ts'
import { RpcError, type Handlers } from './rpc.ts'
import type { VolumeRecord } from './store.ts'

const capabilities = ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME', 'GET_VOLUME_STATS', 'SINGLE_NODE_MULTI_WRITER']

export function nodeHandlers(driver: Driver): Handlers {
  return {
    NodeGetCapabilities: async () => ({ capabilities: capabilities.map((type) => ({ rpc: { type } })) }),
    NodeGetInfo: async () => ({ node_id: driver.nodeName, accessible_topology: driver.topology }),
    NodeStageVolume: async (request: StageRequest) => {
      await driver.exclusively(request.volume_id, () => stage(driver, request))
      return {}
    },
    NodeUnstageVolume: async ({ volume_id: id, staging_target_path: path }: StageRequest) => {
      if (id === '' || path === '') throw new RpcError('INVALID_ARGUMENT', 'volume id or staging path is missing')
      await driver.exclusively(id, async () => {
        await unmount(path)
        if ((await driver.volumes.get(id)) !== undefined) await detachLoop(driver.volumes.disk(id))
      })
      return {}
    },
    NodePublishVolume: async (request: PublishRequest) => {
      await driver.exclusively(request.volume_id, () => publish(driver, request))
      return {}
    },
    NodeUnpublishVolume: async ({ volume_id: id, target_path: path }: UnpublishRequest) => {
      if (id === '' || path === '') throw new RpcError('INVALID_ARGUMENT', 'volume id or target path is missing')
      await driver.exclusively(id, async () => {
        await unmount(path)
        // Never recursive: what is not a mount point any more is an empty directory or the file for a device.
        const found = await stat(path).catch(() => undefined)
        if (found?.isDirectory()) await rmdir(path)
        else if (found !== undefined) await rm(path)
      })
      return {}
    },
    NodeGetVolumeStats: async ({ volume_id: id, volume_path: path }: NodeVolumeRequest) => {
      const record = await volumeOrNotFound(driver, id)
      if (!(await isMounted(path))) throw new RpcError('NOT_FOUND', `${id} is not at ${path}`)
      if (record.mode === 'Block') return { usage: [{ unit: 'BYTES', total: record.sizeBytes }] }
      const { blocks, bavail, bfree, bsize, files, ffree } = await statfs(path)
      return {
        usage: [
          { unit: 'BYTES', total: blocks * bsize, available: bavail * bsize, used: (blocks - bfree) * bsize },
          { unit: 'INODES', total: files, available: ffree, used: files - ffree },
        ],
      }
    },
    NodeExpandVolume: async ({ volume_id: id, volume_path: path }: NodeExpandRequest) =>
      await driver.exclusively(id, async () => {
        const record = await volumeOrNotFound(driver, id)
        const loop = await loopOf(driver.volumes.disk(id))
        if (loop === undefined) throw new RpcError('FAILED_PRECONDITION', `${id} is not staged`)
        await refreshLoop(loop)
        if (record.mode === 'Filesystem') await growMounted(record.fsType, loop, path)
        return { capacity_bytes: record.sizeBytes }
      }),
  }
}

async function stage(driver: Driver, request: StageRequest): Promise<void> {
  const record = await volumeOrNotFound(driver, request.volume_id)
  checkKind(record, request.volume_capability)
  const loop = await attachLoop(driver.volumes.disk(record.id))
  if (record.mode === 'Block') return
  const path = request.staging_target_path
  if (await isMounted(path)) return
  const found = await fileSystemOn(loop)
  if (found === undefined) await makeFileSystem(record.fsType, loop)
  // A volume that was expanded meanwhile, or restored into something larger than its source, has a file system of the
  // old size. ext4 grows now, because growing it in use takes a capability that root in a container often lacks.
  else if (found === 'ext4') await growUnmounted(loop)
  const type = found ?? record.fsType
  await mkdir(path, { recursive: true })
  // A clone has the same UUID as its source, which xfs would not mount twice.
  await mount(['-t', type, ...(type === 'xfs' ? ['-o', 'nouuid'] : []), loop, path])
  if (found === 'xfs') await growMounted(type, loop, path)
}

async function publish(driver: Driver, request: PublishRequest): Promise<void> {
  const record = await volumeOrNotFound(driver, request.volume_id)
  checkKind(record, request.volume_capability)
  const target = request.target_path
  if (await isMounted(target)) return
  const options = ['-o', request.readonly ? 'bind,ro' : 'bind']
  if (record.mode === 'Filesystem') {
    if (!(await isMounted(request.staging_target_path))) {
      throw new RpcError('FAILED_PRECONDITION', `${record.id} is not staged`)
    }
    await mkdir(target, { recursive: true })
    await chmod(target, 0o750)
    await mount([...options, request.staging_target_path, target])
    return
  }
  const loop = await loopOf(driver.volumes.disk(record.id))
  if (loop === undefined) throw new RpcError('FAILED_PRECONDITION', `${record.id} is not staged`)
  await mkdir(dirname(target), { recursive: true })
  await (await open(target, 'a', 0o660)).close()
  await mount([...options, loop, target])
}

function checkKind(record: VolumeRecord, capability: VolumeCapability | null): void {
  if (capability === null) throw new RpcError('INVALID_ARGUMENT', 'the volume capability is missing')
  const { mode } = kindOf([capability])
  if (mode !== record.mode) throw new RpcError('INVALID_ARGUMENT', `the volume is ${record.mode}, not ${mode}`)
}
