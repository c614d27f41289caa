/** A sparse file in scratch for what came too early: each byte lies where it lay in the image. */
import { randomUUID } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { prefixError } from '../../../src/errors.ts'
import { DirtyWindow } from '../../target/dirty-window.ts'
import { writeFault } from '../../target/faults.ts'

/** What may wait in the page cache, which counts as memory of the pod. */
const dirtyWindowBytes = 16 * 1024 * 1024

export class SpillFile implements AsyncDisposable {
  readonly #path: string
  readonly #handle: FileHandle
  readonly #window: DirtyWindow

  private constructor(path: string, handle: FileHandle) {
    this.#path = path
    this.#handle = handle
    this.#window = new DirtyWindow({ limitBytes: dirtyWindowBytes, flush: () => handle.datasync() })
  }

  /** Makes the file, which has no name any more as soon as it is open: nothing is left of it whatever happens. */
  static async create(directory: string): Promise<SpillFile> {
    const path = join(directory, `tmpimage-${randomUUID()}`)
    return named(path, async () => {
      const handle = await open(path, 'wx+', 0o600)
      try {
        await rm(path)
        return new SpillFile(path, handle)
      } catch (error) {
        await handle.close()
        throw error
      }
    })
  }

  /** Writes buffers one after the other. Throws CDI_TARGET_FULL, CDI_TARGET_IO. */
  async write(offset: number, buffers: readonly Buffer[]): Promise<void> {
    await named(this.#path, async () => {
      let at = offset
      for (const buffer of buffers) {
        await this.#window.admit(buffer.length)
        for (let done = 0; done < buffer.length;) {
          const { bytesWritten } = await this.#handle.write(buffer, done, buffer.length - done, at + done)
          done += bytesWritten
        }
        at += buffer.length
      }
    })
  }

  /** Fills the buffer; what was never written reads as zeros. */
  async read(offset: number, into: Buffer): Promise<void> {
    await named(this.#path, async () => {
      let filled = 0
      while (filled < into.length) {
        const { bytesRead } = await this.#handle.read(into, filled, into.length - filled, offset + filled)
        if (bytesRead === 0) break
        filled += bytesRead
      }
      into.fill(0, filled)
    })
  }

  /**
   * To be called when everything was read back, and before anybody relies on it: what storage could not take may have been
   * read as zeros. Throws CDI_TARGET_FULL, CDI_TARGET_IO.
   */
  async assertKept(): Promise<void> {
    await named(this.#path, () => this.#window.flush())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A flush that fails now is of no interest, but the file must not be closed under it.
    await this.#window.settle().catch(() => {})
    await this.#handle.close()
  }
}

async function named<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw prefixError('Unable to transfer source data to scratch space', writeFault(path, error))
  }
}
