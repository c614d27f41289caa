import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { RequestRefusal } from '../../../../importer/upload/answers.ts'
import { parseContentRange } from '../../../../importer/upload/resumable/content-range.ts'

describe('Content-Range of a request', () => {
  it('tells where the body belongs', () => {
    assert.deepEqual(parseContentRange('bytes 0-0/1'), { start: 0, end: 1, total: 1 })
    assert.deepEqual(parseContentRange('Bytes 100-199/1000 '), { start: 100, end: 200, total: 1000 })
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.nat(), (start, more, behind) => {
        const end = start + more + 1
        const total = end + behind
        assert.deepEqual(parseContentRange(`bytes ${start}-${end - 1}/${total}`), { start, end, total })
      }),
    )
  })

  for (const [text, why] of [
    ['bytes 0-9/*', /the length of the whole disk/],
    ['bytes */100', /bytes FIRST-LAST\/TOTAL/],
    ['bytes 5-4/100', /bytes 5 to 4 of 100/],
    ['bytes 0-100/100', /bytes 0 to 100 of 100/],
    ['bytes 0-9/99999999999999999999', /absurd/],
    ['items 0-9/100', /bytes FIRST-LAST\/TOTAL/],
    ['bytes 0-9', /bytes FIRST-LAST\/TOTAL/],
    ['bytes 0-9/100, bytes 20-29/100', /bytes FIRST-LAST\/TOTAL/],
    ['', /bytes FIRST-LAST\/TOTAL/],
  ] as const) {
    it(`is refused as ${JSON.stringify(text)}`, () => {
      assert.throws(
        () => parseContentRange(text),
        (error) => error instanceof RequestRefusal && error.status === 400 && why.test(error.message),
      )
    })
  }
})
