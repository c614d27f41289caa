/** Objects, names, phases, conditions and events as clients know them (recorded from the existing service). */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import type { KubeObject } from '../../src/kube/object.ts'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod } from '../../src/api/kinds.ts'
import { dataVolume } from '../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { startRelay } from './support/relay.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

function disk(): DataVolumeBuilder {
  return dataVolume('dv')
    .http(stage().web.url(imageFiles.qcow2))
    .storage('64Mi')
    .on(classes.immediate)
    .mode('Filesystem')
    .access('ReadWriteOnce')
}

/** Annotations without those that the cluster itself writes. */
function annotationsOf({ metadata }: KubeObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata.annotations ?? {}).filter(([key]) => !/^(pv|volume(\.beta)?)\.kubernetes\.io\//.test(key)),
  )
}

function owner({ metadata }: KubeObject): unknown {
  return metadata.ownerReferences?.map(({ kind, name, controller, blockOwnerDeletion }) => ({
    kind,
    name,
    controller,
    blockOwnerDeletion,
  }))
}

function controlledBy(kind: string, name: string): unknown {
  return [{ kind, name, controller: true, blockOwnerDeletion: true }]
}

async function primeOf(scene: Scene): Promise<string> {
  return scene.until('the prime claim', () => {
    const uid = scene.pvc('dv')?.metadata.uid
    return uid && `prime-${uid}`
  })
}

const recommended = {
  app: 'containerized-data-importer',
  'app.kubernetes.io/component': 'storage',
  'app.kubernetes.io/managed-by': 'cdi-controller',
}

/** The variables that every importer pod has, in their order. */
const environment = [
  'IMPORTER_SOURCE',
  'IMPORTER_ENDPOINT',
  'IMPORTER_CONTENTTYPE',
  'IMPORTER_IMAGE_SIZE',
  'OWNER_UID',
  'FILESYSTEM_OVERHEAD',
  'INSECURE_TLS',
  'IMPORTER_DISK_ID',
  'IMPORTER_UUID',
  'IMPORTER_PULL_METHOD',
  'IMPORTER_READY_FILE',
  'IMPORTER_DONE_FILE',
  'IMPORTER_BACKING_FILE',
  'IMPORTER_THUMBPRINT',
  'http_proxy',
  'https_proxy',
  'no_proxy',
  'IMPORTER_CURRENT_CHECKPOINT',
  'IMPORTER_PREVIOUS_CHECKPOINT',
  'IMPORTER_FINAL_CHECKPOINT',
  'PREALLOCATION',
  'CACHE_MODE',
  'IMPORTER_REGISTRY_IMAGE_ARCHITECTURE',
  'IMPORTER_CHECKSUM',
]

function checkWorker(pod: Pod, expected: { carrier: string; ownerUid: string; imageSize: string }): void {
  assert.equal(pod.metadata.name, `importer-${expected.carrier}`)
  assert.deepEqual(owner(pod), controlledBy('PersistentVolumeClaim', expected.carrier))
  assert.deepEqual(pod.metadata.labels, {
    ...recommended,
    'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
    'cdi.kubevirt.io': 'importer',
    'prometheus.cdi.kubevirt.io': 'true',
  })
  assert.deepEqual(pod.metadata.annotations, {
    'cdi.kubevirt.io/storage.createdByController': 'yes',
    'linkerd.io/inject': 'disabled',
    'sidecar.istio.io/inject': 'false',
  })
  const { spec } = pod
  assert.ok(spec)
  assert.equal(spec.restartPolicy, 'OnFailure')
  assert.equal(spec.enableServiceLinks, false)
  assert.deepEqual(spec.securityContext, { fsGroup: 107, seccompProfile: { type: 'RuntimeDefault' } })
  assert.deepEqual(spec.nodeSelector, { 'kubernetes.io/os': 'linux' })
  const [container] = spec.containers
  assert.ok(container)
  assert.equal(container.name, 'importer')
  assert.match(container.args?.join(' ') ?? '', /^-v=\d+$/)
  assert.deepEqual(container.ports, [{ containerPort: 8443, name: 'metrics', protocol: 'TCP' }])
  assert.equal(container.terminationMessagePolicy, 'FallbackToLogsOnError')
  assert.deepEqual(container.resources, {
    limits: { cpu: '750m', memory: '600M' },
    requests: { cpu: '100m', memory: '60M' },
  })
  assert.deepEqual(container.securityContext, {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ['ALL'] },
    runAsNonRoot: true,
    runAsUser: 107,
    seccompProfile: { type: 'RuntimeDefault' },
  })
  assert.deepEqual(
    container.env?.map(({ name }) => name),
    environment,
  )
  const values = Object.fromEntries(container.env?.map(({ name, value = '' }) => [name, value]) ?? [])
  assert.equal(values['IMPORTER_SOURCE'], 'http')
  assert.equal(values['IMPORTER_IMAGE_SIZE'], expected.imageSize)
  assert.equal(values['OWNER_UID'], expected.ownerUid)
  assert.equal(values['FILESYSTEM_OVERHEAD'], '0.06')
  assert.deepEqual(
    container.volumeMounts?.find(({ name }) => name === 'cdi-data-vol'),
    { name: 'cdi-data-vol', mountPath: '/data' },
  )
  assert.equal(
    spec.volumes?.find(({ name }) => name === 'cdi-data-vol')?.persistentVolumeClaim?.claimName,
    expected.carrier,
  )
}

describe('an import through a populator', { concurrency: 3 }, () => {
  scenario(
    'makes the objects that clients know, and removes its own',
    () => stage().cluster,
    async (scene) => {
      const { metadata } = await scene.apply(disk())
      const dv = await scene.succeeds('dv')
      const prime = await primeOf(scene)
      const source = `volume-import-source-${metadata.uid}`
      await scene.until('the prime claim to be gone', () => scene.pvc(prime) === undefined)
      await scene.until('the source to be gone', () => scene.seen.importSources.cache.size === 0)

      assert.deepEqual(dv.metadata.annotations, { 'cdi.kubevirt.io/storage.usePopulator': 'true' })
      assert.equal(dv.status?.claimName, 'dv')
      assert.equal(dv.status?.progress, '100.0%')
      assert.deepEqual(scene.seen.course('dv').at(-1)?.conditions, [
        'Bound=True Bound: PVC dv Bound',
        'Ready=True : ',
        'Running=False Completed: Import Complete',
      ])

      const target = scene.pvc('dv')
      assert.ok(target)
      assert.deepEqual(annotationsOf(target), {
        'cdi.kubevirt.io/createdForDataVolume': metadata.uid,
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.message': 'Import Complete',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.pod.schedulable': 'true',
        'cdi.kubevirt.io/storage.populator.progress': '100.0%',
        'cdi.kubevirt.io/storage.populator.pvcPrime': prime,
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      })
      assert.deepEqual(target.metadata.labels, {
        ...recommended,
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
      })
      assert.deepEqual(owner(target), controlledBy('DataVolume', 'dv'))
      assert.deepEqual(target.spec?.dataSourceRef, {
        apiGroup: 'cdi.kubevirt.io',
        kind: 'VolumeImportSource',
        name: source,
      })
      assert.equal(target.spec?.resources?.requests?.['storage'], '71135396')

      const [carrier] = scene.seen.pvcs.named(prime)
      assert.ok(carrier)
      assert.deepEqual(owner(carrier.last), controlledBy('PersistentVolumeClaim', 'dv'))
      assert.deepEqual(carrier.last.metadata.labels, { ...recommended, 'velero.io/exclude-from-backup': 'true' })
      const { 'cdi.kubevirt.io/storage.pod.schedulable': _schedulable, ...kept } = annotationsOf(carrier.last)
      assert.deepEqual(kept, {
        'cdi.kubevirt.io/storage.bind.immediate.requested': '',
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.message': 'Import Complete',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.import.endpoint': stage().web.url(imageFiles.qcow2),
        'cdi.kubevirt.io/storage.import.importPodName': `importer-${prime}`,
        'cdi.kubevirt.io/storage.import.source': 'http',
        'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.populator.kind': 'VolumeImportSource',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'linkerd.io/inject': 'disabled',
        'sidecar.istio.io/inject': 'false',
      })

      const workers = scene.seen.importerPods(prime)
      assert.equal(workers.length, 1, 'a qcow2 on a server with ranges needs one worker and no scratch volume')
      checkWorker((workers[0] as { last: Pod }).last, {
        carrier: prime,
        ownerUid: target.metadata.uid,
        imageSize: '71135396',
      })
      assert.equal(scene.seen.pvcs.sightings.size, 2, 'claims beside the target and its prime')

      const [importSource] = scene.seen.importSources.sightings.values()
      assert.equal(importSource?.last.metadata.name, source)
      assert.deepEqual(importSource?.last.spec, { source: { http: { url: stage().web.url(imageFiles.qcow2) } } })
      assert.deepEqual(importSource && owner(importSource.last), controlledBy('DataVolume', 'dv'))
    },
  )

  scenario(
    'tells its course by the events that clients know',
    () => stage().cluster,
    async (scene) => {
      const { cluster, web } = stage()
      // So slow that the controller sees the worker run, even if other tests kill it meanwhile.
      await using relay = await startRelay(cluster, web.port, { bytesPerSecond: 150_000 })
      await scene.apply(disk().http(`http://${relay.host}/${imageFiles.raw}`))
      await scene.reaches('dv', 'ImportInProgress')
      await scene.shows('dv', /^Running=True Pod is running: $/)
      relay.setSpeed(Number.POSITIVE_INFINITY)
      await scene.succeeds('dv')
      const prime = await primeOf(scene)
      for (const event of [
        'Normal Pending: PVC dv Pending',
        'Normal ImportInProgress: Import into dv in progress',
        'Normal ImportSucceeded: Successfully imported into PVC dv',
        'Normal Bound: PVC dv Bound',
      ]) {
        await scene.tells('DataVolume/dv', event)
      }
      await scene.tells(
        'PersistentVolumeClaim/dv',
        'Normal CreatedPVCPrimeSuccessfully: PVC Prime created successfully',
      )
      await scene.tells('PersistentVolumeClaim/dv', `Normal ImportSucceeded: [${prime}] : Import Successful`)
      await scene.tells('PersistentVolumeClaim/dv', 'Normal importSucceeded: Successfully imported into dv')
      await scene.tells(`PersistentVolumeClaim/${prime}`, 'Normal ImportSucceeded: Import Successful')
      const phases = scene.seen.phases('dv').filter((phase) => phase !== '' && phase !== 'Pending')
      assert.deepEqual(phases, ['ImportScheduled', 'ImportInProgress', 'Succeeded'])
      const running = scene.seen
        .course('dv')
        .find(({ conditions }) => conditions[2] === 'Running=True Pod is running: ')
      assert.equal(running?.conditions[1], 'Ready=False TransferRunning: ')
    },
  )

  scenario(
    'keeps the worker and its claim when asked to',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk().annotate('cdi.kubevirt.io/storage.pod.retainAfterCompletion', 'true'))
      await scene.succeeds('dv')
      const prime = await primeOf(scene)
      await scene.tells(
        `PersistentVolumeClaim/${prime}`,
        'Warning RetainedPVCPrime: PVC Prime retained in Lost state for debugging purposes',
      )
      await scene.until('the prime claim to be lost', () => scene.pvc(prime)?.status?.phase === 'Lost')
      await scene.until('the end of the worker', () => scene.pod(`importer-${prime}`)?.status?.phase === 'Succeeded')
    },
  )

  scenario(
    'takes spec.pvc at its word',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(dataVolume('dv').http(stage().web.url(imageFiles.qcow2)).pvc('64Mi').on(classes.immediate))
      await scene.succeeds('dv')
      assert.equal(scene.pvc('dv')?.spec?.resources?.requests?.['storage'], '64Mi')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )

  scenario(
    'passes labels and annotations of the DataVolume on to its claim',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk().label('team', 'blue').annotate('note', 'kept'))
      await scene.succeeds('dv')
      assert.equal(scene.pvc('dv')?.metadata.labels?.['team'], 'blue')
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['note'], 'kept')
      const [worker] = scene.seen.importerPods(await primeOf(scene))
      assert.equal(worker?.last.metadata.labels?.['team'], 'blue')
    },
  )
})

describe('an import without a populator', { concurrency: 2 }, () => {
  scenario(
    'works on the claim itself',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk().annotate('cdi.kubevirt.io/storage.usePopulator', 'false'))
      await scene.succeeds('dv')
      const target = scene.pvc('dv')
      assert.ok(target)
      assert.equal(target.spec?.dataSourceRef, undefined)
      assert.equal(annotationsOf(target)['cdi.kubevirt.io/storage.import.importPodName'], 'importer-dv')
      assert.equal(annotationsOf(target)['cdi.kubevirt.io/storage.import.endpoint'], stage().web.url(imageFiles.qcow2))
      const [worker] = scene.seen.importerPods('dv')
      assert.ok(worker)
      checkWorker(worker.last, {
        carrier: 'dv',
        ownerUid: scene.dataVolume('dv')?.metadata.uid ?? '',
        imageSize: '71135396',
      })
      assert.equal(scene.seen.pvcs.sightings.size, 1)
      await scene.tells('DataVolume/dv', 'Normal ImportSucceeded: Successfully imported into PVC dv')
    },
  )

  scenario(
    'waits for a consumer where the class does',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(
        disk().on(classes.waitForFirstConsumer).annotate('cdi.kubevirt.io/storage.usePopulator', 'false'),
      )
      await scene.reaches('dv', 'WaitForFirstConsumer')
      await scene.resultOf(await scene.use('dv', 'true'))
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )
})

describe('a consumer that holds the volume', () => {
  scenario(
    'keeps the worker waiting, and is named',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(
        disk().on(classes.waitForFirstConsumer).annotate('cdi.kubevirt.io/storage.usePopulator', 'false'),
      )
      await scene.reaches('dv', 'WaitForFirstConsumer')
      const name = await scene.use('dv', 'sleep 600')
      await scene.tells(
        'PersistentVolumeClaim/dv',
        `Warning ImportTargetInUse: pod ${scene.namespace}/${name} using PersistentVolumeClaim dv`,
      )
      assert.equal(scene.seen.importerPods('dv').length, 0)
      await scene.cluster.kube.delete(kinds.pod, { namespace: scene.namespace, name }, { gracePeriodSeconds: 0 })
      await scene.succeeds('dv')
      assert.equal((await scene.disk('dv', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )
})

describe('a class that waits for a consumer', { concurrency: 2 }, () => {
  scenario(
    'does not wait when the DataVolume asks for immediate binding',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(
        disk().on(classes.waitForFirstConsumer).annotate('cdi.kubevirt.io/storage.bind.immediate.requested'),
      )
      await scene.succeeds('dv')
      assert.ok(!scene.seen.phases('dv').includes('PendingPopulation'))
    },
  )

  scenario(
    'is content with a consumer that is scheduled once and goes away',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(disk().on(classes.waitForFirstConsumer))
      await scene.reaches('dv', 'PendingPopulation')
      const name = await scene.use('dv', 'sleep 600')
      await scene.until('the consumer to be scheduled', () => scene.pod(name)?.spec?.nodeName !== undefined)
      await scene.until(
        'the choice of a node',
        () => scene.pvc('dv')?.metadata.annotations?.['volume.kubernetes.io/selected-node'] !== undefined,
      )
      await scene.cluster.kube.delete(kinds.pod, { namespace: scene.namespace, name }, { gracePeriodSeconds: 0 })
      await scene.succeeds('dv')
    },
  )
})

describe('long names', () => {
  scenario(
    'up to the limit and with dots work from end to end',
    () => stage().cluster,
    async (scene) => {
      const name = `${'long-name.'.repeat(25)}dv1`
      assert.equal(name.length, 253)
      await scene.apply(disk().named(name))
      await scene.succeeds(name)
      assert.equal((await scene.disk(name, stage().images.bytes)).sha256, stage().images.sha256)
    },
  )
})
