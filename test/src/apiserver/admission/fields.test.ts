import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { isSameSpec } from '../../../../src/apiserver/admission/fields.ts'

describe('two specs', () => {
  it('are the same when they ask for the same', () => {
    assert.ok(isSameSpec({ a: null, b: [] }, {}))
    assert.ok(isSameSpec({ requests: { storage: '1Gi' } }, { requests: { storage: '1024Mi' } }))
    assert.ok(isSameSpec({ storage: 1024 }, { storage: '1Ki' }))
    assert.ok(isSameSpec(undefined, null))
  })

  it('are different when they do not', () => {
    assert.ok(!isSameSpec({ a: {} }, {}))
    assert.ok(!isSameSpec({ name: '1Gi' }, { name: '1024Mi' }), 'only amounts are compared as amounts')
    assert.ok(!isSameSpec({ storage: 'x' }, { storage: 'y' }))
    assert.ok(!isSameSpec({ storage: {} }, { storage: '1Gi' }))
    assert.ok(!isSameSpec([1, 2], [2, 1]))
  })

  it('are compared the same in both directions, and equal to themselves', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, other) => {
        assert.ok(isSameSpec(one, structuredClone(one)))
        assert.equal(isSameSpec(one, other), isSameSpec(other, one))
      }),
    )
  })
})
