/**
 * A small CSI driver for one node: each volume is a sparse file of exactly its size behind a loop device, so a volume
 * that is full says "no space left on device" as real storage does. Filesystem (ext4, xfs) and Block volumes,
 * snapshots, clones, growth while in use, topology of one node. Every call may be repeated (CSI specification: "MUST be
 * idempotent"); calls on one volume run one after the other.
 */
import { join } from 'node:path'
import { KeyedLock } from './keyed-lock.ts'
import { Store, type SnapshotRecord, type VolumeRecord } from './store.ts'

export const driverName = 'csi.cdi-test.local'
export const driverVersion = '1.0.0'
export const topologyKey = `topology.${driverName}/node`

export class Driver {
  readonly nodeName: string
  /** The sum of the sizes of all volumes may not exceed this, sparse or not. */
  readonly capacityBytes: number
  readonly volumes: Store<VolumeRecord>
  readonly snapshots: Store<SnapshotRecord>
  readonly #lock = new KeyedLock()

  constructor({ dir, nodeName, capacityBytes }: { dir: string; nodeName: string; capacityBytes: number }) {
    this.nodeName = nodeName
    this.capacityBytes = capacityBytes
    this.volumes = new Store(join(dir, 'volumes'))
    this.snapshots = new Store(join(dir, 'snapshots'))
  }

  get topology(): { readonly segments: Readonly<Record<string, string>> } {
    return { segments: { [topologyKey]: this.nodeName } }
  }

  /** Serialises calls on one volume. */
  async exclusively<T>(id: string, work: () => Promise<T>): Promise<T> {
    return await this.#lock.run(id, work)
  }

  async freeBytes(): Promise<number> {
    const volumes = await this.volumes.list()
    return Math.max(0, this.capacityBytes - volumes.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))
  }
}
