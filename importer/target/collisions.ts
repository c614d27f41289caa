/**
 * Keeps direct writes and writes through the page cache apart where they come near each other. The kernel takes the pages
 * of a direct write out of the cache, before and afterwards; if one of them was made dirty in between, it gives up: stale
 * bytes stay in the cache, and the next fsync fails with EIO ("Page cache invalidation failure on direct I/O"). Since
 * Linux 6 the page is a folio of up to 2 MiB, so that it is enough to write to the neighbourhood.
 */

/** The largest folio; folios begin at multiples of their size. */
const folioBytes = 2 * 1024 * 1024

type Way = 'direct' | 'cached'

interface Write {
  readonly way: Way
  readonly start: number
  readonly end: number
  readonly done: Promise<void>
}

export class Collisions {
  readonly #writes = new Set<Write>()

  /** Runs a write when nothing of the other way is under way near it. Throws what it throws. */
  async avoid<T>(
    { way, offset, length }: { way: Way; offset: number; length: number },
    work: () => Promise<T>,
  ): Promise<T> {
    const start = Math.floor(offset / folioBytes) * folioBytes
    const end = Math.ceil((offset + length) / folioBytes) * folioBytes
    for (;;) {
      const other = [...this.#writes].find((write) => write.way !== way && write.start < end && write.end > start)
      if (other === undefined) break
      await other.done
    }
    const done = Promise.withResolvers<void>()
    const write = { way, start, end, done: done.promise }
    this.#writes.add(write)
    try {
      return await work()
    } finally {
      this.#writes.delete(write)
      done.resolve()
    }
  }
}
