/**
 * The DataVolume controller alone with clones, against a real API server. What fills T (the clone populator, or in the direct
 * mode the copy) is played by hand, so that the test says when; admission is not there, so the short tokens are signed here.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../../src/api/kinds.ts'
import { annotations, finalizers } from '../../../src/api/names.ts'
import { cloneTokens } from '../../../src/controllers/clone/tokens.ts'
import { dataVolumeController } from '../../../src/controllers/datavolume/controller.ts'
import { createCaches } from '../../../src/controllers/shared/caches.ts'
import { OwnWrites } from '../../../src/controllers/shared/own-writes.ts'
import { ProgressReader } from '../../../src/controllers/shared/progress.ts'
import { isConflict, isNotFound } from '../../../src/kube/api-error.ts'
import { systemClock } from '../../../src/kube/clock.ts'
import { runController } from '../../../src/kube/controller.ts'
import { EventRecorder } from '../../../src/kube/events.ts'
import { keyOf } from '../../../src/kube/object.ts'
import { silentLog } from '../../../src/log.ts'
import { ensureSigningKey } from '../../../src/tokens/signing-key.ts'
import type { SigningKey } from '../../../src/tokens/signing-key.ts'
import { signToken, verifyToken } from '../../../src/tokens/token.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControllerProcess, ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie, mortal } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { ended, Hands, starting } from './hands.ts'

interface Key {
  readonly namespace: string
  readonly name: string
}

let plane: ControlPlane
let client: ControlPlane['client']
let signingKey: SigningKey

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
  signingKey = await ensureSigningKey({ client, namespace: 'cdi', log: silentLog() })
})
after(() => plane?.[Symbol.asyncDispose]())

const settings = { image: 'importer:1', pullPolicy: 'IfNotPresent', verbosity: 1, installer: {} }

/** A process with the one controller. */
function startProcess(death?: Death): ControllerProcess {
  const stop = new AbortController()
  const { signal } = stop
  const own = mortal(client, death)
  const log = silentLog()
  const clock = systemClock
  const caches = createCaches({ client: own, log, cdiNamespace: 'cdi' })
  const recorderOf = (component: string): EventRecorder => new EventRecorder({ client, component, log, host: 'test' })
  const clones = recorderOf('datavolume-pvc-clone-controller')
  const others = recorderOf('others')
  const spec = dataVolumeController({
    client: own,
    caches,
    log,
    clock,
    ownWrites: new OwnWrites(),
    recorders: { import: others, upload: others, 'pvc-clone': clones, 'snapshot-clone': others },
    claimRecorder: others,
    progress: new ProgressReader({ fetchPage: () => Promise.resolve(''), clock, log }),
    installer: {},
    settings,
    tokens: cloneTokens({ caches, cdiNamespace: 'cdi', clock }),
  })
  const work = Promise.all([caches.start(signal), runController(spec, { log, clock, signal })])
  work.catch(() => undefined)
  const end = async (): Promise<void> => {
    stop.abort(new Error('the test is over'))
    await work
    await Promise.all([clones, others].map((recorder) => recorder[Symbol.asyncDispose]()))
  }
  return { client: own, end, [Symbol.asyncDispose]: end }
}

const claimSpec = (): NonNullable<PersistentVolumeClaim['spec']> => ({
  accessModes: ['ReadWriteOnce'],
  volumeMode: 'Filesystem',
  storageClassName: 'csi',
  resources: { requests: { storage: '71135396' } },
})

/** A bound claim with a disk in it, `src` in a namespace. */
async function makeSource(namespace: string): Promise<PersistentVolumeClaim> {
  const key = { namespace, name: 'src' }
  await client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { ...key, annotations: { [annotations.contentType]: 'kubevirt' } },
    spec: { ...claimSpec(), volumeName: 'pv-of-source' },
  })
  const status = { phase: 'Bound', capacity: { storage: '71135396' } }
  return client.patch<PersistentVolumeClaim>(kinds.pvc, key, { status }, { type: 'merge', subresource: 'status' })
}

/** What the webhook would put on a DataVolume `dv`. */
function shortToken(from: Key, to: string, name = 'dv'): Promise<string> {
  return signToken({
    claims: {
      operation: 'Clone',
      name: from.name,
      namespace: from.namespace,
      resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      params: { targetNamespace: to, targetName: name },
    },
    privateKey: signingKey.privateKey,
    issuer: 'cdi-apiserver',
    lifetimeMs: 300_000,
    now: Date.now(),
  })
}

const sizeless = { ...claimSpec(), resources: {} }

async function makeClone({
  from,
  namespace,
  annotated = {},
  token = true,
  spec = {},
}: {
  from: string
  namespace: string
  annotated?: Record<string, string>
  token?: boolean
  spec?: Partial<DataVolume['spec']>
}): Promise<Key> {
  const source = { namespace: from, name: 'src' }
  const tokens = token ? { [annotations.cloneToken]: await shortToken(source, namespace) } : {}
  await client.create(kinds.dataVolume, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { name: 'dv', namespace, annotations: { ...tokens, ...annotated } },
    spec: {
      source: { pvc: source },
      storage: { ...claimSpec(), resources: { requests: { storage: '64Mi' } } },
      ...spec,
    },
  })
  return { namespace, name: 'dv' }
}

/** Fills each T of a namespace that has its source, and across namespaces its token: what the clone populator does. */
class Populator implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #work: Promise<void>
  /** How each T was cloned that was seen with its source but without a token of its own. */
  readonly unpermitted: string[] = []
  /** It goes no further than this phase. */
  isHeld = false

  constructor(namespace: string) {
    this.#work = this.#run(namespace)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#work
  }

  async #run(namespace: string): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const { items } = await client.list(kinds.pvc, { namespace })
      for (const target of items) {
        try {
          if (target.spec?.dataSourceRef?.kind === 'VolumeCloneSource') await this.#step(target)
        } catch (error) {
          if (!isConflict(error) && !isNotFound(error)) throw error
        }
      }
      await delay(10)
    }
  }

  async #step(target: PersistentVolumeClaim): Promise<void> {
    const { metadata, spec, status } = target
    const said = metadata.annotations ?? {}
    const elsewhere = said[annotations.dataSourceNamespace]
    const source = await client.get(kinds.volumeCloneSource, {
      namespace: elsewhere ?? metadata.namespace ?? '',
      name: spec?.dataSourceRef?.name ?? '',
    })
    const phase = said[annotations.clonePhase]
    if (!source && phase === undefined) return
    if (elsewhere !== undefined && said[annotations.extendedCloneToken] === undefined) {
      this.unpermitted.push(metadata.name)
      return
    }
    if (phase === undefined) {
      await this.#note(target, {
        [annotations.clonePhase]: 'CSIClone',
        [annotations.cloneType]: 'csi-clone',
        ...running('true', '', 'Populator is running'),
      })
    } else if (phase === 'CSIClone' && !this.isHeld) {
      if (status?.phase === 'Bound') {
        await this.#note(target, {
          [annotations.clonePhase]: 'Succeeded',
          [annotations.populatorProgress]: '100.0%',
          ...running('false', 'Clone Complete', 'Completed'),
        })
      } else if (!(await client.get(kinds.pv, { name: `pv-${metadata.uid}` }))) await this.#provision(target)
    }
  }

  async #note({ metadata }: PersistentVolumeClaim, written: Record<string, string>): Promise<void> {
    const { resourceVersion } = metadata
    await client.patch(
      kinds.pvc,
      keyOf({ metadata }),
      { metadata: { resourceVersion, annotations: written } },
      { type: 'merge' },
    )
  }

  async #provision({ metadata: { name, namespace, uid }, spec }: PersistentVolumeClaim): Promise<void> {
    await client.create(kinds.pv, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: `pv-${uid}` },
      spec: {
        accessModes: spec?.accessModes ?? [],
        capacity: { storage: spec?.resources?.requests?.['storage'] ?? '1Mi' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid },
        storageClassName: 'csi',
        csi: { driver: 'csi.example', volumeHandle: uid },
      },
    })
  }
}

function running(value: string, message: string, reason: string): Record<string, string> {
  return {
    [annotations.conditionRunning]: value,
    [annotations.conditionRunningMessage]: message,
    [annotations.conditionRunningReason]: reason,
  }
}

/** Pods that find out sizes see 64Mi. */
const handsOf = (namespace: string): Hands =>
  new Hands({ client, namespace, script: () => [starting, ended(0, '67108864')] })

const conditionsOf = ({ status }: DataVolume): string[] =>
  (status?.conditions ?? []).map(
    ({ type, status: value, reason = '', message = '' }) => `${type}=${value} ${reason}|${message}`,
  )

/** What is left of a clone; UIDs and tokens differ from run to run. */
async function remains(key: Key, from: string): Promise<unknown> {
  const dataVolume = await client.get(kinds.dataVolume, key)
  const target = await client.get(kinds.pvc, key)
  const source = await client.get(kinds.pvc, { namespace: from, name: 'src' })
  const said = Object.entries(target?.metadata.annotations ?? {}).filter(([name]) => !name.endsWith('clone.token'))
  const tokens = Object.keys(target?.metadata.annotations ?? {}).filter((name) => name.endsWith('clone.token'))
  const text = JSON.stringify({
    sources: (await client.list(kinds.volumeCloneSource, { namespace: from })).items.length,
    pods: (await client.list(kinds.pod, { namespace: from })).items.length,
    source: Object.entries(source?.metadata.annotations ?? {}),
    finalizers: dataVolume?.metadata.finalizers ?? [],
    dataVolume: Object.keys(dataVolume?.metadata.annotations ?? {}),
    phase: dataVolume?.status?.phase,
    progress: dataVolume?.status?.progress,
    conditions: dataVolume && conditionsOf(dataVolume),
    target: { annotations: said, tokens, storage: target?.spec?.resources?.requests?.['storage'] },
  })
  return JSON.parse(text.replaceAll(dataVolume?.metadata.uid ?? '-', '<dv>'))
}

/** When the source resource, pods and finalizers are gone. */
async function untilTidy(key: Key, from: string): Promise<void> {
  await eventually('nothing is left behind', async () => {
    const left = (await remains(key, from)) as { sources: number; pods: number; finalizers: unknown[] }
    return left.sources === 0 && left.pods === 0 && left.finalizers.length === 0
  })
}

async function claimsOf(object: DataVolume | PersistentVolumeClaim | undefined): ReturnType<typeof verifyToken> {
  return verifyToken({
    token: object?.metadata.annotations?.[annotations.extendedCloneToken] ?? '',
    publicKey: signingKey.publicKey,
    issuer: 'cdi-deployment',
    now: Date.now(),
  })
}

async function eventsOf(namespace: string): Promise<string[]> {
  const { items } = await client.list(kinds.event, { namespace })
  return items.map(({ type, reason, message, source }) => `${type} ${reason}: ${message} (${source?.component})`)
}

const finished = ['Bound=True Bound|PVC dv Bound', 'Ready=True |', 'Running=False Completed|Clone Complete']

describe('a DataVolume that clones a claim', () => {
  it('of its own namespace succeeds and leaves T alone behind', async () => {
    const namespace = await plane.newNamespace()
    await makeSource(namespace)
    const key = await makeClone({ from: namespace, namespace, token: false })
    await using _hands = handsOf(namespace)
    await using _populator = new Populator(namespace)
    await using _process = startProcess()
    await plane.untilPhase(key, 'Succeeded')
    await untilTidy(key, namespace)
    assert.deepEqual(await remains(key, namespace), {
      sources: 0,
      pods: 0,
      source: [[annotations.contentType, 'kubevirt']],
      finalizers: [],
      dataVolume: [annotations.cloneType, annotations.usePopulator],
      phase: 'Succeeded',
      progress: '100.0%',
      conditions: finished,
      target: {
        annotations: [
          [annotations.clonePhase, 'Succeeded'],
          [annotations.cloneType, 'csi-clone'],
          [annotations.createdForDataVolume, '<dv>'],
          [annotations.conditionRunning, 'false'],
          [annotations.conditionRunningMessage, 'Clone Complete'],
          [annotations.conditionRunningReason, 'Completed'],
          [annotations.contentType, 'kubevirt'],
          [annotations.podRestarts, '0'],
          [annotations.populatorProgress, '100.0%'],
          [annotations.preallocationRequested, 'false'],
          [annotations.usePopulator, 'true'],
        ],
        tokens: [],
        storage: '71135396',
      },
    })
    await eventually('what happened is told', async () => {
      const told = await eventsOf(namespace)
      return [
        `Normal CSICloneInProgress: CSI Volume clone in progress (for pvc ${namespace}/src)`,
        `Normal CloneSucceeded: Successfully cloned from ${namespace}/src into ${namespace}/dv`,
      ].every((text) => told.includes(`${text} (datavolume-pvc-clone-controller)`))
    })
  })

  it('of another namespace holds a finalizer and tokens while it lasts', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await makeSource(from)
    const key = await makeClone({ from, namespace })
    await using _hands = handsOf(namespace)
    await using populator = new Populator(namespace)
    populator.isHeld = true
    await using _process = startProcess()
    const { metadata, ...cloning } = await plane.untilPhase(key, 'CSICloneInProgress')
    assert.deepEqual(metadata.finalizers, [finalizers.dataVolume])
    assert.equal(cloning.status?.claimName, 'dv')
    const target = await client.get(kinds.pvc, key)
    assert.equal(target?.metadata.annotations?.[annotations.dataSourceNamespace], from)
    assert.equal(target.spec?.dataSourceRef?.['namespace' as never], undefined)
    assert.deepEqual((await claimsOf({ metadata } as DataVolume)).params, {
      targetNamespace: namespace,
      targetName: 'dv',
      uid: metadata.uid,
    })
    assert.equal((await claimsOf(target)).params?.['uid'], target.metadata.uid)
    const { items: sources } = await client.list(kinds.volumeCloneSource, { namespace: from })
    assert.deepEqual(
      sources.map((source) => [source.metadata.name, source.metadata.annotations, source.metadata.ownerReferences]),
      [[`volume-clone-source-${metadata.uid}`, { [annotations.ownedByDataVolume]: `${namespace}/dv` }, undefined]],
    )
    populator.isHeld = false
    await plane.untilPhase(key, 'Succeeded')
    await untilTidy(key, from)
    assert.deepEqual(populator.unpermitted, [], 'nobody found a T with its source but without its token')
  })

  for (const [name, token] of [
    ['no token', undefined],
    ['a token for another target', 'other'],
    ['something that is no token', 'junk'],
  ] as const) {
    it(`of another namespace does nothing there with ${name}, and says so`, async () => {
      const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
      await makeSource(from)
      const value =
        token === 'other' ? await shortToken({ namespace: from, name: 'src' }, namespace, 'another') : (token ?? '')
      const annotated = token ? { [annotations.cloneToken]: value } : {}
      const key = await makeClone({ from, namespace, token: false, annotated, spec: { storage: sizeless } })
      await using process = startProcess()
      const expected = { other: 'invalid token', junk: 'error verifying token: ', none: 'token missing' }[
        token ?? 'none'
      ]
      await eventually('it is told', async () => {
        const dataVolume = await client.get(kinds.dataVolume, key)
        return dataVolume !== undefined && (conditionsOf(dataVolume)[0]?.includes(`No PVC found: ${expected}`) ?? false)
      })
      const { writes } = process.client
      await delay(1000)
      assert.equal(process.client.writes, writes, 'it is not written again and again')
      assert.equal((await client.get(kinds.dataVolume, key))?.status?.phase, 'Pending')
      assert.equal(await client.get(kinds.pvc, key), undefined)
      assert.deepEqual((await client.list(kinds.pod, { namespace: from })).items, [])
      assert.deepEqual((await client.list(kinds.volumeCloneSource, { namespace: from })).items, [])
    })
  }

  it('waits for a source that does not exist yet', async () => {
    const namespace = await plane.newNamespace()
    const key = await makeClone({ from: namespace, namespace })
    await using _hands = handsOf(namespace)
    await using _populator = new Populator(namespace)
    await using _process = startProcess()
    const waiting = await plane.untilPhase(key, 'Pending')
    assert.deepEqual(conditionsOf(waiting), [
      "Bound=False CloneWithoutSource|The source pvc src doesn't exist",
      "Ready=False CloneWithoutSource|The source pvc src doesn't exist",
      'Running=False |',
    ])
    assert.equal(waiting.status?.progress, undefined)
    assert.equal(waiting.status?.claimName, undefined)
    await makeSource(namespace)
    const { metadata } = await plane.untilPhase(key, 'Succeeded')
    assert.equal(metadata.annotations?.[annotations.usePopulator], 'true')
  })

  it('follows a DataSource until it has begun, and not afterwards', async () => {
    const namespace = await plane.newNamespace()
    await makeSource(namespace)
    const sourceRef = { kind: 'DataSource', name: 'fedora' }
    const key = await makeClone({ from: namespace, namespace, token: false, spec: { source: undefined, sourceRef } })
    await using _hands = handsOf(namespace)
    await using populator = new Populator(namespace)
    populator.isHeld = true
    await using _process = startProcess()
    const waiting = await plane.untilPhase(key, 'Pending')
    assert.equal(
      conditionsOf(waiting)[0],
      'Bound=False NotFound|No PVC found: datasources.cdi.kubevirt.io "fedora" not found',
    )
    const dataSource = { namespace, name: 'fedora' }
    await client.create(kinds.dataSource, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'DataSource',
      metadata: { ...dataSource, labels: { 'instancetype.kubevirt.io/default-preference': 'fedora' } },
      spec: { source: { pvc: { namespace, name: 'not-yet' } } },
    })
    await eventually('the source of the DataSource is missed', async () => {
      const dataVolume = await client.get(kinds.dataVolume, key)
      return conditionsOf(dataVolume as DataVolume)[0]?.includes("The source pvc not-yet doesn't exist") ?? false
    })
    const pvc = (name: string): object => ({ spec: { source: { pvc: { namespace, name } } } })
    await client.patch(kinds.dataSource, dataSource, pvc('src'), { type: 'merge' })
    await plane.untilPhase(key, 'CSICloneInProgress')
    await client.patch(kinds.dataSource, dataSource, pvc('next'), { type: 'merge' })
    populator.isHeld = false
    const { spec, metadata } = await plane.untilPhase(key, 'Succeeded')
    assert.equal(spec.source, undefined)
    assert.equal(metadata.labels?.['instancetype.kubevirt.io/default-preference'], 'fedora')
    const succeeded = `CloneSucceeded: Successfully cloned from ${namespace}/src into ${namespace}/dv`
    await eventually('the source that was cloned is told', async () =>
      (await eventsOf(namespace)).some((text) => text.includes(succeeded)),
    )
    await client.delete(kinds.dataSource, dataSource)
    await untilTidy(key, namespace)
    assert.equal((await client.get(kinds.dataVolume, key))?.status?.progress, '100.0%')
  })

  it('without a size has it found out once', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    const { metadata: source } = await makeSource(from)
    const key = await makeClone({ from, namespace, spec: { storage: sizeless } })
    await using _hands = handsOf(namespace)
    await using _process = startProcess()
    const scheduled = await plane.untilPhase(key, 'CloneScheduled')
    const text = `Cloning from ${from}/src into ${namespace}/dv scheduled`
    assert.deepEqual(conditionsOf(scheduled), [
      `Bound=False CloneScheduled|${text}`,
      `Ready=False CloneScheduled|${text}`,
      'Running=False |',
    ])
    const pod = await client.get(kinds.pod, { namespace: from, name: `size-detection-${source.uid}` })
    assert.equal(pod?.metadata.annotations?.[annotations.ownedByDataVolume], `${namespace}/dv`)
    await using _there = handsOf(from)
    await using _populator = new Populator(namespace)
    await plane.untilPhase(key, 'Succeeded')
    await untilTidy(key, from)
    const target = await client.get(kinds.pvc, key)
    assert.equal(target?.spec?.resources?.requests?.['storage'], '71135396')
    assert.equal(target.metadata.annotations?.[annotations.permissiveClone], 'true')
    const remembers = (await client.get(kinds.pvc, { namespace: from, name: 'src' }))?.metadata.annotations
    assert.equal(remembers?.[annotations.virtualSize], '67108864')

    const next = await plane.newNamespace()
    const second = await makeClone({ from, namespace: next, spec: { storage: sizeless } })
    await using _handsThere = handsOf(next)
    await using _populatorThere = new Populator(next)
    await plane.untilPhase(second, 'Succeeded')
    assert.equal(
      (await eventsOf(next)).some((told) => told.includes('SizeDetectionPodCreated')),
      false,
    )
  })

  it('takes all with it when it is deleted mid-way', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await makeSource(from)
    const key = await makeClone({ from, namespace })
    await using _hands = handsOf(namespace)
    await using populator = new Populator(namespace)
    populator.isHeld = true
    await using _process = startProcess()
    await plane.untilPhase(key, 'CSICloneInProgress')
    await client.delete(kinds.dataVolume, key)
    await eventually('it is gone', async () => (await client.get(kinds.dataVolume, key)) === undefined)
    assert.deepEqual((await client.list(kinds.volumeCloneSource, { namespace: from })).items, [])
    await eventually('T is gone', async () => (await client.get(kinds.pvc, key)) === undefined)
  })

  it('leaves nothing behind although somebody took its finalizer', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await makeSource(from)
    const key = await makeClone({ from, namespace })
    await using populator = new Populator(namespace)
    populator.isHeld = true
    {
      await using _process = startProcess()
      await plane.untilPhase(key, 'CSICloneInProgress')
    }
    await client.patch(kinds.dataVolume, key, { metadata: { finalizers: null } }, { type: 'merge' })
    await client.delete(kinds.dataVolume, key)
    assert.equal((await client.list(kinds.volumeCloneSource, { namespace: from })).items.length, 1)
    await using _process = startProcess()
    await eventually('the source resource is gone', async () => {
      return (await client.list(kinds.volumeCloneSource, { namespace: from })).items.length === 0
    })
  })

  it('clones again when T is deleted after the end', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await makeSource(from)
    const key = await makeClone({ from, namespace })
    await using _hands = handsOf(namespace)
    await using _populator = new Populator(namespace)
    await using _process = startProcess()
    await plane.untilPhase(key, 'Succeeded')
    await untilTidy(key, from)
    const first = await client.get(kinds.pvc, key)
    await client.delete(kinds.pvc, key)
    await eventually('another T is filled', async () => {
      const second = await client.get(kinds.pvc, key)
      return (
        second !== undefined &&
        second.metadata.uid !== first?.metadata.uid &&
        second.metadata.annotations?.[annotations.clonePhase] === 'Succeeded'
      )
    })
    await plane.untilPhase(key, 'Succeeded')
    await untilTidy(key, from)
  })

  it('is done at once when its claim was brought from elsewhere', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { name: 'dv', namespace, annotations: { [annotations.populatedFor]: 'dv' } },
      spec: claimSpec(),
    })
    const key = await makeClone({ from, namespace, token: false })
    await using _hands = handsOf(namespace)
    await using _process = startProcess()
    await plane.untilPhase(key, 'Succeeded')
    await eventually('it is noted', async () => {
      const { metadata } = (await client.get(kinds.dataVolume, key)) as DataVolume
      return metadata.annotations?.[annotations.prePopulated] === 'dv'
    })
    const { metadata, status } = (await client.get(kinds.dataVolume, key)) as DataVolume
    assert.equal(status?.progress, 'N/A')
    assert.equal(metadata.annotations?.[annotations.cloneType], undefined)
    assert.equal(metadata.finalizers, undefined)
  })

  it('is copied into directly when it is told to', async () => {
    const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
    await makeSource(from)
    const key = await makeClone({ from, namespace, annotated: { [annotations.usePopulator]: 'false' } })
    await using _hands = handsOf(namespace)
    await using _process = startProcess()
    const { metadata } = await plane.untilPhase(key, 'CloneScheduled')
    assert.equal(metadata.finalizers, undefined)
    assert.equal(metadata.annotations?.[annotations.cloneType], 'copy')
    await eventually('T has its token', async () => {
      const target = await client.get(kinds.pvc, key)
      return target?.metadata.annotations?.[annotations.extendedCloneToken] !== undefined
    })
    const target = (await client.get(kinds.pvc, key)) as PersistentVolumeClaim
    assert.equal(target.metadata.annotations?.['k8s.io/CloneRequest'], `${from}/src`)
    assert.equal((await claimsOf(target)).params?.['uid'], target.metadata.uid)
    const reach = async (podPhase: string, phase: string): Promise<void> => {
      const written = { metadata: { annotations: { [annotations.podPhase]: podPhase } } }
      await client.patch(kinds.pvc, key, written, { type: 'merge' })
      await plane.untilPhase(key, phase)
    }
    await reach('Running', 'CloneInProgress')
    await reach('Succeeded', 'Succeeded')
    assert.deepEqual((await client.list(kinds.volumeCloneSource, { namespace: from })).items, [])
    await eventually('why it is a copy is told', async () =>
      (await eventsOf(namespace)).some((text) => text.startsWith('Warning NoPopulator: In tree storage class')),
    )
  })
})

describe('a controller that is killed at any write of a clone', () => {
  it('is taken over by the next one with the same outcome', async () => {
    const begin = async (): Promise<{ key: Key; from: string; world: AsyncDisposableStack }> => {
      const [from, namespace] = [await plane.newNamespace(), await plane.newNamespace()]
      await makeSource(from)
      const world = new AsyncDisposableStack()
      for (const hands of [handsOf(from), handsOf(namespace), new Populator(namespace)]) world.use(hands)
      return { key: await makeClone({ from, namespace, spec: { storage: sizeless } }), from, world }
    }
    const finish = async (key: Key, from: string): Promise<void> => {
      await plane.untilPhase(key, 'Succeeded')
      await untilTidy(key, from)
    }
    let writes = 0
    const reference = await begin()
    {
      await using _world = reference.world
      await using process = startProcess()
      await finish(reference.key, reference.from)
      writes = process.client.writes
    }
    const expected = await remains(reference.key, reference.from)
    assert.ok(writes > 8, `${writes} writes`)
    const rename = (seen: unknown, names: Key, from: string): string =>
      JSON.stringify(seen).replaceAll(from, '<from>').replaceAll(names.namespace, '<to>')
    let deaths = 0
    for (let write = 1; write <= writes; write++) {
      for (const when of ['before', 'after'] as const) {
        const { key, from, world } = await begin()
        await using _world = world
        const first = startProcess({ write, when })
        await using _work = await deadOrDone(first.client, finish(key, from))
        await endOrDie(first)
        await using _second = startProcess()
        await finish(key, from)
        assert.equal(
          rename(await remains(key, from), key, from),
          rename(expected, reference.key, reference.from),
          JSON.stringify({ write, when }),
        )
        if (!first.client.isDead) continue
        deaths++
        void first.end().catch(() => undefined)
      }
    }
    assert.ok(deaths > 12, `only ${deaths} controllers died before their work was done`)
  })
})
