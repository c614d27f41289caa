/**
 * What an upload server remembers of a disk image that it has half received and converted (image-transfer.ts): where the
 * engine stands, the tables that it has seen, and what it holds. Lies in the emptyDir of the journal, so that a restarted
 * container goes on; it is too much for anything that outlives the pod.
 *
 *   image.json     facts of the image and of the last checkpoint; replaced as a whole, so that it is always true
 *   tables.bin     tables one after the other: offset (8 bytes), length (4 bytes), bytes; only the part that image.json
 *                  knows of counts
 *   held-N.bin     what checkpoint N holds, without zeros
 *
 * It takes {@link imageJournalBytes} at most. An image that needs more keeps its last checkpoint.
 */
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageFacts } from '../image/facts.ts'
import type { ForwardCheckpoint, ForwardResumption, SeenTable } from '../image/forward/engine.ts'

/** The emptyDir has room for 32 MiB (src/controllers/shared): two sets of held bytes are there for a moment, and notes. */
export const imageJournalBytes = 12 * 1024 * 1024

const tableHeadBytes = 12

/** The contents of image.json. */
interface Note {
  readonly facts: ImageFacts
  readonly position: number
  readonly otherBytes: number
  readonly tablesBytes: number
  readonly heldFile: string
  /** Offset and length of each piece, and whether it has bytes in the file. */
  readonly held: readonly (readonly [offset: number, length: number, hasBytes: boolean])[]
}

/** A conversion that another process has begun. */
export interface ImageResumption extends ForwardResumption {
  readonly facts: ImageFacts
}

export class ImageJournal {
  readonly #directory: string
  readonly #limitBytes: number
  /** Seen since the last checkpoint. */
  #fresh: SeenTable[] = []
  #freshBytes = 0
  #tablesBytes = 0
  #checkpoints = 0
  /** The image is too much: the last checkpoint stays. */
  #isOver = false

  constructor({ directory, limitBytes = imageJournalBytes }: { directory: string; limitBytes?: number }) {
    this.#directory = directory
    this.#limitBytes = limitBytes
  }

  /** Whether checkpoints are of use. */
  get takesMore(): boolean {
    return !this.#isOver
  }

  /** Takes a copy of a table that was looked at; it is written with the next checkpoint. */
  addTable(offset: number, bytes: Buffer): void {
    if (this.#isOver) return
    this.#freshBytes += tableHeadBytes + bytes.length
    if (this.#tablesBytes + this.#freshBytes > this.#limitBytes) {
      this.#giveUp()
      return
    }
    this.#fresh.push({ offset, bytes: Buffer.from(bytes) })
  }

  /**
   * Replaces the last checkpoint, durably. False if there is no room: the last one stays as it is. Throws errors of the
   * file system, and then the last one still holds.
   */
  async keep(facts: ImageFacts, { position, otherBytes, held }: ForwardCheckpoint): Promise<boolean> {
    const heldBytes = held.reduce((sum, { bytes }) => sum + (bytes?.length ?? 0), 0)
    if (this.#isOver || this.#tablesBytes + this.#freshBytes + heldBytes > this.#limitBytes) return false
    await mkdir(this.#directory, { recursive: true })
    const tables = this.#fresh.flatMap(({ offset, bytes }) => [tableHead(offset, bytes.length), bytes])
    await this.#write('tables.bin', tables, this.#tablesBytes)
    const heldFile = `held-${this.#checkpoints + 1}.bin`
    await this.#write(
      heldFile,
      held.flatMap(({ bytes }) => (bytes === undefined ? [] : [bytes])),
      0,
    )
    const tablesBytes = this.#tablesBytes + this.#freshBytes
    const note: Note = {
      facts,
      position,
      otherBytes,
      tablesBytes,
      heldFile,
      held: held.map(({ offset, length, bytes }) => [offset, length, bytes !== undefined]),
    }
    await this.#write('image.json.new', [Buffer.from(JSON.stringify(note))], 0)
    await rename(this.#path('image.json.new'), this.#path('image.json'))
    await this.#syncDirectory()
    await rm(this.#path(`held-${this.#checkpoints}.bin`), { force: true })
    this.#checkpoints += 1
    this.#tablesBytes = tablesBytes
    this.#fresh = []
    this.#freshBytes = 0
    return true
  }

  /** The last checkpoint, and from here on this journal goes on with it; undefined if there is none that can be read. */
  async resume(): Promise<ImageResumption | undefined> {
    try {
      const note = JSON.parse(await readFile(this.#path('image.json'), 'utf8')) as Note
      const { facts, position, otherBytes, tablesBytes, heldFile } = note
      const tables = parseTables((await readFile(this.#path('tables.bin'))).subarray(0, tablesBytes))
      const heldBytes = await readFile(this.#path(heldFile))
      let at = 0
      const held = note.held.map(([offset, length, hasBytes]) => {
        if (!hasBytes) return { offset, length }
        if (at + length > heldBytes.length) throw new RangeError('what was held is not all there')
        at += length
        return { offset, length, bytes: heldBytes.subarray(at - length, at) }
      })
      this.#tablesBytes = tablesBytes
      this.#checkpoints = Number(/\d+/.exec(heldFile)?.[0] ?? 0)
      return { facts, checkpoint: { position, otherBytes, held }, tables }
    } catch {
      return undefined
    }
  }

  /** There is no such conversion any more; another one may begin. Throws errors of the file system. */
  async clear(): Promise<void> {
    this.#giveUp()
    this.#isOver = false
    this.#tablesBytes = 0
    this.#checkpoints = 0
    // First: nobody may go on with a part.
    await rm(this.#path('image.json'), { force: true })
    const names = await readdir(this.#directory).catch(() => [])
    const own = names.filter(
      (name) => name === 'tables.bin' || name === 'image.json.new' || /^held-\d+\.bin$/.test(name),
    )
    for (const name of own) await rm(this.#path(name), { force: true })
    await this.#syncDirectory().catch(() => {})
  }

  #giveUp(): void {
    this.#isOver = true
    this.#fresh = []
    this.#freshBytes = 0
  }

  #path(name: string): string {
    return join(this.#directory, name)
  }

  /** Writes buffers at a place of a file, which ends behind them, and makes them durable. */
  async #write(name: string, buffers: readonly Buffer[], from: number): Promise<void> {
    await using file = await openToWrite(this.#path(name))
    await file.truncate(from)
    let at = from
    for (const buffer of buffers) {
      for (let done = 0; done < buffer.length;) {
        const { bytesWritten } = await file.write(buffer, done, buffer.length - done, at + done)
        done += bytesWritten
      }
      at += buffer.length
    }
    await file.datasync()
  }

  async #syncDirectory(): Promise<void> {
    await using directory = await open(this.#directory, 'r')
    await directory.sync()
  }
}

/** Keeps what is there, unlike `w`; makes the file, unlike `r+`. */
async function openToWrite(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    return await open(path, 'w', 0o600)
  }
}

function tableHead(offset: number, length: number): Buffer {
  const head = Buffer.alloc(tableHeadBytes)
  head.writeBigUInt64BE(BigInt(offset), 0)
  head.writeUInt32BE(length, 8)
  return head
}

function parseTables(bytes: Buffer): SeenTable[] {
  const tables: SeenTable[] = []
  for (let at = 0; at < bytes.length;) {
    const offset = Number(bytes.readBigUInt64BE(at))
    const start = at + tableHeadBytes
    const end = start + bytes.readUInt32BE(at + 8)
    if (end > bytes.length) throw new RangeError('a table is not all there')
    tables.push({ offset, bytes: bytes.subarray(start, end) })
    at = end
  }
  return tables
}
