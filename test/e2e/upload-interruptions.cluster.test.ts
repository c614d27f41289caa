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
import { draftUpload, rangedUpload, tusUpload } from '../fixtures/upload-clients.ts'
import type { ResumableClient, ResumableOutcome } from '../fixtures/upload-clients.ts'
import { killController } from './support/kill-controller.ts'
import { arrives } from './support/assert-disk.ts'
import { execIn } from './support/exec.ts'
import { imageFiles } from './support/images.ts'
import { startOwnProxy } from './support/own-proxy.ts'
import { withProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { startSlowRelay } from './support/slow-relay.ts'
import type { SlowRelay, SlowRelayOptions } from './support/slow-relay.ts'
import { useStage } from './support/stage.ts'
import { carrierOf, curlUpload, openTarget, tokenFor, uploadDisk, uploadPod } from './support/upload.ts'

const stage = useStage(withProxy)

const megabyte = 1_000_000

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

interface Running {
  readonly outcome: Promise<ResumableOutcome>
  /** Waits until such a share of the image has gone over the line. */
  readonly middle: (share?: number) => Promise<void>
  /** Waits for something that has to come before the end. */
  readonly before: <T>(happens: Promise<T>) => Promise<T>
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
    ...(withDigest ? { reprDigest: `sha-256=:${digest}:` } : {}),
  }).finally(() => agent.destroy())
  outcome.catch(() => {})
  const before: Running['before'] = (happens) => {
    const lost = outcome.then(() => Promise.reject(new Error('it was over before that')))
    lost.catch(() => {})
    return Promise.race([happens, lost])
  }
  const passes = async (share: number): Promise<void> => {
    while (relay.passedBytes < size * share) await delay(50)
  }
  return { outcome, before, middle: (share = 0.4) => before(passes(share)) }
}

/** How much of the disk the next server would find noted. */
function notedBytes(scene: Scene): number {
  const text = carrierOf(scene)?.metadata.annotations?.[annotations.uploadResumption] ?? '{"ranges":[]}'
  const { ranges } = JSON.parse(text) as UploadResumption
  return ranges.reduce((sum, [start, end]) => sum + end - start, 0)
}

/** Ends well, having sent hardly more than there is. */
async function endsWith(scene: Scene, relay: SlowRelay, running: Running, image: Image, mostExtra: number) {
  const { restarts, requests } = await running.outcome
  await arrives(scene, stage().images)
  const { size } = await stat(file(image))
  const extra = relay.passedBytes / size - 1
  console.log(
    `${scene.namespace}: ${requests} requests, ${relay.cuts} cuts, ${restarts} restarts, ${(100 * extra).toFixed(2)} % extra`,
  )
  assert.ok(extra <= mostExtra, `${(100 * extra).toFixed(1)} % more than the image went over the line`)
  return restarts
}

async function restartServer(scene: Scene): Promise<void> {
  const { metadata } = await uploadPod(scene)
  await execIn({
    namespace: scene.namespace,
    pod: metadata.name,
    container: 'cdi-upload-server',
    command: ['/bin/sh', '-c', 'kill -TERM 1'],
  })
}

async function deleteServer(scene: Scene): Promise<void> {
  const { metadata } = await uploadPod(scene)
  const key = { namespace: scene.namespace, name: metadata.name }
  await scene.cluster.kube.delete(kinds.pod, key, { gracePeriodSeconds: 0 })
}

for (const client of clients) {
  const [name, , image] = client
  describe(`an upload by ${name}`, { concurrency: 2 }, () => {
    scenario(
      'passes a proxy in front that cuts every connection after 5 s',
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene)
        // Longer than 30 s: a moment in which the machine is busy with something else does not cost 5 % of that.
        await using relay = await slowly({ bytesPerSecond: 0.8 * megabyte, cutAfterMs: 5000 })
        const running = await begin(scene, relay, client)
        assert.equal(await endsWith(scene, relay, running, image, 0.05), 0)
        // Ranges are so short that they need not notice.
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
        relay.leadTo(await own.replace())
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
        await restartServer(scene)
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
        relay.setSpeed(0.1 * megabyte)
        await running.before(scene.until('what the claim notes', () => notedBytes(scene) >= 6 * megabyte))
        await deleteServer(scene)
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
        await killController(scene)
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
        await restartServer(scene)
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
        await restartServer(scene)
        assert.equal(await endsWith(scene, relay, running, image, 1.1), 1)
      },
    )
  }
})

describe('a plain upload', { concurrency: 3 }, () => {
  /** Runs curl over a slow line, does something in the middle, and gives curl's answer. */
  const disturbed = async (scene: Scene, relay: SlowRelay, disturb: () => Promise<void>) => {
    const answer = curlUpload(scene, stage().proxy.at(relay.address), { file: file('raw') })
    while (relay.passedBytes < 8 * megabyte) await delay(50)
    await disturb()
    return answer
  }
  const again = async (scene: Scene): Promise<void> => {
    await scene.reaches('dv', 'UploadReady')
    const { status, body } = await curlUpload(scene, stage().proxy, { file: file('raw') })
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
      const answer = await disturbed(scene, relay, async () => void (await own.replace()))
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
      const first = await uploadPod(scene)
      await deleteServer(scene)
      await scene.until('another pod', () => {
        const { uid = '' } = scene.pod(first.metadata.name)?.metadata ?? {}
        return uid !== '' && uid !== first.metadata.uid
      })
      await scene.reaches('dv', 'UploadReady')
      await scene.until(
        'another server',
        () => carrierOf(scene)?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.ready'] === 'true',
      )
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
