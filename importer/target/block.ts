/**
 * A disk on a block device, which may be full of somebody's old bytes. What is not written is zeroed: by the device
 * itself where the kernel has its word that the blocks then read as zero, by written zeros elsewhere. Bytes beyond the
 * disk are left as they are.
 */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { Log } from '../../src/log.ts'
import { DiskTarget } from './disk-target.ts'
import { openFault } from './faults.ts'
import { deviceBytes, fallocate } from './linux.ts'

/** Zeroing is granted for multiples of the logical block size, 4096 bytes at most. */
const sectorBytes = 4096

export interface BlockTargetOptions {
  readonly path: string
  readonly preallocate: boolean
  readonly log: Log
}

/** Opens a device for writing. Throws CDI_TARGET_INVALID or CDI_TARGET_IO. */
export async function openBlockTarget({ path, preallocate, log }: BlockTargetOptions): Promise<BlockTarget> {
  try {
    const handle = await open(path, constants.O_RDWR)
    try {
      const capacityBytes = await deviceBytes(await handle.stat({ bigint: true }))
      return new BlockTarget({ path, handle, preallocate, log, capacityBytes })
    } catch (error) {
      await handle.close()
      throw error
    }
  } catch (error) {
    throw openFault(path, error)
  }
}

export class BlockTarget extends DiskTarget {
  readonly kind = 'block'

  protected async prepare(from: number, to: number, signal: AbortSignal): Promise<boolean> {
    if (this.preallocate || from % sectorBytes !== 0) return false
    const whole = to - (to % sectorBytes)
    if (whole > from) {
      const punched = await fallocate({ path: this.path, mode: 'punch', offset: from, length: whole - from, signal })
      if (!punched) return false
    }
    // The rest of a sector beyond the disk is not ours.
    if (to > whole) await this.handle.write(Buffer.alloc(to - whole), 0, to - whole, whole)
    return true
  }

  protected prepareKept(): Promise<boolean> {
    return Promise.resolve(!this.preallocate)
  }

  protected shorten(): Promise<void> {
    return Promise.resolve()
  }

  protected complete(): Promise<void> {
    return Promise.resolve()
  }

  protected syncName(): Promise<void> {
    return Promise.resolve()
  }
}
