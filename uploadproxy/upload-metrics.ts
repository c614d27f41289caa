/** What the proxy measures of uploads. Names are ours; no label grows with users, claims or namespaces. */
import { counter, gauge, histogram } from '../src/metrics.ts'
import type { Registry } from '../src/metrics.ts'
import type { UploadProtocol } from './paths.ts'

/** How a request ended. */
export type UploadOutcome =
  /** The server's answer went out, below 400. */
  | 'succeeded'
  /** The server's answer went out, 400 or above. */
  | 'refused_by_server'
  /** The proxy refused: token, claim. */
  | 'refused'
  /** The server did not become ready in time. */
  | 'timed_out'
  /** The server could not be reached or went away. */
  | 'broken'
  /** The client went away. */
  | 'aborted'

export interface UploadMetrics {
  readonly active: (protocol: UploadProtocol, by: 1 | -1) => void
  readonly waiting: (by: 1 | -1) => void
  readonly bytes: (protocol: UploadProtocol, count: number) => void
  readonly ended: (protocol: UploadProtocol, outcome: UploadOutcome, seconds: number) => void
}

export function uploadMetrics(registry: Registry): UploadMetrics {
  const active = gauge(registry, {
    name: 'kubevirt_cdi_uploadproxy_active_requests',
    help: 'Requests that are being passed on to an upload server',
    labels: ['protocol'],
  })
  const waiting = gauge(registry, {
    name: 'kubevirt_cdi_uploadproxy_waiting_requests',
    help: 'Requests whose upload server is not ready yet',
  })
  const bytes = counter(registry, {
    name: 'kubevirt_cdi_uploadproxy_bytes_total',
    help: 'Bytes of bodies that were passed on to upload servers',
    labels: ['protocol'],
  })
  const requests = counter(registry, {
    name: 'kubevirt_cdi_uploadproxy_requests_total',
    help: 'Requests by how they ended',
    labels: ['protocol', 'outcome'],
  })
  const durations = histogram(registry, {
    name: 'kubevirt_cdi_uploadproxy_request_duration_seconds',
    help: 'From the head of a request to the end of its answer',
    labels: ['protocol'],
    buckets: [0.01, 0.1, 1, 10, 60, 600, 3600],
  })
  return {
    active: (protocol, by) => active.inc({ protocol }, by),
    waiting: (by) => waiting.inc(by),
    bytes: (protocol, count) => bytes.inc({ protocol }, count),
    ended: (protocol, outcome, seconds) => {
      requests.inc({ protocol, outcome })
      durations.observe({ protocol }, seconds)
    },
  }
}
