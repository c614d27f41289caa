/**
 * The clone populator among all controllers, against a real API server. Kubelet, provisioner, snapshotter and garbage collector
 * are played by hand, so that every state of a clone can be had.
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:https'
import { after, before, describe, it } from 'node:test'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Secret } from '../../../src/api/kinds.ts'
import { annotations, labels } from '../../../src/api/names.ts'
import { selfSigned } from '../../../src/certs/self-signed.ts'
import type { Kind, KubeObject, NewObject } from '../../../src/kube/object.ts'
import { ensureSigningKey, signingKeyFiles, signingKeySecretName } from '../../../src/tokens/signing-key.ts'
import { silentLog } from '../../../src/log.ts'
import { forgeToken } from '../../fixtures/upload-tokens.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { snapshotClass } from './clone/clone-fixtures.ts'
import { storageClass } from './fixtures.ts'
import { atWork, ended, Hands, madeOf, serving, starting } from './hands.ts'
import type { Script } from './hands.ts'
import { limit } from './quota.ts'
import { installSnapshots, SnapshotHands } from './snapshot-hands.ts'

let plane: ControlPlane
let client: ControlPlane['client']
let signingKeyPem = ''

/** One class for each way of cloning, all of one driver; `delayed` waits for a consumer. */
const classes = { snapshot: 'by-snapshot', 'csi-clone': 'by-storage', copy: 'by-copy', delayed: 'delayed' } as const

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
  await installSnapshots(client)
  await client.create(kinds.volumeSnapshotClass, fresh(snapshotClass('snapclass')))
  for (const [strategy, name] of Object.entries(classes)) {
    const annotated = { [annotations.cloneStrategy]: strategy === 'delayed' ? 'csi-clone' : strategy }
    const made = storageClass({ name, annotated, wffc: strategy === 'delayed' })
    await client.create(kinds.storageClass, {
      ...fresh(made),
      allowVolumeExpansion: true,
    })
  }
  await ensureSigningKey({ client, namespace: 'cdi', log: silentLog() })
  const secret = await client.get(kinds.secret, { namespace: 'cdi', name: signingKeySecretName })
  signingKeyPem = textIn(secret, signingKeyFiles.privateKey)
  await using _process = plane.startProcess()
  for (const name of Object.values(classes)) {
    await eventually(`the StorageProfile of ${name}`, async () => {
      return (await client.get(kinds.storageProfile, { name }))?.status?.cloneStrategy !== undefined
    })
  }
})
after(() => plane?.[Symbol.asyncDispose]())

function textIn(secret: Secret | undefined, key: string): string {
  return Buffer.from(secret?.data?.[key] ?? '', 'base64').toString()
}

/** An object without what the API server gives. */
function fresh<T extends KubeObject>(object: T): NewObject<T> {
  const { name, annotations: annotated = {} } = object.metadata
  return { ...object, metadata: { name, annotations: annotated } }
}

/** The pods of a copy: the receiver ends once the source pod was there. */
function smooth(): Script {
  let isSent = false
  return ({ metadata: { name } }) => {
    if (name.startsWith('prep-')) return [starting, atWork, ended(0, '')]
    if (name.endsWith('-source-pod')) {
      isSent = true
      return [starting, atWork, ended(0, 'Clone Complete')]
    }
    const words = '{"preallocationApplied":false,"message":"Clone Complete"}'
    return [starting, serving, ...(isSent ? [ended(0, words)] : [])]
  }
}

/** Whatever has to be played in a namespace; with `script`, differently. */
function playing(namespace: string, script: Script = smooth()): AsyncDisposable {
  const stack = new AsyncDisposableStack()
  stack.use(new Hands({ client, namespace, script, delayed: [classes.delayed] }))
  stack.use(new SnapshotHands({ client, namespace }))
  return stack
}

interface Clone {
  readonly namespace: string
  /** Of source and temporary objects. */
  readonly sourceNamespace: string
}

interface CloneFacts {
  readonly storageClassName: string
  readonly size?: string
  readonly annotated?: Record<string, string>
  readonly crossNamespace?: boolean
  /** A snapshot is cloned instead of a claim. */
  readonly ofSnapshot?: boolean
  readonly volumeMode?: 'Block' | 'Filesystem'
}

/** A source claim `src`, a VolumeCloneSource `vcs` of it, and a claim `t` to be filled from that. */
async function newClone(facts: CloneFacts): Promise<Clone> {
  const { storageClassName, size = '64Mi', annotated = {}, crossNamespace = false, ofSnapshot = false } = facts
  const sourceNamespace = await plane.newNamespace()
  const namespace = crossNamespace ? await plane.newNamespace() : sourceNamespace
  await newClaim(sourceNamespace, 'src', { storageClassName, size: '64Mi' })
  if (ofSnapshot) {
    await client.create(kinds.volumeSnapshot, {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshot',
      metadata: { name: 'snap', namespace: sourceNamespace },
      spec: { source: { persistentVolumeClaimName: 'src' }, volumeSnapshotClassName: 'snapclass' },
    })
  }
  await newCloneSource(sourceNamespace, ofSnapshot)
  const token = crossNamespace
    ? {
        [annotations.dataSourceNamespace]: sourceNamespace,
        [annotations.cloneToken]: await forgeToken({
          privateKeyPem: signingKeyPem,
          namespace: sourceNamespace,
          name: 'src',
          operation: 'Clone',
          params: { targetNamespace: namespace, targetName: 't' },
        }),
      }
    : {}
  await newTarget(namespace, { ...facts, size, annotated: { ...annotated, ...token } })
  return { namespace, sourceNamespace }
}

function newCloneSource(namespace: string, ofSnapshot = false): Promise<unknown> {
  return client.create(kinds.volumeCloneSource, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeCloneSource',
    metadata: { name: 'vcs', namespace },
    spec: {
      source: ofSnapshot
        ? { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' }
        : { kind: 'PersistentVolumeClaim', name: 'src' },
    },
  })
}

function newTarget(
  namespace: string,
  { storageClassName, size = '64Mi', annotated = {}, volumeMode }: Omit<CloneFacts, 'crossNamespace' | 'ofSnapshot'>,
): Promise<unknown> {
  return newClaim(namespace, 't', {
    storageClassName,
    size,
    annotated,
    ...(volumeMode ? { volumeMode } : {}),
    dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'vcs' },
  })
}

function newClaim(
  namespace: string,
  name: string,
  {
    size,
    annotated = {},
    ...spec
  }: { size: string; annotated?: Record<string, string> } & NonNullable<PersistentVolumeClaim['spec']>,
): Promise<unknown> {
  return client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace, annotations: annotated },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: size } }, ...spec },
  })
}

async function targetOf({ namespace }: Clone): Promise<PersistentVolumeClaim> {
  const target = await client.get(kinds.pvc, { namespace, name: 't' })
  assert.ok(target)
  return target
}

async function notes(clone: Clone): Promise<Record<string, string>> {
  return (await targetOf(clone)).metadata.annotations ?? {}
}

async function untilSaid(clone: Clone, phase: string): Promise<void> {
  let last: unknown
  try {
    await eventually(`phase ${phase}`, async () => {
      last = await notes(clone)
      return (last as Record<string, string>)[annotations.clonePhase] === phase
    })
  } catch (error) {
    throw new Error(`T says: ${JSON.stringify(last)}`, { cause: error })
  }
}

/** What is temporary, in the namespace of the source. */
async function temporaries({ sourceNamespace }: Clone): Promise<string[]> {
  const temporaryKinds: readonly Kind[] = [kinds.pvc, kinds.pod, kinds.volumeSnapshot]
  const all = await Promise.all(
    temporaryKinds.map(async (kind) => {
      const { items } = await client.list(kind, { namespace: sourceNamespace })
      return items.map(({ metadata: { name } }) => `${kind.kind} ${name}`)
    }),
  )
  const lasting = ['PersistentVolumeClaim src', 'PersistentVolumeClaim t', 'VolumeSnapshot snap']
  return all.flat().filter((name) => !lasting.includes(name))
}

/** T is served, and nothing temporary is left. */
async function settled(clone: Clone): Promise<void> {
  await untilSaid(clone, 'Succeeded')
  let left: unknown
  try {
    await eventually('nothing temporary is left', async () => {
      const { metadata } = await targetOf(clone)
      left = [await temporaries(clone), metadata.finalizers]
      return (
        (await temporaries(clone)).length === 0 &&
        metadata.finalizers?.some((finalizer) => finalizer.startsWith('cdi.')) !== true
      )
    })
  } catch (error) {
    throw new Error(`left: ${JSON.stringify(left)}`, { cause: error })
  }
}

/** What a user sees when all is done; names and UIDs that differ from run to run are left out. */
async function remains(clone: Clone): Promise<Record<string, unknown>> {
  const { metadata, spec, status } = await targetOf(clone)
  // Set only if the source pod ended before the volume was handed over, so nobody may rely on it.
  const { [annotations.cloneOf]: _, ...said } = metadata.annotations ?? {}
  const volume = await client.get(kinds.pv, { name: spec?.volumeName ?? '' })
  const text = JSON.stringify({
    annotations: said,
    labels: metadata.labels,
    finalizers: metadata.finalizers,
    phase: status?.phase,
    capacity: status?.capacity?.['storage'],
    // A copied volume was made of nothing.
    madeOf: volume?.metadata.annotations?.[madeOf] ?? 'nothing',
    left: await temporaries(clone),
  })
  return JSON.parse(text.replaceAll(metadata.uid, '<uid>').replaceAll(/eyJ[\w.-]+/g, '<token>')) as Record<
    string,
    unknown
  >
}

async function eventsOf({ namespace }: Clone): Promise<string[]> {
  const { items } = await client.list(kinds.event, { namespace })
  return items.map(
    ({ involvedObject, type, reason, message, source }) =>
      `${involvedObject.name} ${type} ${reason}: ${message} (${source?.component})`,
  )
}

const strategies = ['snapshot', 'csi-clone', 'copy'] as const

describe('the clone populator', () => {
  const sources = {
    snapshot: 'VolumeSnapshot tmp-snapshot-<uid>',
    'csi-clone': 'PersistentVolumeClaim src',
    copy: 'nothing',
  }
  for (const strategy of strategies) {
    it(`fills a claim by ${strategy} and leaves nothing but what the recordings show`, async () => {
      const clone = await newClone({ storageClassName: classes[strategy] })
      await using _hands = playing(clone.sourceNamespace)
      await using _process = plane.startProcess()
      await settled(clone)
      assert.deepEqual(await remains(clone), {
        annotations: {
          'cdi.kubevirt.io/clonePhase': 'Succeeded',
          'cdi.kubevirt.io/cloneType': strategy,
          'cdi.kubevirt.io/storage.populator.progress': '100.0%',
        },
        labels: {
          'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
          app: 'containerized-data-importer',
        },
        finalizers: ['kubernetes.io/pvc-protection'],
        phase: 'Bound',
        capacity: '64Mi',
        madeOf: sources[strategy],
        left: [],
      })
    })
  }

  it('makes the volume as large as the claim asks for, by a pod that mounts it', async () => {
    const clone = await newClone({ storageClassName: classes.snapshot, size: '128Mi' })
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await settled(clone)
    const { capacity, madeOf: source } = await remains(clone)
    assert.deepEqual([capacity, source], ['128Mi', 'VolumeSnapshot tmp-snapshot-<uid>'])
  })

  it('copies where the storage cannot, and says why', async () => {
    const clone = await newClone({ storageClassName: classes['csi-clone'], size: '128Mi', volumeMode: 'Block' })
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await settled(clone)
    const said = await notes(clone)
    assert.equal(said[annotations.cloneType], 'copy')
    assert.equal(said[annotations.cloneFallbackReason], 'The volume modes of source and target are incompatible')
    await eventually('it is told', async () =>
      (await eventsOf(clone)).includes(
        't Warning IncompatibleVolumeModes: The volume modes of source and target are incompatible (clone-populator)',
      ),
    )
  })

  it('restores a snapshot', async () => {
    const clone = await newClone({ storageClassName: classes.copy, ofSnapshot: true })
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await settled(clone)
    assert.equal((await remains(clone))['madeOf'], 'VolumeSnapshot snap')
  })

  it('copies a snapshot out of a claim of its own', async () => {
    const annotated = { [annotations.cloneType]: 'copy' }
    const clone = await newClone({ storageClassName: classes.snapshot, ofSnapshot: true, annotated })
    await using _hands = playing(clone.sourceNamespace)
    const requests = new Set<string>()
    await using _process = plane.startProcess()
    await eventually('the copy is ordered', async () => {
      const { items } = await client.list(kinds.pvc, { namespace: clone.sourceNamespace })
      for (const { metadata } of items) requests.add(metadata.annotations?.[annotations.cloneRequest] ?? '')
      return requests.size > 1 || (await notes(clone))[annotations.clonePhase] === 'Succeeded'
    })
    const { uid } = (await targetOf(clone)).metadata
    assert.ok(requests.has(`${clone.sourceNamespace}/tmp-source-pvc-${uid}`), [...requests].join(' '))
    await settled(clone)
    assert.equal((await remains(clone))['madeOf'], 'nothing')
  })

  it('clones from another namespace with a token, where nothing of it is left', async () => {
    for (const strategy of strategies) {
      const clone = await newClone({ storageClassName: classes[strategy], crossNamespace: true })
      await using _hands = playing(clone.sourceNamespace)
      await using _others = playing(clone.namespace)
      await using _process = plane.startProcess()
      await eventually('there are temporary objects', async () => (await temporaries(clone)).length > 0)
      const { items } = await client.list(kinds.pvc, { namespace: clone.sourceNamespace })
      for (const { metadata } of items) assert.equal(metadata.annotations?.[annotations.cloneToken], undefined)
      await settled(clone)
      assert.equal((await remains(clone))['madeOf'], sources[strategy])
    }
  })

  it('refuses a source in another namespace without a token', async () => {
    const clone = await newClone({ storageClassName: classes['csi-clone'], crossNamespace: true })
    const { metadata } = await targetOf(clone)
    const forged = {
      [annotations.cloneToken]: await forgeToken({ privateKeyPem: signingKeyPem, namespace: 'x', name: 'y' }),
    }
    await client.patch(
      kinds.pvc,
      { namespace: clone.namespace, name: 't' },
      { metadata: { annotations: forged } },
      { type: 'merge' },
    )
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await untilSaid(clone, 'Error')
    assert.equal(
      (await notes(clone))[annotations.cloneError],
      'cross-namespace with resource grants is not supported yet',
    )
    assert.deepEqual(await temporaries(clone), [], metadata.uid)
  })

  it('goes on as soon as what is missing comes, in whichever order', async () => {
    const namespace = await plane.newNamespace()
    const clone = { namespace, sourceNamespace: namespace }
    await using _hands = playing(namespace)
    await using _process = plane.startProcess()
    await newTarget(namespace, { storageClassName: classes['csi-clone'] })
    await untilSaid(clone, 'Pending')
    await newCloneSource(namespace)
    await eventually('it is told', async () =>
      (await eventsOf(clone)).includes(
        "t Warning CloneWithoutSource: The source pvc src doesn't exist (clone-populator)",
      ),
    )
    await newClaim(namespace, 'src', { storageClassName: classes['csi-clone'], size: '64Mi' })
    await settled(clone)
  })

  it('waits until nobody writes to the source any more', async () => {
    const clone = await newClone({ storageClassName: classes.snapshot })
    const { sourceNamespace: namespace } = clone
    await client.create(kinds.pod, {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'vm', namespace },
      spec: {
        containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
        volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'src' } }],
      },
    })
    const script: Script = (pod, nth) => (pod.metadata.name === 'vm' ? [atWork] : smooth()(pod, nth))
    await using _hands = playing(namespace, script)
    await using _process = plane.startProcess()
    await eventually('it is told', async () =>
      (await eventsOf(clone)).includes(
        `t Warning CloneSourceInUse: pod ${namespace}/vm using PersistentVolumeClaim src (clone-populator)`,
      ),
    )
    assert.deepEqual(await temporaries(clone), ['Pod vm'])
    await client.delete(kinds.pod, { namespace, name: 'vm' }, { gracePeriodSeconds: 0 })
    await settled(clone)
  })

  it('waits for the consumer of a class that does so, and then uses its node', async () => {
    const clone = await newClone({ storageClassName: classes.delayed })
    await client.patch(
      kinds.pvc,
      { namespace: clone.namespace, name: 'src' },
      { metadata: { annotations: { [annotations.selectedNode]: 'n0' } } },
      { type: 'merge' },
    )
    const nodes = new Set<string | undefined>()
    const play = smooth()
    const script: Script = (pod, nth) => {
      if (pod.metadata.name.startsWith('prep-')) nodes.add(pod.spec?.nodeName)
      return play(pod, nth)
    }
    await using _hands = playing(clone.sourceNamespace, script)
    await using _process = plane.startProcess()
    const witness = await newClone({ storageClassName: classes['csi-clone'] })
    await using _others = playing(witness.sourceNamespace)
    await settled(witness)
    assert.equal((await notes(clone))[annotations.clonePhase], undefined)
    await client.patch(
      kinds.pvc,
      { namespace: clone.namespace, name: 't' },
      { metadata: { annotations: { [annotations.selectedNode]: 'n1' } } },
      { type: 'merge' },
    )
    await settled(clone)
    assert.ok(
      [...nodes].every((node) => node === 'n1'),
      [...nodes].join(' '),
    )
  })

  it('binds at once on such a class if that is asked for', async () => {
    for (const strategy of strategies) {
      const annotated = { [annotations.bindImmediate]: '', [annotations.cloneType]: strategy }
      const clone = await newClone({ storageClassName: classes.delayed, annotated })
      await client.patch(
        kinds.pvc,
        { namespace: clone.namespace, name: 'src' },
        { metadata: { annotations: { [annotations.selectedNode]: 'n0' } } },
        { type: 'merge' },
      )
      await using _hands = playing(clone.sourceNamespace)
      await using _process = plane.startProcess()
      await settled(clone)
    }
  })

  it('tells how far a copy has come, as its source pod says', async () => {
    const clone = await newClone({ storageClassName: classes.copy })
    const podIP = '127.0.86.1'
    const { uid } = (await targetOf(clone)).metadata
    const { certPem: cert, keyPem: key } = await selfSigned({ commonName: 'cloner', hosts: [podIP] })
    const server = createServer({ cert, key }, (_, response) => {
      response.end(`kubevirt_cdi_clone_progress_total{ownerUID="${uid}"} 41.5\n`)
    })
    await new Promise<void>((resolve) => server.listen(8443, podIP, resolve))
    let mayEnd = false
    const play = smooth()
    const script: Script = (pod, nth) => {
      const states = play(pod, nth)
      if (!pod.metadata.name.endsWith('-source-pod')) return mayEnd ? states : states.slice(0, 2)
      return [starting, { ...atWork, podIP }, ...(mayEnd ? [ended(0, 'Clone Complete')] : [])]
    }
    await using _hands = playing(clone.sourceNamespace, script)
    await using _process = plane.startProcess()
    try {
      await eventually('it is told', async () => (await notes(clone))[annotations.populatorProgress] === '41.50%')
    } finally {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
    mayEnd = true
    await settled(clone)
    assert.equal((await notes(clone))[annotations.populatorProgress], '100.0%')
  })

  it('keeps the pods and the claim of a copy if that is asked for', async () => {
    const annotated = { [annotations.podRetainAfterCompletion]: 'true' }
    const clone = await newClone({ storageClassName: classes.copy, annotated })
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await untilSaid(clone, 'Succeeded')
    const { uid } = (await targetOf(clone)).metadata
    await eventually('the finalizer is gone', async () => {
      const { metadata } = await targetOf(clone)
      return metadata.finalizers?.every((finalizer) => !finalizer.startsWith('cdi.')) === true
    })
    const kept = await client.get(kinds.pvc, { namespace: clone.sourceNamespace, name: `tmp-pvc-${uid}` })
    assert.equal(kept?.status?.phase, 'Lost')
    const text = 'Warning RetainedPVCPrime: PVC Prime retained in Lost state for debugging purposes (clone-populator)'
    await eventually('it is told', async () => (await eventsOf(clone)).includes(`tmp-pvc-${uid} ${text}`))
    const pods = (await temporaries(clone)).filter((name) => name.startsWith('Pod '))
    assert.equal(pods.length, 2, pods.join(' '))
  })

  it('is told that a quota does not admit its claim, and goes on when that is raised', async () => {
    const clone = await newClone({ storageClassName: classes['csi-clone'] })
    const { sourceNamespace: namespace } = clone
    const quota = await limit(client, namespace, {
      hard: { persistentvolumeclaims: '2' },
      used: { persistentvolumeclaims: '2' },
    })
    await using _hands = playing(namespace)
    await using _process = plane.startProcess()
    await eventually('it is told', async () =>
      (await eventsOf(clone)).some((text) => /^t Warning ErrExceededQuota: .*exceeded quota: limit/.test(text)),
    )
    await untilSaid(clone, 'Error')
    assert.match((await notes(clone))[annotations.cloneError] ?? '', /exceeded quota/)
    await quota.raise({ persistentvolumeclaims: '5' })
    await settled(clone)
    assert.equal((await notes(clone))[annotations.cloneError], undefined)
  })

  it('is told that a quota does not admit the pod that lets its volume grow, and goes on when that is raised', async () => {
    const clone = await newClone({ storageClassName: classes['csi-clone'], size: '128Mi' })
    const { sourceNamespace: namespace } = clone
    const quota = await limit(client, namespace, { hard: { pods: '0' } })
    await using _hands = playing(namespace)
    await using _process = plane.startProcess()
    await eventually('it is told', async () =>
      (await eventsOf(clone)).some((text) => text.startsWith("t Warning ErrExceededQuota: Error starting pod 'prep-")),
    )
    await untilSaid(clone, 'Error')
    assert.match((await notes(clone))[annotations.cloneError] ?? '', /^Error starting pod 'prep-/)
    await quota.raise({ pods: '5' })
    await settled(clone)
    assert.equal((await notes(clone))[annotations.cloneError], undefined)
  })

  it('says what is wrong with a claim that is too small, and makes nothing for it', async () => {
    const clone = await newClone({ storageClassName: classes.snapshot, size: '16Mi' })
    await using _hands = playing(clone.sourceNamespace)
    await using _process = plane.startProcess()
    await untilSaid(clone, 'Error')
    const { annotations: said, finalizers } = (await targetOf(clone)).metadata
    const text = 'target resources requests storage size is smaller than the source 16777216 < 67108864'
    assert.equal(said?.[annotations.cloneError], text)
    assert.equal(said[annotations.cloneType], undefined)
    assert.deepEqual(finalizers, ['kubernetes.io/pvc-protection'])
    await eventually('it is told', async () => {
      const told = await eventsOf(clone)
      return (
        told.includes(`t Warning ErrIncompatiblePVC: ${text} (clone-populator)`) &&
        told.includes(
          "t Warning CloneValidationFailed: The clone doesn't meet the validation requirements (clone-populator)",
        )
      )
    })
  })
})

describe('a claim that is deleted while it is cloned', () => {
  const rests: Script = () => []
  /** A clone from another namespace whose source is bound, and then nobody makes volumes any more. */
  const begun = async (strategy: 'copy' | 'csi-clone' | 'snapshot'): Promise<Clone> => {
    const clone = await newClone({ storageClassName: classes[strategy], crossNamespace: true })
    const { sourceNamespace: namespace } = clone
    await using _hands = playing(namespace, rests)
    await eventually('the source is bound', async () => {
      const source = await client.get(kinds.pvc, { namespace, name: 'src' })
      return source?.status?.phase === 'Bound'
    })
    return clone
  }
  for (const [phase, strategy] of [
    ['HostClone', 'copy'],
    ['CSIClone', 'csi-clone'],
  ] as const) {
    it(`takes everything with it (${phase})`, async () => {
      const clone = await begun(strategy)
      const { sourceNamespace: namespace } = clone
      await using _process = plane.startProcess()
      await untilSaid(clone, phase)
      assert.notDeepEqual(await temporaries(clone), [])
      await client.delete(kinds.pvc, { namespace: clone.namespace, name: 't' })
      await using _hands = playing(namespace, rests)
      await using _others = playing(clone.namespace)
      await eventually('all is gone', async () => {
        const target = await client.get(kinds.pvc, { namespace: clone.namespace, name: 't' })
        return target === undefined && (await temporaries(clone)).length === 0
      })
    })
  }

  for (const [phase, strategy] of [
    ['CSIClone', 'csi-clone'],
    ['Snapshot', 'snapshot'],
  ] as const) {
    it(`and was torn from its finalizer leaves nothing for long, and nothing else goes (${phase})`, async () => {
      const clone = await begun(strategy)
      const { namespace, sourceNamespace } = clone
      {
        await using _process = plane.startProcess()
        await untilSaid(clone, phase)
        await eventually('something was made', async () => (await temporaries(clone)).length > 0)
      }
      const { uid } = (await targetOf(clone)).metadata
      // Of the same label, but not of our names.
      await newClaim(sourceNamespace, 'other', { storageClassName: classes.copy, size: '1Mi' })
      const label = { metadata: { labels: { [labels.ownedByUid]: uid } } }
      await client.patch(kinds.pvc, { namespace: sourceNamespace, name: 'other' }, label, { type: 'merge' })
      const target = { namespace, name: 't' }
      await client.patch(kinds.pvc, target, { metadata: { finalizers: null } }, { type: 'merge' })
      await client.delete(kinds.pvc, target)
      await using _process = plane.startProcess()
      await using _hands = playing(sourceNamespace, rests)
      const other = 'PersistentVolumeClaim other'
      await eventually('all is gone', async () => (await temporaries(clone)).every((name) => name === other))
      for (const name of ['src', 'other']) {
        const kept = await client.get(kinds.pvc, { namespace: sourceNamespace, name })
        assert.ok(kept !== undefined && kept.metadata.deletionTimestamp === undefined, name)
      }
    })
  }

  it('takes a snapshot with it that is not cut yet', async () => {
    const clone = await newClone({ storageClassName: classes.snapshot })
    await using _hands = new Hands({ client, namespace: clone.namespace, script: rests })
    await using _process = plane.startProcess()
    await untilSaid(clone, 'Snapshot')
    await client.delete(kinds.pvc, { namespace: clone.namespace, name: 't' })
    await eventually('all is gone', async () => {
      const target = await client.get(kinds.pvc, { namespace: clone.namespace, name: 't' })
      return target === undefined && (await temporaries(clone)).length === 0
    })
  })
})

describe('a controller that is killed at any write', () => {
  for (const strategy of strategies) {
    it(`is taken over by the next one with the same outcome (${strategy})`, async () => {
      const facts = { storageClassName: classes[strategy], size: strategy === 'snapshot' ? '128Mi' : '64Mi' }
      const reference = await newClone(facts)
      let writes = 0
      {
        await using _hands = playing(reference.sourceNamespace)
        await using process = plane.startProcess()
        await settled(reference)
        writes = process.client.writes
      }
      const expected = await remains(reference)
      assert.ok(writes >= 6, `${writes} writes`)
      let deaths = 0
      for (let write = 1; write <= writes; write++) {
        const death: Death = { write, when: write % 2 === 1 ? 'before' : 'after' }
        const clone = await newClone(facts)
        await using _hands = playing(clone.sourceNamespace)
        const first = plane.startProcess(death)
        await using _work = await deadOrDone(first.client, settled(clone))
        await endOrDie(first)
        // The dead hold no lease for ever; this one is not waited for.
        await client.delete(kinds.lease, { namespace: 'cdi', name: 'cdi-controller-leader-election-helper' })
        await using _second = plane.startProcess()
        await settled(clone)
        assert.deepEqual(await remains(clone), expected, JSON.stringify(death))
        if (!first.client.isDead) continue
        deaths++
        void first.end().catch(() => undefined)
      }
      assert.ok(deaths >= 5, `only ${deaths} controllers died before their work was done`)
    })
  }
})
