/** Empty disks. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { dataVolume } from '../fixtures/data-volume.ts'
import { classes } from './support/cluster.ts'
import { scenario } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const mebibyte = 1024 * 1024

describe('a blank disk', { concurrency: 2 }, () => {
  const blank = dataVolume('dv').blank().storage('32Mi').on(classes.immediate)

  scenario(
    'is a sparse file of zeros of the size that was asked for',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(blank.mode('Filesystem'))
      await scene.succeeds('dv')
      const disk = await scene.disk('dv', 0)
      // As much as was asked for, or as ext4 leaves of such a small volume.
      assert.equal(disk.sizeBytes % mebibyte, 0)
      assert.ok(disk.sizeBytes <= 32 * mebibyte && disk.sizeBytes >= 24 * mebibyte, `${disk.sizeBytes}`)
      assert.ok(disk.restIsZero)
      assert.equal(disk.file?.mode, '660')
      assert.ok((disk.file?.allocatedBytes ?? Infinity) < mebibyte)
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], undefined)
    },
  )

  scenario(
    'takes its whole space when it is preallocated, and the claim says so',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(blank.mode('Filesystem').preallocated())
      await scene.succeeds('dv')
      const disk = await scene.disk('dv', 0)
      assert.ok(disk.restIsZero)
      assert.ok((disk.file?.allocatedBytes ?? 0) >= disk.sizeBytes)
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], 'true')
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation.requested'], 'true')
    },
  )

  scenario(
    'on a block device reads as zeros when it is preallocated',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(blank.mode('Block').preallocated())
      await scene.succeeds('dv')
      const disk = await scene.disk('dv', 0)
      assert.ok(disk.sizeBytes >= 32 * mebibyte)
      assert.ok(disk.restIsZero)
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], 'true')
    },
  )

  scenario(
    'needs nothing but the block device otherwise',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(blank.mode('Block'))
      await scene.succeeds('dv')
      assert.ok((await scene.disk('dv', 0)).sizeBytes >= 32 * mebibyte)
    },
  )
})
