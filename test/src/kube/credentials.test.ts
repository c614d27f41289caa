import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { selfSigned } from '../../../src/certs/self-signed.ts'
import { connect, JsonClient } from '../../../src/kube/client.ts'
import { TestClock } from '../../../src/kube/clock.ts'
import { InClusterCredentials, inClusterOptions } from '../../../src/kube/in-cluster.ts'
import { KubeConfigCredentials } from '../../../src/kube/kubeconfig.ts'
import { tempDir } from '../../fixtures/server-process.ts'

interface TlsServer extends AsyncDisposable {
  readonly port: number
  readonly certPem: string
  /** What the clients proved to be: authorization header, or the name in the certificate. */
  readonly callers: string[]
  /** Only this header is let in, when set. */
  accepted: string | undefined
}

async function serveTls({ clientCa }: { clientCa?: string } = {}): Promise<TlsServer> {
  const { certPem, keyPem } = await selfSigned({ commonName: 'api', hosts: ['127.0.0.1', 'api.example'] })
  const callers: string[] = []
  const state: { accepted: string | undefined } = { accepted: undefined }
  const tls = {
    cert: certPem,
    key: keyPem,
    ...(clientCa ? { ca: clientCa, requestCert: true, rejectUnauthorized: false } : {}),
  }
  const server = createServer(tls, (request, response) => {
    const { authorization } = request.headers
    const { subject } = (
      request.socket as unknown as { getPeerCertificate(): { subject?: { CN?: string } } }
    ).getPeerCertificate()
    callers.push(authorization ?? subject?.CN ?? 'nobody')
    const isIn = state.accepted === undefined || authorization === state.accepted
    response.writeHead(isIn ? 200 : 401, { 'content-type': 'application/json' }).end('{"metadata":{"name":"x"}}')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    certPem,
    callers,
    get accepted() {
      return state.accepted
    },
    set accepted(header) {
      state.accepted = header
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}

const namespaces = { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false }
const key = { name: 'x' }

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}

function kubeconfig(server: TlsServer, user: object, cluster: object = {}): string {
  const url = `https://127.0.0.1:${server.port}/`
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      { name: 'c', cluster: { server: url, 'certificate-authority-data': base64(server.certPem), ...cluster } },
    ],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'here', context: { cluster: 'c', user: 'u', namespace: 'vms' } }],
    'current-context': 'here',
  })
}

describe('credentials of a pod', () => {
  it('are the token and the CA of the service account, the token read again after a minute and on 401', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('service-account')
    await writeFile(join(dir.path, 'token'), 'first\n')
    await writeFile(join(dir.path, 'ca.crt'), server.certPem)
    await writeFile(join(dir.path, 'namespace'), 'cdi')
    const environment = { KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(server.port) }
    const options = inClusterOptions(environment, dir.path)
    assert.ok(options)
    const clock = new TestClock()
    const credentials = new InClusterCredentials({ ...options, clock })
    const client = new JsonClient({ credentials })
    assert.equal(client.server, `https://127.0.0.1:${server.port}`)
    assert.equal(client.namespace, 'cdi')
    await client.get(namespaces, key)
    await writeFile(join(dir.path, 'token'), 'second')
    await client.get(namespaces, key)
    await clock.advance(60_000)
    await client.get(namespaces, key)
    await writeFile(join(dir.path, 'token'), 'third')
    server.accepted = 'Bearer third'
    await client.get(namespaces, key)
    await client.close()
    assert.deepEqual(server.callers, ['Bearer first', 'Bearer first', 'Bearer second', 'Bearer second', 'Bearer third'])
  })

  it('are not looked for outside of a pod', async () => {
    await using dir = await tempDir('no-service-account')
    assert.equal(inClusterOptions({ KUBERNETES_SERVICE_HOST: 'x', KUBERNETES_SERVICE_PORT: '1' }, dir.path), undefined)
    await writeFile(join(dir.path, 'token'), 't')
    assert.equal(inClusterOptions({}, dir.path), undefined)
  })

  it('reach an IPv6 address', () => {
    assert.equal(new InClusterCredentials({ host: 'fd00::1', port: '443' }).server, 'https://[fd00::1]:443')
  })
})

describe('credentials of a kubeconfig', () => {
  it('send a token, and read the file again on 401', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('kubeconfig')
    const file = join(dir.path, 'config')
    await writeFile(file, kubeconfig(server, { token: 'old' }))
    const client = connect({ kubeconfig: file })
    assert.equal(client.server, `https://127.0.0.1:${server.port}`)
    assert.equal(client.namespace, 'vms')
    await writeFile(file, kubeconfig(server, { token: 'new' }))
    server.accepted = 'Bearer new'
    assert.ok(await client.get(namespaces, key))
    assert.deepEqual(server.callers, ['Bearer old', 'Bearer new'])
    await client.close()
  })

  it('show a client certificate from files next to the kubeconfig', async () => {
    const user = await selfSigned({ commonName: 'a-user', hosts: [] })
    await using server = await serveTls({ clientCa: user.certPem })
    await using dir = await tempDir('kubeconfig')
    await mkdir(join(dir.path, 'pki'))
    await writeFile(join(dir.path, 'pki/user.crt'), user.certPem)
    await writeFile(join(dir.path, 'pki/user.key'), user.keyPem)
    const file = join(dir.path, 'config')
    await writeFile(file, kubeconfig(server, { 'client-certificate': 'pki/user.crt', 'client-key': 'pki/user.key' }))
    const client = connect({ kubeconfig: file })
    await client.get(namespaces, key)
    assert.deepEqual(server.callers, ['a-user'])
    await client.close()
  })

  it('ask an exec plug-in, and again when its token is not accepted', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('kubeconfig')
    const plugin = join(dir.path, 'plugin.sh')
    const credential =
      '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"call-%s"}}'
    await writeFile(
      plugin,
      `#!/bin/sh\necho x >> "${dir.path}/calls"\nprintf '${credential}' "$(wc -l < "${dir.path}/calls" | tr -d ' ')"\n`,
    )
    await chmod(plugin, 0o755)
    const file = join(dir.path, 'config')
    await writeFile(
      file,
      kubeconfig(server, { exec: { apiVersion: 'client.authentication.k8s.io/v1', command: plugin } }),
    )
    const client = connect({ kubeconfig: file })
    server.accepted = 'Bearer call-2'
    await client.get(namespaces, key)
    await client.get(namespaces, key)
    assert.deepEqual(server.callers, ['Bearer call-1', 'Bearer call-2', 'Bearer call-2'])
    await client.close()
  })

  it('send user and password, and take the name for TLS from the file', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('kubeconfig')
    const file = join(dir.path, 'config')
    await writeFile(
      file,
      kubeconfig(server, { username: 'me', password: 'secret' }, { 'tls-server-name': 'api.example' }),
    )
    const client = connect({ kubeconfig: file })
    await client.get(namespaces, key)
    assert.deepEqual(server.callers, [`Basic ${base64('me:secret')}`])
    await client.close()
  })

  it('refuse a server with a foreign certificate', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('kubeconfig')
    const file = join(dir.path, 'config')
    const { certPem } = await selfSigned({ commonName: 'other', hosts: ['127.0.0.1'] })
    await writeFile(file, kubeconfig(server, { token: 't' }, { 'certificate-authority-data': base64(certPem) }))
    const client = connect({ kubeconfig: file })
    await assert.rejects(client.raw('GET', '/'), /certificate/)
    assert.deepEqual(server.callers, [])
    await client.close()
  })

  it('are a usage error when file or context do not exist', async () => {
    await using server = await serveTls()
    await using dir = await tempDir('kubeconfig')
    const file = join(dir.path, 'config')
    await writeFile(file, kubeconfig(server, { token: 't' }))
    const usage = { code: 'CDI_USAGE' }
    assert.throws(() => new KubeConfigCredentials({ kubeconfig: join(dir.path, 'missing') }), usage)
    assert.throws(() => new KubeConfigCredentials({ kubeconfig: file, context: 'elsewhere' }), usage)
    assert.throws(() => new KubeConfigCredentials({ kubeconfig: file, context: 'elsewhere' }), /no context elsewhere/)
  })
})
