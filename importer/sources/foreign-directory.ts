/**
 * Directories that somebody else has made, walked without ever leaving them. Each is opened from the one before, by name
 * and never by a link, so that nothing that is swapped on the way, and no `..` or absolute link, leads anywhere else.
 *
 * Node has no openat(2); a path through `/proc/self/fd/<n>` is resolved from the open directory in the same way, and
 * O_NOFOLLOW then looks at the one name behind it.
 */
import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { lstat, open, opendir } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { CdiError } from '../../src/errors.ts'
import { shownName } from '../formats/tar-name.ts'

const { O_DIRECTORY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants

/** Names are latin1 strings, one character a byte, since they need not be UTF-8. */
export class ForeignDirectory implements AsyncDisposable {
  readonly #handle: FileHandle

  private constructor(handle: FileHandle) {
    this.#handle = handle
  }

  /** Opens a directory by a path of our own. Throws what the system says. */
  static async open(path: string): Promise<ForeignDirectory> {
    return new ForeignDirectory(await open(path, O_RDONLY | O_DIRECTORY))
  }

  facts(): Promise<BigIntStats> {
    return this.#handle.stat({ bigint: true })
  }

  /** The names in it, in no order. */
  async *names(): AsyncGenerator<string, void, undefined> {
    for await (const { name } of await opendir(this.#path(), { encoding: 'latin1' })) yield name
  }

  /** What a name in it is; undefined if there is none. */
  async look(name: string): Promise<BigIntStats | undefined> {
    try {
      return await lstat(this.#path(name), { bigint: true })
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  /** Opens a directory in it, which was looked at. Throws CDI_SOURCE_CHANGED if it is another one by now. */
  async directory(name: string, seen: BigIntStats): Promise<ForeignDirectory> {
    return new ForeignDirectory(await this.#open(name, seen, O_DIRECTORY))
  }

  /** Opens a plain file in it for reading, which was looked at. Throws CDI_SOURCE_CHANGED if it is another one by now. */
  file(name: string, seen: BigIntStats): Promise<FileHandle> {
    // A pipe that has taken the file's place must not make us wait for a writer.
    return this.#open(name, seen, O_NONBLOCK)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close()
  }

  async #open(name: string, seen: BigIntStats, flags: number): Promise<FileHandle> {
    let handle: FileHandle
    try {
      handle = await open(this.#path(name), O_RDONLY | O_NOFOLLOW | flags)
    } catch (error) {
      // Opened through a link, or no directory any more.
      if (error instanceof Error && 'code' in error && (error.code === 'ELOOP' || error.code === 'ENOTDIR')) {
        throw swapped(name, error)
      }
      throw error
    }
    try {
      const facts = await handle.stat({ bigint: true })
      if (facts.dev !== seen.dev || facts.ino !== seen.ino || facts.mode !== seen.mode) throw swapped(name)
      return handle
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  #path(name = ''): Buffer {
    if (name === '..' || name.includes('/') || name.includes('\0')) throw new RangeError('not a name in a directory')
    return Buffer.from(`/proc/self/fd/${this.#handle.fd}/${name}`, 'latin1')
  }
}

function swapped(name: string, cause?: unknown): CdiError {
  return new CdiError('CDI_SOURCE_CHANGED', `${shownName(name)} was replaced while it was opened`, { cause })
}
