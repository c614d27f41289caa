/**
 * Copies from claim to claim, both controllers of them together, against a real API server. Kubelet, provisioner and garbage
 * collector are played by hand (hands.ts), so that every state of the two pods can be had.
 */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { createServer } from 'node:https'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Pod, Secret } from '../../../src/api/kinds.ts'
import { annotations, labels, labelValues, sourcePodName, temporaryPvcName } from '../../../src/api/names.ts'
import { parseClonerEnv } from '../../../src/api/cloner-env.ts'
import { parseUploadEnv } from '../../../src/api/upload-env.ts'
import { cloneTokens } from '../../../src/controllers/clone/tokens.ts'
import type { CloneOrder } from '../../../src/controllers/clone/tokens.ts'
import { systemClock } from '../../../src/kube/clock.ts'
import { silentLog } from '../../../src/log.ts'
import { ensureSigningKey } from '../../../src/tokens/signing-key.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { atWork, ended, Hands, serving, starting } from './hands.ts'
import type { Script, WorkerState } from './hands.ts'
import { limit } from './quota.ts'

const uploadWords = '{"preallocationApplied":false,"message":"Clone Complete"}'
const sourceWords = 'Clone Complete'

let plane: ControlPlane
let client: ControlPlane['client']

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
  await ensureSigningKey({ client, namespace: 'cdi', log: silentLog() })
})
after(() => plane?.[Symbol.asyncDispose]())

interface Key {
  readonly namespace: string
  readonly name: string
}

const isSourcePod = (pod: Pod): boolean => pod.metadata.labels?.[labels.component] === labelValues.cloneSource

/** Undefined: as it usually is. */
type Life = (...pod: Parameters<Script>) => readonly WorkerState[] | undefined

interface Lives {
  readonly source?: Life
  readonly server?: Life
}

/**
 * The two pods of a copy: the server ends when it has been sent to, the source pod after that. A test may keep them from
 * ending, or give a pod another life.
 */
class Course {
  mayEnd = true
  #sent = false
  readonly #lives: Lives

  constructor(lives: Lives = {}) {
    this.#lives = lives
  }

  readonly script: Script = (pod, nth) => {
    if (isSourcePod(pod)) {
      const life = this.#lives.source?.(pod, nth)
      if (life) return life
      this.#sent = true
      return [starting, atWork, ...(this.mayEnd ? [ended(0, sourceWords)] : [])]
    }
    if (!pod.metadata.name.startsWith('cdi-upload-')) return []
    const all: readonly WorkerState[] = this.#sent && this.mayEnd ? [ended(0, uploadWords)] : []
    return this.#lives.server?.(pod, nth) ?? [starting, atWork, serving, ...all]
  }
}

/** A claim as somebody makes it by hand. */
function newClaim(
  key: Key,
  more: { annotations?: Record<string, string>; labels?: Record<string, string>; spec?: object; owner?: object } = {},
): Promise<PersistentVolumeClaim> {
  const { annotations: annotated = {}, labels: labelled = {}, spec = {}, owner } = more
  return client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      ...key,
      annotations: annotated,
      labels: labelled,
      ...(owner ? { ownerReferences: [owner as never] } : {}),
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '64Mi' } },
      storageClassName: 'csi',
      ...spec,
    },
  })
}

/** A claim that is to be copied from `src`, in its namespace unless told. */
function newReceiver(
  key: Key,
  {
    from = { namespace: key.namespace, name: 'src' },
    annotated = {},
    size = '64Mi',
  }: { from?: Key; annotated?: Record<string, string>; size?: string } = {},
): Promise<PersistentVolumeClaim> {
  return newClaim(key, {
    spec: { resources: { requests: { storage: size } } },
    annotations: {
      [annotations.cloneRequest]: `${from.namespace}/${from.name}`,
      [annotations.podRestarts]: '0',
      ...annotated,
    },
  })
}

/** Namespace with a source and a receiver. */
async function newCopy(annotated: Record<string, string> = {}): Promise<Key> {
  const namespace = await plane.newNamespace()
  await newClaim({ namespace, name: 'src' })
  await newReceiver({ namespace, name: 'dst' }, { annotated })
  return { namespace, name: 'dst' }
}

async function noted(key: Key): Promise<Record<string, string>> {
  return (await client.get(kinds.pvc, key))?.metadata.annotations ?? {}
}

async function podsIn(namespace: string): Promise<Pod[]> {
  return (await client.list(kinds.pod, { namespace })).items
}

async function theSourcePod(namespace: string): Promise<Pod> {
  let found: Pod | undefined
  await eventually('there is a source pod', async () => {
    found = (await podsIn(namespace)).find((pod) => isSourcePod(pod) && !pod.metadata.deletionTimestamp)
    return found !== undefined
  })
  return found as Pod
}

/** The copy is complete and nothing of it is left but the claims. */
async function untilComplete(key: Key, sourceNamespace = key.namespace): Promise<void> {
  await eventually('the copy is complete', async () => {
    const claim = await client.get(kinds.pvc, key)
    const pods = [...(await podsIn(key.namespace)), ...(await podsIn(sourceNamespace))]
    const isHeld = claim?.metadata.finalizers?.some((name) => name.startsWith('cdi.kubevirt.io/')) ?? false
    return (
      claim?.metadata.annotations?.[annotations.cloneOf] === 'true' &&
      !isHeld &&
      pods.every(({ metadata }) => !metadata.name.startsWith('cdi-upload-') && !metadata.name.endsWith('-source-pod'))
    )
  })
}

async function eventsOf(namespace: string): Promise<string[]> {
  const { items } = await client.list(kinds.event, { namespace })
  return items.map(
    ({ involvedObject, type, reason, message, source }) =>
      `${involvedObject.name} ${type} ${reason}: ${message} (${source?.component})`,
  )
}

async function untilTold(namespace: string, event: string): Promise<void> {
  await eventually(event, async () => (await eventsOf(namespace)).includes(event))
}

function textIn(secret: Secret | undefined, entry: string): string {
  return Buffer.from(secret?.data?.[entry] ?? '', 'base64').toString()
}

function environmentOf(pod: Pod): Record<string, string | undefined> {
  return Object.fromEntries((pod.spec?.containers[0]?.env ?? []).map(({ name, value }) => [name, value]))
}

/** What a user sees of a copy when all is done; UIDs that differ from run to run are left out. */
async function remains({ namespace, name }: Key): Promise<Record<string, unknown>> {
  const { items: claims } = await client.list(kinds.pvc, { namespace })
  const claim = claims.find(({ metadata }) => metadata.name === name)
  const { items: services } = await client.list(kinds.service, { namespace })
  const text = JSON.stringify({
    claims: claims.map(({ metadata }) => metadata.name),
    pods: (await podsIn(namespace)).map(({ metadata }) => metadata.name),
    services: services.map(({ metadata }) => metadata.name),
    annotations: claim?.metadata.annotations,
    labels: claim?.metadata.labels,
    finalizers: claim?.metadata.finalizers,
  })
  return JSON.parse(
    text.replaceAll(claim?.metadata.uid ?? '-', '<uid>').replaceAll(`${namespace}/`, '<ns>/'),
  ) as Record<string, unknown>
}

/** A pod of somebody that has a claim open for writing. */
async function newWriter(namespace: string, claimName: string): Promise<void> {
  await client.create(kinds.pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'vm', namespace },
    spec: {
      containers: [{ name: 'vm', image: 'vm:1', volumeMounts: [{ name: 'disk', mountPath: '/disk' }] }],
      volumes: [{ name: 'disk', persistentVolumeClaim: { claimName } }],
    },
  })
}

const complete = 'dst Normal CloneSucceeded: Clone Complete (clone-controller)'

describe('a copy', () => {
  it('is made by two pods that trust each other and nobody else, and leaves behind what the recordings show', async () => {
    const key = await newCopy({ [annotations.ownerUid]: 'uid-of-t', [annotations.podPriorityClassName]: '' })
    const { namespace } = key
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace, script: course.script })
    await using _process = plane.startProcess()
    const source = await theSourcePod(namespace)
    await eventually('it is said that it runs', async () => {
      return (await noted(key))[annotations.conditionSourceRunning] === 'true'
    })
    const claim = await client.get(kinds.pvc, key)
    const during = claim?.metadata.annotations ?? {}
    assert.equal(source.metadata.name, sourcePodName(claim?.metadata.uid ?? ''))
    assert.equal(during[annotations.sourceClonePodName], source.metadata.name)
    assert.deepEqual(claim?.metadata.finalizers, ['kubernetes.io/pvc-protection', 'cdi.kubevirt.io/cloneSource'])
    assert.equal(during[annotations.conditionSourceRunningReason], 'Pod is running')

    const server = (await podsIn(namespace)).find((pod) => !isSourcePod(pod))
    assert.deepEqual(
      server?.spec?.volumes?.map(({ name }) => name),
      ['tls-config', 'cdi-data-vol', 'cdi-journal-vol'],
      'no scratch',
    )
    const { clientName, isCloneTarget } = parseUploadEnv(environmentOf(server))
    assert.equal(isCloneTarget, true)
    assert.equal(clientName, `${namespace}/src-${namespace}/dst`)
    assert.equal(during[annotations.uploadClientName], clientName)
    const { uploadUrl, ownerUid } = parseClonerEnv(environmentOf(source))
    assert.equal(ownerUid, 'uid-of-t')
    const host = new URL(uploadUrl).hostname
    assert.equal(
      await peerName({ namespace, server: 'cdi-upload-dst', source: source.metadata.name, host }),
      clientName,
    )

    course.mayEnd = true
    await untilComplete(key)
    assert.deepEqual(await remains(key), {
      claims: ['dst', 'src'],
      pods: [],
      services: [],
      annotations: {
        'cdi.kubevirt.io/ownerUID': 'uid-of-t',
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.message': 'Clone Complete',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.condition.source.running': 'true',
        'cdi.kubevirt.io/storage.condition.source.running.message': 'Clone Complete',
        'cdi.kubevirt.io/storage.condition.source.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
        'cdi.kubevirt.io/storage.pod.priorityclassname': '',
        'cdi.kubevirt.io/storage.pod.ready': 'false',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.sourceClonePodName': '<uid>-source-pod',
        'cdi.kubevirt.io/storage.uploadPodName': 'cdi-upload-dst',
        'cdi.kubevirt.io/uploadClientName': '<ns>/src-<ns>/dst',
        'k8s.io/CloneOf': 'true',
        'k8s.io/CloneRequest': '<ns>/src',
      },
      labels: { app: 'containerized-data-importer' },
      finalizers: ['kubernetes.io/pvc-protection'],
    })
    await untilTold(namespace, complete)
    assert.deepEqual(
      (await eventsOf(namespace)).filter((event) => event.startsWith('dst ')),
      [complete],
      'of uploads nothing is told',
    )
  })

  it('keeps its pods if finished ones are to be retained, and holds the claim no longer', async () => {
    const key = await newCopy({ [annotations.podRetainAfterCompletion]: 'true' })
    await using _hands = new Hands({ client, namespace: key.namespace, script: new Course().script })
    await using _process = plane.startProcess()
    await untilTold(key.namespace, complete)
    await eventually('the claim is free', async () => {
      const { finalizers } = await remains(key)
      return JSON.stringify(finalizers) === '["kubernetes.io/pvc-protection"]'
    })
    assert.equal((await podsIn(key.namespace)).length, 2)
    await client.delete(kinds.pvc, key)
    await eventually('they go with the claim', async () => (await podsIn(key.namespace)).length === 0)
  })

  it('may be one of several of the same source, which may be a receiver itself at other times', async () => {
    const namespace = await plane.newNamespace()
    await newClaim({ namespace, name: 'src' })
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    const names = ['a', 'b', 'c']
    for (const name of names) await newReceiver({ namespace, name })
    await newReceiver({ namespace, name: 'd' }, { from: { namespace, name: 'a' } })
    for (const name of [...names, 'd']) await untilComplete({ namespace, name })
  })

  it('works with names of 160 characters and dots', async () => {
    const namespace = await plane.newNamespace()
    const source = { namespace, name: `${'s'.repeat(80)}.${'s'.repeat(79)}` }
    const key = { namespace, name: `${'t'.repeat(80)}.${'t'.repeat(79)}` }
    await newClaim(source)
    await newReceiver(key, { from: source })
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace, script: course.script })
    await using _process = plane.startProcess()
    const pod = await theSourcePod(namespace)
    const host = new URL(parseClonerEnv(environmentOf(pod)).uploadUrl).hostname
    const server = (await noted(key))[annotations.uploadPodName] ?? ''
    await eventually('the source pod has its Secret', async () => {
      return (await client.get(kinds.secret, { namespace, name: pod.metadata.name })) !== undefined
    })
    assert.equal(
      await peerName({ namespace, server, source: pod.metadata.name, host }),
      `${namespace}/${source.name}-${namespace}/${key.name}`,
    )
    course.mayEnd = true
    await untilComplete(key)
  })
})

/**
 * Lets a source pod's identity meet that of an upload server, as both are in their Secrets: the client's name as the server
 * sees it.
 */
async function peerName({
  namespace,
  server,
  source,
  host,
}: {
  namespace: string
  server: string
  source: string
  host: string
}): Promise<string> {
  const of = async (name: string): Promise<{ key: string; cert: string; ca: string }> => {
    const secret = await client.get(kinds.secret, { namespace, name })
    return { key: textIn(secret, 'tls.key'), cert: textIn(secret, 'tls.crt'), ca: textIn(secret, 'ca.crt') }
  }
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const listener = createServer({ ...(await of(server)), requestCert: true, rejectUnauthorized: true })
  listener.on('secureConnection', (socket: TLSSocket) => resolve(String(socket.getPeerCertificate().subject.CN)))
  listener.on('tlsClientError', reject)
  await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done))
  const { port } = listener.address() as { port: number }
  const socket = connect({ ...(await of(source)), port, host: '127.0.0.1', servername: host }).on('error', reject)
  try {
    return await promise
  } finally {
    socket.destroy()
    listener.close()
  }
}

describe('a source', () => {
  it('that somebody writes to is waited for, which is told to whoever asked, and copied when it lies still', async () => {
    const namespace = await plane.newNamespace()
    await newClaim({ namespace, name: 'src' })
    const dataSourceRef = { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'to-come' }
    const wish = await newClaim({ namespace, name: 'wish' }, { spec: { dataSourceRef } })
    await newWriter(namespace, 'src')
    const key = { namespace, name: temporaryPvcName(wish.metadata.uid) }
    await newReceiver(key, {
      annotated: {
        [annotations.eventSourceKind]: 'PersistentVolumeClaim',
        [annotations.eventSource]: `${namespace}/wish`,
      },
    })
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    const text = `pod ${namespace}/vm using PersistentVolumeClaim src`
    await untilTold(namespace, `wish Warning CloneSourceInUse: ${text} (clone-controller)`)
    assert.equal((await noted(key))[annotations.conditionSourceRunningMessage], text)
    assert.ok(!(await podsIn(namespace)).some(isSourcePod))
    await client.delete(kinds.pod, { namespace, name: 'vm' }, { gracePeriodSeconds: 0 })
    await untilComplete(key)
    const told = (await client.list(kinds.event, { namespace })).items
    assert.equal(told.find(({ reason }) => reason === 'CloneSourceInUse')?.count, 1, 'once')
  })

  it('in use is not told on a claim that did not ask, though an annotation says so', async () => {
    const namespace = await plane.newNamespace()
    const elsewhere = await plane.newNamespace()
    await newClaim({ namespace, name: 'src' })
    await newClaim({ namespace: elsewhere, name: 'victim' })
    await newWriter(namespace, 'src')
    await newReceiver(
      { namespace, name: 'dst' },
      {
        annotated: {
          [annotations.eventSourceKind]: 'PersistentVolumeClaim',
          [annotations.eventSource]: `${elsewhere}/victim`,
        },
      },
    )
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    const text = `pod ${namespace}/vm using PersistentVolumeClaim src`
    await untilTold(namespace, `dst Warning CloneSourceInUse: ${text} (clone-controller)`)
    assert.deepEqual(await eventsOf(elsewhere), [])
  })

  it('is read by a pod beside it, whatever pods elsewhere call themselves', async () => {
    const namespace = await plane.newNamespace()
    const elsewhere = await plane.newNamespace()
    await newClaim({ namespace, name: 'src' })
    const key = { namespace, name: 'dst' }
    const receiver = await newReceiver(key)
    const name = sourcePodName(receiver.metadata.uid)
    await client.create(kinds.pod, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name,
        namespace: elsewhere,
        labels: { [labels.component]: labelValues.cloneSource, [labels.cloneUniqueId]: 'another' },
        annotations: { [annotations.ownerRef]: `${namespace}/dst` },
      },
      spec: { containers: [{ name: 'cdi-clone-source', image: 'mine:1' }] },
    })
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    await untilComplete(key)
    assert.equal(await client.get(kinds.secret, { namespace: elsewhere, name }), undefined)
    assert.notEqual(await client.get(kinds.pod, { namespace: elsewhere, name }), undefined)
  })

  it('that is not there yet is waited for', async () => {
    const namespace = await plane.newNamespace()
    const key = { namespace, name: 'dst' }
    await newReceiver(key)
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    await untilTold(namespace, "dst Warning CloneWithoutSource: The source pvc src doesn't exist (clone-controller)")
    await newClaim({ namespace, name: 'src' })
    await untilComplete(key)
  })

  it('that is still being filled is waited for', async () => {
    const filling = await plane.newDataVolume()
    const { namespace } = filling
    const key = { namespace, name: 'dst' }
    let mayFill = false
    const { script } = new Course()
    const importer: Script = () => [
      starting,
      atWork,
      ...(mayFill ? [ended(0, '{"preallocationApplied":false,"message":"Import Complete"}')] : []),
    ]
    const play: Script = (pod, nth) => (pod.metadata.name.startsWith('importer-') ? importer : script)(pod, nth)
    await using _hands = new Hands({ client, namespace, script: play })
    await using _process = plane.startProcess()
    await plane.untilPhase(filling, 'ImportInProgress')
    await newReceiver(key, { from: filling, size: '71135396' })
    await eventually('it is said why nothing goes on', async () => {
      return (await noted(key))[annotations.conditionSourceRunningReason] === 'ImportPVCNotReady'
    })
    assert.ok(!(await podsIn(namespace)).some(isSourcePod))
    mayFill = true
    await plane.untilPhase(filling, 'Succeeded')
    await untilComplete(key)
  })

  it('that does not fit is refused once, and copied when somebody says that sizes do not matter', async () => {
    const namespace = await plane.newNamespace()
    await newClaim({ namespace, name: 'src' }, { spec: { resources: { requests: { storage: '1Gi' } } } })
    const key = { namespace, name: 'dst' }
    await newReceiver(key)
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    await eventually('it is told', async () =>
      (await eventsOf(namespace)).some((event) =>
        event.startsWith(
          "dst Warning CloneValidationFailed: The clone doesn't meet the validation requirements: target resources requests storage size is smaller than the source ",
        ),
      ),
    )
    assert.ok(!(await podsIn(namespace)).some(isSourcePod))
    const permissive = { metadata: { annotations: { [annotations.permissiveClone]: 'true' } } }
    await client.patch(kinds.pvc, key, permissive, { type: 'merge' })
    await untilComplete(key)
  })
})

describe('a source in another namespace', () => {
  /** A long-lived token as the controller makes it. */
  async function tokenFor(order: CloneOrder, uid: string): Promise<string> {
    const secret = await client.get(kinds.secret, { namespace: 'cdi', name: 'cdi-api-signing-key' })
    const cdiSecrets = { get: () => secret } as never
    return cloneTokens({ caches: { cdiSecrets }, cdiNamespace: 'cdi', clock: systemClock }).extend(order, uid)
  }

  async function scene(source: Parameters<typeof newClaim>[1] = {}): Promise<{ from: Key; key: Key; uid: string }> {
    const from = { namespace: await plane.newNamespace(), name: 'src' }
    const key = { namespace: await plane.newNamespace(), name: 'dst' }
    await newClaim(from, source)
    const { metadata } = await newReceiver(key, { from })
    return { from, key, uid: metadata.uid }
  }

  async function giveToken(key: Key, token: string): Promise<void> {
    const body = { metadata: { annotations: { [annotations.extendedCloneToken]: token } } }
    await client.patch(kinds.pvc, key, body, { type: 'merge' })
  }

  it('is read with a token for this very copy only; the pod that reads is there, the other one here', async () => {
    const { from, key, uid } = await scene()
    const course = new Course()
    course.mayEnd = false
    await using _here = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _there = new Hands({ client, namespace: from.namespace, script: course.script })
    await using _process = plane.startProcess()
    const refusal = (why: string): string =>
      `dst Warning CloneValidationFailed: The clone doesn't meet the validation requirements: ${why} (clone-controller)`
    await untilTold(key.namespace, refusal('token missing'))
    const order: CloneOrder = { source: { kind: 'pvc', ...from }, target: key }
    await giveToken(key, await tokenFor({ ...order, source: { ...order.source, name: 'other' } }, uid))
    await untilTold(key.namespace, refusal('invalid token'))
    await giveToken(key, await tokenFor(order, 'uid-of-a-namesake'))
    await untilTold(key.namespace, refusal('token uid mismatch'))
    assert.deepEqual(await podsIn(from.namespace), [])
    await giveToken(key, await tokenFor(order, uid))
    const pod = await theSourcePod(from.namespace)
    assert.equal(pod.metadata.annotations?.[annotations.ownerRef], `${key.namespace}/dst`)
    course.mayEnd = true
    await untilComplete(key, from.namespace)
    await untilTold(key.namespace, complete)
  })

  it('that stands for a snapshot is read with a token that names the snapshot', async () => {
    const { from, key, uid } = await scene({
      labels: { [labels.component]: labelValues.snapshotCopySource },
      spec: { dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' } },
    })
    const { script } = new Course()
    await using _here = new Hands({ client, namespace: key.namespace, script })
    await using _there = new Hands({ client, namespace: from.namespace, script })
    await using _process = plane.startProcess()
    await giveToken(key, await tokenFor({ source: { kind: 'pvc', ...from }, target: key }, uid))
    await eventually('the token for the claim is of no use', async () => {
      return (await noted(key))[annotations.conditionSourceRunningMessage] === 'invalid token'
    })
    const snapshot = { kind: 'snapshot', namespace: from.namespace, name: 'snap' } as const
    await giveToken(key, await tokenFor({ source: snapshot, target: key }, uid))
    await untilComplete(key, from.namespace)
  })
})

describe('a copy goes on', () => {
  it('when its upload server dies: another one takes its place, the source pod stays, and it counts as a restart', async () => {
    const key = await newCopy()
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    const source = await theSourcePod(key.namespace)
    await eventually('both are at work', async () => {
      return (await noted(key))[annotations.conditionSourceRunning] === 'true'
    })
    await client.delete(kinds.pod, { ...key, name: 'cdi-upload-dst' }, { gracePeriodSeconds: 0 })
    await eventually('there is another server', async () => {
      const { [annotations.podReady]: ready, [annotations.podRestarts]: restarts } = await noted(key)
      return ready === 'true' && restarts === '1'
    })
    assert.equal((await theSourcePod(key.namespace)).metadata.uid, source.metadata.uid)
    course.mayEnd = true
    await untilComplete(key)
    assert.equal((await noted(key))[annotations.podRestarts], '1')
  })

  it('when its source pod fails and is started again, whose last words are told', async () => {
    const key = await newCopy()
    const words = 'the target of the clone was not to be reached for 300 s'
    const failed = { exitCode: 1, message: words, reason: 'Error' }
    let mayEnd = false
    const course = new Course({
      source: () => [
        starting,
        { phase: 'Running', state: { terminated: failed } },
        { ...atWork, restarts: 1, lastState: { terminated: failed } },
        ...(mayEnd ? [ended(0, sourceWords)] : []),
      ],
      server: () => [starting, serving, ...(mayEnd ? [ended(0, uploadWords)] : [])],
    })
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    await untilTold(key.namespace, `dst Warning ErrCloneFailed: ${words} (clone-controller)`)
    await eventually('it stands on the claim while it is tried again', async () => {
      const { [annotations.conditionSourceRunning]: runs, [annotations.conditionSourceRunningMessage]: message } =
        await noted(key)
      return runs === 'true' && message === words
    })
    mayEnd = true
    await untilComplete(key)
    assert.equal((await noted(key))[annotations.conditionSourceRunningMessage], sourceWords)
  })

  it('when its source pod is evicted: another one takes its place', async () => {
    const key = await newCopy()
    const evicted = { exitCode: 137, reason: 'Error', finishedAt: '2026-01-01T00:00:00Z' }
    const course = new Course({
      source: (_, nth) =>
        nth === 0 ? [starting, atWork, { phase: 'Failed', state: { terminated: evicted } }] : undefined,
    })
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    const { name } = (await theSourcePod(key.namespace)).metadata
    await untilComplete(key)
    await eventually('the Secrets of both are gone', async () => {
      return (await client.get(kinds.secret, { ...key, name })) === undefined
    })
  })

  it('when its source pod is deleted by somebody: another one takes its place with a Secret of its own', async () => {
    const key = await newCopy()
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    const first = await theSourcePod(key.namespace)
    const { name } = first.metadata
    await eventually('it runs', async () => (await noted(key))[annotations.conditionSourceRunning] === 'true')
    await client.delete(kinds.pod, { ...key, name }, { gracePeriodSeconds: 0 })
    await eventually('there is another one, and its Secret', async () => {
      const second = await client.get(kinds.pod, { ...key, name })
      const secret = await client.get(kinds.secret, { ...key, name })
      return (
        second !== undefined &&
        second.metadata.uid !== first.metadata.uid &&
        secret?.metadata.ownerReferences?.[0]?.uid === second.metadata.uid
      )
    })
    course.mayEnd = true
    await untilComplete(key)
  })

  it('when the quota of the source pod grows; until then it is told, and the claim says that it failed', async () => {
    const key = await newCopy()
    const { namespace } = key
    const quota = await limit(client, namespace, { hard: { pods: '1' } })
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    await using _process = plane.startProcess()
    const name = sourcePodName((await client.get(kinds.pvc, key))?.metadata.uid ?? '')
    const text = `Error starting pod '${name}': For more information, request access to cdi-deploy logs from your sysadmin`
    await untilTold(namespace, `dst Warning ErrExceededQuota: ${text} (clone-controller)`)
    await eventually('its server is ready', async () => (await noted(key))[annotations.podReady] === 'true')
    const seen = new Set<string>()
    for (let looks = 0; looks < 10; looks++) {
      const told = await noted(key)
      seen.add(
        [
          told[annotations.podPhase],
          told[annotations.podReady],
          told[annotations.conditionSourceRunning],
          told[annotations.conditionSourceRunningReason],
          told[annotations.conditionSourceRunningMessage],
        ].join('|'),
      )
      await delay(50)
    }
    assert.deepEqual([...seen], [`Failed|true|false|ErrExceededQuota|${text}`], 'and it stays so')
    await quota.raise({ pods: '5' })
    await untilComplete(key)
  })
})

describe('a receiver', () => {
  it('that is deleted in the middle takes both pods with it, and the source stays as it was', async () => {
    const key = await newCopy()
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    await eventually(
      'the source pod runs',
      async () => (await noted(key))[annotations.conditionSourceRunning] === 'true',
    )
    const earlier = await client.get(kinds.pvc, { ...key, name: 'src' })
    await client.delete(kinds.pvc, key)
    await eventually('all is gone', async () => {
      return (await client.get(kinds.pvc, key)) === undefined && (await podsIn(key.namespace)).length === 0
    })
    const { metadata, spec } = (await client.get(kinds.pvc, { ...key, name: 'src' })) ?? {}
    assert.deepEqual(
      [metadata?.annotations, metadata?.labels, spec],
      [earlier?.metadata.annotations, earlier?.metadata.labels, earlier?.spec],
    )
  })

  it('that was torn out while no controller ran takes its source pod with it nevertheless', async () => {
    const key = await newCopy()
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    {
      await using _process = plane.startProcess()
      await eventually('the source pod runs', async () => {
        return (await noted(key))[annotations.conditionSourceRunning] === 'true'
      })
    }
    await client.patch(kinds.pvc, key, { metadata: { finalizers: null } }, { type: 'merge' })
    await client.delete(kinds.pvc, key)
    await eventually('the claim is gone', async () => (await client.get(kinds.pvc, key)) === undefined)
    await newClaim(key)
    assert.ok((await podsIn(key.namespace)).some(isSourcePod))
    await using _process = plane.startProcess()
    await eventually('the source pod is gone', async () => !(await podsIn(key.namespace)).some(isSourcePod))
    assert.ok(await client.get(kinds.pvc, key), 'a namesake is none of its business')
  })

  it('that bears a copy is left alone, and named in the log in the words that others match, once', async () => {
    const namespace = await plane.newNamespace()
    await using _hands = new Hands({ client, namespace, script: new Course().script })
    const lines: string[] = []
    await using _process = plane.startProcess(undefined, (_, fields) =>
      lines.push(`{${fields.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')}}`),
    )
    await newClaim({ namespace, name: 'src' })
    await newReceiver(
      { namespace, name: 'x' },
      { annotated: { [annotations.cloneOf]: 'true', [annotations.podPhase]: 'Succeeded' } },
    )
    const wanted = [
      `{"PVC": {"name":"x","namespace":"${namespace}"}, "isUpload": false, "isCloneTarget": true, "isBound": true, "podSucceededFromPVC": true, "deletionTimeStamp set?": false}`,
      `{"PVC": {"name":"x","namespace":"${namespace}"}, "checkPVC(AnnCloneRequest)": true, "NOT has annotation(AnnCloneOf)": false, "isBound": true, "has finalizer?": false}`,
    ]
    await eventually('the lines', async () => wanted.every((line) => lines.includes(line)))
    const touched = { metadata: { labels: { touched: 'yes' } } }
    await client.patch(kinds.pvc, { namespace, name: 'x' }, touched, { type: 'merge' })
    await newReceiver({ namespace, name: 'dst' })
    await untilComplete({ namespace, name: 'dst' })
    for (const line of wanted) assert.equal(lines.filter((other) => other === line).length, 1)
    assert.deepEqual(
      (await eventsOf(namespace)).filter((event) => event.startsWith('x ')),
      [],
    )
  })
})

describe('the certificate of a source pod', () => {
  it('is of the authority of clients, and the pod is told that of servers', async () => {
    const key = await newCopy()
    const course = new Course()
    course.mayEnd = false
    await using _hands = new Hands({ client, namespace: key.namespace, script: course.script })
    await using _process = plane.startProcess()
    const { name, uid } = (await theSourcePod(key.namespace)).metadata
    let secret: Secret | undefined
    await eventually('it has its Secret', async () => {
      secret = await client.get(kinds.secret, { ...key, name })
      return secret !== undefined
    })
    assert.deepEqual(
      secret?.metadata.ownerReferences?.map((owner) => [owner.kind, owner.uid]),
      [['Pod', uid]],
    )
    const signer = await client.get(kinds.secret, { namespace: 'cdi', name: 'cdi-uploadserver-client-signer' })
    const leaf = new X509Certificate(textIn(secret, 'tls.crt'))
    assert.ok(leaf.verify(new X509Certificate(textIn(signer, 'tls.crt')).publicKey))
    const bundle = await client.get(kinds.configMap, { namespace: 'cdi', name: 'cdi-uploadserver-signer-bundle' })
    assert.equal(textIn(secret, 'ca.crt'), bundle?.data?.['ca-bundle.crt'])
  })
})

describe('a controller that is killed at any write of a copy', () => {
  it('is taken over by the next one with the same outcome', async () => {
    let writes = 0
    let expected: Record<string, unknown>
    {
      const key = await newCopy()
      await using _hands = new Hands({ client, namespace: key.namespace, script: new Course().script })
      await using process = plane.startProcess()
      await untilComplete(key)
      await eventually('the Service is gone', async () => (await remains(key))['services']?.toString() === '')
      writes = process.client.writes
      expected = await remains(key)
    }
    assert.ok(writes > 10, `${writes} writes`)
    let deaths = 0
    for (let write = 1; write <= writes; write++) {
      const death: Death = { write, when: 'before' }
      const key = await newCopy()
      await using _hands = new Hands({ client, namespace: key.namespace, script: new Course().script })
      const first = plane.startProcess(death)
      await using _work = await deadOrDone(first.client, untilComplete(key))
      await endOrDie(first)
      // The dead hold no lease for ever; this one is not waited for.
      await client.delete(kinds.lease, { namespace: 'cdi', name: 'cdi-controller-leader-election-helper' })
      await using _second = plane.startProcess()
      await untilComplete(key)
      await eventually('the Service is gone', async () => (await remains(key))['services']?.toString() === '')
      assert.deepEqual(await remains(key), expected, JSON.stringify(death))
      if (!first.client.isDead) continue
      deaths++
      void first.end().catch(() => undefined)
    }
    assert.ok(deaths >= 10, `only ${deaths} controllers died before their work was done`)
  })
})
