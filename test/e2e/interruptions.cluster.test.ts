/** Whatever dies in the middle, the disk arrives whole; what was deleted leaves nothing behind. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { classes, installNamespace } from './support/cluster.ts'
import { execIn } from './support/exec.ts'
import { imageFiles } from './support/images.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import type { WebServer } from './support/web.ts'

/** So slow that there is a middle to be interrupted in. */
const slowly = { limitRate: '400k' }

const stage = useStage(async ({ serve }) => ({ slow: await serve(slowly) }))

function disk(server: WebServer = stage().slow, image: keyof typeof imageFiles = 'raw') {
  return dataVolume('dv').http(server.url(imageFiles[image])).storage('64Mi').on(classes.immediate).mode('Filesystem')
}

/** Waits until bytes are on their way; gives the worker. */
async function middle(scene: Scene): Promise<Pod> {
  await scene.until('some progress', () => {
    const progress = Number.parseFloat(scene.dataVolume('dv')?.status?.progress ?? '')
    return progress > 2 && progress < 90
  })
  const prime = scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.populator.pvcPrime'] ?? 'dv'
  return scene.until(
    'the running worker',
    () => scene.seen.importerPods(prime).find(({ gone, last }) => !gone && last.status?.phase === 'Running')?.last,
  )
}

async function arrivesWhole(scene: Scene): Promise<void> {
  await scene.succeeds('dv')
  const found = await scene.disk('dv', stage().images.bytes)
  assert.equal(found.sha256, stage().images.sha256)
  assert.ok(found.restIsZero)
}

describe('an import', { concurrency: 3 }, () => {
  scenario(
    'tells how far it has come',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk())
      await arrivesWhole(scene)
      const shown = scene.seen.course('dv').map(({ progress }) => progress)
      assert.equal(shown.at(-1), '100.0%')
      const numbers = shown
        .filter((text): text is string => text !== undefined && text !== 'N/A')
        .map((text) => {
          assert.match(text, /^(\d{1,2}\.\d\d%|100\.0%)$/)
          return Number.parseFloat(text)
        })
      assert.ok(numbers.filter((number) => number > 0 && number < 100).length >= 2, shown.join(' '))
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
      const [first] = scene.seen.course('dv')
      assert.equal(first?.progress ?? 'N/A', 'N/A')
    },
  )

  scenario(
    'goes on when its container is killed, from where it was',
    () => stage().cluster,
    async (scene) => {
      const own = await stage().serve(slowly)
      await scene.apply(disk(own))
      const worker = await middle(scene)
      const { name } = worker.metadata
      await execIn({
        namespace: scene.namespace,
        pod: name,
        container: 'importer',
        command: ['/bin/sh', '-c', 'kill -TERM 1'],
      })
      await arrivesWhole(scene)
      assert.ok((scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      const sent = await own.sentBytes(imageFiles.raw)
      assert.ok(sent < 1.6 * stage().images.bytes, `${sent} bytes were sent for ${stage().images.bytes}`)
    },
  )

  scenario(
    'starts again when its pod is deleted',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk())
      const { metadata } = await middle(scene)
      await scene.cluster.kube.delete(
        kinds.pod,
        { namespace: scene.namespace, name: metadata.name },
        { gracePeriodSeconds: 0 },
      )
      await arrivesWhole(scene)
    },
  )

  scenario(
    'does not notice that the controller dies',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk())
      const worker = await middle(scene)
      const { kube } = scene.cluster
      const { items } = await kube.list(kinds.pod, {
        namespace: installNamespace,
        labelSelector: 'cdi.kubevirt.io=cdi-deployment',
      })
      assert.ok(items.length > 0)
      for (const { metadata } of items) {
        await kube.delete(kinds.pod, { namespace: installNamespace, name: metadata.name }, { gracePeriodSeconds: 0 })
      }
      await arrivesWhole(scene)
      const workers = [...scene.seen.pods.sightings.values()].filter(
        ({ last }) => last.metadata.name === worker.metadata.name,
      )
      assert.equal(workers.length, 1, 'the worker was started again')
      const events = [...scene.seen.events.sightings.values()].filter(
        ({ last }) => last.reason === 'ImportSucceeded' && last.involvedObject.kind === 'DataVolume',
      )
      assert.deepEqual(
        events.map(({ last }) => last.count),
        [1],
      )
    },
  )
})

describe('deleting', { concurrency: 2 }, () => {
  scenario(
    'a DataVolume in the middle takes everything with it',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk())
      await middle(scene)
      await scene.cluster.kube.delete(kinds.dataVolume, { namespace: scene.namespace, name: 'dv' })
      await scene.until('everything to be gone', () => {
        const { dataVolumes, pvcs, pods, importSources } = scene.seen
        return [dataVolumes, pvcs, pods, importSources].every(({ cache }) => cache.size === 0)
      })
    },
  )

  scenario(
    'the claim in the middle makes the import begin anew',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk())
      await middle(scene)
      await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'dv' })
      await scene.until('another claim', () => scene.seen.pvcs.named('dv').length === 2)
      await arrivesWhole(scene)
    },
  )

  scenario(
    'the claim after success makes the DataVolume fill another',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk(stage().web, 'qcow2'))
      await scene.succeeds('dv')
      const first = scene.pvc('dv')?.metadata.uid
      await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'dv' })
      await scene.until('another claim', () => {
        const uid = scene.pvc('dv')?.metadata.uid
        return uid !== undefined && uid !== first
      })
      await scene.until(
        'another import',
        () => scene.seen.phases('dv').filter((phase) => phase === 'Succeeded').length > 1,
      )
      await arrivesWhole(scene)
    },
  )
})
