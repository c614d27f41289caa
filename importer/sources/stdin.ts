/** Standard input, or any other Node stream, as a source that is read once from front to end. */
import type { Readable } from 'node:stream'
import { CdiError } from '../../src/errors.ts'
import { Peekable } from './peekable.ts'
import type { Produce } from './peekable.ts'
import type { ForwardSource } from './source.ts'

/** Opens a stream; `name` is what people call it. The stream is destroyed with the source. */
export function openStream({ stream, name }: { stream: Readable; name: string }): ForwardSource {
  const peekable = new Peekable(readingOf(stream, name))
  return {
    kind: 'forward',
    name,
    peek: (signal, leastBytes) => peekable.peek(signal, leastBytes),
    stream: (sink, signal) => peekable.stream(sink, signal),
    async [Symbol.asyncDispose]() {
      await peekable[Symbol.asyncDispose]()
      stream.destroy()
    },
  }
}

function readingOf(stream: Readable, name: string): Produce {
  return async (sink, signal) => {
    const onAbort = (): void => {
      stream.destroy(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    }
    signal.addEventListener('abort', onAbort)
    let sinkFault: { readonly error: unknown } | undefined
    try {
      for await (const chunk of stream) {
        try {
          await sink(Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk))
        } catch (error) {
          sinkFault = { error }
          throw error
        }
      }
      signal.throwIfAborted()
    } catch (error) {
      if (sinkFault !== undefined) throw sinkFault.error
      signal.throwIfAborted()
      const text = error instanceof Error ? error.message : String(error)
      throw new CdiError('CDI_SOURCE_INTERRUPTED', `cannot read ${name}: ${text}`, { cause: error })
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }
}
