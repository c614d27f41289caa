/**
 * Progress of running workers, read from their metrics (contract/datavolume.md §4, contract/import.md §15). A worker that
 * does not answer delays nobody: each is asked on its own, every two seconds, and only a new value makes its key come up.
 */
import { Agent, request } from 'undici'
import type { Pod } from '../../api/kinds.ts'
import type { Clock } from '../../kube/clock.ts'
import type { ObjectKey } from '../../kube/object.ts'
import type { Log } from '../../log.ts'
import { Follower } from './follower.ts'

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

interface Worker {
  readonly pod: Pod
  /** That progress is reported under. */
  readonly ownerUid: string
}

/** Follows workers by key; see {@link Follower}. */
export class ProgressReader extends Follower<Worker, number> {
  constructor({ fetchPage, clock, log }: { fetchPage: FetchPage; clock: Clock; log: Log }) {
    super({
      clock,
      isSame: (one, other) => metricsUrl(one.pod) === metricsUrl(other.pod) && one.ownerUid === other.ownerUid,
      ask: async ({ pod, ownerUid }, signal) => parseProgress(await fetchPage(metricsUrl(pod) ?? '', signal), ownerUid),
      onSilence: (key, err) => log.trace({ key, err }, 'a worker did not tell its progress'),
      firstMs,
      intervalMs,
      timeoutMs,
    })
  }

  /** Asks a worker from now on; with undefined, or while it has no address, nobody. */
  override follow(key: ObjectKey, worker: Worker | undefined): void {
    super.follow(key, worker && metricsUrl(worker.pod) !== undefined ? worker : undefined)
  }

  /** What the worker of a key said last, 0–100. */
  percentOf(key: ObjectKey): number | undefined {
    return this.followed(key)?.answer
  }
}
