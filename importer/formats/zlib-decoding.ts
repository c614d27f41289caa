/**
 * Runs one of node:zlib's decompressors behind the push interface, and is stricter than it: the engine silently drops
 * what follows a zero byte behind the last gzip member, here everything behind the data must be zero (tape padding) or
 * it is an error.
 *
 * The engine works on a thread of libuv's pool. Its output side may run ahead of the sink by `aheadBytes`, so that
 * inflating and writing overlap; its input side takes a few hundred KiB before `write` waits.
 */
import type { Transform } from 'node:stream'
import { CdiError } from '../../src/errors.ts'
import type { Sink } from '../sources/source.ts'
import type { Decoding, Encoding } from './decoder.ts'
import { pumpOutput } from './output-pump.ts'

/** Buffers of this size leave the decoders. */
export const outputChunkBytes = 1024 * 1024
/** How far an engine may decode ahead of a slow sink, besides the buffer that it is filling. */
export const aheadBytes = 2 * 1024 * 1024
/** Compressed bytes that may wait for an engine. */
const inputBytes = 256 * 1024

/** Options that every engine is made with. */
export const engineOptions = {
  chunkSize: outputChunkBytes,
  readableHighWaterMark: aheadBytes,
  writableHighWaterMark: inputBytes,
} as const

/** A zlib stream: `bytesWritten` counts the compressed bytes that the engine has really consumed. */
export type ZlibEngine = Transform & { readonly bytesWritten: number }

export interface ZlibDecodingOptions {
  readonly encoding: Encoding
  readonly engine: ZlibEngine
  readonly sink: Sink
  readonly signal: AbortSignal
  /** Makes a CdiError of an error of the engine. */
  readonly explain: (error: NodeJS.ErrnoException) => CdiError
  /** Cuts input where the engine must not see two things in one write. */
  readonly split?: (chunk: Buffer) => readonly Buffer[]
}

export class ZlibDecoding implements Decoding {
  readonly #encoding: Encoding
  readonly #engine: ZlibEngine
  readonly #signal: AbortSignal
  readonly #stop: () => void
  readonly #split: (chunk: Buffer) => readonly Buffer[]
  /** Settles when the engine has handed out everything, or with the first error of engine, sink or signal. */
  readonly #finished: Promise<void>
  /** Chunks of which the engine has not yet consumed every byte, to look at what it leaves over. */
  readonly #pending: Buffer[] = []
  #pendingBytes = 0
  #fedBytes = 0
  #engineEnded = false
  /** Resolves with the first failure, so that nobody waits for a sink that never answers. */
  readonly #failed = Promise.withResolvers<void>()
  #failure: { readonly error: unknown } | undefined

  constructor({ encoding, engine, sink, signal, explain, split }: ZlibDecodingOptions) {
    this.#encoding = encoding
    this.#engine = engine
    this.#signal = signal
    this.#split = split ?? ((chunk) => [chunk])
    this.#stop = () => this.#fail(signal.reason)
    this.#finished = Promise.race([this.#run(sink, explain), this.#failed.promise])
    signal.addEventListener('abort', this.#stop, { once: true })
    if (signal.aborted) this.#stop()
  }

  async write(chunk: Buffer): Promise<void> {
    this.#throwIfFailed()
    for (const piece of this.#split(chunk)) if (piece.length > 0) await this.#writePiece(piece)
  }

  async #writePiece(chunk: Buffer): Promise<void> {
    this.#fedBytes += chunk.length
    if (this.#engineEnded) {
      this.#assertPadding(chunk)
      return
    }
    this.#pending.push(chunk)
    this.#pendingBytes += chunk.length
    const roomLeft = this.#engine.write(chunk)
    this.#forgetConsumed()
    if (!roomLeft) await this.#drained()
    this.#throwIfFailed()
  }

  async end(): Promise<void> {
    this.#throwIfFailed()
    if (this.#fedBytes === 0) {
      this.#fail(new CdiError('CDI_DECODE_TRUNCATED', `the ${this.#encoding} data is empty`))
      this.#throwIfFailed()
    }
    this.#engine.end()
    await this.#finished
    this.#throwIfFailed()
    this.#forgetConsumed()
    const [first, ...rest] = this.#pending
    if (first) this.#assertPadding(first.subarray(first.length - this.#leftOf(first)))
    for (const chunk of rest) this.#assertPadding(chunk)
    this.#release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#release()
    return Promise.resolve()
  }

  async #run(sink: Sink, explain: ZlibDecodingOptions['explain']): Promise<void> {
    let engineError: Error | undefined
    this.#engine.once('error', (error) => {
      engineError = error
    })
    try {
      await pumpOutput(this.#engine, sink)
      this.#engineEnded = true
    } catch (error) {
      this.#fail(engineError !== undefined && error === engineError ? explain(engineError) : error)
    }
  }

  /** Waits until the engine took most of what is waiting, or is done, or failed. */
  async #drained(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#engine.once('drain', resolve)
    try {
      await Promise.race([promise, this.#finished])
    } finally {
      this.#engine.off('drain', resolve)
    }
  }

  #forgetConsumed(): void {
    let first = this.#pending[0]
    while (first && this.#leftOf(first) <= 0) {
      this.#pending.shift()
      this.#pendingBytes -= first.length
      first = this.#pending[0]
    }
  }

  /** Bytes of the first pending chunk that the engine has not consumed. */
  #leftOf(first: Buffer): number {
    const consumedOfPending = this.#engine.bytesWritten - (this.#fedBytes - this.#pendingBytes)
    return first.length - Math.max(0, consumedOfPending)
  }

  #assertPadding(tail: Buffer): void {
    if (isZero(tail)) return
    this.#fail(
      new CdiError(
        'CDI_DECODE_CORRUPT',
        `the ${this.#encoding} data is followed by something that is not ${this.#encoding}`,
      ),
    )
    this.#throwIfFailed()
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#failed.resolve()
    this.#release()
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  #release(): void {
    this.#signal.removeEventListener('abort', this.#stop)
    this.#engine.destroy()
    this.#pending.length = 0
  }
}

const zeros = Buffer.alloc(64 * 1024)

/** True if every byte is zero. */
function isZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at += zeros.length) {
    const end = Math.min(at + zeros.length, bytes.length)
    if (bytes.compare(zeros, 0, end - at, at, end) !== 0) return false
  }
  return true
}
