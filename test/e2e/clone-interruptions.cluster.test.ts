/** Whatever dies in the middle of a clone, the disk arrives whole, and nothing of the making is left. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { killController } from './support/kill-controller.ts'
import { assertCloned, assertNothingLeft } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import { cloneBy, givenSource, reading, sourceDisk, sourcePods, strategies, temporariesOf } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { execIn } from './support/exec.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const mebibyte = 1024 * 1024
/** All of it data that cannot be packed, so that a copy has a middle. */
const bigBytes = 256 * mebibyte
const bigFile = 'big.img'
const bigSize = '272Mi'

const stage = useStage(async ({ directory }) => ({ bigSha256: await makeBigDisk(join(directory, bigFile)) }))

async function makeBigDisk(path: string): Promise<string> {
  const hash = createHash('sha256')
  await using file = await open(path, 'w')
  for (let at = 0; at < bigBytes; at += 16 * mebibyte) {
    const bytes = randomBytes(16 * mebibyte)
    hash.update(bytes)
    await file.write(bytes)
  }
  return hash.digest('hex')
}

/** Imports the big disk and begins to copy it. */
async function beginBigCopy(scene: Scene): Promise<Scene> {
  const from = await scene.another()
  const big = dataVolume('src').http(stage().web.url(bigFile)).storage(bigSize)
  await givenSource(from, big.on(classes.immediate).mode('Filesystem').access('ReadWriteOnce'))
  await scene.apply(cloneBy('copy', from).storage(bigSize))
  return from
}

async function uploadPodOf(scene: Scene, from: Scene): Promise<Pod> {
  const { claim } = await temporariesOf(scene)
  return from.until('the receiving pod', () => from.seen.uploadPods(claim).find(({ gone }) => !gone)?.last)
}

/**
 * The container ends with a fault, and the kubelet starts it again. A program that has only just been started does not hear
 * the signal yet: the kernel drops what the first process of a container has no handler for.
 */
async function killContainer({ seen: { pods } }: Scene, { metadata, spec }: Pod): Promise<void> {
  const hasEnded = (): boolean => {
    const [status] = pods.named(metadata.name).at(-1)?.last.status?.containerStatuses ?? []
    return status?.state?.terminated !== undefined || (status?.restartCount ?? 0) > 0
  }
  for (let tries = 0; tries < 40 && !hasEnded(); tries += 1) {
    await execIn({
      namespace: metadata.namespace ?? '',
      pod: metadata.name,
      container: spec?.containers[0]?.name ?? '',
      command: ['/bin/sh', '-c', 'kill -TERM 1'],
    }).catch((error: unknown) => {
      // It may have ended in this moment.
      if (tries === 0) throw error
    })
    await delay(300)
  }
}

async function deletePod(scene: Scene, { metadata }: Pod): Promise<void> {
  const key = { namespace: metadata.namespace ?? '', name: metadata.name }
  await scene.cluster.kube.delete(kinds.pod, key, { gracePeriodSeconds: 0 })
}

async function arrivesWhole(scene: Scene, from: Scene): Promise<void> {
  await assertCloned(scene, { from, strategy: 'copy' })
  const { sha256, restIsZero } = await scene.disk('dv', bigBytes)
  assert.equal(sha256, stage().bigSha256)
  assert.ok(restIsZero)
}

const restarts = (scene: Scene): number => scene.dataVolume('dv')?.status?.restartCount ?? 0

describe('a copy', { concurrency: 2 }, () => {
  scenario(
    'tells how far it has come',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await arrivesWhole(scene, from)
      const shown = scene.seen.course('dv').flatMap(({ progress }) => progress ?? [])
      const numbers = shown
        .filter((text) => text !== 'N/A')
        .map((text) => {
          assert.match(text, /^(\d{1,2}\.\d\d%|100\.0%)$/)
          return Number.parseFloat(text)
        })
      assert.equal(shown[0], 'N/A')
      assert.equal(numbers.at(-1), 100)
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
      assert.equal(restarts(scene), 0)
    },
  )

  scenario(
    'does not notice that the controller dies',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await reading(from)
      await killController(scene)
      await arrivesWhole(scene, from)
      assert.equal(sourcePods(from).length, 1, 'the source was read by another pod')
      const { claim } = await temporariesOf(scene)
      assert.equal(from.seen.uploadPods(claim).length, 1, 'another pod received')
      assert.equal(restarts(scene), 0)
      const succeeded = [...scene.seen.events.sightings.values()].filter(
        ({ last }) => last.reason === 'CloneSucceeded' && last.involvedObject.kind === 'DataVolume',
      )
      assert.deepEqual(
        succeeded.map(({ last }) => last.count),
        [1],
      )
    },
  )

  scenario(
    'goes on when the pod that reads is deleted',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await deletePod(scene, await reading(from))
      await arrivesWhole(scene, from)
      assert.equal(sourcePods(from).length, 2)
      assert.equal(restarts(scene), 0)
    },
  )

  scenario(
    'goes on when the container that reads is killed',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await killContainer(from, await reading(from))
      await arrivesWhole(scene, from)
      assert.equal(sourcePods(from).length, 1)
      assert.ok((sourcePods(from)[0]?.last.status?.containerStatuses?.[0]?.restartCount ?? 0) >= 1)
    },
  )

  scenario(
    'goes on when the pod that receives is deleted',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await reading(from)
      const { claim } = await temporariesOf(scene)
      await deletePod(scene, await uploadPodOf(scene, from))
      await arrivesWhole(scene, from)
      assert.equal(from.seen.uploadPods(claim).length, 2)
    },
  )

  scenario(
    'goes on when the container that receives is killed, and counts it',
    () => stage().cluster,
    async (scene) => {
      const from = await beginBigCopy(scene)
      await reading(from)
      const { claim } = await temporariesOf(scene)
      await killContainer(from, await uploadPodOf(scene, from))
      await arrivesWhole(scene, from)
      assert.equal(from.seen.uploadPods(claim).length, 1)
      assert.ok(restarts(scene) >= 1)
    },
  )
})

describe('the controller', { concurrency: 3 }, () => {
  for (const strategy of strategies) {
    scenario(
      `that dies at every step of a clone by ${strategy} finishes it all the same`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        await scene.apply(cloneBy(strategy, from))
        const { claim, snapshot } = await temporariesOf(scene)
        await killController(scene)
        await from.until('the first step', () => {
          return from.seen.pvcs.named(claim).length > 0 || from.seen.snapshots.named(snapshot).length > 0
        })
        await killController(scene)
        await from.until('the temporary claim to have its volume', () => {
          return from.seen.pvcs.named(claim).some(({ last }) => last.spec?.volumeName !== undefined)
        })
        await killController(scene)
        await scene.succeeds('dv')
        assert.equal(scene.dataVolume('dv')?.metadata.annotations?.['cdi.kubevirt.io/cloneType'], strategy)
        assert.equal(from.seen.pvcs.named(claim).length, 1)
        await assertNothingLeft(scene)
        await assertDisk(scene, stage().images)
        assert.equal(restarts(scene), 0)
      },
    )
  }
})
