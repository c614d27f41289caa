/** Disks in container images that the kubelet pulls: nothing of the image runs, and nothing else than the disk is needed in it. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { provideNodeImage } from './support/node-images.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const env = ['INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora', 'KUBEVIRT_IO_A_B=from-the-image']

const stage = useStage(async ({ directory }) => {
  const path = (name: keyof typeof imageFiles): string => join(directory, imageFiles[name])
  return {
    raw: await provideNodeImage({ name: 'raw', disks: [path('raw')], env }),
    qcow2: await provideNodeImage({ name: 'qcow2', disks: [path('qcow2')] }),
    xz: await provideNodeImage({ name: 'xz', disks: [path('rawXz')] }),
    twins: await provideNodeImage({ name: 'twins', disks: [path('qcow2'), path('compressedQcow2')] }),
  }
})

type RegistryFields = NonNullable<NonNullable<Parameters<DataVolumeBuilder['source']>[0]>['registry']>

function disk(image: string, more: RegistryFields = {}): DataVolumeBuilder {
  return dataVolume('dv')
    .source({ registry: { url: `docker://${image}`, pullMethod: 'node', ...more } })
    .storage('64Mi')
    .on(classes.immediate)
    .mode('Filesystem')
}

/** The claim that the worker writes to. */
function carrierOf(scene: Scene): string {
  return scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? 'dv'
}

async function workerOf(scene: Scene): Promise<Pod> {
  return scene.until('the worker', () => scene.seen.importerPods(carrierOf(scene))[0]?.last)
}

/** The image has to be run by the container runtime; the importer’s own containers are all that is. */
function checkWorker({ spec }: Pod, image: string): void {
  assert.ok(spec)
  assert.equal(spec.containers[0]?.name, 'importer')
  assert.equal(spec.automountServiceAccountToken, false)
  const mounts = [...spec.containers, ...(spec.initContainers ?? [])].flatMap(({ volumeMounts }) => volumeMounts ?? [])
  assert.ok(
    mounts.every(({ mountPath }) => !mountPath.startsWith('/var/run/secrets')),
    'the worker holds a token',
  )
  const others = spec.containers.filter((container) => container.image === image)
  assert.equal(others.length, 1)
}

describe('a disk in a container image that the kubelet pulls', { concurrency: 2 }, () => {
  for (const [name, mode] of [
    ['raw', 'Filesystem'],
    ['raw', 'Block'],
    ['qcow2', 'Filesystem'],
    ['qcow2', 'Block'],
    ['xz', 'Block'],
  ] as const) {
    scenario(
      `arrives whole in a ${mode} volume, ${name}`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(disk(stage()[name]).mode(mode))
        await arrives(scene, stage().images)
        checkWorker(await workerOf(scene), stage()[name])
        const labels = scene.pvc('dv')?.metadata.labels ?? {}
        assert.equal(labels['kubevirt.io/a-b'], name === 'raw' ? 'from-the-image' : undefined)
        assert.equal(labels['instancetype.kubevirt.io/default-preference'], name === 'raw' ? 'fedora' : undefined)
        await scene.until('the worker to be gone', () =>
          scene.seen.importerPods(carrierOf(scene)).every(({ gone }) => gone),
        )
      },
    )
  }

  scenario(
    'comes to a claim that was annotated by hand',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: {
          name: 'dv',
          annotations: {
            'cdi.kubevirt.io/storage.import.source': 'registry',
            'cdi.kubevirt.io/storage.import.registryImportMethod': 'node',
            'cdi.kubevirt.io/storage.import.endpoint': `docker://${stage().qcow2}`,
          },
        },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: classes.immediate,
          resources: { requests: { storage: '64Mi' } },
        },
      })
      await scene.until(
        'the claim to be filled',
        () => scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded',
      )
      await assertDisk(scene, stage().images)
    },
  )
})

describe('a container image that the kubelet cannot use', { concurrency: 3 }, () => {
  scenario(
    'because it is not there is told by its name',
    () => stage().cluster,
    async (scene) => {
      const image = stage().raw.replace(/:.*/, ':no-such-tag')
      await scene.apply(disk(image))
      await scene.shows('dv', new RegExp(`^Running=False ImagePullFailed: failed to pull image: ${image}$`))
      assert.notEqual(scene.dataVolume('dv')?.status?.phase, 'Failed')
    },
  )

  scenario(
    'because no node has its architecture is told as what it is',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().raw, { platform: { architecture: 's390x' } }))
      await scene.shows('dv', /^Running=False Unschedulable: Importer pod cannot be scheduled$/)
      const { spec } = await workerOf(scene)
      assert.equal(spec?.nodeSelector?.['kubernetes.io/arch'], 's390x')
      await scene.until(
        'the annotation',
        () => scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.schedulable'] === 'false',
      )
    },
  )

  scenario(
    'because it holds two disks is told so',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().twins))
      await scene.shows('dv', /^Running=False Error: .*image directory contains more than one file/)
    },
  )

  scenario(
    'because its disk does not fit is told with the known words',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().qcow2).storage('16Mi'))
      await scene.shows('dv', /^Running=False Error: DataVolume too small to contain image$/)
    },
  )
})
