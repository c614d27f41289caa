/** What goes wrong is told where people look, with the known words, and heals by itself where it can. */
import assert from 'node:assert/strict'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { ownClass } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { imageFiles, makeRawDisk } from './support/images.ts'
import { limit } from './support/quota.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

function disk(url: string): DataVolumeBuilder {
  return dataVolume('dv').http(url).storage('64Mi').on(classes.immediate).mode('Filesystem')
}

async function restarts(scene: Scene, times: number): Promise<void> {
  await scene.until(`${times} restarts`, () => (scene.dataVolume('dv')?.status?.restartCount ?? 0) >= times)
}

describe('a source that is not there', { concurrency: 3 }, () => {
  scenario(
    'is told by status code, tried again, and found once it is there',
    () => stage().cluster,
    async (scene) => {
      const { directory, web, images } = stage()
      const path = join(directory, 'late.img')
      await scene.apply(disk(web.url('late.img')))
      const text = 'Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found'
      await scene.shows('dv', new RegExp(`^Running=False Error: ${text}$`))
      await scene.tells('DataVolume/dv', new RegExp(`^Warning Error: ${text}$`))
      await scene.shows('dv', new RegExp(`^Bound=False Pending: target PVC dv Pending and \\[prime-.*\\] : ${text}$`))
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'ImportInProgress')
      await restarts(scene, 1)
      await makeRawDisk(`${path}.part`, images.bytes)
      await rename(`${path}.part`, path)
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', images.bytes)).sha256, images.sha256)
      assert.ok(!scene.seen.phases('dv').includes('Failed'), 'an attempt that failed is no failed DataVolume')
    },
  )

  scenario(
    'because its host is unknown is told with the known words',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk('http://no-such-host.invalid/disk.img'))
      await scene.shows('dv', /^Running=False Error: Unable to connect to http data source: HTTP request errored: /)
      await scene.shows('dv', /^Ready=False : $/)
    },
  )
})

describe('an image that does not fit', { concurrency: 3 }, () => {
  scenario(
    'is refused by its header, without being downloaded again and again',
    () => stage().cluster,
    async (scene) => {
      const { images } = stage()
      const web = await stage().serve({})
      await scene.apply(disk(web.url(imageFiles.qcow2)).storage('16Mi'))
      await scene.shows('dv', /^Running=False Error: DataVolume too small to contain image$/)
      await scene.tells('DataVolume/dv', /^Warning Error: DataVolume too small to contain image$/)
      await restarts(scene, 2)
      const prime = scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? ''
      const events = scene.seen.eventsOf('PersistentVolumeClaim', prime)
      assert.ok(
        events.some((event) =>
          /ErrImportFailed: .*virtual image size \d+ is larger than the reported available storage \d+\. A larger PVC is required/.test(
            event,
          ),
        ),
        events.join('\n'),
      )
      const sent = (await web.requests(imageFiles.qcow2)).length
      assert.ok(sent > 0)
      assert.ok(
        (await web.sentBytes(imageFiles.qcow2)) < images.bytes / 4,
        'the image was downloaded although its header told the size',
      )
    },
  )

  scenario(
    'inside of xz is refused with the same words',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().web.url(imageFiles.rawXz)).storage('16Mi'))
      await scene.shows('dv', /^Running=False Error: DataVolume too small to contain image$/)
    },
  )
})

describe('an archive that is none', () => {
  scenario(
    'is told as data that cannot be processed',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().web.url(imageFiles.notTar)).archive())
      await scene.shows('dv', /^Running=False Error: Unable to process data/)
    },
  )
})

describe('a quota', { concurrency: 2 }, () => {
  scenario(
    'that leaves no room for the claim is told, and obeyed until it grows',
    () => stage().cluster,
    async (scene) => {
      await limit(scene, { persistentvolumeclaims: '0' })
      await scene.apply(disk(stage().web.url(imageFiles.qcow2)))
      await scene.shows('dv', /^Bound=False ErrExceededQuota: .*exceeded quota/)
      await scene.shows('dv', /^Ready=False ErrExceededQuota: .*exceeded quota/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'Pending')
      const key = { namespace: scene.namespace, name: 'quota' }
      const hard = { spec: { hard: { persistentvolumeclaims: '3' } } }
      await scene.cluster.kube.patch(kinds.resourceQuota, key, hard, { type: 'merge' })
      await scene.succeeds('dv')
    },
  )

  scenario(
    'of two claims suffices for an import',
    () => stage().cluster,
    async (scene) => {
      await limit(scene, { persistentvolumeclaims: '2' })
      await scene.apply(disk(stage().web.url(imageFiles.qcow2)))
      await scene.succeeds('dv')
    },
  )

  scenario(
    'on memory that leaves no room for the worker is told on the claim',
    () => stage().cluster,
    async (scene) => {
      await limit(scene, {
        'limits.memory': '10M',
        'requests.memory': '10M',
        'limits.cpu': '1',
        'requests.cpu': '1',
      })
      await scene.apply(disk(stage().web.url(imageFiles.qcow2)))
      await scene.shows(
        'dv',
        /^Running=False ErrExceededQuota: Error starting pod 'importer-prime-.*': For more information, request access to cdi-deploy logs from your sysadmin$/,
      )
      const key = { namespace: scene.namespace, name: 'quota' }
      const hard = { spec: { hard: { 'limits.memory': '2G', 'requests.memory': '2G' } } }
      await scene.cluster.kube.patch(kinds.resourceQuota, key, hard, { type: 'merge' })
      await scene.succeeds('dv')
    },
  )
})

describe('a class that cannot be found', { concurrency: 2 }, () => {
  scenario(
    'leaves the claim waiting when the access mode is known',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(
        dataVolume('dv').blank().storage('64Mi').on('no-such-class').access('ReadWriteOnce').mode('Filesystem'),
      )
      await scene.shows('dv', /^Bound=False Pending: PVC dv Pending$/)
      const dv = await scene.reaches('dv', 'Pending')
      assert.equal(dv.metadata.annotations?.['cdi.kubevirt.io/storage.usePopulator'], 'false')
      const pvc = await scene.until('the claim', () => scene.pvc('dv'))
      assert.equal(pvc.spec?.resources?.requests?.['storage'], '71135396')
    },
  )

  scenario(
    'leaves the DataVolume without a claim when it is not',
    () => stage().cluster,
    async (scene) => {
      const text = 'PVC spec is missing accessMode and no storageClass to choose profile'
      await scene.apply(dataVolume('dv').blank().storage('64Mi').on('no-such-class'))
      await scene.shows('dv', new RegExp(`^Bound=False ErrClaimNotValid: ${text}$`))
      await scene.shows('dv', new RegExp(`^Ready=False ErrClaimNotValid: ${text}$`))
      await scene.tells('DataVolume/dv', new RegExp(`^Warning ErrClaimNotValid: ${text}$`))
      assert.equal(scene.dataVolume('dv')?.status?.phase ?? '', '')
      assert.equal(scene.pvc('dv'), undefined)
    },
  )
})

describe('a DataVolume whose claim the webhook would complete', { concurrency: 2 }, () => {
  const labelled = (): DataVolumeBuilder =>
    dataVolume('dv').blank().storage('64Mi').label('cdi.kubevirt.io/applyStorageProfile', 'true')

  scenario(
    'gets room for its file system once',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(labelled().on(classes.immediate).mode('Filesystem'))
      await scene.succeeds('dv')
      const { metadata, spec } = scene.pvc('dv') ?? {}
      assert.equal(metadata?.labels?.['cdi.kubevirt.io/applyStorageProfile'], 'true')
      assert.equal(spec?.resources?.requests?.['storage'], '71135396')
    },
  )

  scenario(
    'has none as long as it cannot be completed, tells why, and gets it as soon as it can',
    () => stage().cluster,
    async (scene) => {
      const name = `late-${scene.namespace}`
      await scene.apply(labelled().on(name))
      await scene.reaches('dv', 'Pending')
      await scene.shows('dv', /^Bound=False NotFound: No PVC found$/)
      await scene.shows('dv', /^Ready=False : $/)
      await scene.tells('DataVolume/dv', /^Normal NotFound: No PVC found$/)
      await scene.tells('DataVolume/dv', /^Warning ErrClaimNotValid: PVC spec is missing accessMode and no storage/)
      await using _class = await ownClass(scene.cluster, { name })
      await scene.tells('DataVolume/dv', /^Warning ErrClaimNotValid: no accessMode specified in StorageProfile late-/)
      const claimPropertySets = [{ accessModes: ['ReadWriteOnce'], volumeMode: 'Filesystem' }]
      await scene.cluster.kube.patch(kinds.storageProfile, { name }, { spec: { claimPropertySets } }, { type: 'merge' })
      await scene.succeeds('dv')
    },
  )
})

describe('the API server', () => {
  scenario(
    'refuses a content type that does not exist',
    () => stage().cluster,
    async (scene) => {
      const wrong = disk('http://server/disk.img').spec({ contentType: 'floppy' as 'kubevirt' })
      await assert.rejects(scene.apply(wrong), /Unsupported value: "floppy": supported values: "kubevirt", "archive"/)
    },
  )
})
