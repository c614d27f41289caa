/** Every image into every sort of volume, by the requests that people type; never a scratch volume. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { arrives } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { archiveScript } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { localVolume } from './support/local-volume.ts'
import { withProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { curlUpload, openTarget, uploadDisk } from './support/upload.ts'
import type { CurlUpload } from './support/upload.ts'

const stage = useStage(withProxy)

const mebibyte = 1024 * 1024

type Image = keyof typeof imageFiles

interface Case {
  readonly image: Image
  readonly method: 'POST' | 'PUT'
  /** Below `/v1beta1`. */
  readonly path?: string
  readonly mode: 'Filesystem' | 'Block'
  readonly storageClass: (typeof classes)[keyof typeof classes]
}

const cases: readonly Case[] = [
  { image: 'raw', method: 'POST', mode: 'Filesystem', storageClass: classes.immediate },
  { image: 'raw', method: 'PUT', mode: 'Block', storageClass: classes.local },
  { image: 'qcow2', method: 'PUT', mode: 'Filesystem', storageClass: classes.immediate },
  { image: 'qcow2', method: 'POST', mode: 'Block', storageClass: classes.immediate },
  { image: 'compressedQcow2', method: 'POST', path: 'upload-async', mode: 'Filesystem', storageClass: classes.local },
  { image: 'rawXz', method: 'POST', mode: 'Filesystem', storageClass: classes.waitForFirstConsumer },
  { image: 'rawXz', method: 'PUT', path: 'upload-async', mode: 'Block', storageClass: classes.immediate },
  { image: 'rawGz', method: 'POST', path: 'upload-form', mode: 'Filesystem', storageClass: classes.immediate },
  {
    image: 'qcow2',
    method: 'POST',
    path: 'upload-form-async',
    mode: 'Block',
    storageClass: classes.waitForFirstConsumer,
  },
]

async function sent(scene: Scene, upload: Omit<CurlUpload, 'file'> & { image: Image }): Promise<void> {
  const { status, body, exitCode } = await curlUpload(scene, stage().proxy, {
    ...upload,
    file: join(stage().directory, imageFiles[upload.image]),
  })
  assert.deepEqual({ status, body, exitCode }, { status: 200, body: '', exitCode: 0 })
}

/** The target of a case; volumes of the local class are made for it. */
async function prepared(scene: Scene, { mode, storageClass }: Case): Promise<AsyncDisposable | undefined> {
  const disk = uploadDisk().on(storageClass).mode(mode)
  const { local, waitForFirstConsumer } = classes
  if (storageClass === local) {
    const volume = await localVolume(scene, { claimName: 'dv', bytes: 80 * mebibyte, volumeMode: mode })
    // Its consumer is the upload itself.
    await openTarget(scene, disk.annotate('cdi.kubevirt.io/storage.bind.immediate.requested'))
    return volume
  }
  if (storageClass === waitForFirstConsumer) {
    await scene.apply(disk)
    await scene.reaches('dv', 'PendingPopulation')
    await scene.use('dv', 'true')
    await scene.reaches('dv', 'UploadReady')
    return undefined
  }
  await openTarget(scene, disk)
  return undefined
}

describe('curl', { concurrency: 3 }, () => {
  for (const one of cases) {
    const path = `/v1beta1/${one.path ?? 'upload'}`
    scenario(
      `brings ${one.image} by ${one.method} ${path} into a ${one.mode} volume of ${one.storageClass}`,
      () => stage().cluster,
      async (scene) => {
        await using _volume = await prepared(scene, one)
        await sent(scene, { image: one.image, method: one.method, path })
        await arrives(scene, stage().images)
      },
    )
  }

  scenario(
    'may come by the older paths and without telling a length',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const args = ['--header', 'Transfer-Encoding: chunked', '--header', 'Expect: 100-continue']
      await sent(scene, { image: 'qcow2', path: '/v1alpha1/upload', args })
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'may bring an ISO image, which is no disk format',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await sent(scene, { image: 'iso' })
      const { isoBytes: bytes, isoSha256: sha256 } = stage().images
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', bytes)).sha256, sha256)
    },
  )
})

describe('an archive', { concurrency: 2 }, () => {
  for (const [image, method, path] of [
    ['tar', 'POST', '/v1beta1/upload'],
    ['tarGz', 'PUT', '/v1beta1/upload-async'],
    ['tar', 'POST', '/v1alpha1/upload-form'],
  ] as const) {
    scenario(
      `is unpacked from ${image} by ${method} ${path}`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, uploadDisk().archive())
        await sent(scene, { image, method, path })
        await scene.succeeds('dv')
        assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
        // 644 and 640 in the archive; fsGroup of the pod that looks gives the group what the owner has.
        const script = 'cd /volume && stat -c %a hello.txt sub/data.bin > /dev/termination-log'
        assert.deepEqual((await scene.read('dv', script)).trim().split('\n'), ['664', '660'])
      },
    )
  }
})

describe('preallocation', { concurrency: 2 }, () => {
  const allocation = async (scene: Scene): Promise<readonly [number, number]> => {
    const script = 'stat -c "%b %s" /volume/disk.img > /dev/termination-log'
    const [blocks = 0, bytes = 0] = (await scene.read('dv', script)).trim().split(' ').map(Number)
    return [blocks * 512, bytes]
  }
  const disk = (): DataVolumeBuilder => uploadDisk().storage('32Mi')

  for (const path of ['upload', 'upload-async', 'upload-form', 'upload-form-async']) {
    scenario(
      `takes the whole space at once and says so with ${path}`,
      () => stage().cluster,
      async (scene) => {
        await openTarget(scene, disk().preallocated())
        await sent(scene, { image: 'qcow2', path: `/v1beta1/${path}` })
        await scene.succeeds('dv')
        assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], 'true')
        const [allocated, size] = await allocation(scene)
        assert.ok(allocated >= size, `${allocated} of ${size} bytes are allocated`)
        assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
      },
    )
  }

  scenario(
    'does not happen unless it was asked for',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, disk().spec({ preallocation: false }))
      await sent(scene, { image: 'raw' })
      await scene.succeeds('dv')
      assert.notEqual(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], 'true')
      const [allocated] = await allocation(scene)
      // 3 MiB of the disk are data (support/images.ts).
      assert.ok(allocated <= 4 * mebibyte + mebibyte, `${allocated} bytes are allocated`)
    },
  )
})
