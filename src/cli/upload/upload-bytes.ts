/** What is uploaded, piece by piece: a file, where every piece can be had again, or a stream, where only the last one can. */
import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { CdiError } from '../../errors.ts'
import type { UploadBody } from './connection.ts'

export interface Piece {
  readonly body: UploadBody
  /** Nothing follows. */
  readonly isLast: boolean
}

export interface UploadBytes extends AsyncDisposable {
  /** Length of everything; undefined until a stream has ended. */
  readonly sizeBytes: number | undefined
  /** Bytes before this one cannot be had any more. */
  readonly leastOffset: number
  /** Up to `most` bytes from `offset` on. Throws CDI_UPLOAD_LOST if they are gone, CDI_SOURCE_* if they cannot be read. */
  piece(offset: number, most: number, signal: AbortSignal): Promise<Piece>
}

const readBytes = 512 * 1024

/** A file or block device. Its pieces throw CDI_SOURCE_CHANGED when it was written to since it was opened. */
export class FileBytes implements UploadBytes {
  readonly sizeBytes: number
  readonly leastOffset = 0
  readonly path: string
  readonly #handle: FileHandle
  readonly #changedNs: bigint | undefined

  /** Opens `path`, of which only the first `sizeBytes` count. */
  static async open(path: string, sizeBytes: number): Promise<FileBytes> {
    const handle = await open(path, 'r')
    const facts = await handle.stat({ bigint: true })
    return new FileBytes({ handle, path, sizeBytes, changedNs: facts.isFile() ? facts.mtimeNs : undefined })
  }

  private constructor(o: { handle: FileHandle; path: string; sizeBytes: number; changedNs: bigint | undefined }) {
    this.#handle = o.handle
    this.path = o.path
    this.sizeBytes = o.sizeBytes
    this.#changedNs = o.changedNs
  }

  piece(offset: number, most: number, _signal: AbortSignal): Promise<Piece> {
    const length = Math.min(most, this.sizeBytes - offset)
    const chunks = this.chunks(offset, length)
    return Promise.resolve({ body: { length, chunks }, isLast: offset + length === this.sizeBytes })
  }

  /** Exactly these bytes. Buffers are new ones: whoever sends them may keep them. */
  async *chunks(offset: number, length: number): AsyncGenerator<Buffer, void, undefined> {
    const end = offset + length
    for (let at = offset; at < end;) {
      const chunk = await this.read(at, Math.min(readBytes, end - at))
      at += chunk.length
      yield chunk
    }
    await this.#checkUnchanged()
  }

  /** The bytes there, at least one and at most `length`. */
  async read(offset: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length)
    const { bytesRead } = await this.#handle.read(buffer, 0, length, offset)
    if (bytesRead === 0) throw this.#changed(`it ends at byte ${offset}`)
    return buffer.subarray(0, bytesRead)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#handle.close()
  }

  async #checkUnchanged(): Promise<void> {
    if (this.#changedNs === undefined) return
    const { mtimeNs } = await this.#handle.stat({ bigint: true })
    if (mtimeNs !== this.#changedNs) throw this.#changed('it was written to')
  }

  #changed(text: string): CdiError {
    return new CdiError('CDI_SOURCE_CHANGED', `${this.path} changed while it was uploaded: ${text}`)
  }
}

/** Standard input: the piece that is under way is kept until the next one is asked for. */
export class StreamBytes implements UploadBytes {
  readonly #stream: Readable
  readonly #chunks: AsyncIterator<Buffer | string>
  /** What may be asked for (again), beginning at `leastOffset`. */
  #kept: Buffer[] = []
  #keptBytes = 0
  #ended = false
  leastOffset = 0

  constructor(stream: Readable) {
    this.#stream = stream
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer | string>
  }

  get sizeBytes(): number | undefined {
    return this.#ended ? this.leastOffset + this.#keptBytes : undefined
  }

  async piece(offset: number, most: number, signal: AbortSignal): Promise<Piece> {
    if (offset < this.leastOffset) {
      throw new CdiError(
        'CDI_UPLOAD_LOST',
        `the server is at byte ${offset}, and standard input was read to byte ${this.leastOffset} without keeping it`,
      )
    }
    this.#forgetTo(offset)
    while (!this.#ended && this.#keptBytes < most) await this.#readOn(signal)
    const length = Math.min(most, this.#keptBytes)
    return {
      body: { length, chunks: cut(this.#kept, length) },
      isLast: this.#ended && length === this.#keptBytes,
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stream.destroy()
    return Promise.resolve()
  }

  async #readOn(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>()
    const onAbort = (): void => aborted.reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    try {
      signal.throwIfAborted()
      const { done, value } = await Promise.race([this.#chunks.next(), aborted.promise])
      if (done === true) {
        this.#ended = true
        return
      }
      const chunk = Buffer.from(value)
      this.#kept.push(chunk)
      this.#keptBytes += chunk.length
    } catch (error) {
      signal.throwIfAborted()
      const text = error instanceof Error ? error.message : String(error)
      throw new CdiError('CDI_SOURCE_INTERRUPTED', `cannot read standard input: ${text}`, { cause: error })
    } finally {
      signal.removeEventListener('abort', onAbort)
      aborted.promise.catch(() => {})
    }
  }

  #forgetTo(offset: number): void {
    let surplus = offset - this.leastOffset
    while (surplus > 0) {
      const [first] = this.#kept
      if (first === undefined) throw new RangeError(`byte ${offset} has not been read yet`)
      const dropped = Math.min(surplus, first.length)
      if (dropped === first.length) this.#kept.shift()
      else this.#kept[0] = first.subarray(dropped)
      surplus -= dropped
      this.#keptBytes -= dropped
      this.leastOffset += dropped
    }
  }
}

async function* cut(chunks: readonly Buffer[], length: number): AsyncGenerator<Buffer, void, undefined> {
  let left = length
  for (const chunk of chunks.slice()) {
    if (left === 0) return
    const piece = chunk.subarray(0, left)
    left -= piece.length
    yield piece
  }
}
