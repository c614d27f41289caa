/** Waits for something to become true of one object of the cluster, by watching it. */
import { Cache } from '../../kube/cache.ts'
import { isForbidden } from '../../kube/client.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Clock } from '../../kube/clock.ts'
import type { Kind, KubeObject } from '../../kube/object.ts'
import type { Log } from '../../log.ts'

export interface Waiting<T extends KubeObject, R> {
  readonly client: Pick<KubeClient, 'get' | 'list' | 'watch'>
  readonly clock: Clock
  readonly log: Log
  readonly kind: Kind<T>
  readonly namespace: string
  readonly name: string
  /** Called with every state (undefined: it is not there); a value ends the waiting, an exception too. */
  readonly decide: (object: T | undefined) => R | undefined
}

/** Where watching is not allowed. */
const pollMs = 2_000

/** Resolves with the first value that `decide` gives. Rejects with what it throws, and when the signal is aborted. */
export async function waitFor<T extends KubeObject, R>(o: Waiting<T, R>, signal: AbortSignal): Promise<R> {
  const fieldSelector = `metadata.name=${o.name}`
  try {
    await o.client.list(o.kind, { namespace: o.namespace, fieldSelector, limit: 1, signal })
  } catch (error) {
    if (!isForbidden(error)) throw error
    return poll(o, signal)
  }
  return watch(o, fieldSelector, signal)
}

async function watch<T extends KubeObject, R>(
  { client, clock, log, kind, namespace, name, decide }: Waiting<T, R>,
  fieldSelector: string,
  signal: AbortSignal,
): Promise<R> {
  const stop = new AbortController()
  const cache = new Cache<T>({ client, clock, log, kind, namespace, fieldSelector })
  const decided = Promise.withResolvers<R>()
  const look = (): void => {
    if (!cache.hasSynced || stop.signal.aborted) return
    try {
      const value = decide(cache.get({ namespace, name }))
      if (value !== undefined) decided.resolve(value)
    } catch (error) {
      decided.reject(error)
    }
  }
  const onAbort = (): void => decided.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  cache.onChange(look)
  const running = cache.start(AbortSignal.any([signal, stop.signal]))
  void cache.synced.then(look)
  try {
    signal.throwIfAborted()
    return await decided.promise
  } finally {
    signal.removeEventListener('abort', onAbort)
    stop.abort()
    await running
  }
}

async function poll<T extends KubeObject, R>(
  { client, clock, kind, namespace, name, decide }: Waiting<T, R>,
  signal: AbortSignal,
): Promise<R> {
  for (;;) {
    const value = decide(await client.get(kind, { namespace, name }, signal))
    if (value !== undefined) return value
    await clock.sleep(pollMs, signal)
  }
}
