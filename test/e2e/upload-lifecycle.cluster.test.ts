/** Objects, annotations, phases, conditions and events of uploads as clients know them (recorded from the existing service). */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { Pod, Service } from '../../src/api/kinds.ts'
import type { KubeObject } from '../../src/kube/object.ts'
import { waitFor } from '../cluster/wait-for.ts'
import { arrives } from './support/assert-disk.ts'
import { classes } from './support/cluster.ts'
import { imageFiles } from './support/images.ts'
import { withProxy } from './support/proxy.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'
import { carrierOf, curlUpload, openTarget, timedUpload, tokenFor, uploadDisk, uploadPod } from './support/upload.ts'

const stage = useStage(withProxy)

function file(image: keyof typeof imageFiles): string {
  return join(stage().directory, imageFiles[image])
}

/** Annotations without those that the cluster itself writes. */
function annotationsOf({ metadata }: KubeObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata.annotations ?? {}).filter(([key]) => !/^(pv|volume(\.beta)?)\.kubernetes\.io\//.test(key)),
  )
}

/** Without what the prime claim's events say about its own binding, which comes and goes. */
function withoutBinding(annotations: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !key.includes('condition.bound')))
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

const recommended = {
  app: 'containerized-data-importer',
  'app.kubernetes.io/component': 'storage',
  'app.kubernetes.io/managed-by': 'cdi-controller',
}

/** What stands on every claim of a running server, target and prime alike. */
const ready = {
  'cdi.kubevirt.io/storage.condition.running': 'true',
  'cdi.kubevirt.io/storage.condition.running.message': '',
  'cdi.kubevirt.io/storage.condition.running.reason': 'Pod is running',
  'cdi.kubevirt.io/storage.contentType': 'kubevirt',
  'cdi.kubevirt.io/storage.pod.phase': 'Running',
  'cdi.kubevirt.io/storage.pod.ready': 'true',
  'cdi.kubevirt.io/storage.pod.restarts': '0',
  'cdi.kubevirt.io/storage.preallocation.requested': 'false',
}

const complete = {
  ...ready,
  'cdi.kubevirt.io/storage.condition.running': 'false',
  'cdi.kubevirt.io/storage.condition.running.message': 'Upload Complete',
  'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
  'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
  'cdi.kubevirt.io/storage.pod.ready': 'false',
}

/** The variables that clients see on every upload server, in their order. */
const environment = [
  'TLS_KEY_FILE',
  'TLS_CERT_FILE',
  'CLIENT_CERT_FILE',
  'FILESYSTEM_OVERHEAD',
  'UPLOAD_IMAGE_SIZE',
  'CLIENT_NAME',
  'PREALLOCATION',
  'TLS_CIPHERS',
  'TLS_MIN_VERSION',
  'DEADLINE',
]

const ciphers =
  'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305,DHE-RSA-AES128-GCM-SHA256,DHE-RSA-AES256-GCM-SHA384'

function checkServer(pod: Pod, carrier: { name: string; uid: string }): void {
  const name = `cdi-upload-${carrier.name}`
  assert.equal(pod.metadata.name, name)
  assert.deepEqual(owner(pod), controlledBy('PersistentVolumeClaim', carrier.name))
  assert.deepEqual(pod.metadata.labels, {
    ...recommended,
    'cdi.kubevirt.io': 'cdi-upload-server',
    'cdi.kubevirt.io/uploadTarget': carrier.uid,
    service: name,
  })
  assert.deepEqual(pod.metadata.annotations, {
    'cdi.kubevirt.io/storage.createdByUploadController': 'yes',
    'k8s.ovn.org/open-default-ports': '[{"protocol":"tcp","port":8443}]',
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
  assert.equal(container.name, 'cdi-upload-server')
  assert.match(container.args?.join(' ') ?? '', /^-v=\d+$/)
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
  const { httpGet } = container.readinessProbe ?? {}
  assert.deepEqual(httpGet && [httpGet.path, httpGet.port, httpGet.scheme], ['/healthz', 8443, 'HTTPS'])
  assert.deepEqual(container.env?.map((variable) => variable.name).slice(0, environment.length), environment)
  const values = Object.fromEntries(container.env?.map(({ name: key, value = '' }) => [key, value]) ?? [])
  assert.equal(values['FILESYSTEM_OVERHEAD'], '0.06')
  assert.equal(values['UPLOAD_IMAGE_SIZE'], '71135396')
  assert.equal(values['CLIENT_NAME'], 'client.upload-server.cdi.kubevirt.io')
  assert.equal(values['PREALLOCATION'], 'false')
  assert.equal(values['TLS_CIPHERS'], ciphers)
  assert.equal(values['TLS_MIN_VERSION'], 'VersionTLS12')
  const hours = (Date.parse(values['DEADLINE'] ?? '') - Date.parse(pod.metadata.creationTimestamp ?? '')) / 3_600_000
  assert.ok(hours > 11.9 && hours < 12.1, `the deadline is after ${hours} hours`)
  const mounts = Object.fromEntries(container.volumeMounts?.map((mount) => [mount.name, mount.mountPath]) ?? [])
  assert.equal(mounts['tls-config'], '/etc/tls/')
  assert.equal(mounts['cdi-data-vol'], '/data')
  const volume = (wanted: string) => spec.volumes?.find((one) => one.name === wanted)
  assert.equal(volume('tls-config')?.secret?.secretName, name)
  assert.equal(volume('cdi-data-vol')?.persistentVolumeClaim?.claimName, carrier.name)
  assert.equal(volume('cdi-scratch-vol')?.persistentVolumeClaim, undefined)
}

function checkService(service: Service, carrier: string): void {
  assert.deepEqual(service.metadata.labels, { ...recommended, 'cdi.kubevirt.io': 'cdi-upload-server' })
  assert.deepEqual(service.metadata.annotations, { 'cdi.kubevirt.io/storage.createdByUploadController': 'yes' })
  assert.deepEqual(owner(service), controlledBy('PersistentVolumeClaim', carrier))
  assert.equal(service.spec?.clusterIP, 'None')
  assert.deepEqual(service.spec?.selector, { service: service.metadata.name })
  assert.deepEqual(service.spec?.ports, [{ port: 8443, protocol: 'TCP', targetPort: 8443 }])
}

async function brings(scene: Scene, image: keyof typeof imageFiles = 'qcow2', pvcName = 'dv'): Promise<void> {
  const { status, body } = await curlUpload(scene, stage().proxy, { file: file(image), pvcName })
  assert.deepEqual([status, body], [200, ''])
}

async function everythingOfServerIsGone(scene: Scene): Promise<void> {
  await scene.until('server and Service to be gone', () => {
    const { pods, services } = scene.seen
    return [...pods.cache.list(), ...services.cache.list()].every(
      ({ metadata }) => metadata.labels?.['cdi.kubevirt.io'] !== 'cdi-upload-server',
    )
  })
}

describe('an upload through a populator', { concurrency: 3 }, () => {
  scenario(
    'makes the objects that clients know, and removes its own',
    () => stage().cluster,
    async (scene) => {
      const { metadata } = await scene.apply(uploadDisk())
      await scene.reaches('dv', 'UploadReady')
      const target = scene.pvc('dv')
      const carrier = carrierOf(scene)
      assert.ok(target && carrier)
      const prime = `prime-${target.metadata.uid}`
      const source = `volume-upload-source-${metadata.uid}`
      assert.equal(carrier.metadata.name, prime)

      await scene.until(
        'the annotations of the target',
        () => annotationsOf(scene.pvc('dv')!)['cdi.kubevirt.io/storage.pod.ready'] === 'true',
      )
      const ofTarget = {
        'cdi.kubevirt.io/createdForDataVolume': metadata.uid,
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      }
      assert.deepEqual(withoutBinding(annotationsOf(scene.pvc('dv')!)), {
        ...ready,
        ...ofTarget,
        'cdi.kubevirt.io/storage.populator.pvcPrime': prime,
      })
      assert.deepEqual(target.metadata.labels, {
        ...recommended,
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
      })
      assert.deepEqual(owner(target), controlledBy('DataVolume', 'dv'))
      assert.deepEqual(target.spec?.dataSourceRef, {
        apiGroup: 'cdi.kubevirt.io',
        kind: 'VolumeUploadSource',
        name: source,
      })
      assert.equal(target.spec?.resources?.requests?.['storage'], '71135396')

      const ofPrime = {
        'cdi.kubevirt.io/storage.bind.immediate.requested': '',
        'cdi.kubevirt.io/storage.populator.kind': 'VolumeUploadSource',
        'cdi.kubevirt.io/storage.upload.target': '',
        'cdi.kubevirt.io/storage.uploadPodName': `cdi-upload-${prime}`,
        'linkerd.io/inject': 'disabled',
        'sidecar.istio.io/inject': 'false',
      }
      assert.deepEqual(annotationsOf(carrier), { ...ready, ...ofPrime })
      assert.deepEqual(carrier.metadata.labels, { ...recommended, 'velero.io/exclude-from-backup': 'true' })
      assert.deepEqual(owner(carrier), controlledBy('PersistentVolumeClaim', 'dv'))

      checkServer(await uploadPod(scene), carrier.metadata)
      const [service] = scene.seen.services.cache.list()
      assert.equal(service?.metadata.name, `cdi-upload-${prime}`)
      checkService(service, prime)
      const [uploadSource] = scene.seen.uploadSources.cache.list()
      assert.equal(uploadSource?.metadata.name, source)
      assert.deepEqual(uploadSource.spec, {})
      assert.deepEqual(owner(uploadSource), controlledBy('DataVolume', 'dv'))
      const key = { namespace: scene.namespace, name: `cdi-upload-${prime}` }
      const secret = await scene.cluster.kube.get(kinds.secret, key)
      assert.deepEqual(Object.keys(secret?.data ?? {}).toSorted(), ['ca.crt', 'tls.crt', 'tls.key'])
      assert.deepEqual(secret && owner(secret), controlledBy('Pod', key.name))
      const { conditions = [] } = scene.seen.course('dv').at(-1) ?? {}
      assert.match(conditions[0] ?? '', /^Bound=False Pending: .*PVC dv Pending/)
      assert.deepEqual(conditions.slice(1), ['Ready=False TransferRunning: ', 'Running=True Pod is running: '])

      await brings(scene)
      const dv = await scene.succeeds('dv')
      await scene.until('the prime claim to be gone', () => scene.pvc(prime) === undefined)
      await scene.until('the source to be gone', () => scene.seen.uploadSources.cache.size === 0)
      await everythingOfServerIsGone(scene)
      assert.deepEqual(dv.metadata.annotations, { 'cdi.kubevirt.io/storage.usePopulator': 'true' })
      assert.equal(dv.status?.claimName, 'dv')
      assert.deepEqual(scene.seen.course('dv').at(-1)?.conditions, [
        'Bound=True Bound: PVC dv Bound',
        'Ready=True : ',
        'Running=False Completed: Upload Complete',
      ])
      assert.deepEqual(annotationsOf(scene.pvc('dv')!), { ...complete, ...ofTarget })
      const [last] = scene.seen.pvcs.named(prime)
      assert.deepEqual(last && annotationsOf(last.last), { ...complete, ...ofPrime })
      assert.equal(scene.seen.pvcs.sightings.size, 2, 'claims beside the target and its prime')
      assert.equal(scene.seen.uploadPods(prime).length, 1, 'more than one server')
      await waitFor({ what: 'the Secret, which goes with the pod, to be gone', timeoutMs: 120_000 }, async () => {
        return (await scene.cluster.kube.get(kinds.secret, key)) === undefined
      })
    },
  )

  scenario(
    'tells its course by the events that clients know',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const prime = carrierOf(scene)?.metadata.name ?? ''
      await brings(scene)
      await scene.succeeds('dv')
      for (const event of [
        'Normal Pending: PVC dv Pending',
        'Normal UploadReady: Upload into dv ready',
        'Normal UploadSucceeded: Successfully uploaded into dv',
        'Normal Bound: PVC dv Bound',
      ]) {
        await scene.tells('DataVolume/dv', event)
      }
      for (const event of [
        'Normal CreatedPVCPrimeSuccessfully: PVC Prime created successfully',
        `Normal UploadSucceeded: [${prime}] : Upload Successful`,
        'Normal UploadSucceeded: Successfully uploaded into dv',
      ]) {
        await scene.tells('PersistentVolumeClaim/dv', event)
      }
      await scene.tells(`PersistentVolumeClaim/${prime}`, 'Normal UploadSucceeded: Upload Successful')
      const phases = scene.seen.phases('dv').filter((phase) => phase !== '' && phase !== 'Pending')
      assert.deepEqual(phases, ['UploadScheduled', 'UploadReady', 'Succeeded'])
      assert.deepEqual(
        scene.seen.eventsOf('DataVolume', 'dv').filter((event) => event.startsWith('Warning')),
        [],
      )
      const shown = new Set(scene.seen.course('dv').map(({ progress }) => progress ?? 'N/A'))
      assert.ok(shown.has('N/A'))
      assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0)
    },
  )

  scenario(
    'keeps the server and its claim when asked to',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().annotate('cdi.kubevirt.io/storage.pod.retainAfterCompletion', 'true'))
      const prime = carrierOf(scene)?.metadata.name ?? ''
      await brings(scene)
      await scene.succeeds('dv')
      await scene.tells(
        `PersistentVolumeClaim/${prime}`,
        'Warning RetainedPVCPrime: PVC Prime retained in Lost state for debugging purposes',
      )
      await scene.until('the prime claim to be lost', () => scene.pvc(prime)?.status?.phase === 'Lost')
      await scene.until('the end of the server', () => scene.pod(`cdi-upload-${prime}`)?.status?.phase === 'Succeeded')
    },
  )

  scenario(
    'of a claim that names a VolumeUploadSource works, though the source comes later and goes early',
    () => stage().cluster,
    async (scene) => {
      await scene.create(kinds.pvc, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'mine' },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: classes.immediate,
          resources: { requests: { storage: '64Mi' } },
          dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 'source' },
        },
      })
      await scene.create(kinds.volumeUploadSource, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'VolumeUploadSource',
        metadata: { name: 'source' },
        spec: {},
      })
      await scene.until(
        'the server',
        () => scene.pvc('mine')?.metadata.annotations?.['cdi.kubevirt.io/storage.pod.ready'] === 'true',
      )
      await scene.cluster.kube.delete(kinds.volumeUploadSource, { namespace: scene.namespace, name: 'source' })
      await brings(scene, 'rawXz', 'mine')
      await scene.until('the volume', () => scene.pvc('mine')?.status?.phase === 'Bound')
      await everythingOfServerIsGone(scene)
      await scene.until('the prime claim to be gone', () => scene.seen.pvcs.cache.size === 1)
      assert.equal((await scene.disk('mine', stage().images.bytes)).sha256, stage().images.sha256)
    },
  )
})

describe('an upload without a populator', { concurrency: 3 }, () => {
  const direct = uploadDisk().annotate('cdi.kubevirt.io/storage.usePopulator', 'false')

  scenario(
    'works on the claim itself',
    () => stage().cluster,
    async (scene) => {
      const { metadata } = await scene.apply(direct)
      await scene.reaches('dv', 'UploadReady')
      const target = scene.pvc('dv')
      assert.ok(target)
      const own = {
        'cdi.kubevirt.io/createdForDataVolume': metadata.uid,
        'cdi.kubevirt.io/storage.upload.target': '',
        'cdi.kubevirt.io/storage.uploadPodName': 'cdi-upload-dv',
        'cdi.kubevirt.io/storage.usePopulator': 'false',
      }
      assert.deepEqual(annotationsOf(target), { ...ready, ...own })
      assert.equal(target.spec?.dataSourceRef, undefined)
      checkServer(await uploadPod(scene), target.metadata)
      const [service] = scene.seen.services.cache.list()
      assert.ok(service)
      checkService(service, 'dv')
      assert.deepEqual(scene.seen.course('dv').at(-1)?.conditions, [
        'Bound=True Bound: PVC dv Bound',
        'Ready=False TransferRunning: ',
        'Running=True Pod is running: ',
      ])
      await brings(scene)
      await arrives(scene, stage().images)
      await everythingOfServerIsGone(scene)
      assert.deepEqual(annotationsOf(scene.pvc('dv')!), { ...complete, ...own })
      await scene.tells('DataVolume/dv', 'Normal UploadSucceeded: Successfully uploaded into dv')
      await scene.tells('PersistentVolumeClaim/dv', 'Normal UploadSucceeded: Upload Successful')
      assert.equal(scene.seen.pvcs.sightings.size, 1)
    },
  )

  scenario(
    'waits for a consumer where the class does',
    () => stage().cluster,
    async (scene) => {
      await scene.apply(direct.on(classes.waitForFirstConsumer))
      await scene.reaches('dv', 'WaitForFirstConsumer')
      assert.equal(scene.seen.uploadPods('dv').length, 0)
      await scene.resultOf(await scene.use('dv', 'true'))
      await scene.reaches('dv', 'UploadReady')
      await brings(scene)
      await arrives(scene, stage().images)
    },
  )
})

describe('a target that nobody uploads to', { concurrency: 3 }, () => {
  scenario(
    'stays empty',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene, uploadDisk().annotate('cdi.kubevirt.io/storage.usePopulator', 'false'))
      const { metadata } = await uploadPod(scene)
      // Without the annotation it is no target any more: the server goes, and the volume can be looked at.
      await scene.annotate(kinds.pvc, 'dv', { 'cdi.kubevirt.io/storage.upload.target': null })
      await scene.until('the server to be gone', () => scene.pod(metadata.name) === undefined)
      await everythingOfServerIsGone(scene)
      assert.equal((await scene.read('dv', 'ls -A -I lost+found /volume > /dev/termination-log')).trim(), '')
    },
  )

  scenario(
    'loses its server for good with the annotation of the prime claim',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const prime = carrierOf(scene)?.metadata.name ?? ''
      await scene.annotate(kinds.pvc, prime, { 'cdi.kubevirt.io/storage.upload.target': null })
      await everythingOfServerIsGone(scene)
      // A change that makes the populator look again.
      await scene.annotate(kinds.pvc, 'dv', { note: 'look' })
      await scene.until('the note', () => scene.pvc('dv')?.metadata.annotations?.['note'] === 'look')
      await openTarget(scene, uploadDisk('witness'))
      assert.equal(scene.pvc(prime)?.metadata.annotations?.['cdi.kubevirt.io/storage.upload.target'], undefined)
      assert.equal(scene.seen.uploadPods(prime).length, 1)
      const { status, body } = await curlUpload(scene, stage().proxy, { file: file('raw') })
      assert.equal(status, 409)
      assert.match(body, /is not an upload target/)
    },
  )

  scenario(
    'takes its server with it when the claim is deleted',
    () => stage().cluster,
    async (scene) => {
      await openTarget(scene)
      const started = performance.now()
      await scene.cluster.kube.delete(kinds.dataVolume, { namespace: scene.namespace, name: 'dv' })
      await everythingOfServerIsGone(scene)
      const seconds = (performance.now() - started) / 1000
      // Another test may kill the controller just now, which takes 25 s.
      assert.ok(seconds < 120, `it took ${seconds} s`)
      await scene.until('the claims to be gone', () => scene.seen.pvcs.cache.size === 0)
    },
  )
})

describe('long names', { concurrency: 2 }, () => {
  for (const usePopulator of ['true', 'false']) {
    scenario(
      `up to the limit and with dots work from end to end (usePopulator ${usePopulator})`,
      () => stage().cluster,
      async (scene) => {
        const name = `${'long-name.'.repeat(25)}dv1`
        assert.equal(name.length, 253)
        const disk = uploadDisk(name).annotate('cdi.kubevirt.io/storage.usePopulator', usePopulator)
        await openTarget(scene, disk)
        const pod = await uploadPod(scene, name)
        if (usePopulator === 'false') assert.match(pod.metadata.name, /^cdi-upload-[0-9a-f]{8}$/)
        await brings(scene, 'qcow2', name)
        await arrives(scene, stage().images, name)
      },
    )
  }

  scenario(
    'with dots have Services without any',
    () => stage().cluster,
    async (scene) => {
      const name = `disk.with.dots.${'x'.repeat(60)}`
      await openTarget(scene, uploadDisk(name).annotate('cdi.kubevirt.io/storage.usePopulator', 'false'))
      assert.equal((await uploadPod(scene, name)).metadata.name, `cdi-upload-${name}`)
      const [service] = scene.seen.services.cache.list()
      assert.match(service?.metadata.name ?? '', /^cdi-upload-disk-with-dots-x{24}-[0-9a-f]{8}-cdi$/)
      await brings(scene, 'raw', name)
      await arrives(scene, stage().images, name)
    },
  )
})

describe('time', () => {
  scenario(
    'is not lost: neither before the first byte nor after the last',
    () => stage().cluster,
    async (scene) => {
      const tailOfUpload = async (name: string): Promise<number> => {
        const started = performance.now()
        await openTarget(scene, uploadDisk(name))
        const readyMs = performance.now() - started
        const token = await tokenFor(scene, name)
        const answer = await timedUpload(stage().proxy, { file: file('compressedQcow2'), token })
        assert.equal(answer.status, 200, answer.body)
        const answeredAt = performance.now()
        await scene.succeeds(name)
        const settleMs = performance.now() - answeredAt
        console.log(
          `UploadReady after ${Math.round(readyMs)} ms; upload ${Math.round(answer.totalMs)} ms, of that ` +
            `${Math.round(answer.tailMs)} ms after its last byte; Succeeded ${Math.round(settleMs)} ms later`,
        )
        return answer.tailMs
      }
      // The machine may be busy with something else for a minute or two: one quiet moment is enough.
      const tailsMs: number[] = []
      while (tailsMs.length < 12 && !tailsMs.some((ms) => ms < 1000)) {
        tailsMs.push(await tailOfUpload(`dv-${tailsMs.length}`))
      }
      assert.ok((tailsMs.at(-1) ?? 0) < 1000, `the answers came ${tailsMs.join(', ')} ms after the last byte`)
    },
  )
})
