/** Disks in container images that the worker reads from a registry: which images, which trust, what goes wrong. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import { kinds } from '../../src/api/kinds.ts'
import { makeCerts } from '../fixtures/certs.ts'
import { artifact, blob, diskLayer, image, index, layer } from '../fixtures/container-images.ts'
import type { Content } from '../fixtures/container-images.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { registryUser } from '../fixtures/docker-registry.ts'
import { startTokenServer } from '../fixtures/token-server.ts'
import { startToxiproxy } from '../fixtures/toxiproxy.ts'
import type { Toxic } from '../fixtures/toxiproxy.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { execIn } from './support/exec.ts'
import { imageFiles } from './support/images.ts'
import { startRelay } from './support/relay.ts'
import { openRegistry, registryBehind, trustBlindly } from './support/registries.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import type { Stage } from './support/stage.ts'

const nodeArchitecture = process.arch === 'x64' ? 'amd64' : process.arch
const foreignArchitecture = nodeArchitecture === 'arm64' ? 'amd64' : 'arm64'

/** What a container disk tells about the machines that it is for, and about itself. */
const env = [
  'PATH=/usr/bin',
  'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_INSTANCETYPE=u1.medium',
  'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_INSTANCETYPE_KIND=VirtualMachineClusterInstancetype',
  'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora',
  'INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE_KIND=VirtualMachineClusterPreference',
  'KUBEVIRT_IO_A_B=from-the-image',
  'KUBEVIRT_IO_TAKEN=from-the-image',
]

/** A link so slow that a layer of 24 MiB takes twelve seconds on four connections. */
const slowLink = { type: 'bandwidth', attributes: { rate: 500 } } as const
/**
 * So slow that there is a middle: 150 s. It has to be seen even if other tests kill the controller, which tells nothing for
 * 25 s then each time.
 */
const slowestLink = { type: 'bandwidth', attributes: { rate: 40 } } as const
/** Shorter than that by far. */
const tokenLifetimeMs = 2000

const stage = useStage(async (common) => {
  const { cluster, directory, keep } = common
  const certs = await makeCerts({ dir: dirname(directory), subjectAltName: `IP:${cluster.hostAddress},IP:127.0.0.1` })
  const [secure, plain, guarded] = await Promise.all([
    openRegistry(common, { certs }),
    openRegistry(common),
    openRegistry(common, { certs, users: true }),
  ])
  for (const [name, content] of Object.entries(await contents(common))) await secure.push(name, 'v1', content)
  const raw = image({ layers: [await diskLayer(await file(common, 'raw'), 'zstd')] })
  await plain.push('disk', 'v1', raw)
  await guarded.push('disk', 'v1', raw)

  const toxiproxy = keep(await startToxiproxy())
  const slowPort = async (port: number, toxic: Toxic) => {
    const link = await toxiproxy.link(port)
    await link.add(toxic)
    return { link, relay: keep(await startRelay(cluster, link.port)) }
  }
  const tokens = keep(
    await startTokenServer({ credentials: { user: 'me', password: 'pass' }, certs, lifetimeMs: tokenLifetimeMs }),
  )
  const realm = `https://${keep(await startRelay(cluster, tokens.port)).host}/token`
  const expiring = await openRegistry(common, { certs, tokens: { ...tokens, realm } })
  await expiring.push('disk', 'v1', await largeLayer(common))

  const unverified = keep(await startRelay(cluster, secure.port))
  keep(await trustBlindly(cluster, [plain.relay.host, unverified.host, cluster.hostAddress]))
  return {
    certs,
    secure,
    guarded,
    plain,
    /** The same server as `plain`, of which only the address without the port is on the list. */
    unlisted: registryBehind(plain, keep(await startRelay(cluster, plain.port))),
    unverified: registryBehind(secure, unverified),
    tokens,
    expiring: registryBehind(expiring, (await slowPort(expiring.port, slowLink)).relay),
    slow: async () => {
      const { link, relay } = await slowPort(secure.port, slowestLink)
      return { link, registry: registryBehind(secure, relay) }
    },
  }
})

function file({ directory }: Pick<Stage, 'directory'>, name: keyof typeof imageFiles): Promise<Buffer> {
  return readFile(join(directory, imageFiles[name]))
}

/** The disk in a layer that is not compressed. */
async function largeLayer(common: Stage): Promise<Content> {
  return image({ layers: [await diskLayer(await file(common, 'raw'), 'none')] })
}

/** Everything that the tests import, by repository. */
async function contents(common: Stage): Promise<Record<string, Content>> {
  const [raw, qcow2, compressed, xz] = await Promise.all([
    file(common, 'raw'),
    file(common, 'qcow2'),
    file(common, 'compressedQcow2'),
    file(common, 'rawXz'),
  ])
  const others = await Promise.all(
    ['etc/hostname', 'usr/share/doc/readme', 'diskette/label', 'var/lib/disk/old.img'].map((name) =>
      layer([{ name, data: Buffer.from(`${name}\n`) }]),
    ),
  )
  const foreign = image({
    layers: [await diskLayer(Buffer.alloc(1024 * 1024, 'foreign'))],
    architecture: foreignArchitecture,
  })
  const own = image({ layers: [await diskLayer(qcow2)], architecture: nodeArchitecture })
  const zstd = await promisify(zstdCompress)(raw)
  const title = { 'org.opencontainers.image.title': 'disk.qcow2' }
  return {
    raw: image({ format: 'docker', layers: [...others, await diskLayer(raw), ...others], env }),
    qcow2: index([foreign, own]),
    'qcow2-docker': index([foreign, own], 'docker'),
    compressed: image({ layers: [await diskLayer(compressed, 'none', 'any name')] }),
    zstd: image({ layers: [await diskLayer(raw, 'zstd')] }),
    xz: image({ layers: [await diskLayer(xz, 'gzip', 'disk.img.xz')] }),
    'kubevirt-artifact': artifact({
      artifactType: 'application/vnd.kubevirt.disk.v1',
      layers: [blob('application/vnd.kubevirt.disk.raw+zstd', zstd)],
    }),
    'oras-artifact': artifact({
      artifactType: 'application/vnd.unknown.artifact.v1',
      layers: [blob('application/x-qemu-disk', qcow2, title)],
    }),
    large: await largeLayer(common),
    foreign,
    diskless: image({ layers: others }),
  }
}

type RegistryFields = NonNullable<NonNullable<Parameters<DataVolumeBuilder['source']>[0]>['registry']>

function disk(url: string, more: Omit<RegistryFields, 'url'> = {}): DataVolumeBuilder {
  return dataVolume('dv')
    .source({ registry: { url, ...more } })
    .storage('64Mi')
    .on(classes.immediate)
    .mode('Filesystem')
}

/** A DataVolume of an image in the registry with TLS, which is trusted by a ConfigMap. */
async function trustedDisk(
  scene: Scene,
  name: string,
  more: Omit<RegistryFields, 'url'> = {},
): Promise<DataVolumeBuilder> {
  await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
  return disk(stage().secure.url(name), { certConfigMap: 'ca', ...more })
}

describe('a disk in a container image', { concurrency: 3 }, () => {
  for (const [name, mode, what] of [
    ['zstd:v1', 'Filesystem', 'in a zstd layer'],
    ['qcow2:v1', 'Block', 'for this machine, among those of an index,'],
    ['qcow2-docker:v1', 'Filesystem', 'for this machine, among those of a manifest list,'],
    ['compressed:v1', 'Filesystem', 'of any name, as a compressed qcow2 in a plain layer,'],
    ['xz:v1', 'Block', 'that was packed before it went in'],
    ['kubevirt-artifact:v1', 'Block', 'exported by KubeVirt as an artifact'],
    ['oras-artifact:v1', 'Filesystem', 'pushed as an artifact'],
  ] as const) {
    scenario(
      `${what} arrives whole in a ${mode} volume`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply((await trustedDisk(scene, name)).mode(mode))
        await arrives(scene, stage().images)
      },
    )
  }

  for (const mode of ['Filesystem', 'Block'] as const) {
    scenario(
      `under other layers arrives whole in a ${mode} volume, and the image’s wishes become labels`,
      () => stage().cluster,
      async (scene) => {
        const builder = await trustedDisk(scene, 'raw:v1')
        await scene.apply(builder.mode(mode).label('kubevirt.io/taken', 'by-the-user'))
        await arrives(scene, stage().images)
        const own = {
          'instancetype.kubevirt.io/default-instancetype': 'u1.medium',
          'instancetype.kubevirt.io/default-instancetype-kind': 'VirtualMachineClusterInstancetype',
          'instancetype.kubevirt.io/default-preference': 'fedora',
          'instancetype.kubevirt.io/default-preference-kind': 'VirtualMachineClusterPreference',
        }
        assert.deepEqual(kubevirtLabels(scene.pvc('dv')), {
          ...own,
          'kubevirt.io/a-b': 'from-the-image',
          'kubevirt.io/taken': 'by-the-user',
        })
        await scene.until(
          'the labels of the DataVolume',
          () => Object.keys(kubevirtLabels(scene.dataVolume('dv'))).length > 1,
        )
        assert.deepEqual(kubevirtLabels(scene.dataVolume('dv')), { ...own, 'kubevirt.io/taken': 'by-the-user' })
      },
    )
  }

  scenario(
    'comes by a VolumeImportSource too',
    () => stage().cluster,
    async (scene) => {
      await scene.configMap('ca', { 'ca.pem': stage().certs.caPem })
      await scene.create(kinds.volumeImportSource, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'VolumeImportSource',
        metadata: { name: 'golden' },
        spec: { source: { registry: { url: stage().secure.url('compressed:v1'), certConfigMap: 'ca' } } },
      })
      await claim(scene, {}, { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'golden' })
      await filled(scene)
      await assertDisk(scene, stage().images)
    },
  )
})

function kubevirtLabels(object: { metadata: { labels?: Record<string, string> } } | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(object?.metadata.labels ?? {}).filter(([key]) => /^([\w.]+\.)?kubevirt\.io\//.test(key)),
  )
}

/** A claim without a DataVolume. */
async function claim(
  scene: Scene,
  annotations: Record<string, string>,
  dataSourceRef?: { apiGroup: string; kind: string; name: string },
): Promise<void> {
  await scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'dv', annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: classes.immediate,
      resources: { requests: { storage: '64Mi' } },
      ...(dataSourceRef === undefined ? {} : { dataSourceRef }),
    },
  })
}

async function filled(scene: Scene): Promise<void> {
  await scene.until('the claim to be filled', () => podPhase(scene) === 'Succeeded' && isBound(scene))
}

function podPhase(scene: Scene): string | undefined {
  return scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase']
}

function isBound(scene: Scene): boolean {
  return scene.pvc('dv')?.status?.phase === 'Bound'
}

describe('a claim that was annotated by hand', { concurrency: 2 }, () => {
  const order = (): Record<string, string> => ({
    'cdi.kubevirt.io/storage.import.source': 'registry',
    'cdi.kubevirt.io/storage.import.endpoint': stage().secure.url('compressed:v1'),
    'cdi.kubevirt.io/storage.import.certConfigMap': 'ca',
  })
  const checksum = 'cdi.kubevirt.io/storage.import.checksum'

  scenario(
    'gets the disk of a container image whose digest is right',
    () => stage().cluster,
    async (scene) => {
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      const digest = createHash('sha256').update(await file(stage(), 'compressedQcow2'))
      await claim(scene, { ...order(), [checksum]: `sha256:${digest.digest('hex')}` })
      await filled(scene)
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'gets none whose digest is wrong',
    () => stage().cluster,
    async (scene) => {
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await claim(scene, { ...order(), [checksum]: `md5:${'0'.repeat(32)}` })
      await scene.until('the failure', () => podPhase(scene) === 'Failed')
      const annotations = scene.pvc('dv')?.metadata.annotations ?? {}
      assert.equal(annotations['cdi.kubevirt.io/storage.condition.running.reason'], 'ChecksumError')
      assert.equal(annotations['cdi.kubevirt.io/storage.import.fatalError'], 'true')
    },
  )
})

describe('a registry', { concurrency: 3 }, () => {
  scenario(
    'with users is read with those of the Secret',
    () => stage().cluster,
    async (scene) => {
      await scene.secret('login', { accessKeyId: registryUser.user, secretKey: registryUser.password })
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await scene.apply(disk(stage().guarded.url('disk:v1'), { certConfigMap: 'ca', secretRef: 'login' }))
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'with users is not read with a wrong password, and the DataVolume says so',
    () => stage().cluster,
    async (scene) => {
      await scene.secret('login', { accessKeyId: registryUser.user, secretKey: 'guess' })
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await scene.apply(disk(stage().guarded.url('disk:v1'), { certConfigMap: 'ca', secretRef: 'login' }))
      await failsToPull(scene)
      assert.ok(!(await scene.report()).includes('guess'), 'the password was told')
    },
  )

  for (const [what, key] of [
    ['without a ConfigMap', undefined],
    ['by a key of the ConfigMap that is not called .crt or .pem', 'ca.cert'],
  ] as const) {
    scenario(
      `with a certificate of its own authority is not trusted ${what}`,
      () => stage().cluster,
      async (scene) => {
        if (key !== undefined) await scene.configMap('ca', { [key]: stage().certs.caPem })
        await scene.apply(disk(stage().secure.url('zstd:v1'), key === undefined ? {} : { certConfigMap: 'ca' }))
        await failsToPull(scene)
      },
    )
  }

  scenario(
    'on the list of insecure ones is read without encryption',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().plain.url('disk:v1')))
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'on the list of insecure ones is not asked for its certificate',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().unverified.url('compressed:v1')).mode('Block'))
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'of which the list has the host without the port is not on it',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().unlisted.url('disk:v1')))
      await failsToPull(scene)
    },
  )

  scenario(
    'whose tokens expire in the middle of a layer is asked for new ones',
    () => stage().cluster,
    async (scene) => {
      const { expiring, tokens, images } = stage()
      await scene.secret('login', { accessKeyId: 'me', secretKey: 'pass' })
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await scene.apply(disk(expiring.url('disk:v1'), { certConfigMap: 'ca', secretRef: 'login' }))
      await arrives(scene, images)
      assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0)
      assert.ok(tokens.requests.length >= 2, 'one token was enough')
      sentOnce(expiring.relay.sentBytes)
    },
  )
})

/** The layer of `large` was sent about once: what was on its way when something happened may have been sent again. */
function sentOnce(sentBytes: number): void {
  const { bytes } = stage().images
  assert.ok(sentBytes >= bytes && sentBytes < 1.25 * bytes, `${sentBytes} bytes were sent for ${bytes}`)
}

async function failsToPull(scene: Scene): Promise<void> {
  await scene.shows('dv', /^Running=False ImagePullFailed: .*failed to pull image/)
  await scene.tells('DataVolume/dv', /^Warning ImagePullFailed: .*failed to pull image/)
}

describe('a container image that cannot be used', { concurrency: 3 }, () => {
  scenario(
    'because there is no such tag is told as one that cannot be pulled',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(await trustedDisk(scene, 'zstd:no-such-tag'))
      await failsToPull(scene)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'ImportInProgress')
    },
  )

  const begin =
    'Unable to process data: Unable to transfer source data to scratch space: Failed to read registry image: '
  for (const [what, name, architecture, text] of [
    [
      'because an index has none for the architecture',
      'qcow2:v1',
      'riscv64',
      'Error retrieving image: choosing image instance: no image found in image index for architecture "riscv64", variant "", OS "linux"',
    ],
    [
      'because a manifest list has none for the architecture',
      'qcow2-docker:v1',
      'riscv64',
      'Error retrieving image: choosing image instance: no image found in manifest list for architecture "riscv64", variant "", OS "linux"',
    ],
    [
      'because it is for another architecture than was asked for',
      'foreign:v1',
      nodeArchitecture,
      `Error validating architecture: manifest image architecture: "${foreignArchitecture}" doesn't match requested architecture: "${nodeArchitecture}"`,
    ],
  ] as const) {
    scenario(
      `${what} is told in the known words`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(await trustedDisk(scene, name, { platform: { architecture } }))
        await scene.shows('dv', /^Running=False Error: .*architecture/)
        const told = scene.seen.course('dv').flatMap(({ conditions }) => conditions)
        assert.ok(told.includes(`Running=False Error: ${begin}${text}`), told.join('\n'))
      },
    )
  }

  scenario(
    'because it holds no disk is told so',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(await trustedDisk(scene, 'diskless:v1'))
      await scene.shows('dv', /^Running=False Error: .*Failed to find VM disk image file in the container image/)
    },
  )

  for (const name of ['zstd:v1', 'qcow2:v1']) {
    scenario(
      `because the disk of ${name} does not fit is told with the known words`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply((await trustedDisk(scene, name)).storage('16Mi'))
        await scene.shows('dv', /^Running=False Error: DataVolume too small to contain image$/)
      },
    )
  }
})

describe('reading a layer', { concurrency: 2 }, () => {
  /** Waits until a part of the layer has arrived. */
  async function middle(scene: Scene): Promise<void> {
    await scene.until('some progress', () => {
      const progress = Number.parseFloat(scene.dataVolume('dv')?.status?.progress ?? '')
      return progress > 5 && progress < 80
    })
  }

  scenario(
    'goes on where it was when all connections are cut in the middle',
    () => stage().cluster,
    async (scene) => {
      const { link, registry } = await stage().slow()
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await scene.apply(disk(registry.url('large:v1'), { certConfigMap: 'ca' }))
      await middle(scene)
      await link.enable(false)
      await delay(1000)
      // The middle was seen: the rest may come at once.
      await link.renew()
      await arrives(scene, stage().images)
      assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0)
      sentOnce(registry.relay.sentBytes)
    },
  )

  scenario(
    'succeeds when the worker is killed in the middle',
    () => stage().cluster,
    async (scene) => {
      const { link, registry } = await stage().slow()
      await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
      await scene.apply(disk(registry.url('large:v1'), { certConfigMap: 'ca' }))
      await middle(scene)
      const prime = scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? 'dv'
      const worker = scene.seen.importerPods(prime)[0]?.last
      assert.ok(worker)
      await execIn({
        namespace: scene.namespace,
        pod: worker.metadata.name,
        container: 'importer',
        command: ['/bin/sh', '-c', 'kill -TERM 1'],
      })
      await scene.until('the restart', () => (scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      // The one that was killed may have left connections behind, over which no toxic can be taken off.
      await link.renew()
      await arrives(scene, stage().images)
    },
  )
})
