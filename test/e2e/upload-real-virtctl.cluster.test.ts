/**
 * The real `virtctl image-upload`, which nobody here wrote: every form of target from the first byte to the end. What it
 * prints is its own affair; that it is content, and what lies on the volume afterwards, is ours. Its requests are looked at
 * in upload-virtctl.cluster.test.ts with a client of the same manners.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { archiveScript } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { withProxy } from './support/proxy.ts'
import { findVirtctl, uploadWith } from './support/real-virtctl.ts'
import type { RealVirtctlOutcome } from './support/real-virtctl.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { boundClaim, openTarget, uploadDisk } from './support/upload.ts'

const virtctl = await findVirtctl()

const stage = useStage(withProxy)

function file(image: keyof typeof imageFiles): string {
  return join(stage().directory, imageFiles[image])
}

function upload(scene: Scene, args: readonly string[]): Promise<RealVirtctlOutcome> {
  return uploadWith(virtctl ?? '', { scene, proxy: stage().proxy }, args)
}

async function uploads(scene: Scene, args: readonly string[]): Promise<readonly string[]> {
  const { exitCode, lines } = await upload(scene, args)
  assert.equal(exitCode, 0, lines.join('\n'))
  const path = args.find((arg) => /^--(image|archive)-path=/.test(arg))?.replace(/^[^=]*=/, '')
  assert.deepEqual(lines.slice(-2), ['Processing completed successfully', `Uploading ${path} completed successfully`])
  return lines
}

async function refuses(scene: Scene, args: readonly string[], why: RegExp): Promise<void> {
  const { exitCode, lines } = await upload(scene, args)
  assert.equal(exitCode, 1)
  assert.match(lines.join('\n'), why)
}

const onImmediate = `--storage-class=${classes.immediate}`
const onWaiting = `--storage-class=${classes.waitForFirstConsumer}`

describe('the real virtctl image-upload dv', { concurrency: 3, skip: virtctl === undefined }, () => {
  scenario(
    'makes the DataVolume, waits, uploads and waits for the end; and not twice',
    () => stage().cluster,
    async (scene) => {
      const args = ['dv', 'dv', '--size=64Mi', onImmediate, `--image-path=${file('qcow2')}`]
      const lines = await uploads(scene, args)
      assert.deepEqual(lines.slice(0, 4), [
        `PVC ${scene.namespace}/dv not found `,
        `DataVolume ${scene.namespace}/dv created`,
        'Waiting for PVC dv upload pod to be ready...',
        'Pod now ready',
      ])
      await arrives(scene, stage().images)
      await refuses(scene, args, /PVC dv already successfully populated/)
    },
  )

  scenario(
    'uses a DataVolume that is there, with a populator and without',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      await openTarget(scene, uploadDisk('direct').annotate('cdi.kubevirt.io/storage.usePopulator', 'false'))
      await uploads(scene, ['dv', 'dv', `--image-path=${file('raw')}`])
      await arrives(scene, stage().images)
      await uploads(scene, ['dv', 'direct', '--no-create', `--image-path=${file('rawXz')}`])
      await arrives(scene, stage().images, 'direct')
    },
  )

  scenario(
    'unpacks an archive',
    () => stage().cluster,
    async (scene) => {
      await uploads(scene, ['dv', 'dv', '--size=64Mi', onImmediate, `--archive-path=${file('tar')}`])
      await scene.succeeds('dv')
      assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
    },
  )

  scenario(
    'waits for nobody with --force-bind, and fills a block device',
    () => stage().cluster,
    async (scene) => {
      const args = ['--size=64Mi', onWaiting, `--image-path=${file('compressedQcow2')}`]
      await refuses(scene, ['dv', 'waits', ...args], /cannot upload to DataVolume in PendingPopulation phase/)
      await uploads(scene, ['dv', 'dv', ...args, '--force-bind', '--volume-mode=block', '--access-mode=ReadWriteOnce'])
      assert.equal(scene.pvc('dv')?.spec?.volumeMode, 'Block')
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'makes the DataSource with the defaults of the disk',
    () => stage().cluster,
    async (scene) => {
      const defaults = ['--default-instancetype=u1.small', '--default-preference=linux']
      const args = ['--size=64Mi', onImmediate, `--image-path=${file('rawGz')}`, '--datasource', ...defaults]
      await uploads(scene, ['dv', 'dv', ...args])
      await arrives(scene, stage().images)
      const source = await scene.cluster.kube.get(kinds.dataSource, { namespace: scene.namespace, name: 'dv' })
      assert.deepEqual(source?.spec.source.pvc, { name: 'dv', namespace: scene.namespace })
    },
  )

  scenario(
    'tells what the server says of a disk that is too large, and leaves the volume open for another one',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().storage('16Mi'))
      const args = ['dv', 'dv', '--retry=2', `--image-path=${file('qcow2')}`]
      await refuses(scene, args, /effective image size is larger than the reported available storage/)
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
    },
  )
})

describe('the real virtctl image-upload pvc', { concurrency: 3, skip: virtctl === undefined }, () => {
  scenario(
    'makes a claim and fills it; and not twice',
    () => stage().cluster,
    async (scene) => {
      const args = ['pvc', 'disk', '--size=80Mi', onImmediate, `--image-path=${file('qcow2')}`]
      await uploads(scene, args)
      assert.equal((await scene.disk('disk', stage().images.bytes)).sha256, stage().images.sha256)
      await refuses(scene, args, /PVC disk already successfully imported\/cloned\/updated/)
    },
  )

  scenario(
    'fills a block device that somebody else has made, and unpacks an archive where the class waits',
    () => stage().cluster,
    async (scene) => {
      await boundClaim(scene, 'disk', { volumeMode: 'Block' })
      await refuses(scene, ['pvc', 'disk', `--image-path=${file('raw')}`], /PVC disk not available for upload/)
      await uploads(scene, ['pvc', 'disk', '--no-create', `--image-path=${file('raw')}`])
      await assertDisk(scene, stage().images, 'disk')
      const files = ['pvc', 'files', '--size=64Mi', onWaiting, '--force-bind', '--volume-mode=filesystem']
      await uploads(scene, [...files, `--archive-path=${file('tarGz')}`])
      assert.equal((await scene.read('files', archiveScript)).trim(), stage().images.archiveListing)
    },
  )
})
