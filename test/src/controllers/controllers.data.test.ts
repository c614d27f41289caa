/**
 * All controllers of imports together, against a real API server. Kubelet, provisioner and garbage collector are played by
 * hand (hands.ts), so that every state of a worker can be had.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { completeWords } from './fixtures.ts'
import { atWork, ended, Hands, starting } from './hands.ts'
import type { Script } from './hands.ts'

const notFound = 'Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found'
const mismatch =
  'Unable to process data: checksum validation failed: checksum mismatch: expected md5:0, calculated md5:1'

let plane: ControlPlane
let client: ControlPlane['client']
const startProcess: ControlPlane['startProcess'] = (...args) => plane.startProcess(...args)
const newDataVolume: ControlPlane['newDataVolume'] = (facts) => plane.newDataVolume(facts)
const untilPhase: ControlPlane['untilPhase'] = (key, phase) => plane.untilPhase(key, phase)

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
})
after(() => plane?.[Symbol.asyncDispose]())

/** What a user sees of a namespace when all is done; names and UIDs that differ from run to run are left out. */
async function remains(namespace: string): Promise<unknown> {
  const target = await client.get(kinds.pvc, { namespace, name: 'dv' })
  const uids = [target?.metadata.uid, ...(target?.metadata.ownerReferences ?? []).map(({ uid }) => uid)]
  const names = async (
    kind: typeof kinds.pvc | typeof kinds.pod | typeof kinds.volumeImportSource,
  ): Promise<string[]> =>
    (await client.list<never>(kind as never, { namespace })).items.map(
      ({ metadata }: { metadata: { name: string } }) => metadata.name,
    )
  const dataVolume = await client.get(kinds.dataVolume, { namespace, name: 'dv' })
  const text = JSON.stringify({
    claims: await names(kinds.pvc),
    pods: await names(kinds.pod),
    sources: await names(kinds.volumeImportSource),
    annotations: Object.entries(target?.metadata.annotations ?? {}),
    labels: Object.entries(target?.metadata.labels ?? {}),
    phase: target?.status?.phase,
    dataVolume: dataVolume?.metadata.annotations,
    status: {
      ...dataVolume?.status,
      conditions: dataVolume?.status?.conditions?.map(({ type, status, reason, message }) => [
        type,
        status,
        reason,
        message,
      ]),
    },
  })
  let shown = text
  uids.forEach((uid, index) => {
    if (uid) shown = shown.replaceAll(uid, `<uid ${index}>`)
  })
  return JSON.parse(shown)
}

const smooth: Script = () => [starting, atWork, ended(0, completeWords)]

const finished = (progress: string): unknown => ({
  claimName: 'dv',
  phase: 'Succeeded',
  progress,
  conditions: [
    ['Bound', 'True', 'Bound', 'PVC dv Bound'],
    ['Ready', 'True', null, null],
    ['Running', 'False', 'Completed', 'Import Complete'],
  ],
})

describe('the controllers of imports', () => {
  it('fill a claim through P and leave behind what the recordings show', async () => {
    const key = await newDataVolume()
    await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
    await using _process = startProcess()
    await untilPhase(key, 'Succeeded')
    await eventually('P, pod and source are gone', async () => {
      const left = (await remains(key.namespace)) as { claims: string[]; pods: string[]; sources: string[] }
      return left.claims.length === 1 && left.pods.length === 0 && left.sources.length === 0
    })
    assert.deepEqual(await remains(key.namespace), {
      claims: ['dv'],
      pods: [],
      sources: [],
      annotations: [
        ['cdi.kubevirt.io/createdForDataVolume', '<uid 1>'],
        ['cdi.kubevirt.io/storage.condition.running', 'false'],
        ['cdi.kubevirt.io/storage.condition.running.message', 'Import Complete'],
        ['cdi.kubevirt.io/storage.condition.running.reason', 'Completed'],
        ['cdi.kubevirt.io/storage.contentType', 'kubevirt'],
        ['cdi.kubevirt.io/storage.pod.phase', 'Succeeded'],
        ['cdi.kubevirt.io/storage.pod.restarts', '0'],
        ['cdi.kubevirt.io/storage.pod.schedulable', 'true'],
        ['cdi.kubevirt.io/storage.populator.progress', '100.0%'],
        ['cdi.kubevirt.io/storage.populator.pvcPrime', 'prime-<uid 0>'],
        ['cdi.kubevirt.io/storage.preallocation.requested', 'false'],
        ['cdi.kubevirt.io/storage.usePopulator', 'true'],
      ],
      labels: [
        ['alerts.k8s.io/KubePersistentVolumeFillingUp', 'disabled'],
        ['app', 'containerized-data-importer'],
        ['app.kubernetes.io/component', 'storage'],
        ['app.kubernetes.io/managed-by', 'cdi-controller'],
      ],
      phase: 'Bound',
      dataVolume: { 'cdi.kubevirt.io/storage.usePopulator': 'true' },
      status: finished('100.0%'),
    })
  })

  it('fill a claim directly when told to', async () => {
    const key = await newDataVolume({ annotated: { [annotations.usePopulator]: 'false' } })
    await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
    await using _process = startProcess()
    const { status } = await untilPhase(key, 'Succeeded')
    assert.equal(status?.progress, '100.0%')
    const target = await client.get(kinds.pvc, key)
    assert.equal(target?.metadata.annotations?.[annotations.importPodName], 'importer-dv')
    assert.equal(target.spec?.dataSourceRef, undefined)
  })

  it('go on with a worker that fails, and count', async () => {
    const key = await newDataVolume()
    const failed = ended(1, notFound).state
    const script: Script = () => [
      starting,
      atWork,
      ended(1, notFound),
      { phase: 'Running', state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: failed ?? {}, restarts: 3 },
    ]
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = startProcess()
    await eventually('the failure is told', async () => {
      const { status } = (await client.get(kinds.dataVolume, key)) ?? {}
      const running = status?.conditions?.find(({ type }) => type === 'Running')
      return status?.phase === 'ImportInProgress' && running?.message === notFound && status.restartCount === 3
    })
    // They are written beside the status, and not in its turn.
    await eventually('the events are told', async () => {
      const { items } = await client.list(kinds.event, { namespace: key.namespace })
      const told = items.map(({ involvedObject, type, reason }) => `${involvedObject.kind} ${type} ${reason}`)
      assert.ok(told.includes('DataVolume Warning Error'), told.join('\n'))
      assert.ok(told.includes('PersistentVolumeClaim Warning ErrImportFailed'), told.join('\n'))
      return true
    })
  })

  it('stop at a wrong checksum', async () => {
    const key = await newDataVolume()
    const script: Script = () => [starting, atWork, ended(0, JSON.stringify({ message: mismatch }))]
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = startProcess()
    const { status } = await untilPhase(key, 'Failed')
    assert.deepEqual(
      status?.conditions?.map(({ type, status: value, reason = '' }) => `${type} ${value} ${reason}`).slice(1),
      ['Ready False ', 'Running False ChecksumError'],
    )
    await eventually(
      'the pod is gone',
      async () => (await client.list(kinds.pod, { namespace: key.namespace })).items.length === 0,
    )
    await delay(500)
    assert.deepEqual((await client.list(kinds.pod, { namespace: key.namespace })).items, [], 'and none follows')
  })

  it('give a worker the scratch volume that it asks for', async () => {
    const key = await newDataVolume()
    let scratchClaims: string[] = []
    const script: Script = (_, nth) => [
      starting,
      atWork,
      nth === 0
        ? ended(0, '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"x"}')
        : ended(0, completeWords),
    ]
    await using _hands = new Hands({ client, namespace: key.namespace, script })
    await using _process = startProcess()
    const watching = (async () => {
      while (scratchClaims.length === 0) {
        const { items } = await client.list(kinds.pvc, { namespace: key.namespace })
        scratchClaims = items.map(({ metadata }) => metadata.name).filter((name) => name.endsWith('-scratch'))
        await delay(10)
      }
    })()
    await untilPhase(key, 'Succeeded')
    await watching
    const target = await client.get(kinds.pvc, key)
    assert.deepEqual(scratchClaims, [`prime-${target?.metadata.uid}-scratch`])
    await eventually('the scratch claim is gone', async () => {
      const { items } = await client.list(kinds.pvc, { namespace: key.namespace })
      return items.length === 1
    })
  })

  it('make the claim anew and import again when it is deleted', async () => {
    const key = await newDataVolume()
    await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
    await using _process = startProcess()
    await untilPhase(key, 'Succeeded')
    const first = await client.get(kinds.pvc, key)
    await client.delete(kinds.pvc, key)
    await eventually('another claim is filled', async () => {
      const second = await client.get(kinds.pvc, key)
      const { status } = (await client.get(kinds.dataVolume, key)) ?? {}
      return (
        second !== undefined &&
        second.metadata.uid !== first?.metadata.uid &&
        second.status?.phase === 'Bound' &&
        status?.phase === 'Succeeded'
      )
    })
  })

  it('adopt a claim that was there before, as it is', async () => {
    const key = await newDataVolume({ annotated: { [annotations.allowClaimAdoption]: 'true' } })
    const made = await client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: key,
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'csi' },
    })
    await using _process = startProcess()
    const { status, metadata } = await untilPhase(key, 'Succeeded')
    assert.equal(status?.progress, 'N/A')
    const target = await client.get(kinds.pvc, key)
    assert.equal(target?.metadata.uid, made.metadata.uid)
    assert.equal(target.metadata.ownerReferences?.[0]?.uid, metadata.uid)
    assert.deepEqual((await client.list(kinds.pod, { namespace: key.namespace })).items, [])
  })

  it('serve claims that were annotated by hand', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: smooth })
    await using _process = startProcess()
    await client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: 'bare',
        namespace,
        annotations: { [annotations.importEndpoint]: 'http://images.example/x.img' },
      },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } }, storageClassName: 'csi' },
    })
    await eventually('the claim is filled', async () => {
      const bare = await client.get(kinds.pvc, { namespace, name: 'bare' })
      return bare?.metadata.annotations?.[annotations.podPhase] === 'Succeeded'
    })
    const bare = await client.get(kinds.pvc, { namespace, name: 'bare' })
    assert.equal(bare?.metadata.labels?.['app'], 'containerized-data-importer')
  })
})

describe('a controller that is killed at any write', () => {
  for (const mode of ['true', 'false']) {
    it(`is taken over by the next one with the same outcome (usePopulator ${mode})`, async () => {
      const annotated = { [annotations.usePopulator]: mode }
      const reference = await newDataVolume({ annotated })
      let writes = 0
      {
        await using _hands = new Hands({ client, namespace: reference.namespace, script: smooth })
        await using process = startProcess()
        await untilPhase(reference, 'Succeeded')
        await settled(reference.namespace)
        writes = process.client.writes
      }
      const expected = await remains(reference.namespace)
      assert.ok(writes > 5, `${writes} writes`)
      let deaths = 0
      for (let write = 1; write <= writes; write += 2) {
        const death: Death = { write, when: write % 4 === 1 ? 'before' : 'after' }
        const key = await newDataVolume({ annotated })
        await using _hands = new Hands({ client, namespace: key.namespace, script: smooth })
        const first = startProcess(death)
        const work = untilPhase(key, 'Succeeded').then(() => settled(key.namespace))
        await using _work = await deadOrDone(first.client, work)
        await endOrDie(first)
        // The dead hold no lease for ever; this one is not waited for.
        await client.delete(kinds.lease, { namespace: 'cdi', name: 'cdi-controller-leader-election-helper' })
        await using _second = startProcess()
        await untilPhase(key, 'Succeeded')
        await settled(key.namespace)
        assert.deepEqual(await remains(key.namespace), expected, JSON.stringify(death))
        if (!first.client.isDead) continue
        deaths++
        void first.end().catch(() => undefined)
      }
      assert.ok(deaths >= 4, `only ${deaths} controllers died before their work was done`)
    })
  }

  async function settled(namespace: string): Promise<void> {
    await eventually('only the claim is left', async () => {
      const left = (await remains(namespace)) as { claims: string[]; pods: string[]; sources: string[] }
      return left.claims.length === 1 && left.pods.length === 0 && left.sources.length === 0
    })
  }
})
