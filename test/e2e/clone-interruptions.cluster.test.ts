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
import { cloneBy, givenSource, sourceDisk, sourcePods, strategies, temporariesOf } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { execIn } from './support/exec.ts'
import type { Sighting } from './support/recording.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const mebibyte = 1024 * 1024
/** All of it data that cannot be packed, so that a copy has a middle: on a machine that does nothing else about 5 s. */
const bigBytes = 768 * mebibyte
const bigFile = 'big.img'
const bigSize = '816Mi'

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

/** A copy of the big disk. */
interface Copy {
  readonly scene: Scene
  readonly from: Scene
  /** Of the DataVolume. */
  readonly name: string
  /** The claim that is copied to, beside the source. */
  readonly claim: string
}

/** Imports the big disk into a namespace of its own. */
async function givenBigDisk(scene: Scene): Promise<Scene> {
  const from = await scene.another()
  const big = dataVolume('src').http(stage().web.url(bigFile)).storage(bigSize)
  await givenSource(from, big.on(classes.immediate).mode('Filesystem').access('ReadWriteOnce'))
  return from
}

async function beginCopy(scene: Scene, from: Scene, name = 'dv'): Promise<Copy> {
  await scene.apply(cloneBy('copy', from, name).storage(bigSize))
  const { claim } = await temporariesOf(scene, name)
  return { scene, from, name, claim }
}

/** The pods that have read the source for a copy, and those that have received it. */
function podsOf({ from, claim }: Copy): Record<'readers' | 'receivers', Sighting<Pod>[]> {
  const receiver = `${from.namespace}/${claim}`
  const readers = sourcePods(from).filter(
    ({ last }) => last.metadata.annotations?.['cdi.kubevirt.io/storage.ownerRef'] === receiver,
  )
  return { readers, receivers: from.seen.uploadPods(claim) }
}

const restartsOf = (pod: Sighting<Pod> | undefined): number =>
  pod?.last.status?.containerStatuses?.[0]?.restartCount ?? 0

/** The two pods at their work; undefined if the copy was over before it was seen that they are. */
async function atWork(copy: Copy): Promise<Record<'reader' | 'receiver', Pod> | undefined> {
  const { from, claim } = copy
  const { found } = await from.until('the source to be read', () => {
    const isFilled = from.seen.pvcs
      .named(claim)
      .some(({ last }) => last.metadata.annotations?.['cdi.kubevirt.io/storage.pod.phase'] === 'Succeeded')
    if (isFilled) return { found: undefined }
    const { readers, receivers } = podsOf(copy)
    const reader = readers.find(({ gone, last }) => !gone && last.status?.phase === 'Running')?.last
    const receiver = receivers.find(({ gone }) => !gone)?.last
    return reader && receiver && { found: { reader, receiver } }
  })
  return found
}

interface Disturbance {
  readonly disturb: (pods: Record<'reader' | 'receiver', Pod>, copy: Copy) => Promise<void>
  /** Whether it came in the middle, told when the copy has arrived. */
  readonly wasHit: (pods: ReturnType<typeof podsOf>) => boolean
}

/**
 * Lets a copy be disturbed, and sees to it that it arrives whole. One that was over before, since it is only seen a moment
 * later that it has begun, shows nothing: another one is made then.
 */
async function disturbed(scene: Scene, { disturb, wasHit }: Disturbance): Promise<Copy> {
  const from = await givenBigDisk(scene)
  for (const name of ['dv', 'second', 'third']) {
    const copy = await beginCopy(scene, from, name)
    const pods = await atWork(copy)
    if (pods) await disturb(pods, copy)
    await arrivesWhole(copy)
    if (pods && wasHit(podsOf(copy))) return copy
    await scene.cluster.kube.delete(kinds.dataVolume, { namespace: scene.namespace, name })
    await scene.until(`${name} to be gone`, () => scene.dataVolume(name) === undefined && scene.pvc(name) === undefined)
  }
  throw new Error('each of the copies was over before it could be disturbed')
}

/**
 * The container ends with a fault, and the kubelet starts it again. A program that has only just been started does not hear
 * the signal yet: the kernel drops what the first process of a container has no handler for.
 */
async function killContainer({ from }: Copy, { metadata, spec }: Pod): Promise<void> {
  const hasEnded = (): boolean => {
    const pod = from.seen.pods.sightings.get(metadata.uid)
    const state = pod?.last.status?.containerStatuses?.[0]?.state
    return pod === undefined || pod.gone || state?.terminated !== undefined || restartsOf(pod) > 0
  }
  let refusal: unknown
  for (let tries = 0; tries < 40 && !hasEnded(); tries += 1) {
    await execIn({
      namespace: metadata.namespace ?? '',
      pod: metadata.name,
      container: spec?.containers[0]?.name ?? '',
      command: ['/bin/sh', '-c', 'kill -TERM 1'],
    }).catch((error: unknown) => {
      // It may have ended before, which is not seen yet.
      refusal = error
    })
    await delay(300)
  }
  if (!hasEnded()) throw new Error(`the container of pod ${metadata.name} does not end`, { cause: refusal })
}

async function deletePod({ scene }: Copy, { metadata }: Pod): Promise<void> {
  const key = { namespace: metadata.namespace ?? '', name: metadata.name }
  await scene.cluster.kube.delete(kinds.pod, key, { gracePeriodSeconds: 0 })
}

async function arrivesWhole({ scene, from, name }: Copy): Promise<void> {
  await assertCloned(scene, { from, strategy: 'copy', name })
  const { sha256, restIsZero } = await scene.disk(name, bigBytes)
  assert.equal(sha256, stage().bigSha256)
  assert.ok(restIsZero)
}

const restarts = (scene: Scene, name = 'dv'): number => scene.dataVolume(name)?.status?.restartCount ?? 0

describe('a copy', { concurrency: 2 }, () => {
  scenario(
    'tells how far it has come',
    () => stage().cluster,
    async (scene) => {
      await arrivesWhole(await beginCopy(scene, await givenBigDisk(scene)))
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
      let isRead = false
      const copy = await disturbed(scene, {
        disturb: async ({ reader: { metadata } }) => {
          await killController(scene)
          const key = { namespace: metadata.namespace ?? '', name: metadata.name }
          const reader = await scene.cluster.kube.get(kinds.pod, key)
          isRead = reader?.status?.containerStatuses?.[0]?.state?.running !== undefined
        },
        wasHit: () => isRead,
      })
      const { readers, receivers } = podsOf(copy)
      assert.equal(readers.length, 1, 'the source was read by another pod')
      assert.equal(receivers.length, 1, 'another pod received')
      assert.equal(restarts(scene, copy.name), 0)
      const succeeded = [...scene.seen.events.sightings.values()].filter(
        ({ last: { reason, involvedObject } }) =>
          reason === 'CloneSucceeded' && involvedObject.kind === 'DataVolume' && involvedObject.name === copy.name,
      )
      assert.deepEqual(
        succeeded.map(({ last }) => last.count),
        [1],
      )
    },
  )

  // What arrives whole, and was sent by a single run of a single container to a single one, was not disturbed on its way.
  scenario(
    'goes on when the pod that reads is deleted',
    () => stage().cluster,
    async (scene) => {
      const copy = await disturbed(scene, {
        disturb: ({ reader }, begun) => deletePod(begun, reader),
        wasHit: ({ readers }) => readers.length > 1,
      })
      assert.equal(podsOf(copy).readers.length, 2)
      assert.equal(restarts(scene, copy.name), 0)
    },
  )

  scenario(
    'goes on when the container that reads is killed',
    () => stage().cluster,
    async (scene) => {
      const copy = await disturbed(scene, {
        disturb: ({ reader }, begun) => killContainer(begun, reader),
        wasHit: ({ readers }) => readers.length > 1 || restartsOf(readers[0]) > 0,
      })
      assert.equal(podsOf(copy).readers.length, 1)
    },
  )

  scenario(
    'goes on when the pod that receives is deleted',
    () => stage().cluster,
    async (scene) => {
      const copy = await disturbed(scene, {
        disturb: ({ receiver }, begun) => deletePod(begun, receiver),
        wasHit: ({ receivers }) => receivers.length > 1,
      })
      assert.equal(podsOf(copy).receivers.length, 2)
    },
  )

  scenario(
    'goes on when the container that receives is killed, and counts it',
    () => stage().cluster,
    async (scene) => {
      const copy = await disturbed(scene, {
        disturb: ({ receiver }, begun) => killContainer(begun, receiver),
        wasHit: ({ receivers }) => receivers.length > 1 || restartsOf(receivers[0]) > 0,
      })
      assert.equal(podsOf(copy).receivers.length, 1)
      assert.ok(restarts(scene, copy.name) >= 1)
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
