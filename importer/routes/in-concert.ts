/** Works that stand or fall together. */

export interface Concert {
  /** Aborted with the first failure's reason, or with the caller's. */
  readonly signal: AbortSignal
  /** Runs works until all have ended. Throws the reason of the caller's signal, or the first failure. */
  readonly run: (works: readonly (() => Promise<void>)[]) => Promise<void>
}

export function inConcert(signal: AbortSignal): Concert {
  const failed = new AbortController()
  return {
    signal: AbortSignal.any([signal, failed.signal]),
    run: async (works) => {
      await Promise.all(
        works.map(async (work) => {
          try {
            await work()
          } catch (error) {
            // The first one tells what happened, the others only that they were stopped.
            failed.abort(error)
          }
        }),
      )
      signal.throwIfAborted()
      if (failed.signal.aborted) throw failed.signal.reason
    },
  }
}
