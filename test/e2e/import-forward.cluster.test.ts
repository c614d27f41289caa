/** Disk images that arrive once, from front to end: no scratch volume, except where the image is laid out at random. */
import assert from 'node:assert/strict'
import { execa } from 'execa'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe } from 'node:test'
import { makeCerts } from '../fixtures/certs.ts'
import { diskLayer, image } from '../fixtures/container-images.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { makeDisk, mebibyte, noise } from '../fixtures/images.ts'
import { Dice } from '../fixtures/dice.ts'
import { shuffleQcow2 } from '../fixtures/shuffled-images.ts'
import { arrives } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { openRegistry } from './support/registries.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import type { Stage } from './support/stage.ts'

/** Images of the small disk, in the order of `qemu-img convert` to this format with these options, then packed. */
const packed = {
  'disk.qcow2.gz': ['qcow2', [], 'gzip'],
  'compressed.qcow2.xz': ['qcow2', ['-c'], 'xz'],
  'stream.vmdk.zst': ['vmdk', ['-o', 'subformat=streamOptimized'], 'zstd'],
  'disk.vdi.gz': ['vdi', [], 'gzip'],
  'disk.vhd.xz': ['vpc', ['-o', 'subformat=dynamic,force_size=on'], 'xz'],
  'disk.vhdx.zst': ['vhdx', [], 'zstd'],
} as const

type PackedFile = keyof typeof packed

const stage = useStage(async (common) => {
  const { cluster, directory } = common
  await Promise.all((Object.keys(packed) as PackedFile[]).map((name) => makePacked(directory, name)))
  const certs = await makeCerts({ dir: dirname(directory), subjectAltName: `IP:${cluster.hostAddress},IP:127.0.0.1` })
  const registry = await openRegistry(common, { certs })
  const [random, smallRandom] = await Promise.all([makeRandomImage(directory), makeSmallRandomImage(common)])
  await registry.push('random', 'v1', image({ layers: [await diskLayer(await readFile(random.path), 'none')] }))
  await registry.push('small-random', 'v1', image({ layers: [await diskLayer(await readFile(smallRandom))] }))
  await execa('gzip', ['-1', random.path])
  return { certs, registry, random }
})

async function makePacked(directory: string, name: PackedFile): Promise<void> {
  const [format, options, packer] = packed[name]
  const path = join(directory, name.replace(/\.[a-z]+$/, ''))
  const isMade = path === join(directory, imageFiles.qcow2)
  if (!isMade) {
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', format, ...options, join(directory, imageFiles.raw), path])
  }
  await execa(packer, ['-k', '-q', path])
}

/** Clusters at random, those with tables behind all others: nothing can be told of data until it has passed. */
async function shuffle(from: string, to: string): Promise<void> {
  const dice = new Dice(1)
  await writeFile(
    to,
    shuffleQcow2(await readFile(from), (parts) => [
      ...dice.shuffled(parts.filter(({ isTable }) => !isTable)),
      ...dice.shuffled(parts.filter(({ isTable }) => isTable)),
    ]),
  )
}

/** More data than is held in memory, which is 32 MiB. */
async function makeRandomImage(directory: string): Promise<{ path: string; bytes: number; sha256: string }> {
  const [raw, ordered, path] = ['random.raw', 'random.ordered', 'random.qcow2'].map((name) =>
    join(directory, name),
  ) as [string, string, string]
  const sizeBytes = 128 * mebibyte
  const pieces = [[0, noise(80 * mebibyte, 1)] as const, [100 * mebibyte, noise(mebibyte, 2)] as const]
  await makeDisk(raw, { sizeBytes, pieces })
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, ordered])
  await shuffle(ordered, path)
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(raw)) hash.update(chunk as Buffer)
  await Promise.all([rm(raw), rm(ordered)])
  return { path, bytes: sizeBytes, sha256: hash.digest('hex') }
}

/** The small disk, as randomly laid out, with less data than is held in memory. */
async function makeSmallRandomImage({ directory }: Stage): Promise<string> {
  const path = join(directory, 'small-random.qcow2')
  await shuffle(join(directory, imageFiles.qcow2), path)
  return path
}

function disk(url: string): DataVolumeBuilder {
  return dataVolume('dv').http(url).storage('64Mi').on(classes.immediate)
}

async function containerDisk(scene: Scene, name: string): Promise<DataVolumeBuilder> {
  await scene.configMap('ca', { 'ca.crt': stage().certs.caPem })
  const registry = { url: stage().registry.url(name), certConfigMap: 'ca' }
  return dataVolume('dv').source({ registry }).storage('64Mi').on(classes.immediate)
}

describe('a packed disk image', { concurrency: 3 }, () => {
  for (const [index, name] of (Object.keys(packed) as PackedFile[]).entries()) {
    const mode = index % 2 === 0 ? 'Filesystem' : 'Block'
    scenario(
      `${name} arrives whole in a ${mode} volume without scratch`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply(disk(stage().web.url(name)).mode(mode))
        await arrives(scene, stage().images)
      },
    )
  }

  scenario(
    'that is laid out at random but small arrives without scratch from a container image',
    () => stage().cluster,
    async (scene) => {
      await scene.apply((await containerDisk(scene, 'small-random:v1')).mode('Filesystem'))
      await arrives(scene, stage().images)
    },
  )
})

describe('a disk image that is laid out at random', { concurrency: 2 }, () => {
  for (const [what, mode, builder] of [
    ['packed on a web server', 'Filesystem', async () => disk(stage().web.url('random.qcow2.gz'))],
    ['in a container image', 'Block', (scene: Scene) => containerDisk(scene, 'random:v1')],
  ] as const) {
    scenario(
      `${what} arrives whole in a ${mode} volume by way of scratch`,
      () => stage().cluster,
      async (scene) => {
        await scene.apply((await builder(scene)).storage('192Mi').mode(mode))
        await scene.succeeds('dv')
        const { random } = stage()
        const { sha256, restIsZero } = await scene.disk('dv', random.bytes)
        assert.equal(sha256, random.sha256)
        assert.ok(restIsZero, 'there is something behind the disk')
        // The DataVolume tells of it only until scratch is there, and not at all if the controller dies in this moment.
        const prime = scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? ''
        assert.deepEqual(scene.scratchClaims(), [`${prime}-scratch`])
        const [carrier] = scene.seen.pvcs.named(prime)
        const { annotations } = carrier?.last.metadata ?? {}
        assert.equal(annotations?.['cdi.kubevirt.io/storage.import.requiresScratch'], 'false', 'nobody asked for it')
        await scene.until('the scratch claim to be gone', () => scene.pvc(scene.scratchClaims()[0] ?? '') === undefined)
      },
      { mayUseScratch: true },
    )
  }
})
