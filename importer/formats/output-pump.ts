/**
 * Carries the output of a Node stream to a sink, one buffer at a time and never ahead of it. Event driven rather than
 * `for await`, which glues the buffers that are waiting into one (a copy of everything) and costs a promise per buffer
 * even when the sink answers at once.
 */
import type { Readable } from 'node:stream'
import type { Sink } from '../sources/source.ts'

/** Resolves at the stream's end, after the sink took the last buffer; rejects with the stream's or the sink's error. */
export function pumpOutput(output: Readable, sink: Sink): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let busy = false
  let ended = false
  const fail = (error: unknown): void => {
    output.off('data', take)
    reject(error)
  }
  function take(chunk: Buffer): void {
    let taken: void | Promise<void>
    try {
      taken = sink(chunk)
    } catch (error) {
      fail(error)
      return
    }
    if (taken === undefined) return
    busy = true
    output.pause()
    void taken.then(proceed, fail)
  }
  function proceed(): void {
    busy = false
    if (ended) resolve()
    else output.resume()
  }
  output.on('data', take)
  output.once('error', fail)
  output.once('end', () => {
    ended = true
    if (!busy) resolve()
  })
  output.once('close', () => {
    if (!ended) fail(new Error('the output was closed before its end'))
  })
  return promise
}
