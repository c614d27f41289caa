/** Clones between unlike volumes, of archives, of unknown size, and into classes that wait for a consumer. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../src/api/kinds.ts'
import { parseQuantity, requiredBytes } from '../../src/quantity.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { assertCloned, assertFinished, assertNothingLeft, assertSameDisk } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import { cloneBy, cloneOf, detectionPods, diskBytes, givenSource, modes, sourceDisk } from './support/clone.ts'
import { sourcePods, strategies, temporariesOf } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { archiveScript, diskScript, parseDisk } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const mebibyte = 1024 * 1024

const unlike = 'The volume modes of source and target are incompatible'

/** Nothing said how to clone, and the storage would have liked a snapshot. */
async function assertFallback(scene: Scene): Promise<void> {
  await scene.tells('PersistentVolumeClaim/dv', `Warning IncompatibleVolumeModes: ${unlike}`)
  assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/cloneFallbackReason'], unlike)
}

describe('a clone between volumes of different modes', { concurrency: 4 }, () => {
  for (const mode of modes) {
    const other = mode === 'Block' ? 'Filesystem' : 'Block'
    for (const isFar of [false, true]) {
      scenario(
        `from ${mode} to ${other} in ${isFar ? 'another' : 'the same'} namespace is a copy, and says why`,
        () => stage().cluster,
        async (scene) => {
          const from = isFar ? await scene.another() : scene
          await givenSource(from, sourceDisk(stage(), mode))
          await scene.apply(cloneOf(from).mode(other))
          const cloned = { from, strategy: 'copy' } as const
          await assertCloned(scene, cloned)
          await assertFallback(scene)
          await assertDisk(scene, stage().images)
        },
      )
    }
  }

  scenario(
    'from Block to Filesystem without a size makes room for the file system',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage(), 'Block'))
      await scene.apply(cloneOf(scene).sizeless())
      await assertCloned(scene, { from: scene, strategy: 'copy' })
      assert.equal(scene.pvc('dv')?.spec?.resources?.requests?.['storage'], '71135396')
      await assertDisk(scene, stage().images)
      assert.deepEqual(detectionPods(scene), [])
    },
  )
})

describe('the size of a disk in a file', { concurrency: 2 }, () => {
  scenario(
    'is found out once for a device that shall be just as large, and again when its source has grown',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      const source = await givenSource(from, sourceDisk(stage()))
      const bytes = String(await diskBytes(from))
      const clone = async (name: string): Promise<void> => {
        await scene.apply(cloneOf(from, name).mode('Block').sizeless())
        await assertCloned(scene, { from, strategy: 'copy', name })
        assert.equal(scene.pvc(name)?.spec?.resources?.requests?.['storage'], bytes)
        await assertDisk(scene, stage().images, name)
      }
      await clone('first')
      const pods = await from.until('the pod that finds it out', () => {
        const found = detectionPods(from)
        return found.length > 0 && found
      })
      assert.deepEqual(
        pods.map(({ last }) => last.metadata.name),
        [`size-detection-${source.metadata.uid}`],
      )
      const [pod] = pods
      assert.partialDeepStrictEqual(pod?.last.metadata.labels, {
        app: 'containerized-data-importer',
        'cdi.kubevirt.io': 'importer',
      })
      assert.equal(pod?.last.metadata.annotations?.['cdi.kubevirt.io/ownedByDataVolume'], `${scene.namespace}/first`)
      assert.equal(pod.last.spec?.restartPolicy, 'OnFailure')
      assert.equal(pod.last.spec.containers[0]?.name, 'size-detection-volume')
      await scene.tells('DataVolume/first', 'Normal SizeDetectionPodCreated: Size-detection pod created')
      const noted = await from.until('the notes on the source', () => {
        const { annotations = {} } = from.pvc('src')?.metadata ?? {}
        const found = [annotations['cdi.Kubervirt.io/virtualSize'], annotations['cdi.Kubervirt.io/sourceCapacity']]
        return !found.includes(undefined) && found
      })
      assert.deepEqual(noted, [bytes, source.status?.capacity?.['storage']])

      await clone('second')
      assert.equal(detectionPods(from).length, 1, 'it was found out although it was known')

      await from.annotate(kinds.pvc, 'src', { 'cdi.Kubervirt.io/sourceCapacity': '1Mi' })
      // The controller watches claims and DataVolumes side by side: the one must not overtake the other.
      await delay(10_000)
      await clone('third')
      await from.until('it to be found out anew', () => detectionPods(from).length === 2)
    },
  )

  scenario(
    'is found out whatever the way, and a target that names enough needs not be as large as its source’s claim',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      const bytes = await diskBytes(scene)
      await scene.apply(cloneBy('snapshot', scene).sizeless())
      await assertCloned(scene, { from: scene, strategy: 'snapshot' })
      assert.equal(detectionPods(scene).length, 1)
      assert.equal(scene.pvc('dv')?.spec?.resources?.requests?.['storage'], String(requiredBytes('0.06', bytes)))
      await assertDisk(scene, stage().images)

      // The claim of the source asks for 67.84 MiB.
      await scene.apply(cloneBy('copy', scene, 'exact').mode('Block').storage('64Mi'))
      await assertCloned(scene, { from: scene, strategy: 'copy', name: 'exact' })
      for (const object of [scene.dataVolume('exact'), scene.pvc('exact')]) {
        assert.equal(object?.metadata.annotations?.['cdi.kubevirt.io/permissiveClone'], 'true')
      }
      await assertDisk(scene, stage().images, 'exact')
    },
  )
})

describe('a clone of an archive', { concurrency: 3 }, () => {
  for (const strategy of strategies) {
    scenario(
      `by ${strategy} has all its files`,
      () => stage().cluster,
      async (scene) => {
        const archive = dataVolume('src').http(stage().web.url(imageFiles.tar)).archive()
        await givenSource(scene, archive.storage('32Mi').on(classes.immediate).access('ReadWriteOnce'))
        await scene.apply(cloneBy(strategy, scene).archive().storage('32Mi'))
        await assertCloned(scene, { from: scene, strategy })
        assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
        const modesOf = 'stat -c "%a %n" /volume/hello.txt /volume/sub/data.bin > /dev/termination-log'
        assert.equal(await scene.read('dv', modesOf), await scene.read('src', modesOf))
      },
    )
  }
})

describe('a class that waits for a consumer', { concurrency: 3 }, () => {
  for (const strategy of strategies) {
    scenario(
      `gets nothing of a clone by ${strategy} before there is one, which then has the disk`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        await scene.apply(cloneBy(strategy, from).on(classes.waitForFirstConsumer))
        await scene.reaches('dv', 'PendingPopulation')
        const { claim } = await temporariesOf(scene)
        assert.deepEqual(from.seen.pvcs.named(claim), [])
        assert.deepEqual(from.seen.snapshots.names(), [])
        const consumer = await scene.use('dv', (pvc) => diskScript(pvc, stage().images.bytes))
        const { sha256 } = parseDisk(await scene.resultOf(consumer))
        assert.equal(sha256, stage().images.sha256)
        await scene.succeeds('dv')
        await assertFinished(scene, { strategy })
        await assertDisk(scene, stage().images)
        const node = scene.pod(consumer)?.spec?.nodeName
        const [carrier] = from.seen.pvcs.named(claim)
        assert.equal(carrier?.last.metadata.annotations?.['volume.kubernetes.io/selected-node'], node)
      },
    )

    scenario(
      `does not hold up a clone by ${strategy} that asks for immediate binding`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage()))
        await scene.apply(
          cloneBy(strategy, scene)
            .on(classes.waitForFirstConsumer)
            .annotate('cdi.kubevirt.io/storage.bind.immediate.requested'),
        )
        await scene.succeeds('dv')
        assert.ok(!scene.seen.phases('dv').includes('PendingPopulation'))
        await assertFinished(scene, { strategy })
        await assertDisk(scene, stage().images)
      },
    )
  }
})

describe('a clone into another class', { concurrency: 3 }, () => {
  scenario(
    'with another file system is a copy if that is wanted',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      // mkfs.xfs makes nothing smaller.
      await scene.apply(cloneBy('copy', scene).on(classes.xfs).storage('320Mi'))
      const cloned = { from: scene, strategy: 'copy' } as const
      await assertCloned(scene, cloned)
      await assertSameDisk(scene, stage().images, cloned)
      assert.equal(
        (await scene.read('dv', "stat -f -c %T /volume | sed 's/ .*//' > /dev/termination-log")).trim(),
        'xfs',
      )
    },
  )

  for (const strategy of ['copy', 'csi-clone'] as const) {
    scenario(
      `may be for many writers although its source is for one (Block, ${strategy})`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage(), 'Block'))
        await scene.apply(cloneBy(strategy, scene).mode('Block').access('ReadWriteMany'))
        const cloned = { from: scene, strategy }
        await assertCloned(scene, cloned)
        assert.deepEqual(scene.pvc('dv')?.status?.accessModes, ['ReadWriteMany'])
        await assertSameDisk(scene, stage().images, cloned)
        assert.equal(parseQuantity(scene.pvc('dv')?.status?.capacity?.['storage'] ?? '0'), 64 * mebibyte)
      },
    )
  }

  scenario(
    'from a source for many writers does not tie its reader to a node',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage(), 'Block').access('ReadWriteMany'))
      await scene.apply(cloneBy('copy', scene).mode('Block').access('ReadWriteMany'))
      await assertCloned(scene, { from: scene, strategy: 'copy' })
      const [pod] = sourcePods(scene)
      assert.equal(pod?.last.spec?.affinity?.podAffinity?.requiredDuringSchedulingIgnoredDuringExecution, undefined)
      await assertDisk(scene, stage().images)
      await assertNothingLeft(scene)
    },
  )
})
