/**
 * Bounds the bytes that are written but not yet on the storage. Without it, slow storage behind a fast network fills the
 * page cache, which counts as memory of the pod: the worker is killed. One flush runs while writing goes on; who wants
 * to write more than another window waits for it, so at most two windows are dirty.
 */
export class DirtyWindow {
  readonly #limitBytes: number
  readonly #flush: () => Promise<void>
  #dirtyBytes = 0
  #running: Promise<void> | undefined
  #fault: { readonly error: unknown } | undefined

  constructor({ limitBytes, flush }: { limitBytes: number; flush: () => Promise<void> }) {
    this.#limitBytes = limitBytes
    this.#flush = flush
  }

  /** To be called before so many bytes are written. Throws what a flush threw, that of an earlier call too. */
  async admit(bytes: number): Promise<void> {
    this.#throwFault()
    // Another one may have filled the window again while this one waited.
    while (this.#dirtyBytes >= this.#limitBytes) {
      if (this.#running === undefined) this.#start()
      else await this.#running
      this.#throwFault()
    }
    this.#dirtyBytes += bytes
  }

  /** Waits for a flush that is under way. Throws what a flush threw. */
  async settle(): Promise<void> {
    await this.#running
    this.#throwFault()
  }

  /**
   * Flushes what was written until now. Throws what this flush or an earlier one threw: storage reports what it has lost
   * once only (fsync(2)), and a flush after that one succeeds without bringing it back.
   */
  async flush(): Promise<void> {
    await this.settle()
    try {
      await this.#flush()
    } catch (error) {
      this.#fault ??= { error }
    }
    // One that was begun beside it may have been told instead.
    await this.settle()
  }

  #start(): void {
    this.#dirtyBytes = 0
    this.#running = Promise.try(this.#flush)
      .catch((error: unknown) => {
        this.#fault ??= { error }
      })
      .finally(() => {
        this.#running = undefined
      })
  }

  #throwFault(): void {
    if (this.#fault !== undefined) throw this.#fault.error
  }
}
