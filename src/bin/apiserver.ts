/** `cdi apiserver`: the aggregated API of uploads and the admission webhooks. Settings come from its Deployment. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { runApiServer } from '../apiserver/run.ts'
import { connect } from '../kube/client.ts'
import { createLog } from '../log.ts'
import { parseVerbosity } from './flags.ts'

const usualPort = 8443
/** Where the Deployment mounts Secret `cdi-apiserver-server-cert`. */
const usualCertificates = '/var/run/certs/cdi-apiserver-server-cert'

export async function main(args: readonly string[]): Promise<void> {
  const { env } = process
  const log = createLog({ name: 'cdi-apiserver', verbosity: parseVerbosity(args) })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort(new Error(`received ${name}`)))

  const client = connect({ userAgent: 'cdi-apiserver' })
  const inCluster = env['KUBERNETES_SERVICE_HOST'] !== undefined && env['KUBECONFIG'] === undefined
  const certificates = env['TLS_DIRECTORY'] ?? usualCertificates
  try {
    await runApiServer({
      client,
      log,
      namespace: env['CDI_NAMESPACE'] ?? (inCluster ? client.namespace : undefined) ?? 'cdi',
      certFile: join(certificates, 'tls.crt'),
      keyFile: join(certificates, 'tls.key'),
      port: Number(env['PORT'] ?? usualPort),
      // Outside of a cluster nobody but this machine has any business here.
      ...(inCluster ? {} : { host: '127.0.0.1' }),
      version: await ownVersion(),
      signal: stop.signal,
    })
  } catch (error) {
    // Told to end before it served anything.
    if (!stop.signal.aborted) throw error
  } finally {
    await client.close()
  }
}

/** The version in package.json, which lies beside the sources and beside the compiled program alike. */
async function ownVersion(): Promise<string> {
  const text = await readFile(join(import.meta.dirname, '../../package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}
