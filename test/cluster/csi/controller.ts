/** csi.v1.Controller: volumes and snapshots come and go, and grow. */
import { kindOf, sizeFor } from './capabilities.ts'
import { detachLoop, flushDevice, frozen, loopOf, mountPointOf } from './devices.ts'
import type { Driver } from './driver.ts'
import type {
  ContentSource,
  CreateSnapshotRequest,
  CreateVolumeRequest,
  ExpandRequest,
  ListRequest,
  ListSnapshotsRequest,
  SnapshotMessage,
  SnapshotRequest,
  ValidateRequest,
  VolumeMessage,
  VolumeRequest,
} from './messages.ts'
import { RpcError, type Handlers } from './rpc.ts'
import { idOf, type SnapshotRecord, type VolumeRecord } from './store.ts'

const capabilities = [
  'CREATE_DELETE_VOLUME',
  'LIST_VOLUMES',
  'GET_CAPACITY',
  'CREATE_DELETE_SNAPSHOT',
  'LIST_SNAPSHOTS',
  'CLONE_VOLUME',
  'EXPAND_VOLUME',
  'SINGLE_NODE_MULTI_WRITER',
]

export function controllerHandlers(driver: Driver): Handlers {
  return {
    ControllerGetCapabilities: async () => ({ capabilities: capabilities.map((type) => ({ rpc: { type } })) }),
    CreateVolume: async (request: CreateVolumeRequest) => {
      if (request.name === '') throw new RpcError('INVALID_ARGUMENT', 'the name is missing')
      const id = idOf(request.name)
      const record = await driver.exclusively(id, () => createVolume(driver, id, request))
      return { volume: volumeMessage(driver, record) }
    },
    DeleteVolume: async ({ volume_id: id }: VolumeRequest) => {
      if (id === '') throw new RpcError('INVALID_ARGUMENT', 'the volume id is missing')
      await driver.exclusively(id, async () => {
        if ((await driver.volumes.get(id)) === undefined) return
        const loop = await loopOf(driver.volumes.disk(id))
        if (loop !== undefined && (await mountPointOf(loop)) !== undefined) {
          throw new RpcError('FAILED_PRECONDITION', `${id} is in use (${loop})`)
        }
        await detachLoop(driver.volumes.disk(id))
        await driver.volumes.delete(id)
      })
      return {}
    },
    ValidateVolumeCapabilities: async ({ volume_id: id, volume_capabilities: wanted }: ValidateRequest) => {
      const record = await volumeOrNotFound(driver, id)
      const kind = kindOf(wanted)
      const fits = kind.mode === record.mode && (kind.mode === 'Block' || kind.fsType === record.fsType)
      return fits
        ? { confirmed: { volume_capabilities: wanted } }
        : { message: `the volume is ${record.mode} ${record.fsType}` }
    },
    ListVolumes: async (request: ListRequest) => {
      const { page, next } = pageOf(await driver.volumes.list(), request)
      return { entries: page.map((record) => ({ volume: volumeMessage(driver, record) })), next_token: next }
    },
    GetCapacity: async () => ({ available_capacity: await driver.freeBytes() }),
    CreateSnapshot: async ({ name, source_volume_id: volume }: CreateSnapshotRequest) => {
      if (name === '' || volume === '') throw new RpcError('INVALID_ARGUMENT', 'name or source volume is missing')
      const record = await driver.exclusively(volume, () => createSnapshot(driver, name, volume))
      return { snapshot: snapshotMessage(record) }
    },
    DeleteSnapshot: async ({ snapshot_id: id }: SnapshotRequest) => {
      if (id === '') throw new RpcError('INVALID_ARGUMENT', 'the snapshot id is missing')
      await driver.exclusively(`snapshot ${id}`, () => driver.snapshots.delete(id))
      return {}
    },
    ListSnapshots: async (request: ListSnapshotsRequest) => {
      const { snapshot_id: id, source_volume_id: volume } = request
      const all = await driver.snapshots.list()
      const wanted = all.filter(
        (record) => (id === '' || record.id === id) && (volume === '' || record.sourceVolume === volume),
      )
      const { page, next } = pageOf(wanted, request)
      return { entries: page.map((record) => ({ snapshot: snapshotMessage(record) })), next_token: next }
    },
    ControllerExpandVolume: async ({ volume_id: id, capacity_range: range }: ExpandRequest) =>
      await driver.exclusively(id, async () => {
        const record = await volumeOrNotFound(driver, id)
        const sizeBytes = sizeFor(range, record, record.sizeBytes)
        if (sizeBytes > record.sizeBytes) {
          if (sizeBytes - record.sizeBytes > (await driver.freeBytes())) {
            throw new RpcError('OUT_OF_RANGE', `no room for ${sizeBytes} bytes`)
          }
          await driver.volumes.grow(record, sizeBytes)
        }
        return { capacity_bytes: sizeBytes, node_expansion_required: true }
      }),
  }
}

async function createVolume(driver: Driver, id: string, request: CreateVolumeRequest): Promise<VolumeRecord> {
  const kind = kindOf(request.volume_capabilities)
  const source = sourceOf(request.volume_content_source)
  const existing = await driver.volumes.get(id)
  if (existing !== undefined) {
    const limit = request.capacity_range?.limit_bytes ?? 0
    const fits =
      existing.sizeBytes >= (request.capacity_range?.required_bytes ?? 0) &&
      (limit === 0 || existing.sizeBytes <= limit) &&
      existing.mode === kind.mode &&
      (kind.mode === 'Block' || existing.fsType === kind.fsType) &&
      existing.source.snapshot === source.snapshot &&
      existing.source.volume === source.volume
    if (!fits) throw new RpcError('ALREADY_EXISTS', `${request.name} exists and is different`)
    return existing
  }
  const requisite = request.accessibility_requirements?.requisite ?? []
  const here = Object.entries(driver.topology.segments)
  if (
    requisite.length > 0 &&
    !requisite.some(({ segments }) => here.every(([key, value]) => segments[key] === value))
  ) {
    throw new RpcError('RESOURCE_EXHAUSTED', 'volumes exist on this node only')
  }
  const sizeBytes = sizeFor(request.capacity_range, kind)
  if (sizeBytes > (await driver.freeBytes())) throw new RpcError('RESOURCE_EXHAUSTED', `no room for ${sizeBytes} bytes`)
  const record: VolumeRecord = { id, name: request.name, sizeBytes, ...kind, source }
  if (source.snapshot !== undefined) {
    const from = source.snapshot
    await driver.exclusively(`snapshot ${from}`, async () => {
      const snapshot = await driver.snapshots.get(from)
      if (snapshot === undefined) throw new RpcError('NOT_FOUND', `no snapshot ${from}`)
      refuseShrinking(snapshot.sizeBytes, sizeBytes)
      await driver.volumes.create(record, driver.snapshots.disk(from))
    })
  } else if (source.volume !== undefined) {
    const from = source.volume
    // In this order only (new volume, then its source), and a source exists before: no two calls wait for each other.
    await driver.exclusively(from, async () => {
      const volume = await volumeOrNotFound(driver, from)
      refuseShrinking(volume.sizeBytes, sizeBytes)
      await copyAtRest(driver, from, () => driver.volumes.create(record, driver.volumes.disk(from)))
    })
  } else {
    await driver.volumes.create(record)
  }
  return record
}

async function createSnapshot(driver: Driver, name: string, volumeId: string): Promise<SnapshotRecord> {
  const id = idOf(name)
  return await driver.exclusively(`snapshot ${id}`, async () => {
    const existing = await driver.snapshots.get(id)
    if (existing !== undefined) {
      if (existing.sourceVolume !== volumeId) throw new RpcError('ALREADY_EXISTS', `${name} is of another volume`)
      return existing
    }
    const { sizeBytes, mode } = await volumeOrNotFound(driver, volumeId)
    const record: SnapshotRecord = { id, name, sizeBytes, sourceVolume: volumeId, mode, createdAtMs: Date.now() }
    await copyAtRest(driver, volumeId, () => driver.snapshots.create(record, driver.volumes.disk(volumeId)))
    return record
  })
}

/** A mounted file system is frozen while the file behind it is copied; a raw device's cache is written first. */
async function copyAtRest(driver: Driver, volumeId: string, copy: () => Promise<void>): Promise<void> {
  const loop = await loopOf(driver.volumes.disk(volumeId))
  const mountPoint = loop === undefined ? undefined : await mountPointOf(loop)
  if (loop !== undefined && mountPoint === undefined) await flushDevice(loop)
  await frozen(mountPoint, copy)
}

function sourceOf(source: ContentSource | null): VolumeRecord['source'] {
  if (source?.snapshot) return { snapshot: source.snapshot.snapshot_id }
  if (source?.volume) return { volume: source.volume.volume_id }
  return {}
}

function refuseShrinking(fromBytes: number, toBytes: number): void {
  if (toBytes < fromBytes) throw new RpcError('OUT_OF_RANGE', `the source has ${fromBytes} bytes, asked for ${toBytes}`)
}

export async function volumeOrNotFound(driver: Driver, id: string): Promise<VolumeRecord> {
  if (id === '') throw new RpcError('INVALID_ARGUMENT', 'the volume id is missing')
  const record = await driver.volumes.get(id)
  if (record === undefined) throw new RpcError('NOT_FOUND', `no volume ${id}`)
  return record
}

function volumeMessage(driver: Driver, { id, sizeBytes, source }: VolumeRecord): VolumeMessage {
  const { snapshot, volume } = source
  const contentSource =
    snapshot !== undefined
      ? { snapshot: { snapshot_id: snapshot } }
      : volume !== undefined
        ? { volume: { volume_id: volume } }
        : null
  return {
    volume_id: id,
    capacity_bytes: sizeBytes,
    volume_context: {},
    content_source: contentSource,
    accessible_topology: [driver.topology],
  }
}

function snapshotMessage({ id, sizeBytes, sourceVolume, createdAtMs }: SnapshotRecord): SnapshotMessage {
  return {
    snapshot_id: id,
    source_volume_id: sourceVolume,
    size_bytes: sizeBytes,
    creation_time: { seconds: Math.floor(createdAtMs / 1000), nanos: (createdAtMs % 1000) * 1_000_000 },
    ready_to_use: true,
  }
}

function pageOf<T>(
  all: readonly T[],
  { max_entries: max, starting_token: token }: ListRequest,
): { page: T[]; next: string } {
  const start = token === '' ? 0 : Number(token)
  if (!Number.isInteger(start) || start < 0 || start > all.length) throw new RpcError('ABORTED', `token ${token}`)
  const end = max > 0 ? Math.min(start + max, all.length) : all.length
  return { page: all.slice(start, end), next: end < all.length ? String(end) : '' }
}
