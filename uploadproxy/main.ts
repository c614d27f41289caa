/** `cdi uploadproxy`: where uploads come in. Settings come from its Deployment; `args` may hold `-v=N`. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseVerbosity } from '../src/bin/flags.ts'
import { connect } from '../src/kube/client.ts'
import { serviceAccountDirectory } from '../src/kube/in-cluster.ts'
import { clusterAuthorizer } from '../src/kube/metrics-access.ts'
import { serveMetrics } from '../src/kube/metrics-server.ts'
import { createLog } from '../src/log.ts'
import { createRegistry } from '../src/metrics.ts'
import { parseProxyConfig } from './config.ts'
import { loadPage } from './page-files.ts'
import { runProxy } from './run.ts'
import { UserApi } from './user-api.ts'

export async function main(args: readonly string[]): Promise<void> {
  const { env } = process
  const log = createLog({ name: 'cdi-uploadproxy', verbosity: parseVerbosity(args) })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort(new Error(`received ${name}`)))

  const client = connect({ userAgent: 'cdi-uploadproxy' })
  const isInCluster = env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBECONFIG'] === undefined
  const config = parseProxyConfig(env, client.namespace)
  const metrics = createRegistry()
  await using metricsServer = await serveMetrics({
    metrics,
    log,
    port: config.metricsPort,
    commonName: 'cdi-uploadproxy',
    ...(isInCluster ? { authorize: clusterAuthorizer({ client }) } : { host: '127.0.0.1' }),
  })
  const ca = isInCluster ? await readFile(join(serviceAccountDirectory, 'ca.crt'), 'utf8') : undefined
  await using userApi = ca === undefined ? null : new UserApi({ server: client.server, ca: () => ca, now: Date.now })
  try {
    await runProxy({
      config,
      client,
      log,
      metrics,
      page: await loadPage(fileURLToPath(new URL('page/', import.meta.url))),
      userApi: userApi ?? undefined,
      onTlsProfile: metricsServer.setTlsProfile,
      ...(isInCluster ? {} : { host: '127.0.0.1' }),
      signal: stop.signal,
    })
  } finally {
    await client.close()
  }
}
