/**
 * Runs one of node:zlib's decompressors behind the push interface, and is stricter than it: the engine silently drops
 * what follows a zero byte behind the last gzip member, here everything behind the data must be zero (tape padding) or
 * it is an error.
 *
 * The engine works on a thread of libuv's pool and is one output buffer ahead of the sink, so that inflating and writing
 * overlap. Input is lent: a write resolves when the engine has consumed it.
 */
import type { Transform } from 'node:stream'
import { CdiError } from '../../src/errors.ts'
import type { Sink } from '../sources/source.ts'
import type { Decoding, Encoding } from './decoder.ts'
import { isZero } from '../target/data-runs.ts'
import { pumpOutput } from './output-pump.ts'

/** Buffers of this size leave the decoders: two of them are in use, which fits into a processor's cache. */
const outputChunkBytes = 256 * 1024

/** Options that every engine is made with. */
export const engineOptions = { chunkSize: outputChunkBytes, readableHighWaterMark: outputChunkBytes } as const

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
    if (this.#engineEnded) {
      this.#assertPadding(chunk)
      return
    }
    const { promise: consumed, resolve } = Promise.withResolvers<void>()
    this.#engine.write(chunk, () => resolve())
    // An engine that sees the end of the data in a chunk never says that it has consumed it.
    await Promise.race([consumed, this.#finished])
    this.#throwIfFailed()
    const left = this.#fedBytes + chunk.length - this.#engine.bytesWritten
    this.#fedBytes += chunk.length
    if (left > 0) this.#assertPadding(chunk.subarray(-left))
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
      await pumpOutput({ output: this.#engine, sink, ownedFromBytes: outputChunkBytes })
      this.#engineEnded = true
    } catch (error) {
      this.#fail(engineError !== undefined && error === engineError ? explain(engineError) : error)
    }
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
  }
}
