/** Whom the clone populator looks at when something changes: those that it concerns, and nobody else. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { PersistentVolumeClaim, Pod } from '../../../../src/api/kinds.ts'
import { finalizers } from '../../../../src/api/names.ts'
import { byClaim, byPod } from '../../../../src/controllers/clone/keys.ts'
import { claim } from '../fixtures.ts'
import { heldCaches } from '../held.ts'
import { bound, cloneSource, target } from './clone-fixtures.ts'

const named = (name: string, of: PersistentVolumeClaim): PersistentVolumeClaim => ({
  ...of,
  metadata: { ...of.metadata, name, uid: `uid-${name}` },
})
const held = { finalizers: [finalizers.clonePopulator] }
const receiver = claim({ name: 'tmp-pvc-uid-one', labels: { 'cdi.kubevirt.io/OwnedByUID': 'uid-one' } })
const caches = heldCaches({
  cloneSources: [cloneSource()],
  pvcs: [
    named('one', target()),
    named('two', target()),
    named('done', bound(target(), 'pv-1')),
    named('cleaning', bound(target(held), 'pv-2')),
    receiver,
  ],
})

function podOn(claimName: string, more: Partial<Pod['metadata']> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod', namespace: 'vms', uid: 'uid-pod', resourceVersion: '1', ...more },
    spec: { containers: [], volumes: [{ name: 'v', persistentVolumeClaim: { claimName } }] },
  }
}

const names = (keys: readonly { name: string }[]): string[] => [...new Set(keys.map(({ name }) => name))].sort()

describe('the clones that a change concerns', () => {
  it('are those of its source that are not done', () => {
    assert.deepEqual(names(byClaim(caches, claim({ name: 'src' }))), ['cleaning', 'one', 'two'])
    assert.deepEqual(names(byPod(caches, podOn('src'))), ['cleaning', 'one', 'two'])
  })

  it('are only the one that it reads for, of a pod that reads for a copy', () => {
    const reader = podOn('src', {
      labels: { 'cdi.kubevirt.io': 'cdi-clone-source' },
      annotations: { 'cdi.kubevirt.io/storage.ownerRef': 'vms/tmp-pvc-uid-one' },
    })
    assert.deepEqual(names(byPod(caches, reader)), ['one'])
  })

  it('are none of a pod elsewhere', () => {
    assert.deepEqual(names(byPod(caches, podOn('src', { namespace: 'other' }))), [])
  })
})
