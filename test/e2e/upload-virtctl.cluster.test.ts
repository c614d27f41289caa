/** `virtctl image-upload` as it is, on every form of target: what it prints, what it waits for, what it refuses. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../src/api/kinds.ts'
import { virtctl } from '../fixtures/virtctl.ts'
import type { VirtctlOutcome } from '../fixtures/virtctl.ts'
import { arrives, assertDisk } from './support/assert-disk.ts'
import { classes, installNamespace } from './support/cluster.ts'
import { archiveScript } from './support/content.ts'
import { imageFiles } from './support/images.ts'
import { withProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { boundClaim, carrierOf, openTarget, uploadDisk } from './support/upload.ts'

const stage = useStage(withProxy)

const url = 'https://cdi-uploadproxy.cdi.svc'

function file(image: keyof typeof imageFiles): string {
  return join(stage().directory, imageFiles[image])
}

/** `virtctl image-upload ARGS --uploadproxy-url=…` in the namespace of the scene. */
async function upload(scene: Scene, args: readonly string[]): Promise<VirtctlOutcome> {
  return virtctl({
    kube: scene.cluster.kube,
    namespace: scene.namespace,
    route: stage().proxy.route,
    args: ['image-upload', ...args, `--uploadproxy-url=${url}`],
  })
}

async function uploads(scene: Scene, args: readonly string[]): Promise<VirtctlOutcome> {
  const outcome = await upload(scene, args)
  assert.equal(outcome.error, undefined, outcome.output.join('\n'))
  return outcome
}

const processing =
  'Uploading data completed successfully, waiting for processing to complete, you can hit ctrl-c without interrupting the progress'

const onImmediate = `--storage-class=${classes.immediate}`

describe('virtctl image-upload dv', { concurrency: 3 }, () => {
  scenario(
    'makes the DataVolume, waits, uploads and waits for the end',
    () => stage().cluster,
    async (scene) => {
      const path = file('qcow2')
      const { output, requests } = await uploads(scene, [
        'dv',
        'dv',
        '--size=64Mi',
        onImmediate,
        `--image-path=${path}`,
      ])
      assert.deepEqual(output, [
        `PVC ${scene.namespace}/dv not found `,
        `DataVolume ${scene.namespace}/dv created`,
        'Waiting for PVC dv upload pod to be ready...',
        'Pod now ready',
        `Uploading data to ${url}`,
        processing,
        'Processing completed successfully',
        `Uploading ${path} completed successfully`,
      ])
      assert.deepEqual(requests, ['HEAD /v1beta1/upload-async 200', 'POST /v1beta1/upload-async 200'])
      await arrives(scene, stage().images)
    },
  )

  scenario(
    'without a size makes nothing, and --no-create needs what is not there',
    () => stage().cluster,
    async (scene) => {
      const path = `--image-path=${file('raw')}`
      assert.equal(
        (await upload(scene, ['dv', 'dv', path])).error,
        'when creating a resource, the size must be specified',
      )
      assert.equal(
        (await upload(scene, ['dv', 'dv', path, '--no-create'])).error,
        'persistentvolumeclaims "dv" not found',
      )
      const classArgs = ['dv', 'dv', path, '--size=64Mi', '--storage-class=none']
      assert.equal((await upload(scene, classArgs)).error, 'storageclasses "none" not found')
      assert.deepEqual(scene.seen.dataVolumes.names(), [])
    },
  )

  scenario(
    'uses a DataVolume that is there, once',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const prime = carrierOf(scene)?.metadata.name
      const args = ['dv', 'dv', `--image-path=${file('raw')}`]
      const { output } = await uploads(scene, args)
      assert.equal(output[0], `Using existing PVC ${scene.namespace}/${prime}`)
      assert.ok(!output.includes('Pod now ready'), 'there was nothing to wait for')
      await arrives(scene, stage().images)
      assert.equal((await upload(scene, args)).error, 'PVC dv already successfully populated')
      assert.equal((await upload(scene, [...args, '--no-create'])).error, 'PVC dv already successfully populated')
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'uploads to a DataVolume without a populator, once',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().annotate('cdi.kubevirt.io/storage.usePopulator', 'false'))
      const args = ['dv', 'dv', '--no-create', `--image-path=${file('rawXz')}`]
      const { output } = await uploads(scene, args)
      assert.equal(output[0], `Using existing PVC ${scene.namespace}/dv`)
      await arrives(scene, stage().images)
      assert.equal((await upload(scene, args)).error, 'PVC dv already successfully imported/cloned/updated')
    },
  )

  scenario(
    'unpacks an archive by the synchronous path, since there is no other',
    () => stage().cluster,
    async (scene) => {
      const args = ['dv', 'dv', '--size=64Mi', onImmediate, `--archive-path=${file('tar')}`]
      const { requests } = await uploads(scene, args)
      assert.deepEqual(requests, ['HEAD /v1beta1/upload-async 404', 'POST /v1beta1/upload 200'])
      assert.equal(scene.dataVolume('dv')?.spec.contentType, 'archive')
      await scene.succeeds('dv')
      assert.equal((await scene.read('dv', archiveScript)).trim(), stage().images.archiveListing)
    },
  )

  scenario(
    'does not upload an archive into a disk',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const { error } = await upload(scene, ['dv', 'dv', `--archive-path=${file('tar')}`])
      assert.equal(error, "PVC dv doesn't have archive contentType annotation")
    },
  )

  scenario(
    'binds at once with --force-bind, to a block device with --volume-mode',
    () => stage().cluster,
    async (scene) => {
      const where = ['--size=64Mi', `--storage-class=${classes.waitForFirstConsumer}`, `--image-path=${file('qcow2')}`]
      const { error } = await upload(scene, ['dv', 'waits', ...where])
      assert.equal(
        error,
        'cannot upload to DataVolume in PendingPopulation phase, make sure the PVC is Bound, or use force-bind flag',
      )
      await uploads(scene, ['dv', 'dv', ...where, '--force-bind', '--volume-mode=block', '--access-mode=ReadWriteOnce'])
      assert.equal(scene.pvc('dv')?.spec?.volumeMode, 'Block')
      await arrives(scene, stage().images)
      // The one that waits is uploaded to when its consumer comes.
      await scene.use('waits', 'true')
      await scene.reaches('waits', 'UploadReady')
      await uploads(scene, ['dv', 'waits', `--image-path=${file('qcow2')}`])
      await arrives(scene, stage().images, 'waits')
    },
  )

  scenario(
    'makes the DataSource, and leads it to the new disk the next time',
    () => stage().cluster,
    async (scene) => {
      const args = ['--size=64Mi', onImmediate, `--image-path=${file('qcow2')}`, '--datasource']
      await uploads(scene, ['dv', 'dv', ...args, '--default-instancetype=u1.small'])
      const key = { namespace: scene.namespace, name: 'dv' }
      const first = await scene.cluster.kube.get(kinds.dataSource, key)
      assert.deepEqual(first?.spec.source.pvc, { name: 'dv', namespace: scene.namespace })
      assert.deepEqual(first?.metadata.labels, { 'instancetype.kubevirt.io/default-instancetype': 'u1.small' })
      await scene.cluster.kube.delete(kinds.dataVolume, key)
      await scene.until('the claim to be gone', () => scene.pvc('dv') === undefined)
      await uploads(scene, ['dv', 'dv', ...args, '--default-preference=linux'])
      const second = await scene.cluster.kube.get(kinds.dataSource, key)
      assert.equal(second?.metadata.uid, first?.metadata.uid)
      assert.deepEqual(second?.metadata.labels, { 'instancetype.kubevirt.io/default-preference': 'linux' })
    },
  )

  scenario(
    'tries five times when the disk is too large, and says why',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().storage('16Mi'))
      const { error = '', requests } = await upload(scene, ['dv', 'dv', `--image-path=${file('qcow2')}`])
      assert.match(
        error,
        /unexpected return value 400, Saving stream failed: effective image size is larger than the reported available storage: /,
      )
      const attempt = ['HEAD /v1beta1/upload-async 200', 'POST /v1beta1/upload-async 400']
      assert.deepEqual(requests, [attempt, attempt, attempt, attempt, attempt].flat())
      assert.equal(scene.dataVolume('dv')?.status?.phase, 'UploadReady')
    },
  )

  scenario(
    'ends at once when the DataVolume cannot be served',
    () => stage().cluster,
    async (scene) => {
      // A class that tells no access mode: only the local one has a profile without any.
      await scene.cluster.kube.create(kinds.storageClass, {
        apiVersion: 'storage.k8s.io/v1',
        kind: 'StorageClass',
        metadata: { name: scene.namespace },
        provisioner: 'nobody.example.com',
      })
      try {
        const args = ['dv', 'dv', '--size=64Mi', `--storage-class=${scene.namespace}`, `--image-path=${file('raw')}`]
        const started = performance.now()
        assert.match((await upload(scene, args)).error ?? '', /^Claim not valid: .*accessMode/i)
        // It would wait for 5 min. Another test may kill the controller just now, which takes 25 s.
        assert.ok(performance.now() - started < 120_000)
      } finally {
        await scene.cluster.kube.delete(kinds.storageClass, { name: scene.namespace })
      }
    },
  )
})

describe('virtctl image-upload pvc', { concurrency: 3 }, () => {
  scenario(
    'makes a claim, of the mode that the class has',
    () => stage().cluster,
    async (scene) => {
      const path = file('qcow2')
      const { output } = await uploads(scene, ['pvc', 'disk', '--size=80Mi', onImmediate, `--image-path=${path}`])
      assert.deepEqual(output.slice(0, 4), [
        `PVC ${scene.namespace}/disk not found `,
        `PVC ${scene.namespace}/disk created`,
        'Waiting for PVC disk upload pod to be ready...',
        'Pod now ready',
      ])
      assert.equal(scene.pvc('disk')?.status?.phase, 'Bound')
      assert.equal((await scene.disk('disk', stage().images.bytes)).sha256, stage().images.sha256)
      const { error } = await upload(scene, ['pvc', 'disk', `--image-path=${path}`])
      assert.equal(error, 'PVC disk already successfully imported/cloned/updated')
    },
  )

  scenario(
    'has the older form, and a block device',
    () => stage().cluster,
    async (scene) => {
      const args = [
        '--pvc-name=disk',
        '--pvc-size=64Mi',
        onImmediate,
        '--block-volume',
        `--image-path=${file('rawGz')}`,
      ]
      await uploads(scene, args)
      assert.equal(scene.pvc('disk')?.spec?.volumeMode, 'Block')
      await assertDisk(scene, stage().images, 'disk')
    },
  )

  scenario(
    'takes a claim that somebody made, with --no-create only',
    () => stage().cluster,
    async (scene) => {
      await boundClaim(scene, 'disk')
      const args = ['pvc', 'disk', `--image-path=${file('raw')}`]
      assert.equal((await upload(scene, args)).error, 'PVC disk not available for upload')
      assert.equal(
        (await upload(scene, ['dv', ...args.slice(1)])).error,
        `No DataVolume is associated with the existing PVC ${scene.namespace}/disk`,
      )
      await uploads(scene, [...args, '--no-create'])
      await assertDisk(scene, stage().images, 'disk')
    },
  )

  scenario(
    'unpacks an archive and binds at once where the class waits',
    () => stage().cluster,
    async (scene) => {
      const waiting = `--storage-class=${classes.waitForFirstConsumer}`
      const args = ['--size=64Mi', waiting, '--force-bind', '--volume-mode=filesystem']
      await uploads(scene, ['pvc', 'files', ...args, `--archive-path=${file('tarGz')}`])
      assert.equal((await scene.read('files', archiveScript)).trim(), stage().images.archiveListing)
    },
  )
})

describe('the address of the proxy', () => {
  scenario(
    'is that of an Ingress, which virtctl finds by itself',
    () => stage().cluster,
    async (scene) => {
      const { kube } = scene.cluster
      const ingress = { namespace: installNamespace, name: scene.namespace }
      const host = `upload.${scene.namespace}.example.com`
      const shown = async (): Promise<string | undefined> =>
        (await kube.get(kinds.cdiConfig, { name: 'config' }))?.status?.uploadProxyURL
      const shows = async (expected: string | undefined): Promise<void> => {
        for (let tries = 0; tries < 600 && (await shown()) !== expected; tries += 1) await delay(200)
        assert.equal(await shown(), expected)
      }
      await openTarget(scene)
      const before = await shown()
      await kube.create(kinds.ingress, {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: ingress,
        spec: {
          rules: [
            {
              host,
              http: {
                paths: [
                  {
                    path: '/',
                    pathType: 'Prefix',
                    backend: { service: { name: 'cdi-uploadproxy', port: { number: 443 } } },
                  },
                ],
              },
            },
          ],
        },
      })
      try {
        await shows(host)
        const { output, error } = await virtctl({
          kube,
          namespace: scene.namespace,
          route: stage().proxy.route,
          args: ['image-upload', 'dv', 'dv', '--insecure', `--image-path=${file('raw')}`],
        })
        assert.equal(error, undefined)
        assert.ok(output.includes(`Uploading data to https://${host}`), output.join('\n'))
      } finally {
        await kube.delete(kinds.ingress, ingress)
      }
      await arrives(scene, stage().images)
      await shows(before)
    },
  )
})
