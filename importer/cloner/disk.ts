/**
 * The disk that is cloned, opened for reading only. Read past the page cache where that can be: each byte is read once.
 */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { BigIntStats } from 'node:fs'
import { CdiError } from '../../src/errors.ts'
import { isAligned } from '../target/aligned.ts'
import { deviceBytes } from '../target/linux.ts'

/** Places and lengths of reads are multiples of this, but for the end of the disk. */
export const readUnitBytes = 4096

export class SourceDisk implements AsyncDisposable {
  readonly path: string
  readonly kind: 'file' | 'block'
  readonly sizeBytes: number
  readonly #handle: FileHandle
  readonly #facts: BigIntStats
  /** For direct I/O; undefined where there is no such thing. */
  #direct: FileHandle | undefined

  private constructor(path: string, handle: FileHandle, facts: BigIntStats, sizeBytes: number) {
    this.path = path
    this.kind = facts.isBlockDevice() ? 'block' : 'file'
    this.sizeBytes = sizeBytes
    this.#handle = handle
    this.#facts = facts
  }

  /** Throws CDI_CLONE_SOURCE if it cannot be read or is empty. */
  static async open(path: string): Promise<SourceDisk> {
    let handle: FileHandle | undefined
    try {
      handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
      const facts = await handle.stat({ bigint: true })
      const sizeBytes = facts.isBlockDevice() ? await deviceBytes(facts) : Number(facts.size)
      if (!facts.isBlockDevice() && !facts.isFile()) throw new Error('it is neither a file nor a block device')
      if (sizeBytes === 0) throw new Error('it is empty')
      const disk = new SourceDisk(path, handle, facts, sizeBytes)
      disk.#direct = await openDirect(path)
      return disk
    } catch (error) {
      await handle?.close()
      throw unreadable(path, error)
    }
  }

  /** The same for as long as the disk is the same, as far as one can see from outside: 11 base64url characters. */
  get id(): string {
    const { ino, mtimeNs } = this.#facts
    const facts = this.kind === 'block' ? ['block', this.sizeBytes] : ['file', this.sizeBytes, ino, mtimeNs]
    return createHash('sha256').update(facts.join('-')).digest('base64url').slice(0, 11)
  }

  /**
   * Fills the first `length` bytes of the buffer with what stands at `offset`; the buffer has room for whole units.
   * Throws CDI_SOURCE_CHANGED if the disk ends before, CDI_CLONE_SOURCE.
   */
  async read(offset: number, into: Buffer, length: number): Promise<void> {
    const whole = Math.ceil(length / readUnitBytes) * readUnitBytes
    for (let done = 0; done < length;) {
      const bytesRead = await this.#readSome(into.subarray(done, whole), offset + done)
      if (bytesRead === 0) {
        throw new CdiError('CDI_SOURCE_CHANGED', `${this.path} ends at byte ${offset + done} of ${this.sizeBytes}`)
      }
      done += bytesRead
    }
  }

  /** Throws CDI_SOURCE_CHANGED if somebody has written to the disk since it was opened, as far as one can see. */
  async assertUnchanged(): Promise<void> {
    const facts = await this.#handle.stat({ bigint: true })
    const sizeBytes = this.kind === 'block' ? await deviceBytes(facts) : Number(facts.size)
    if (sizeBytes === this.sizeBytes && (this.kind === 'block' || facts.mtimeNs === this.#facts.mtimeNs)) return
    throw new CdiError('CDI_SOURCE_CHANGED', `${this.path} was written to while it was cloned`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
    await this.#direct?.close()
  }

  async #readSome(into: Buffer, offset: number): Promise<number> {
    try {
      if (this.#direct !== undefined && offset % readUnitBytes === 0 && isAligned(into)) {
        try {
          return (await this.#direct.read(into, 0, into.length, offset)).bytesRead
        } catch (error) {
          // The storage wants another alignment, or cannot do it after all.
          if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
        }
      }
      return (await this.#handle.read(into, 0, into.length, offset)).bytesRead
    } catch (error) {
      throw unreadable(this.path, error, offset)
    }
  }
}

async function openDirect(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_DIRECT | constants.O_NOFOLLOW)
  } catch {
    return undefined
  }
}

function unreadable(path: string, error: unknown, offset?: number): CdiError {
  const where = offset === undefined ? '' : ` at byte ${offset}`
  const { message, code } = error as NodeJS.ErrnoException
  return new CdiError('CDI_CLONE_SOURCE', `the source ${path} cannot be read${where}: ${message}`, {
    cause: error,
    details: { path, errno: code, offset },
  })
}
