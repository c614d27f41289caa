import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import type {
  DataSource,
  DataVolume,
  PersistentVolumeClaim,
  Pod,
  VolumeCloneSource,
} from '../../../../src/api/kinds.ts'
import { CloneTokenError } from '../../../../src/controllers/clone/tokens.ts'
import type { CloneTokens } from '../../../../src/controllers/clone/tokens.ts'
import { isNothing, leftoversOf, removeLeftovers } from '../../../../src/controllers/datavolume/clone/leftovers.ts'
import { dataVolumesOf, observeClone, resolveOrder } from '../../../../src/controllers/datavolume/clone/observe.ts'
import type { Authority, CloneObservation } from '../../../../src/controllers/datavolume/clone/observe.ts'
import { controllerRef } from '../../../../src/kube/owners.ts'
import { formatKey, keyOf } from '../../../../src/kube/object.ts'
import type { KubeObject } from '../../../../src/kube/object.ts'
import { claim, dataVolume } from '../fixtures.ts'
import { heldCaches } from '../held.ts'
import { cloneDataVolume, cloneTarget, orderFromAfar, seenClone, sourceClaim } from './clone-fixtures.ts'

/** Takes tokens named `good`; with `keyless`, there is nothing to look at them with. */
function tokensOf(keyless = false): CloneTokens {
  return {
    assertAllowed: ({ metadata }) => {
      if (keyless) return Promise.reject(new Error('there is no Secret yet'))
      const { [annotations.extendedCloneToken]: extended, [annotations.cloneToken]: short } = metadata.annotations ?? {}
      const token = extended ?? short
      if (token === undefined) return Promise.reject(new CloneTokenError('token missing'))
      return token === 'good' ? Promise.resolve() : Promise.reject(new CloneTokenError('invalid token'))
    },
    extend: () => Promise.resolve('long'),
  }
}

interface Facts {
  dataVolume: DataVolume
  target?: PersistentVolumeClaim
  keyless?: boolean
  contents?: Parameters<typeof heldCaches>[0]
}

async function observed({ target, keyless, contents = {}, ...facts }: Facts): Promise<CloneObservation> {
  const { settings, now } = seenClone()
  const found = await observeClone(
    { caches: heldCaches(contents), tokens: tokensOf(keyless), settings, now },
    { dataVolume: facts.dataVolume, target, adoptionGate: false },
  )
  assert.ok(found)
  return found
}

const fromAfar = (annotated: Record<string, string> = {}): DataVolume =>
  cloneDataVolume({ order: orderFromAfar, annotated })
const short = (value: string): Record<string, string> => ({ [annotations.cloneToken]: value })
const long = (value: string): Record<string, string> => ({ [annotations.extendedCloneToken]: value })

describe('whether the source of a clone may be read', () => {
  const cases: [string, Facts, Authority][] = [
    ['its own namespace', { dataVolume: cloneDataVolume() }, 'needless'],
    ['no token', { dataVolume: fromAfar() }, { refused: 'token missing' }],
    ['the token of the webhook', { dataVolume: fromAfar(short('good')) }, 'short'],
    ['a wrong token', { dataVolume: fromAfar(short('bad')) }, { refused: 'invalid token' }],
    ['the token of the controller', { dataVolume: fromAfar({ ...short('bad'), ...long('good') }) }, 'extended'],
    ['a long token of a former life', { dataVolume: fromAfar({ ...short('good'), ...long('bad') }) }, 'short'],
    ['two wrong ones', { dataVolume: fromAfar({ ...short('bad'), ...long('bad') }) }, { refused: 'invalid token' }],
    ['a long one that was smuggled in', { dataVolume: fromAfar(long('bad')) }, { refused: 'invalid token' }],
    ['a claim that comes from elsewhere', { dataVolume: fromAfar({ [annotations.prePopulated]: 'dv' }) }, 'needless'],
    [
      'a claim that holds its data',
      { dataVolume: fromAfar(), target: cloneTarget({ annotated: { [annotations.populatedFor]: 'dv' } }) },
      'needless',
    ],
    [
      'a T that is done',
      { dataVolume: fromAfar(), target: cloneTarget({ annotated: { [annotations.clonePhase]: 'Succeeded' } }) },
      'needless',
    ],
    ['a T that is not done', { dataVolume: fromAfar(), target: cloneTarget() }, { refused: 'token missing' }],
  ]
  for (const [name, facts, expected] of cases) {
    it(`is ${JSON.stringify(expected)} with ${name}`, async () => {
      assert.deepEqual((await observed(facts)).authority, expected)
    })
  }

  it('is not asked while there is no key, unless it matters', async () => {
    await assert.rejects(observed({ dataVolume: fromAfar(short('good')), keyless: true }), /no Secret/)
    assert.equal((await observed({ dataVolume: cloneDataVolume(), keyless: true })).authority, 'needless')
  })
})

const dataSource = (
  name: string,
  source: DataSource['spec']['source'],
  more: Partial<DataSource> = {},
): DataSource => ({
  apiVersion: 'cdi.kubevirt.io/v1beta1',
  kind: 'DataSource',
  metadata: { name, namespace: 'golden', uid: `uid-${name}`, resourceVersion: '1' },
  spec: { source },
  ...more,
})
const referring = (name: string): DataVolume =>
  dataVolume({ spec: { source: undefined, sourceRef: { kind: 'DataSource', namespace: 'golden', name } } })
const cloneSource = (name = 'volume-clone-source-uid-dv'): VolumeCloneSource => ({
  apiVersion: 'cdi.kubevirt.io/v1beta1',
  kind: 'VolumeCloneSource',
  metadata: {
    name,
    namespace: 'golden',
    uid: `uid-${name}`,
    resourceVersion: '1',
    annotations: { [annotations.ownedByDataVolume]: 'vms/dv' },
  },
  spec: { source: { kind: 'PersistentVolumeClaim', name: 'f40' } },
})

describe('the source of a clone', () => {
  it('is seen with who uses it, without the pod that measures it', async () => {
    const pod = (name: string): Pod => ({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace: 'vms', uid: `uid-${name}`, resourceVersion: '1' },
      spec: { containers: [], volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'src' } }] },
      status: { phase: 'Running' },
    })
    const measuring = pod('size-detection-uid-src')
    const found = await observed({
      dataVolume: cloneDataVolume(),
      contents: { pvcs: [sourceClaim()], pods: [measuring, pod('vm')] },
    })
    assert.deepEqual(found.origin, { claim: sourceClaim() })
    assert.equal(found.sizePod, measuring)
    assert.deepEqual(
      found.users.map(({ metadata }) => metadata.name),
      ['vm'],
    )
    assert.equal(found.isSourcePopulated, true)
  })

  it('is not populated while its own DataVolume is at work', async () => {
    const owner = { ...dataVolume({ status: { phase: 'ImportInProgress' } }) }
    owner.metadata = { ...owner.metadata, name: 'src', uid: 'uid-src-dv' }
    const found = await observed({
      dataVolume: cloneDataVolume(),
      contents: { pvcs: [sourceClaim({ owner })], dataVolumes: [owner] },
    })
    assert.equal(found.isSourcePopulated, false)
  })

  it('is what the VolumeCloneSource names that T names, and no other', () => {
    const dataSources = [dataSource('fedora', { pvc: { namespace: 'golden', name: 'f41' } })]
    const fromThere = cloneTarget({ annotated: { [annotations.dataSourceNamespace]: 'golden' } })
    const named = (cloneSources: VolumeCloneSource[], pvcs: PersistentVolumeClaim[]): string | undefined =>
      resolveOrder(heldCaches({ dataSources, cloneSources, pvcs }), referring('fedora'))?.order.source.name
    assert.equal(named([], [fromThere]), 'f41')
    assert.equal(named([cloneSource()], [fromThere]), 'f40')
    assert.equal(named([cloneSource('volume-clone-source-uid-of-a-namesake')], [fromThere]), 'f41')
    // Somebody in that namespace only says that it belongs to this DataVolume.
    assert.equal(named([cloneSource()], []), 'f41')
    assert.equal(named([cloneSource()], [cloneTarget()]), 'f41')
  })

  it('tells its instance type, the DataSource before the volume', async () => {
    const labelled = (value: string): Record<string, string> => ({
      'instancetype.kubevirt.io/default-instancetype': value,
      other: 'label',
    })
    const claims = [sourceClaim({ namespace: 'golden', labels: labelled('of the claim') })]
    const source = { pvc: { namespace: 'golden', name: 'src' } }
    const plain = dataSource('plain', source)
    const telling = dataSource('telling', source)
    telling.metadata.labels = labelled('of the DataSource')
    const labelsOf = async (of: DataVolume): Promise<unknown> => {
      const found = await observed({
        dataVolume: { ...of, metadata: { ...of.metadata, annotations: short('good') } },
        contents: { pvcs: claims, dataSources: [plain, telling] },
      })
      return found.labels
    }
    const key = 'instancetype.kubevirt.io/default-instancetype'
    assert.deepEqual(await labelsOf(fromAfar()), { [key]: 'of the claim' })
    assert.deepEqual(await labelsOf(referring('plain')), { [key]: 'of the claim' })
    assert.deepEqual(await labelsOf(referring('telling')), { [key]: 'of the DataSource' })
  })
})

describe('who is looked at again', () => {
  const pointer = dataSource('pointer', { dataSource: { namespace: 'golden', name: 'fedora' } })
  const fedora = dataSource('fedora', { pvc: { namespace: 'golden', name: 'f41' } })
  const bound = (status: string): NonNullable<DataVolume['status']>['conditions'] => [{ type: 'Bound', status }]
  const named = (name: string, of: DataVolume): DataVolume => ({ ...of, metadata: { ...of.metadata, name } })
  const caches = heldCaches({
    dataSources: [pointer, fedora],
    dataVolumes: [
      named('direct', dataVolume({ spec: { source: { pvc: { namespace: 'golden', name: 'f41' } } } })),
      named('by-name', referring('fedora')),
      named('by-pointer', referring('pointer')),
      named('done', { ...referring('fedora'), status: { phase: 'Succeeded', conditions: bound('True') } }),
      named('done-and-torn', { ...referring('fedora'), status: { phase: 'Succeeded', conditions: bound('False') } }),
      named('other', dataVolume({ spec: { source: { snapshot: { namespace: 'golden', name: 'f41' } } } })),
    ],
  })
  const keys = (kind: string, name: string): string[] =>
    dataVolumesOf(caches, kind, { namespace: 'golden', name })
      .map(({ name: found }) => found)
      .sort()

  it('is every unfinished clone that names a claim, also by DataSources', () => {
    assert.deepEqual(keys('PersistentVolumeClaim', 'f41'), ['by-name', 'by-pointer', 'direct', 'done-and-torn'])
    assert.deepEqual(keys('VolumeSnapshot', 'f41'), ['other'])
    assert.deepEqual(keys('PersistentVolumeClaim', 'f40'), [])
  })

  it('is every unfinished clone that refers to a DataSource', () => {
    assert.deepEqual(keys('DataSource', 'fedora'), ['by-name', 'by-pointer', 'done-and-torn'])
    assert.deepEqual(keys('DataSource', 'pointer'), ['by-pointer'])
  })
})

describe('what a clone leaves behind', () => {
  const owner = dataVolume()
  const marked = { [annotations.ownedByDataVolume]: 'vms/dv' }
  const restored = (facts: { name?: string; labels?: Record<string, string> } = {}): PersistentVolumeClaim =>
    claim({
      name: 'uid-dv-host-assisted-source-pvc',
      annotated: marked,
      labels: { 'cdi.kubevirt.io': 'cdi-clone-from-snapshot-source-host-assisted-fallback-pvc' },
      ...facts,
    })
  const measuring: Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'size-detection-uid-src',
      namespace: 'vms',
      uid: 'uid-pod',
      resourceVersion: '1',
      ownerReferences: [controllerRef(owner)],
    },
  }
  const found = (contents: Parameters<typeof heldCaches>[0]): ReturnType<typeof leftoversOf> =>
    leftoversOf(heldCaches(contents), keyOf(owner))

  it('is found by its owner or by the annotation', () => {
    const { sources, pods, claims } = found({
      cloneSources: [cloneSource()],
      pods: [measuring],
      pvcs: [restored(), cloneTarget()],
    })
    assert.deepEqual(
      [sources, pods, claims].map((objects) => objects.map(({ metadata }) => metadata.name)),
      [['volume-clone-source-uid-dv'], ['size-detection-uid-src'], ['uid-dv-host-assisted-source-pvc']],
    )
  })

  it('is nothing that somebody only annotated so, and nothing that is going already', () => {
    const contents = {
      cloneSources: [cloneSource('mine')],
      pods: [{ ...measuring, metadata: { ...measuring.metadata, deletionTimestamp: '2026-01-01T00:00:00Z' } }],
      pvcs: [restored({ name: 'precious' }), restored({ labels: {} })],
    }
    assert.ok(isNothing(found(contents)))
  })

  it('is deleted by UID, so that a namesake made since stays', async () => {
    const deleted: string[] = []
    const leftovers = found({ cloneSources: [cloneSource()], pods: [measuring], pvcs: [restored()] })
    await removeLeftovers(
      {
        delete: (kind, key, options) => {
          deleted.push(`${kind.kind} ${formatKey(key)} ${options?.uid}`)
          return Promise.resolve(false)
        },
      },
      leftovers,
    )
    const named = (object: KubeObject, kind: string): string =>
      `${kind} ${formatKey(keyOf(object))} ${object.metadata.uid}`
    assert.deepEqual(deleted, [
      named(cloneSource(), 'VolumeCloneSource'),
      named(measuring, 'Pod'),
      named(restored(), 'PersistentVolumeClaim'),
    ])
  })
})
