/** The upload proxy of the table of uploads: the pod's own program, with a cluster that has one claim, always ready. */
import type * as Config from '../../../uploadproxy/config.ts'
import type * as Run from '../../../uploadproxy/run.ts'
import type { ConfigMap, PersistentVolumeClaim } from '../../../src/api/kinds.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import type * as Logs from '../../../src/log.ts'
import type * as Metrics from '../../../src/metrics.ts'

const { BENCH_DIST = '', BENCH_CA = '', BENCH_SERVER_PORT = '', ...environment } = process.env
const load = async (path: string): Promise<unknown> => import(`${BENCH_DIST}/${path}.js`)
const { runProxy } = (await load('uploadproxy/run')) as typeof Run
const { parseProxyConfig } = (await load('uploadproxy/config')) as typeof Config
const { createRegistry } = (await load('src/metrics')) as typeof Metrics
const { silentLog } = (await load('src/log')) as typeof Logs

const metadata = { uid: 'uid', resourceVersion: '1', namespace: 'bench' }
const claim: PersistentVolumeClaim = {
  apiVersion: 'v1',
  kind: 'PersistentVolumeClaim',
  metadata: {
    ...metadata,
    name: 'disk',
    annotations: {
      'cdi.kubevirt.io/storage.upload.target': '',
      'cdi.kubevirt.io/storage.pod.phase': 'Running',
      'cdi.kubevirt.io/storage.pod.ready': 'true',
    },
  },
}
const bundle: ConfigMap = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { ...metadata, name: 'cdi-uploadserver-signer-bundle' },
  data: { 'ca-bundle.crt': BENCH_CA },
}

const client = {
  get: async ({ plural }: { plural: string }) => (plural === 'configmaps' ? bundle : claim),
  list: async () => ({ items: [], resourceVersion: '1' }),
  // Nothing ever happens.
  watch: (_kind: unknown, { signal }: { signal: AbortSignal }) => ({
    [Symbol.asyncIterator]: () => ({
      next: () =>
        new Promise<IteratorResult<never>>((resolve) => {
          signal.addEventListener('abort', () => resolve({ done: true, value: undefined }))
        }),
    }),
  }),
} as unknown as Pick<KubeClient, 'get' | 'list' | 'watch'>

const stop = new AbortController()
process.once('SIGTERM', () => stop.abort(new Error('the benchmark is over')))
await runProxy({
  config: parseProxyConfig(environment),
  client,
  log: silentLog(),
  metrics: createRegistry(),
  page: [],
  host: '127.0.0.1',
  reach: {
    port: Number(BENCH_SERVER_PORT),
    lookup: (_name, options, callback) => {
      const address = { address: '127.0.0.1', family: 4 }
      if (options.all) callback(null, [address])
      else callback(null, address.address, address.family)
    },
  },
  graceMs: 100,
  signal: stop.signal,
})
