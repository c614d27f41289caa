/**
 * A real kube-apiserver as the command sees it. Upload tokens come from the proxy of the test, whose key is not the
 * cluster's; everything else is passed on. What controllers would do to a volume the test does.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request as sendSecure } from 'node:https'
import type { AddressInfo } from 'node:net'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { annotations } from '../../../../src/api/annotations.ts'
import { kinds } from '../../../../src/api/kinds.ts'
import { closable } from '../../../../src/closable-server.ts'
import type { ConnectedClient } from '../../../../src/kube/client.ts'
import { startApiServer } from '../../../fixtures/apiserver.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { createCrds } from '../../controllers/control-plane.ts'

export interface ClusterFront extends AsyncDisposable {
  /** A kubeconfig for the front; its namespace is `team`. */
  readonly kubeconfig: string
  readonly client: ConnectedClient
  /** Answers requests for upload tokens. */
  tokens: (pvcName: string) => Promise<string> | { readonly status: number; readonly message: string }
  /** Upload tokens that were handed out. */
  handedOut: number
  /** Writes the status of a DataVolume, and makes its claim if there is none. */
  setPhase(name: string, phase: string, status?: object): Promise<void>
  setConfig(status: object): Promise<void>
}

export async function startClusterFront(): Promise<ClusterFront> {
  const stack = new AsyncDisposableStack()
  const api = stack.use(await startApiServer())
  const dir = stack.use(await tempDir('cluster-front'))
  const client = api.client()
  await createCrds(client)
  await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'team' } })
  await client.create(kinds.cdiConfig, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'CDIConfig',
    metadata: { name: 'config' },
    spec: {},
  })
  const config = JSON.parse(await readFile(api.kubeconfig, 'utf8')) as {
    clusters: { cluster: Record<string, string> }[]
    contexts: { context: Record<string, string> }[]
  }
  const ca = Buffer.from(config.clusters[0]?.cluster['certificate-authority-data'] ?? '', 'base64')
  const listener = createServer()
  stack.defer(closable(listener))
  listener.listen(0, '127.0.0.1')
  await new Promise((resolve) => listener.once('listening', resolve))
  const { port } = listener.address() as AddressInfo
  const kubeconfig = join(dir.path, 'kubeconfig')
  config.clusters[0] = { ...config.clusters[0], cluster: { server: `http://127.0.0.1:${port}` } }
  for (const { context } of config.contexts) context['namespace'] = 'team'
  await writeFile(kubeconfig, JSON.stringify(config))

  const front: ClusterFront = {
    kubeconfig,
    client,
    tokens: () => ({ status: 503, message: 'no tokens yet' }),
    handedOut: 0,
    async setPhase(name, phase, status = {}) {
      const key = { namespace: 'team', name }
      const dataVolume = await client.get(kinds.dataVolume, key)
      if ((await client.get(kinds.pvc, key)) === undefined && dataVolume !== undefined) {
        await client.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { ...key, annotations: { [annotations.uploadTarget]: '' } },
          spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } },
        })
      }
      await client.patch(
        kinds.dataVolume,
        key,
        { status: { phase, ...status } },
        { type: 'merge', subresource: 'status' },
      )
    },
    async setConfig(status) {
      await client.patch(kinds.cdiConfig, { name: 'config' }, { status }, { type: 'merge' })
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
  listener.on('request', (request, response) => {
    if (request.method === 'POST' && request.url?.endsWith('/uploadtokenrequests') === true) {
      void giveToken(front, request, response)
    } else passOn(new URL(request.url ?? '/', api.server), ca, request, response)
  })
  return front
}

async function giveToken(front: ClusterFront, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  const asked = JSON.parse(Buffer.concat(chunks).toString()) as { spec: { pvcName: string } }
  const given = front.tokens(asked.spec.pvcName)
  const answer = (status: number, body: object): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  if (!(given instanceof Promise)) {
    answer(given.status, { kind: 'Status', status: 'Failure', code: given.status, message: given.message })
    return
  }
  front.handedOut += 1
  answer(200, { ...asked, status: { token: await given } })
}

function passOn(url: URL, ca: Buffer, request: IncomingMessage, response: ServerResponse): void {
  const { host: _, ...headers } = request.headers
  const upstream = sendSecure(url, { method: request.method ?? 'GET', headers, ca, agent: false }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    response.flushHeaders()
    answer.pipe(response)
  })
  upstream.on('error', () => response.destroy())
  response.on('close', () => upstream.destroy())
  request.pipe(upstream)
}
