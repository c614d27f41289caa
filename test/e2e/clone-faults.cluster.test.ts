/** What stands in the way of a clone is told, and obeyed until it goes; what can never work says why and leaves nothing. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { assertCloned, assertFinished, assertNothingLeft, assertSameDisk } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import {
  cloneBy,
  cloneOf,
  cloneType,
  givenSource,
  ownClass,
  sourceDisk,
  sourcePods,
  strategies,
  temporariesOf,
} from './support/clone.ts'
import type { Strategy } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { localVolume } from './support/local-volume.ts'
import { limit } from './support/quota.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage(async ({ cluster, keep }) => ({
  fixedSize: keep(await ownClass(cluster, { allowVolumeExpansion: false })).name,
  copies: keep(await ownClass(cluster, { cloneStrategy: 'copy' })).name,
  csiClones: keep(await ownClass(cluster, { cloneStrategy: 'csi-clone' })).name,
}))
const mebibyte = 1024 * 1024

const invalid = "The clone doesn't meet the validation requirements"

/** What the DataVolume shows while it cannot even have a claim. */
async function showsUnfit(scene: Scene, reason: string, message: string): Promise<void> {
  await scene.tells('DataVolume/dv', `Normal ${reason}: ${message}`)
  await scene.until('the conditions', () => {
    const { phase, progress, conditions = [] } = scene.seen.course('dv').at(-1) ?? {}
    const [bound, ready, running] = conditions
    return (
      bound === `Bound=False ${reason}: ${message}` &&
      ready === `Ready=False ${reason}: ${message}` &&
      running?.startsWith('Running=False') &&
      (phase === undefined || phase === 'Pending') &&
      progress === undefined
    )
  })
  assert.equal(scene.pvc('dv'), undefined)
  assert.equal(scene.dataVolume('dv')?.status?.claimName, undefined)
}

async function deleteDataVolume(scene: Scene): Promise<void> {
  await scene.cluster.kube.delete(kinds.dataVolume, { namespace: scene.namespace, name: 'dv' })
  await scene.until('it to be gone', () => scene.dataVolume('dv') === undefined && scene.pvc('dv') === undefined)
  await assertNothingLeft(scene)
}

/** The source is as it was. */
async function assertSourceIntact(from: Scene): Promise<void> {
  // The sidecar that clones protects the source by a finalizer of its own. It takes that off when something changes about the
  // source, which may be only when it is deleted, if the clone was deleted before its volume was there.
  const ofStorage = 'provisioner.storage.kubernetes.io/cloning-protection'
  await from.until('the source to be nobody’s business', () => {
    const others = from.pvc('src')?.metadata.finalizers?.filter((finalizer) => finalizer !== ofStorage)
    return others?.length === 1
  })
  await assertDisk(from, stage().images, 'src')
}

describe('a source that is missing', { concurrency: 3 }, () => {
  for (const strategy of strategies) {
    scenario(
      `is told, and cloned once it is there (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await scene.apply(cloneBy(strategy, from))
        await showsUnfit(scene, 'CloneWithoutSource', "The source pvc src doesn't exist")
        await givenSource(from, sourceDisk(stage()))
        const cloned = { from, strategy }
        await assertCloned(scene, cloned)
        await assertSameDisk(scene, stage().images, cloned)
      },
    )
  }

  scenario(
    'may be on its way still: the clone waits for the import',
    () => stage().cluster,
    async (scene) => {
      const slow = await stage().serve({ limitRate: '4m' })
      await scene.apply(sourceDisk({ web: slow }).http(slow.url(imageFiles.raw)))
      await scene.until('the import to have begun', () => scene.pvc('src'))
      await scene.apply(cloneBy('csi-clone', scene))
      const cloned = { from: scene, strategy: 'csi-clone' } as const
      await assertCloned(scene, cloned)
      await assertSameDisk(scene, stage().images, cloned)
    },
  )
})

describe('a source in use', { concurrency: 4 }, () => {
  for (const strategy of strategies) {
    for (const mode of strategy === 'csi-clone' ? (['Filesystem', 'Block'] as const) : (['Filesystem'] as const)) {
      scenario(
        `by a pod that may write is waited for, and the pod named (${strategy}, ${mode})`,
        () => stage().cluster,
        async (scene) => {
          const from = await scene.another()
          await givenSource(from, sourceDisk(stage(), mode))
          const pod = await from.use('src', 'sleep 600')
          await from.until('the pod to run', () => from.pod(pod)?.status?.phase === 'Running')
          await scene.apply(cloneBy(strategy, from).mode(mode))
          const { claim, snapshot } = await temporariesOf(scene)
          const message = `pod ${from.namespace}/${pod} using PersistentVolumeClaim src`
          await scene.tells(
            'PersistentVolumeClaim/dv',
            new RegExp(`^Warning CloneSourceInUse: (\\[${claim}\\] : )?${message}$`),
          )
          // A copy has its target ready meanwhile; nothing reads the source.
          if (strategy !== 'copy') assert.deepEqual(from.seen.pvcs.named(claim), [])
          assert.deepEqual(from.seen.snapshots.named(snapshot), [])
          assert.deepEqual(sourcePods(from), [])
          assert.notEqual(scene.dataVolume('dv')?.status?.phase, 'Succeeded')
          const key = { namespace: from.namespace, name: pod }
          await scene.cluster.kube.delete(kinds.pod, key, { gracePeriodSeconds: 0 })
          const cloned = { from, strategy }
          await assertCloned(scene, cloned)
          await assertSameDisk(scene, stage().images, cloned)
        },
      )
    }

    scenario(
      `by a pod that only reads is no hindrance (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage()))
        const pod = await scene.use('src', 'sleep 600', { readOnly: true })
        await scene.until('the pod to run', () => scene.pod(pod)?.status?.phase === 'Running')
        await scene.apply(cloneBy(strategy, scene))
        await assertCloned(scene, { from: scene, strategy })
        assert.equal(scene.pod(pod)?.status?.phase, 'Running')
        await assertDisk(scene, stage().images)
      },
    )
  }
})

describe('a target that is too small', { concurrency: 3 }, () => {
  // Said by the storage: what the DataVolume says itself is not questioned.
  const classFor: Readonly<Record<Strategy, () => string>> = {
    copy: () => stage().copies,
    snapshot: () => classes.immediate,
    'csi-clone': () => stage().csiClones,
  }
  for (const strategy of strategies) {
    scenario(
      `is an error on the claim, and nothing is begun (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        const source = from.pvc('src')?.spec?.resources?.requests?.['storage']
        assert.equal(source, '71135396')
        const text = `target resources requests storage size is smaller than the source 17783849 < ${source}`
        await scene.apply(cloneOf(from).storage('16Mi').on(classFor[strategy]()))
        await scene.tells('PersistentVolumeClaim/dv', `Warning ErrIncompatiblePVC: ${text}`)
        await scene.tells('PersistentVolumeClaim/dv', `Warning CloneValidationFailed: ${invalid}`)
        await scene.tells('DataVolume/dv', `Warning Error: ${text}`)
        await scene.until('the marks of the claim', () => {
          const marks = scene.pvc('dv')?.metadata.annotations ?? {}
          return (
            marks['cdi.kubevirt.io/clonePhase'] === 'Error' &&
            marks['cdi.kubevirt.io/cloneError'] === text &&
            marks['cdi.kubevirt.io/storage.condition.running.reason'] === 'Error'
          )
        })
        await scene.until('the DataVolume to be scheduled with an error', () => {
          const { phase, conditions } = scene.seen.course('dv').at(-1) ?? {}
          return phase === 'CloneScheduled' && conditions?.includes(`Running=False Error: ${text}`)
        })
        assert.equal(scene.pvc('dv')?.metadata.annotations?.[cloneType], undefined)
        assert.equal(from.seen.cloneSources.cache.size, 1)
        const { claim } = await temporariesOf(scene)
        assert.deepEqual(from.seen.pvcs.named(claim), [])
        assert.deepEqual(from.seen.snapshots.names(), [])
        await deleteDataVolume(scene)
      },
    )
  }

  for (const [what, target, asked] of [
    ['a device', (from: Scene) => cloneOf(from).mode('Block').storage('16Mi'), 'Block'],
    [
      'a claim that is taken at its word',
      (from: Scene) => dataVolume('dv').clonePvc(from.namespace).pvc('16Mi').on(classes.immediate),
      'Filesystem',
    ],
  ] as const) {
    scenario(
      `for ${what} is told before there is a claim`,
      () => stage().cluster,
      async (scene) => {
        await givenSource(scene, sourceDisk(stage(), asked))
        await scene.apply(target(scene))
        const source = asked === 'Block' ? 64 * mebibyte : 71135396
        const text = `target resources requests storage size is smaller than the source ${16 * mebibyte} < ${source}`
        await showsUnfit(scene, 'CloneValidationFailed', `${invalid}: ${text}`)
        await deleteDataVolume(scene)
      },
    )
  }
})

describe('a target of another content type', () => {
  scenario(
    'is told before there is a claim',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneBy('copy', scene).archive())
      const text = 'Source contentType (kubevirt) and target contentType (archive) do not match'
      await showsUnfit(scene, 'CloneValidationFailed', `${invalid}: ${text}`)
      await deleteDataVolume(scene)
    },
  )
})

describe('a way that the storage does not offer', { concurrency: 4 }, () => {
  const copiesInstead = async (scene: Scene, reason: string, message: string): Promise<void> => {
    await assertCloned(scene, { from: scene, strategy: 'copy' })
    await scene.tells('PersistentVolumeClaim/dv', `Warning ${reason}: ${message}`)
    assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/cloneFallbackReason'], message)
    const { sha256 } = await scene.disk('dv', stage().images.bytes)
    assert.equal(sha256, stage().images.sha256)
  }

  for (const [reason, message, classFor] of [
    ['NoVolumeSnapshotClass', 'No compatible volumesnapshotclass found', () => classes.immediate],
    ['IncompatibleProvisioners', 'Provisioners are incompatible', () => stage().csiClones],
  ] as const) {
    scenario(
      `because source and target are of different drivers becomes a copy (${reason})`,
      () => stage().cluster,
      async (scene) => {
        await using _volume = await localVolume(scene, {
          claimName: 'src',
          bytes: 80 * mebibyte,
          volumeMode: 'Filesystem',
        })
        const immediate = 'cdi.kubevirt.io/storage.bind.immediate.requested'
        await givenSource(scene, sourceDisk(stage()).on(classes.local).annotate(immediate))
        await scene.apply(cloneOf(scene).on(classFor()))
        await copiesInstead(scene, reason, message)
      },
    )
  }

  scenario(
    'because volumes of the class do not grow becomes a copy if a larger one is wanted (NoVolumeExpansion)',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneOf(scene).on(stage().fixedSize).storage('96Mi'))
      await copiesInstead(scene, 'NoVolumeExpansion', 'No volume expansion is possible')
    },
  )
})

describe('a quota', { concurrency: 4 }, () => {
  const raise = async (scene: Scene): Promise<void> => {
    await scene.cluster.kube.delete(kinds.resourceQuota, { namespace: scene.namespace, name: 'quota' })
  }

  for (const strategy of strategies) {
    scenario(
      `on storage where the source is keeps a clone waiting that needs room there (${strategy})`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        // What is there, and not enough for another one.
        await limit(from, { 'requests.storage': '100Mi' })
        await scene.apply(cloneBy(strategy, from))
        await scene.tells('PersistentVolumeClaim/dv', /^Warning ErrExceededQuota: .*exceeded quota/)
        assert.notEqual(scene.dataVolume('dv')?.status?.phase, 'Succeeded')
        await raise(from)
        const cloned = { from, strategy }
        await assertCloned(scene, cloned)
        await assertSameDisk(scene, stage().images, cloned)
      },
    )
  }

  scenario(
    'on memory where the source is keeps the pods of a copy waiting, and is told here',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await limit(from, { 'limits.memory': '100M', 'requests.memory': '10M' })
      await scene.apply(cloneBy('copy', from))
      const { claim, uploadPod } = await temporariesOf(scene)
      const text = `Error starting pod '${uploadPod}': For more information, request access to cdi-deploy logs from your sysadmin`
      await from.tells(`PersistentVolumeClaim/${claim}`, `Warning ErrExceededQuota: ${text}`)
      await scene.tells('PersistentVolumeClaim/dv', `Warning ErrExceededQuota: [${claim}] : ${text}`)
      await scene.shows('dv', /^Running=False ErrExceededQuota: .*Error starting pod/)
      await raise(from)
      await assertCloned(scene, { from, strategy: 'copy' })
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'that has no room for the claim is told on the DataVolume',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await limit(scene, { 'requests.storage': '10Mi' })
      await scene.apply(cloneBy('csi-clone', from))
      await scene.tells('DataVolume/dv', /^Warning ErrExceededQuota: .*exceeded quota/)
      await scene.shows('dv', /^Bound=False ErrExceededQuota: .*exceeded quota/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'Pending')
      await raise(scene)
      await assertCloned(scene, { from, strategy: 'csi-clone' })
      await assertDisk(scene, stage().images)
    },
  )
})

describe('deleting', { concurrency: 4 }, () => {
  /** Waits until something was made for the clone. */
  const middle = async (scene: Scene, from: Scene, strategy: Strategy): Promise<void> => {
    const { claim, snapshot } = await temporariesOf(scene)
    await from.until('the middle of the clone', () => {
      if (strategy === 'copy') return sourcePods(from).length > 0
      return from.seen.pvcs.named(claim).length > 0 || from.seen.snapshots.named(snapshot).length > 0
    })
  }
  const begin = async (scene: Scene, strategy: Strategy): Promise<Scene> => {
    const from = await scene.another()
    await givenSource(from, sourceDisk(stage()))
    const wanted: DataVolumeBuilder = cloneBy(strategy, from)
    await scene.apply(wanted)
    await middle(scene, from, strategy)
    return from
  }

  for (const strategy of strategies) {
    scenario(
      `the DataVolume in the middle of a clone by ${strategy} takes everything with it but the source`,
      () => stage().cluster,
      async (scene) => {
        const from = await begin(scene, strategy)
        await deleteDataVolume(scene)
        await from.until('the source alone', () => from.seen.pvcs.cache.size === 1)
        await assertSourceIntact(from)
      },
    )

    scenario(
      `the claim in the middle of a clone by ${strategy} makes it begin anew`,
      () => stage().cluster,
      async (scene) => {
        const from = await begin(scene, strategy)
        const first = await temporariesOf(scene)
        await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'dv' })
        await scene.until('another claim', () => {
          const uid = scene.pvc('dv')?.metadata.uid
          return uid !== undefined && uid !== first.uid
        })
        await scene.until('the clone', () => {
          const marks = scene.pvc('dv')?.metadata.annotations
          return marks?.['cdi.kubevirt.io/clonePhase'] === 'Succeeded'
        })
        await scene.succeeds('dv')
        await assertFinished(scene, { strategy })
        assert.equal(from.pvc(first.claim), undefined)
        await assertDisk(scene, stage().images)
      },
    )
  }
})
