/** Disks from VolumeSnapshots: by the storage where it can, by a copy of what it restores where it cannot. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { parseQuantity } from '../../src/quantity.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { assertCloned, assertNothingLeft, assertSize } from './support/assert-clone.ts'
import type { Cloned } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import { givenSource, modes, ownClass, sourceDisk, sourcePods, takeSnapshot, temporariesOf } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { localVolume } from './support/local-volume.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage(async ({ cluster, keep }) => ({
  fixedSize: keep(await ownClass(cluster, { allowVolumeExpansion: false })).name,
}))
const mebibyte = 1024 * 1024

/** From the snapshot `snap`. */
function restored(from: Scene): DataVolumeBuilder {
  const restore = dataVolume('dv').cloneSnapshot(from.namespace)
  return restore.storage('64Mi').on(classes.immediate).mode('Filesystem').access('ReadWriteOnce')
}

function restoredBy(strategy: 'copy' | 'snapshot', from: Scene): Cloned {
  return { from, strategy, sourceKind: 'snapshot', sourceName: 'snap' }
}

async function givenSnapshot(from: Scene, mode: (typeof modes)[number] = 'Filesystem'): Promise<void> {
  await givenSource(from, sourceDisk(stage(), mode))
  await takeSnapshot(from)
}

describe('a disk from a snapshot', { concurrency: 4 }, () => {
  for (const mode of modes) {
    for (const isFar of [false, true]) {
      scenario(
        `is restored into ${mode} in ${isFar ? 'another' : 'the same'} namespace`,
        () => stage().cluster,
        async (scene) => {
          const from = isFar ? await scene.another() : scene
          await givenSnapshot(from, mode)
          await scene.apply(restored(from).mode(mode))
          await assertCloned(scene, restoredBy('snapshot', from))
          const { claim, snapshot } = await temporariesOf(scene)
          const [carrier] = from.seen.pvcs.named(claim)
          assert.deepEqual(carrier?.last.spec?.dataSourceRef, {
            apiGroup: 'snapshot.storage.k8s.io',
            kind: 'VolumeSnapshot',
            name: 'snap',
          })
          assert.deepEqual(from.seen.snapshots.named(snapshot), [], 'a snapshot of the snapshot')
          assert.deepEqual(sourcePods(from), [])
          await assertDisk(scene, stage().images)
          await from.until('the snapshot alone', () => from.seen.snapshots.cache.size === 1)
        },
      )
    }
  }

  scenario(
    'may be larger, and its file system grows',
    () => stage().cluster,
    async (scene) => {
      await givenSnapshot(scene)
      await scene.apply(restored(scene).storage('128Mi'))
      await assertCloned(scene, restoredBy('snapshot', scene))
      await assertSize(scene, '128Mi')
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'needs no size',
    () => stage().cluster,
    async (scene) => {
      await givenSnapshot(scene)
      await scene.apply(restored(scene).sizeless())
      await assertCloned(scene, restoredBy('snapshot', scene))
      const [snapshot] = scene.seen.snapshots.cache.list()
      assert.equal(
        parseQuantity(scene.pvc('dv')?.status?.capacity?.['storage'] ?? '0'),
        parseQuantity(snapshot?.status?.restoreSize ?? '1'),
      )
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'may be on another class of the same driver',
    () => stage().cluster,
    async (scene) => {
      await using other = await ownClass(scene.cluster)
      await givenSnapshot(scene)
      await scene.apply(restored(scene).on(other.name))
      await assertCloned(scene, restoredBy('snapshot', scene))
      assert.equal(scene.pvc('dv')?.spec?.storageClassName, other.name)
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'outlives the volume that the snapshot was taken of',
    () => stage().cluster,
    async (scene) => {
      await givenSnapshot(scene)
      await scene.cluster.kube.delete(kinds.dataVolume, { namespace: scene.namespace, name: 'src' })
      await scene.until('the source to be gone', () => scene.pvc('src') === undefined)
      await scene.apply(restored(scene))
      await assertCloned(scene, restoredBy('snapshot', scene))
      await assertDisk(scene, stage().images)
    },
  )
})

describe('a snapshot that cannot be restored as is wanted', { concurrency: 3 }, () => {
  for (const mode of modes) {
    const other = mode === 'Block' ? 'Filesystem' : 'Block'
    scenario(
      `because it is of a ${mode} volume is copied into ${other}, by way of a temporary claim`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSnapshot(from, mode)
        // What the snapshot says of itself is the size of its volume, with the file system.
        await scene.apply(restored(from).mode(other).storage('72Mi'))
        await assertCloned(scene, restoredBy('copy', from))
        const message = 'The volume modes of source and target are incompatible'
        await scene.tells('PersistentVolumeClaim/dv', `Warning IncompatibleVolumeModes: ${message}`)
        assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/cloneFallbackReason'], message)
        const { uid, claim, sourceClaim } = await temporariesOf(scene)
        const [temporary] = from.seen.pvcs.named(sourceClaim)
        assert.equal(temporary?.last.spec?.volumeMode, mode)
        assert.deepEqual(temporary.last.spec.accessModes, ['ReadWriteOnce'])
        assert.equal(temporary.last.metadata.labels?.['cdi.kubevirt.io/OwnedByUID'], uid)
        const [carrier] = from.seen.pvcs.named(claim)
        assert.equal(carrier?.last.metadata.annotations?.['k8s.io/CloneRequest'], `${from.namespace}/${sourceClaim}`)
        await assertDisk(scene, stage().images)
      },
    )
  }

  scenario(
    'because volumes of the class do not grow is copied into a larger one',
    () => stage().cluster,
    async (scene) => {
      await givenSnapshot(scene)
      await scene.apply(restored(scene).on(stage().fixedSize).storage('96Mi'))
      await assertCloned(scene, restoredBy('copy', scene))
      await scene.tells('PersistentVolumeClaim/dv', 'Warning NoVolumeExpansion: No volume expansion is possible')
      await assertSize(scene, '96Mi')
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'because the target is too small is told before there is a claim',
    () => stage().cluster,
    async (scene) => {
      await givenSnapshot(scene)
      await scene.apply(restored(scene).storage('16Mi'))
      await scene.shows(
        'dv',
        /^Bound=False CloneValidationFailed: The clone doesn't meet the validation requirements: target resources requests storage size is smaller than the source 17783849 < 71303168$/,
      )
      assert.equal(scene.pvc('dv'), undefined)
    },
  )
})

describe('a snapshot that is missing', { concurrency: 2 }, () => {
  scenario(
    'is told, and restored once it is there',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await scene.apply(restored(from))
      const message = "The source snapshot snap doesn't exist"
      await scene.tells('DataVolume/dv', `Normal CloneWithoutSource: ${message}`)
      await scene.shows('dv', new RegExp(`^Bound=False CloneWithoutSource: ${message}$`))
      await scene.shows('dv', new RegExp(`^Ready=False CloneWithoutSource: ${message}$`))
      assert.equal(scene.pvc('dv'), undefined)
      await givenSnapshot(from)
      await assertCloned(scene, restoredBy('snapshot', from))
      await assertDisk(scene, stage().images)
    },
  )
})

describe('a snapshot for storage without a driver', { concurrency: 2 }, () => {
  for (const isFar of [false, true]) {
    scenario(
      `is restored where it is and copied from there into a local volume in ${isFar ? 'another' : 'the same'} namespace`,
      () => stage().cluster,
      async (scene) => {
        const from = isFar ? await scene.another() : scene
        await givenSnapshot(from)
        await using _volume = await localVolume(scene, {
          claimName: 'dv',
          bytes: 80 * mebibyte,
          volumeMode: 'Filesystem',
        })
        const immediate = 'cdi.kubevirt.io/storage.bind.immediate.requested'
        const { metadata } = await scene.apply(restored(from).on(classes.local).annotate(immediate))
        await scene.succeeds('dv')
        const temporary = `${metadata.uid}-host-assisted-source-pvc`
        const [restoring] = from.seen.pvcs.named(temporary)
        assert.equal(
          restoring?.last.metadata.labels?.['cdi.kubevirt.io'],
          'cdi-clone-from-snapshot-source-host-assisted-fallback-pvc',
        )
        assert.equal(scene.pvc('dv')?.metadata.annotations?.['k8s.io/CloneRequest'], `${from.namespace}/${temporary}`)
        const { sha256, restIsZero } = await scene.disk('dv', stage().images.bytes)
        assert.equal(sha256, stage().images.sha256)
        assert.ok(restIsZero)
        await from.until('the restored claim to be gone', () => from.pvc(temporary) === undefined)
        await assertNothingLeft(scene)
      },
    )
  }
})
