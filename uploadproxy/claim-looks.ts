/**
 * Looks at claims for all requests together: who comes while somebody is asking the API server shares the answer, and so
 * do those who wait for the same claim. However many wait, a claim is asked for about once a second.
 */
import { annotations } from '../src/api/annotations.ts'
import { kinds } from '../src/api/kinds.ts'
import type { KubeClient } from '../src/kube/client.ts'
import type { Clock } from '../src/kube/clock.ts'
import { formatKey } from '../src/kube/object.ts'
import type { ObjectKey } from '../src/kube/object.ts'
import { isPopulated } from './gate.ts'
import type { Looked } from './gate.ts'

/** The API server has so long for an answer. */
const lookTimeoutMs = 10_000
/** No answer is kept longer. */
const keptMs = 1000

interface Look {
  readonly result: Promise<Looked>
  /** When it was begun: what it tells may be as old as that. */
  readonly atMs: number
}

export class ClaimLooks {
  readonly #client: Pick<KubeClient, 'get'>
  readonly #clock: Clock
  readonly #looks = new Map<string, Look>()

  constructor({ client, clock }: { client: Pick<KubeClient, 'get'>; clock: Clock }) {
    this.#client = client
    this.#clock = clock
  }

  /**
   * What is known of a claim, not older than `maxAgeMs` (at most a second). Rejects as the client does, and when the
   * signal ends the waiting; the look itself goes on for the others.
   */
  async look(
    key: Required<ObjectKey>,
    { maxAgeMs, signal }: { maxAgeMs: number; signal: AbortSignal },
  ): Promise<Looked> {
    const id = formatKey(key)
    let look = this.#looks.get(id)
    if (look === undefined || this.#clock.monotonicMs() - look.atMs > maxAgeMs) look = this.#begin(id, key)
    return untilAborted(look.result, signal)
  }

  #begin(id: string, key: Required<ObjectKey>): Look {
    const look = { result: this.#ask(key), atMs: this.#clock.monotonicMs() }
    this.#looks.set(id, look)
    const forget = (): void => {
      if (this.#looks.get(id) === look) this.#looks.delete(id)
    }
    look.result.then(() => this.#clock.after(keptMs, forget), forget)
    return look
  }

  async #ask(key: Required<ObjectKey>): Promise<Looked> {
    const signal = AbortSignal.timeout(lookTimeoutMs)
    const target = await this.#client.get(kinds.pvc, key, signal)
    const primeName = target?.metadata.annotations?.[annotations.populatorPvcPrime]
    if (target === undefined || !isPopulated(target) || !primeName) return { target, prime: undefined }
    return { target, prime: await this.#client.get(kinds.pvc, { namespace: key.namespace, name: primeName }, signal) }
  }
}

async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
