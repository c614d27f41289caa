import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { pino } from 'pino'
import { parse } from 'yaml'
import { kinds } from '../../../../src/api/kinds.ts'
import type { ApiService, CustomResourceDefinition, Secret } from '../../../../src/api/kinds.ts'
import { createAuthority, issueServerCertificate } from '../../../../src/certs/authority.ts'
import { certificateAnnotations, certificateNames } from '../../../../src/certs/names.ts'
import { mutatingWebhooks, uploadApiService, validatingWebhooks } from '../../../../src/certs/ca-injection.ts'
import { certificatesController } from '../../../../src/controllers/certificates/controller.ts'
import { Cache } from '../../../../src/kube/cache.ts'
import { connect } from '../../../../src/kube/client.ts'
import type { ConnectedClient } from '../../../../src/kube/client.ts'
import { formatTime, systemClock } from '../../../../src/kube/clock.ts'
import { runController } from '../../../../src/kube/controller.ts'
import type { Kind, KubeObject } from '../../../../src/kube/object.ts'
import { silentLog } from '../../../../src/log.ts'
import type { Log } from '../../../../src/log.ts'
import { startApiServer } from '../../../fixtures/apiserver.ts'
import type { ApiServer } from '../../../fixtures/apiserver.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { eventually } from '../control-plane.ts'

const { apiServer, uploadProxy, uploadServer, uploadClient } = certificateNames
const families = [apiServer, uploadProxy, uploadServer, uploadClient]
const hourMs = 3_600_000

/** What the controller must be allowed to do, and nothing more: the rules of the installation. */
const clusterRules = [
  {
    apiGroups: ['admissionregistration.k8s.io'],
    resources: ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations'],
    verbs: ['get', 'list', 'watch'],
  },
  {
    apiGroups: ['admissionregistration.k8s.io'],
    resources: ['validatingwebhookconfigurations', 'mutatingwebhookconfigurations'],
    resourceNames: [...validatingWebhooks, ...mutatingWebhooks],
    verbs: ['patch'],
  },
  { apiGroups: ['apiregistration.k8s.io'], resources: ['apiservices'], verbs: ['get', 'list', 'watch'] },
  {
    apiGroups: ['apiregistration.k8s.io'],
    resources: ['apiservices'],
    resourceNames: [uploadApiService],
    verbs: ['patch'],
  },
  { apiGroups: ['cdi.kubevirt.io'], resources: ['cdis'], verbs: ['get', 'list', 'watch'] },
]
const namespaceRules = [
  { apiGroups: [''], resources: ['secrets', 'configmaps'], verbs: ['get', 'list', 'watch', 'create'] },
  {
    apiGroups: [''],
    resources: ['secrets'],
    resourceNames: families.flatMap((names) => ('leaf' in names ? [names.signer, names.leaf] : [names.signer])),
    verbs: ['patch', 'delete'],
  },
  {
    apiGroups: [''],
    resources: ['configmaps'],
    resourceNames: families.map(({ bundle }) => bundle),
    verbs: ['patch', 'delete'],
  },
]

describe('certificates controller against a real API server', () => {
  let api: ApiServer
  let client: ConnectedClient
  let serial = 0

  before(async () => {
    api = await startApiServer()
    client = api.client()
    const file = join(import.meta.dirname, '../../../../crds/cdis.cdi.kubevirt.io.yaml')
    const crd = parse(await readFile(file, 'utf8')) as CustomResourceDefinition
    await client.create(kinds.customResourceDefinition, crd)
    await eventually('CDIs are served', async () => (await client.list(kinds.cdi)).items.length === 0)
  })
  after(() => api[Symbol.asyncDispose]())

  async function newNamespace(): Promise<string> {
    const name = `certs-${serial++}`
    await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    return name
  }

  /** A controller process; ended with the test. */
  function run(cdiNamespace: string, own: ConnectedClient = api.client(), log: Log = silentLog()): AsyncDisposable {
    const stop = new AbortController()
    const held = { client: own, log: silentLog() }
    const caches = {
      cdis: new Cache({ ...held, kind: kinds.cdi }),
      cdiSecrets: new Cache({ ...held, kind: kinds.secret, namespace: cdiNamespace }),
      cdiConfigMaps: new Cache({ ...held, kind: kinds.configMap, namespace: cdiNamespace }),
    }
    const certificates = certificatesController({
      client: own,
      log,
      clock: systemClock,
      caches,
      cdiNamespace,
      installer: {},
    })
    const running = [
      ...Object.values(caches).map((cache) => cache.start(stop.signal)),
      certificates.start(stop.signal),
      runController(certificates.spec, { log, signal: stop.signal }),
    ]
    return {
      async [Symbol.asyncDispose]() {
        stop.abort(new Error('the test is over'))
        await Promise.all(running)
      },
    }
  }

  function secretOf(namespace: string, name: string): Promise<Secret | undefined> {
    return client.get(kinds.secret, { namespace, name })
  }

  async function bundleOf(namespace: string, name: string): Promise<string> {
    return (await client.get(kinds.configMap, { namespace, name }))?.data?.['ca-bundle.crt'] ?? ''
  }

  function textOf(secret: Secret | undefined, key: string): string {
    return Buffer.from(secret?.data?.[key] ?? '', 'base64').toString()
  }

  /** All objects are there and each leaf is trusted by its bundle. */
  async function settled(namespace: string): Promise<void> {
    await eventually('all certificates are there', async () => {
      for (const names of families) {
        if ((await bundleOf(namespace, names.bundle)) === '') return false
        if ('leaf' in names && !(await secretOf(namespace, names.leaf))) return false
      }
      return true
    })
  }

  async function change(kind: Kind, namespace: string, name: string, body: object): Promise<void> {
    await client.patch(kind, { namespace, name }, body, { type: 'merge' })
  }

  async function edit(namespace: string, name: string, annotations: Record<string, string | null>): Promise<void> {
    await change(kinds.secret, namespace, name, { metadata: { annotations } })
  }

  it('makes all Secrets and ConfigMaps as the contract has them', async () => {
    const namespace = await newNamespace()
    await using _ = run(namespace)
    await settled(namespace)
    await using dir = await tempDir('certs')
    const labels = (type: string): Record<string, string> => ({
      app: 'containerized-data-importer',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-operator',
      'auth.openshift.io/managed-certificate-type': type,
      'cdi.kubevirt.io': '',
    })
    const check = async (name: string, type: string, config: string, hosts?: string): Promise<X509Certificate> => {
      const secret = await secretOf(namespace, name)
      assert.ok(secret)
      assert.equal(secret.type, 'kubernetes.io/tls')
      assert.deepEqual(Object.keys(secret.data ?? {}).sort(), ['tls.crt', 'tls.key'])
      assert.deepEqual(secret.metadata.labels, labels(type))
      const certificate = new X509Certificate(textOf(secret, 'tls.crt'))
      const { CN: issuer } = certificate.toLegacyObject().issuer as { CN: string }
      assert.deepEqual(secret.metadata.annotations, {
        'auth.openshift.io/certificate-not-before': formatTime(certificate.validFromDate.getTime()),
        'auth.openshift.io/certificate-not-after': formatTime(certificate.validToDate.getTime()),
        'auth.openshift.io/certificate-issuer': issuer,
        'operator.cdi.kubevirt.io/certConfig': config,
        ...(hosts === undefined ? {} : { 'auth.openshift.io/certificate-hostnames': hosts }),
      })
      return certificate
    }
    const leafConfig = '{"lifetime":"24h0m0s","refresh":"12h0m0s"}'
    for (const names of families) {
      const authority = await check(names.signer, 'signer', '{"lifetime":"48h0m0s","refresh":"24h0m0s"}')
      assert.match(authority.subject, new RegExp(`^CN=${namespace}_${names.signer}@\\d+$`))
      const bundle = await client.get(kinds.configMap, { namespace, name: names.bundle })
      assert.deepEqual(bundle?.metadata.labels, labels('ca-bundle'))
      assert.deepEqual(Object.keys(bundle?.data ?? {}), ['ca-bundle.crt'])
      await writeFile(join(dir.path, names.bundle), bundle?.data?.['ca-bundle.crt'] ?? '')
    }
    const verify = async (bundle: string, leaf: string, ...args: string[]): Promise<void> => {
      const pem = textOf(await secretOf(namespace, leaf), 'tls.crt')
      await writeFile(join(dir.path, leaf), pem)
      const files = ['-CAfile', join(dir.path, bundle), join(dir.path, leaf)]
      await execa('openssl', ['verify', '-x509_strict', ...args, ...files])
    }
    for (const [names, service] of [
      [apiServer, 'cdi-api'],
      [uploadProxy, 'cdi-uploadproxy'],
    ] as const) {
      const hosts = [service, `${service}.${namespace}`, `${service}.${namespace}.svc`]
      await check(names.leaf, 'target', leafConfig, hosts.join(','))
      for (const host of hosts) {
        await verify(names.bundle, names.leaf, '-purpose', 'sslserver', '-verify_hostname', host)
      }
    }
    const leaf = await check(uploadClient.leaf, 'target', leafConfig)
    assert.equal(leaf.subject, 'CN=client.upload-server.cdi.kubevirt.io')
    await verify(uploadClient.bundle, uploadClient.leaf, '-purpose', 'sslclient')
  })

  it('makes a new key and certificate of each Secret whose not-after is edited into the past', async () => {
    const namespace = await newNamespace()
    await using _ = run(namespace)
    await settled(namespace)
    const names = families.flatMap((family) => ('leaf' in family ? [family.signer, family.leaf] : [family.signer]))
    for (const name of names) {
      const old = await secretOf(namespace, name)
      const oldBundles = await Promise.all(families.map(({ bundle }) => bundleOf(namespace, bundle)))
      const past = formatTime(Date.now() - hourMs)
      await edit(namespace, name, { [certificateAnnotations.notAfter]: past })
      await eventually(`${name} is renewed`, async () => {
        const renewed = await secretOf(namespace, name)
        return (
          renewed?.data?.['tls.crt'] !== old?.data?.['tls.crt'] &&
          renewed?.data?.['tls.key'] !== old?.data?.['tls.key'] &&
          renewed?.metadata.annotations?.[certificateAnnotations.notAfter] !== past
        )
      })
      for (const [at, { signer, bundle }] of families.entries()) {
        if (signer !== name) continue
        await eventually(`${bundle} changes`, async () => {
          const text = await bundleOf(namespace, bundle)
          return text !== oldBundles[at] && text.includes(oldBundles[at] ?? '?')
        })
      }
    }
  })

  it('makes good what is deleted, emptied, stripped or of the wrong type', async () => {
    const namespace = await newNamespace()
    await using _ = run(namespace)
    await settled(namespace)
    const bundle = await bundleOf(namespace, apiServer.bundle)
    await change(kinds.configMap, namespace, apiServer.bundle, { data: null })
    await eventually('the bundle is back', async () => (await bundleOf(namespace, apiServer.bundle)) === bundle)
    await client.delete(kinds.configMap, { namespace, name: uploadServer.bundle })
    await eventually('the deleted bundle is back', async () => (await bundleOf(namespace, uploadServer.bundle)) !== '')
    await client.delete(kinds.secret, { namespace, name: uploadClient.leaf })
    await eventually('the leaf is back', async () => (await secretOf(namespace, uploadClient.leaf)) !== undefined)
    await edit(namespace, apiServer.leaf, { [certificateAnnotations.notBefore]: null })
    await eventually('the annotation is back', async () => {
      const secret = await secretOf(namespace, apiServer.leaf)
      return secret?.metadata.annotations?.[certificateAnnotations.notBefore] !== undefined
    })
    await change(kinds.secret, namespace, apiServer.signer, { metadata: { labels: { 'cdi.kubevirt.io': 'x' } } })
    await eventually('the label is back', async () => {
      return (await secretOf(namespace, apiServer.signer))?.metadata.labels?.['cdi.kubevirt.io'] === ''
    })
    for (const [name, extra] of [
      [uploadServer.signer, { type: 'Opaque' }],
      [uploadClient.signer, { type: 'kubernetes.io/tls', immutable: true }],
    ] as const) {
      const data = { 'tls.crt': 'eA==', 'tls.key': 'eA==' }
      await client.delete(kinds.secret, { namespace, name })
      await eventually('there is a broken one', async () => {
        await client.delete(kinds.secret, { namespace, name })
        await client.create(kinds.secret, {
          apiVersion: 'v1',
          kind: 'Secret',
          metadata: { namespace, name },
          data,
          ...extra,
        })
        return true
      })
      await eventually(`${name} is replaced`, async () => {
        const secret = await secretOf(namespace, name)
        return secret?.type === 'kubernetes.io/tls' && textOf(secret, 'tls.crt').includes('CERTIFICATE')
      })
    }
  })

  it('leaves the certificate alone that a user supplied for the proxy, and says so once', async () => {
    const namespace = await newNamespace()
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'Example CA', lifetimeMs: 96 * hourMs, now })
    const order = { authority, hosts: ['upload.example.org'], lifetimeMs: 90 * hourMs, now }
    const own = await issueServerCertificate(order)
    const lines: string[] = []
    const log = pino({ level: 'info' }, { write: (line) => lines.push(line) })
    const key = { namespace, name: uploadProxy.leaf }
    const made = await client.create(kinds.secret, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: key,
      type: 'kubernetes.io/tls',
      data: {
        'tls.crt': Buffer.from(own.certPem).toString('base64'),
        'tls.key': Buffer.from(own.keyPem).toString('base64'),
      },
    })
    await using _ = run(namespace, api.client(), log)
    await settled(namespace)
    // The proxy's authority is made anew, and all else is looked at again.
    await edit(namespace, uploadProxy.signer, { [certificateAnnotations.notAfter]: formatTime(0) })
    await eventually('the authority is made anew', async () => {
      const secret = await secretOf(namespace, uploadProxy.signer)
      return secret?.metadata.annotations?.[certificateAnnotations.notAfter] !== formatTime(0)
    })
    await eventually('its bundle follows', async () => {
      return (await bundleOf(namespace, uploadProxy.bundle)).split('BEGIN').length === 3
    })
    assert.equal((await client.get(kinds.secret, key))?.metadata.resourceVersion, made.metadata.resourceVersion)
    const said = lines.filter((line) => line.includes('user supplied'))
    assert.equal(said.length, 1)
    assert.match(said[0] ?? '', /"secret":"cdi-uploadproxy-server-cert".*"subject":"CN=upload.example.org"/)
    assert.ok(!lines.join('').includes('PRIVATE KEY'))
    await client.delete(kinds.secret, key)
    await eventually('ours takes its place', async () => {
      return (await client.get(kinds.secret, key))?.metadata.annotations?.[certificateAnnotations.hosts] !== undefined
    })
  })

  it('re-issues everything when certConfig of the CDI changes, which then owns what is there', async () => {
    const namespace = await newNamespace()
    await using _ = run(namespace)
    await settled(namespace)
    const cdi = await client.create(kinds.cdi, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'CDI',
      metadata: { name: 'cdi' },
      spec: {
        certConfig: {
          ca: { duration: '40m', renewBefore: '10m' },
          server: { duration: '20m', renewBefore: '5m' },
          client: { duration: '20m', renewBefore: '5m' },
        },
      },
    })
    try {
      const names = families.flatMap((family) => ('leaf' in family ? [family.signer, family.leaf] : [family.signer]))
      await eventually('all is made anew', async () => {
        const secrets = await Promise.all(names.map((name) => secretOf(namespace, name)))
        return secrets.every((secret) => {
          const { validFromDate, validToDate } = new X509Certificate(textOf(secret, 'tls.crt'))
          const lastsMs = validToDate.getTime() - validFromDate.getTime()
          return lastsMs === 20 * 60_000 + 1000 || lastsMs === 40 * 60_000 + 1000
        })
      })
      await eventually('all is owned', async () => {
        const secrets = await Promise.all(names.map((name) => secretOf(namespace, name)))
        const bundles = await Promise.all(
          families.map(({ bundle: name }) => client.get(kinds.configMap, { namespace, name })),
        )
        return [...secrets, ...bundles].every((object) => {
          const [owner, ...others] = object?.metadata.ownerReferences ?? []
          return owner?.uid === cdi.metadata.uid && owner.controller === true && others.length === 0
        })
      })
    } finally {
      await client.delete(kinds.cdi, { name: 'cdi' })
      await eventually('the CDI is gone', async () => (await client.get(kinds.cdi, { name: 'cdi' })) === undefined)
    }
  })

  it('comes to rest when several run at the same time', async () => {
    const namespace = await newNamespace()
    await using _one = run(namespace)
    await using _two = run(namespace)
    await using _three = run(namespace)
    await settled(namespace)
    const versions = async (): Promise<string> => {
      const secrets = await client.list(kinds.secret, { namespace })
      const configMaps = await client.list(kinds.configMap, { namespace })
      return [...secrets.items, ...configMaps.items].map(({ metadata }) => metadata.resourceVersion).join()
    }
    let last = ''
    await eventually('nothing changes for a second', async () => {
      const before = await versions()
      await systemClock.sleep(1000)
      last = await versions()
      return last === before
    })
    for (const { signer, bundle } of families) {
      assert.ok((await bundleOf(namespace, bundle)).includes(textOf(await secretOf(namespace, signer), 'tls.crt')))
    }
  })

  describe('what the API server is told', () => {
    const registrations: [Kind<KubeObject & Record<string, unknown>>, readonly string[]][] = [
      [kinds.validatingWebhookConfiguration as Kind<never>, validatingWebhooks],
      [kinds.mutatingWebhookConfiguration as Kind<never>, mutatingWebhooks],
    ]

    function webhook(name: string, namespace: string, service = 'cdi-api') {
      return {
        name: `${name}.cdi.kubevirt.io`,
        clientConfig: { service: { namespace, name: service, path: '/x', port: 443 } },
        rules: [{ apiGroups: ['x.example'], apiVersions: ['v1'], resources: ['x'], operations: ['CREATE'] }],
        sideEffects: 'None',
        admissionReviewVersions: ['v1', 'v1beta1'],
      }
    }

    async function register(namespace: string): Promise<void> {
      const labels = { 'cdi.kubevirt.io': 'cdi-api' }
      for (const [kind, names] of registrations) {
        for (const name of names) {
          await client.create(kind, {
            apiVersion: 'admissionregistration.k8s.io/v1',
            kind: kind.kind,
            metadata: { name, labels },
            webhooks: [webhook('one', namespace), webhook('two', namespace, 'elsewhere')],
          })
        }
      }
      await client.create(kinds.apiService, {
        apiVersion: 'apiregistration.k8s.io/v1',
        kind: 'APIService',
        metadata: { name: uploadApiService, labels },
        spec: {
          group: 'upload.cdi.kubevirt.io',
          version: 'v1beta1',
          groupPriorityMinimum: 1000,
          versionPriority: 15,
          insecureSkipTLSVerify: true,
          service: { namespace, name: 'cdi-api', port: 443 },
        },
      })
    }

    async function unregister(): Promise<void> {
      for (const [kind, names] of registrations) for (const name of names) await client.delete(kind, { name })
      await client.delete(kinds.apiService, { name: uploadApiService })
    }

    async function told(): Promise<{ ours: (string | undefined)[]; others: (string | undefined)[] }> {
      const ours: (string | undefined)[] = []
      const others: (string | undefined)[] = []
      for (const [kind, names] of registrations) {
        for (const name of names) {
          const found = await client.get(kind, { name })
          const [one, two] = (found?.['webhooks'] ?? []) as { clientConfig: { caBundle?: string } }[]
          ours.push(one?.clientConfig.caBundle)
          others.push(two?.clientConfig.caBundle)
        }
      }
      const service: ApiService | undefined = await client.get(kinds.apiService, { name: uploadApiService })
      ours.push(service?.spec?.caBundle)
      return { ours, others }
    }

    async function follows(namespace: string): Promise<boolean> {
      const bundle = Buffer.from(await bundleOf(namespace, apiServer.bundle)).toString('base64')
      return bundle !== '' && (await told()).ours.every((caBundle) => caBundle === bundle)
    }

    it('follows the bundle: at first, after a rotation, and when somebody empties it', async () => {
      const namespace = await newNamespace()
      try {
        await using _ = run(namespace)
        await settled(namespace)
        await register(namespace)
        await eventually('all are told', () => follows(namespace))
        const { ours, others } = await told()
        assert.equal(ours.length, 8)
        assert.deepEqual(new Set(others), new Set([undefined]))
        const before = await bundleOf(namespace, apiServer.bundle)
        await edit(namespace, apiServer.signer, { [certificateAnnotations.notAfter]: formatTime(0) })
        await eventually('the bundle changes', async () => (await bundleOf(namespace, apiServer.bundle)) !== before)
        await eventually('all are told of the change', () => follows(namespace))
        await change(kinds.validatingWebhookConfiguration, namespace, 'cdi-api-validate', {
          webhooks: [webhook('one', namespace), webhook('two', namespace, 'elsewhere')],
        })
        await eventually('it is told again', () => follows(namespace))
      } finally {
        await unregister()
      }
    })

    it('is left alone where it leads into another namespace', async () => {
      const namespace = await newNamespace()
      try {
        await register('another')
        await using _ = run(namespace)
        await settled(namespace)
        await edit(namespace, apiServer.leaf, { [certificateAnnotations.notAfter]: formatTime(0) })
        await eventually('it has been through once more', async () => {
          const secret = await secretOf(namespace, apiServer.leaf)
          return secret?.metadata.annotations?.[certificateAnnotations.notAfter] !== formatTime(0)
        })
        assert.deepEqual(new Set((await told()).ours), new Set([undefined]))
      } finally {
        await unregister()
      }
    })

    it('can be done with the rights of the installation alone', async () => {
      const namespace = await newNamespace()
      try {
        await register(namespace)
        await using dir = await tempDir('rights')
        await using own = await withRights(namespace, dir.path)
        await using _ = run(namespace, own.client)
        await settled(namespace)
        await eventually('all are told', () => follows(namespace))
        const name = uploadServer.signer
        await client.delete(kinds.secret, { namespace, name })
        await eventually('an immutable one is there', async () => {
          await client.delete(kinds.secret, { namespace, name })
          const metadata = { namespace, name }
          await client.create(kinds.secret, { apiVersion: 'v1', kind: 'Secret', metadata, immutable: true })
          return true
        })
        await eventually('it is replaced', async () => (await secretOf(namespace, name))?.type === 'kubernetes.io/tls')
        const before = await bundleOf(namespace, apiServer.bundle)
        await edit(namespace, apiServer.signer, { [certificateAnnotations.notAfter]: formatTime(0) })
        await eventually('the bundle changes', async () => (await bundleOf(namespace, apiServer.bundle)) !== before)
        await eventually('all are told of the change', () => follows(namespace))
      } finally {
        await unregister()
      }
    })

    /** A client of a service account that may do what the rules say. */
    async function withRights(
      namespace: string,
      dir: string,
    ): Promise<AsyncDisposable & { readonly client: ConnectedClient }> {
      const rbac = { apiVersion: 'rbac.authorization.k8s.io/v1' }
      const base = '/apis/rbac.authorization.k8s.io/v1'
      const metadata = { name: `cdi-${namespace}` }
      const subjects = [{ kind: 'ServiceAccount', namespace, name: 'cdi-sa' }]
      const roleRef = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name: metadata.name })
      const post = async (path: string, body: object): Promise<Record<string, Record<string, string>>> => {
        const answer = await client.raw('POST', path, body)
        assert.equal(answer.status, 201, JSON.stringify(answer.body))
        return answer.body as Record<string, Record<string, string>>
      }
      const account = { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'cdi-sa' } }
      await post(`/api/v1/namespaces/${namespace}/serviceaccounts`, account)
      await post(`${base}/clusterroles`, { ...rbac, kind: 'ClusterRole', metadata, rules: clusterRules })
      await post(`${base}/clusterrolebindings`, {
        ...rbac,
        kind: 'ClusterRoleBinding',
        metadata,
        subjects,
        roleRef: roleRef('ClusterRole'),
      })
      const inNamespace = `${base}/namespaces/${namespace}`
      await post(`${inNamespace}/roles`, { ...rbac, kind: 'Role', metadata, rules: namespaceRules })
      await post(`${inNamespace}/rolebindings`, {
        ...rbac,
        kind: 'RoleBinding',
        metadata,
        subjects,
        roleRef: roleRef('Role'),
      })
      const { status } = await post(`/api/v1/namespaces/${namespace}/serviceaccounts/cdi-sa/token`, {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        spec: { audiences: ['https://kubernetes.default.svc'] },
      })
      const config = JSON.parse(await readFile(api.kubeconfig, 'utf8')) as { users: { user: { token: string } }[] }
      for (const { user } of config.users) user.token = status?.['token'] ?? ''
      const kubeconfig = join(dir, 'kubeconfig')
      await writeFile(kubeconfig, JSON.stringify(config), { mode: 0o600 })
      const own = connect({ kubeconfig })
      return { client: own, [Symbol.asyncDispose]: () => own.close() }
    }
  })
})
