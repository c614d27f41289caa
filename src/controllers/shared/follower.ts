/**
 * Asks pods, each on its own, again and again, and lets a key come up when the answer about it is another one: whoever does
 * not answer delays nobody. What is asked, and how often, is the business of whoever extends it.
 */
import type { Clock } from '../../kube/clock.ts'
import type { Watch } from '../../kube/controller.ts'
import { formatKey } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'

export interface FollowerOptions<Target, Answer> {
  readonly clock: Clock
  /** Whether both mean the same pod, which is then asked on. */
  readonly isSame: (one: Target, other: Target) => boolean
  /** Asks once; undefined is no answer. Rejects if the pod does not answer. */
  readonly ask: (target: Target, signal: AbortSignal) => Promise<Answer | undefined>
  /** Told of a pod that did not answer; `key` is for the log. */
  readonly onSilence: (key: string, error: unknown) => void
  /** Milliseconds before the first question, between two of them, and for an answer. */
  readonly firstMs: number
  readonly intervalMs: number
  readonly timeoutMs: number
}

interface Followed<Target, Answer> {
  readonly target: Target
  readonly stop: AbortController
  /** Undefined while there was none. */
  answer: Answer | undefined
}

export class Follower<Target, Answer extends string | number | null> implements Watch {
  readonly synced = Promise.resolve()
  readonly #options: FollowerOptions<Target, Answer>
  readonly #followed = new Map<string, Followed<Target, Answer>>()
  #enqueue: ((key: ObjectKey) => void) | undefined

  constructor(options: FollowerOptions<Target, Answer>) {
    this.#options = options
  }

  subscribe(enqueue: (key: ObjectKey) => void): () => void {
    this.#enqueue = enqueue
    return () => {
      this.#enqueue = undefined
      for (const { stop } of this.#followed.values()) stop.abort()
      this.#followed.clear()
    }
  }

  /** Asks a pod from now on; with undefined, nobody. Calling it again for the same pod changes nothing. */
  follow(key: ObjectKey, target: Target | undefined): void {
    const name = formatKey(key)
    const present = this.#followed.get(name)
    if (present && target && this.#options.isSame(present.target, target)) return
    present?.stop.abort()
    this.#followed.delete(name)
    if (!target || !this.#enqueue) return
    const followed = { target, stop: new AbortController(), answer: undefined }
    this.#followed.set(name, followed)
    void this.#askAgain(key, followed)
  }

  /** Who is asked for a key, and what came last. */
  protected followed(key: ObjectKey): Readonly<Pick<Followed<Target, Answer>, 'target' | 'answer'>> | undefined {
    return this.#followed.get(formatKey(key))
  }

  async #askAgain(key: ObjectKey, followed: Followed<Target, Answer>): Promise<void> {
    const { clock, ask, onSilence, firstMs, intervalMs, timeoutMs } = this.#options
    const { signal } = followed.stop
    for (let waitMs = firstMs; ; waitMs = intervalMs) {
      try {
        await clock.sleep(waitMs, signal)
        const answer = await ask(followed.target, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
        if (signal.aborted) return
        if (answer !== undefined && answer !== followed.answer) {
          followed.answer = answer
          this.#enqueue?.(key)
        }
      } catch (error) {
        if (signal.aborted) return
        onSilence(formatKey(key), error)
      }
    }
  }
}
