/** Lets only so many do something at once; the others wait, in order. */
import { untilAborted } from '../sources/until-aborted.ts'

export class Permits {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  /** Resolves when it is the caller's turn; it ends with the disposal. Throws the signal's reason. */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted()
    if (this.#free > 0) this.#free -= 1
    else {
      const turn = Promise.withResolvers<void>()
      this.#waiting.push(turn.resolve)
      try {
        await untilAborted(turn.promise, signal)
      } catch (error) {
        const index = this.#waiting.indexOf(turn.resolve)
        // It may have been given just now.
        if (index === -1) this.#give()
        else this.#waiting.splice(index, 1)
        throw error
      }
    }
    return {
      [Symbol.dispose]: () => this.#give(),
    }
  }

  #give(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free += 1
    else next()
  }
}
