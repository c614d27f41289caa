/**
 * xz by lzma-native (liblzma 5.2 in the process, one thread): works where no `xz` program is installed, and for looking
 * at a few bytes without starting one.
 *
 * The library hands out everything that a write decodes to at once, whatever the reader says, and xz packs zeros 7000:1.
 * So input goes in small slices, and the next one only after the sink has taken what came of the last: at most
 * `sliceBytes` × 7000 = 14 MiB are ever waiting.
 */
import lzma from 'lzma-native'
import { CdiError } from '../../src/errors.ts'
import type { Sink } from '../sources/source.ts'
import type { Decoder, Decoding } from './decoder.ts'

const mib = 1024 * 1024
const sliceBytes = 1024
const outputChunkBytes = 256 * 1024
/** Dictionaries of up to 128 MiB, as for the program and for zstd. */
const memoryBytes = 136 * mib

export const xzNativeDecoder: Decoder = {
  encoding: 'xz',
  name: 'lzma-native',
  start: (sink, signal) => new XzNative(sink, signal),
}

class XzNative implements Decoding {
  readonly #engine: lzma.JSLzmaStream
  readonly #sink: Sink
  readonly #signal: AbortSignal
  readonly #stop: () => void
  readonly #output: Buffer[] = []
  /** Rejects with the first error; never resolves before `end`. */
  readonly #failed = Promise.withResolvers<never>()
  readonly #ended = Promise.withResolvers<void>()
  #failure: { readonly error: unknown } | undefined
  #fedBytes = 0

  constructor(sink: Sink, signal: AbortSignal) {
    this.#sink = sink
    this.#signal = signal
    this.#failed.promise.catch(() => {})
    this.#engine = lzma.createStream('streamDecoder', { memlimit: memoryBytes, bufsize: outputChunkBytes })
    this.#engine.on('data', (chunk: Buffer) => {
      this.#output.push(chunk)
    })
    this.#engine.once('end', () => this.#ended.resolve())
    this.#engine.on('error', (error: Error) => this.#fail(explainLzmaError(error)))
    this.#stop = () => this.#fail(signal.reason)
    signal.addEventListener('abort', this.#stop, { once: true })
    if (signal.aborted) this.#stop()
  }

  async write(chunk: Buffer): Promise<void> {
    this.#throwIfFailed()
    this.#fedBytes += chunk.length
    for (let at = 0; at < chunk.length; at += sliceBytes) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#engine.write(chunk.subarray(at, at + sliceBytes), () => resolve())
      await Promise.race([promise, this.#failed.promise])
      await this.#handOut()
    }
  }

  async end(): Promise<void> {
    this.#throwIfFailed()
    if (this.#fedBytes === 0) this.#fail(new CdiError('CDI_DECODE_TRUNCATED', 'the xz data is empty'))
    this.#throwIfFailed()
    this.#engine.end()
    await Promise.race([this.#ended.promise, this.#failed.promise])
    await this.#handOut()
    this.#release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#release()
    return Promise.resolve()
  }

  async #handOut(): Promise<void> {
    this.#throwIfFailed()
    for (let chunk = this.#output.shift(); chunk; chunk = this.#output.shift()) {
      try {
        await Promise.race([this.#sink(chunk), this.#failed.promise])
      } catch (error) {
        this.#fail(error)
      }
      this.#throwIfFailed()
    }
  }

  #fail(error: unknown): void {
    if (this.#failure) return
    this.#failure = { error }
    this.#failed.reject(error)
    this.#release()
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  #release(): void {
    this.#signal.removeEventListener('abort', this.#stop)
    this.#output.length = 0
    this.#engine.destroy()
  }
}

/** Makes a CdiError of an error of lzma-native. */
export function explainLzmaError(error: Error): CdiError {
  // The library names its errors by liblzma's return codes.
  switch (error.name) {
    case 'LZMA_BUF_ERROR':
      return new CdiError('CDI_DECODE_TRUNCATED', 'the xz data ends in the middle (unexpected EOF)', { cause: error })
    case 'LZMA_MEMLIMIT_ERROR':
    case 'LZMA_MEM_ERROR':
      return new CdiError('CDI_DECODE_WINDOW', `the xz data needs more than ${memoryBytes / mib} MiB to unpack`, {
        cause: error,
      })
    default:
      return new CdiError('CDI_DECODE_CORRUPT', `the xz data is damaged: ${error.message}`, { cause: error })
  }
}
