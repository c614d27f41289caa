/** Whatever dies in the middle, the disk arrives whole; what was deleted leaves nothing behind. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import { classes } from './support/cluster.ts'
import { execIn } from './support/exec.ts'
import { imageFiles } from './support/images.ts'
import { killController } from './support/kill-controller.ts'
import { startRelay } from './support/relay.ts'
import type { Relay } from './support/relay.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import type { WebServer } from './support/web.ts'

/**
 * So slow that there is a middle to be interrupted in: the raw disk takes 170 s. It has to be seen even if other tests kill
 * the controller, which tells nothing for 25 s then each time.
 */
const slowly = { bytesPerSecond: 150_000 }

interface SlowSource extends Pick<WebServer, 'url'> {
  /** Bytes that went to the workers so far. */
  readonly relay: Relay
  /** The middle was seen: the rest may come at once. */
  readonly hurry: () => void
}

const stage = useStage(async ({ cluster, web, keep }) => ({
  slow: async (): Promise<SlowSource> => {
    const relay = keep(await startRelay(cluster, web.port, slowly))
    return {
      url: (path) => `http://${relay.host}/${path}`,
      relay,
      hurry: () => relay.setSpeed(Number.POSITIVE_INFINITY),
    }
  },
}))

function disk(server: Pick<WebServer, 'url'>, image: keyof typeof imageFiles = 'raw') {
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

/** The numbers that were shown between the beginning and the end, once each. */
function numbersBetween(scene: Scene): Set<number> {
  const numbers = scene.seen.course('dv').map(({ progress = '' }) => Number.parseFloat(progress))
  return new Set(numbers.filter((number) => number > 0 && number < 100))
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
      const source = await stage().slow()
      await scene.apply(disk(source))
      await scene.until('some progress, more than once', () => numbersBetween(scene).size >= 2)
      source.hurry()
      await arrivesWhole(scene)
      const shown = scene.seen.course('dv').map(({ progress }) => progress)
      assert.equal(shown.at(-1), '100.0%')
      const numbers = shown
        .filter((text): text is string => text !== undefined && text !== 'N/A')
        .map((text) => {
          assert.match(text, /^(\d{1,2}\.\d\d%|100\.0%)$/)
          return Number.parseFloat(text)
        })
      assert.deepEqual(
        numbers,
        numbers.toSorted((a, b) => a - b),
      )
      const [first] = scene.seen.course('dv')
      assert.equal(first?.progress ?? 'N/A', 'N/A')
    },
  )

  scenario(
    'starts again when its container is killed, and reads the disk once more at most',
    () => stage().cluster,
    async (scene) => {
      const source = await stage().slow()
      await scene.apply(disk(source))
      const worker = await middle(scene)
      const { name } = worker.metadata
      await execIn({
        namespace: scene.namespace,
        pod: name,
        container: 'importer',
        command: ['/bin/sh', '-c', 'kill -TERM 1'],
      })
      const sentBefore = source.relay.sentBytes
      await scene.until('the restart', () => (scene.dataVolume('dv')?.status?.restartCount ?? 0) >= 1)
      source.hurry()
      await arrivesWhole(scene)
      // What was on its way to the one that was killed counts as well.
      const sentAfter = source.relay.sentBytes - sentBefore
      assert.ok(
        sentAfter < 1.6 * stage().images.bytes,
        `${sentAfter} bytes were sent again for ${stage().images.bytes}`,
      )
    },
  )

  scenario(
    'starts again when its pod is deleted',
    () => stage().cluster,
    async (scene) => {
      const source = await stage().slow()
      await scene.apply(disk(source))
      const { metadata } = await middle(scene)
      await scene.cluster.kube.delete(
        kinds.pod,
        { namespace: scene.namespace, name: metadata.name },
        { gracePeriodSeconds: 0 },
      )
      source.hurry()
      await arrivesWhole(scene)
    },
  )

  scenario(
    'does not notice that the controller dies',
    () => stage().cluster,
    async (scene) => {
      const source = await stage().slow()
      await scene.apply(disk(source))
      const worker = await middle(scene)
      await killController(scene)
      source.hurry()
      await arrivesWhole(scene)
      const workers = [...scene.seen.pods.sightings.values()].filter(
        ({ last }) => last.metadata.name === worker.metadata.name,
      )
      assert.equal(workers.length, 1, 'the worker was started again')
      await scene.tells('DataVolume/dv', 'Normal ImportSucceeded: Successfully imported into PVC dv')
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
      await scene.apply(disk(await stage().slow()))
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
      const source = await stage().slow()
      await scene.apply(disk(source))
      await middle(scene)
      await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'dv' })
      await scene.until('another claim', () => scene.seen.pvcs.named('dv').length === 2)
      source.hurry()
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
