/** Volumes that have their data already are taken as they are; those of others are left alone. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { PersistentVolumeClaim } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { classes } from './support/cluster.ts'
import { localVolume } from './support/local-volume.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const mebibyte = 1024 * 1024

/** A source that would fail: nothing may be read from it. */
const nowhere = 'http://no-such-host.invalid/disk.img'
const disk = dataVolume('dv').http(nowhere).storage('32Mi').on(classes.immediate).mode('Filesystem')

const leaveMark = 'echo precious > /volume/mark'
const readMark = 'cat /volume/mark > /dev/termination-log'

async function claim(scene: Scene, annotations: Record<string, string> = {}): Promise<PersistentVolumeClaim> {
  return scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'dv', annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: classes.immediate,
      resources: { requests: { storage: '40Mi' } },
    },
  })
}

function owners({ metadata }: PersistentVolumeClaim): string[] {
  return (metadata.ownerReferences ?? []).map(({ kind, name, controller }) => `${kind} ${name} ${controller}`)
}

describe('a claim that exists already', { concurrency: 3 }, () => {
  scenario(
    'is adopted when the DataVolume allows it, with everything in it',
    () => stage().cluster,
    async (scene) => {
      const { metadata } = await claim(scene)
      await scene.read('dv', leaveMark)
      await scene.apply(disk.annotate('cdi.kubevirt.io/allowClaimAdoption', 'true'))
      const dv = await scene.succeeds('dv')
      const adopted = await scene.until('the owner', () => {
        const pvc = scene.pvc('dv')
        return pvc && owners(pvc).length > 0 && pvc
      })
      assert.equal(adopted.metadata.uid, metadata.uid)
      assert.deepEqual(owners(adopted), ['DataVolume dv true'])
      assert.equal(dv.status?.progress, 'N/A')
      assert.equal((await scene.read('dv', readMark)).trim(), 'precious')
      assert.deepEqual(
        [...scene.seen.pods.sightings.values()].filter(({ last }) => last.metadata.labels?.['cdi.kubevirt.io']),
        [],
      )
    },
  )

  scenario(
    'is left alone when the DataVolume does not',
    () => stage().cluster,
    async (scene) => {
      await claim(scene)
      // The webhook refuses it; what the controller says where there is none is tested without a cluster.
      await assert.rejects(
        scene.apply(disk),
        new RegExp(`denied the request:  Destination PVC ${scene.namespace}/dv already exists`),
      )
      const pvc = await scene.until('the claim', () => scene.pvc('dv'))
      assert.deepEqual(owners(pvc), [])
    },
  )

  scenario(
    'is taken as it is when it says that it was filled for the DataVolume',
    () => stage().cluster,
    async (scene) => {
      await claim(scene, { 'cdi.kubevirt.io/storage.populatedFor': 'dv' })
      await scene.read('dv', leaveMark)
      await scene.apply(disk)
      const dv = await scene.succeeds('dv')
      await scene.until('the owner', () => {
        const pvc = scene.pvc('dv')
        return pvc && owners(pvc).includes('DataVolume dv true')
      })
      await scene.until(
        'the note on the DataVolume',
        () => scene.dataVolume('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.prePopulated'] === 'dv',
      )
      assert.equal(dv.status?.progress, 'N/A')
      assert.equal((await scene.read('dv', readMark)).trim(), 'precious')
    },
  )
})

describe('a DataVolume that waits for a claim made by somebody else', () => {
  scenario(
    'makes none, and is content once it is there',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk.annotate('cdi.kubevirt.io/storage.prePopulated', 'dv'))
      await scene.reaches('dv', 'Pending')
      assert.equal(scene.pvc('dv'), undefined)
      await claim(scene, { 'cdi.kubevirt.io/storage.populatedFor': 'dv' })
      await scene.succeeds('dv')
      assert.equal(scene.seen.pvcs.named('dv').length, 1)
    },
  )
})

describe('a volume that lies ready for a DataVolume', () => {
  scenario(
    'is bound and not filled again',
    () => stage().cluster,
    async (scene) => {
      await using volume = await localVolume(scene, { claimName: 'dv', bytes: 64 * mebibyte, volumeMode: 'Filesystem' })
      await scene.apply(
        disk.on(classes.local).access('ReadWriteOnce').annotate('cdi.kubevirt.io/storage.checkStaticVolume'),
      )
      await scene.succeeds('dv')
      const pvc = scene.pvc('dv')
      assert.equal(pvc?.spec?.volumeName, volume.name)
      assert.equal(pvc?.metadata.annotations?.['cdi.kubevirt.io/storage.populatedFor'], 'dv')
      assert.equal(pvc?.metadata.annotations?.['cdi.kubevirt.io/storage.persistentVolumeList'], undefined)
      assert.equal((await scene.read('dv', 'ls -A /volume > /dev/termination-log')).trim(), '')
    },
  )
})
