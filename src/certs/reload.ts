/**
 * Files that change while a program runs: certificates that the kubelet mounts from Secrets. It swaps them by a symbolic
 * link, which file watchers miss or tell several times, so they are read every few seconds and compared by content.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Log } from '../log.ts'

export interface FollowOptions {
  readonly files: readonly string[]
  readonly log: Log
  /** How long between two looks; 3 s unless told. */
  readonly intervalMs?: number
  /** Told the texts, in the order of `files`, each time that they are others than before. */
  readonly onChange: (texts: readonly string[]) => void
  /**
   * Whether the texts fit together, e.g. `([cert, key]) => isKeyPair(cert, key)`; those that do not count as half a change
   * and are looked at again. All do unless told.
   */
  readonly isWhole?: (texts: readonly string[]) => boolean
  /** Ends the looking; before the first contents it makes the promise reject. */
  readonly signal: AbortSignal
}

const usualIntervalMs = 3_000

/**
 * Resolves with the first contents, as soon as all files can be read, and calls `onChange` with all later ones until the
 * signal. Files that are gone, or half of a change, never count: the last whole contents stay in force.
 */
export async function followFiles(options: FollowOptions): Promise<readonly string[]> {
  const { log, intervalMs = usualIntervalMs, signal } = options
  const followed = new Followed(options)
  for (;;) {
    signal.throwIfAborted()
    const texts = await followed.look()
    if (texts !== undefined) {
      void follow(followed, options).catch((error: unknown) => {
        if (!signal.aborted) log.error({ err: error, files: options.files }, 'files are no longer followed')
      })
      return texts
    }
    await delay(intervalMs, undefined, { signal })
  }
}

async function follow(followed: Followed, options: FollowOptions): Promise<void> {
  const { files, log, intervalMs = usualIntervalMs, onChange, signal } = options
  for (;;) {
    // Whoever serves with these files lives for other reasons than this timer.
    await delay(intervalMs, undefined, { signal, ref: false })
    const texts = await followed.look()
    if (texts === undefined || signal.aborted) continue
    log.info({ files }, 'files changed')
    try {
      onChange(texts)
    } catch (error) {
      log.error({ err: error, files }, 'changed files cannot be used')
    }
  }
}

/** Contents of files, and whether they were complained about. */
class Followed {
  readonly #options: FollowOptions
  #last: readonly string[] | undefined
  #complained = false

  constructor(options: FollowOptions) {
    this.#options = options
  }

  /** The contents, if they are whole and others than those returned before. */
  async look(): Promise<readonly string[] | undefined> {
    const { files, isWhole = () => true, log } = this.#options
    try {
      const texts = await this.#read()
      // Between the reads of two files all of them may have been swapped; what is read twice in a row was there at once.
      const again = await this.#read()
      if (!isSame(texts, again) || !isWhole(texts)) return undefined
      this.#complained = false
      if (this.#last !== undefined && isSame(texts, this.#last)) return undefined
      this.#last = texts
      return texts
    } catch (error) {
      if (!this.#complained) log.warn({ err: error, files }, 'files cannot be read, looking again')
      this.#complained = true
      return undefined
    }
  }

  #read(): Promise<readonly string[]> {
    return Promise.all(this.#options.files.map((file) => readFile(file, 'utf8')))
  }
}

function isSame(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, at) => text === other[at])
}
