/**
 * One request while its body is read: what aborts it, and for how long its client has been silent. Only the client's
 * silence counts: while we hold it back (slow storage), the clock stands.
 */
import { CdiError } from '../../src/errors.ts'
import { untilAborted } from '../sources/until-aborted.ts'
import { IdleWatchdog } from '../sources/watchdog.ts'

export class Reading implements Disposable {
  readonly #stop = new AbortController()
  readonly #watchdog: IdleWatchdog

  /** `idleMs`: a body that brings nothing for so many milliseconds ends with CDI_SOURCE_STALLED. */
  constructor({ idleMs }: { idleMs: number }) {
    this.#watchdog = new IdleWatchdog({
      limitMs: idleMs,
      onIdle: () => this.abort(new CdiError('CDI_SOURCE_STALLED', `the client sent nothing for ${idleMs / 1000} s`)),
    })
    this.#watchdog.start()
    // Until a body is read the silence is ours.
    this.#watchdog.hold()
  }

  /** Aborted when the request must not be read any further: the upload was dropped, or its client is silent. */
  get signal(): AbortSignal {
    return this.#stop.signal
  }

  /** For how long nothing has come, in milliseconds. */
  get silentMs(): number {
    return this.#watchdog.silentMs
  }

  abort(reason: CdiError): void {
    this.#stop.abort(reason)
  }

  /** The body, watched. Throws the body's errors and the signal's reason; an end that comes too early is the body's to tell. */
  async *body(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
    const chunks = body[Symbol.asyncIterator]()
    try {
      for (;;) {
        this.#watchdog.release()
        const next = await untilAborted(chunks.next(), this.signal)
        this.#watchdog.hold()
        if (next.done === true) return
        yield next.value
      }
    } finally {
      this.#watchdog.hold()
      // Not waited for: a generator that stands at a read returns only after it.
      void Promise.resolve(chunks.return?.()).catch(() => {})
    }
  }

  [Symbol.dispose](): void {
    this.#watchdog.stop()
  }
}
