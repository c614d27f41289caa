/** Lets a stream that can be read once be looked at first: what was peeked is kept and handed out before the rest. */
import { CdiError } from '../../src/errors.ts'
import type { Sink } from './source.ts'

/** Pushes everything to the sink, once; waits while the sink's promise is pending. */
export type Produce = (sink: Sink, signal: AbortSignal) => Promise<void>

/**
 * How much {@link Peekable.peek} gathers unless the stream is shorter. A zstd block of up to 128 KiB comes out whole or
 * not at all, so less could leave whoever looks through the encodings blind.
 */
export const peekBytes = 192 * 1024

export class Peekable implements AsyncDisposable {
  readonly #produce: Produce
  readonly #stop = new AbortController()
  /** Enough was gathered for a peek, or there is no more. */
  #gathered = Promise.withResolvers<void>()
  /** Holds the producer between a peek and the next one or the stream. */
  #gate = Promise.withResolvers<void>()
  #running: Promise<void> | undefined
  #failed: { readonly error: unknown } | undefined
  #kept: Buffer[] = []
  #keptBytes = 0
  #wantedBytes = peekBytes
  #ended = false
  #consumer: Sink | undefined
  #streamed = false

  constructor(produce: Produce) {
    this.#produce = produce
  }

  /** The first bytes, at least `leastBytes` unless there are fewer; more of them each time. Throws what the producer throws. */
  async peek(signal: AbortSignal, leastBytes = peekBytes): Promise<Buffer> {
    if (this.#streamed) throw new CdiError('CDI_INTERNAL', 'a stream cannot be peeked after it was read')
    this.#want(leastBytes)
    await this.#linked(signal, () => {
      void this.#start()
      return this.#gathered.promise
    })
    if (this.#failed !== undefined) throw this.#failed.error
    return Buffer.concat(this.#kept)
  }

  /** Hands everything to the sink. Throws what the producer or the sink throws. */
  async stream(sink: Sink, signal: AbortSignal): Promise<void> {
    if (this.#streamed) throw new CdiError('CDI_INTERNAL', 'a stream can be read only once')
    this.#streamed = true
    await this.#linked(signal, async () => {
      const running = this.#start()
      try {
        for (let chunk = this.#kept.shift(); chunk !== undefined; chunk = this.#kept.shift()) await sink(chunk)
      } catch (error) {
        this.#stop.abort(error)
        throw error
      }
      this.#consumer = sink
      this.#gate.resolve()
      await running
    })
  }

  /** Stops the producer; whoever reads gets CDI_ABORTED. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new CdiError('CDI_ABORTED', 'the source was closed'))
    this.#gate.reject(this.#stop.signal.reason)
    this.#gate.promise.catch(() => {})
    await this.#running?.catch(() => {})
    this.#kept = []
  }

  #start(): Promise<void> {
    if (this.#running === undefined) {
      this.#running = this.#produce((chunk) => this.#take(chunk), this.#stop.signal)
      this.#running
        .catch((error: unknown) => {
          this.#failed = { error }
        })
        .finally(() => {
          this.#ended = true
          this.#gathered.resolve()
        })
    }
    return this.#running
  }

  #take(chunk: Buffer): void | Promise<void> {
    if (this.#consumer !== undefined) return this.#consumer(chunk)
    // A copy, since the producer only lends.
    this.#kept.push(Buffer.from(chunk))
    this.#keptBytes += chunk.length
    if (this.#keptBytes < this.#wantedBytes) return undefined
    this.#gathered.resolve()
    return this.#gate.promise
  }

  #want(bytes: number): void {
    if (bytes <= this.#wantedBytes) return
    this.#wantedBytes = bytes
    if (this.#keptBytes >= bytes || this.#ended) return
    const gate = this.#gate
    this.#gate = Promise.withResolvers()
    this.#gathered = Promise.withResolvers()
    gate.resolve()
  }

  async #linked<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    signal.throwIfAborted()
    const aborted = Promise.withResolvers<never>()
    const onAbort = (): void => {
      this.#stop.abort(signal.reason)
      aborted.reject(signal.reason)
    }
    signal.addEventListener('abort', onAbort)
    try {
      return await Promise.race([work(), aborted.promise])
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}
