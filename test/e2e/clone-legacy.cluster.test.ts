/** Clones without a populator: storage without a driver, and whoever switches it off. Pods copy into the claim itself. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { assertNothingLeft } from './support/assert-clone.ts'
import { cloneOf, givenSource, modes, sourceDisk, sourcePods } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { localVolume } from './support/local-volume.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const mebibyte = 1024 * 1024

const immediate = 'cdi.kubevirt.io/storage.bind.immediate.requested'
const usePopulator = 'cdi.kubevirt.io/storage.usePopulator'
const words = 'In tree storage class does not support snapshot/clone'

async function assertSame(scene: Scene, name = 'dv'): Promise<void> {
  const { sha256, restIsZero } = await scene.disk(name, stage().images.bytes)
  assert.equal(sha256, stage().images.sha256)
  assert.ok(restIsZero)
}

/** Waits for the end; what was made is what clients know, and nothing of it is left. */
async function assertCopied(scene: Scene, from: Scene): Promise<void> {
  await scene.succeeds('dv')
  // The disk is there as soon as the receiving pod says so; that both pods have ended is marked a moment later.
  await scene.until('the mark of the end', () => scene.pvc('dv')?.metadata.annotations?.['k8s.io/CloneOf'])
  // Until the DataVolume has heard of it, it tells of the reading pod as well: `Completed and Pending` for instance.
  await scene.until('the condition of the end', () =>
    scene.seen.course('dv').at(-1)?.conditions.includes('Running=False Completed: Clone Complete'),
  )
  const ends = `from ${from.namespace}/src into ${scene.namespace}/dv`
  await scene.tells('DataVolume/dv', `Normal CloneInProgress: Cloning ${ends} in progress`)
  await scene.tells('DataVolume/dv', `Normal CloneSucceeded: Successfully cloned ${ends}`)
  await scene.tells('PersistentVolumeClaim/dv', `Warning NoPopulator: ${words}`)
  // Of a clone whose size is found out it is said that it is scheduled before its claim is there, and again when it is.
  const phases = [...new Set(scene.seen.phases('dv').filter((phase) => phase !== '' && phase !== 'Pending'))]
  const known = ['WaitForFirstConsumer', 'CloneScheduled', 'CloneInProgress', 'Succeeded']
  assert.deepEqual(
    phases,
    known.filter((phase) => phases.includes(phase)),
  )
  assert.deepEqual(phases.slice(-2), ['CloneInProgress', 'Succeeded'])

  const [dv, target] = [scene.dataVolume('dv'), scene.pvc('dv')]
  assert.equal(dv?.status?.progress, '100.0%')
  assert.equal(dv.status.restartCount ?? 0, 0)
  assert.deepEqual(scene.seen.course('dv').at(-1)?.conditions, [
    'Bound=True Bound: PVC dv Bound',
    'Ready=True : ',
    'Running=False Completed: Clone Complete',
  ])
  assert.equal(dv.metadata.annotations?.['cdi.kubevirt.io/cloneType'], 'copy')
  assert.equal(dv.metadata.annotations?.[usePopulator], 'false')
  assert.equal(target?.spec?.dataSourceRef, undefined)
  assert.partialDeepStrictEqual(target?.metadata.annotations, {
    [usePopulator]: 'false',
    'cdi.kubevirt.io/cloneFallbackReason': words,
    'cdi.kubevirt.io/cloneType': 'copy',
    'cdi.kubevirt.io/ownerUID': dv.metadata.uid,
    'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
    'cdi.kubevirt.io/storage.pod.restarts': '0',
    'cdi.kubevirt.io/storage.sourceClonePodName': `${target?.metadata.uid}-source-pod`,
    'cdi.kubevirt.io/uploadClientName': `${from.namespace}/src-${scene.namespace}/dv`,
    'k8s.io/CloneOf': 'true',
    'k8s.io/CloneRequest': `${from.namespace}/src`,
  })
  assert.deepEqual(
    scene.seen.uploadPods('dv').map(({ last }) => last.metadata.name),
    ['cdi-upload-dv'],
  )
  assert.deepEqual(
    sourcePods(from).map(({ last }) => last.metadata.name),
    [`${target?.metadata.uid}-source-pod`],
  )
  for (const { seen } of scene.all) {
    assert.deepEqual(seen.cloneSources.names(), [])
    assert.deepEqual(seen.snapshots.names(), [])
    assert.ok(seen.pvcs.names().every((name) => !name.startsWith('tmp-')))
  }
  assert.deepEqual(dv.metadata.finalizers ?? [], [])
  await assertNothingLeft(scene)
  await assertSame(scene)
}

describe('a clone on storage without a driver', { concurrency: 3 }, () => {
  for (const mode of modes) {
    scenario(
      `is copied into the claim itself (${mode})`,
      () => stage().cluster,
      async (scene) => {
        const local = (claimName: string) => localVolume(scene, { claimName, bytes: 80 * mebibyte, volumeMode: mode })
        await using _source = await local('src')
        await using _target = await local('dv')
        await givenSource(scene, sourceDisk(stage(), mode).on(classes.local).annotate(immediate))
        await scene.apply(cloneOf(scene).on(classes.local).mode(mode).annotate(immediate))
        await assertCopied(scene, scene)
      },
    )
  }

  scenario(
    'may be of a source on other storage',
    () => stage().cluster,
    async (scene) => {
      await using _target = await localVolume(scene, {
        claimName: 'dv',
        bytes: 80 * mebibyte,
        volumeMode: 'Filesystem',
      })
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneOf(scene).on(classes.local).annotate(immediate))
      await assertCopied(scene, scene)
    },
  )
})

describe('a clone whose populator is switched off', { concurrency: 3 }, () => {
  scenario(
    'is a copy whatever the storage could do',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneOf(scene).annotate(usePopulator, 'false'))
      await assertCopied(scene, scene)
      const { annotations = {} } = scene.pvc('dv')?.metadata ?? {}
      assert.equal(annotations['cdi.kubevirt.io/storage.clone.token'], undefined)
      assert.equal(annotations['cdi.kubevirt.io/storage.extended.clone.token'], undefined)
    },
  )

  scenario(
    'brings its permission along when it is from another namespace, where only the reader is',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await scene.apply(cloneOf(from).annotate(usePopulator, 'false'))
      await assertCopied(scene, from)
      const { annotations = {} } = scene.pvc('dv')?.metadata ?? {}
      for (const name of ['storage.clone.token', 'storage.extended.clone.token']) {
        assert.match(annotations[`cdi.kubevirt.io/${name}`] ?? '', /^[\w-]+\.[\w-]+\.[\w-]+$/)
      }
      const names = [...from.seen.pods.sightings.values()].map(({ last }) => last.metadata.name)
      assert.ok(!names.some((name) => name.startsWith('cdi-upload-')), names.join(' '))
    },
  )

  for (const mode of modes) {
    const other = mode === 'Block' ? 'Filesystem' : 'Block'
    scenario(
      `may be into a volume of another mode (${mode} to ${other})`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage(), mode))
        await scene.apply(cloneOf(scene).mode(other).annotate(usePopulator, 'false'))
        await assertCopied(scene, scene)
      },
    )
  }

  scenario(
    'waits for a consumer where the class does',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneOf(scene).on(classes.waitForFirstConsumer).annotate(usePopulator, 'false'))
      await scene.reaches('dv', 'WaitForFirstConsumer')
      assert.deepEqual(sourcePods(scene), [])
      await scene.resultOf(await scene.use('dv', 'true'))
      await assertCopied(scene, scene)
    },
  )

  scenario(
    'waits until nobody writes to its source',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      const pod = await scene.use('src', 'sleep 600')
      await scene.until('the pod to run', () => scene.pod(pod)?.status?.phase === 'Running')
      await scene.apply(cloneOf(scene).annotate(usePopulator, 'false'))
      const message = `pod ${scene.namespace}/${pod} using PersistentVolumeClaim src`
      await scene.tells('PersistentVolumeClaim/dv', `Warning CloneSourceInUse: ${message}`)
      assert.deepEqual(sourcePods(scene), [])
      const key = { namespace: scene.namespace, name: pod }
      await scene.cluster.kube.delete(kinds.pod, key, { gracePeriodSeconds: 0 })
      await assertCopied(scene, scene)
    },
  )

  for (const what of ['DataVolume', 'claim'] as const) {
    scenario(
      `leaves nothing when the ${what} is deleted in the middle`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        await scene.apply(cloneOf(from).annotate(usePopulator, 'false'))
        await from.until('the source to be read', () => sourcePods(from).length > 0)
        const first = scene.pvc('dv')?.metadata.uid
        const kind = what === 'DataVolume' ? kinds.dataVolume : kinds.pvc
        await scene.cluster.kube.delete(kind, { namespace: scene.namespace, name: 'dv' })
        await scene.until('the claim to be gone', () => scene.pvc('dv')?.metadata.uid !== first)
        if (what === 'claim') {
          await scene.until('another clone', () => {
            return scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded'
          })
          await scene.succeeds('dv')
          await assertSame(scene)
        }
        await assertNothingLeft(scene)
      },
    )
  }
})

describe('a claim that was annotated by hand', { concurrency: 2 }, () => {
  const byHand = (scene: Scene, annotations: Record<string, string>) =>
    scene.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'bare', annotations },
      spec: {
        accessModes: ['ReadWriteOnce'],
        storageClassName: classes.immediate,
        resources: { requests: { storage: '80Mi' } },
      },
    })

  scenario(
    'is filled from the claim that it names, without a token in its own namespace',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await byHand(scene, { 'k8s.io/CloneRequest': `${scene.namespace}/src` })
      await scene.tells('PersistentVolumeClaim/bare', 'Normal CloneSucceeded: Clone Complete')
      await scene.until('the mark of it', () => {
        const marks = scene.pvc('bare')?.metadata.annotations
        return marks?.['k8s.io/CloneOf'] === 'true' && marks['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded'
      })
      await assertNothingLeft(scene)
      await assertSame(scene, 'bare')
    },
  )

  scenario(
    'is not filled from another namespace without a token',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await byHand(scene, { 'k8s.io/CloneRequest': `${from.namespace}/src` })
      // By the time that this one is done, the other would have been as well.
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneOf(scene).annotate(usePopulator, 'false'))
      await scene.succeeds('dv')
      assert.deepEqual(sourcePods(from), [])
      assert.equal(scene.pvc('bare')?.metadata.annotations?.['k8s.io/CloneOf'], undefined)
    },
  )

  scenario(
    'is left alone once it says that it is a clone',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await byHand(scene, { 'k8s.io/CloneRequest': `${scene.namespace}/src`, 'k8s.io/CloneOf': 'true' })
      await scene.until('the claim to be bound', () => scene.pvc('bare')?.status?.phase === 'Bound')
      await scene.apply(cloneOf(scene).annotate(usePopulator, 'false'))
      await scene.succeeds('dv')
      assert.equal(sourcePods(scene).length, 1)
      assert.deepEqual(scene.seen.uploadPods('bare'), [])
    },
  )
})
