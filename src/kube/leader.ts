/**
 * Leader election by a Lease, after client-go's rule: whoever holds the lease renews it; others take it when they have not
 * *seen it change* for the lease's duration on their own clock, so that clocks of different machines are never compared. The
 * leader gives up earlier (renew deadline) than others may take over.
 */
import type { Registry } from 'prom-client'
import type { Log } from '../log.ts'
import { gauge } from '../metrics.ts'
import { isAlreadyExists, isConflict, isNotFound } from './api-error.ts'
import type { KubeClient } from './client.ts'
import { formatMicroTime, systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { formatKey } from './object.ts'
import type { Kind, KubeObject, ObjectKey } from './object.ts'

/** The parts of coordination.k8s.io/v1 Lease that are used. */
export interface LeaseObject extends KubeObject {
  spec?: {
    holderIdentity?: string | null
    leaseDurationSeconds?: number
    acquireTime?: string
    renewTime?: string
    leaseTransitions?: number
  }
}

const leaseKind: Kind<LeaseObject> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
}

/** Somebody else may lead by now: everything must stop at once, without any further write. */
export class LeadershipLostError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'LeadershipLostError'
  }
}

export interface LeaderOptions {
  readonly client: Pick<KubeClient, 'get' | 'create' | 'patch'>
  readonly lease: ObjectKey
  /** Unique to this process, also among restarts of its container: `<pod>_<random>`. */
  readonly identity: string
  readonly log: Log
  /** The work of the leader. Its signal is aborted when `signal` is, or with a LeadershipLostError. */
  readonly lead: (signal: AbortSignal) => Promise<void>
  readonly signal: AbortSignal
  readonly clock?: Clock
  readonly random?: () => number
  readonly metrics?: Registry
  /** How long others wait after the last change they saw. */
  readonly leaseDurationMs?: number
  /** How long the leader goes on without a successful renewal; shorter than the duration. */
  readonly renewDeadlineMs?: number
  /** Pause between two tries, of whomever. */
  readonly retryPeriodMs?: number
}

/**
 * Waits for the leadership, leads, gives it back. Resolves when `signal` was aborted and `lead` has ended, or when `lead` ended
 * by itself; rejects with what `lead` threw.
 * @throws {LeadershipLostError} the caller should end the process and start again
 */
export async function runAsLeader(options: LeaderOptions): Promise<void> {
  const { lease, identity, signal, lead, metrics } = options
  const log = options.log.child({ lease: formatKey(lease), identity })
  const status = metrics
    ? gauge(metrics, { name: 'leader_election_master_status', help: '1 while this process leads', labels: ['name'] })
    : undefined
  status?.set({ name: lease.name }, 0)
  const candidate = new Candidate(options, log)
  log.info('waiting for the lease')
  if (!(await candidate.acquire(signal))) return
  // The text is part of the contract (platform §1).
  log.info('successfully acquired lease')
  status?.set({ name: lease.name }, 1)

  const leading = new AbortController()
  const onStop = (): void => leading.abort(signal.reason)
  signal.addEventListener('abort', onStop, { once: true })
  if (signal.aborted) onStop()
  const renewing = new AbortController()
  const renewal = candidate.renewUntilLost(renewing.signal).then((lost) => {
    if (lost !== undefined) {
      log.error({ err: lost }, 'lost the lease')
      leading.abort(lost)
    }
    return lost
  })
  try {
    const work = lead(leading.signal)
    const first = await Promise.race([work.then(() => undefined), renewal])
    if (first instanceof LeadershipLostError) {
      await candidate.graceAfterLoss(work)
      throw first
    }
    await work
  } finally {
    signal.removeEventListener('abort', onStop)
    renewing.abort()
    const lost = await renewal
    status?.set({ name: lease.name }, 0)
    if (lost === undefined) await candidate.release()
  }
}

class Candidate {
  readonly #options: LeaderOptions
  readonly #log: Log
  readonly #clock: Clock
  readonly #leaseDurationMs: number
  readonly #renewDeadlineMs: number
  readonly #retryPeriodMs: number
  /** The lease as last seen, and when on the local clock it was first seen in that state. */
  #seen: { readonly lease: LeaseObject; readonly atMs: number } | undefined
  #renewedMs = 0

  constructor(options: LeaderOptions, log: Log) {
    this.#options = options
    this.#log = log
    this.#clock = options.clock ?? systemClock
    this.#leaseDurationMs = options.leaseDurationMs ?? 15_000
    this.#renewDeadlineMs = options.renewDeadlineMs ?? 10_000
    this.#retryPeriodMs = options.retryPeriodMs ?? 2_000
    if (this.#renewDeadlineMs >= this.#leaseDurationMs)
      throw new RangeError('the renew deadline must be shorter than the lease')
  }

  /** @returns false when the signal came first */
  async acquire(signal: AbortSignal): Promise<boolean> {
    const random = this.#options.random ?? Math.random
    while (!signal.aborted) {
      try {
        if (await this.#tryToHold(signal)) return true
      } catch (error) {
        if (signal.aborted) break
        this.#log.warn({ err: error }, 'cannot read or write the lease')
      }
      // Spread, so that candidates do not race for a free lease all at once.
      await this.#clock.sleep(this.#retryPeriodMs * (1 + 0.2 * random()), signal).catch(() => undefined)
    }
    return false
  }

  /** @returns why the leadership is lost; undefined when the signal came first */
  async renewUntilLost(signal: AbortSignal): Promise<LeadershipLostError | undefined> {
    for (;;) {
      await this.#clock.sleep(this.#retryPeriodMs, signal).catch(() => undefined)
      if (signal.aborted) return undefined
      const attempt = new AbortController()
      // Half of the deadline, so that a request that hangs leaves time for another one.
      const leftMs = this.#renewedMs + this.#renewDeadlineMs - this.#clock.monotonicMs()
      const limitMs = Math.max(0, Math.min(leftMs, this.#renewDeadlineMs / 2))
      const cancel = this.#clock.after(limitMs, () => attempt.abort(new Error('the renewal took too long')))
      const onStop = (): void => attempt.abort(signal.reason)
      signal.addEventListener('abort', onStop, { once: true })
      try {
        if (!(await this.#tryToHold(attempt.signal))) {
          const holder = this.#seen?.lease.spec?.holderIdentity
          if (holder && holder !== this.#options.identity) return new LeadershipLostError(`${holder} holds the lease`)
        }
      } catch (error) {
        if (signal.aborted) return undefined
        this.#log.warn({ err: error }, 'cannot renew the lease')
      } finally {
        cancel()
        signal.removeEventListener('abort', onStop)
      }
      if (this.#clock.monotonicMs() - this.#renewedMs >= this.#renewDeadlineMs) {
        return new LeadershipLostError(`the lease could not be renewed for ${this.#renewDeadlineMs} ms`)
      }
    }
  }

  /** Lets the work end, but not beyond the moment when another may take the lease. */
  async graceAfterLoss(work: Promise<void>): Promise<void> {
    const over = new AbortController()
    const limit = this.#clock.sleep(this.#leaseDurationMs - this.#renewDeadlineMs, over.signal).catch(() => undefined)
    try {
      await Promise.race([work.catch(() => undefined), limit])
    } finally {
      over.abort()
    }
  }

  /** Gives the lease back, so that the next one need not wait. A failure costs the others the lease's duration, no more. */
  async release(): Promise<void> {
    const held = this.#seen?.lease
    if (held === undefined) return
    const { client, lease } = this.#options
    const deadline = new AbortController()
    const cancel = this.#clock.after(this.#renewDeadlineMs / 2, () =>
      deadline.abort(new Error('releasing took too long')),
    )
    try {
      await client.patch(
        leaseKind,
        lease,
        {
          metadata: { resourceVersion: held.metadata.resourceVersion },
          spec: { holderIdentity: null, leaseDurationSeconds: 1, renewTime: formatMicroTime(this.#clock.now()) },
        },
        { type: 'merge', signal: deadline.signal },
      )
      this.#log.info('released the lease')
    } catch (error) {
      this.#log.warn({ err: error }, 'cannot release the lease')
    } finally {
      cancel()
    }
  }

  /** One try to take or to renew. */
  async #tryToHold(signal: AbortSignal): Promise<boolean> {
    const { client, lease, identity } = this.#options
    const startedMs = this.#clock.monotonicMs()
    try {
      const held = this.#seen?.lease.spec?.holderIdentity === identity ? this.#seen.lease : undefined
      // As the holder, the lease is known; a conflict will tell if it is not as it was.
      const found = held ?? (await client.get(leaseKind, lease, signal))
      if (found !== undefined) this.#observe(found)
      if (found !== undefined && !this.#mayTake(found)) return false
      const spec = this.#specOver(found)
      const written =
        found === undefined
          ? await client.create(
              leaseKind,
              { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { ...lease }, spec },
              signal,
            )
          : await client.patch(
              leaseKind,
              lease,
              { metadata: { resourceVersion: found.metadata.resourceVersion }, spec },
              { type: 'merge', signal },
            )
      this.#observe(written)
      // Counted from before the request: that is the latest moment at which others may have begun to wait.
      this.#renewedMs = startedMs
      return true
    } catch (error) {
      if (!isConflict(error) && !isAlreadyExists(error) && !isNotFound(error)) throw error
      // Somebody wrote or deleted it meanwhile: the next try starts from what is there now.
      const now = await client.get(leaseKind, lease, signal)
      if (now === undefined) this.#seen = undefined
      else this.#observe(now)
      return false
    }
  }

  #observe(lease: LeaseObject): void {
    const before = this.#seen
    const unchanged = before?.lease.metadata.resourceVersion === lease.metadata.resourceVersion
    this.#seen = { lease, atMs: unchanged && before ? before.atMs : this.#clock.monotonicMs() }
  }

  #mayTake({ spec }: LeaseObject): boolean {
    const holder = spec?.holderIdentity
    if (!holder || holder === this.#options.identity) return true
    const durationMs = (spec.leaseDurationSeconds ?? this.#leaseDurationMs / 1000) * 1000
    return this.#seen !== undefined && this.#clock.monotonicMs() - this.#seen.atMs >= durationMs
  }

  #specOver(before: LeaseObject | undefined): NonNullable<LeaseObject['spec']> {
    const now = formatMicroTime(this.#clock.now())
    const mine = before?.spec?.holderIdentity === this.#options.identity
    const transitions = before?.spec?.leaseTransitions ?? 0
    return {
      holderIdentity: this.#options.identity,
      leaseDurationSeconds: Math.ceil(this.#leaseDurationMs / 1000),
      renewTime: now,
      ...(mine ? {} : { acquireTime: now, leaseTransitions: before === undefined ? 0 : transitions + 1 }),
    }
  }
}
