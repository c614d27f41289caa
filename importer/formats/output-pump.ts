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

export interface OutputPump {
  readonly output: Readable
  readonly sink: Sink
  /**
   * The stream makes memory of at least so many bytes for its buffers and shares it with nobody. It is then freed as soon
   * as the sink is done with it, instead of waiting for the garbage collector, and is there for the next buffer, still in
   * the processor's cache.
   */
  readonly ownedFromBytes: number
}

/** Resolves at the stream's end, after the sink took the last buffer; rejects with the stream's or the sink's error. */
export function pumpOutput({ output, sink, ownedFromBytes }: OutputPump): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const waiting: Buffer[] = []
  let state: 'idle' | 'scheduled' | 'busy' | 'failed' = 'idle'
  let ended = false
  /** Memory of the latest buffer; the stream may go on filling it. */
  let latest: ArrayBufferLike | undefined
  const fail = (error: unknown): void => {
    state = 'failed'
    output.off('data', take)
    waiting.length = 0
    reject(error)
  }
  function take(chunk: Buffer): void {
    waiting.push(chunk)
    if (state === 'busy') {
      output.pause()
    } else if (state === 'idle') {
      state = 'scheduled'
      // Not at once: the stream first starts on its next buffer, on another thread, and the sink works beside it.
      queueMicrotask(work)
    }
  }
  function work(): void {
    if (state === 'failed') return
    state = 'idle'
    for (let chunk = waiting.shift(); chunk !== undefined; chunk = waiting.shift()) {
      if (chunk.buffer !== latest) {
        if (latest !== undefined) free(latest, ownedFromBytes)
        latest = chunk.buffer
      }
      let taken: void | Promise<void>
      try {
        taken = sink(chunk)
      } catch (error) {
        fail(error)
        return
      }
      if (taken !== undefined) {
        state = 'busy'
        output.pause()
        void taken.then(work, fail)
        return
      }
    }
    if (ended) resolve()
    else output.resume()
  }
  output.on('data', take)
  output.once('error', fail)
  output.once('end', () => {
    ended = true
    if (state === 'idle') resolve()
  })
  output.once('close', () => {
    if (!ended) fail(new Error('the output was closed before its end'))
  })
  return promise
}

/** Detaching is the one way to give memory back at once. */
function free(memory: ArrayBufferLike, ownedFromBytes: number): void {
  if (memory instanceof ArrayBuffer && memory.byteLength >= ownedFromBytes) memory.transfer(0)
}
