import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { isEqual, mergePatch } from '../../../src/kube/merge-patch.ts'

/** RFC 7386, section 2, word for word. */
function apply(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch
  const result: Record<string, unknown> =
    typeof target === 'object' && target !== null && !Array.isArray(target) ? { ...target } : {}
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key]
    else result[key] = apply(result[key], value)
  }
  return result
}

const json = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.constantFrom('a', 'b'),
    fc.nat(2),
    fc.boolean(),
    fc.array(fc.nat(2), { maxLength: 2 }),
    tie('object'),
  ),
  object: fc.dictionary(fc.constantFrom('x', 'y', 'z'), tie('value'), { maxKeys: 3 }),
}))

describe('mergePatch', () => {
  it('leads from any object to any other', () => {
    fc.assert(
      fc.property(json.object, json.object, (current, wanted) => {
        const patch = mergePatch(current, wanted)
        assert.ok(isEqual(patch === undefined ? current : apply(current, patch), wanted))
      }),
    )
  })

  it('is undefined exactly when nothing is to be changed', () => {
    fc.assert(
      fc.property(json.object, json.object, (current, wanted) => {
        assert.equal(mergePatch(current, wanted) === undefined, isEqual(current, wanted))
        assert.equal(mergePatch(wanted, structuredClone(wanted)), undefined)
      }),
    )
  })

  it('says only what changes, removes with null and replaces lists', () => {
    const current = { kept: { deep: 1 }, gone: 'x', list: [1, 2], changed: { a: 1, b: 2 } }
    const wanted = { kept: { deep: 1 }, gone: undefined, list: [2], changed: { a: 1, b: 3 } }
    assert.deepEqual(mergePatch(current, wanted), { gone: null, list: [2], changed: { b: 3 } })
  })

  it('makes an object where there was none', () => {
    assert.deepEqual(mergePatch(undefined, { a: {} }), { a: {} })
  })
})
