import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { parseAllDocuments } from 'yaml'
import { kinds } from '../../../../src/api/kinds.ts'
import type { CDI, CDIConfig, StorageClass, StorageProfile } from '../../../../src/api/kinds.ts'
import { configController } from '../../../../src/controllers/config/controller.ts'
import { createCaches } from '../../../../src/controllers/shared/caches.ts'
import { OwnWrites } from '../../../../src/controllers/shared/own-writes.ts'
import { storageProfileController } from '../../../../src/controllers/storageprofile/controller.ts'
import { isConflict } from '../../../../src/kube/client.ts'
import type { ConnectedClient } from '../../../../src/kube/client.ts'
import { systemClock } from '../../../../src/kube/clock.ts'
import { runController } from '../../../../src/kube/controller.ts'
import type { KubeObject } from '../../../../src/kube/object.ts'
import { silentLog } from '../../../../src/log.ts'
import { createRegistry } from '../../../../src/metrics.ts'
import { startApiServer } from '../../../fixtures/apiserver.ts'

const crdDirectory = new URL('../../../../crds/', import.meta.url)

async function installCrds(client: ConnectedClient): Promise<void> {
  const names: string[] = []
  for (const file of (await readdir(crdDirectory)).filter((name) => name.endsWith('.yaml'))) {
    for (const document of parseAllDocuments(await readFile(new URL(file, crdDirectory), 'utf8'))) {
      const crd = document.toJS() as KubeObject
      names.push(crd.metadata.name)
      await client.create(kinds.customResourceDefinition, crd as never)
    }
  }
  await eventually(async () => {
    const { items } = await client.list(kinds.customResourceDefinition)
    const served = items.filter((crd) =>
      crd.status?.conditions?.some(({ type, status }) => type === 'Established' && status === 'True'),
    )
    return served.length === names.length
  })
}

async function eventually(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await what()) return
    await delay(50)
  }
  assert.fail(`never happened: ${what.toString()}`)
}

describe('StorageProfiles and CDIConfig in an API server', () => {
  const stack = new AsyncDisposableStack()
  const metrics = createRegistry()
  let client: ConnectedClient

  before(async () => {
    const api = stack.use(await startApiServer())
    client = api.client()
    await installCrds(client)
    const log = silentLog()
    const caches = createCaches({ client, log, cdiNamespace: 'cdi' })
    const stop = new AbortController()
    const filled = caches.start(stop.signal)
    const shared = {
      client,
      caches,
      log,
      clock: systemClock,
      installer: { partOf: 'testing' },
      ownWrites: new OwnWrites(),
    }
    const specs = [
      storageProfileController({ ...shared, metrics }),
      configController({ ...shared, cdiNamespace: 'cdi' }),
    ]
    const running = specs.map((spec) => runController(spec, { log, signal: stop.signal }))
    stack.defer(async () => {
      stop.abort()
      await Promise.all([filled, ...running])
    })
  })
  after(() => stack.disposeAsync())

  function makeClass(
    name: string,
    provisioner: string,
    annotations: Record<string, string> = {},
  ): Promise<StorageClass> {
    return client.create(kinds.storageClass, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name, annotations },
      provisioner,
    })
  }

  async function profileOf(name: string, isAsWanted: (profile: StorageProfile) => boolean): Promise<StorageProfile> {
    let last: StorageProfile | undefined
    await eventually(async () => {
      last = await client.get(kinds.storageProfile, { name })
      return last !== undefined && isAsWanted(last)
    })
    return last as StorageProfile
  }

  async function configWith(isAsWanted: (config: CDIConfig) => boolean): Promise<CDIConfig> {
    let last: CDIConfig | undefined
    await eventually(async () => {
      last = await client.get(kinds.cdiConfig, { name: 'config' })
      return last !== undefined && isAsWanted(last)
    })
    return last as CDIConfig
  }

  async function series(storageClass: string): Promise<string[]> {
    const lines = (await metrics.metrics()).split('\n')
    return lines.filter((line) => line.includes(`storageclass="${storageClass}"`))
  }

  it('makes CDIConfig with its status where there is none, and again when it is deleted', async () => {
    const first = await configWith(({ status }) => status !== undefined)
    assert.deepEqual(first.spec, {})
    assert.deepEqual(first.metadata.labels, {
      app: 'containerized-data-importer',
      'cdi.kubevirt.io': '',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'app.kubernetes.io/part-of': 'testing',
    })
    await client.delete(kinds.cdiConfig, { name: 'config' })
    const second = await configWith(({ metadata }) => metadata.uid !== first.metadata.uid)
    assert.equal(second.status?.filesystemOverhead?.global, '0.06')
  })

  it('leaves a CDIConfig that people edit alone while there is no CDI, and follows it in the status', async () => {
    const spec = { filesystemOverhead: { global: '0.1' }, featureGates: ['HonorWaitForFirstConsumer'] }
    await client.patch(kinds.cdiConfig, { name: 'config' }, { spec }, { type: 'merge' })
    const config = await configWith(({ status }) => status?.filesystemOverhead?.global === '0.1')
    assert.deepEqual(config.spec, spec)
    await client.patch(kinds.cdiConfig, { name: 'config' }, { spec: { filesystemOverhead: null } }, { type: 'merge' })
    await configWith(({ status }) => status?.filesystemOverhead?.global === '0.06')
  })

  it('makes a profile for a class, again when it is deleted, and takes it away with the class', async () => {
    await makeClass('nfs', 'nfs.csi.k8s.io')
    const first = await profileOf('nfs', ({ status }) => status !== undefined)
    assert.deepEqual(first.spec, {})
    const { conditions, ...status } = first.status ?? {}
    assert.deepEqual(status, {
      storageClass: 'nfs',
      provisioner: 'nfs.csi.k8s.io',
      claimPropertySets: [{ accessModes: ['ReadWriteMany'], volumeMode: 'Filesystem' }],
      cloneStrategy: 'copy',
      dataImportCronSourceFormat: 'pvc',
    })
    assert.equal(conditions?.[0]?.reason, 'RecognizedProvisioner')
    await client.delete(kinds.storageProfile, { name: 'nfs' })
    const second = await profileOf(
      'nfs',
      ({ metadata, status }) => metadata.uid !== first.metadata.uid && status !== undefined,
    )
    assert.equal(second.status?.cloneStrategy, 'copy')
    const config = await configWith(({ status }) => status?.filesystemOverhead?.storageClass?.['nfs'] === '0.06')
    assert.ok(config)
    await client.delete(kinds.storageClass, { name: 'nfs' })
    await eventually(async () => (await client.get(kinds.storageProfile, { name: 'nfs' })) === undefined)
    await configWith(({ status }) => status?.filesystemOverhead?.storageClass?.['nfs'] === undefined)
    await eventually(async () => (await series('nfs')).length === 0)
  })

  it('follows corrections in the spec, and omits what is unknown', async () => {
    await makeClass('strange', 'somebody.example')
    const before = await profileOf('strange', ({ status }) => status !== undefined)
    assert.ok(!Object.hasOwn(before.status ?? {}, 'claimPropertySets'))
    const claimPropertySets = [{ accessModes: ['ReadWriteOnce'], volumeMode: 'Block' }]
    const key = { name: 'strange' }
    await client.patch(
      kinds.storageProfile,
      key,
      { spec: { claimPropertySets, cloneStrategy: 'csi-clone' } },
      { type: 'merge' },
    )
    await profileOf(
      'strange',
      ({ status }) => status?.claimPropertySets?.length === 1 && status.cloneStrategy === 'csi-clone',
    )
    await client.patch(
      kinds.storageProfile,
      key,
      { spec: { claimPropertySets: null, cloneStrategy: null } },
      { type: 'merge' },
    )
    const after = await profileOf('strange', ({ status }) => status?.cloneStrategy === 'copy')
    assert.deepEqual(after.status, before.status)
  })

  it('settles: nothing is written when nothing changes', async () => {
    await makeClass('quiet', 'ebs.csi.aws.com')
    const profile = await profileOf('quiet', ({ status }) => status !== undefined)
    const config = await configWith(({ status }) => status?.filesystemOverhead?.storageClass?.['quiet'] !== undefined)
    const { resourceVersion } = profile.metadata
    // Changes of the class that do not matter wake the controllers.
    await client.patch(kinds.storageClass, { name: 'quiet' }, { metadata: { labels: { a: 'b' } } }, { type: 'merge' })
    await delay(1_000)
    assert.equal((await client.get(kinds.storageProfile, { name: 'quiet' }))?.metadata.resourceVersion, resourceVersion)
    assert.equal(
      (await client.get(kinds.cdiConfig, { name: 'config' }))?.metadata.resourceVersion,
      config.metadata.resourceVersion,
    )
  })

  it('shows one series for each class and changes it with the annotations of the class', async () => {
    await makeClass('ceph', 'rook-ceph.rbd.csi.ceph.com')
    await eventually(async () => (await series('ceph')).length === 1)
    assert.match(
      (await series('ceph'))[0] ?? '',
      /complete="true",default="false",virtdefault="false",rwx="true",smartclone="false",degraded="true"\} 1$/,
    )
    const annotations = { 'storageclass.kubernetes.io/is-default-class': 'true' }
    await client.patch(kinds.storageClass, { name: 'ceph' }, { metadata: { annotations } }, { type: 'merge' })
    await client.create(kinds.csiDriver, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'CSIDriver',
      metadata: { name: 'rook-ceph.rbd.csi.ceph.com' },
      spec: {},
    })
    await eventually(
      async () =>
        (await series('ceph'))[0]?.includes(
          'default="true",virtdefault="false",rwx="true",smartclone="true",degraded="false"',
        ) ?? false,
    )
    assert.equal((await series('ceph')).length, 1)
  })

  it('collects the modes of volumes that were made by hand', async () => {
    await makeClass('manual', 'kubernetes.io/no-provisioner')
    await profileOf('manual', ({ status }) => status !== undefined && status.claimPropertySets === undefined)
    await client.create(kinds.pv, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: 'by-hand' },
      spec: {
        accessModes: ['ReadWriteOnce'],
        capacity: { storage: '1Gi' },
        hostPath: { path: '/nowhere' },
        storageClassName: 'manual',
        volumeMode: 'Filesystem',
      },
    })
    await profileOf('manual', ({ status }) => status?.claimPropertySets?.[0]?.volumeMode === 'Filesystem')
  })

  it('copies the settings of a CDI over edits of CDIConfig, and lets everything belong to it', async () => {
    const cdi: CDI = await client.create(kinds.cdi, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'CDI',
      metadata: { name: 'cdi' },
      spec: { config: { preallocation: true, filesystemOverhead: { storageClass: { ceph: '0.2' } } } },
    })
    const isOwned = ({ metadata }: KubeObject): boolean => metadata.ownerReferences?.[0]?.uid === cdi.metadata.uid
    const config = await configWith(({ status }) => status?.preallocation === true)
    assert.deepEqual(config.spec, cdi.spec.config)
    assert.equal(config.status?.filesystemOverhead?.storageClass?.['ceph'], '0.2')
    assert.ok(isOwned(config))
    await profileOf('ceph', isOwned)
    const edit = { spec: { preallocation: false, featureGates: ['Mine'] } }
    await client.patch(kinds.cdiConfig, { name: 'config' }, edit, { type: 'merge' })
    await configWith(
      ({ spec, status }) =>
        spec.preallocation === true && spec.featureGates === undefined && status?.preallocation === true,
    )
  })

  it('is not disturbed by others who write at the same time', async () => {
    await makeClass('busy', 'topolvm.io')
    const profile = await profileOf('busy', ({ status }) => status !== undefined)
    const { resourceVersion } = profile.metadata
    const write = (count: number, version?: string): Promise<StorageProfile> =>
      client.patch(
        kinds.storageProfile,
        { name: 'busy' },
        { metadata: { annotations: { count: String(count) }, ...(version ? { resourceVersion: version } : {}) } },
        { type: 'merge' },
      )
    for (let count = 0; count < 20; count++) {
      await client.patch(
        kinds.storageProfile,
        { name: 'busy' },
        { spec: { cloneStrategy: count % 2 ? 'copy' : 'snapshot' } },
        { type: 'merge' },
      )
      await write(count)
    }
    await assert.rejects(write(0, resourceVersion), isConflict)
    await profileOf('busy', ({ spec, status }) => spec.cloneStrategy === 'copy' && status?.cloneStrategy === 'copy')
  })
})
