/** `cdi upload` from a shell, against a cluster: one command from the file to the disk, on good lines and on bad ones. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { copyFile, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { checkout, kubeconfigPath } from '../cluster/layout.ts'
import { tempDir } from '../fixtures/server-process.ts'
import type { TempDir } from '../fixtures/server-process.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { archiveScript } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { withProxy } from './support/proxy.ts'
import type { UploadProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { assertHardlyMore, startSlowRelay } from './support/slow-relay.ts'
import type { SlowRelay } from './support/slow-relay.ts'
import { useStage } from './support/stage.ts'
import { openTarget, uploadDisk } from './support/upload.ts'

const denseBytes = 16 * 1024 * 1024

const stage = useStage(async (common) => {
  const state: TempDir = common.keep(await tempDir('cdi-upload'))
  // Without holes, which the command would not send.
  const content = randomBytes(denseBytes)
  await writeFile(join(common.directory, denseFile), content)
  const dense = { bytes: denseBytes, sha256: createHash('sha256').update(content).digest('hex') }
  return { ...(await withProxy(common)), state, dense }
})

const megabyte = 1_000_000
const denseFile = 'dense.img'

function file(image: keyof typeof imageFiles | 'dense'): string {
  return join(stage().directory, image === 'dense' ? denseFile : imageFiles[image])
}

/** Waits for the disk that an image holds. */
async function brings(scene: Scene, image: keyof typeof imageFiles | 'dense'): Promise<void> {
  if (image !== 'dense') return arrives(scene, stage().images)
  await scene.succeeds('dv')
  const { bytes, sha256 } = stage().dense
  const found = await scene.disk('dv', bytes)
  assert.equal(found.sha256, sha256)
  assert.ok(found.restIsZero)
  return undefined
}

const options = { reject: false, stdin: 'ignore', all: true } as const

/** `cdi upload ARGS` in the namespace of the scene; killed with the test. */
function start(scene: Scene, args: readonly string[], proxy: UploadProxy = stage().proxy) {
  const kubeconfig = process.env['KUBECONFIG'] ?? kubeconfigPath()
  return execa(
    process.execPath,
    // The certificate is for names inside of the cluster; that names are checked is proved elsewhere.
    [
      join(checkout, 'src/bin/cdi.ts'),
      'upload',
      ...args,
      '-n',
      scene.namespace,
      '--insecure',
      '--uploadproxy-url',
      proxy.url(''),
    ],
    {
      ...options,
      env: { KUBECONFIG: kubeconfig, XDG_STATE_HOME: stage().state.path, http_proxy: '', https_proxy: '' },
    },
  )
}

async function runs(scene: Scene, args: readonly string[], proxy?: UploadProxy): Promise<string> {
  const { exitCode, all, stdout } = await start(scene, args, proxy)
  assert.equal(exitCode, 0, all)
  return stdout
}

async function half(relay: SlowRelay, size: number): Promise<void> {
  const end = performance.now() + 60_000
  while (relay.passedBytes < size / 2 && performance.now() < end) await delay(50)
}

const onImmediate = ['--storage-class', classes.immediate]

describe('cdi upload', { concurrency: 3 }, () => {
  for (const [image, mode] of [
    ['qcow2', 'filesystem'],
    ['raw', 'filesystem'],
    ['raw', 'block'],
    ['rawXz', 'block'],
  ] as const) {
    const size = mode === 'block' ? 'the size that the disk needs' : 'the size that was told'
    scenario(
      `makes the DataVolume, of ${size}, and brings ${image} (${mode})`,
      () => stage().cluster,
      async (scene) => {
        const sizeArgs = mode === 'block' ? [] : ['--size', '64Mi']
        const args = [file(image), '--dv', 'dv', ...sizeArgs, ...onImmediate, '--volume-mode', mode]
        assert.match(await runs(scene, args), new RegExp(`^${scene.namespace}/dv: `))
        await arrives(scene, stage().images)
        const request = scene.pvc('dv')?.spec?.resources?.requests?.['storage']
        assert.equal(request, mode === 'block' ? String(stage().images.bytes) : '71135396')
      },
    )
  }

  scenario(
    'does not send the holes of a raw disk',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await using relay = await startSlowRelay({ to: stage().proxy.address, bytesPerSecond: 100 * megabyte })
      await runs(scene, [file('raw'), '--dv', 'dv'], stage().proxy.at(relay.address))
      await arrives(scene, stage().images)
      // 3 MiB of the disk are data (support/images.ts).
      assert.ok(relay.passedBytes < 6 * megabyte, `${relay.passedBytes} bytes went over the line`)
    },
  )

  scenario(
    'fills a claim, binds at once where the class waits, and verifies what arrived',
    () => stage().cluster,
    async (scene) => {
      const digest = createHash('sha256')
        .update(await readFile(file('qcow2')))
        .digest('hex')
      const waiting = ['--storage-class', classes.waitForFirstConsumer, '--force-bind', '--volume-mode', 'filesystem']
      const args = [file('qcow2'), '--pvc', 'disk', '--size', '80Mi', ...waiting]
      const wrong = await start(scene, [...args, '--checksum', `sha256:${'0'.repeat(64)}`])
      assert.notEqual(wrong.exitCode, 0)
      assert.match(wrong.all, /CDI_CHECKSUM_MISMATCH/)
      await runs(scene, [...args, '--checksum', `sha256:${digest}`])
      await assertDisk(scene, stage().images, 'disk')
    },
  )

  scenario(
    'unpacks an archive',
    () => stage().cluster,
    async (scene) => {
      await runs(scene, [file('tarGz'), '--dv', 'dv', '--archive', '--size', '64Mi', ...onImmediate])
      await scene.succeeds('dv')
      assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
    },
  )

  scenario(
    'says at once what is wrong, and makes nothing',
    () => stage().cluster,
    async (scene) => {
      const small = await start(scene, [file('qcow2'), '--dv', 'dv', '--size', '10Mi', ...onImmediate])
      assert.notEqual(small.exitCode, 0)
      assert.match(small.all, /CDI_IMAGE_TOO_LARGE/)
      const none = await start(scene, ['none.img', '--dv', 'dv'])
      assert.notEqual(none.exitCode, 0)
      assert.deepEqual(scene.seen.dataVolumes.names(), [])
    },
  )

  scenario(
    'tells programs what happens, line by line',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const events = (await runs(scene, [file('raw'), '--dv', 'dv', '--json']))
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { event: string; sizeBytes?: number; sentBytes?: number })
      const last = events.at(-1)
      const { size } = await stat(file('raw'))
      assert.equal(last?.event, 'done')
      assert.equal(last.sizeBytes, size)
      assert.ok((last.sentBytes ?? 0) <= 1.05 * size, `${last.sentBytes} bytes were sent`)
      await arrives(scene, stage().images)
    },
  )

  // What a connection lives for is not enough for the least piece, 1 MiB, nor for the whole: who began a piece again after
  // a cut would never come to the end.
  for (const [image, bytesPerSecond] of [
    ['dense', 0.6 * megabyte],
    ['compressedQcow2', 0.15 * megabyte],
  ] as const) {
    scenario(
      `passes a proxy in front that cuts every connection after 5 s (${image})`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, uploadDisk())
        await using relay = await startSlowRelay({ to: stage().proxy.address, bytesPerSecond, cutAfterMs: 5000 })
        await runs(scene, [file(image), '--dv', 'dv'], stage().proxy.at(relay.address))
        await brings(scene, image)
        const { size } = await stat(file(image))
        const extra = relay.passedBytes / size - 1
        console.log(`${image}: ${relay.cuts} cuts, ${(100 * extra).toFixed(2)} % extra`)
        assert.ok(relay.cuts >= 2, `${relay.cuts} cuts`)
        assertHardlyMore(relay, size)
      },
    )
  }

  for (const [signal, image, bytesPerSecond] of [
    ['SIGINT', 'dense', 2 * megabyte],
    ['SIGKILL', 'compressedQcow2', 0.5 * megabyte],
  ] as const) {
    scenario(
      `that was ended by ${signal} goes on when it is run again (${image})`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, uploadDisk())
        // A file of the test's own: the state of an upload is kept by file and target.
        const path = join(stage().state.path, `${scene.namespace}.img`)
        await copyFile(file(image), path)
        const { size } = await stat(path)
        await using relay = await startSlowRelay({ to: stage().proxy.address, bytesPerSecond })
        const proxy = stage().proxy.at(relay.address)
        const first = start(scene, [path, '--dv', 'dv'], proxy)
        await Promise.race([first, half(relay, size)])
        first.kill(signal)
        const { exitCode, signal: killedBy } = await first
        if (signal === 'SIGINT') assert.equal(exitCode, 130)
        else assert.equal(killedBy, signal)
        await runs(scene, [path, '--dv', 'dv'], proxy)
        await brings(scene, image)
        const extra = relay.passedBytes / size - 1
        // What was on its way when it was ended is sent again.
        assert.ok(extra <= 0.25, `${(100 * extra).toFixed(1)} % more than the image`)
      },
    )
  }
})
