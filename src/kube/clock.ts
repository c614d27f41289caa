/**
 * Time as a dependency: everything in the control plane that waits or looks at the clock is given one of these, so that
 * tests decide how time passes.
 */
import { performance } from 'node:perf_hooks'

export interface Clock {
  /** Wall time in milliseconds since 1970, for timestamps that others read. */
  now(): number
  /** Milliseconds since an arbitrary moment; never jumps back, for measuring durations. */
  monotonicMs(): number
  /** Calls `run` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, run: () => void): () => void
  /** Resolves after `delayMs`; rejects with the reason of `signal` when that is aborted before. */
  sleep(delayMs: number, signal?: AbortSignal): Promise<void>
}

function sleepOn(clock: Pick<Clock, 'after'>, delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  if (signal?.aborted) {
    reject(signal.reason)
    return promise
  }
  const onAbort = (): void => {
    cancel()
    reject(signal?.reason)
  }
  const cancel = clock.after(delayMs, () => {
    signal?.removeEventListener('abort', onAbort)
    resolve()
  })
  signal?.addEventListener('abort', onAbort, { once: true })
  return promise
}

/** Node answers a longer timeout with one of 1 ms. */
const longestTimerMs = 2 ** 31 - 1

/** The clock of the machine. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const timer = setTimeout(run, Math.min(delayMs, longestTimerMs))
    return () => clearTimeout(timer)
  },
  sleep: (delayMs, signal) => sleepOn(systemClock, delayMs, signal),
}

interface TestTimer {
  readonly dueMs: number
  readonly run: () => void
}

/** A clock that stands still until it is told to go on. Timers run in the order in which they are due. */
export class TestClock implements Clock {
  #elapsedMs = 0
  readonly #startMs: number
  readonly #timers = new Set<TestTimer>()

  constructor(start: string = '2026-01-01T00:00:00Z') {
    this.#startMs = Date.parse(start)
  }

  now(): number {
    return this.#startMs + this.#elapsedMs
  }

  monotonicMs(): number {
    return this.#elapsedMs
  }

  after(delayMs: number, run: () => void): () => void {
    const timer = { dueMs: this.#elapsedMs + Math.max(delayMs, 0), run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
    return sleepOn(this, delayMs, signal)
  }

  /** How many timers are waiting. */
  get pending(): number {
    return this.#timers.size
  }

  /** Lets `durationMs` pass; what the timers set off (promises, new timers) has run when this resolves. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#elapsedMs + durationMs
    await settle()
    for (;;) {
      let next: TestTimer | undefined
      for (const timer of this.#timers) {
        if (timer.dueMs <= untilMs && (next === undefined || timer.dueMs < next.dueMs)) next = timer
      }
      if (next === undefined) break
      this.#timers.delete(next)
      this.#elapsedMs = Math.max(this.#elapsedMs, next.dueMs)
      next.run()
      await settle()
    }
    this.#elapsedMs = untilMs
  }
}

/** One turn of the event loop: every promise that can settle without I/O has. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** A moment as `metav1.Time` is written: RFC 3339, UTC, whole seconds. */
export function formatTime(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/\.\d+Z$/, 'Z')
}

/** A moment as `metav1.MicroTime` is written: exactly six decimals, which Kubernetes insists on. */
export function formatMicroTime(epochMs: number): string {
  return new Date(epochMs).toISOString().replace(/Z$/, '000Z')
}
