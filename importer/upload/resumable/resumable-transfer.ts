/**
 * An upload whose client may come back. Its first bytes are held until they show what they are; then the receiver that
 * they call for is opened (receivers.ts) and gets them first. Nothing touches the volume before.
 */
import { CdiError } from '../../../src/errors.ts'
import { RequestRefusal } from '../answers.ts'
import { PieceDigests } from '../piece.ts'
import type { PieceOptions } from '../piece.ts'
import { headBytes } from '../raw-head.ts'
import { RawTransfer } from '../raw-transfer.ts'
import type { Checksum } from '../../sources/checksum.ts'
import type { Transfer, UploadResult } from '../transfer.ts'

/**
 * What a stream has taken cannot be taken back, so a piece with a checksum is held until it is known to be right. A raw
 * disk needs no such limit.
 */
export const mostCheckedBytes = 32 * 1024 * 1024

/** Opens a receiver for an upload that begins with `head`, of `length` bytes in all if that is known. */
export type OpenReceiver = (head: Buffer, length: number | undefined, signal: AbortSignal) => Promise<Transfer>

export class ResumableTransfer implements Transfer {
  readonly #open: OpenReceiver
  readonly #stop = new AbortController()
  #length: number | undefined
  #head: Buffer[] = []
  #headBytes = 0
  /** The receiver once it has the first bytes. */
  #receiver: Transfer | undefined
  #opening: Promise<Transfer> | undefined

  /** `receiver`: one that goes on with what an earlier process has begun. */
  constructor({ open, length, receiver }: { open: OpenReceiver; length?: number; receiver?: Transfer }) {
    this.#open = open
    this.#length = length
    this.#receiver = receiver
  }

  get offset(): number {
    return this.#receiver?.offset ?? this.#headBytes
  }

  /** Of the whole in bytes, if it is known. */
  get length(): number | undefined {
    return this.#length
  }

  /** The receiver if it is one that takes ranges. */
  get raw(): RawTransfer | undefined {
    return this.#receiver instanceof RawTransfer ? this.#receiver : undefined
  }

  /** The client knows the length now. */
  setLength(length: number): void {
    this.#length = length
  }

  /** As of all transfers. Throws PieceMismatch, or RequestRefusal (413) for a piece that is too large to be checked. */
  async append(body: AsyncIterable<Buffer>, signal: AbortSignal, { checksums = [] }: PieceOptions = {}): Promise<void> {
    const { raw } = this
    if (raw !== undefined) return raw.append(body, signal, { checksums })
    if (checksums.length > 0) {
      const piece = await checkedPiece(body, signal, checksums)
      return this.#take(only(piece), signal)
    }
    return this.#take(body, signal)
  }

  /** Makes what was taken durable, where that can be. Throws CDI_TARGET_*. */
  async settle(): Promise<void> {
    await this.raw?.settle()
  }

  async finish(): Promise<UploadResult> {
    this.#receiver ??= await this.#begin()
    return this.#receiver.finish()
  }

  async drop(reason: CdiError): Promise<void> {
    await (await this.#halt(reason))?.drop(reason)
  }

  async suspend(reason: CdiError): Promise<void> {
    const receiver = await this.#halt(reason)
    if (receiver?.suspend === undefined) await receiver?.drop(reason)
    else await receiver.suspend(reason)
  }

  /** The receiver, if one was opened. */
  async #halt(reason: CdiError): Promise<Transfer | undefined> {
    this.#stop.abort(reason)
    return this.#receiver ?? (await this.#opening?.catch(() => undefined))
  }

  async #take(body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void> {
    const chunks = body[Symbol.asyncIterator]()
    try {
      while (this.#receiver === undefined) {
        const next = await chunks.next()
        if (next.done === true) return
        signal.throwIfAborted()
        this.#hold(next.value)
        if (this.#headBytes >= headBytes || this.#headBytes === this.#length) this.#receiver = await this.#begin()
      }
      await this.#receiver.append(rest(chunks), signal)
    } finally {
      await chunks.return?.()
    }
  }

  #hold(chunk: Buffer): void {
    if (this.#headBytes + chunk.length > (this.#length ?? Number.POSITIVE_INFINITY)) {
      throw new CdiError('CDI_SOURCE_CHANGED', `the upload has more than the ${this.#length} bytes announced`)
    }
    // It is lent.
    this.#head.push(Buffer.from(chunk))
    this.#headBytes += chunk.length
  }

  async #begin(): Promise<Transfer> {
    this.#opening ??= this.#open(Buffer.concat(this.#head), this.#length, this.#stop.signal)
    const receiver = await this.#opening
    // As a whole, whatever happens to the request: these bytes were counted already.
    for (const chunk of this.#head) await receiver.append(only(chunk), this.#stop.signal)
    this.#head = []
    return receiver
  }
}

/** Throws PieceMismatch or RequestRefusal (413). */
async function checkedPiece(
  body: AsyncIterable<Buffer>,
  signal: AbortSignal,
  checksums: readonly Checksum[],
): Promise<Buffer> {
  const digests = new PieceDigests(checksums)
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of body) {
    signal.throwIfAborted()
    bytes += chunk.length
    if (bytes > mostCheckedBytes) throw tooLargeToCheck()
    digests.update(chunk)
    chunks.push(Buffer.from(chunk))
  }
  digests.verify()
  return Buffer.concat(chunks)
}

function tooLargeToCheck(): RequestRefusal {
  return new RequestRefusal(
    413,
    `a piece with a checksum may have ${mostCheckedBytes} bytes at most: send smaller pieces`,
  )
}

// oxlint-disable-next-line require-await
async function* only(chunk: Buffer): AsyncGenerator<Buffer> {
  yield chunk
}

async function* rest(chunks: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  for (;;) {
    const next = await chunks.next()
    if (next.done === true) return
    yield next.value
  }
}
