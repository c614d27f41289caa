/** One holder at a time for each key; the next in line goes on when the one before ends, well or badly. */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>()

  async run<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#tails.get(key) ?? Promise.resolve()
    const { promise: done, resolve } = Promise.withResolvers<void>()
    const tail = before.then(() => done)
    this.#tails.set(key, tail)
    await before
    try {
      return await work()
    } finally {
      resolve()
      if (this.#tails.get(key) === tail) this.#tails.delete(key)
    }
  }
}
