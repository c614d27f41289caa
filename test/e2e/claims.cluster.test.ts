/** Imports without a DataVolume: claims annotated by hand, and claims that name a VolumeImportSource. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { PersistentVolumeClaim, VolumeImportSource } from '../../src/api/kinds.ts'
import type { NewObject } from '../../src/kube/object.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

function claim(
  annotations: Record<string, string>,
  spec: Partial<PersistentVolumeClaim['spec']> = {},
): NewObject<PersistentVolumeClaim> {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'claim', annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: classes.immediate,
      resources: { requests: { storage: '64Mi' } },
      ...spec,
    },
  }
}

function source(): NewObject<VolumeImportSource> {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeImportSource',
    metadata: { name: 'disk' },
    spec: { source: { http: { url: stage().web.url(imageFiles.qcow2) } } },
  }
}

const dataSourceRef = { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeImportSource', name: 'disk' }

async function annotationBecomes(scene: Scene, key: string, value: string): Promise<void> {
  await scene.until(`${key}=${value}`, () => scene.pvc('claim')?.metadata.annotations?.[key] === value)
}

async function holdsTheDisk(scene: Scene): Promise<void> {
  await annotationBecomes(scene, 'cdi.kubevirt.io/storage.pod.phase', 'Succeeded')
  await scene.until('the claim to be bound', () => scene.pvc('claim')?.status?.phase === 'Bound')
  const found = await scene.disk('claim', stage().images.bytes)
  assert.equal(found.sha256, stage().images.sha256)
  assert.ok(found.restIsZero)
}

describe('a claim with the address of an image as annotation', { concurrency: 2 }, () => {
  scenario(
    'is filled by a worker of its own',
    () => stage().cluster,
    async (scene) => {
      await scene.create(
        kinds.pvc,
        claim({ 'cdi.kubevirt.io/storage.import.endpoint': stage().web.url(imageFiles.rawXz) }),
      )
      await holdsTheDisk(scene)
      const [worker] = scene.seen.importerPods('claim')
      assert.equal(worker?.last.metadata.name, 'importer-claim')
      assert.equal(scene.pvc('claim')?.metadata.labels?.['app'], 'containerized-data-importer')
    },
  )

  scenario(
    'is left alone without it',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, claim({ 'cdi.kubevirt.io/storage.contentType': 'kubevirt' }))
      await scene.until('the claim to be bound', () => scene.pvc('claim')?.status?.phase === 'Bound')
      assert.equal((await scene.read('claim', 'ls -A -I lost+found /volume > /dev/termination-log')).trim(), '')
      assert.equal(scene.seen.importerPods('claim').length, 0)
    },
  )
})

describe('a claim that names a VolumeImportSource', { concurrency: 2 }, () => {
  scenario(
    'is filled when the source was there first',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.volumeImportSource, source())
      await scene.create(kinds.pvc, claim({}, { dataSourceRef }))
      await holdsTheDisk(scene)
      const prime = `prime-${scene.pvc('claim')?.metadata.uid}`
      await scene.until('the prime claim to be gone', () => scene.pvc(prime) === undefined)
      assert.ok(scene.seen.importSources.cache.size === 1, 'a source made by the user is not ours to delete')
    },
  )

  scenario(
    'is filled when the source comes later',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, claim({}, { dataSourceRef }))
      await scene.until('the claim', () => scene.pvc('claim'))
      await scene.create(kinds.volumeImportSource, source())
      await holdsTheDisk(scene)
    },
  )
})
