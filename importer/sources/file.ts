/** A local file or block device as a source. */
import { open, readFile } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import type { BigIntStats } from 'node:fs'
import { CdiError } from '../../src/errors.ts'
import type { ByteRange, RangedSource, Sink } from './source.ts'

/** Bytes asked for at a time. */
const readBytes = 512 * 1024
const sectorBytes = 512

/**
 * Opens `path` for reading. Throws CDI_SOURCE_UNREACHABLE if that is not possible and CDI_USAGE for directories, pipes
 * and the like. Its streams throw CDI_SOURCE_CHANGED if the file was written to since it was opened.
 */
export async function openFile({ path }: { path: string }): Promise<RangedSource> {
  return sourceOfHandle({ handle: await openForReading(path), name: path })
}

export interface OpenFile {
  /** Open for reading; closed with the source, or if there is to be none. */
  readonly handle: FileHandle
  /** For people. */
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
}

/** A source of a file that is open already. Throws CDI_USAGE as {@link openFile} does. */
export async function sourceOfHandle(file: OpenFile): Promise<RangedSource> {
  try {
    const facts = await file.handle.stat({ bigint: true })
    return new FileSource({ ...file, facts, sizeBytes: await sizeOf(file.name, facts) })
  } catch (error) {
    await file.handle.close()
    throw error
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    throw new CdiError('CDI_SOURCE_UNREACHABLE', `cannot open ${path}: ${text}`, { cause: error, details: { path } })
  }
}

async function sizeOf(path: string, facts: BigIntStats): Promise<number> {
  if (facts.isFile()) return Number(facts.size)
  if (!facts.isBlockDevice()) {
    throw new CdiError('CDI_USAGE', `${path} is ${kindOf(facts)}, not a regular file or block device`, {
      details: { path },
    })
  }
  // Device numbers as the kernel packs them (gnu_dev_major and gnu_dev_minor of glibc).
  const device = facts.rdev
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)
  const minor = (device & 0xffn) | ((device >> 12n) & 0xffffff00n)
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')
  return Number(sectors.trim()) * sectorBytes
}

function kindOf(facts: BigIntStats): string {
  if (facts.isDirectory()) return 'a directory'
  if (facts.isFIFO()) return 'a pipe'
  if (facts.isSocket()) return 'a socket'
  return 'a character device'
}

function slab(wantedBytes: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.min(readBytes, wantedBytes))
}

class FileSource implements RangedSource {
  readonly kind = 'ranged'
  readonly pinned = true
  readonly parallel = 4
  readonly name: string
  readonly sizeBytes: number
  readonly labels?: Readonly<Record<string, string>>
  readonly #handle: FileHandle
  readonly #facts: BigIntStats

  constructor(open: OpenFile & { facts: BigIntStats; sizeBytes: number }) {
    this.name = open.name
    this.sizeBytes = open.sizeBytes
    if (open.labels !== undefined) this.labels = open.labels
    this.#handle = open.handle
    this.#facts = open.facts
  }

  async stream({ offset, length }: ByteRange, sink: Sink, signal: AbortSignal): Promise<void> {
    const end = offset + length
    if (offset < 0 || end > this.sizeBytes)
      throw new RangeError(`${offset}+${length} is beyond ${this.sizeBytes} bytes`)
    // One read runs ahead of the sink, into the buffer that the sink does not have.
    let [mine, spare] = [slab(length), slab(length)]
    let next = length > 0 ? this.#read(mine, offset, end) : undefined
    for (let at = offset; at < end && next !== undefined;) {
      const chunk: Buffer = await next
      at += chunk.length
      ;[mine, spare] = [spare, mine]
      next = at < end ? this.#read(mine, at, end) : undefined
      // If the sink throws nobody waits for this one.
      next?.catch(() => {})
      signal.throwIfAborted()
      await sink(chunk)
    }
    await this.#checkUnchanged()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close()
  }

  async #read(buffer: Buffer, at: number, end: number): Promise<Buffer> {
    const { bytesRead } = await this.#handle.read(buffer, 0, Math.min(buffer.length, end - at), at)
    if (bytesRead === 0) throw this.#changed(`it ends at byte ${at}`)
    return buffer.subarray(0, bytesRead)
  }

  async #checkUnchanged(): Promise<void> {
    if (!this.#facts.isFile()) return
    const now = await this.#handle.stat({ bigint: true })
    if (now.size !== this.#facts.size) throw this.#changed(`it had ${this.#facts.size} bytes and has ${now.size}`)
    if (now.mtimeNs !== this.#facts.mtimeNs || now.ino !== this.#facts.ino) throw this.#changed('it was written to')
  }

  #changed(text: string): CdiError {
    return new CdiError('CDI_SOURCE_CHANGED', `${this.name} changed while it was read: ${text}`, {
      details: { path: this.name },
    })
  }
}
