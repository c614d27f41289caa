/** Claims and DataVolumes that are moved by ObjectTransfers: the same volume, with the same bytes, under another name. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { ObjectTransfer } from '../../src/api/kinds.ts'
import { waitFor } from '../cluster/wait-for.ts'
import { killController } from './support/kill-controller.ts'
import { assertDisk } from './support/assert-disk.ts'
import { cloneBy, givenSource, sourceDisk } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { limit } from './support/quota.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const patienceMs = 120_000

const writeNoise =
  'head -c 8388608 /dev/urandom > /volume/noise; sync; sha256sum < /volume/noise > /dev/termination-log'
const readNoise = 'sha256sum < /volume/noise > /dev/termination-log'

/** A claim that a person made and wrote to. */
async function givenClaim(scene: Scene, name = 'src', storageClassName: string = classes.immediate): Promise<string> {
  await scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, labels: { team: 'blue' }, annotations: { note: 'kept' } },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName,
      resources: { requests: { storage: '32Mi' } },
    },
  })
  return scene.read(name, writeNoise)
}

/** An ObjectTransfer, which is in no namespace; it goes when it is disposed of. */
class Move implements AsyncDisposable {
  readonly name: string
  readonly #scene: Scene

  private constructor(scene: Scene, name: string) {
    this.#scene = scene
    this.name = name
  }

  static async start(
    scene: Scene,
    source: { readonly kind: 'PersistentVolumeClaim' | 'DataVolume'; readonly name: string },
    target: ObjectTransfer['spec']['target'],
  ): Promise<Move> {
    const name = `e2e-${randomBytes(5).toString('hex')}`
    await scene.cluster.kube.create(kinds.objectTransfer, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'ObjectTransfer',
      metadata: { name },
      spec: { source: { ...source, namespace: scene.namespace }, target },
    })
    return new Move(scene, name)
  }

  async says(what: string, isSo: (transfer: ObjectTransfer) => boolean): Promise<ObjectTransfer> {
    let last: ObjectTransfer | undefined
    try {
      return await waitFor({ what, timeoutMs: patienceMs }, async () => {
        last = await this.#scene.cluster.kube.get(kinds.objectTransfer, { name: this.name })
        return last !== undefined && isSo(last) && last
      })
    } catch (error) {
      throw new Error(`transfer ${this.name}: ${JSON.stringify(last?.status)}`, { cause: error })
    }
  }

  async tells(message: string): Promise<ObjectTransfer> {
    return this.says(message, ({ status }) => status?.conditions?.[0]?.message === message)
  }

  async completes(): Promise<void> {
    const { status } = await this.says('Complete', (transfer) => transfer.status?.phase === 'Complete')
    const { type, status: value, message } = status?.conditions?.[0] ?? {}
    assert.deepEqual([type, value, message], ['Complete', 'True', 'Transfer complete'])
    await this.says('no finalizer', ({ metadata }) => (metadata.finalizers ?? []).length === 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#scene.cluster.kube.delete(kinds.objectTransfer, { name: this.name })
  }
}

interface Volume {
  readonly name: string
  readonly policy: string | undefined
}

/** The volume of a claim. */
async function volumeOf(scene: Scene, claimName: string): Promise<Volume> {
  const pvc = await scene.until(`claim ${claimName} to be bound`, () => {
    const found = scene.pvc(claimName)
    return found?.status?.phase === 'Bound' && found
  })
  const name = pvc.spec?.volumeName ?? ''
  const volume = await scene.cluster.kube.get(kinds.pv, { name })
  assert.equal(volume?.spec?.claimRef?.uid, pvc.metadata.uid)
  return { name, policy: volume.spec.persistentVolumeReclaimPolicy }
}

const directions = [
  ['another namespace', true, undefined],
  ['another namespace and name', true, 'moved'],
  ['another name', false, 'moved'],
] as const

/** Where a thing goes, and the target that says so. */
async function placeFor(
  scene: Scene,
  isAway: boolean,
  name: string | undefined,
): Promise<{ to: Scene; name: string; target: ObjectTransfer['spec']['target'] }> {
  const to = isAway ? await scene.another() : scene
  const target = { ...(isAway ? { namespace: to.namespace } : {}), ...(name === undefined ? {} : { name }) }
  return { to, name: name ?? 'src', target }
}

describe('a claim', { concurrency: 3 }, () => {
  for (const [title, isAway, newName] of directions) {
    scenario(
      `goes to ${title} with its volume`,
      () => stage().cluster,
      async (scene) => {
        const digest = await givenClaim(scene)
        const before = await volumeOf(scene, 'src')
        const { to, name, target } = await placeFor(scene, isAway, newName)
        await using move = await Move.start(scene, { kind: 'PersistentVolumeClaim', name: 'src' }, target)
        await move.completes()
        assert.deepEqual(await volumeOf(to, name), before)
        await scene.until('the source to be gone', () => scene.pvc('src') === undefined)
        const { metadata } = await to.until('the claim without marks', () => {
          const found = to.pvc(name)
          return found?.metadata.annotations?.['cdi.kubevirt.io/objectTransferName'] === undefined && found
        })
        assert.deepEqual([metadata.labels?.['team'], metadata.annotations?.['note']], ['blue', 'kept'])
        assert.equal(await to.read(name, readNoise), digest)
      },
    )
  }

  scenario(
    'that was bound for its first consumer needs none at its new place',
    () => stage().cluster,
    async (scene) => {
      const digest = await givenClaim(scene, 'src', classes.waitForFirstConsumer)
      const before = await volumeOf(scene, 'src')
      const to = await scene.another()
      await using move = await Move.start(
        scene,
        { kind: 'PersistentVolumeClaim', name: 'src' },
        { namespace: to.namespace },
      )
      await move.completes()
      assert.deepEqual(await volumeOf(to, 'src'), before)
      assert.equal(await to.read('src', readNoise), digest)
    },
  )

  scenario(
    'stays while a pod uses it',
    () => stage().cluster,
    async (scene) => {
      const digest = await givenClaim(scene)
      const before = await volumeOf(scene, 'src')
      const user = await scene.use('src', 'sleep 3600')
      await scene.until('the pod to run', () => scene.pod(user)?.status?.phase === 'Running')
      await using move = await Move.start(scene, { kind: 'PersistentVolumeClaim', name: 'src' }, { name: 'moved' })
      const { status } = await move.tells('Pods using PVC')
      assert.equal(status?.phase, 'Pending')
      await scene.cluster.kube.delete(kinds.pod, { namespace: scene.namespace, name: user })
      await move.completes()
      assert.deepEqual(await volumeOf(scene, 'moved'), before)
      assert.equal(await scene.read('moved', readNoise), digest)
    },
  )

  scenario(
    'that a quota does not admit arrives when it is raised',
    () => stage().cluster,
    async (scene) => {
      const digest = await givenClaim(scene)
      const before = await volumeOf(scene, 'src')
      const to = await scene.another()
      await limit(to, { persistentvolumeclaims: '0' })
      await using move = await Move.start(
        scene,
        { kind: 'PersistentVolumeClaim', name: 'src' },
        { namespace: to.namespace },
      )
      const { status } = await move.says('the quota', (transfer) => {
        return transfer.status?.conditions?.[0]?.reason?.includes('exceeded quota') ?? false
      })
      assert.deepEqual([status?.phase, status?.conditions?.[0]?.message], ['Error', 'Error'])
      const kept = await scene.cluster.kube.get(kinds.pv, { name: before.name })
      assert.equal(kept?.spec?.persistentVolumeReclaimPolicy, 'Retain')
      await to.cluster.kube.delete(kinds.resourceQuota, { namespace: to.namespace, name: 'quota' })
      await move.completes()
      assert.deepEqual(await volumeOf(to, 'src'), before)
      assert.equal(await to.read('src', readNoise), digest)
    },
  )
})

/** A DataVolume at its new place: done, without having been filled again, and the owner of its claim. */
async function assertMoved(to: Scene, name: string): Promise<void> {
  const { metadata, status } = await to.succeeds(name)
  assert.equal(status?.progress, 'N/A')
  await to.until('the owner of the claim', () => to.pvc(name)?.metadata.ownerReferences?.[0]?.uid === metadata.uid)
  assert.deepEqual(to.pvc(name)?.metadata.annotations?.['cdi.kubevirt.io/storage.populatedFor'], name)
  await to.until('the marks to be gone', () =>
    [to.pvc(name), to.dataVolume(name)].every(
      (found) => found?.metadata.annotations?.['cdi.kubevirt.io/objectTransferName'] === undefined,
    ),
  )
}

describe('a DataVolume', { concurrency: 3 }, () => {
  for (const mode of ['Filesystem', 'Block'] as const) {
    for (const [title, isAway, newName] of directions) {
      scenario(
        `in mode ${mode} goes to ${title} with its volume`,
        () => stage().cluster,
        async (scene) => {
          await givenSource(scene, sourceDisk(stage(), mode))
          await assertDisk(scene, stage().images, 'src')
          const before = await volumeOf(scene, 'src')
          const workers = scene.seen.importerPods('src').length
          const { to, name, target } = await placeFor(scene, isAway, newName)
          await using move = await Move.start(scene, { kind: 'DataVolume', name: 'src' }, target)
          await move.completes()
          await assertMoved(to, name)
          assert.deepEqual(await volumeOf(to, name), before)
          await assertDisk(to, stage().images, name)
          await scene.until('the source to be gone', () => !scene.dataVolume('src') && !scene.pvc('src'))
          assert.equal(scene.seen.importerPods('src').length, workers, 'the source was filled again')
          if (to !== scene) assert.equal(to.seen.importerPods(name).length, 0, 'the target was filled again')
        },
      )
    }
  }

  scenario(
    'that was cloned goes although its source is gone',
    () => stage().cluster,
    async (scene) => {
      const [from, to] = [await scene.another(), await scene.another()]
      await givenSource(from, sourceDisk(stage()))
      await givenSource(scene, cloneBy('csi-clone', from))
      await scene.cluster.kube.delete(kinds.dataVolume, { namespace: from.namespace, name: 'src' })
      await from.until('the source to be gone', () => from.pvc('src') === undefined)
      const before = await volumeOf(scene, 'dv')
      await using move = await Move.start(scene, { kind: 'DataVolume', name: 'dv' }, { namespace: to.namespace })
      await move.completes()
      await assertMoved(to, 'dv')
      assert.deepEqual(await volumeOf(to, 'dv'), before)
      await assertDisk(to, stage().images, 'dv')
    },
  )
})

describe('several transfers', () => {
  scenario(
    'go on side by side, through the end of a controller',
    () => stage().cluster,
    async (scene) => {
      const to = await scene.another()
      const claims = ['a', 'b', 'c']
      const digests = await Promise.all(claims.map((name) => givenClaim(scene, name)))
      await givenSource(scene, sourceDisk(stage()))
      const names = [...claims, 'src']
      const before = await Promise.all(names.map((name) => volumeOf(scene, name)))
      await using moves = new AsyncDisposableStack()
      const started = await Promise.all(
        names.map(async (name) => {
          const kind = name === 'src' ? 'DataVolume' : 'PersistentVolumeClaim'
          return moves.use(await Move.start(scene, { kind, name }, { namespace: to.namespace }))
        }),
      )
      await killController(scene)
      await Promise.all(started.map((move) => move.completes()))
      assert.deepEqual(await Promise.all(names.map((name) => volumeOf(to, name))), before)
      for (const [index, name] of claims.entries()) assert.equal(await to.read(name, readNoise), digests[index])
      await assertMoved(to, 'src')
      await assertDisk(to, stage().images, 'src')
    },
  )
})
