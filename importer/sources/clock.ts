/** Time as the sources see it, passed in so that tests do not wait. */
import { setTimeout as delay } from 'node:timers/promises'

export interface Clock {
  /** Milliseconds since some fixed moment, never going back. */
  now(): number
  /** Resolves after `ms` milliseconds; rejects with the signal's reason when it is aborted. */
  sleep(ms: number, signal: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => performance.now(),
  async sleep(ms, signal) {
    try {
      await delay(ms, undefined, { signal })
    } catch (error) {
      signal.throwIfAborted()
      throw error
    }
  },
}
