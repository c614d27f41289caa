/**
 * Notices that nothing arrives any more. There is no limit on the whole of a transfer, only on silence, and silence
 * counts only while we listen: as long as the reader itself holds the stream back (slow storage), the watchdog sleeps.
 */
export class IdleWatchdog implements Disposable {
  readonly #limitMs: number
  readonly #onIdle: () => void
  #timer: NodeJS.Timeout | undefined
  #lastMs = 0
  #held = false

  /** `onIdle` is called once per start, after `limitMs` milliseconds without a {@link touch}. */
  constructor({ limitMs, onIdle }: { limitMs: number; onIdle: () => void }) {
    this.#limitMs = limitMs
    this.#onIdle = onIdle
  }

  /** Begins to watch. */
  start(): void {
    this.stop()
    this.#held = false
    this.#lastMs = performance.now()
    this.#arm(this.#limitMs)
  }

  /** Something arrived. Cheap: called for every buffer, so it moves no timer. */
  touch(): void {
    this.#lastMs = performance.now()
  }

  /** The silence is of our own making until {@link release}. */
  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    this.#lastMs = performance.now()
  }

  /** For how long nothing has come, in milliseconds; none while held. */
  get silentMs(): number {
    return this.#held ? 0 : performance.now() - this.#lastMs
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(() => this.#check(), ms)
  }

  #check(): void {
    const { silentMs } = this
    // Node rounds timers to milliseconds, so one may fire a fraction early.
    if (silentMs >= this.#limitMs - 1) {
      this.#timer = undefined
      this.#onIdle()
    } else {
      this.#arm(Math.max(1, this.#limitMs - silentMs))
    }
  }
}
