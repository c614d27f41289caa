/** Whatever dies or is cut in the middle of an upload: the disk arrives whole, and what had arrived is not sent again. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { annotations } from '../../src/api/annotations.ts'
import { kinds } from '../../src/api/kinds.ts'
import type { UploadResumption } from '../../src/api/upload-env.ts'
import { waitFor } from '../cluster/wait-for.ts'
import { draftUpload, rangedUpload, tusUpload } from '../fixtures/upload-clients.ts'
import type { ResumableClient, ResumableOutcome } from '../fixtures/upload-clients.ts'
import { killController } from './support/kill-controller.ts'
import { arrives } from './support/assert-disk.ts'
import { execIn } from './support/exec.ts'
import { imageFiles } from './support/images.ts'
import { startOwnProxy } from './support/own-proxy.ts'
import type { OwnProxy } from './support/own-proxy.ts'
import { withProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { assertHardlyMore, startSlowRelay } from './support/slow-relay.ts'
import type { SlowRelay, SlowRelayOptions } from './support/slow-relay.ts'
import { useStage } from './support/stage.ts'
import { carrierOf, curlUpload, openTarget, tokenFor, uploadDisk, uploadPod, whenFree } from './support/upload.ts'

const stage = useStage(withProxy)

const megabyte = 1_000_000
/** For what takes as long as the machine needs; nothing is asserted about time. */
const patienceMs = 240_000

type Image = 'raw' | 'qcow2' | 'compressedQcow2'

function file(image: Image): string {
  return join(stage().directory, imageFiles[image])
}

/** The clients, each with an image that it may bring; the raw ones end up where a new pod can go on. */
const clients: readonly (readonly [name: string, client: ResumableClient, image: Image])[] = [
  ['tus', tusUpload, 'raw'],
  ['the draft', draftUpload, 'raw'],
  ['ranges', rangedUpload, 'raw'],
]

/** The usual line: the raw disk takes 8 s. */
function slowly(options: Partial<SlowRelayOptions> = {}): Promise<SlowRelay> {
  return startSlowRelay({ to: stage().proxy.address, bytesPerSecond: 3 * megabyte, ...options })
}

/** Waits until so many bytes have gone over the line; rejects if the upload is over before. */
async function passes(relay: SlowRelay, bytes: number, upload: Promise<unknown>): Promise<void> {
  const state = { isOver: false }
  const end = (): void => void (state.isOver = true)
  upload.then(end, end)
  while (relay.passedBytes < bytes) {
    if (state.isOver) {
      await upload
      throw new Error('it was over before that')
    }
    await delay(50)
  }
}

interface Running {
  readonly outcome: Promise<ResumableOutcome>
  /** Waits until two fifths of the image have gone over the line. */
  readonly middle: () => Promise<void>
  /** Waits for something that has to come before the end. */
  readonly before: <T>(happens: Promise<T>) => Promise<T>
  /**
   * Does something to the upload, and gives it back its line only when that is done: however long it takes, the upload is
   * where it was, and a client that comes back finds whatever took the place of what was ended.
   */
  readonly disturbed: (disturb: () => Promise<void>) => Promise<void>
}

async function begin(
  scene: Scene,
  relay: SlowRelay,
  [, client, image]: (typeof clients)[number],
  { withDigest = true }: { withDigest?: boolean } = {},
): Promise<Running> {
  const proxy = stage().proxy.at(relay.address)
  const agent = proxy.agent()
  const path = file(image)
  const { size } = await stat(path)
  const digest = createHash('sha256')
    .update(await readFile(path))
    .digest('base64')
  const outcome = client({
    origin: proxy.url(''),
    agent,
    token: await tokenFor(scene),
    file: path,
    patienceMs: 3 * patienceMs,
    ...(withDigest ? { reprDigest: `sha-256=:${digest}:` } : {}),
  }).finally(() => agent.destroy())
  outcome.catch(() => {})
  const before: Running['before'] = (happens) => {
    const lost = outcome.then(() => Promise.reject(new Error('it was over before that')))
    lost.catch(() => {})
    return Promise.race([happens, lost])
  }
  return {
    outcome,
    before,
    middle: () => passes(relay, 0.4 * size, outcome),
    disturbed: (disturb) => relay.whileHeld(() => before(disturb())),
  }
}

/** How much of the disk the next server would find noted. */
function notedBytes(scene: Scene): number {
  const text = carrierOf(scene)?.metadata.annotations?.[annotations.uploadResumption] ?? '{"ranges":[]}'
  const { ranges } = JSON.parse(text) as UploadResumption
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0)
}

/** Ends well, having sent hardly more than there is: such a share more at most, and what was lost by cuts. */
async function endsWith(scene: Scene, relay: SlowRelay, running: Running, image: Image, mostExtra: number) {
  const { restarts, requests } = await running.outcome
  await arrives(scene, stage().images)
  const { size } = await stat(file(image))
  const extra = relay.passedBytes / size - 1
  console.log(
    `${scene.namespace}: ${requests} requests, ${relay.cuts} cuts, ${restarts} restarts, ${(100 * extra).toFixed(2)} % extra`,
  )
  assertHardlyMore(relay, size, mostExtra)
  return restarts
}

/** Ends the container of the server; resolves when it is there again and the proxy may send to it. */
async function restartServer(scene: Scene): Promise<void> {
  const { metadata } = await uploadPod(scene)
  const restarts = (): number => Number(carrierOf(scene)?.metadata.annotations?.[annotations.podRestarts] ?? 0)
  const before = restarts()
  const kill = execIn({
    namespace: scene.namespace,
    pod: metadata.name,
    container: 'cdi-upload-server',
    command: ['/bin/sh', '-c', 'kill -TERM 1'],
  })
  // The shell may die with its container before it can say that all went well; whether it did is seen from the outside.
  await kill.catch((error: unknown) => console.log(`${scene.namespace}: ${String(error)}`))
  // Both are written at once, after one look at the pod.
  await scene.until('the server to be there again', () => {
    return restarts() > before && carrierOf(scene)?.metadata.annotations?.[annotations.podReady] === 'true'
  })
}

/** Deletes the pod of the server; resolves when another one is there and the proxy may send to it. */
async function deleteServer(scene: Scene): Promise<void> {
  const { kube } = scene.cluster
  const { namespace } = scene
  const { name, uid } = (await uploadPod(scene)).metadata
  await kube.delete(kinds.pod, { namespace, name }, { gracePeriodSeconds: 0 })
  await scene.until('another pod', () => {
    const found = scene.pod(name)
    return found !== undefined && found.metadata.uid !== uid
  })
  // Asked for, for what is watched may be older than the pod: before that was made the claim said that nobody is ready.
  const carrier = { namespace, name: carrierOf(scene)?.metadata.name ?? '' }
  await waitFor({ what: 'another server', timeoutMs: patienceMs }, async () => {
    return (await kube.get(kinds.pvc, carrier))?.metadata.annotations?.[annotations.podReady] === 'true'
  })
}

/** Kills a proxy; resolves when another one is there and the killed one, which may go on for a moment, takes nothing more. */
async function replaceProxy(own: OwnProxy, relay: SlowRelay): Promise<void> {
  relay.leadTo(await own.replace())
  await waitFor({ what: 'the killed proxy to hang up', timeoutMs: patienceMs }, async () => relay.connections === 0)
}

for (const client of clients) {
  const [name, , image] = client
  describe(`an upload by ${name}`, { concurrency: 2 }, () => {
    scenario(
      'passes a proxy in front that cuts every connection after 5 s',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        // The whole takes 31 s, and a piece of 2 MiB on one of three connections 8 s: who began either again after a cut
        // would never come to the end.
        await using relay = await slowly({ bytesPerSecond: 0.8 * megabyte, cutAfterMs: 5000 })
        const running = await begin(scene, relay, client)
        assert.equal(await endsWith(scene, relay, running, image, 0.05), 0)
        assert.ok(relay.cuts >= 2, `${relay.cuts} cuts`)
      },
    )

    scenario(
      'goes on where it was when the proxy is killed',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        await using own = await startOwnProxy(scene.cluster)
        await using relay = await slowly({ to: own.address })
        const running = await begin(scene, relay, client)
        await running.middle()
        await running.disturbed(() => replaceProxy(own, relay))
        assert.equal(await endsWith(scene, relay, running, image, 0.1), 0)
      },
    )

    scenario(
      'goes on when the server’s container is killed',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        await using relay = await slowly()
        const running = await begin(scene, relay, client)
        await running.middle()
        await running.disturbed(() => restartServer(scene))
        await endsWith(scene, relay, running, image, 0.3)
        assert.ok((scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      },
    )

    scenario(
      'goes on when the server’s pod is deleted',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        const carrier = carrierOf(scene)?.metadata.name ?? ''
        await using relay = await slowly()
        const running = await begin(scene, relay, client)
        await running.middle()
        // The controller asks every 5 s how far it is, if another test has not just killed it; what came later is lost.
        relay.setSpeed(0.05 * megabyte)
        await running.before(scene.until('what the claim notes', () => notedBytes(scene) >= 6 * megabyte))
        await running.disturbed(() => deleteServer(scene))
        relay.setSpeed(3 * megabyte)
        await endsWith(scene, relay, running, image, 0.4)
        assert.equal(scene.seen.uploadPods(carrier).length, 2)
      },
    )

    scenario(
      'does not notice that the controller dies',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        await using relay = await slowly()
        const running = await begin(scene, relay, client)
        await running.middle()
        await running.disturbed(() => killController(scene))
        assert.equal(await endsWith(scene, relay, running, image, 0.05), 0)
      },
    )
  })
}

describe('a resumable upload of a qcow2', { concurrency: 2 }, () => {
  const streamed = [
    ['tus', tusUpload, 'compressedQcow2'],
    ['the draft', draftUpload, 'qcow2'],
  ] as const
  for (const client of streamed) {
    const [name, , image] = client
    // Their 4 MB take 8 s.
    const line: Partial<SlowRelayOptions> = { bytesPerSecond: 0.4 * megabyte }

    scenario(
      `by ${name} passes a proxy in front that cuts every connection after 5 s`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        // The whole takes more than 15 s: who began again after a cut would never come to the end.
        await using relay = await slowly({ bytesPerSecond: 0.2 * megabyte, cutAfterMs: 5000 })
        const running = await begin(scene, relay, client)
        assert.equal(await endsWith(scene, relay, running, image, 0.05), 0)
        assert.ok(relay.cuts >= 1)
      },
    )

    scenario(
      `by ${name} goes on when the server’s container is killed`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        await using relay = await slowly(line)
        const running = await begin(scene, relay, client, { withDigest: false })
        await running.middle()
        await running.disturbed(() => restartServer(scene))
        // A refusal may be heard only when all was sent.
        assert.equal(await endsWith(scene, relay, running, image, 0.8), 0)
      },
    )

    scenario(
      `by ${name} begins anew then if the whole has a digest, which cannot be gone on with`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        await using relay = await slowly(line)
        const running = await begin(scene, relay, client)
        await running.middle()
        await running.disturbed(() => restartServer(scene))
        assert.equal(await endsWith(scene, relay, running, image, 1.1), 1)
      },
    )
  }
})

describe('a plain upload', { concurrency: 3 }, () => {
  /** Runs curl over a slow line, does something in the middle, in which the line is held, and gives curl's answer. */
  const disturbed = async (scene: Scene, relay: SlowRelay, disturb: () => Promise<void>) => {
    const answer = curlUpload(scene, stage().proxy.at(relay.address), { file: file('raw') })
    await passes(relay, 8 * megabyte, answer)
    await relay.whileHeld(disturb)
    return answer
  }
  const again = async (scene: Scene): Promise<void> => {
    await scene.reaches('dv', 'UploadReady')
    const { status, body } = await whenFree(() => curlUpload(scene, stage().proxy, { file: file('raw') }))
    assert.equal(status, 200, body)
    await arrives(scene, stage().images)
  }

  scenario(
    'that loses its proxy is repeated',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await using own = await startOwnProxy(scene.cluster)
      await using relay = await slowly({ to: own.address })
      const answer = await disturbed(scene, relay, () => replaceProxy(own, relay))
      assert.ok(answer.exitCode !== 0 || answer.status >= 500, `${answer.status}`)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
      await again(scene)
      assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0)
    },
  )

  scenario(
    'whose server is killed is repeated, and the restart is counted',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await using relay = await slowly()
      const answer = await disturbed(scene, relay, () => restartServer(scene))
      assert.ok(answer.exitCode !== 0 || answer.status >= 500, `${answer.status}`)
      await scene.until('the restart', () => (scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      await again(scene)
      assert.ok((scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
    },
  )

  scenario(
    'does not notice that the controller dies',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await using relay = await slowly()
      const { status, body } = await disturbed(scene, relay, () => killController(scene))
      assert.equal(status, 200, body)
      await arrives(scene, stage().images)
      await scene.tells('DataVolume/dv', 'Normal UploadSucceeded: Successfully uploaded into dv')
      const succeeded = [...scene.seen.events.sightings.values()].filter(
        ({ last }) => last.reason === 'UploadSucceeded' && last.involvedObject.kind === 'DataVolume',
      )
      assert.deepEqual(
        succeeded.map(({ last }) => last.count),
        [1],
      )
    },
  )
})

describe('an idle server', { concurrency: 2 }, () => {
  scenario(
    'that is killed is started again, and is not taken for one that has finished',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await restartServer(scene)
      await scene.until('the restart', () => (scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      await scene.reaches('dv', 'UploadReady')
      assert.equal((await curlUpload(scene, stage().proxy, { file: file('qcow2') })).status, 200)
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'whose pod is deleted gets another one',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await deleteServer(scene)
      await scene.reaches('dv', 'UploadReady')
      assert.equal((await curlUpload(scene, stage().proxy, { file: file('qcow2') })).status, 200)
      await arrives(scene, stage().images)
    },
  )
})

describe('ten uploads', () => {
  scenario(
    'run side by side',
    () => stage().cluster,
    async (scene) => {
      const names = Array.from({ length: 10 }, (_, index) => `dv${index}`)
      const images: Image[] = ['raw', 'qcow2', 'compressedQcow2']
      await Promise.all(names.map((name) => openTarget(scene, uploadDisk(name).storage('32Mi'))))
      await using relay = await slowly({ bytesPerSecond: 20 * megabyte })
      const proxy = stage().proxy.at(relay.address)
      const answers = await Promise.all(
        names.map((pvcName, index) =>
          curlUpload(scene, proxy, { pvcName, file: file(images[index % images.length] ?? 'raw') }),
        ),
      )
      assert.deepEqual(
        answers.map(({ status }) => status),
        names.map(() => 200),
      )
      for (const name of names) await scene.succeeds(name)
      const found = await Promise.all(names.map((name) => scene.disk(name, stage().images.bytes)))
      assert.deepEqual([...new Set(found.map(({ sha256 }) => sha256))], [stage().images.sha256])
    },
  )
})
