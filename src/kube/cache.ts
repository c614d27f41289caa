/**
 * All objects of a kind in memory, kept up to date: list, then watch from the list's version on; when the watch ends, take
 * it up where it stopped; when that cannot be (410, an error that is not about the connection, several failures in a row),
 * list anew and tell the handlers the difference. No error ends it; only the signal does.
 *
 * Lists are consistent reads (no `resourceVersion=0`): a list from an API server that lags behind would take the cache back
 * in time, and since Kubernetes 1.31 consistent lists come from the server's memory too.
 */
import type { Registry } from 'prom-client'
import type { Log } from '../log.ts'
import { counter } from '../metrics.ts'
import { ApiError, ConnectionError, isExpired, isNotFound } from './api-error.ts'
import { backoffMs } from './backoff.ts'
import type { KubeClient } from './client.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { formatKey, keyOf } from './object.ts'
import type { Kind, KubeObject, ObjectKey } from './object.ts'
import { ObjectStore } from './object-store.ts'
import type { Change } from './object-store.ts'

export type { Change } from './object-store.ts'

export interface CacheOptions<T extends KubeObject> {
  readonly client: Pick<KubeClient, 'list' | 'watch'>
  readonly kind: Kind<T>
  readonly log: Log
  /** One namespace only. */
  readonly namespace?: string | undefined
  readonly labelSelector?: string | undefined
  readonly fieldSelector?: string | undefined
  /** What to keep of an object; `trimManagedFields` unless told. May change the object, which nobody else has seen. */
  readonly transform?: (object: T) => T
  /**
   * The kind may not be installed (a CRD of somebody else): that counts as no objects, and is looked at again every half
   * minute.
   */
  readonly optional?: boolean
  readonly metrics?: Registry
  readonly clock?: Clock
  readonly random?: () => number
}

/** Field ownership is of no interest here and makes up to half of an object. */
export function trimManagedFields<T extends KubeObject>(object: T): T {
  delete (object.metadata as { managedFields?: unknown }).managedFields
  return object
}

const optionalRetryMs = 30_000
const relistBackoff = { baseMs: 400, maxMs: 10_000 }
/** A watch that lived this long shows that all is well again. */
const healthyMs = 10_000
/** So often a watch is taken up again without success before a list is tried instead. */
const maxResumptions = 3
/** Spread, so that the watches of one process do not all end at the same moment. */
const watchSeconds = { least: 300, spread: 300 }

/** Objects handed out are shared and must never be changed. */
export class Cache<T extends KubeObject> {
  readonly #options: CacheOptions<T>
  readonly #clock: Clock
  readonly #random: () => number
  readonly #store: ObjectStore<T>
  readonly #synced = Promise.withResolvers<void>()
  readonly #lists: () => void
  #hasSynced = false
  #started = false

  constructor(options: CacheOptions<T>) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    const { kind, log } = options
    this.#store = new ObjectStore<T>((error, key) =>
      log.error({ err: error, kind: kind.kind, key }, 'change handler failed'),
    )
    const lists = options.metrics
      ? counter(options.metrics, { name: 'cache_lists_total', help: 'Full lists of a kind', labels: ['kind'] })
      : undefined
    this.#lists = () => lists?.inc({ kind: kind.kind })
  }

  get kind(): Kind<T> {
    return this.#options.kind
  }

  /** Resolves once the first list is in; never rejects, and never resolves when the cache is stopped before. */
  get synced(): Promise<void> {
    return this.#synced.promise
  }

  get hasSynced(): boolean {
    return this.#hasSynced
  }

  get size(): number {
    return this.#store.size
  }

  get(key: ObjectKey): T | undefined {
    return this.#store.get(formatKey(key))
  }

  /** The objects of a namespace, or all. */
  list(namespace?: string): T[] {
    return this.#store.list(namespace)
  }

  /** Makes `byIndex(name, value)` answer with the objects for which `keysOf` gave `value`. May be called at any time. */
  addIndex(name: string, keysOf: (object: T) => string[]): void {
    this.#store.addIndex(name, keysOf)
  }

  byIndex(name: string, value: string): T[] {
    return this.#store.byIndex(name, value)
  }

  /**
   * Tells of every change: `new` alone was added, `old` alone is gone, both are two states of the same object (same UID).
   * Objects that are there already are told as added, at once. Handlers are called one after the other and must not block.
   * @returns stops the telling
   */
  onChange(handler: (change: Change<T>) => void): () => void {
    return this.#store.onChange(handler)
  }

  /** Lists and watches until the signal; resolves then. */
  async start(signal: AbortSignal): Promise<void> {
    if (this.#started) throw new Error(`the cache of ${this.kind.plural} is running already`)
    this.#started = true
    for (let failures = 0; !signal.aborted;) {
      try {
        const resourceVersion = await this.#relist(signal)
        if (resourceVersion === undefined) {
          await this.#clock.sleep(optionalRetryMs, signal)
          continue
        }
        const startedMs = this.#clock.monotonicMs()
        const reason = await this.#follow(resourceVersion, signal)
        if (this.#clock.monotonicMs() - startedMs >= healthyMs) failures = 0
        this.#options.log.debug({ kind: this.kind.kind, err: reason }, 'listing anew')
        // The first 410 after a quiet time is ordinary; only a server that keeps sending them is spared.
        if (!isExpired(reason) || failures > 0) await this.#pause(failures, signal)
        failures++
      } catch (error) {
        if (signal.aborted) return
        this.#options.log.warn({ kind: this.kind.kind, err: error }, 'cannot list')
        await this.#pause(failures, signal)
        failures++
      }
    }
  }

  /** @returns the list's version, undefined when an optional kind is not installed */
  async #relist(signal: AbortSignal): Promise<string | undefined> {
    const { client, kind, namespace, labelSelector, fieldSelector, optional } = this.#options
    let resourceVersion: string | undefined
    let items: T[] = []
    try {
      const list = await client.list(kind, { namespace, labelSelector, fieldSelector, signal })
      items = list.items
      resourceVersion = list.resourceVersion
    } catch (error) {
      if (!optional || !isNotFound(error)) throw error
    }
    signal.throwIfAborted()
    this.#lists()
    this.#store.replace(items.map((item) => this.#transform(item)))
    if (!this.#hasSynced) {
      this.#hasSynced = true
      this.#synced.resolve()
    }
    return resourceVersion
  }

  /** Watches from a version on, over as many connections as it takes; resolves with the reason why a list is needed. */
  async #follow(listVersion: string, signal: AbortSignal): Promise<unknown> {
    let version = listVersion
    for (let resumptions = 0; ;) {
      const before = version
      let fault: unknown
      try {
        for await (const event of this.#watch(version, signal)) {
          const { resourceVersion } = event.object.metadata
          // Within one kind versions only grow; what is not newer was seen already, or comes from a confused proxy.
          if (!isNewer(resourceVersion, version)) continue
          if (event.type !== 'BOOKMARK') this.#apply(event.type, event.object)
          version = resourceVersion
          resumptions = 0
        }
      } catch (error) {
        signal.throwIfAborted()
        fault = error
      }
      signal.throwIfAborted()
      if (fault !== undefined && !mayResume(fault)) return fault
      if (version === before) resumptions++
      if (fault !== undefined) {
        this.#options.log.debug({ kind: this.kind.kind, err: fault }, 'watch broke')
        if (resumptions > maxResumptions) return fault
        await this.#pause(resumptions, signal)
      } else if (version === before) {
        // An orderly end without any event, as of a server that ends every watch at once.
        await this.#pause(Math.min(resumptions, 4), signal)
      }
    }
  }

  #watch(resourceVersion: string, signal: AbortSignal): ReturnType<KubeClient['watch']> {
    const { client, kind, namespace, labelSelector, fieldSelector } = this.#options
    const timeoutSeconds = watchSeconds.least + Math.floor(this.#random() * watchSeconds.spread)
    return client.watch(kind, {
      namespace,
      labelSelector,
      fieldSelector,
      resourceVersion,
      allowWatchBookmarks: true,
      timeoutSeconds,
      signal,
    })
  }

  #apply(type: 'ADDED' | 'MODIFIED' | 'DELETED', object: KubeObject): void {
    if (type === 'DELETED') this.#store.remove(formatKey(keyOf(object)), object.metadata.uid)
    else this.#store.put(this.#transform(object as T))
  }

  #transform(object: T): T {
    return (this.#options.transform ?? trimManagedFields)(object)
  }

  async #pause(failures: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(backoffMs(failures, { ...relistBackoff, random: this.#random }), signal)
    } catch (error) {
      if (!signal.aborted) throw error
    }
  }
}

/** Whether the watch may go on at the last version: the fault was one of the way, not of the version. */
function mayResume(fault: unknown): boolean {
  if (fault instanceof ConnectionError) return true
  return fault instanceof ApiError && (fault.status === 401 || fault.status === 429 || fault.status === 503)
}

/** Compares two resource versions, which are decimal numbers (KEP-5504); strange ones count as newer. */
export function isNewer(version: string, than: string): boolean {
  if (!/^[1-9]\d*$/.test(version) || !/^\d+$/.test(than)) return true
  return version.length === than.length ? version > than : version.length > than.length
}
