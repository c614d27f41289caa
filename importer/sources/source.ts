/**
 * Where bytes come from. A source is opened once (length, validator, final URL are then fixed) and can be read either by
 * ranges, any number at once, or forward only. Retrying, resuming and watching for stalls is done inside of `stream` by
 * the decorators (resumable.ts, watchdog.ts), so that a reader sees either all bytes or one final CdiError.
 */

/** A half-open piece of a source: `offset` and `length` in bytes. */
export interface ByteRange {
  readonly offset: number
  readonly length: number
}

/**
 * Receives a stream's buffers in order. A buffer is lent: it must not be changed, and it holds what it holds only until
 * the sink returns, or until the promise settles that it returned. Whoever wants to keep it copies it. (Giving buffers
 * away costs more than a copy of what is kept: fresh memory for every read is page faults, cold caches and work for the
 * garbage collector; measured twice the CPU time of a whole import.)
 *
 * A returned promise holds the source back until it settles; a rejection stops the stream with that error.
 */
export type Sink = (chunk: Buffer) => void | Promise<void>

interface SourceFacts {
  /** The source as it may be shown to people: no credentials. */
  readonly name: string
  /** MIME type that the server told, if any. */
  readonly contentType?: string
  /** Names this version of the source (strong ETag, generation, …); absent if the other side offers none. */
  readonly validator?: string
  /** Labels that the source wants on the volume (containers: from the image's environment; contract: import §11). */
  readonly labels?: Readonly<Record<string, string>>
}

/** A source that can be read anywhere, in parallel. */
export interface RangedSource extends SourceFacts, AsyncDisposable {
  readonly kind: 'ranged'
  readonly sizeBytes: number
  /** True when a strong validator (ETag, generation, …) guards every read: pieces then belong to one version. */
  readonly pinned: boolean
  /** How many streams at once the other side is good for. */
  readonly parallel: number
  /** Streams exactly `range` to the sink. Resolves after the last byte was taken; throws CdiError otherwise. */
  stream(range: ByteRange, sink: Sink, signal: AbortSignal): Promise<void>
}

/** A source that can be read once, from front to end. */
export interface ForwardSource extends SourceFacts, AsyncDisposable {
  readonly kind: 'forward'
  /** Length if it was announced; a stream of another length is then an error. */
  readonly sizeBytes?: number
  /**
   * The first bytes, without consuming them: at least 192 KiB or `leastBytes`, unless the source is shorter. They may be
   * kept, and are kept in memory until the stream is read.
   */
  peek(signal: AbortSignal, leastBytes?: number): Promise<Buffer>
  /** Streams everything to the sink, once. Resolves at the verified end. */
  stream(sink: Sink, signal: AbortSignal): Promise<void>
}

export type Source = RangedSource | ForwardSource

/** Reads one piece into a buffer of exactly `range.length` bytes. */
export async function readRange(source: RangedSource, range: ByteRange, signal: AbortSignal): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(range.length)
  let filled = 0
  await source.stream(
    range,
    (chunk) => {
      chunk.copy(whole, filled)
      filled += chunk.length
    },
    signal,
  )
  return whole
}
