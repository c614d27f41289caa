/** Every kind of image into every kind of volume: the volume holds exactly the disk, and nothing is left behind. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { PersistentVolumeClaim } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { classes } from './support/cluster.ts'
import { archiveScript, diskScript, parseDisk } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { localVolume } from './support/local-volume.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const mebibyte = 1024 * 1024

type VolumeMode = 'Filesystem' | 'Block'
type ClassKey = keyof typeof classes

const images = ['qcow2', 'rawXz', 'iso', 'tarGz'] as const

function dataVolumeOf(image: keyof typeof imageFiles, mode: VolumeMode, storageClass: ClassKey): DataVolumeBuilder {
  const disk = dataVolume('dv')
    .http(stage().web.url(imageFiles[image]))
    .storage('64Mi')
    .mode(mode)
    .access('ReadWriteOnce')
    .on(classes[storageClass])
  return image === 'tarGz' ? disk.archive() : disk
}

/** Fills the volume, by way of a consumer where the class wants one, and gives what `script` finds in it. */
async function fillAndRead(
  scene: Scene,
  {
    disk,
    storageClass,
    script,
  }: { disk: DataVolumeBuilder; storageClass: ClassKey; script: (pvc: PersistentVolumeClaim) => string },
): Promise<string> {
  await scene.apply(disk)
  if (storageClass === 'waitForFirstConsumer') {
    await scene.reaches('dv', 'PendingPopulation')
    const consumer = await scene.use('dv', script)
    await scene.succeeds('dv')
    return scene.resultOf(consumer)
  }
  await scene.succeeds('dv')
  return scene.read('dv', script)
}

async function checkDisk(
  scene: Scene,
  image: 'qcow2' | 'rawXz' | 'iso',
  mode: VolumeMode,
  text: string,
): Promise<void> {
  const { images } = stage()
  const expected =
    image === 'iso'
      ? { bytes: images.isoBytes, sha256: images.isoSha256 }
      : { bytes: images.bytes, sha256: images.sha256 }
  const found = parseDisk(text)
  assert.equal(found.sha256, expected.sha256)
  assert.ok(found.restIsZero, 'there is something behind the disk')
  if (mode === 'Block') return
  // The directory behind a local volume has all the room; ext4 on 64 MiB takes more than its share.
  const isRoomy = scene.pvc('dv')?.spec?.storageClassName === classes.local
  assert.equal(found.sizeBytes % mebibyte, 0)
  assert.ok(found.sizeBytes <= 64 * mebibyte && found.sizeBytes >= (isRoomy ? 64 : 48) * mebibyte, `${found.sizeBytes}`)
  assert.ok(found.file)
  assert.equal(found.file.mode, '660')
  assert.deepEqual(found.file.beside, ['disk.img'])
  assert.ok(found.file.allocatedBytes < 16 * mebibyte, `not sparse: ${found.file.allocatedBytes} bytes`)
  await scene.until('the worker to be gone', () => scene.seen.importerPods(carrierOf(scene)).every(({ gone }) => gone))
}

/** The claim that the worker wrote to. */
function carrierOf(scene: Scene): string {
  return scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? 'dv'
}

describe('an image on a web server', { concurrency: 3 }, () => {
  for (const storageClass of Object.keys(classes) as ClassKey[]) {
    for (const mode of ['Filesystem', 'Block'] as const) {
      for (const image of images) {
        if (image === 'tarGz' && mode === 'Block') continue
        scenario(
          `${imageFiles[image]} arrives whole in a ${mode} volume of ${classes[storageClass]}`,
          () => stage().cluster,
          async (scene) => {
            await using _volume =
              storageClass === 'local'
                ? await localVolume(scene, { claimName: 'dv', bytes: 96 * mebibyte, volumeMode: mode })
                : undefined
            const disk = dataVolumeOf(image, mode, storageClass)
            if (image === 'tarGz') {
              const listing = await fillAndRead(scene, { disk, storageClass, script: () => archiveScript })
              assert.equal(listing.trim(), stage().images.archiveListing)
              return
            }
            const bytes = image === 'iso' ? stage().images.isoBytes : stage().images.bytes
            const script = (pvc: PersistentVolumeClaim): string => diskScript(pvc, bytes)
            await checkDisk(scene, image, mode, await fillAndRead(scene, { disk, storageClass, script }))
          },
        )
      }
    }
  }
})
