import { setTimeout as sleep } from 'node:timers/promises'

export interface WaitOptions {
  /** What is awaited, for the error. */
  readonly what: string
  readonly timeoutMs: number
  readonly intervalMs?: number
  readonly signal?: AbortSignal
}

/** Asks until the answer is neither undefined nor false; an error of the question counts as "not yet". */
export async function waitFor<T>(
  { what, timeoutMs, intervalMs = 200, signal }: WaitOptions,
  question: () => Promise<T | undefined | false>,
): Promise<T> {
  const deadlineMs = performance.now() + timeoutMs
  let last: unknown
  for (;;) {
    try {
      const answer = await question()
      if (answer !== undefined && answer !== false) return answer
    } catch (error) {
      last = error
    }
    if (performance.now() > deadlineMs) {
      throw new Error(`timed out after ${Math.round(timeoutMs / 1000)} s waiting for ${what}`, { cause: last })
    }
    await sleep(intervalMs, undefined, { signal })
  }
}
