import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DataSource, VolumeCloneSource } from '../../../../src/api/kinds.ts'
import { endsOf, isClone, orderOf } from '../../../../src/controllers/datavolume/clone/order.ts'
import { dataVolume } from '../fixtures.ts'

const target = { namespace: 'vms', name: 'dv' }
const referring = (namespace?: string, kind = 'DataSource'): ReturnType<typeof dataVolume> =>
  dataVolume({ spec: { source: undefined, sourceRef: { kind, name: 'fedora', ...(namespace ? { namespace } : {}) } } })

function dataSource(spec: DataSource['spec'], status?: DataSource['status']): DataSource {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataSource',
    metadata: { name: 'fedora', namespace: 'golden', uid: 'uid-ds', resourceVersion: '1' },
    spec,
    ...(status ? { status } : {}),
  }
}

function cloneSource(kind: string, name: string): VolumeCloneSource {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeCloneSource',
    metadata: { name: 'volume-clone-source-uid-dv', namespace: 'golden', uid: 'uid-vcs', resourceVersion: '1' },
    spec: { source: { kind, name } },
  }
}

const none = { made: undefined, dataSource: undefined }

describe('what a DataVolume clones', () => {
  it('is what it names, in its own namespace unless it names one', () => {
    const named = dataVolume({ spec: { source: { pvc: { namespace: 'a', name: 'b' } } } })
    assert.deepEqual(orderOf(named, none), { order: { source: { kind: 'pvc', namespace: 'a', name: 'b' }, target } })
    const snapshot = dataVolume({ spec: { source: { snapshot: { namespace: '', name: 's' } } } })
    assert.deepEqual(orderOf(snapshot, none)?.order.source, { kind: 'snapshot', namespace: 'vms', name: 's' })
  })

  it('is nothing for other sources', () => {
    assert.equal(orderOf(dataVolume(), none), undefined)
    assert.equal(isClone(dataVolume()), false)
    assert.equal(isClone(referring()), true)
  })

  it('is what its DataSource stands for', () => {
    const found = orderOf(referring('golden'), {
      made: undefined,
      dataSource: dataSource({ source: { snapshot: { namespace: 'images', name: 'f41' } } }),
    })
    assert.deepEqual(found, { order: { source: { kind: 'snapshot', namespace: 'images', name: 'f41' }, target } })
  })

  it('stays what it was when the DataSource stands for something else by now, or is gone', () => {
    const made = cloneSource('PersistentVolumeClaim', 'f40')
    const source = { kind: 'pvc', namespace: 'golden', name: 'f40' }
    const moved = dataSource({ source: { pvc: { namespace: 'images', name: 'f41' } } })
    assert.deepEqual(orderOf(referring('golden'), { made, dataSource: moved }), { order: { source, target } })
    assert.deepEqual(orderOf(referring('golden'), { made, dataSource: undefined }), { order: { source, target } })
    const snapshot = cloneSource('VolumeSnapshot', 'f40')
    assert.equal(orderOf(referring('golden'), { made: snapshot, dataSource: moved })?.order.source.kind, 'snapshot')
  })

  const unresolved: [string, Parameters<typeof orderOf>, string][] = [
    ['without DataSource', [referring(), none], 'datasources.cdi.kubevirt.io "fedora" not found'],
    [
      'with an empty DataSource',
      [referring(), { made: undefined, dataSource: dataSource({ source: {} }) }],
      "Empty source field in 'fedora'. DataSource may not be ready yet",
    ],
    [
      'with a pointer that leads nowhere yet',
      [
        referring(),
        { made: undefined, dataSource: dataSource({ source: { dataSource: { namespace: 'golden', name: 'x' } } }) },
      ],
      "Empty source field in 'fedora'. DataSource may not be ready yet",
    ],
    [
      'with a reference of another kind',
      [referring(undefined, 'ConfigMap'), none],
      'Unsupported sourceRef kind ConfigMap, currently only DataSource is supported',
    ],
  ]
  for (const [name, [of, by], text] of unresolved) {
    it(`is told as unknown ${name}`, () => {
      const found = orderOf(of, by)
      assert.equal(found?.unresolved, text)
      assert.equal(found?.order.source.name, 'fedora')
    })
  }

  it('is told as namespace and name of both ends', () => {
    const ends = endsOf({ source: { kind: 'snapshot', namespace: 'a', name: 'b' }, target })
    assert.deepEqual(ends, { kind: 'snapshot', source: 'a/b', target: 'vms/dv' })
  })
})
