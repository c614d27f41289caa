/**
 * All controllers of uploads together, against a real API server. Kubelet, provisioner and garbage collector are played by
 * hand (hands.ts), so that every state of an upload server can be had.
 */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createServer } from 'node:https'
import type { TLSSocket } from 'node:tls'
import { Writable } from 'node:stream'
import { pino } from 'pino'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Pod, Secret } from '../../../src/api/kinds.ts'
import { annotations, serviceName, uploadPodName } from '../../../src/api/names.ts'
import { parseUploadEnv } from '../../../src/api/upload-env.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { atWork, ended, Hands, serving, starting } from './hands.ts'
import type { Script } from './hands.ts'
import { limit } from './quota.ts'

const completeWords = '{"preallocationApplied":false,"message":"Upload Complete"}'
const scratchWords = '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"x"}'
const deadlineWords = '{"deadlinePassed":true,"message":"Deadline Passed"}'

let plane: ControlPlane
let client: ControlPlane['client']

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
})
after(() => plane?.[Symbol.asyncDispose]())

type Key = Awaited<ReturnType<ControlPlane['newDataVolume']>>

const upload = { source: { upload: {} } }
const newUpload = (annotated: Record<string, string> = {}): Promise<Key> =>
  plane.newDataVolume({ annotated, spec: upload })
/** A server that becomes ready, and is never sent to. */
const idle: Script = () => [starting, atWork, serving]
const smooth: Script = () => [starting, atWork, serving, ended(0, completeWords)]

/** What a user sees of a namespace when all is done; names and UIDs that differ from run to run are left out. */
async function remains(namespace: string): Promise<Record<string, unknown>> {
  const names = async (kind: (typeof kinds)['pvc' | 'pod' | 'volumeUploadSource' | 'service']): Promise<string[]> => {
    const { items } = await client.list(kind as typeof kinds.pvc, { namespace })
    return items.map(({ metadata }) => metadata.name)
  }
  const target = await client.get(kinds.pvc, { namespace, name: 'dv' })
  const dataVolume = await client.get(kinds.dataVolume, { namespace, name: 'dv' })
  const { conditions = [], ...status } = dataVolume?.status ?? {}
  let text = JSON.stringify({
    claims: await names(kinds.pvc),
    pods: await names(kinds.pod),
    services: await names(kinds.service),
    sources: await names(kinds.volumeUploadSource),
    annotations: target?.metadata.annotations,
    labels: target?.metadata.labels,
    phase: target?.status?.phase,
    dataVolume: dataVolume?.metadata.annotations,
    status: {
      ...status,
      conditions: conditions.map((c) => `${c.type}=${c.status} ${c.reason ?? ''}|${c.message ?? ''}`),
    },
  })
  for (const [uid, shown] of [
    [target?.metadata.uid, '<pvc-uid>'],
    [dataVolume?.metadata.uid, '<dv-uid>'],
  ]) {
    if (uid && shown) text = text.replaceAll(uid, shown)
  }
  return JSON.parse(text) as Record<string, unknown>
}

/** Only the claim is left. */
async function settled(namespace: string): Promise<void> {
  await eventually('only the claim is left', async () => {
    const { claims, pods, services, sources } = (await remains(namespace)) as Record<string, string[]>
    return claims?.length === 1 && [...(pods ?? []), ...(services ?? []), ...(sources ?? [])].length === 0
  })
}

async function theServer(namespace: string): Promise<Pod> {
  let found: Pod | undefined
  await eventually('there is an upload server', async () => {
    const { items } = await client.list(kinds.pod, { namespace })
    found = items.find(({ metadata }) => metadata.deletionTimestamp === undefined)
    return found !== undefined
  })
  return found as Pod
}

async function eventsOf(namespace: string): Promise<string[]> {
  const { items } = await client.list(kinds.event, { namespace })
  return items.map(
    ({ involvedObject, type, reason, message, source }) =>
      `${involvedObject.kind}/${involvedObject.name} ${type} ${reason}: ${message} (${source?.component})`,
  )
}

/** Events are written beside the status, and not in its turn. */
async function assertTold(namespace: string, events: readonly string[]): Promise<void> {
  await eventually('the events are told', async () => {
    const told = await eventsOf(namespace)
    for (const event of events) assert.ok(told.includes(event), `${event} is not among\n${told.join('\n')}`)
    return true
  })
}

describe('the controllers of uploads', () => {
  it('make a server ready, as the recordings show it, and tell the address of P', async () => {
    const key = await newUpload()
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const seen = await remains(key.namespace)
    const prime = 'prime-<pvc-uid>'
    assert.deepEqual(seen, {
      claims: ['dv', prime],
      pods: [`cdi-upload-${prime}`],
      services: [`cdi-upload-${prime}`],
      sources: ['volume-upload-source-<dv-uid>'],
      annotations: {
        'cdi.kubevirt.io/createdForDataVolume': '<dv-uid>',
        'cdi.kubevirt.io/storage.condition.running': 'true',
        'cdi.kubevirt.io/storage.condition.running.message': '',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Pod is running',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.pod.phase': 'Running',
        'cdi.kubevirt.io/storage.pod.ready': 'true',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.populator.pvcPrime': prime,
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      },
      labels: {
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
      },
      phase: 'Pending',
      dataVolume: { 'cdi.kubevirt.io/storage.usePopulator': 'true' },
      status: {
        claimName: 'dv',
        phase: 'UploadReady',
        progress: 'N/A',
        conditions: [
          'Bound=False Pending|PVC dv Pending',
          'Ready=False TransferRunning|',
          'Running=True Pod is running|',
        ],
      },
    })
    const target = await client.get(kinds.pvc, key)
    const source = target?.spec?.dataSourceRef
    assert.deepEqual([source?.apiGroup, source?.kind], ['cdi.kubevirt.io', 'VolumeUploadSource'])
    await assertTold(key.namespace, [
      'DataVolume/dv Normal UploadReady: Upload into dv ready (datavolume-upload-controller)',
      'PersistentVolumeClaim/dv Normal CreatedPVCPrimeSuccessfully: PVC Prime created successfully (upload-populator)',
    ])
  })

  it('give the claim its volume when the upload is done, and leave behind what the recordings show', async () => {
    const key = await newUpload()
    await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'Succeeded')
    await settled(key.namespace)
    assert.deepEqual(await remains(key.namespace), {
      claims: ['dv'],
      pods: [],
      services: [],
      sources: [],
      annotations: {
        'cdi.kubevirt.io/createdForDataVolume': '<dv-uid>',
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.message': 'Upload Complete',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
        'cdi.kubevirt.io/storage.pod.ready': 'false',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      },
      labels: {
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
      },
      phase: 'Bound',
      dataVolume: { 'cdi.kubevirt.io/storage.usePopulator': 'true' },
      status: {
        claimName: 'dv',
        phase: 'Succeeded',
        progress: 'N/A',
        conditions: ['Bound=True Bound|PVC dv Bound', 'Ready=True |', 'Running=False Completed|Upload Complete'],
      },
    })
    const { metadata } = (await client.get(kinds.pvc, key)) ?? {}
    const prime = `prime-${metadata?.uid}`
    await assertTold(key.namespace, [
      `PersistentVolumeClaim/${prime} Normal UploadSucceeded: Upload Successful (upload-controller)`,
      `PersistentVolumeClaim/dv Normal UploadSucceeded: [${prime}] : Upload Successful (upload-populator)`,
      'PersistentVolumeClaim/dv Normal UploadSucceeded: Successfully uploaded into dv (upload-populator)',
      'DataVolume/dv Normal UploadSucceeded: Successfully uploaded into dv (datavolume-upload-controller)',
    ])
  })

  it('serve the claim itself in the direct mode', async () => {
    const key = await newUpload({ [annotations.usePopulator]: 'false' })
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const seen = await remains(key.namespace)
    assert.deepEqual(seen['annotations'], {
      ...(seen['annotations'] as object),
      'cdi.kubevirt.io/storage.upload.target': '',
      'cdi.kubevirt.io/storage.uploadPodName': 'cdi-upload-dv',
      'cdi.kubevirt.io/storage.usePopulator': 'false',
      'cdi.kubevirt.io/storage.pod.ready': 'true',
    })
    assert.deepEqual(
      [seen['claims'], seen['pods'], seen['services'], seen['sources']],
      [['dv'], ['cdi-upload-dv'], ['cdi-upload-dv'], []],
    )
    assert.deepEqual((seen['status'] as { conditions: string[] }).conditions, [
      'Bound=True Bound|PVC dv Bound',
      'Ready=False TransferRunning|',
      'Running=True Pod is running|',
    ])
  })
})

/** A claim that a user made. */
function newClaim(
  namespace: string,
  name: string,
  more: { annotations?: Record<string, string>; labels?: Record<string, string>; spec?: object } = {},
): Promise<PersistentVolumeClaim> {
  const { annotations: annotated = {}, labels = {}, spec = {} } = more
  return client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace, annotations: annotated, labels },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '64Mi' } },
      storageClassName: 'csi',
      ...spec,
    },
  })
}

async function annotationsOf(key: Key): Promise<Record<string, string>> {
  return (await client.get(kinds.pvc, key))?.metadata.annotations ?? {}
}

async function isReady(key: Key): Promise<boolean> {
  return (await annotationsOf(key))[annotations.podReady] === 'true'
}

/** Neither pods nor Services are left in a namespace. */
async function serverIsGone(namespace: string): Promise<boolean> {
  const { items: pods } = await client.list(kinds.pod, { namespace })
  const { items: services } = await client.list(kinds.service, { namespace })
  return pods.length + services.length === 0
}

describe('an upload server', () => {
  it('has the shape that clients know, with certificates of its own', async () => {
    const key = await newUpload({ [annotations.uploadChecksum]: 'sha256:00' })
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const target = await client.get(kinds.pvc, key)
    const primeName = `prime-${target?.metadata.uid}`
    const prime = await client.get(kinds.pvc, { ...key, name: primeName })
    const name = `cdi-upload-${primeName}`
    const owner = {
      apiVersion: 'v1',
      blockOwnerDeletion: true,
      controller: true,
      kind: 'PersistentVolumeClaim',
      name: primeName,
      uid: prime?.metadata.uid,
    }
    assert.deepEqual(prime?.metadata.annotations, {
      ...prime?.metadata.annotations,
      'cdi.kubevirt.io/storage.bind.immediate.requested': '',
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.pod.phase': 'Running',
      'cdi.kubevirt.io/storage.pod.ready': 'true',
      'cdi.kubevirt.io/storage.populator.kind': 'VolumeUploadSource',
      'cdi.kubevirt.io/storage.upload.checksum': 'sha256:00',
      'cdi.kubevirt.io/storage.upload.target': '',
      'cdi.kubevirt.io/storage.uploadPodName': name,
    })

    const pod = await client.get(kinds.pod, { ...key, name })
    assert.deepEqual(pod?.metadata.labels, {
      app: 'containerized-data-importer',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'cdi.kubevirt.io': 'cdi-upload-server',
      'cdi.kubevirt.io/uploadTarget': prime?.metadata.uid,
      service: name,
    })
    assert.deepEqual(pod?.metadata.ownerReferences, [owner])
    const env = Object.fromEntries((pod?.spec?.containers[0]?.env ?? []).map((entry) => [entry.name, entry.value]))
    const told = parseUploadEnv(env)
    assert.equal(told.checksum, 'sha256:00')
    const livesMs = Date.parse(told.deadline) - Date.parse(pod?.metadata.creationTimestamp ?? '')
    assert.ok(Math.abs(livesMs - 12 * 3_600_000) < 5_000, `lives ${livesMs} ms`)

    const service = await client.get(kinds.service, { ...key, name })
    assert.deepEqual(service?.metadata.labels, {
      app: 'containerized-data-importer',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'cdi.kubevirt.io': 'cdi-upload-server',
    })
    assert.deepEqual(service.metadata.annotations, { 'cdi.kubevirt.io/storage.createdByUploadController': 'yes' })
    assert.deepEqual(service.metadata.ownerReferences, [owner])
    assert.equal(service.spec?.clusterIP, 'None')
    assert.deepEqual(service.spec?.ports, [{ port: 8443, protocol: 'TCP', targetPort: 8443 }])
    assert.deepEqual(service.spec?.selector, { service: name })

    const secret = await client.get(kinds.secret, { ...key, name })
    assert.deepEqual(
      secret?.metadata.ownerReferences?.map(({ kind, uid }) => [kind, uid]),
      [['Pod', pod?.metadata.uid]],
    )
    const leaf = new X509Certificate(textIn(secret, 'tls.crt'))
    const signer = await client.get(kinds.secret, { namespace: 'cdi', name: 'cdi-uploadserver-signer' })
    assert.ok(leaf.verify(new X509Certificate(textIn(signer, 'tls.crt')).publicKey))
    for (const host of [name, `${name}.${key.namespace}`, `${name}.${key.namespace}.svc`]) {
      assert.equal(leaf.checkHost(host), host)
    }
    const bundle = await client.get(kinds.configMap, {
      namespace: 'cdi',
      name: 'cdi-uploadserver-client-signer-bundle',
    })
    assert.equal(textIn(secret, 'ca.crt'), bundle?.data?.['ca-bundle.crt'])
  })

  it('is made anew with fresh certificates when its deadline has passed, and its claim is not ready meanwhile', async () => {
    const key = await newUpload({ [annotations.usePopulator]: 'false' })
    const script: Script = (_, nth) => (nth === 0 ? [starting, serving, ended(0, deadlineWords)] : [starting, serving])
    const seen = new Set<string>()
    const stop = new AbortController()
    const { resourceVersion } = await client.list(kinds.pvc, { namespace: key.namespace })
    const watching = (async () => {
      const changes = client.watch(kinds.pvc, { namespace: key.namespace, resourceVersion, signal: stop.signal })
      for await (const { object } of changes) {
        const { annotations: noted = {} } = object.metadata
        seen.add(`${noted[annotations.podPhase]} ${noted[annotations.podReady]}`)
      }
    })().catch((error: unknown) => assert.ok(stop.signal.aborted, String(error)))
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = plane.startProcess()
    const first = await theServer(key.namespace)
    await eventually('a second server is ready', async () => {
      const [pod] = (await client.list(kinds.pod, { namespace: key.namespace })).items
      return pod !== undefined && pod.metadata.uid !== first.metadata.uid && (await isReady(key))
    })
    stop.abort()
    await watching
    assert.ok(seen.has(' false'), [...seen].join())
    await eventually('the Secret is that of the second', async () => {
      const [pod] = (await client.list(kinds.pod, { namespace: key.namespace })).items
      const secret = await client.get(kinds.secret, { ...key, name: 'cdi-upload-dv' })
      return secret?.metadata.ownerReferences?.[0]?.uid === pod?.metadata.uid
    })
    await plane.untilPhase(key, 'UploadReady')
  })

  it('gets a scratch volume when it asks for one, and only then', async () => {
    const key = await newUpload()
    const script: Script = (pod, nth) => {
      const scratch = pod.spec?.volumes?.some(({ name }) => name === 'cdi-scratch-vol')
      assert.equal(scratch, nth > 0)
      return [starting, serving, ended(0, nth === 0 ? scratchWords : completeWords)]
    }
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = plane.startProcess()
    let request: string | undefined
    await eventually('the scratch claim is there', async () => {
      const { items } = await client.list(kinds.pvc, { namespace: key.namespace })
      const scratch = items.find(({ metadata }) => metadata.name.endsWith('-scratch'))
      request = scratch?.spec?.resources?.requests?.['storage']
      return scratch !== undefined
    })
    assert.equal(request, '71303168')
    await plane.untilPhase(key, 'Succeeded')
    await settled(key.namespace)
  })

  it('that ends badly is counted and told of, even if only its restart is seen', async () => {
    const key = await newUpload()
    const failed = { exitCode: 1, message: 'Unable to process data: the image broke', reason: 'Error' }
    const script: Script = () => [starting, serving, { ...serving, restarts: 1, lastState: { terminated: failed } }]
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = plane.startProcess()
    await eventually('the restart is counted', async () => {
      return (await client.get(kinds.dataVolume, key))?.status?.restartCount === 1
    })
    await plane.untilPhase(key, 'UploadReady')
    const prime = `prime-${(await client.get(kinds.pvc, key))?.metadata.uid}`
    await eventually('it is told on P and on the claim', async () => {
      const told = await eventsOf(key.namespace)
      return (
        told.includes(
          `PersistentVolumeClaim/${prime} Warning ErrUploadFailed: ${failed.message} (upload-controller)`,
        ) &&
        told.includes(
          `PersistentVolumeClaim/dv Warning ErrUploadFailed: [${prime}] : ${failed.message} (upload-populator)`,
        )
      )
    })
  })

  it('stays when finished ones are to be retained, and P with it', async () => {
    const key = await newUpload({ [annotations.podRetainAfterCompletion]: 'true' })
    await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'Succeeded')
    await eventually('it is said that P is retained', async () =>
      (await eventsOf(key.namespace)).some((event) => event.includes('Warning RetainedPVCPrime: ')),
    )
    const { claims, pods } = await remains(key.namespace)
    assert.deepEqual([claims, pods], [['dv', 'prime-<pvc-uid>'], ['cdi-upload-prime-<pvc-uid>']])
    assert.equal((await annotationsOf(key))[annotations.populatorPvcPrime], undefined)
  })

  it('that goes away under the hands of somebody is made again', async () => {
    const key = await newUpload()
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const first = await theServer(key.namespace)
    await client.delete(kinds.pod, { namespace: key.namespace, name: first.metadata.name }, { gracePeriodSeconds: 0 })
    await client.delete(kinds.service, { namespace: key.namespace, name: first.metadata.name })
    await eventually('there is another one', async () => {
      const [pod] = (await client.list(kinds.pod, { namespace: key.namespace })).items
      const services = (await client.list(kinds.service, { namespace: key.namespace })).items
      return (
        pod !== undefined && pod.metadata.uid !== first.metadata.uid && services.length === 1 && (await isReady(key))
      )
    })
  })
})

function textIn(secret: Secret | undefined, entry: string): string {
  return Buffer.from(secret?.data?.[entry] ?? '', 'base64').toString()
}

describe('a claim that a client shall fill', () => {
  it('may be made by a user, as virtctl makes it, and is told to be ready itself', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: smooth })
    await using _process = plane.startProcess()
    const key = { namespace, name: 'mine' }
    await newClaim(namespace, 'mine', {
      annotations: { [annotations.uploadTarget]: '', [annotations.contentType]: 'kubevirt' },
    })
    await eventually('it is filled', async () => (await annotationsOf(key))[annotations.podPhase] === 'Succeeded')
    await eventually('the server is gone', () => serverIsGone(namespace))
    const claim = await client.get(kinds.pvc, key)
    assert.equal(claim?.metadata.labels?.['app'], 'containerized-data-importer')
    assert.equal(claim.metadata.annotations?.[annotations.podReady], 'false')
  })

  for (const order of ['the claim', 'the source'] as const) {
    it(`is filled through P when it names a VolumeUploadSource, ${order} first, which may go when P is there`, async () => {
      const namespace = await plane.newNamespace()
      const key = { namespace, name: 'mine' }
      let mayEnd = false
      const script: Script = () => [starting, serving, ...(mayEnd ? [ended(0, completeWords)] : [])]
      await using _hands = new Hands({ client, namespace, script })
      await using _process = plane.startProcess()
      const source = { namespace, name: 'disk' }
      const dataSourceRef = { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 'disk' }
      const steps = [
        () => newClaim(namespace, 'mine', { spec: { dataSourceRef } }),
        () =>
          client.create(kinds.volumeUploadSource, {
            apiVersion: 'cdi.kubevirt.io/v1beta1',
            kind: 'VolumeUploadSource',
            metadata: source,
            spec: { contentType: 'archive', preallocation: true },
          }),
      ]
      for (const step of order === 'the claim' ? steps : steps.toReversed()) {
        await step()
        await delay(300)
      }
      await eventually('the claim is ready', () => isReady(key))
      const prime = (await annotationsOf(key))[annotations.populatorPvcPrime] ?? ''
      const noted = await annotationsOf({ namespace, name: prime })
      assert.equal(noted[annotations.contentType], 'archive')
      assert.equal(noted[annotations.preallocationRequested], 'true')
      await client.delete(kinds.volumeUploadSource, source)
      await delay(300)
      assert.ok(await isReady(key))
      mayEnd = true
      await eventually('the claim is filled and bound, and P is gone', async () => {
        const claim = await client.get(kinds.pvc, key)
        const { items } = await client.list(kinds.pvc, { namespace })
        return claim?.status?.phase === 'Bound' && items.length === 1
      })
      assert.equal((await annotationsOf(key))[annotations.podPhase], 'Succeeded')
    })
  }

  it('waits for its first consumer where the class does, and where nobody is in a hurry', async () => {
    const { client: admin } = plane
    await admin.create(kinds.storageClass, {
      apiVersion: 'storage.k8s.io/v1',
      kind: 'StorageClass',
      metadata: { name: 'wffc' },
      provisioner: 'csi.example',
      volumeBindingMode: 'WaitForFirstConsumer',
    })
    const storage = {
      accessModes: ['ReadWriteOnce' as const],
      volumeMode: 'Filesystem' as const,
      storageClassName: 'wffc',
      resources: { requests: { storage: '64Mi' } },
    }
    const spec = { ...upload, storage }
    const populated = await plane.newDataVolume({ spec })
    const direct = await plane.newDataVolume({ spec, annotated: { [annotations.usePopulator]: 'false' } })
    const hasty = await plane.newDataVolume({ spec, annotated: { [annotations.bindImmediate]: '' } })
    await using _process = plane.startProcess()
    await plane.untilPhase(populated, 'PendingPopulation')
    await plane.untilPhase(direct, 'WaitForFirstConsumer')
    assert.ok(await serverIsGone(populated.namespace))
    assert.ok(await serverIsGone(direct.namespace))
    await using _hastyHands = new Hands({ client, namespace: hasty.namespace, script: idle })
    await plane.untilPhase(hasty, 'UploadReady')
    // A consumer is scheduled, as the scheduler says it; the other claim is bound for its consumer.
    const scheduled = { metadata: { annotations: { [annotations.selectedNode]: 'node01' } } }
    await client.patch(kinds.pvc, populated, scheduled, { type: 'merge' })
    await using _hands = new Hands({ client, namespace: populated.namespace, script: idle })
    await using _directHands = new Hands({ client, namespace: direct.namespace, script: idle })
    await plane.untilPhase(populated, 'UploadReady')
    await plane.untilPhase(direct, 'UploadReady')
    const server = await theServer(populated.namespace)
    assert.equal(server.spec?.nodeName, 'node01')
  })

  it('loses pod and Service at once when it is deleted', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: idle })
    await using _process = plane.startProcess()
    const key = { namespace, name: 'mine' }
    await newClaim(namespace, 'mine', { annotations: { [annotations.uploadTarget]: '' } })
    await eventually('it is ready', () => isReady(key))
    await client.delete(kinds.pvc, key)
    await eventually('all is gone', async () => (await serverIsGone(namespace)) && !(await client.get(kinds.pvc, key)))
  })

  it('loses them too when nobody wants the upload any longer; a P stays without', async () => {
    const key = await newUpload()
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const prime = { ...key, name: (await annotationsOf(key))[annotations.populatorPvcPrime] ?? '' }
    await client.patch(
      kinds.pvc,
      prime,
      { metadata: { annotations: { [annotations.uploadTarget]: null } } },
      { type: 'merge' },
    )
    await eventually('pod and Service are gone', () => serverIsGone(key.namespace))
    assert.equal((await annotationsOf(prime))[annotations.podReady], 'false')
    await client.patch(kinds.pvc, key, { metadata: { labels: { touched: 'yes' } } }, { type: 'merge' })
    const witness = await newUpload()
    await using _others = new Hands({ client, namespace: witness.namespace, script: smooth })
    await plane.untilPhase(witness, 'Succeeded')
    assert.equal((await annotationsOf(prime))[annotations.uploadTarget], undefined, 'it is not put on again')
    assert.ok(await serverIsGone(key.namespace))
  })

  it('waits while another pod uses it, and says which', async () => {
    const namespace = await plane.newNamespace()
    const key = { namespace, name: 'mine' }
    await using _hands = new Hands({
      client,
      namespace,
      script: (pod) => (pod.metadata.name === 'user' ? [] : idle(pod, 0)),
    })
    await newClaim(namespace, 'mine')
    await client.create(kinds.pod, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'user', namespace },
      spec: {
        containers: [{ name: 'user', image: 'user:1' }],
        volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: 'mine' } }],
      },
    })
    await using _process = plane.startProcess()
    const wish = { metadata: { annotations: { [annotations.uploadTarget]: '' } } }
    await client.patch(kinds.pvc, key, wish, { type: 'merge' })
    await eventually('it is said', async () =>
      (await eventsOf(namespace)).includes(
        `PersistentVolumeClaim/mine Warning UploadTargetInUse: pod ${namespace}/user using PersistentVolumeClaim mine (upload-controller)`,
      ),
    )
    await client.delete(kinds.pod, { namespace, name: 'user' }, { gracePeriodSeconds: 0 })
    await eventually('it is ready', () => isReady(key))
    const told = (await client.list(kinds.event, { namespace })).items
    assert.equal(told.find(({ reason }) => reason === 'UploadTargetInUse')?.count, 1, 'told once, not at each look')
  })

  for (const name of [`${'a'.repeat(120)}.${'b'.repeat(132)}`, 'x'.repeat(242), 'disk.v1.2', 'y'.repeat(63)]) {
    it(`may have a name of ${name.length} characters, with dots or without: ${name.slice(0, 12)}`, async () => {
      const namespace = await plane.newNamespace()
      await using _hands = new Hands({ client, namespace, script: idle })
      await using _process = plane.startProcess()
      await newClaim(namespace, name, { annotations: { [annotations.uploadTarget]: '' } })
      await eventually('it is ready', () => isReady({ namespace, name }))
      const podName = uploadPodName(name)
      const service = serviceName(podName)
      const [pod] = (await client.list(kinds.pod, { namespace })).items
      const [made] = (await client.list(kinds.service, { namespace })).items
      const secret = await client.get(kinds.secret, { namespace, name: podName })
      assert.equal(pod?.metadata.name, podName)
      assert.equal(pod.metadata.labels?.['service'], service)
      assert.equal(made?.metadata.name, service)
      assert.equal(
        new X509Certificate(textIn(secret, 'tls.crt')).checkHost(`${service}.${namespace}.svc`),
        `${service}.${namespace}.svc`,
      )
    })
  }

  it('whose Service would have the name of another one waits, lest data go to the other server', async () => {
    const namespace = await plane.newNamespace()
    let mayEnd = false
    const script: Script = (pod) => [
      starting,
      serving,
      ...(mayEnd && pod.metadata.name === 'cdi-upload-a.b' ? [ended(0, completeWords)] : []),
    ]
    await using _hands = new Hands({ client, namespace, script })
    await using _process = plane.startProcess()
    await newClaim(namespace, 'a.b', { annotations: { [annotations.uploadTarget]: '' } })
    await eventually('the first is ready', () => isReady({ namespace, name: 'a.b' }))
    await newClaim(namespace, 'a-b', { annotations: { [annotations.uploadTarget]: '' } })
    await eventually('the second says why it waits', async () =>
      (await eventsOf(namespace)).some((event) =>
        event.startsWith(
          `PersistentVolumeClaim/a-b Warning ErrStartingPod: service ${namespace}/cdi-upload-a-b belongs to another claim`,
        ),
      ),
    )
    assert.equal((await client.list(kinds.pod, { namespace })).items.length, 1)
    mayEnd = true
    await eventually('the second is ready in the end', () => isReady({ namespace, name: 'a-b' }))
  })

  it('that is to be cloned into as well gets no server', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: idle })
    await using _process = plane.startProcess()
    await newClaim(namespace, 'both', {
      annotations: { [annotations.uploadTarget]: '', [annotations.cloneRequest]: 'other/disk' },
    })
    const witness = await newUpload()
    await using _others = new Hands({ client, namespace: witness.namespace, script: smooth })
    await plane.untilPhase(witness, 'Succeeded')
    assert.ok(await serverIsGone(namespace))
  })
})

describe('what virtctl waits for', () => {
  it("is told of P's trouble with its volume on the claim that it names", async () => {
    const key = await newUpload()
    await using _process = plane.startProcess()
    let prime: PersistentVolumeClaim | undefined
    await eventually('P is there', async () => {
      const name = (await annotationsOf(key))[annotations.populatorPvcPrime]
      prime = name ? await client.get(kinds.pvc, { ...key, name }) : undefined
      return prime !== undefined
    })
    const { name, namespace = '', uid } = prime?.metadata ?? { name: '', uid: '' }
    const at = new Date().toISOString().replace(/\.\d+/, '')
    await client.create(kinds.event, {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { name: 'trouble', namespace },
      involvedObject: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid },
      type: 'Warning',
      reason: 'ProvisioningFailed',
      message: 'no room',
      firstTimestamp: at,
      lastTimestamp: at,
    })
    const target = await client.get(kinds.pvc, key)
    await eventually('it is told on the claim', async () => {
      const { items } = await client.list(kinds.event, { namespace })
      return items.some(
        ({ involvedObject, reason, message }) =>
          involvedObject.uid === target?.metadata.uid &&
          reason === 'ProvisioningFailed' &&
          message === `[${name}] : no room`,
      )
    })
  })

  it('is told on the DataVolume that no access mode can be derived', async () => {
    const storage = { storageClassName: 'nothing', resources: { requests: { storage: '64Mi' } } }
    const key = await plane.newDataVolume({ spec: { ...upload, storage } })
    await using _process = plane.startProcess()
    await eventually('it is told', async () =>
      (await eventsOf(key.namespace)).includes(
        'DataVolume/dv Warning ErrClaimNotValid: PVC spec is missing accessMode and no storageClass to choose profile (datavolume-upload-controller)',
      ),
    )
  })
})

describe('a quota', () => {
  it('that does not admit the server is told, logged in the words that tools look for, and obeyed until it grows', async () => {
    const key = await newUpload({ [annotations.usePopulator]: 'false' })
    const quota = await limit(client, key.namespace, { hard: { pods: '0' } })
    const lines: string[] = []
    const log = pino(new Writable({ write: (line: Buffer, _, done) => (lines.push(line.toString()), done()) }))
    await using _hands = new Hands({ client, namespace: key.namespace, script: idle })
    await using _process = plane.startProcess(undefined, undefined, log)
    const text =
      "Error starting pod 'cdi-upload-dv': For more information, request access to cdi-deploy logs from your sysadmin"
    await eventually('it is told on the claim', async () =>
      (await eventsOf(key.namespace)).includes(
        `PersistentVolumeClaim/dv Warning ErrExceededQuota: ${text} (upload-controller)`,
      ),
    )
    const noted = await annotationsOf(key)
    assert.equal(noted[annotations.podPhase], 'Failed')
    assert.equal(noted[annotations.conditionRunning], 'false')
    assert.equal(noted[annotations.conditionRunningReason], 'ErrExceededQuota')
    assert.equal(noted[annotations.conditionRunningMessage], text)
    const wanted = String.raw`pods \"cdi-upload-dv\" is forbidden: exceeded quota: limit, requested`
    assert.ok(lines.join('').includes(wanted), lines.join(''))
    await plane.untilPhase(key, 'UploadScheduled')
    assert.deepEqual(
      (await eventsOf(key.namespace)).filter((event) => event.includes('UploadFailed')),
      [],
      'nothing has failed that will be tried again',
    )
    await quota.raise({ pods: '5' })
    await plane.untilPhase(key, 'UploadReady')
  })
})

describe('a claim that is left alone', () => {
  it('is named in the log in the words that others match, once', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: idle })
    const lines: string[] = []
    await using _process = plane.startProcess(undefined, (_, fields) =>
      lines.push(`{${fields.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')}}`),
    )
    await newClaim(namespace, 'x', {
      annotations: { [annotations.cloneRequest]: 'other/disk', [annotations.podPhase]: 'Succeeded' },
    })
    const wanted = `{"PVC": {"name":"x","namespace":"${namespace}"}, "isUpload": false, "isCloneTarget": true, "isBound": true, "podSucceededFromPVC": true, "deletionTimeStamp set?": false}`
    await eventually('the line', async () => lines.includes(wanted))
    await client.patch(
      kinds.pvc,
      { namespace, name: 'x' },
      { metadata: { labels: { touched: 'yes' } } },
      { type: 'merge' },
    )
    const witness = await newUpload()
    await using _others = new Hands({ client, namespace: witness.namespace, script: smooth })
    await plane.untilPhase(witness, 'Succeeded')
    assert.equal(lines.filter((line) => line === wanted).length, 1)
  })
})

describe('what a resumable upload has made durable', () => {
  it('is asked of the server over mutual TLS, kept on the claim, given to the next pod, and forgotten at the end', async () => {
    const key = await newUpload({ [annotations.usePopulator]: 'false' })
    const podIP = '127.0.85.1'
    let mayEnd = false
    const script: Script = () => [starting, { ...serving, podIP }, ...(mayEnd ? [ended(0, completeWords)] : [])]
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'UploadReady')
    const secret = await client.get(kinds.secret, { ...key, name: 'cdi-upload-dv' })
    const resumption = { id: 'u1', length: 4096, ranges: [[0, 1024]], expires: '2030-01-01T00:00:00Z' }
    const names = new Set<string>()
    const server = createServer(
      {
        key: textIn(secret, 'tls.key'),
        cert: textIn(secret, 'tls.crt'),
        ca: textIn(secret, 'ca.crt'),
        requestCert: true,
        rejectUnauthorized: true,
      },
      ({ socket, url }, response) => {
        names.add(`${url} ${String((socket as TLSSocket).getPeerCertificate().subject.CN)}`)
        response.setHeader('content-type', 'application/json').end(JSON.stringify(resumption))
      },
    )
    await new Promise<void>((resolve) => server.listen(8443, podIP, resolve))
    try {
      await eventually('it stands on the claim', async () => {
        return (await annotationsOf(key))[annotations.uploadResumption] === JSON.stringify(resumption)
      })
      assert.deepEqual([...names], ['/v1beta1/upload-resumption client.upload-server.cdi.kubevirt.io'])
    } finally {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
    const first = await theServer(key.namespace)
    await client.delete(kinds.pod, { ...key, name: first.metadata.name }, { gracePeriodSeconds: 0 })
    await eventually('the next pod knows it', async () => {
      const [pod] = (await client.list(kinds.pod, { namespace: key.namespace })).items
      const env = Object.fromEntries((pod?.spec?.containers[0]?.env ?? []).map(({ name, value }) => [name, value]))
      return pod?.metadata.uid !== first.metadata.uid && env['UPLOAD_RESUMPTION'] === JSON.stringify(resumption)
    })
    mayEnd = true
    await plane.untilPhase(key, 'Succeeded')
    assert.equal((await annotationsOf(key))[annotations.uploadResumption], undefined)
  })
})

describe('a controller that is killed at any write', () => {
  for (const mode of ['true', 'false']) {
    it(`is taken over by the next one with the same outcome (usePopulator ${mode})`, async () => {
      const annotated = { [annotations.usePopulator]: mode }
      const reference = await newUpload(annotated)
      let writes = 0
      {
        await using _hands = new Hands({ client, namespace: reference.namespace, script: smooth })
        await using process = plane.startProcess()
        await plane.untilPhase(reference, 'Succeeded')
        await settled(reference.namespace)
        writes = process.client.writes
      }
      const expected = await remains(reference.namespace)
      assert.ok(writes > 8, `${writes} writes`)
      let deaths = 0
      for (let write = 1; write <= writes; write += 2) {
        const death: Death = { write, when: write % 4 === 1 ? 'before' : 'after' }
        const key = await newUpload(annotated)
        await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
        const first = plane.startProcess(death)
        const work = plane.untilPhase(key, 'Succeeded').then(() => settled(key.namespace))
        await using _work = await deadOrDone(first.client, work)
        await endOrDie(first)
        // The dead hold no lease for ever; this one is not waited for.
        await client.delete(kinds.lease, { namespace: 'cdi', name: 'cdi-controller-leader-election-helper' })
        await using _second = plane.startProcess()
        await plane.untilPhase(key, 'Succeeded')
        await settled(key.namespace)
        assert.deepEqual(await remains(key.namespace), expected, JSON.stringify(death))
        if (!first.client.isDead) continue
        deaths++
        void first.end().catch(() => undefined)
      }
      assert.ok(deaths >= 6, `only ${deaths} controllers died before their work was done`)
    })
  }
})
