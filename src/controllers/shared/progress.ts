/**
 * Progress of running workers, read from their metrics (contract/datavolume.md §4, contract/import.md §15). A worker that
 * does not answer delays nobody: each is asked on its own, every two seconds, and only a new value makes its key come up.
 */
import { Agent, request } from 'undici'
import type { Pod } from '../../api/kinds.ts'
import type { Clock } from '../../kube/clock.ts'
import type { Watch } from '../../kube/controller.ts'
import { formatKey } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import type { Log } from '../../log.ts'

const intervalMs = 2_000
const firstMs = 300
const timeoutMs = 2_000
/** A worker's metrics are a few KiB; whoever sends more is not a worker. */
const maxBytes = 1024 * 1024

/** Where a worker tells its progress; undefined while it has no address. */
export function metricsUrl(pod: Pod): string | undefined {
  const ip = pod.status?.podIP
  const port = pod.spec?.containers[0]?.ports?.find((candidate) => candidate.name === 'metrics')?.containerPort
  if (!ip || port === undefined) return undefined
  return `https://${ip.includes(':') ? `[${ip}]` : ip}:${port}/metrics`
}

/** The progress of one owner in a page of metrics, 0–100. */
export function parseProgress(page: string, ownerUid: string): number | undefined {
  const uid = ownerUid.replaceAll(/[^\w-]/g, '')
  const found = new RegExp(
    `^kubevirt_cdi_(?:import|clone)_progress_total\\{ownerUID="${uid}"\\} (\\d{1,3}\\.?\\d*)`,
    'm',
  ).exec(page)
  return found?.[1] === undefined ? undefined : Number(found[1])
}

/** Reads a page of metrics; workers sign their own certificates, so none is verified. */
export type FetchPage = (url: string, signal: AbortSignal) => Promise<string>

export function pageFetcher(): { fetchPage: FetchPage; close: () => Promise<void> } {
  const agent = new Agent({ connect: { rejectUnauthorized: false }, keepAliveTimeout: 2 * intervalMs })
  return {
    fetchPage: async (url, signal) => {
      const { statusCode, body } = await request(url, { dispatcher: agent, signal })
      if (statusCode !== 200) {
        await body.dump()
        throw new Error(`status ${statusCode}`)
      }
      const parts: Buffer[] = []
      let bytes = 0
      for await (const part of body) {
        parts.push(part as Buffer)
        bytes += (part as Buffer).length
        if (bytes > maxBytes) throw new Error('the page of metrics is too long')
      }
      return Buffer.concat(parts).toString()
    },
    close: () => agent.destroy(),
  }
}

interface Followed {
  readonly url: string
  readonly ownerUid: string
  readonly stop: AbortController
  percent: number | undefined
}

/** Follows workers by key. It is a {@link Watch}: a key comes up when its progress has changed. */
export class ProgressReader implements Watch {
  readonly synced = Promise.resolve()
  readonly #followed = new Map<string, Followed>()
  readonly #fetchPage: FetchPage
  readonly #clock: Clock
  readonly #log: Log
  #enqueue: ((key: ObjectKey) => void) | undefined

  constructor({ fetchPage, clock, log }: { fetchPage: FetchPage; clock: Clock; log: Log }) {
    this.#fetchPage = fetchPage
    this.#clock = clock
    this.#log = log
  }

  subscribe(enqueue: (key: ObjectKey) => void): () => void {
    this.#enqueue = enqueue
    return () => {
      this.#enqueue = undefined
      for (const { stop } of this.#followed.values()) stop.abort()
      this.#followed.clear()
    }
  }

  /** Asks a worker from now on; with undefined, no longer. Calling it again with the same pod changes nothing. */
  follow(key: ObjectKey, worker: { pod: Pod; ownerUid: string } | undefined): void {
    const name = formatKey(key)
    const url = worker && metricsUrl(worker.pod)
    const present = this.#followed.get(name)
    if (present && worker && present.url === url && present.ownerUid === worker.ownerUid) return
    present?.stop.abort()
    this.#followed.delete(name)
    if (!worker || !url || !this.#enqueue) return
    const followed: Followed = { url, ownerUid: worker.ownerUid, stop: new AbortController(), percent: undefined }
    this.#followed.set(name, followed)
    void this.#ask(key, followed)
  }

  /** What the worker of a key said last, 0–100. */
  percentOf(key: ObjectKey): number | undefined {
    return this.#followed.get(formatKey(key))?.percent
  }

  async #ask(key: ObjectKey, followed: Followed): Promise<void> {
    const { signal } = followed.stop
    for (let waitMs = firstMs; ; waitMs = intervalMs) {
      try {
        await this.#clock.sleep(waitMs, signal)
        const page = await this.#fetchPage(followed.url, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]))
        const percent = parseProgress(page, followed.ownerUid)
        if (signal.aborted) return
        if (percent !== undefined && percent !== followed.percent) {
          followed.percent = percent
          this.#enqueue?.(key)
        }
      } catch (error) {
        if (signal.aborted) return
        this.#log.trace({ key: formatKey(key), err: error }, 'a worker did not tell its progress')
      }
    }
  }
}
