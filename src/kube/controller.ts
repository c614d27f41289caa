/**
 * Runs a reconcile function over keys: changes in caches become keys in a queue, workers take them, and what came of each
 * decides whether and when the key comes again. A reconcile must look at all state anew and may be called at any time.
 */
import type { Registry } from 'prom-client'
import { CdiError } from '../errors.ts'
import type { Log } from '../log.ts'
import { counter } from '../metrics.ts'
import { isConflict, isNotFound } from './api-error.ts'
import type { Cache } from './cache.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { LeadershipLostError } from './leader.ts'
import { formatKey, parseKey } from './object.ts'
import type { KubeObject, ObjectKey } from './object.ts'
import { WorkQueue } from './workqueue.ts'

/** A source of keys. */
export interface Watch {
  /** Resolves when the state behind it is complete; no reconcile runs before. */
  readonly synced: Promise<void>
  /** Starts to tell of keys, those of present objects first; the returned function ends it. */
  subscribe(enqueue: (key: ObjectKey) => void): () => void
}

/** What a reconcile may return; nothing is the same as `{}`: done until something changes. */
export interface ReconcileResult {
  readonly requeueAfterMs?: number
}

export interface ControllerSpec {
  /** Label of metrics and log. */
  readonly name: string
  readonly watches: readonly Watch[]
  /**
   * Brings one object where it should be. Conflicts and absent objects may be thrown and are tried again quietly; other
   * errors are logged and tried again with back-off; a terminal CdiError waits for the next change.
   */
  // oxlint-disable-next-line typescript/no-invalid-void-type -- a reconcile that ends without a word is the usual one
  reconcile(key: ObjectKey, signal: AbortSignal): Promise<ReconcileResult | void>
  /** How many keys at a time; 4 unless told. */
  readonly concurrency?: number
}

export interface ControllerDependencies {
  readonly log: Log
  readonly metrics?: Registry
  readonly clock?: Clock
  readonly random?: () => number
  /** Ends it: nothing new is begun, what is under way may end (not when the leadership was lost). */
  readonly signal: AbortSignal
}

/**
 * Keys of a cache's changes. `keysOf` gets the present state and, when there was one, the state before; of an object that is
 * gone it gets the last state.
 */
export function watching<T extends KubeObject>(
  cache: Pick<Cache<T>, 'synced' | 'onChange'>,
  keysOf: (object: T, old?: T) => Iterable<ObjectKey>,
): Watch {
  return {
    get synced() {
      return cache.synced
    },
    subscribe: (enqueue) =>
      cache.onChange((change) => {
        const object = change.new ?? change.old
        if (object === undefined) return
        for (const key of keysOf(object, change.new === undefined ? undefined : change.old)) enqueue(key)
      }),
  }
}

/** How a reconcile ended; the metric's label. */
export type Outcome =
  | { readonly kind: 'done' }
  | { readonly kind: 'requeue'; readonly afterMs: number }
  | { readonly kind: 'conflict'; readonly error: unknown }
  | { readonly kind: 'gone'; readonly error: unknown }
  | { readonly kind: 'terminal'; readonly error: unknown }
  | { readonly kind: 'error'; readonly error: unknown }
  | { readonly kind: 'stopped' }

/** How long reconciles under way may go on after the stop. */
const drainMs = 5_000

/** Runs until the signal; resolves when the last worker has ended. */
export async function runController(spec: ControllerSpec, dependencies: ControllerDependencies): Promise<void> {
  const { metrics, clock = systemClock, random, signal } = dependencies
  const log = dependencies.log.child({ controller: spec.name })
  const queue = new WorkQueue({
    name: spec.name,
    clock,
    ...(metrics === undefined ? {} : { metrics }),
    ...(random === undefined ? {} : { random }),
  })
  const drain = new AbortController()
  const onStop = (): void => {
    queue.shutDown()
    if (signal.reason instanceof LeadershipLostError) drain.abort(signal.reason)
    else cancelDrain = clock.after(drainMs, () => drain.abort(signal.reason))
  }
  let cancelDrain = (): void => undefined
  if (signal.aborted) return
  signal.addEventListener('abort', onStop, { once: true })
  const unsubscribe = spec.watches.map((watch) => watch.subscribe((key) => queue.add(formatKey(key))))
  try {
    if (!(await allSynced(spec.watches, signal))) return
    log.info({ workers: spec.concurrency ?? 4 }, 'controller started')
    const outcomes = metrics
      ? counter(metrics, {
          name: 'controller_reconciles_total',
          help: 'Reconciles by how they ended',
          labels: ['controller', 'outcome'],
        })
      : undefined
    const work = async (): Promise<void> => {
      for (let key = await queue.take(); key !== undefined; key = await queue.take()) {
        const outcome = await reconcileOnce(spec, parseKey(key), drain.signal)
        outcomes?.inc({ controller: spec.name, outcome: outcome.kind })
        settle({ queue, log }, key, outcome)
        queue.done(key)
      }
    }
    await Promise.all(Array.from({ length: spec.concurrency ?? 4 }, work))
  } finally {
    cancelDrain()
    signal.removeEventListener('abort', onStop)
    for (const stop of unsubscribe) stop()
    queue.shutDown()
  }
}

async function allSynced(watches: readonly Watch[], signal: AbortSignal): Promise<boolean> {
  const stopped = Promise.withResolvers<false>()
  const onAbort = (): void => stopped.resolve(false)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([
      Promise.all(watches.map(({ synced }) => synced)).then(() => !signal.aborted),
      stopped.promise,
    ])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function reconcileOnce(spec: ControllerSpec, key: ObjectKey, signal: AbortSignal): Promise<Outcome> {
  try {
    const result = await spec.reconcile(key, signal)
    const afterMs = result?.requeueAfterMs
    return afterMs === undefined ? { kind: 'done' } : { kind: 'requeue', afterMs }
  } catch (error) {
    if (signal.aborted) return { kind: 'stopped' }
    if (isConflict(error)) return { kind: 'conflict', error }
    if (isNotFound(error)) return { kind: 'gone', error }
    if (error instanceof CdiError && error.kind === 'terminal') return { kind: 'terminal', error }
    return { kind: 'error', error }
  }
}

/** The life of a key after its reconcile. */
function settle({ queue, log }: { queue: WorkQueue; log: Log }, key: string, outcome: Outcome): void {
  switch (outcome.kind) {
    case 'done':
      return queue.forget(key)
    case 'requeue':
      queue.forget(key)
      return queue.addAfter(key, outcome.afterMs)
    case 'conflict':
      // The cache is behind; the change that made the conflict is on its way.
      log.debug({ key, err: outcome.error }, 'changed meanwhile, looking again')
      return queue.addRateLimited(key)
    case 'gone':
      log.debug({ key, err: outcome.error }, 'went away meanwhile, looking again')
      return queue.addRateLimited(key)
    case 'terminal':
      log.warn({ key, err: outcome.error }, 'cannot be done until something changes')
      return queue.forget(key)
    case 'error':
      log.error({ key, err: outcome.error }, 'reconcile failed')
      return queue.addRateLimited(key)
    case 'stopped':
      return undefined
    default:
      return outcome satisfies never
  }
}
