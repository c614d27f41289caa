/** `cdi controller`: the control plane of imports, one leader at a time. Settings come from its Deployment. */
import { hostname } from 'node:os'
import { connect } from '../kube/client.ts'
import { LeadershipLostError } from '../kube/leader.ts'
import { clusterAuthorizer } from '../kube/metrics-access.ts'
import { serveMetrics } from '../kube/metrics-server.ts'
import { createLog } from '../log.ts'
import { createRegistry } from '../metrics.ts'
import { runControllers } from '../controllers/run.ts'
import { contractLog } from '../controllers/shared/contract-log.ts'
import { parseVerbosity } from './flags.ts'

const metricsPort = 8443

export async function main(args: readonly string[]): Promise<void> {
  const { env } = process
  const verbosity = parseVerbosity(args)
  const log = createLog({ name: 'cdi-controller', verbosity })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort(new Error(`received ${name}`)))

  const client = connect({ userAgent: 'cdi-controller' })
  const inCluster = env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBECONFIG'] === undefined
  const metrics = createRegistry()
  await using server = await serveMetrics({
    metrics,
    log,
    port: Number(env['METRICS_PORT'] ?? metricsPort),
    commonName: 'cdi-deployment',
    ...(inCluster ? { authorize: clusterAuthorizer({ client }) } : { host: '127.0.0.1' }),
  })
  try {
    await runControllers({
      client,
      log,
      metrics,
      namespace: env['CDI_NAMESPACE'] ?? (inCluster ? client.namespace : undefined) ?? 'cdi',
      host: hostname(),
      settings: {
        image: env['IMPORTER_IMAGE'] ?? '',
        pullPolicy: env['PULL_POLICY'] ?? 'IfNotPresent',
        verbosity,
        installer: { partOf: env['INSTALLER_PART_OF_LABEL'], version: env['INSTALLER_VERSION_LABEL'] },
      },
      onTlsProfile: server.setTlsProfile,
      contractLog: contractLog({ verbosity, now: Date.now }),
      signal: stop.signal,
    })
  } catch (error) {
    if (!(error instanceof LeadershipLostError)) throw error
    // Somebody else leads: nothing may be finished in peace, the kubelet starts this anew.
    process.exit(1)
  } finally {
    await client.close()
  }
}
