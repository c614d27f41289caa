/** What the proxy's Deployment tells it: the environment, read here and nowhere else. */

export interface ProxyConfig {
  readonly port: number
  readonly metricsPort: number
  /** Of the installation. */
  readonly namespace: string
  /** Where the certificates are mounted; each directory holds `tls.crt` and `tls.key`. */
  readonly serverCertDirectory: string
  readonly clientCertDirectory: string
  /** The key that tokens are verified with: a PEM file that is followed, or the PEM itself. One of both at least. */
  readonly publicKeyFile: string | undefined
  readonly publicKeyPem: string | undefined
}

/** @throws {Error} when a variable is missing or makes no sense */
export function parseProxyConfig(
  environment: Readonly<Record<string, string | undefined>>,
  namespace?: string,
): ProxyConfig {
  const config = {
    port: portOf(environment, 'PORT', 8443),
    metricsPort: portOf(environment, 'METRICS_PORT', 8444),
    namespace: environment['CDI_NAMESPACE'] || namespace || 'cdi',
    serverCertDirectory: environment['SERVER_CERT_DIRECTORY'] || '/var/run/certs/cdi-uploadproxy-server-cert',
    clientCertDirectory: environment['CLIENT_CERT_DIRECTORY'] || '/var/run/certs/cdi-uploadserver-client-cert',
    publicKeyFile: environment['APISERVER_PUBLIC_KEY_FILE'] || undefined,
    publicKeyPem: environment['APISERVER_PUBLIC_KEY'] || undefined,
  }
  if (config.publicKeyFile === undefined && config.publicKeyPem === undefined) {
    throw new Error('APISERVER_PUBLIC_KEY_FILE or APISERVER_PUBLIC_KEY must be set')
  }
  return config
}

function portOf(environment: Readonly<Record<string, string | undefined>>, name: string, usual: number): number {
  const text = environment[name]
  if (!text) return usual
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`${name} is no port: ${text}`)
  return port
}
