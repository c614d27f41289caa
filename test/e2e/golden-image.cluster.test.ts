/** One image, many disks: DataSources, clones that grow, and claims that are cloned without a DataVolume. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { DataSource } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { assertCloned, assertFinished, assertNothingLeft, assertSize } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import {
  cloneBy,
  cloneSource,
  cloneType,
  givenSource,
  handMadeClone,
  sourceDisk,
  takeSnapshot,
} from './support/clone.ts'
import type { Strategy } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

async function dataSource(scene: Scene, name: string, source: DataSource['spec']['source']): Promise<void> {
  await scene.create(kinds.dataSource, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataSource',
    metadata: { name },
    spec: { source },
  })
}

/** A disk from the DataSource `golden`. */
function diskOf(from: Scene, name = 'dv', dataSourceName = 'golden'): DataVolumeBuilder {
  const disk = dataVolume(name).sourceRef(dataSourceName, from.namespace)
  return disk.storage('64Mi').on(classes.immediate).mode('Filesystem').access('ReadWriteOnce')
}

describe('twenty disks of one golden image', () => {
  scenario(
    'are made at once from another namespace, each in the way that it asks for',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await dataSource(from, 'golden', { pvc: { namespace: from.namespace, name: 'src' } })
      const ways: readonly Strategy[] = ['snapshot', 'csi-clone', 'snapshot', 'csi-clone', 'copy']
      const wanted = Array.from({ length: 20 }, (_, index) => ({
        name: `dv${index}`,
        strategy: ways[index % ways.length] ?? 'copy',
      }))
      await Promise.all(
        wanted.map(({ name, strategy }) => scene.apply(diskOf(from, name).annotate(cloneType, strategy))),
      )
      for (const { name } of wanted) await scene.succeeds(name)
      for (const { name, strategy } of wanted) await assertCloned(scene, { from, strategy, name })
      const remaining = wanted.map(({ name }) => name)
      // Some at a time: each is read by a pod.
      const readers = Array.from({ length: 4 }, async () => {
        for (let name = remaining.pop(); name !== undefined; name = remaining.pop()) {
          await assertDisk(scene, stage().images, name)
        }
      })
      await Promise.all(readers)
      assert.equal(scene.dataVolume('dv0')?.spec.source, undefined, 'the source was written into the spec')
      await assertDisk(from, stage().images, 'src')
    },
  )
})

describe('a DataSource', { concurrency: 4 }, () => {
  scenario(
    'may point to a snapshot',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await takeSnapshot(from)
      await dataSource(from, 'golden', { snapshot: { namespace: from.namespace, name: 'snap' } })
      await scene.apply(diskOf(from))
      await assertCloned(scene, { from, strategy: 'snapshot', sourceKind: 'snapshot', sourceName: 'snap' })
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'may point to another one',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await dataSource(scene, 'latest', { pvc: { namespace: scene.namespace, name: 'src' } })
      await dataSource(scene, 'golden', { dataSource: { namespace: scene.namespace, name: 'latest' } })
      await scene.apply(diskOf(scene).annotate(cloneType, 'csi-clone'))
      await assertCloned(scene, { from: scene, strategy: 'csi-clone' })
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'may point to what is still to come',
    () => stage().cluster,
    async (scene) => {
      await dataSource(scene, 'golden', { pvc: { namespace: scene.namespace, name: 'src' } })
      await scene.apply(diskOf(scene).annotate(cloneType, 'csi-clone'))
      await scene.tells('DataVolume/dv', "Normal CloneWithoutSource: The source pvc src doesn't exist")
      await givenSource(scene, sourceDisk(stage()))
      await assertCloned(scene, { from: scene, strategy: 'csi-clone' })
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'must exist',
    () => stage().cluster,
    async (scene) => {
      await assert.rejects(scene.apply(diskOf(scene)), (error: { status?: number; message?: string }) => {
        assert.equal(error.status, 400)
        assert.match(error.message ?? '', /golden.* not found/)
        return true
      })
    },
  )

  scenario(
    'passes on what kind of machine its disk is for',
    () => stage().cluster,
    async (scene) => {
      const kind = 'instancetype.kubevirt.io/default-instancetype'
      await givenSource(scene, sourceDisk(stage()).label(kind, 'u1.small'))
      await scene.until('the label of the source', () => scene.pvc('src')?.metadata.labels?.[kind] === 'u1.small')
      await dataSource(scene, 'golden', { pvc: { namespace: scene.namespace, name: 'src' } })
      await scene.apply(diskOf(scene).annotate(cloneType, 'csi-clone'))
      await assertCloned(scene, { from: scene, strategy: 'csi-clone' })
      assert.equal(scene.dataVolume('dv')?.metadata.labels?.[kind], 'u1.small')
    },
  )
})

describe('a larger disk of a golden image', { concurrency: 3 }, () => {
  for (const strategy of ['snapshot', 'csi-clone', 'copy'] as const) {
    scenario(
      `has room for its larger size, and the same content (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage()))
        await scene.apply(cloneBy(strategy, scene).storage('192Mi'))
        await assertCloned(scene, { from: scene, strategy })
        await assertSize(scene, '192Mi')
        await assertDisk(scene, stage().images)
      },
    )
  }
})

describe('a claim without a DataVolume', { concurrency: 4 }, () => {
  const makers: Readonly<Record<string, (scene: Scene) => Promise<unknown>>> = {
    claim: (scene) => handMadeClone(scene, { name: 'mine' }),
    VolumeCloneSource: (scene) => cloneSource(scene),
    source: (scene) => givenSource(scene, sourceDisk(stage())),
  }
  const orders = [
    ['claim', 'VolumeCloneSource', 'source'],
    ['VolumeCloneSource', 'claim', 'source'],
    ['VolumeCloneSource', 'source', 'claim'],
    ['source', 'claim', 'VolumeCloneSource'],
  ] as const
  for (const order of orders) {
    scenario(
      `is cloned from what it names: ${order.join(', ')}`,
      () => stage().cluster,
      async (scene) => {
        for (const what of order) {
          await makers[what]?.(scene)
          if (what === order[2] || !scene.pvc('mine')) continue
          await scene.until('the claim to wait', () => {
            const { 'cdi.kubevirt.io/clonePhase': phase = 'Pending' } = scene.pvc('mine')?.metadata.annotations ?? {}
            return phase === 'Pending' && scene.pvc('mine')?.status?.phase === 'Pending'
          })
        }
        await scene.until('the clone', () => scene.pvc('mine')?.status?.phase === 'Bound')
        await assertFinished(scene, { name: 'mine', strategy: 'snapshot' })
        await assertDisk(scene, stage().images, 'mine')
        // It is its maker's, who may use it for the next one.
        assert.equal(scene.seen.cloneSources.cache.size, 1)
      },
    )
  }

  scenario(
    'is told what is missing',
    () => stage().cluster,
    async (scene) => {
      await handMadeClone(scene, { name: 'mine' })
      await cloneSource(scene)
      await scene.tells('PersistentVolumeClaim/mine', "Warning CloneWithoutSource: The source pvc src doesn't exist")
      await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'mine' })
      await scene.until('the claim to be gone', () => scene.pvc('mine') === undefined)
      await assertNothingLeft(scene)
    },
  )

  for (const strategy of ['copy', 'csi-clone'] as const) {
    scenario(
      `may say how it is to be cloned (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage()))
        await cloneSource(scene)
        await handMadeClone(scene, { name: 'mine', annotations: { [cloneType]: strategy } })
        await scene.until('the clone', () => scene.pvc('mine')?.status?.phase === 'Bound')
        await assertFinished(scene, { name: 'mine', strategy })
        await assertDisk(scene, stage().images, 'mine')
      },
    )
  }

  scenario(
    'that asks for a way which does not exist is told so',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await cloneSource(scene)
      await handMadeClone(scene, { name: 'mine', annotations: { [cloneType]: 'magic' } })
      await scene.until('the error', () => {
        const { annotations = {} } = scene.pvc('mine')?.metadata ?? {}
        return (
          annotations['cdi.kubevirt.io/clonePhase'] === 'Error' &&
          annotations['cdi.kubevirt.io/cloneError'] === 'unknown strategy/source magic'
        )
      })
    },
  )
})
