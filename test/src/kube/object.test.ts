import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { apiVersionOf, formatKey, keyOf, parseKey } from '../../../src/kube/object.ts'
import { controllerOf, controllerRef, isControlledBy, ownerRef } from '../../../src/kube/owners.ts'

const owner = { apiVersion: 'v1', kind: 'Thing', metadata: { name: 'a', uid: 'u1', resourceVersion: '1' } }

describe('keys', () => {
  it('stand for an object with and without a namespace, as text too', () => {
    assert.deepEqual(keyOf({ metadata: { name: 'a', namespace: 'ns' } }), { namespace: 'ns', name: 'a' })
    assert.deepEqual(keyOf({ metadata: { name: 'a' } }), { name: 'a' })
    for (const text of ['ns/a', 'a']) assert.equal(formatKey(parseKey(text)), text)
  })
})

describe('apiVersion', () => {
  it('of the core group has no slash', () => {
    assert.equal(apiVersionOf({ group: '', version: 'v1' }), 'v1')
    assert.equal(apiVersionOf({ group: 'apps', version: 'v1' }), 'apps/v1')
  })
})

describe('owners', () => {
  it('control what names them by UID, not by name', () => {
    const object = { metadata: { ownerReferences: [ownerRef({ ...owner, kind: 'Other' }), controllerRef(owner)] } }
    assert.deepEqual(controllerOf(object), {
      apiVersion: 'v1',
      kind: 'Thing',
      name: 'a',
      uid: 'u1',
      controller: true,
      blockOwnerDeletion: true,
    })
    assert.ok(isControlledBy(object, owner))
    assert.ok(!isControlledBy(object, { metadata: { uid: 'u2' } }))
    assert.ok(!isControlledBy({ metadata: { ownerReferences: [ownerRef(owner)] } }, owner))
    assert.equal(controllerOf({ metadata: {} }), undefined)
  })
})
