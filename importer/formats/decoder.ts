/**
 * Decoders take compressed buffers and hand out plain ones, in order, with back-pressure and bounded memory. They are
 * strict: a stream that is cut, damaged or followed by foreign bytes is an error, never a short disk.
 */
import type { Sink } from '../sources/source.ts'

export type Encoding = 'gzip' | 'xz' | 'zstd'

/** One running decoder. Not reusable. */
export interface Decoding extends AsyncDisposable {
  /** Feeds compressed bytes, which are lent until it settles; resolves when the next may come. Throws CDI_DECODE_*. */
  write(chunk: Buffer): Promise<void>
  /** Says that no more will come; resolves when every plain byte was taken by the sink and the trailer was verified. */
  end(): Promise<void>
}

export interface Decoder {
  readonly encoding: Encoding
  readonly name: string
  /** Starts decoding towards `sink`, to which plain buffers are lent as by a source. An abort of `signal` frees child processes and memory. */
  start(sink: Sink, signal: AbortSignal): Decoding
}
