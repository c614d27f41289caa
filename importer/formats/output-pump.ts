/**
 * Carries the output of a Node stream to a sink, one buffer at a time. Event driven rather than `for await`, which glues
 * the buffers that are waiting into one (a copy of everything) and costs a promise per buffer even when the sink answers
 * at once.
 *
 * A paused stream may start to flow again without being asked: Node resumes the output of a child when that exits, so
 * that its end is seen. What then comes while the sink is busy waits here; it is no more than the stream had buffered.
 */
import type { Readable } from 'node:stream'
import type { Sink } from '../sources/source.ts'

/** Resolves at the stream's end, after the sink took the last buffer; rejects with the stream's or the sink's error. */
export function pumpOutput(output: Readable, sink: Sink): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const waiting: Buffer[] = []
  let busy = false
  let ended = false
  const fail = (error: unknown): void => {
    output.off('data', take)
    waiting.length = 0
    reject(error)
  }
  function take(chunk: Buffer): void {
    if (busy) {
      waiting.push(chunk)
      output.pause()
      return
    }
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
    while (!busy && waiting.length > 0) take(waiting.shift()!)
    if (busy) return
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
