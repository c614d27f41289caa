/** Counts what is taken from a source, for progress and rates. */
import type { Sink, Source } from './source.ts'

function counting(sink: Sink, onBytes: (bytes: number) => void): Sink {
  return (chunk) => {
    onBytes(chunk.length)
    return sink(chunk)
  }
}

/**
 * The same source; `onBytes` hears of every buffer that a stream hands out. Ranges that are read twice count twice;
 * peeking does not count. Disposing of it disposes of the source.
 */
export function counted<S extends Source>(source: S, onBytes: (bytes: number) => void): S
export function counted(source: Source, onBytes: (bytes: number) => void): Source {
  const facts = {
    name: source.name,
    ...(source.contentType === undefined ? {} : { contentType: source.contentType }),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  }
  if (source.kind === 'ranged') {
    return {
      ...facts,
      kind: 'ranged',
      sizeBytes: source.sizeBytes,
      pinned: source.pinned,
      parallel: source.parallel,
      stream: (range, sink, signal) => source.stream(range, counting(sink, onBytes), signal),
    }
  }
  return {
    ...facts,
    kind: 'forward',
    ...(source.sizeBytes === undefined ? {} : { sizeBytes: source.sizeBytes }),
    peek: (signal, leastBytes) => source.peek(signal, leastBytes),
    stream: (sink, signal) => source.stream(counting(sink, onBytes), signal),
  }
}
