/**
 * The API server of this repository as it is installed: with the rights, webhook configurations and the APIService of
 * deploy/cdi.yaml, in front of a real kube-apiserver. Only the way to it is another one: webhooks are called by URL, and the
 * Service is an alias of this machine, since there is no pod.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { parseAllDocuments } from 'yaml'
import { kinds } from '../../../src/api/kinds.ts'
import { runApiServer } from '../../../src/apiserver/run.ts'
import { createAuthority, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import type { ConnectedClient } from '../../../src/kube/client.ts'
import { silentLog } from '../../../src/log.ts'
import { kubectlDir } from '../../cluster/programs.ts'
import { startApiServer } from '../../fixtures/apiserver.ts'
import type { ApiServer } from '../../fixtures/apiserver.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { createCrds, eventually } from '../controllers/control-plane.ts'

const manifest = join(import.meta.dirname, '../../../deploy/cdi.yaml')
const account = 'system:serviceaccount:cdi:cdi-apiserver'
const dayMs = 24 * 60 * 60 * 1000

export const tokenPath = (namespace: string): string =>
  `/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/${namespace}/uploadtokenrequests`

export interface Installed extends AsyncDisposable {
  readonly api: ApiServer
  /** Of the administrator. */
  readonly admin: ConnectedClient
  /** Of a user without rights. */
  readonly alice: ConnectedClient
  /** Where our server listens. */
  readonly port: number
  readonly authority: CertificatePair
  /** Gives our server another certificate, as the kubelet does. */
  replaceCertificate(host: string): Promise<void>
  /** kubectl as a user or as the administrator; what it says on both outputs, and how it ends. */
  kubectl(args: readonly string[], more?: { input?: object; as?: string }): Promise<{ out: string; exitCode: number }>
  newNamespace(): Promise<string>
}

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly namespace?: string }
  readonly spec?: object
  readonly webhooks?: readonly { clientConfig: { url?: string; caBundle?: string; service?: { path?: string } } }[]
}

export async function install(): Promise<Installed> {
  const stack = new AsyncDisposableStack()
  try {
    const dir = stack.use(await tempDir('cdi-apiserver'))
    const api = stack.use(await startApiServer({ frontProxy: true, users: [account, 'alice'] }))
    const admin = api.client()
    await createCrds(admin)
    for (const name of ['cdi', 'kube-system']) await ensureNamespace(admin, name)
    const manifests = parseAllDocuments(await readFile(manifest, 'utf8')).map((document) => document.toJS() as Manifest)
    await create(
      admin,
      manifests.filter(({ kind }) => ['CDI', 'ServiceAccount'].includes(kind) || kind.includes('Role')),
    )

    const authority = await createAuthority({ commonName: 'cdi-ca', lifetimeMs: dayMs, now: Date.now() })
    const certificateFor = (host: string): Promise<CertificatePair> =>
      issueServerCertificate({
        authority,
        hosts: [host, 'cdi-api.cdi.svc', 'localhost', '127.0.0.1'],
        lifetimeMs: dayMs,
        now: Date.now(),
      })
    const [certFile, keyFile] = [join(dir.path, 'tls.crt'), join(dir.path, 'tls.key')]
    const replaceCertificate = async (host: string): Promise<void> => {
      const { certPem, keyPem } = await certificateFor(host)
      await Promise.all([writeFile(certFile, certPem), writeFile(keyFile, keyPem)])
    }
    await replaceCertificate('cdi-api')

    const stop = new AbortController()
    const listening = Promise.withResolvers<number>()
    const running = runApiServer({
      client: api.client(account),
      log: silentLog(),
      namespace: 'cdi',
      certFile,
      keyFile,
      port: 0,
      host: '127.0.0.1',
      version: '1.2.3',
      fileIntervalMs: 200,
      drainMs: 0,
      onListening: listening.resolve,
      signal: stop.signal,
    })
    stack.defer(async () => {
      stop.abort(new Error('the test is over'))
      await running
    })
    running.catch(listening.reject)
    const port = await listening.promise

    const caBundle = Buffer.from(authority.certPem).toString('base64')
    await create(admin, [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { name: 'cdi-api', namespace: 'cdi' },
        spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port: 443 }] },
      },
      ...manifests.flatMap((object) => registrations(object, port, caBundle)),
    ])
    const kubectl = join(await kubectlDir(), 'kubectl')
    let serial = 0
    const installed: Installed = {
      api,
      admin,
      alice: api.client('alice'),
      port,
      authority,
      replaceCertificate,
      async kubectl(args, { input, as } = {}) {
        const kubeconfig = as === undefined ? api.kubeconfig : api.kubeconfigOf(as)
        const { all, exitCode } = await execa(kubectl, [`--kubeconfig=${kubeconfig}`, ...args], {
          ...(input === undefined ? {} : { input: JSON.stringify(input) }),
          env: { HOME: dir.path },
          all: true,
          reject: false,
        })
        return { out: all, exitCode: exitCode ?? -1 }
      },
      async newNamespace() {
        const name = `t${serial++}`
        await ensureNamespace(admin, name)
        return name
      },
      [Symbol.asyncDispose]: () => stack.disposeAsync(),
    }
    await untilRegistered(installed)
    return installed
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

/** Webhook configurations and the APIService, pointed at a port of this machine. */
function registrations(object: Manifest, port: number, caBundle: string): Manifest[] {
  if (object.kind === 'APIService') {
    const spec = { ...object.spec, service: { name: 'cdi-api', namespace: 'cdi', port }, caBundle }
    return [{ ...object, spec }]
  }
  if (!object.kind.endsWith('WebhookConfiguration')) return []
  const webhooks = (object.webhooks ?? []).map((webhook) => ({
    ...webhook,
    clientConfig: { url: `https://127.0.0.1:${port}${webhook.clientConfig.service?.path}`, caBundle },
  }))
  return [{ ...object, webhooks }]
}

async function create(client: ConnectedClient, objects: readonly Manifest[]): Promise<void> {
  for (const object of objects) {
    const { apiVersion, kind, metadata } = object
    const plural = `${kind.toLowerCase()}s`
    const root = apiVersion === 'v1' ? '/api/v1' : `/apis/${apiVersion}`
    const where = metadata.namespace === undefined ? '' : `/namespaces/${metadata.namespace}`
    const { status, body } = await client.raw('POST', `${root}${where}/${plural}`, object)
    if (status !== 201) throw new Error(`cannot create ${kind} ${metadata.name}: ${JSON.stringify(body)}`)
  }
}

async function ensureNamespace(client: ConnectedClient, name: string): Promise<void> {
  if (await client.get(kinds.namespace, { name })) return
  await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
}

/** The API server notices new webhooks and APIServices only after some moments. */
async function untilRegistered(installed: Installed): Promise<void> {
  const { admin } = installed
  const namespace = await installed.newNamespace()
  await eventually('the webhooks are called', async () => {
    const invalid = {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'DataVolume',
      metadata: { name: 'probe', namespace },
      spec: { source: { blank: {} } },
    }
    const path = `/apis/cdi.kubevirt.io/v1beta1/namespaces/${namespace}/datavolumes?dryRun=All`
    const { body } = await admin.raw('POST', path, invalid)
    return String((body as { message?: string }).message).includes('datavolume-validate.cdi.kubevirt.io')
  })
  await eventually('the API is available', async () => {
    const { status } = await admin.raw('GET', '/apis/upload.cdi.kubevirt.io/v1beta1')
    return status === 200
  })
}
