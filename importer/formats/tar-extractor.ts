/**
 * Puts the entries of an archive into a directory, and nowhere else.
 *
 * - Leading slashes and `.` are dropped as GNU tar does; a name or hard link with `..` is refused.
 * - Symbolic links are made as they are, wherever they point, but never followed: an entry whose way leads through one
 *   is refused. Every component is looked at (`lstat`) before it is used; the worker is the only one that writes here,
 *   so what was seen stays true.
 * - What is in the way (an earlier attempt, the same name twice) is removed, never written into: other names of a hard
 *   linked file keep their content.
 * - Permission bits and the sticky bit are kept, set-user-ID and set-group-ID are not: the owner is not kept either, so
 *   they would lend the rights of the wrong one. Modification times are kept. The directory itself (`./`) keeps its own.
 * - Devices and fifos are left out with a line in the log: a rootless worker may not make them.
 * - `lost+found` belongs to the file system; entries of that name are left out.
 */
import type { Stats } from 'node:fs'
import { constants } from 'node:fs'
import { chmod, link, lstat, lutimes, mkdir, open, rmdir, symlink, unlink, utimes } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { TarContent, TarEntry, TarHandler } from './tar.ts'
import { invalidArchive } from './tar-header.ts'
import { shownName as shown } from './tar-name.ts'

export interface ExtractLimits {
  /** Entries of all kinds; an archive is refused beyond. */
  readonly entries: number
  /** Directories, whose modes and times are kept in memory until the end. */
  readonly directories: number
}

export const defaultExtractLimits: ExtractLimits = { entries: 2_000_000, directories: 200_000 }

/** Files at least this large are made durable one by one, which also bounds the bytes that wait for the storage. */
const largeFileBytes = 8 * 1024 * 1024
const syncEveryBytes = 32 * 1024 * 1024
const permissionBits = 0o1777
const longestName = 4096

export interface TarExtractorOptions {
  readonly directory: string
  readonly log: Log
  readonly limits?: ExtractLimits
}

export class TarExtractor implements TarHandler {
  readonly #directory: string
  readonly #log: Log
  readonly #limits: ExtractLimits
  /** Directories that were seen or made, by name, with what they get in the end. */
  readonly #directories = new Map<string, { readonly mode: number; readonly mtimeSeconds: number } | undefined>()
  #entries = 0
  #open: FileHandle | undefined

  constructor({ directory, log, limits = defaultExtractLimits }: TarExtractorOptions) {
    this.#directory = directory
    this.#log = log
    this.#limits = limits
  }

  /** How many entries were put into the directory. */
  get entries(): number {
    return this.#entries
  }

  async entry(entry: TarEntry): Promise<TarContent | undefined> {
    if (++this.#entries > this.#limits.entries) {
      throw invalidArchive(`the archive has more than ${this.#limits.entries} entries`)
    }
    const name = safeName(entry.name)
    if (name === '') {
      if (entry.type === 'directory') return undefined
      throw unsafe(entry.name, 'takes the place of the directory itself')
    }
    if (name === 'lost+found' || name.startsWith('lost+found/')) {
      this.#log.info({ entry: shown(name) }, 'entry left out: lost+found belongs to the file system')
      return undefined
    }
    return this.#inStep(name, () => this.#place(name, entry))
  }

  /** Gives directories their modes and times, after nothing more will be put into them. */
  async finish(): Promise<void> {
    // Children first: a directory without write or search permission would shut them away.
    const inOrder = [...this.#directories].sort(([a], [b]) => (a < b ? 1 : -1))
    for (const [name, wanted] of inOrder) {
      if (!wanted) continue
      await this.#inStep(name, async () => {
        const at = this.#path(name)
        await utimes(at, wanted.mtimeSeconds, wanted.mtimeSeconds)
        await chmod(at, wanted.mode)
      })
    }
  }

  /** Closes what a failure has left open. */
  async close(): Promise<void> {
    await this.#open?.close()
    this.#open = undefined
  }

  async #place(name: string, entry: TarEntry): Promise<TarContent | undefined> {
    switch (entry.type) {
      case 'directory':
        await this.#makeDirectory(name, { mode: entry.mode & permissionBits, mtimeSeconds: entry.mtimeSeconds })
        return undefined
      case 'file':
        await this.#makeWay(name)
        return this.#openFile(name, entry)
      case 'symlink':
        if (entry.linkName === '') throw invalidArchive(`the symbolic link "${shown(name)}" has no target`)
        await this.#makeWay(name)
        await symlink(bytesOf(entry.linkName), this.#path(name))
        await lutimes(this.#path(name), entry.mtimeSeconds, entry.mtimeSeconds)
        return undefined
      case 'hardlink':
        await this.#makeHardLink(name, entry)
        return undefined
      case 'character-device':
      case 'block-device':
      case 'fifo':
        this.#log.warn(
          { entry: shown(name), type: entry.type },
          'entry left out: a worker may not make devices and fifos',
        )
        return undefined
      default:
        return entry.type satisfies never
    }
  }

  async #makeHardLink(name: string, entry: TarEntry): Promise<void> {
    const target = safeName(entry.linkName)
    if (target === name) return
    if (target === '') throw unsafe(entry.name, 'links to the directory itself')
    await this.#assertNoLinkOnTheWay(target)
    const found = await this.#look(target)
    if (!found) throw invalidArchive(`"${shown(name)}" links to "${shown(target)}", which is not in the archive`)
    if (found.isDirectory()) throw invalidArchive(`"${shown(name)}" links to the directory "${shown(target)}"`)
    await this.#makeWay(name)
    await link(this.#path(target), this.#path(name))
  }

  async #openFile(name: string, entry: TarEntry): Promise<TarContent> {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
    const file = await open(this.#path(name), flags, 0o600)
    this.#open = file
    let unsyncedBytes = 0
    return {
      write: (offset, data) =>
        this.#inStep(name, async () => {
          await writeWhole(file, data, offset)
          unsyncedBytes += data.length
          if (unsyncedBytes < syncEveryBytes) return
          unsyncedBytes = 0
          await file.datasync()
        }),
      end: () =>
        this.#inStep(name, async () => {
          await file.truncate(entry.sizeBytes)
          await file.chmod(entry.mode & permissionBits)
          await file.utimes(entry.mtimeSeconds, entry.mtimeSeconds)
          if (entry.sizeBytes >= largeFileBytes) await file.sync()
          this.#open = undefined
          await file.close()
        }),
    }
  }

  /** Makes the directories that lead to a name and removes what is in its place. */
  async #makeWay(name: string): Promise<void> {
    await this.#makeParents(name)
    const found = await this.#look(name)
    if (!found) return
    if (found.isDirectory()) {
      // Only an empty one gives way, as with GNU tar.
      await rmdir(this.#path(name))
      this.#directories.delete(name)
    } else {
      await unlink(this.#path(name))
    }
  }

  async #makeDirectory(name: string, wanted: { readonly mode: number; readonly mtimeSeconds: number }): Promise<void> {
    await this.#makeParents(name)
    const found = await this.#look(name)
    if (found && !found.isDirectory()) await unlink(this.#path(name))
    if (!found?.isDirectory()) await mkdir(this.#path(name), 0o700)
    // One of an earlier attempt may have got its final mode already.
    else if ((found.mode & 0o700) !== 0o700) await chmod(this.#path(name), 0o700)
    this.#know(name, wanted)
  }

  async #makeParents(name: string): Promise<void> {
    const slash = name.lastIndexOf('/')
    if (slash === -1) return
    const parent = name.slice(0, slash)
    if (this.#directories.has(parent)) return
    await this.#makeParents(parent)
    const found = await this.#look(parent)
    if (!found) await mkdir(this.#path(parent))
    else if (found.isSymbolicLink()) throw unsafe(name, `leads through the symbolic link "${shown(parent)}"`)
    else if (!found.isDirectory())
      throw invalidArchive(`"${shown(parent)}" is no directory, but "${shown(name)}" lies in it`)
    else if ((found.mode & 0o300) !== 0o300) await chmod(this.#path(parent), found.mode | 0o700)
    this.#know(parent, undefined)
  }

  async #assertNoLinkOnTheWay(name: string): Promise<void> {
    for (let slash = name.indexOf('/'); slash !== -1; slash = name.indexOf('/', slash + 1)) {
      const parent = name.slice(0, slash)
      if (this.#directories.has(parent)) continue
      const found = await this.#look(parent)
      if (found?.isSymbolicLink()) throw unsafe(name, `leads through the symbolic link "${shown(parent)}"`)
    }
  }

  #know(name: string, wanted: { readonly mode: number; readonly mtimeSeconds: number } | undefined): void {
    this.#directories.set(name, wanted)
    if (this.#directories.size > this.#limits.directories) {
      throw invalidArchive(`the archive has more than ${this.#limits.directories} directories`)
    }
  }

  async #look(name: string): Promise<Stats | undefined> {
    try {
      return await lstat(this.#path(name))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }

  #path(name: string): Buffer {
    return Buffer.concat([Buffer.from(path.join(this.#directory, '/')), bytesOf(name)])
  }

  async #inStep<T>(name: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      throw error instanceof CdiError ? error : explainFileError(error as NodeJS.ErrnoException, name)
    }
  }
}

/** The name without leading slashes, `.` and doubled slashes. Throws CDI_ARCHIVE_UNSAFE for `..`. */
function safeName(name: string): string {
  if (name.includes('\0')) throw unsafe(name, 'has a zero byte in its name')
  if (name.length > longestName) throw invalidArchive(`an entry has a name of ${name.length} bytes`)
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw unsafe(name, 'contains ".."')
  return parts.join('/')
}

function unsafe(name: string, what: string): CdiError {
  return new CdiError('CDI_ARCHIVE_UNSAFE', `the entry "${shown(name)}" ${what}`, { details: { entry: shown(name) } })
}

function bytesOf(name: string): Buffer {
  return Buffer.from(name, 'latin1')
}

async function writeWhole(file: FileHandle, data: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < data.length;) {
    const { bytesWritten } = await file.write(data, done, data.length - done, offset + done)
    done += bytesWritten
  }
}

/** The texts for a full volume are those that the controller looks for (contract: import §15). */
function explainFileError(error: NodeJS.ErrnoException, name: string): CdiError {
  const options = { cause: error, details: { errno: error.code, entry: shown(name) } }
  switch (error.code) {
    case 'ENOSPC':
      return new CdiError('CDI_TARGET_FULL', `unable to write "${shown(name)}": no space left on device`, options)
    case 'EDQUOT':
      return new CdiError('CDI_TARGET_FULL', `unable to write "${shown(name)}": disk quota exceeded`, options)
    case 'EFBIG':
      return new CdiError(
        'CDI_TARGET_FULL',
        `unable to write "${shown(name)}": the file is too large for the volume's file system`,
        options,
      )
    case 'ENAMETOOLONG':
    case 'ENOTEMPTY':
    case 'EEXIST':
    case 'EILSEQ':
    case 'EINVAL':
      return new CdiError('CDI_ARCHIVE_INVALID', `unable to make "${shown(name)}": ${error.code}`, options)
    case undefined:
    default:
      return new CdiError('CDI_TARGET_IO', `unable to write "${shown(name)}": ${error.message}`, options)
  }
}
