/**
 * The proxy as a process of its own, as it runs in its pod: certificates and the key of tokens are files, the cluster is
 * reached over TLS. All names of upload servers lead to this machine. `node proxy-process.ts '{…}'` ({@link Settings}).
 */
import { Agent } from 'undici'
import { JsonClient } from '../../src/kube/client.ts'
import { createLog } from '../../src/log.ts'
import { createRegistry } from '../../src/metrics.ts'
import { runProxy } from '../../uploadproxy/run.ts'
import { lookupLoopback } from './proxy-under-test.ts'

export interface Settings {
  readonly kubernetes: string
  readonly kubernetesCa: string
  readonly directory: string
  readonly serverPort: number
  readonly graceMs: number
  readonly filesIntervalMs: number
}

const settings = JSON.parse(process.argv[2] ?? '') as Settings
const stop = new AbortController()
process.once('SIGTERM', () => stop.abort())
const dispatcher = new Agent({ connect: { ca: settings.kubernetesCa } })
const client = new JsonClient({
  credentials: {
    server: settings.kubernetes,
    namespace: 'cdi',
    access: async () => ({ headers: { authorization: 'Bearer proxy' }, dispatcher }),
    renew: () => undefined,
    close: () => dispatcher.destroy(),
  },
})
await runProxy({
  client,
  log: createLog({ name: 'cdi-uploadproxy' }),
  metrics: createRegistry(),
  page: [],
  host: '127.0.0.1',
  config: {
    port: 0,
    metricsPort: 0,
    namespace: 'cdi',
    serverCertDirectory: `${settings.directory}/server`,
    clientCertDirectory: `${settings.directory}/client`,
    publicKeyFile: `${settings.directory}/id_rsa.pub`,
    publicKeyPem: undefined,
  },
  reach: { port: settings.serverPort, lookup: lookupLoopback },
  filesIntervalMs: settings.filesIntervalMs,
  graceMs: settings.graceMs,
  signal: stop.signal,
})
await client.close()
