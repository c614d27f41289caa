/**
 * How long a cloner goes on trying: as long as anything gets through it never gives up; after a while without any progress
 * it ends with the reason, and its container is started again. Pauses double, with chance in them so that many cloners
 * do not come at once.
 */
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Clock } from '../sources/clock.ts'
import { Setback } from './target.ts'

export interface PatienceOptions {
  readonly log: Log
  readonly clock: Clock
  /** Between 0 and 1. */
  readonly random: () => number
  /** {@link defaultLimits} unless told. */
  readonly limits?: PatienceLimits
}

export interface PatienceLimits {
  readonly firstPauseMs: number
  readonly longestPauseMs: number
  /** Without progress. */
  readonly giveUpMs: number
  /** Sections that arrived damaged; more are no accident. */
  readonly mostDamages: number
}

export const defaultLimits: PatienceLimits = {
  firstPauseMs: 200,
  longestPauseMs: 15_000,
  giveUpMs: 5 * 60_000,
  mostDamages: 8,
}

export class Patience {
  readonly #log: Log
  readonly #clock: Clock
  readonly #random: () => number
  readonly #limits: PatienceLimits
  #pauseMs: number
  #lastProgressMs: number
  #damages = 0

  constructor({ log, clock, random, limits = defaultLimits }: PatienceOptions) {
    this.#log = log
    this.#clock = clock
    this.#random = random
    this.#limits = limits
    this.#pauseMs = limits.firstPauseMs
    this.#lastProgressMs = clock.now()
  }

  /** Something got through. */
  progressed(): void {
    this.#lastProgressMs = this.#clock.now()
    this.#pauseMs = this.#limits.firstPauseMs
  }

  /** Pauses if another try may heal what was thrown; else throws what is to be told of it. */
  async after(thrown: unknown, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (!(thrown instanceof Setback)) throw thrown
    if (thrown.isDamage) this.#assertFewDamages(thrown)
    if (this.#clock.now() - this.#lastProgressMs >= this.#limits.giveUpMs) {
      const seconds = Math.round(this.#limits.giveUpMs / 1000)
      throw new CdiError(
        'CDI_CLONE_UNREACHABLE',
        `the target of the clone was not to be reached for ${seconds} s: ${thrown.message}`,
        { cause: thrown },
      )
    }
    const pauseMs = this.#pauseMs * (0.5 + this.#random())
    this.#pauseMs = Math.min(this.#pauseMs * 2, this.#limits.longestPauseMs)
    this.#log.warn({ err: thrown, pauseMs: Math.round(pauseMs) }, 'setback, trying again')
    await this.#clock.sleep(pauseMs, signal)
  }

  #assertFewDamages(thrown: Setback): void {
    this.#damages += 1
    if (this.#damages <= this.#limits.mostDamages) return
    throw new CdiError('CDI_CHECKSUM_MISMATCH', `the clone is damaged on its way again and again: ${thrown.message}`, {
      cause: thrown,
    })
  }
}
