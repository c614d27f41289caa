/**
 * The tree of a volume as a tar stream: everything but `lost+found` at its root, with modes, times, links and the holes of
 * sparse files. Devices, fifos and sockets are left out: a rootless pod could not make them. A file that somebody
 * writes to while it is read is an error, not a torn copy.
 */
import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { lstat, open, readdir, readlink } from 'node:fs/promises'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Extent } from '../target/coverage.ts'
import { dataExtents } from './extents.ts'
import { padding, sparseMap, tarEnd, tarHeader } from './tar-header.ts'

const readBytes = 1024 * 1024
const kept = 'lost+found'
/** Unit of `blocks` in what stat(2) tells. */
const statBlockBytes = 512
/** Smaller files are not worth a look for holes. */
const leastSparseBytes = 1024 * 1024

export interface ReadTree {
  readonly directory: string
  /** Leave holes out; else every byte is sent, and will be written. */
  readonly isSparse: boolean
  /** Told of bytes of files as they are read. */
  readonly onBytes: (count: number) => void
  readonly log: Log
  readonly signal: AbortSignal
}

/** A way of bytes below the root, and as latin1 text. */
interface Place {
  readonly path: Buffer
  readonly name: string
}

/** Throws CDI_CLONE_SOURCE, CDI_SOURCE_CHANGED, and the signal's reason. Chunks are lent until the next one is asked for. */
export async function* readTree(options: ReadTree): AsyncGenerator<Buffer, void, undefined> {
  const reading = new Reading(options)
  try {
    yield* reading.children({ path: Buffer.from(options.directory), name: '.' })
    yield tarEnd()
  } catch (error) {
    options.signal.throwIfAborted()
    if (error instanceof CdiError) throw error
    const { message } = error as Error
    throw new CdiError('CDI_CLONE_SOURCE', `the source ${options.directory} cannot be read: ${message}`, {
      cause: error,
    })
  }
}

/** Bytes of all files in a directory that are backed by storage: what there is to read, about. Throws errors of the file system. */
export async function storedBytes(directory: string): Promise<number> {
  let sum = 0
  for (const entry of await readdir(directory, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([Buffer.from(`${directory}/`), entry.name])
    if (entry.name.toString('latin1') === kept) continue
    if (entry.isDirectory()) sum += await storedBytesBelow(path)
    else if (entry.isFile()) sum += await storedOf(path)
  }
  return sum
}

async function storedBytesBelow(directory: Buffer): Promise<number> {
  let sum = 0
  for (const entry of await readdir(directory, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([directory, Buffer.from('/'), entry.name])
    if (entry.isDirectory()) sum += await storedBytesBelow(path)
    else if (entry.isFile()) sum += await storedOf(path)
  }
  return sum
}

async function storedOf(path: Buffer): Promise<number> {
  const { size, blocks } = await lstat(path)
  return Math.min(size, blocks * statBlockBytes)
}

class Reading {
  readonly #options: ReadTree
  /** Files with several names that were sent already, by device and inode. */
  readonly #linked = new Map<string, string>()

  constructor(options: ReadTree) {
    this.#options = options
  }

  async *children(directory: Place): AsyncGenerator<Buffer, void, undefined> {
    const names = await readdir(directory.path, { encoding: 'buffer' })
    for (const name of names.sort((one, two) => Buffer.compare(one, two))) {
      this.#options.signal.throwIfAborted()
      const text = name.toString('latin1')
      if (directory.name === '.' && text === kept) continue
      const path = Buffer.concat([directory.path, Buffer.from('/'), name])
      yield* this.#member({ path, name: `${directory.name}/${text}` })
    }
  }

  async *#member(place: Place): AsyncGenerator<Buffer, void, undefined> {
    const facts = await lstat(place.path, { bigint: true })
    const common = { mode: Number(facts.mode & 0o7777n), mtimeSeconds: Number(facts.mtimeMs / 1000n) }
    if (facts.isDirectory()) {
      yield tarHeader({ ...common, name: `${place.name}/`, type: 'directory', storedBytes: 0 })
      yield* this.children(place)
    } else if (facts.isSymbolicLink()) {
      const linkName = (await readlink(place.path, { encoding: 'buffer' })).toString('latin1')
      yield tarHeader({ ...common, name: place.name, type: 'symlink', linkName, storedBytes: 0 })
    } else if (!facts.isFile()) {
      this.#options.log.warn({ entry: place.name }, 'left out: devices, fifos and sockets are not cloned')
    } else {
      const linkName = this.#otherName(place.name, facts)
      if (linkName === undefined) yield* this.#file(place, facts, common)
      else yield tarHeader({ ...common, name: place.name, type: 'hardlink', linkName, storedBytes: 0 })
    }
  }

  #otherName(name: string, { nlink, dev, ino }: BigIntStats): string | undefined {
    if (nlink < 2n) return undefined
    const key = `${dev}:${ino}`
    const other = this.#linked.get(key)
    if (other === undefined) this.#linked.set(key, name)
    return other
  }

  async *#file(
    { path, name }: Place,
    facts: BigIntStats,
    common: { mode: number; mtimeSeconds: number },
  ): AsyncGenerator<Buffer, void, undefined> {
    const sizeBytes = Number(facts.size)
    const pieces = await this.#pieces(path, facts)
    if (pieces === undefined) {
      yield tarHeader({ ...common, name, type: 'file', storedBytes: sizeBytes })
      yield* this.#bytes(path, facts, [{ start: 0, end: sizeBytes }])
      yield padding(sizeBytes)
      return
    }
    // The last piece, even if it is empty, tells where the file ends.
    const map = sparseMap(pieces.at(-1)?.end === sizeBytes ? pieces : [...pieces, { start: sizeBytes, end: sizeBytes }])
    const bytes = pieces.reduce((sum, { start, end }) => sum + end - start, 0)
    yield tarHeader({ ...common, name, type: 'file', storedBytes: map.length + bytes, realSizeBytes: sizeBytes })
    yield map
    yield* this.#bytes(path, facts, pieces)
    yield padding(bytes)
  }

  /** Where the file holds data, if it has holes that are worth it. */
  async #pieces(path: Buffer, { size, blocks }: BigIntStats): Promise<Extent[] | undefined> {
    const { isSparse, log, signal } = this.#options
    const sizeBytes = Number(size)
    if (!isSparse || sizeBytes < leastSparseBytes || Number(blocks) * statBlockBytes >= sizeBytes) return undefined
    const text = path.toString()
    // A name that is no UTF-8 cannot be handed to a program; the file is then sent as it reads.
    if (!Buffer.from(text).equals(path)) return undefined
    const pieces = await dataExtents({ path: text, sizeBytes, log, signal })
    return pieces.length === 1 && pieces[0]?.start === 0 && pieces[0].end === sizeBytes ? undefined : pieces
  }

  async *#bytes(path: Buffer, before: BigIntStats, pieces: readonly Extent[]): AsyncGenerator<Buffer, void, undefined> {
    const { signal, onBytes } = this.#options
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    const room = Buffer.allocUnsafe(readBytes)
    for (const { start, end } of pieces) {
      for (let at = start; at < end;) {
        signal.throwIfAborted()
        const { bytesRead } = await file.read(room, 0, Math.min(readBytes, end - at), at)
        if (bytesRead === 0) throw changed(path)
        onBytes(bytesRead)
        at += bytesRead
        yield room.subarray(0, bytesRead)
      }
    }
    const after = await file.stat({ bigint: true })
    if (after.size !== before.size || after.mtimeNs !== before.mtimeNs) throw changed(path)
  }
}

function changed(path: Buffer): CdiError {
  return new CdiError('CDI_SOURCE_CHANGED', `${path.toString()} was written to while it was cloned`)
}
