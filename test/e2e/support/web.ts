/** nginx on this machine at the address that pods see. */
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx, NginxOptions, NginxRequest } from '../../fixtures/nginx.ts'
import { freePort } from '../../fixtures/server-process.ts'
import type { TestCluster } from './cluster.ts'

export interface WebServer extends AsyncDisposable {
  /** Where it answers on 127.0.0.1 too. */
  readonly port: number
  /** The URL of a path as pods see it. */
  url(path: string): string
  /** The finished requests for a path. */
  requests(path: string): Promise<NginxRequest[]>
  /** What was sent of a path so far, in bytes, bodies only. */
  sentBytes(path: string): Promise<number>
}

/** Serves `root`; with `certs`, https (their names must hold the address of the cluster's host). */
export async function startWeb(
  { hostAddress }: Pick<TestCluster, 'hostAddress'>,
  { extra = '', ...options }: NginxOptions,
): Promise<WebServer> {
  const port = await freePort()
  const listen = `listen ${hostAddress}:${port}${options.certs ? ' ssl' : ''};`
  const nginx: Nginx = await startNginx({ ...options, extra: `${listen} ${extra}` })
  const requests = async (path: string): Promise<NginxRequest[]> =>
    (await nginx.requests()).filter(({ uri }) => uri === `/${path}`)
  return {
    port: nginx.port,
    url: (path) => `${options.certs ? 'https' : 'http'}://${hostAddress}:${port}/${path}`,
    requests,
    sentBytes: async (path) => (await requests(path)).reduce((sum, { bodyBytes }) => sum + bodyBytes, 0),
    [Symbol.asyncDispose]: () => nginx[Symbol.asyncDispose](),
  }
}
