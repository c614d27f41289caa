import assert from 'node:assert/strict'
import { it } from 'node:test'
import { pointerTo } from '../../../../src/apiserver/admission/verdict.ts'

it('a JSON pointer escapes what stands between names', () => {
  assert.equal(pointerTo('metadata', 'annotations', 'a.b/c~d'), '/metadata/annotations/a.b~1c~0d')
})
