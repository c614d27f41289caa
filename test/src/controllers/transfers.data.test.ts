/**
 * ObjectTransfers against a real API server. What Kubernetes does about volumes is played by hand (volume-hands.ts): a volume
 * whose claim goes while its policy does not keep it is deleted there, as it would be in a cluster.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { kinds } from '../../../src/api/kinds.ts'
import type { DataVolume, ObjectTransfer, PersistentVolumeClaim } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import type { Kind, KubeObject, ObjectKey } from '../../../src/kube/object.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { deadOrDone, endOrDie } from './crashing-client.ts'
import type { Death } from './crashing-client.ts'
import { limit } from './quota.ts'
import { VolumeHands } from './volume-hands.ts'

type MovedKind = 'PersistentVolumeClaim' | 'DataVolume'
type Place = Required<ObjectKey>

let plane: ControlPlane
let client: ControlPlane['client']
let hands: VolumeHands
let serial = 0

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
  hands = new VolumeHands(client)
})
after(async () => {
  await hands?.[Symbol.asyncDispose]()
  await plane?.[Symbol.asyncDispose]()
})

/** A bound claim `disk` in a namespace of its own, with all that a transfer has to keep. */
async function newClaim(annotated: Record<string, string> = {}): Promise<PersistentVolumeClaim> {
  const place = { namespace: await plane.newNamespace(), name: 'disk' }
  await client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { ...place, labels: { team: 'blue' }, annotations: { note: 'kept', ...annotated } },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '64Mi' } }, storageClassName: 'csi' },
  })
  return there(kinds.pvc, place, ({ status }) => status?.phase === 'Bound')
}

/** The same, held by a DataVolume that has succeeded; needs a controller. */
async function newDataVolume(): Promise<DataVolume> {
  const { metadata } = await newClaim({ [annotations.populatedFor]: 'disk' })
  const place = { namespace: metadata.namespace ?? '', name: 'disk' }
  await client.create(kinds.dataVolume, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { ...place, labels: { team: 'blue' }, annotations: { note: 'kept' } },
    spec: {
      source: { http: { url: 'http://images.example/disk.img' } },
      storage: {
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: '64Mi' } },
        storageClassName: 'csi',
      },
    },
  })
  await there(kinds.pvc, place, ({ metadata: { ownerReferences } }) => ownerReferences !== undefined)
  return there(kinds.dataVolume, place, ({ status }) => status?.phase === 'Succeeded')
}

async function newSource(kind: MovedKind): Promise<KubeObject> {
  return kind === 'DataVolume' ? newDataVolume() : newClaim()
}

/** Waits for an object in a state. */
async function there<T extends KubeObject>(kind: Kind<T>, key: ObjectKey, isSo: (found: T) => boolean): Promise<T> {
  let last: T | undefined
  try {
    await eventually(`${kind.kind} ${key.name}`, async () => {
      last = await client.get(kind, key)
      return last !== undefined && isSo(last)
    })
  } catch (error) {
    throw new Error(`last seen: ${JSON.stringify(last)}`, { cause: error })
  }
  return last as T
}

async function gone(kind: Kind, key: ObjectKey): Promise<void> {
  await eventually(`${kind.kind} ${key.name} is gone`, async () => (await client.get(kind, key)) === undefined)
}

async function transfer(
  source: KubeObject,
  target: ObjectTransfer['spec']['target'],
  requiredAnnotations?: Record<string, string>,
): Promise<string> {
  const name = `move-${serial++}`
  const { namespace = '', name: sourceName } = source.metadata
  await client.create(kinds.objectTransfer, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'ObjectTransfer',
    metadata: { name },
    spec: {
      source: {
        kind: source.kind,
        namespace,
        name: sourceName,
        ...(requiredAnnotations ? { requiredAnnotations } : {}),
      },
      target,
    },
  })
  return name
}

/** What its condition says: `Pending False: No source`, with the reason behind it if there is one. */
function sayingOf({ status }: ObjectTransfer): string {
  const { status: value, message, reason } = status?.conditions?.[0] ?? {}
  return `${status?.phase} ${value}: ${message}${reason ? ` (${reason})` : ''}`
}

async function says(name: string, saying: string | RegExp): Promise<ObjectTransfer> {
  return there(kinds.objectTransfer, { name }, (found) =>
    typeof saying === 'string' ? sayingOf(found) === saying : saying.test(sayingOf(found)),
  )
}

async function completes(name: string): Promise<void> {
  await there(
    kinds.objectTransfer,
    { name },
    (found) => sayingOf(found) === 'Complete True: Transfer complete' && (found.metadata.finalizers ?? []).length === 0,
  )
}

function placeOf({ metadata: { namespace = '', name } }: KubeObject): Place {
  return { namespace, name }
}

async function volumeOf(place: Place): Promise<string> {
  const claim = await client.get(kinds.pvc, place)
  return claim?.spec?.volumeName ?? ''
}

/** Same volume, same claim in all that users see, and nothing left behind. */
async function assertArrived(kind: MovedKind, place: Place, volumeName: string): Promise<void> {
  const claim = await there(kinds.pvc, place, ({ status }) => status?.phase === 'Bound')
  assert.equal(claim.spec?.volumeName, volumeName)
  assert.equal(claim.metadata.labels?.['team'], 'blue')
  assert.equal(claim.metadata.annotations?.['note'], 'kept')
  assert.equal(claim.metadata.annotations[annotations.objectTransferName], undefined)
  const volume = await client.get(kinds.pv, { name: volumeName })
  assert.equal(volume?.spec?.claimRef?.uid, claim.metadata.uid)
  assert.equal(volume.spec.persistentVolumeReclaimPolicy, 'Delete')
  if (kind !== 'DataVolume') return
  const dataVolume = await there(kinds.dataVolume, place, ({ status }) => status?.phase === 'Succeeded')
  assert.equal(dataVolume.metadata.labels?.['team'], 'blue')
  assert.equal(dataVolume.metadata.annotations?.['note'], 'kept')
  assert.equal(dataVolume.metadata.annotations[annotations.objectTransferName], undefined)
  await there(kinds.pvc, place, ({ metadata }) => metadata.ownerReferences?.[0]?.uid === dataVolume.metadata.uid)
  assert.deepEqual(
    (await client.list(kinds.pod, { namespace: place.namespace })).items,
    [],
    'nothing was imported anew',
  )
}

const movedKinds = ['PersistentVolumeClaim', 'DataVolume'] as const
const directions = [
  ['another namespace', (away: string) => ({ namespace: away })],
  ['another name', () => ({ name: 'other' })],
  ['another namespace and name', (away: string) => ({ namespace: away, name: 'other' })],
] as const

describe('an ObjectTransfer', () => {
  for (const kind of movedKinds) {
    for (const [title, targetIn] of directions) {
      it(`moves a ${kind} to ${title}`, async () => {
        await using _process = plane.startProcess()
        const source = await newSource(kind)
        const volumeName = await volumeOf(placeOf(source))
        const target = targetIn(await plane.newNamespace())
        const name = await transfer(source, target)
        await completes(name)
        await assertArrived(kind, { ...placeOf(source), ...target }, volumeName)
        assert.equal(await client.get(kinds.pvc, placeOf(source)), undefined)
        assert.equal(await client.get(kinds.dataVolume, placeOf(source)), undefined)
        await eventually('no transfer of a claim is left', async () => {
          const { items } = await client.list(kinds.objectTransfer)
          return items.every(({ spec }) => spec.parentName !== name)
        })
      })
    }
  }

  it('moves many at once', async () => {
    await using _process = plane.startProcess()
    const sources = [...(await Promise.all(Array.from({ length: 4 }, () => newClaim()))), await newDataVolume()]
    const away = await plane.newNamespace()
    const volumes = await Promise.all(sources.map((source) => volumeOf(placeOf(source))))
    const names = await Promise.all(
      sources.map((source, index) => transfer(source, { namespace: away, name: `disk-${index}` })),
    )
    await Promise.all(names.map(completes))
    for (const [index, { kind }] of sources.entries()) {
      await assertArrived(kind as MovedKind, { namespace: away, name: `disk-${index}` }, volumes[index] ?? '')
    }
  })

  it('moves there and back', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const volumeName = await volumeOf(placeOf(source))
    const away = await plane.newNamespace()
    await completes(await transfer(source, { namespace: away }))
    const moved = await there(kinds.pvc, { namespace: away, name: 'disk' }, () => true)
    await completes(await transfer(moved, { namespace: placeOf(source).namespace }))
    await assertArrived('PersistentVolumeClaim', placeOf(source), volumeName)
  })
})

describe('an ObjectTransfer waits', () => {
  for (const kind of movedKinds) {
    it(`while a pod uses a ${kind}`, async () => {
      await using _process = plane.startProcess()
      const source = await newSource(kind)
      const volumeName = await volumeOf(placeOf(source))
      const user = await usingPod(placeOf(source))
      const away = await plane.newNamespace()
      const name = await transfer(source, { namespace: away })
      await says(name, `Pending False: Pods using ${kind === 'DataVolume' ? 'DataVolume PVC' : 'PVC'}`)
      await client.delete(kinds.pod, user, { gracePeriodSeconds: 0 })
      await completes(name)
      await assertArrived(kind, { namespace: away, name: 'disk' }, volumeName)
    })
  }

  it('for a source that is not there yet', async () => {
    await using _process = plane.startProcess()
    const [namespace, away] = [await plane.newNamespace(), await plane.newNamespace()]
    const absent = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { namespace, name: 'disk' } }
    const name = await transfer(absent as KubeObject, { namespace: away })
    await says(name, 'Pending False: No source')
    await client.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { namespace, name: 'disk' },
      spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } }, storageClassName: 'csi' },
    })
    await completes(name)
  })

  it('for a required annotation', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const away = await plane.newNamespace()
    const name = await transfer(source, { namespace: away }, { 'example.com/ready': 'yes' })
    await says(name, 'Pending False: Required annotation missing')
    const annotate = (value: string): Promise<unknown> =>
      client.patch(
        kinds.pvc,
        placeOf(source),
        { metadata: { annotations: { 'example.com/ready': value } } },
        { type: 'merge' },
      )
    await annotate('no')
    await annotate('yes')
    await completes(name)
  })

  it('for another transfer that has the source', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim({ [annotations.objectTransferName]: 'somebody-elses' })
    const name = await transfer(source, { name: 'other' })
    await says(name, 'Pending False: Source in use by another transfer (somebody-elses)')
    const released = { metadata: { annotations: { [annotations.objectTransferName]: null } } }
    await client.patch(kinds.pvc, placeOf(source), released, { type: 'merge' })
    await completes(name)
  })

  it('when two want the same source, and one gets it', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const volumeName = await volumeOf(placeOf(source))
    const names = await Promise.all([transfer(source, { name: 'one' }), transfer(source, { name: 'two' })])
    await Promise.any(names.map(completes))
    const claims = (await client.list(kinds.pvc, { namespace: placeOf(source).namespace })).items
    assert.deepEqual(
      claims.map(({ spec }) => spec?.volumeName),
      [volumeName],
    )
    const all = await Promise.all(names.map((name) => client.get(kinds.objectTransfer, { name })))
    assert.deepEqual(new Set(all.map((found) => found?.status?.phase)), new Set(['Complete', 'Pending']))
  })

  it('for a namespace that is not there yet', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const name = await transfer(source, { namespace: 'nowhere' })
    await says(name, 'Pending False: Error (namespaces "nowhere" not found)')
    assert.ok(await client.get(kinds.pvc, placeOf(source)))
  })
})

describe('a quota at the target', () => {
  for (const kind of movedKinds) {
    it(`that does not admit the claim of a ${kind} is told, and the move goes on when it is raised`, async () => {
      await using _process = plane.startProcess()
      const source = await newSource(kind)
      const volumeName = await volumeOf(placeOf(source))
      const away = await plane.newNamespace()
      const quota = await limit(client, away, { hard: { persistentvolumeclaims: '0' } })
      const name = await transfer(source, { namespace: away })
      const { status } = await says(name, /^\w+ False: .+ \(.*exceeded quota: .*\)$/)
      if (kind === 'PersistentVolumeClaim') assert.deepEqual(status?.phase, 'Error')
      await quota.raise({ persistentvolumeclaims: '9' })
      await completes(name)
      await assertArrived(kind, { namespace: away, name: 'disk' }, volumeName)
    })
  }
})

describe('an ObjectTransfer that is deleted', () => {
  it('in Pending goes and leaves its source alone', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    await usingPod(placeOf(source))
    const name = await transfer(source, { name: 'other' })
    await says(name, 'Pending False: Pods using PVC')
    await client.delete(kinds.objectTransfer, { name })
    await gone(kinds.objectTransfer, { name })
    const claim = await client.get(kinds.pvc, placeOf(source))
    assert.equal(claim?.metadata.uid, source.metadata.uid)
    assert.equal(claim.metadata.annotations?.[annotations.objectTransferName], undefined)
  })

  it('in Running finishes first', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const volumeName = await volumeOf(placeOf(source))
    hands.isBindingHeld = true
    const name = await transfer(source, { name: 'other' })
    await says(name, 'Running False: Waiting for target to be bound')
    await client.delete(kinds.objectTransfer, { name })
    await there(kinds.objectTransfer, { name }, ({ metadata }) => metadata.deletionTimestamp !== undefined)
    assert.equal(sayingOf(await says(name, /./)), 'Running False: Waiting for target to be bound')
    hands.isBindingHeld = false
    await gone(kinds.objectTransfer, { name })
    await assertArrived('PersistentVolumeClaim', { ...placeOf(source), name: 'other' }, volumeName)
  })

  it('in Error goes and leaves the volume kept', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const volumeName = await volumeOf(placeOf(source))
    const away = await plane.newNamespace()
    await limit(client, away, { hard: { persistentvolumeclaims: '0' } })
    const name = await transfer(source, { namespace: away })
    await says(name, /^Error False: Error \(/)
    await client.delete(kinds.objectTransfer, { name })
    await gone(kinds.objectTransfer, { name })
    const volume = await client.get(kinds.pv, { name: volumeName })
    assert.equal(volume?.spec?.persistentVolumeReclaimPolicy, 'Retain')
    assert.equal(volume.metadata.deletionTimestamp, undefined)
  })

  it('in Complete goes at once', async () => {
    await using _process = plane.startProcess()
    const source = await newClaim()
    const name = await transfer(source, { name: 'other' })
    await completes(name)
    await client.delete(kinds.objectTransfer, { name })
    await gone(kinds.objectTransfer, { name })
  })
})

describe('a controller that is killed at any write of a transfer', () => {
  for (const kind of movedKinds) {
    it(`of a ${kind} is taken over by the next one, with the same outcome`, async () => {
      const [reference] = await prepared(1)
      assert.ok(reference)
      let writes = 0
      {
        await using process = plane.startProcess()
        await completes(await transfer(reference.source, { namespace: reference.away }))
        ;({ writes } = process.client)
      }
      assert.ok(writes > 8, `${writes} writes`)
      let deaths = 0
      for (const [index, { source, away, volumeName }] of (await prepared(writes)).entries()) {
        const death: Death = { write: index + 1, when: index % 2 === 0 ? 'before' : 'after' }
        const first = plane.startProcess(death)
        const name = await transfer(source, { namespace: away })
        await using _work = await deadOrDone(first.client, completes(name))
        await endOrDie(first)
        // The dead hold no lease for ever; this one is not waited for.
        await client.delete(kinds.lease, { namespace: 'cdi', name: 'cdi-controller-leader-election-helper' })
        await using _second = plane.startProcess()
        await completes(name)
        await assertArrived(kind, { namespace: away, name: 'disk' }, volumeName)
        if (!first.client.isDead) continue
        deaths++
        void first.end().catch(() => undefined)
      }
      assert.ok(deaths >= 8, `only ${deaths} controllers died before their work was done`)
    })

    /** A DataVolume needs a controller to succeed; it is not the one under test. */
    async function prepared(count: number): Promise<{ source: KubeObject; away: string; volumeName: string }[]> {
      await using _process = plane.startProcess()
      return await Promise.all(
        Array.from({ length: count }, async () => {
          const source = await newSource(kind)
          return { source, away: await plane.newNamespace(), volumeName: await volumeOf(placeOf(source)) }
        }),
      )
    }
  }
})

/** A pod that mounts a claim; nobody runs it. */
async function usingPod({ namespace, name }: Place): Promise<Place> {
  const place = { namespace, name: 'user' }
  await client.create(kinds.pod, {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: place,
    spec: {
      containers: [{ name: 'user', image: 'x', volumeMounts: [{ name: 'disk', mountPath: '/disk' }] }],
      volumes: [{ name: 'disk', persistentVolumeClaim: { claimName: name } }],
    },
  })
  return place
}
