/**
 * Keys that wait for work, after client-go's queue: a key is in the queue at most once, is never worked on twice at the same
 * time, and when it is added while being worked on, it comes again afterwards. Failed keys come back with a delay that
 * doubles for each key on its own.
 */
import type { Registry } from 'prom-client'
import { counter, gauge, histogram, secondsBuckets } from '../metrics.ts'
import { backoffMs } from './backoff.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'

export interface WorkQueueOptions {
  /** Label of the metrics. */
  readonly name: string
  readonly metrics?: Registry
  readonly clock?: Clock
  readonly random?: () => number
  /** First delay of a failed key and the longest one. */
  readonly baseDelayMs?: number
  readonly maxDelayMs?: number
}

interface Delayed {
  readonly dueMs: number
  readonly cancel: () => void
}

export class WorkQueue {
  readonly #clock: Clock
  readonly #backoff: { baseMs: number; maxMs: number; random: () => number }
  /** In order of arrival; a Set, so that a key stands in it once. */
  readonly #ready = new Set<string>()
  /** Must be worked on: waiting in the queue, or added again while in work. */
  readonly #dirty = new Set<string>()
  readonly #processing = new Map<string, number>()
  readonly #delayed = new Map<string, Delayed>()
  readonly #failures = new Map<string, number>()
  readonly #addedMs = new Map<string, number>()
  readonly #takers: ((key: string | undefined) => void)[] = []
  readonly #metrics: QueueMetrics | undefined
  #down = false

  constructor(options: WorkQueueOptions) {
    const { name, metrics, clock = systemClock, random = Math.random, baseDelayMs = 20, maxDelayMs = 60_000 } = options
    this.#clock = clock
    this.#backoff = { baseMs: baseDelayMs, maxMs: maxDelayMs, random }
    this.#metrics = metrics === undefined ? undefined : queueMetrics(metrics, name)
  }

  /** Keys that are ready and not yet taken. */
  get depth(): number {
    return this.#ready.size
  }

  /** Asks for work on a key, now or, when it is in work, right after that. */
  add(key: string): void {
    if (this.#down || this.#dirty.has(key)) return
    this.#metrics?.added()
    this.#dirty.add(key)
    this.#addedMs.set(key, this.#clock.monotonicMs())
    if (!this.#processing.has(key)) this.#enqueue(key)
  }

  /** Adds a key after a while. Of several delays of a key, the shortest counts. */
  addAfter(key: string, delayMs: number): void {
    if (this.#down) return
    if (delayMs <= 0) return this.add(key)
    const dueMs = this.#clock.monotonicMs() + delayMs
    const waiting = this.#delayed.get(key)
    if (waiting !== undefined && waiting.dueMs <= dueMs) return
    waiting?.cancel()
    const cancel = this.#clock.after(delayMs, () => {
      this.#delayed.delete(key)
      this.add(key)
    })
    this.#delayed.set(key, { dueMs, cancel })
  }

  /** Adds a key that failed, after a delay that doubles each time until `forget`. */
  addRateLimited(key: string): void {
    const failures = this.#failures.get(key) ?? 0
    this.#failures.set(key, failures + 1)
    this.#metrics?.retried()
    this.addAfter(key, backoffMs(failures, this.#backoff))
  }

  /** The key did well: its next failure starts with the shortest delay again. */
  forget(key: string): void {
    this.#failures.delete(key)
  }

  /** The next key, when there is one; undefined after `shutDown`. Every key taken must be given back with `done`. */
  take(): Promise<string | undefined> {
    const { promise, resolve } = Promise.withResolvers<string | undefined>()
    if (this.#down) resolve(undefined)
    else this.#takers.push(resolve)
    this.#serve()
    return promise
  }

  /** The work on a key has ended, well or not. */
  done(key: string): void {
    const startedMs = this.#processing.get(key)
    if (startedMs === undefined) return
    this.#processing.delete(key)
    this.#metrics?.worked(this.#clock.monotonicMs() - startedMs)
    if (this.#dirty.has(key)) this.#enqueue(key)
  }

  /** Hands out nothing any more: waiting `take`s get undefined, keys and delays are dropped. Work under way goes on. */
  shutDown(): void {
    this.#down = true
    for (const { cancel } of this.#delayed.values()) cancel()
    this.#delayed.clear()
    this.#ready.clear()
    this.#dirty.clear()
    this.#metrics?.depth(0)
    for (const taker of this.#takers.splice(0)) taker(undefined)
  }

  #enqueue(key: string): void {
    if (this.#down) return
    this.#ready.add(key)
    this.#serve()
    this.#metrics?.depth(this.#ready.size)
  }

  #serve(): void {
    for (const key of this.#ready) {
      const taker = this.#takers.shift()
      if (taker === undefined) break
      this.#ready.delete(key)
      this.#dirty.delete(key)
      const nowMs = this.#clock.monotonicMs()
      this.#metrics?.waited(nowMs - (this.#addedMs.get(key) ?? nowMs))
      this.#addedMs.delete(key)
      this.#processing.set(key, nowMs)
      taker(key)
    }
    this.#metrics?.depth(this.#ready.size)
  }
}

interface QueueMetrics {
  added(): void
  retried(): void
  depth(keys: number): void
  waited(durationMs: number): void
  worked(durationMs: number): void
}

/** Under the names that Kubernetes programs use, so that existing dashboards show them. */
function queueMetrics(registry: Registry, name: string): QueueMetrics {
  const labels = ['name'] as const
  const own = { name }
  const buckets = secondsBuckets
  const adds = counter(registry, { name: 'workqueue_adds_total', help: 'Keys added', labels })
  const retries = counter(registry, {
    name: 'workqueue_retries_total',
    help: 'Keys that failed and come again',
    labels,
  })
  const depth = gauge(registry, { name: 'workqueue_depth', help: 'Keys that wait', labels })
  const waited = histogram(registry, {
    name: 'workqueue_queue_duration_seconds',
    help: 'How long a key waited',
    labels,
    buckets,
  })
  const worked = histogram(registry, {
    name: 'workqueue_work_duration_seconds',
    help: 'How long the work on a key took',
    labels,
    buckets,
  })
  return {
    added: () => adds.inc(own),
    retried: () => retries.inc(own),
    depth: (keys) => depth.set(own, keys),
    waited: (durationMs) => waited.observe(own, durationMs / 1000),
    worked: (durationMs) => worked.observe(own, durationMs / 1000),
  }
}
