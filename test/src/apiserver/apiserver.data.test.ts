import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { createPublicKey } from 'node:crypto'
import { kinds } from '../../../src/api/kinds.ts'
import type { DataVolume } from '../../../src/api/kinds.ts'
import type { NewObject } from '../../../src/kube/object.ts'
import { verifyToken } from '../../../src/tokens/token.ts'
import type { TokenClaims } from '../../../src/tokens/token.ts'
import { issueClientCertificate } from '../../../src/certs/authority.ts'
import { storageClass, storageProfile } from '../../fixtures/storage.ts'
import { eventually } from '../controllers/control-plane.ts'
import { install, tokenPath } from './installed.ts'
import type { Installed } from './installed.ts'
import { call, hourMs } from './serving.ts'

const apiVersion = 'cdi.kubevirt.io/v1beta1'
const storage = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '64Mi' } } }
const cloneToken = 'cdi.kubevirt.io/storage.clone.token'

let cdi: Installed
before(async () => {
  cdi = await install()
})
after(() => cdi[Symbol.asyncDispose]())

function dataVolume(namespace: string, spec: DataVolume['spec'], name = 'dv'): NewObject<DataVolume> {
  return { apiVersion, kind: 'DataVolume', metadata: { name, namespace }, spec: { storage, ...spec } }
}

async function verified(token: string | undefined): Promise<TokenClaims> {
  const secret = await cdi.admin.get(kinds.secret, { namespace: 'cdi', name: 'cdi-api-signing-key' })
  const publicKey = createPublicKey(Buffer.from(secret?.data?.['id_rsa.pub'] ?? '', 'base64').toString())
  return verifyToken({ token: token ?? '', publicKey, issuer: 'cdi-apiserver', now: Date.now() })
}

/** Binds alice, or a group, to a ClusterRole, or a Role, in a namespace. */
async function bind(
  namespace: string,
  role: string,
  { group, roleKind = 'ClusterRole' }: { group?: string; roleKind?: 'ClusterRole' | 'Role' } = {},
): Promise<void> {
  const subject = group === undefined ? { kind: 'User', name: 'alice' } : { kind: 'Group', name: group }
  const { status } = await cdi.admin.raw('POST', rbacPath(namespace, 'rolebindings'), {
    metadata: { generateName: 'bound-' },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: roleKind, name: role },
    subjects: [{ apiGroup: 'rbac.authorization.k8s.io', ...subject }],
  })
  assert.equal(status, 201)
}

function rbacPath(namespace: string, plural: string): string {
  return `/apis/rbac.authorization.k8s.io/v1/namespaces/${namespace}/${plural}`
}

/** A namespace in which alice may do what users may do with DataVolumes. */
async function homeOfAlice(): Promise<string> {
  const namespace = await cdi.newNamespace()
  await bind(namespace, 'cdi.kubevirt.io:edit')
  await eventually('the binding counts', async () => {
    const path = `${pathOf('datavolumes', namespace)}?dryRun=All`
    const { status } = await cdi.alice.raw('POST', path, dataVolume(namespace, { source: { blank: {} } }))
    return status === 201
  })
  return namespace
}

function pathOf(kind: string, namespace?: string): string {
  return `/apis/${apiVersion}${namespace === undefined ? '' : `/namespaces/${namespace}`}/${kind}`
}

describe('kubectl create of a DataVolume', () => {
  const deny = (webhook: string, message: string): string =>
    `Error from server: error when creating "STDIN": admission webhook "${webhook}.cdi.kubevirt.io" denied the request: ${message}`
  const rows: [string, object, string][] = [
    [
      'two sources',
      { storage, source: { blank: {}, http: { url: 'http://server/x' } } },
      deny('datavolume-validate', ' Multiple Data volume sources'),
    ],
    [
      'a bad URL',
      { storage, source: { http: { url: 'x.img' } } },
      deny('datavolume-validate', ' spec.source Invalid source URL: x.img'),
    ],
    [
      'a missing DataSource',
      { storage, sourceRef: { kind: 'DataSource', name: 'nothere' } },
      deny('datavolume-mutate', 'datasources.cdi.kubevirt.io "nothere" not found'),
    ],
    [
      'a malformed quantity',
      { storage: { resources: { requests: { storage: '64Mu' } } }, source: { blank: {} } },
      deny(
        'datavolume-mutate',
        "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
      ),
    ],
    ['no storage', { source: { blank: {} } }, deny('datavolume-validate', ' Missing Data volume PVC')],
    [
      'a source namespace that is missing',
      { storage, source: { pvc: { namespace: 'nothere', name: 'x' } } },
      deny('datavolume-mutate', 'namespaces "nothere" not found'),
    ],
  ]
  for (const [name, spec, expected] of rows) {
    it(`with ${name} shows what clients know`, async () => {
      const namespace = await cdi.newNamespace()
      const input = { apiVersion, kind: 'DataVolume', metadata: { name: 'dv', namespace }, spec }
      const { out, exitCode } = await cdi.kubectl(['create', '-f', '-'], { input })
      assert.deepEqual([out, exitCode], [expected, 1])
      const dry = await cdi.kubectl(['create', '--dry-run=server', '-f', '-'], { input })
      assert.equal(dry.out, expected)
    })
  }

  it('leaves to the schema what only the schema knows', async () => {
    const namespace = await cdi.newNamespace()
    const make = (spec: object): ReturnType<Installed['kubectl']> =>
      cdi.kubectl(['create', '--validate=false', '-f', '-'], {
        input: { apiVersion, kind: 'DataVolume', metadata: { name: 'dv', namespace }, spec },
      })
    assert.match(
      (await make({ storage, source: { pvc: { namespace: 'a' } } })).out,
      /spec\.source\.pvc\.name: Required value/,
    )
    assert.match((await make({ storage, contentType: 'iso' })).out, /supported values: "kubevirt", "archive"/)
    assert.match(
      (await make({ storage, source: { http: null } })).out,
      /denied the request: {2}Missing Data volume source/,
    )
  })

  it('finds a claim in the way, unless it may be adopted', async () => {
    const namespace = await cdi.newNamespace()
    const spec = { ...storage, storageClassName: '' }
    await cdi.admin.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'dv', namespace },
      spec,
    })
    const wanted = dataVolume(namespace, { source: { blank: {} } })
    await assert.rejects(cdi.admin.create(kinds.dataVolume, wanted), {
      message: `admission webhook "datavolume-validate.cdi.kubevirt.io" denied the request:  Destination PVC ${namespace}/dv already exists`,
      status: 422,
    })
    const annotations = { 'cdi.kubevirt.io/allowClaimAdoption': 'true' }
    await cdi.admin.create(kinds.dataVolume, { ...wanted, metadata: { ...wanted.metadata, annotations } })
  })
})

describe('an update of a DataVolume', () => {
  it('may change metadata and checkpoints, and nothing else', async () => {
    const namespace = await cdi.newNamespace()
    const vddk = { url: 'https://v/', secretRef: 's', uuid: 'u', backingFile: 'b', thumbprint: 't' }
    await cdi.admin.create(kinds.dataVolume, dataVolume(namespace, { source: { vddk } }))
    const key = { namespace, name: 'dv' }
    const patch = (body: object): Promise<DataVolume> => cdi.admin.patch(kinds.dataVolume, key, body, { type: 'merge' })
    await patch({ metadata: { labels: { a: 'b' } } })
    await patch({ spec: { checkpoints: [{ current: 'a', previous: '' }] } })
    await patch({ spec: { storage: { resources: { requests: { storage: '65536Ki' } } } } })
    await assert.rejects(patch({ spec: { preallocation: true } }), {
      message:
        'admission webhook "datavolume-validate.cdi.kubevirt.io" denied the request:  Cannot update DataVolume Spec',
    })
  })
})

describe('a clone from another namespace', () => {
  const clone = (home: string, away: string, name = 'dv'): NewObject<DataVolume> =>
    dataVolume(home, { source: { pvc: { namespace: away, name: 'golden' } } }, name)

  it('needs rights there, by which the token says so', async () => {
    const [home, away] = [await homeOfAlice(), await cdi.newNamespace()]
    const refusal = `admission webhook "datavolume-mutate.cdi.kubevirt.io" denied the request:  User alice has insufficient permissions in clone source namespace ${away}`
    await assert.rejects(cdi.alice.create(kinds.dataVolume, clone(home, away)), { message: refusal, status: 422 })
    await bind(away, 'cdi.kubevirt.io:clone-sourcer')
    let made: DataVolume | undefined
    await eventually('the binding counts', async () => {
      made = await cdi.alice.create(kinds.dataVolume, clone(home, away))
      return true
    })
    assert.deepEqual(await verified(made?.metadata.annotations?.[cloneToken]), {
      operation: 'Clone',
      name: 'golden',
      namespace: away,
      resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      params: { targetNamespace: home, targetName: 'dv' },
    })
  })

  it('is allowed to whoever may make pods there, with edit for example', async () => {
    const [home, away] = [await homeOfAlice(), await cdi.newNamespace()]
    await bind(away, 'cdi.kubevirt.io:edit')
    await eventually('the binding counts', async () => {
      await cdi.alice.create(kinds.dataVolume, clone(home, away))
      return true
    })
  })

  for (const group of ['system:serviceaccounts', 'system:serviceaccounts:team', 'system:authenticated']) {
    it(`is allowed to a service account by what its group ${group} may`, async () => {
      const [home, away] = [await cdi.newNamespace(), await cdi.newNamespace()]
      const groups = ['system:serviceaccounts', 'system:serviceaccounts:team', 'system:authenticated']
      const asAccount = ['--as=system:serviceaccount:team:builder', ...groups.map((each) => `--as-group=${each}`)]
      const create = (): ReturnType<Installed['kubectl']> =>
        cdi.kubectl(['create', '-f', '-', ...asAccount], { input: clone(home, away) })
      await bind(home, 'cdi.kubevirt.io:edit', { group: 'system:serviceaccounts:team' })
      await eventually('only the right on the source is missing', async () => {
        return /insufficient permissions in clone source namespace/.test((await create()).out)
      })
      await bind(away, 'cdi.kubevirt.io:clone-sourcer', { group })
      await eventually('the binding counts', async () => (await create()).exitCode === 0)
    })
  }

  it('of a snapshot is allowed to whoever may make pods and claims there', async () => {
    const [home, away] = [await homeOfAlice(), await cdi.newNamespace()]
    const wanted = dataVolume(home, { source: { snapshot: { namespace: away, name: 'monday' } } })
    const allow = async (resource: string): Promise<void> => {
      const rules = [{ apiGroups: [''], resources: [resource], verbs: ['create'] }]
      const metadata = { name: `makes-${resource}` }
      const { status } = await cdi.admin.raw('POST', rbacPath(away, 'roles'), { metadata, rules })
      assert.equal(status, 201)
      await bind(away, metadata.name, { roleKind: 'Role' })
    }
    await allow('pods')
    await eventually('alice may clone claims from there', async () => {
      await cdi.alice.create(kinds.dataVolume, clone(home, away, 'of-claim'))
      return true
    })
    await assert.rejects(cdi.alice.create(kinds.dataVolume, wanted), /insufficient permissions/)
    await allow('persistentvolumeclaims')
    let made: DataVolume | undefined
    await eventually('the binding counts', async () => {
      made = await cdi.alice.create(kinds.dataVolume, wanted)
      return true
    })
    const { resource } = await verified(made?.metadata.annotations?.[cloneToken])
    assert.equal(resource.resource, 'volumesnapshots')
  })

  it('may be edited by whoever has no rights there', async () => {
    const [home, away] = [await homeOfAlice(), await cdi.newNamespace()]
    await cdi.admin.create(kinds.dataVolume, clone(home, away))
    const labels = { mine: 'yes' }
    const changed = await cdi.alice.patch(
      kinds.dataVolume,
      { namespace: home, name: 'dv' },
      { metadata: { labels } },
      { type: 'merge' },
    )
    assert.deepEqual(changed.metadata.labels, labels)
  })

  it('may have a generated name, which its token contains', async () => {
    const namespace = await cdi.newNamespace()
    const { metadata: _, ...rest } = clone(namespace, namespace)
    const made = await cdi.admin.create(kinds.dataVolume, { ...rest, metadata: { generateName: 'disk-', namespace } })
    assert.match(made.metadata.name, /^disk-[a-z0-9]{5}$/)
    const { params } = await verified(made.metadata.annotations?.[cloneToken])
    assert.equal(params?.['targetName'], made.metadata.name)
  })

  it('by way of a DataSource is judged by what that stands for', async () => {
    const [home, away] = [await homeOfAlice(), await cdi.newNamespace()]
    await cdi.admin.create(kinds.dataSource, {
      apiVersion,
      kind: 'DataSource',
      metadata: { name: 'golden', namespace: home },
      spec: { source: { pvc: { namespace: away, name: 'golden' } } },
    })
    const wanted = dataVolume(home, { sourceRef: { kind: 'DataSource', name: 'golden' } })
    await assert.rejects(
      cdi.alice.create(kinds.dataVolume, wanted),
      /insufficient permissions in clone source namespace/,
    )
    const made = await cdi.admin.create(kinds.dataVolume, wanted)
    assert.equal((await verified(made.metadata.annotations?.[cloneToken])).namespace, away)
  })
})

describe('other resources', () => {
  it('are validated by their webhooks', async () => {
    const namespace = await cdi.newNamespace()
    const rows: [string, string, string | undefined, object, RegExp][] = [
      [
        'volumeimportsources',
        'VolumeImportSource',
        namespace,
        { spec: { source: {} } },
        /populator-validate\.\S+ denied the request: {2}Missing VolumeImport source$/,
      ],
      [
        'dataimportcrons',
        'DataImportCron',
        namespace,
        {
          spec: {
            schedule: 'x',
            managedDataSource: 'a',
            template: { spec: { storage, source: { registry: { url: 'docker://r/i' } } } },
          },
        },
        /dataimportcron-validate\.\S+ denied the request: {2}Illegal cron schedule$/,
      ],
      [
        'objecttransfers',
        'ObjectTransfer',
        undefined,
        { spec: { source: { kind: 'Pod', namespace: 'a', name: 'b' }, target: { name: 'c' } } },
        /objecttransfer-validate\.\S+ denied the request: {2}Unsupported kind "Pod"$/,
      ],
    ]
    for (const [plural, kind, where, object, message] of rows) {
      const { body } = await cdi.admin.raw('POST', pathOf(plural, where), {
        apiVersion,
        kind,
        metadata: { name: 'x' },
        ...object,
      })
      assert.match(String((body as { message?: string }).message), message)
    }
    const tooLong = { apiVersion, kind: 'VolumeUploadSource', metadata: { name: 'x'.repeat(64) }, spec: {} }
    const { body } = await cdi.admin.raw('POST', pathOf('volumeuploadsources', namespace), tooLong)
    assert.match(String((body as { message?: string }).message), /Name cannot be longer than 63 characters$/)
  })

  it('warn of ObjectTransfers', async () => {
    const { status, headers } = await cdi.admin.raw('POST', pathOf('objecttransfers'), {
      apiVersion,
      kind: 'ObjectTransfer',
      metadata: { name: 'move' },
      spec: { source: { kind: 'DataVolume', namespace: 'a', name: 'b' }, target: { name: 'c' } },
    })
    assert.equal(status, 201)
    assert.match(String(headers['warning']), /ObjectTransfer feature is deprecated, and will be deleted soon/)
  })

  it('let the installation be deleted only when the strategy does', async () => {
    const namespace = await cdi.newNamespace()
    await cdi.admin.create(kinds.dataVolume, dataVolume(namespace, { source: { blank: {} } }))
    const name = 'blocking'
    await cdi.admin.raw('POST', pathOf('cdis'), {
      apiVersion,
      kind: 'CDI',
      metadata: { name },
      spec: { uninstallStrategy: 'BlockUninstallIfWorkloadsExist' },
      status: { phase: 'Deployed' },
    })
    const { out } = await cdi.kubectl(['delete', 'cdi', name, '--dry-run=server'])
    assert.match(
      out,
      /rejecting the uninstall request, since there are still \d DataVolumes present\. Either delete all/,
    )
    await cdi.admin.patch(kinds.cdi, { name }, { spec: { uninstallStrategy: 'RemoveWorkloads' } }, { type: 'merge' })
    assert.ok(await cdi.admin.delete(kinds.cdi, { name }))
  })
})

describe('a claim with the label applyStorageProfile', () => {
  it('is completed from class and profile before Kubernetes looks at it', async () => {
    const namespace = await cdi.newNamespace()
    const name = `rendered-${namespace}`
    await cdi.admin.raw('POST', '/apis/storage.k8s.io/v1/storageclasses', {
      ...storageClass(name),
      metadata: { name },
    })
    const metadata = {
      name: 'claim',
      namespace,
      labels: { 'cdi.kubevirt.io/applyStorageProfile': 'true' },
    }
    const claim = {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata,
      spec: { volumeMode: 'FromStorageProfile', storageClassName: name, resources: { requests: { storage: '1Gi' } } },
    }
    await assert.rejects(cdi.admin.create(kinds.pvc, claim), {
      message: `admission webhook "pvc-mutate.cdi.kubevirt.io" denied the request: cannot get StorageProfile ${name}`,
    })
    const { status: profileStatus } = storageProfile(name, ['Block ReadWriteMany'])
    await cdi.admin.create(kinds.storageProfile, { apiVersion, kind: 'StorageProfile', metadata: { name }, spec: {} })
    await cdi.admin.patch(
      kinds.storageProfile,
      { name },
      { status: profileStatus },
      { type: 'merge', subresource: 'status' },
    )
    const made = await cdi.admin.create(kinds.pvc, claim)
    assert.deepEqual(
      [made.spec?.volumeMode, made.spec?.accessModes, made.spec?.resources?.requests],
      ['Block', ['ReadWriteMany'], { storage: '1073741824' }],
    )
  })
})

describe('the aggregated API', () => {
  const request = { metadata: { generateName: 'token-for-virtctl-' }, spec: { pvcName: 'disk' } }

  it('issues a token to whoever has the rights of an editor, and to nobody else', async () => {
    const namespace = await cdi.newNamespace()
    const refused = await cdi.alice.raw('POST', tokenPath(namespace), request)
    assert.equal(refused.status, 403)
    assert.equal((refused.body as { kind: string }).kind, 'Status')
    await bind(namespace, 'cdi.kubevirt.io:edit')
    await eventually('the binding counts', async () => {
      const { status, body } = await cdi.alice.raw('POST', tokenPath(namespace), request)
      if (status !== 200) return false
      const { metadata, status: answer } = body as { metadata: object; status: { token: string } }
      assert.deepEqual(metadata, request.metadata)
      assert.deepEqual(await verified(answer.token), {
        operation: 'Upload',
        name: 'disk',
        namespace,
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      })
      return true
    })
  })

  const manifest = (namespace: string, spec: object): object => ({
    apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
    kind: 'UploadTokenRequest',
    metadata: { name: 'disk', namespace },
    spec,
  })

  it('works with kubectl create and apply, for ordinary users too', async () => {
    const namespace = await homeOfAlice()
    const input = manifest(namespace, { pvcName: 'disk' })
    await eventually('the schema is known', async () => (await cdi.kubectl(['explain', 'utr'])).exitCode === 0)
    for (const verb of ['create', 'apply']) {
      const { out, exitCode } = await cdi.kubectl([verb, '-f', '-', '-o', 'jsonpath={.status.token}'], {
        input,
        as: 'alice',
      })
      assert.equal(exitCode, 0, out)
      assert.equal((await verified(out)).name, 'disk')
    }
  })

  it('shows kubectl what is wrong with a request', async () => {
    const namespace = await cdi.newNamespace()
    const create = async (spec: object, as?: string): Promise<string> =>
      (
        await cdi.kubectl(['create', '-f', '-'], {
          input: manifest(namespace, spec),
          ...(as === undefined ? {} : { as }),
        })
      ).out
    await eventually('the schema is known', async () => (await cdi.kubectl(['explain', 'utr'])).exitCode === 0)
    assert.match(await create({ pvcName: '' }), /spec\.pvcName: Required value/)
    assert.match(await create({ pvcName: 'a', pvcname: 'b' }), /strict decoding error: unknown field "spec\.pvcname"/)
    assert.match(
      await create({ pvcName: 'a' }, 'alice'),
      /^Error from server \(Forbidden\): .*User "alice" cannot create resource "uploadtokenrequests"/,
    )
  })

  it('is explained by kubectl, by its short name too', async () => {
    await eventually('the schema is known', async () => {
      const { out, exitCode } = await cdi.kubectl(['explain', 'utr.spec.pvcName'])
      return exitCode === 0 && /Name of the PersistentVolumeClaim that shall be filled/.test(out)
    })
    const { out } = await cdi.kubectl(['api-resources', '--api-group=upload.cdi.kubevirt.io', '--no-headers'])
    assert.match(
      out,
      /^uploadtokenrequests\s+utr,utrs\s+upload\.cdi\.kubevirt\.io\/v1beta1\s+true\s+UploadTokenRequest$/,
    )
  })

  it('has its key in a Secret that goes with the installation', async () => {
    const secret = await cdi.admin.get(kinds.secret, { namespace: 'cdi', name: 'cdi-api-signing-key' })
    assert.equal(secret?.metadata.labels?.['cdi.kubevirt.io'], 'keystore')
    assert.deepEqual(
      secret?.metadata.ownerReferences?.map(({ kind, name, controller }) => [kind, name, controller]),
      [['CDI', 'cdi', true]],
    )
  })
})

describe('while it runs', () => {
  /** Ends the handshake and tells the name in the server's certificate; rejects when there is none. */
  async function handshake(options: ConnectionOptions = {}): Promise<string> {
    const socket = connect({
      port: cdi.port,
      host: '127.0.0.1',
      servername: 'localhost',
      ca: cdi.authority.certPem,
      ...options,
    })
    try {
      await once(socket, 'secureConnect')
      return String(socket.getPeerCertificate().subject.CN)
    } finally {
      socket.destroy()
    }
  }

  it('takes over a new certificate, and the API server goes on with it', async () => {
    assert.equal(await handshake(), 'cdi-api')
    await cdi.replaceCertificate('renewed')
    await eventually('the new certificate is shown', async () => (await handshake()) === 'renewed')
    const namespace = await cdi.newNamespace()
    await assert.rejects(
      cdi.admin.create(kinds.dataVolume, dataVolume(namespace, { source: {} })),
      /Missing Data volume source/,
    )
  })

  it('follows the TLS profile of CDIConfig within ten seconds', async () => {
    const old = { maxVersion: 'TLSv1.2' } as const
    await cdi.admin.create(kinds.cdiConfig, {
      apiVersion,
      kind: 'CDIConfig',
      metadata: { name: 'config' },
      spec: { tlsSecurityProfile: { type: 'Modern' } },
    })
    const startedMs = performance.now()
    await eventually('an old client is refused', () =>
      handshake(old).then(
        () => false,
        (error: { code?: string }) => error.code === 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
      ),
    )
    await handshake()
    await cdi.admin.patch(
      kinds.cdiConfig,
      { name: 'config' },
      { spec: { tlsSecurityProfile: null } },
      { type: 'merge' },
    )
    await eventually('an old client comes in again', async () => (await handshake(old)) !== '')
    assert.ok(performance.now() - startedMs < 20_000)
  })

  it('follows which front proxies the cluster believes', async () => {
    const authority = cdi.api.frontProxyAuthority
    assert.ok(authority)
    const as = await issueClientCertificate({
      authority,
      commonName: 'second-proxy',
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    const post = (): ReturnType<typeof call> =>
      call({
        port: cdi.port,
        method: 'POST',
        path: tokenPath('default'),
        headers: { 'content-type': 'application/json', 'x-remote-user': 'admin', 'x-remote-group': 'system:masters' },
        body: JSON.stringify({ spec: { pvcName: 'disk' } }),
        as,
        ca: cdi.authority.certPem,
      })
    await assert.rejects(post())
    await cdi.admin.patch(
      kinds.configMap,
      { namespace: 'kube-system', name: 'extension-apiserver-authentication' },
      { data: { 'requestheader-allowed-names': '["front-proxy-client","second-proxy"]' } },
      { type: 'merge' },
    )
    await eventually('the second proxy comes in', async () => (await post()).status === 200)
  })
})
