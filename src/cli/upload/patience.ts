/**
 * How long trouble is suffered: any progress resets it, so that an upload over a bad network takes as long as it takes,
 * and one that moves no byte at all ends with an explanation.
 */
import { backoffMs } from '../../kube/backoff.ts'
import type { Clock } from '../../kube/clock.ts'

export interface PatienceOptions {
  readonly clock: Clock
  readonly random?: () => number
  /** Without a byte for so long it is over. */
  readonly budgetMs?: number
}

export class Patience {
  readonly #clock: Clock
  readonly #random: () => number
  readonly #budgetMs: number
  #failures = 0
  #sinceMs: number | undefined

  constructor({ clock, random = Math.random, budgetMs = 10 * 60_000 }: PatienceOptions) {
    this.#clock = clock
    this.#random = random
    this.#budgetMs = budgetMs
  }

  /** Bytes got through: trouble that comes now is a new one. */
  progressed(): void {
    this.#failures = 0
    this.#sinceMs = undefined
  }

  /**
   * Trouble: how long to wait before the next try, undefined when the budget is used up.
   * @param leastMs what the server asked for (`Retry-After`)
   */
  failed(leastMs = 0): number | undefined {
    const now = this.#clock.monotonicMs()
    this.#sinceMs ??= now
    if (now - this.#sinceMs >= this.#budgetMs) return undefined
    const waitMs = backoffMs(this.#failures, { baseMs: 200, maxMs: 10_000, random: this.#random })
    this.#failures += 1
    return Math.max(waitMs, Math.min(leastMs, 60_000))
  }

  /** Since when nothing works, in milliseconds; 0 while all is well. */
  get troubledMs(): number {
    return this.#sinceMs === undefined ? 0 : this.#clock.monotonicMs() - this.#sinceMs
  }
}
