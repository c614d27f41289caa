/**
 * Events (core/v1) for people who look at an object. The same event about the same object raises the count of the first; a
 * reconcile never waits for them and never fails by them: they are sent by a queue, in order for each object.
 */
import type { Registry } from 'prom-client'
import type { Log } from '../log.ts'
import { counter } from '../metrics.ts'
import { ApiError, isForbidden, isNotFound } from './api-error.ts'
import { backoffMs } from './backoff.ts'
import type { KubeClient } from './client.ts'
import { formatTime, systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Kind, KubeObject, ObjectKey } from './object.ts'

export interface EventFacts {
  readonly type: 'Normal' | 'Warning'
  /** UpperCamelCase, what tools filter by. */
  readonly reason: string
  readonly message: string
}

/** The parts of core/v1 Event that are written. */
interface EventObject extends KubeObject {
  involvedObject: object
  type: string
  reason: string
  message: string
  source: { component: string; host?: string }
  reportingComponent: string
  reportingInstance: string
  firstTimestamp: string
  lastTimestamp: string
  count: number
}

const eventKind: Kind<EventObject> = { group: '', version: 'v1', plural: 'events', kind: 'Event', namespaced: true }

export interface EventRecorderOptions {
  readonly client: Pick<KubeClient, 'create' | 'patch'>
  /** `source.component`: the controller that speaks. */
  readonly component: string
  readonly log: Log
  /** `source.host`: the pod or node. */
  readonly host?: string
  readonly clock?: Clock
  readonly random?: () => number
  readonly metrics?: Registry
}

interface Pending {
  readonly about: KubeObject
  readonly facts: EventFacts
  readonly atMs: number
}

interface Known {
  readonly key: ObjectKey
  count: number
}

/** client-go's limit: 25 events about an object at once, then one every five minutes. */
const burst = 25
const refillMs = 300_000
const maxRemembered = 4096
const maxPending = 10_000
/** Events about different objects are sent side by side, those about one in order. */
const lanes = 4
const maxTries = 12

export class EventRecorder implements AsyncDisposable {
  readonly #options: EventRecorderOptions
  readonly #clock: Clock
  readonly #random: () => number
  readonly #known = new RecentMap<Known>(maxRemembered)
  readonly #budgets = new RecentMap<{ tokens: number; atMs: number }>(maxRemembered)
  readonly #lanes: Pending[][] = Array.from({ length: lanes }, () => [])
  readonly #running = new Map<number, Promise<void>>()
  readonly #stop = new AbortController()
  readonly #outcome: (outcome: 'sent' | 'dropped' | 'limited' | 'failed') => void
  #pending = 0
  #serial = 0

  constructor(options: EventRecorderOptions) {
    this.#options = options
    this.#clock = options.clock ?? systemClock
    this.#random = options.random ?? Math.random
    const outcomes = options.metrics
      ? counter(options.metrics, { name: 'events_total', help: 'Events by what became of them', labels: ['outcome'] })
      : undefined
    this.#outcome = (outcome) => outcomes?.inc({ outcome })
  }

  /** Tells of something that happened to an object. Returns at once; what becomes of it is only logged. */
  event(object: KubeObject, facts: EventFacts): void {
    if (this.#stop.signal.aborted) return
    if (this.#pending >= maxPending) {
      this.#outcome('dropped')
      this.#options.log.warn({ reason: facts.reason }, 'too many events waiting, dropped one')
      return
    }
    if (!this.#spend(object.metadata.uid)) {
      this.#outcome('limited')
      this.#options.log.debug(
        { object: object.metadata.name, reason: facts.reason },
        'too many events about one object',
      )
      return
    }
    const { apiVersion, kind, metadata } = object
    const { name, namespace, uid, resourceVersion } = metadata
    const about: KubeObject = {
      apiVersion,
      kind,
      metadata: { name, uid, resourceVersion, ...(namespace ? { namespace } : {}) },
    }
    const lane = laneOf(uid)
    this.#lanes[lane]?.push({ about, facts, atMs: this.#clock.now() })
    this.#pending++
    if (!this.#running.has(lane)) this.#running.set(lane, this.#drain(lane))
  }

  /** Resolves when everything told so far was sent or given up; at the latest when the signal is aborted. */
  async flush(signal?: AbortSignal): Promise<void> {
    const idle = (async () => {
      while (this.#running.size > 0) await Promise.all(this.#running.values())
    })()
    if (signal === undefined) return idle
    const aborted = Promise.withResolvers<void>()
    const onAbort = (): void => aborted.resolve()
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    await Promise.race([idle, aborted.promise])
    signal.removeEventListener('abort', onAbort)
  }

  /** Sends what waits, for at most `limitMs`, and takes nothing more. */
  async stop(limitMs: number = 2_000): Promise<void> {
    const limit = new AbortController()
    const cancel = this.#clock.after(limitMs, () => limit.abort())
    await this.flush(limit.signal)
    cancel()
    this.#stop.abort(new Error('the event recorder was stopped'))
    await this.flush()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop()
  }

  async #drain(lane: number): Promise<void> {
    // Not before the caller has gone on, so that telling never costs it a request's preparation.
    await Promise.resolve()
    const queue = this.#lanes[lane] ?? []
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (this.#stop.signal.aborted) this.#outcome('dropped')
      else await this.#send(next)
      this.#pending--
    }
    this.#running.delete(lane)
  }

  async #send(pending: Pending): Promise<void> {
    const { log } = this.#options
    const facts = { reason: pending.facts.reason, object: pending.about.metadata.name }
    for (let failures = 0; ; failures++) {
      try {
        await this.#write(pending)
        return this.#outcome('sent')
      } catch (error) {
        if (this.#stop.signal.aborted) return this.#outcome('dropped')
        if (isNotFound(error) || isForbidden(error)) {
          // The namespace is going or gone, and with it everybody who could read the event.
          log.debug({ ...facts, err: error }, 'event dropped')
          return this.#outcome('dropped')
        }
        const lasting = error instanceof ApiError && error.status < 500 && error.status !== 429 && error.status !== 401
        if (lasting || failures + 1 >= maxTries) {
          log.warn({ ...facts, err: error }, 'cannot send an event')
          return this.#outcome('failed')
        }
        const waitMs = backoffMs(failures, { baseMs: 500, maxMs: 10_000, random: this.#random })
        await this.#clock.sleep(waitMs, this.#stop.signal).catch(() => undefined)
      }
    }
  }

  async #write({ about, facts, atMs }: Pending): Promise<void> {
    const identity = JSON.stringify([about.metadata.uid, facts.type, facts.reason, facts.message])
    const known = this.#known.get(identity)
    const signal = this.#stop.signal
    if (known !== undefined) {
      try {
        const body = { count: known.count + 1, lastTimestamp: formatTime(atMs) }
        await this.#options.client.patch(eventKind, known.key, body, { type: 'merge', signal })
        known.count++
        return
      } catch (error) {
        if (!isNotFound(error)) throw error
        // Events live for an hour; the next one starts a new count.
        this.#known.delete(identity)
      }
    }
    const event = this.#eventOf({ about, facts, atMs })
    const { metadata } = await this.#options.client.create(eventKind, event, signal)
    this.#known.set(identity, { key: { namespace: event.metadata.namespace, name: metadata.name }, count: 1 })
  }

  #eventOf({
    about,
    facts,
    atMs,
  }: Pending): Omit<EventObject, 'metadata'> & { metadata: { name: string; namespace: string } } {
    const { component, host } = this.#options
    const { name, namespace = 'default', uid, resourceVersion } = about.metadata
    const time = formatTime(atMs)
    // As client-go: the moment in nanoseconds; here the last six digits count, so that two of a millisecond differ.
    const suffix = (BigInt(Math.trunc(atMs)) * 1_000_000n + BigInt(this.#serial++ % 1_000_000)).toString(16)
    return {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: `${name.slice(0, 253 - suffix.length - 1)}.${suffix}`, namespace },
      involvedObject: {
        apiVersion: about.apiVersion,
        kind: about.kind,
        name,
        uid,
        resourceVersion,
        ...(about.metadata.namespace ? { namespace: about.metadata.namespace } : {}),
      },
      type: facts.type,
      reason: facts.reason,
      message: facts.message,
      source: { component, ...(host === undefined ? {} : { host }) },
      reportingComponent: component,
      reportingInstance: host ?? '',
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
    }
  }

  /** Takes one event from the budget of an object. */
  #spend(uid: string): boolean {
    const nowMs = this.#clock.monotonicMs()
    const budget = this.#budgets.get(uid) ?? { tokens: burst, atMs: nowMs }
    budget.tokens = Math.min(burst, budget.tokens + (nowMs - budget.atMs) / refillMs)
    budget.atMs = nowMs
    this.#budgets.set(uid, budget)
    if (budget.tokens < 1) return false
    budget.tokens--
    return true
  }
}

function laneOf(uid: string): number {
  let hash = 0
  for (let at = 0; at < uid.length; at++) hash = (hash * 31 + uid.charCodeAt(at)) % 65_521
  return hash % lanes
}

/** A map that forgets what was not used for the longest time. */
class RecentMap<V> {
  readonly #entries = new Map<string, V>()
  readonly #limit: number

  constructor(limit: number) {
    this.#limit = limit
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key)
    if (value !== undefined) this.set(key, value)
    return value
  }

  set(key: string, value: V): void {
    this.#entries.delete(key)
    this.#entries.set(key, value)
    if (this.#entries.size <= this.#limit) return
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined) this.#entries.delete(oldest)
  }

  delete(key: string): void {
    this.#entries.delete(key)
  }
}
