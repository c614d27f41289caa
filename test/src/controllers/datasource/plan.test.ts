import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DataSource, VolumeSnapshot } from '../../../../src/api/kinds.ts'
import { directionOf, planDataSource } from '../../../../src/controllers/datasource/plan.ts'
import type { DataSourceObservation } from '../../../../src/controllers/datasource/plan.ts'
import { resolveDataSource } from '../../../../src/controllers/datasource/resolve.ts'
import { claim, dataVolume, namespace } from '../fixtures.ts'

const early = '2026-01-01T00:00:00Z'
const now = '2026-01-02T00:00:00Z'

type Source = DataSource['spec']['source']
type Status = DataSource['status']

function dataSource(source: Source, { name = 'fedora', status }: { name?: string; status?: Status } = {}): DataSource {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataSource',
    metadata: { name, namespace, uid: `uid-${name}`, resourceVersion: '1', labels: { own: 'label' } },
    spec: { source },
    ...(status ? { status } : {}),
  }
}

function snapshot(readyToUse?: boolean): VolumeSnapshot {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: {
      name: 'snap',
      namespace,
      uid: 'uid-snap',
      resourceVersion: '1',
      labels: { 'instancetype.kubevirt.io/default-preference': 'fedora' },
    },
    spec: { source: {} },
    ...(readyToUse === undefined ? {} : { status: { readyToUse } }),
  }
}

type Facts = Partial<Pick<DataSourceObservation, 'dataVolume' | 'claim' | 'snapshot'>> & {
  source: Source
  status?: Status
  others?: readonly DataSource[]
}

function plan({ source, status, others = [], ...found }: Facts): ReturnType<typeof planDataSource> {
  const subject = dataSource(source, status ? { status } : {})
  return planDataSource({
    dataSource: subject,
    direction: directionOf(subject, (name) => others.find(({ metadata }) => metadata.name === name)),
    dataVolume: undefined,
    claim: undefined,
    snapshot: undefined,
    ...found,
    now,
  })
}

const ofClaim = { pvc: { name: 'dv', namespace } }
const ofSnapshot = { snapshot: { name: 'snap', namespace } }
const pointer = (name: string, elsewhere: string = namespace): Source => ({
  dataSource: { name, namespace: elsewhere },
})
const ready = 'True Ready: DataSource is ready to be consumed'

describe('the condition of a DataSource', () => {
  const cases: [string, Facts, string][] = [
    ['that names nothing', { source: {} }, 'False NoSource: No source PVC set'],
    ['whose claim is missing', { source: ofClaim }, 'False NotFound: PVC not found'],
    ['whose claim is there', { source: ofClaim, claim: claim() }, ready],
    [
      'whose DataVolume is done',
      { source: ofClaim, dataVolume: dataVolume({ status: { phase: 'Succeeded' } }), claim: claim() },
      ready,
    ],
    [
      'whose DataVolume is at work, whatever its claim is',
      { source: ofClaim, dataVolume: dataVolume({ status: { phase: 'ImportInProgress' } }), claim: claim() },
      'False ImportInProgress: Import DataVolume phase ImportInProgress',
    ],
    [
      'whose DataVolume has only just been made',
      { source: ofClaim, dataVolume: dataVolume() },
      'False : Import DataVolume phase ',
    ],
    ['whose snapshot is missing', { source: ofSnapshot }, 'False NotFound: Snapshot not found'],
    [
      'whose snapshot has no status yet',
      { source: ofSnapshot, snapshot: snapshot() },
      'False SnapshotNotReady: Snapshot phase is not ready',
    ],
    [
      'whose snapshot is not ready',
      { source: ofSnapshot, snapshot: snapshot(false) },
      'False SnapshotNotReady: Snapshot phase is not ready',
    ],
    ['whose snapshot is ready', { source: ofSnapshot, snapshot: snapshot(true) }, ready],
    ['that names a claim before a snapshot', { source: { ...ofSnapshot, ...ofClaim }, claim: claim() }, ready],
    [
      'that points to a missing one',
      { source: pointer('gone') },
      'False NotFound: datasources.cdi.kubevirt.io "gone" not found',
    ],
    ['that points to itself', { source: pointer('fedora') }, 'False SelfReference: DataSource cannot self-reference'],
    [
      'that points to itself without naming its namespace',
      { source: pointer('fedora', '') },
      'False SelfReference: DataSource cannot self-reference',
    ],
    [
      'that points to another namespace',
      { source: pointer('fedora', 'elsewhere') },
      'False CrossNamespaceReference: DataSource cannot reference a DataSource in another namespace',
    ],
    [
      'that points to a pointer',
      { source: pointer('next'), others: [dataSource(pointer('last'), { name: 'next' })] },
      'False MaxReferenceDepthReached: DataSource reference chain exceeds maximum depth of 1',
    ],
    [
      'that points to one without a source',
      { source: pointer('next'), others: [dataSource({}, { name: 'next' })] },
      'False NoSource: No source PVC set',
    ],
    [
      'that points to one whose claim is missing',
      { source: pointer('next'), others: [dataSource(ofClaim, { name: 'next' })] },
      'False NotFound: PVC not found',
    ],
    [
      'that points to one whose claim is there',
      { source: pointer('next'), others: [dataSource(ofClaim, { name: 'next' })], claim: claim() },
      ready,
    ],
    [
      'that points somewhere and names a claim too',
      { source: { ...pointer('gone'), ...ofClaim }, claim: claim() },
      'False NotFound: datasources.cdi.kubevirt.io "gone" not found',
    ],
  ]
  for (const [title, facts, expected] of cases) {
    it(`of one ${title}`, () => {
      const { status } = plan(facts)
      assert.deepEqual(
        status.conditions?.map((each) => `${each.status} ${each.reason ?? ''}: ${each.message}`),
        [expected],
      )
      assert.equal(status.conditions?.[0]?.type, 'Ready')
      assert.equal(status.conditions[0].lastTransitionTime, now)
    })
  }
})

describe('the source in the status of a DataSource', () => {
  it('is what it names while that is ready', () => {
    assert.deepEqual(plan({ source: ofClaim, claim: claim() }).status.source, ofClaim)
    assert.deepEqual(plan({ source: ofSnapshot, snapshot: snapshot(true) }).status.source, ofSnapshot)
    assert.deepEqual(plan({ source: { ...ofSnapshot, ...ofClaim }, claim: claim() }).status.source, ofClaim)
  })

  it('of a pointer is what the other one names', () => {
    const others = [dataSource(ofSnapshot, { name: 'next' })]
    const { status } = plan({ source: pointer('next', ''), others, snapshot: snapshot(true) })
    assert.deepEqual(status.source, ofSnapshot)
  })

  it('is empty while nothing is ready, whatever it was before', () => {
    const status: Status = { source: ofClaim }
    assert.deepEqual(plan({ source: ofClaim, status }).status.source, {})
    assert.deepEqual(plan({ source: ofSnapshot, snapshot: snapshot(false), status }).status.source, {})
    assert.deepEqual(plan({ source: pointer('gone'), status }).status.source, {})
  })
})

describe('the time of the condition', () => {
  const before = (source: NonNullable<Status>['source']): Status => ({
    source,
    conditions: [
      {
        type: 'Ready',
        status: 'True',
        reason: 'Ready',
        message: 'DataSource is ready to be consumed',
        lastTransitionTime: early,
        lastHeartbeatTime: early,
      },
    ],
  })

  it('stays while nothing changes', () => {
    const status = before(ofClaim)
    assert.deepEqual(plan({ source: ofClaim, claim: claim(), status }).status, status)
  })

  it('is another one when another source is ready', () => {
    const { status } = plan({ source: ofSnapshot, snapshot: snapshot(true), status: before(ofClaim) })
    assert.equal(status.conditions?.[0]?.lastTransitionTime, now)
    const other = { pvc: { name: 'other', namespace } }
    const moved = plan({ source: other, claim: claim({ name: 'other' }), status: before(ofClaim) })
    assert.equal(moved.status.conditions?.[0]?.lastTransitionTime, now)
  })

  it('is another one when a pointer leads to another source although it was not changed itself', () => {
    const others = [dataSource(ofSnapshot, { name: 'next' })]
    const { status } = plan({ source: pointer('next'), others, snapshot: snapshot(true), status: before(ofClaim) })
    assert.equal(status.conditions?.[0]?.lastTransitionTime, now)
  })
})

describe('the labels of a DataSource', () => {
  const instanceType = 'instancetype.kubevirt.io/default-instancetype'
  const preference = 'instancetype.kubevirt.io/default-preference'
  const done = dataVolume({ status: { phase: 'Succeeded' }, labels: { [instanceType]: 'small', app: 'x' } })

  it('come from DataVolume and claim, of which the claim wins, and only those of KubeVirt', () => {
    const filled = claim({ labels: { [instanceType]: 'large', [preference]: 'fedora', 'example.com/x': 'y' } })
    assert.deepEqual(plan({ source: ofClaim, dataVolume: done, claim: filled }).labels, {
      [instanceType]: 'large',
      [preference]: 'fedora',
    })
    assert.deepEqual(plan({ source: ofClaim, dataVolume: done }).labels, { [instanceType]: 'small' })
  })

  it('come from a snapshot', () => {
    assert.deepEqual(plan({ source: ofSnapshot, snapshot: snapshot(true) }).labels, { [preference]: 'fedora' })
  })

  it('are left alone while nothing is ready', () => {
    assert.deepEqual(plan({ source: ofSnapshot, snapshot: snapshot(false) }).labels, {})
  })
})

describe('what a DataSource stands for', () => {
  const cases: [string, DataSource, ReturnType<typeof resolveDataSource>][] = [
    ['a claim', dataSource({ pvc: { name: 'a', namespace: 'x' } }), { kind: 'pvc', namespace: 'x', name: 'a' }],
    ['a claim beside it', dataSource({ pvc: { name: 'a', namespace: '' } }), { kind: 'pvc', namespace, name: 'a' }],
    [
      'a snapshot',
      dataSource({ snapshot: { name: 's', namespace: 'x' } }),
      { kind: 'snapshot', namespace: 'x', name: 's' },
    ],
    [
      'a claim before a snapshot',
      dataSource({ snapshot: { name: 's', namespace: 'x' }, pvc: { name: 'a', namespace: 'x' } }),
      { kind: 'pvc', namespace: 'x', name: 'a' },
    ],
    ['nothing yet', dataSource({}), undefined],
    ['nothing that has a name', dataSource({ pvc: { name: '', namespace: 'x' } }), undefined],
    [
      'what its controller found at the end of a pointer',
      dataSource({ ...pointer('next'), pvc: { name: 'decoy', namespace: 'x' } }, { status: { source: ofSnapshot } }),
      { kind: 'snapshot', namespace, name: 'snap' },
    ],
    ['nothing while a pointer leads nowhere', dataSource(pointer('next'), { status: { source: {} } }), undefined],
    ['nothing while nobody has followed the pointer', dataSource(pointer('next')), undefined],
  ]
  for (const [title, subject, expected] of cases) {
    it(`is ${title}`, () => {
      assert.deepEqual(resolveDataSource(subject), expected)
    })
  }
})
