/** How long to wait before the next try. */

export interface BackoffOptions {
  readonly baseMs: number
  readonly maxMs: number
  /** Uniform in [0, 1). */
  readonly random?: () => number
}

/**
 * `base · 2^failures`, at most `max`, of which the upper half is random, so that many who failed together do not come back
 * together.
 * @param failures how often it failed before this time: 0 gives `base`
 */
export function backoffMs(failures: number, { baseMs, maxMs, random = Math.random }: BackoffOptions): number {
  const fullMs = Math.min(maxMs, baseMs * 2 ** Math.min(failures, 52))
  return fullMs / 2 + (fullMs / 2) * random()
}
