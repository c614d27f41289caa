/**
 * A source whose bytes are pushed, piece by piece, by whoever has them; the pipeline pulls from it as from any stream
 * that is read once. What is pushed is lent: it is taken when the promise settles, which is how back-pressure reaches
 * the socket that it came from.
 */
import { CdiError } from '../../src/errors.ts'
import { Peekable } from '../sources/peekable.ts'
import type { ForwardSource, Sink } from '../sources/source.ts'

export interface PushSourceOptions {
  /** For people. */
  readonly name: string
  /** Length, if it was announced; an end elsewhere is then an error. */
  readonly sizeBytes?: number
}

export class PushSource implements ForwardSource {
  readonly kind = 'forward'
  readonly name: string
  readonly sizeBytes?: number
  readonly #peekable: Peekable
  /** The sink of the pipeline, once it reads. */
  readonly #reader = Promise.withResolvers<Sink>()
  readonly #end = Promise.withResolvers<void>()
  #sink: Sink | undefined
  #pushed = 0
  #failed = false

  constructor({ name, sizeBytes }: PushSourceOptions) {
    this.name = name
    if (sizeBytes !== undefined) this.sizeBytes = sizeBytes
    // Whoever pushes learns of both from the pipeline's end.
    this.#end.promise.catch(() => {})
    this.#reader.promise.catch(() => {})
    this.#peekable = new Peekable(async (sink, signal) => {
      this.#sink = sink
      this.#reader.resolve(sink)
      const onAbort = (): void => this.fail(signal.reason)
      signal.addEventListener('abort', onAbort)
      try {
        if (signal.aborted) onAbort()
        await this.#end.promise
      } finally {
        signal.removeEventListener('abort', onAbort)
      }
    })
  }

  /** Bytes pushed so far. */
  get pushedBytes(): number {
    return this.#pushed
  }

  /**
   * Hands the next bytes to the pipeline; a promise is to be waited for before more is pushed. Never throws: what the
   * pipeline throws is its own end. Bytes beyond the announced length end it with CDI_SOURCE_CHANGED.
   */
  push(chunk: Buffer): void | Promise<void> {
    this.#pushed += chunk.length
    if (this.sizeBytes !== undefined && this.#pushed > this.sizeBytes) {
      this.fail(new CdiError('CDI_SOURCE_CHANGED', `${this.name} has more than the ${this.sizeBytes} bytes announced`))
      return undefined
    }
    if (this.#sink === undefined) return this.#reader.promise.then((sink) => this.#hand(sink, chunk)).catch(() => {})
    return this.#hand(this.#sink, chunk)
  }

  /** Nothing follows. An end before the announced length is CDI_SOURCE_TRUNCATED for the pipeline. */
  end(): void {
    if (this.sizeBytes !== undefined && this.#pushed < this.sizeBytes) {
      this.fail(
        new CdiError('CDI_SOURCE_TRUNCATED', `${this.name} ended after ${this.#pushed} of ${this.sizeBytes} bytes`),
      )
    }
    this.#end.resolve()
  }

  /** What is pushed goes nowhere any more: the pipeline is ending, with an error. */
  get isFailed(): boolean {
    return this.#failed
  }

  /** Ends the pipeline with that error. */
  fail(reason: unknown): void {
    this.#failed = true
    this.#end.reject(reason)
    this.#reader.reject(reason)
  }

  peek(signal: AbortSignal, leastBytes?: number): Promise<Buffer> {
    return this.#peekable.peek(signal, leastBytes)
  }

  stream(sink: Sink, signal: AbortSignal): Promise<void> {
    return this.#peekable.stream(sink, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#peekable[Symbol.asyncDispose]()
  }

  #hand(sink: Sink, chunk: Buffer): void | Promise<void> {
    try {
      return sink(chunk)?.catch((error: unknown) => this.fail(error))
    } catch (error) {
      this.fail(error)
      return undefined
    }
  }
}
