/**
 * The way to the upload proxy for clients on this machine: its Service directly where the machine has a route to it (the
 * embedded cluster), else through `kubectl port-forward`. TLS is verified, always.
 */
import { writeFile } from 'node:fs/promises'
import { Agent } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { execa } from 'execa'
import { kinds } from '../../../src/api/kinds.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { installNamespace } from './cluster.ts'
import type { TestCluster } from './cluster.ts'
import { portForward } from './port-forward.ts'
import type { PortForwardOptions } from './port-forward.ts'
import type { Stage } from './stage.ts'

/** Where TCP connections to the proxy go. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** What curl has to say about a request. */
export interface CurlAnswer {
  /** 0 if there was no answer. */
  readonly status: number
  readonly body: string
  /** Names in lower case; the last value of each. */
  readonly headers: Readonly<Record<string, string>>
  readonly seconds: number
  /** Exit code of curl: 0 if the exchange was in order, whatever the status. */
  readonly exitCode: number
}

/** The name that the proxy's certificate bears. */
const serverName = `cdi-uploadproxy.${installNamespace}.svc`

/** The proxy, or something before it that passes everything through. */
export class UploadProxy {
  readonly address: Address
  readonly serverName = serverName
  readonly ca: string
  /** {@link ca} as a file. */
  readonly caFile: string
  /** What URLs of the proxy begin with. Only for clients that are told the {@link address} besides. */
  readonly origin = `https://${serverName}`

  constructor({ address, ca, caFile }: { address: Address; ca: string; caFile: string }) {
    this.address = address
    this.ca = ca
    this.caFile = caFile
  }

  /** The same proxy through a relay. */
  at(address: Address): UploadProxy {
    return new UploadProxy({ address, ca: this.ca, caFile: this.caFile })
  }

  /** The URL of a path for clients that verify the certificate by {@link serverName}, not by the URL. */
  url(path: string): string {
    return `https://${this.address.host}:${this.address.port}${path}`
  }

  /** For node:https. Whoever makes it ends it with `destroy`. */
  agent(): Agent {
    return new Agent({ ca: this.ca, servername: this.serverName, keepAlive: true })
  }

  /** What {@link import('../../fixtures/virtctl.ts').virtctl} takes for the network. */
  get route(): { host: string; port: number; ca: string; serverName: string } {
    return { ...this.address, ca: this.ca, serverName: this.serverName }
  }

  /** Runs curl on a path of the proxy. A connection that breaks is an answer with status 0. */
  async curl(path: string, args: readonly string[] = [], signal?: AbortSignal): Promise<CurlAnswer> {
    const { host, port } = this.address
    const way = ['--silent', '--show-error', '--cacert', this.caFile, '--connect-to', `::${host}:${port}`]
    const { stdout, exitCode = -1 } = await execa(
      'curl',
      [...way, '--write-out', '\n%{header_json}\n\x1f%{json}', ...args, `${this.origin}${path}`],
      { reject: false, ...(signal ? { cancelSignal: signal } : {}) },
    )
    const [said = '', facts = '{}'] = stdout.split('\x1f')
    const headersAt = said.lastIndexOf('\n{')
    const headers = JSON.parse(said.slice(headersAt + 1).trim() || '{}') as Record<string, string[]>
    const { http_code = 0, time_total = 0 } = JSON.parse(facts) as { http_code?: number; time_total?: number }
    return {
      status: http_code,
      body: said.slice(0, Math.max(headersAt, 0)),
      headers: Object.fromEntries(Object.entries(headers).map(([name, values]) => [name, values.at(-1) ?? ''])),
      seconds: time_total,
      exitCode,
    }
  }
}

/** Finds the way; dispose of it after the last use. */
export async function openProxy({
  kube,
}: Pick<TestCluster, 'kube'>): Promise<AsyncDisposable & { proxy: UploadProxy }> {
  const things = new AsyncDisposableStack()
  const key = { namespace: installNamespace, name: 'cdi-uploadproxy' }
  const service = await kube.get(kinds.service, key)
  if (service === undefined) throw new Error('there is no upload proxy in this cluster: run `npm start`')
  const bundle = { ...key, name: 'cdi-uploadproxy-signer-bundle' }
  const ca = (await kube.get(kinds.configMap, bundle))?.data?.['ca-bundle.crt']
  if (ca === undefined) throw new Error('the authority of the upload proxy is not there')
  const caFile = join(things.use(await tempDir('proxy-ca')).path, 'ca.pem')
  await writeFile(caFile, ca)
  const direct = { host: service.spec?.clusterIP ?? '', port: 443 }
  const address = await wayTo(things, direct, { ...key, target: `svc/${key.name}`, port: 443 })
  return {
    proxy: new UploadProxy({ address, ca, caFile }),
    [Symbol.asyncDispose]: () => things.disposeAsync(),
  }
}

/** The address itself if something answers there, else the end of a tunnel that lasts as long as `things`. */
export async function wayTo(
  things: AsyncDisposableStack,
  direct: Address,
  tunnel: PortForwardOptions,
): Promise<Address> {
  if (await answers(direct)) return direct
  const { port } = things.use(await portForward(tunnel))
  return { host: '127.0.0.1', port }
}

function answers(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...address, timeout: 2000 })
    const end = (outcome: boolean): void => {
      socket.destroy()
      resolve(outcome)
    }
    socket.once('connect', () => end(true))
    socket.once('timeout', () => end(false))
    socket.once('error', () => end(false))
  })
}

/** The own things of a stage whose tests upload. */
export async function withProxy({ cluster, keep }: Pick<Stage, 'cluster' | 'keep'>): Promise<{ proxy: UploadProxy }> {
  const { proxy } = keep(await openProxy(cluster))
  return { proxy }
}
