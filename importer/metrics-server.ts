/**
 * The worker's metrics (contract: import §15): `https://<pod>:8443/metrics` with a self-signed certificate and no
 * authentication, one counter that the controller reads about every two seconds.
 */
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { Counter, Registry } from 'prom-client'
import { closable } from '../src/closable-server.ts'
import type { Progress } from './progress.ts'

export interface WorkerMetrics extends AsyncDisposable {
  readonly port: number
}

export interface WorkerMetricsOptions {
  readonly progress: Progress
  /** Value of the metric's only label. */
  readonly ownerUid: string
  readonly port: number
  readonly host?: string
  /** That of imports unless told. */
  readonly metric?: ProgressMetric
}

/** How a counter of progress is called. */
export interface ProgressMetric {
  readonly name: string
  readonly help: string
}

const importProgress: ProgressMetric = {
  name: 'kubevirt_cdi_import_progress_total',
  help: 'The import progress in percentage',
}

/** Starts the server; rejects if the port cannot be had. The certificate library is loaded here, off the transfer's start. */
export async function serveWorkerMetrics({
  progress,
  ownerUid,
  port,
  host,
  metric = importProgress,
}: WorkerMetricsOptions): Promise<WorkerMetrics> {
  const { selfSigned } = await import('../src/certs/self-signed.ts')
  const { certPem, keyPem } = await selfSigned({ commonName: 'cdi-importer', hosts: ['localhost'] })
  const registry = progressRegistry({ progress, ownerUid, metric })
  const server = createServer({ cert: certPem, key: keyPem }, (request, response) => {
    if (request.method !== 'GET' || request.url?.split('?')[0] !== '/metrics') {
      response.writeHead(404).end()
      return
    }
    registry.metrics().then(
      (text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text),
      () => response.writeHead(500).end(),
    )
  })
  const close = closable(server)
  await listen(server, port, host)
  return {
    port: (server.address() as AddressInfo).port,
    [Symbol.asyncDispose]: close,
  }
}

/** The registry behind `/metrics`; values have at most four decimals, so that no exponent is ever printed. */
export function progressRegistry({
  progress,
  ownerUid,
  metric = importProgress,
}: {
  progress: Progress
  ownerUid: string
  metric?: ProgressMetric
}): Registry {
  const registry = new Registry()
  const counter = new Counter({
    ...metric,
    labelNames: ['ownerUID'],
    registers: [],
    collect() {
      const { percent } = progress.snapshot()
      this.reset()
      if (percent !== undefined) this.inc({ ownerUID: ownerUid }, Math.floor(percent * 1e4) / 1e4)
    },
  })
  registry.registerMetric(counter)
  return registry
}

function listen(server: Server, port: number, host?: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
