/** Objects of S3 and of Google's store: into every kind of volume, with and without credentials, disks and archives. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { PersistentVolumeClaimSpec } from '../../src/api/kinds.ts'
import { makeCerts } from '../fixtures/certs.ts'
import type { TestCerts } from '../fixtures/certs.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { startFakeGcs } from '../fixtures/fake-gcs.ts'
import { startGoogleFront } from '../fixtures/google-front.ts'
import type { GoogleFront } from '../fixtures/google-front.ts'
import { startVersitygw } from '../fixtures/versitygw.ts'
import type { Versitygw, VersitygwOptions } from '../fixtures/versitygw.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { archiveScript } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { startRelay } from './support/relay.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import type { Stage } from './support/stage.ts'

const stage = useStage(async (common) => {
  const { cluster, directory } = common
  const certs = await makeCerts({ dir: dirname(directory), subjectAltName: `IP:${cluster.hostAddress},IP:127.0.0.1` })
  const [store, secure] = await Promise.all([openStore(common, {}), openStore(common, { certs })])
  for (const name of ['raw', 'qcow2', 'tarGz'] as const) await store.put('closed', name, await file(common, name))
  for (const name of ['raw', 'compressedQcow2'] as const) await store.put('open', name, await file(common, name))
  await store.publish('open')
  await secure.put('closed', 'rawXz', await file(common, 'rawXz'))
  return { certs, store, secure, ...(await openGoogle(common, certs)) }
})

/** A store in the manner of Google: a door that everybody may pass, and one for tokens of the service account. */
async function openGoogle(
  common: Stage,
  certs: TestCerts,
): Promise<{ open: (object: string) => string; front: GoogleFront }> {
  const store = common.keep(await startFakeGcs())
  for (const name of ['raw', 'qcow2', 'rawXz'] as const)
    await store.put('images', `disks/${name}`, await file(common, name))
  const front = common.keep(await startGoogleFront({ store: store.origin, address: common.cluster.hostAddress, certs }))
  // Objects are served to requests for the store's own name only.
  const location = `location / { proxy_pass ${store.origin}; proxy_set_header Host 127.0.0.1:${store.port}; }`
  const door = await common.serve({ extra: location })
  return { open: (object) => door.url(`images/disks/${object}`), front }
}

interface PodStore extends Versitygw {
  /** The URL of an object as pods see it. */
  url(bucket: string, key: keyof typeof imageFiles | 'missing'): string
}

async function openStore({ cluster, keep }: Stage, options: VersitygwOptions): Promise<PodStore> {
  const store = keep(await startVersitygw(options))
  const { host } = keep(await startRelay(cluster, store.port))
  const origin = `${options.certs === undefined ? 'http' : 'https'}://${host}`
  return { ...store, url: (bucket, key) => `${origin}/${bucket}/${key}` }
}

function file({ directory }: Pick<Stage, 'directory'>, name: keyof typeof imageFiles): Promise<Buffer> {
  return readFile(join(directory, imageFiles[name]))
}

type S3Fields = NonNullable<NonNullable<Parameters<DataVolumeBuilder['source']>[0]>['s3']>

function s3Disk(url: string, more: Omit<S3Fields, 'url'> = {}): DataVolumeBuilder {
  return dataVolume('dv')
    .source({ s3: { url, ...more } })
    .storage('64Mi')
    .on(classes.immediate)
    .mode('Filesystem')
}

/** The Secret with the keys of the store’s owner. */
async function keys(scene: Scene): Promise<{ secretRef: string }> {
  const { accessKeyId, secretAccessKey } = stage().store.keys
  await scene.secret('keys', { accessKeyId, secretKey: secretAccessKey })
  return { secretRef: 'keys' }
}

describe('an object in an S3 store', { concurrency: 3 }, () => {
  for (const [name, mode] of [
    ['raw', 'Block'],
    ['qcow2', 'Filesystem'],
  ] as const) {
    scenario(
      `arrives whole in a ${mode} volume with the keys of the Secret, ${name}`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(s3Disk(stage().store.url('closed', name), await keys(scene)).mode(mode))
        await arrives(scene, stage().images)
        const shown = scene.seen.course('dv').map(({ progress }) => progress)
        assert.equal(shown.at(-1), '100.0%')
      },
    )
  }

  for (const [name, mode] of [
    ['raw', 'Filesystem'],
    ['compressedQcow2', 'Block'],
  ] as const) {
    scenario(
      `that everybody may read arrives whole in a ${mode} volume, ${name}`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(s3Disk(stage().store.url('open', name)).mode(mode))
        await arrives(scene, stage().images)
      },
    )
  }

  scenario(
    'behind a certificate of its own authority is trusted by the ConfigMap',
    () => stage().cluster,
    async (scene) => {
      await scene.configMap('ca', { 'whatever.you-like': stage().certs.caPem })
      const url = stage().secure.url('closed', 'rawXz')
      await scene.apply(s3Disk(url, { certConfigMap: 'ca', ...(await keys(scene)) }))
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'is not read with wrong keys, and the DataVolume says so',
    () => stage().cluster,
    async (scene) => {
      await scene.secret('keys', { accessKeyId: stage().store.keys.accessKeyId, secretKey: 'a-mere-guess' })
      await scene.apply(s3Disk(stage().store.url('closed', 'raw'), { secretRef: 'keys' }))
      await scene.shows(
        'dv',
        /^Running=False Error: Unable to connect to s3 data source: could not get s3 object: "closed\/raw": SignatureDoesNotMatch/,
      )
      assert.ok(!(await scene.report()).includes('a-mere-guess'), 'the key was told')
    },
  )

  scenario(
    'that is not there is told by its name',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(s3Disk(stage().store.url('closed', 'missing'), await keys(scene)))
      await scene.shows(
        'dv',
        /^Running=False Error: Unable to connect to s3 data source: could not get s3 object: "closed\/missing": NoSuchKey/,
      )
    },
  )

  scenario(
    'that does not fit is told with the known words',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(s3Disk(stage().store.url('open', 'compressedQcow2')).storage('16Mi'))
      await scene.shows('dv', /^Running=False Error: DataVolume too small to contain image$/)
    },
  )

  scenario(
    'that is an archive is unpacked',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(s3Disk(stage().store.url('closed', 'tarGz'), await keys(scene)).archive())
      await scene.succeeds('dv')
      assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
    },
  )

  scenario(
    'comes by a VolumeImportSource too',
    () => stage().cluster,
    async (scene) => {
      const { secretRef } = await keys(scene)
      await scene.create(kinds.volumeImportSource, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'VolumeImportSource',
        metadata: { name: 'golden' },
        spec: { source: { s3: { url: stage().store.url('closed', 'qcow2'), secretRef } } },
      })
      const dataSourceRef = { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'golden' }
      await claim(scene, { dataSourceRef })
      await scene.until('the claim to be filled', () => podPhase(scene) === 'Succeeded' && isBound(scene))
      await assertDisk(scene, stage().images)
    },
  )
})

describe('an object in Google’s store', { concurrency: 3 }, () => {
  function gcsDisk(url: string, more: { secretRef?: string } = {}): DataVolumeBuilder {
    return dataVolume('dv')
      .source({ gcs: { url, ...more } })
      .storage('64Mi')
      .on(classes.immediate)
      .mode('Filesystem')
  }

  for (const [name, mode] of [
    ['raw', 'Block'],
    ['qcow2', 'Filesystem'],
  ] as const) {
    scenario(
      `that everybody may read arrives whole in a ${mode} volume, ${name}`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(gcsDisk(stage().open(name)).mode(mode))
        await arrives(scene, stage().images)
      },
    )
  }

  scenario(
    'that is not for everybody is refused to those without an account, and the DataVolume says so',
    () => stage().cluster,
    async (scene) => {
      const door = await stage().serve({ extra: 'location / { return 401; }' })
      await scene.apply(gcsDisk(door.url('images/disks/raw')))
      await scene.shows('dv', /^Running=False Error: Unable to connect to gcs data source: .*401/)
    },
  )

  scenario(
    'is not read with a Secret that lacks credentials.json',
    () => stage().cluster,
    async (scene) => {
      const { front } = stage()
      await scene.secret('account', { 'key.json': front.serviceAccount })
      await scene.apply(gcsDisk(`${front.origin}/images/disks/raw`, { secretRef: 'account' }))
      await scene.shows('dv', /^Running=False Error: .*credentials\.json/)
    },
  )

  // The token endpoint of the account has to be https, and of a DataVolume's gcs source the API has no field for an authority.
  for (const [name, volumeMode] of [
    ['qcow2', 'Block'],
    ['rawXz', 'Filesystem'],
  ] as const) {
    scenario(
      `arrives whole in a ${volumeMode} volume with the service account of the Secret, ${name}`,
      () => stage().cluster,
      async (scene) => {
        const { front, certs, images } = stage()
        await scene.secret('account', { 'credentials.json': front.serviceAccount })
        await scene.configMap('ca', { 'ca.pem': certs.caPem })
        const annotations = {
          'cdi.kubevirt.io/storage.import.source': 'gcs',
          'cdi.kubevirt.io/storage.import.endpoint': `${front.origin}/images/disks/${name}`,
          'cdi.kubevirt.io/storage.import.secretName': 'account',
          'cdi.kubevirt.io/storage.import.certConfigMap': 'ca',
        }
        await claim(scene, { annotations, volumeMode })
        await scene.until('the claim to be filled', () => podPhase(scene) === 'Succeeded')
        await assertDisk(scene, images)
      },
    )
  }
})

/** A claim without a DataVolume. */
async function claim(
  scene: Scene,
  {
    annotations = {},
    ...spec
  }: Pick<PersistentVolumeClaimSpec, 'volumeMode' | 'dataSourceRef'> & { annotations?: Record<string, string> },
): Promise<void> {
  await scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'dv', annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: classes.immediate,
      resources: { requests: { storage: '64Mi' } },
      ...spec,
    },
  })
}

function podPhase(scene: Scene): string | undefined {
  return scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase']
}

function isBound(scene: Scene): boolean {
  return scene.pvc('dv')?.status?.phase === 'Bound'
}

describe('the digest of an object, on a claim that was annotated by hand', { concurrency: 2 }, () => {
  const order = (checksum: string): Record<string, string> => ({
    'cdi.kubevirt.io/storage.import.source': 's3',
    'cdi.kubevirt.io/storage.import.endpoint': stage().store.url('open', 'compressedQcow2'),
    'cdi.kubevirt.io/storage.import.checksum': checksum,
  })

  scenario(
    'lets the import pass when it is right',
    () => stage().cluster,
    async (scene) => {
      const digest = createHash('sha512')
        .update(await file(stage(), 'compressedQcow2'))
        .digest('hex')
      await claim(scene, { annotations: order(`sha512:${digest}`) })
      await scene.until('the claim to be filled', () => podPhase(scene) === 'Succeeded')
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'fails it for good when it is wrong',
    () => stage().cluster,
    async (scene) => {
      await claim(scene, { annotations: order(`sha1:${'0'.repeat(40)}`) })
      await scene.until('the failure', () => podPhase(scene) === 'Failed')
      const annotations = scene.pvc('dv')?.metadata.annotations ?? {}
      assert.equal(annotations['cdi.kubevirt.io/storage.condition.running.reason'], 'ChecksumError')
      assert.equal(annotations['cdi.kubevirt.io/storage.import.fatalError'], 'true')
    },
  )
})
