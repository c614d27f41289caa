import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  checkContentRange,
  checkSameVersion,
  parseContentRange,
  validatorOf,
} from '../../../../importer/sources/http/validator.ts'

function head(headers: Record<string, string>) {
  return { status: 206, reason: '', minorVersion: 1, headers: new Map(Object.entries(headers)) }
}

const monday = 'Mon, 16 Nov 2026 10:00:00 GMT'
const tuesday = 'Tue, 17 Nov 2026 10:00:00 GMT'

describe('validator', () => {
  it('prefers a strong ETag', () => {
    assert.deepEqual(validatorOf(head({ etag: '"a"', 'last-modified': monday })), {
      etag: '"a"',
      lastModified: monday,
      strong: true,
    })
  })

  it('does not trust weak ETags', () => {
    assert.equal(validatorOf(head({ etag: 'W/"a"' })), undefined)
  })

  it('calls a date strong only when it lies well before the answer', () => {
    assert.equal(validatorOf(head({ 'last-modified': monday, date: tuesday }))?.strong, true)
    assert.equal(validatorOf(head({ 'last-modified': monday, date: monday }))?.strong, false)
    assert.equal(validatorOf(head({ 'last-modified': monday }))?.strong, false)
  })

  it('notices another version, and an ETag that is missing', () => {
    const validator = validatorOf(head({ etag: '"a"' }))
    checkSameVersion(validator, head({ etag: '"a"' }))
    assert.throws(() => checkSameVersion(validator, head({ etag: '"b"' })), { code: 'CDI_SOURCE_CHANGED' })
    assert.throws(() => checkSameVersion(validator, head({})), { code: 'CDI_SOURCE_CHANGED' })
  })

  it('notices another date but lets a 206 leave it out', () => {
    const validator = validatorOf(head({ 'last-modified': monday }))
    checkSameVersion(validator, head({}))
    assert.throws(() => checkSameVersion(validator, head({ 'last-modified': tuesday })), { code: 'CDI_SOURCE_CHANGED' })
  })
})

describe('Content-Range', () => {
  it('is read in its three forms', () => {
    assert.deepEqual(parseContentRange('bytes 0-99/1000'), { first: 0, last: 99, totalBytes: 1000 })
    assert.deepEqual(parseContentRange('bytes 5-6/*'), { first: 5, last: 6 })
    assert.deepEqual(parseContentRange('bytes */1000'), { totalBytes: 1000 })
    for (const broken of [undefined, '', 'bytes', 'items 0-1/2', 'bytes 0-1', 'bytes a-b/c']) {
      assert.equal(parseContentRange(broken), undefined)
    }
  })

  const asked = { offset: 100, length: 50 }
  it('may be shorter than what was asked for', () => {
    assert.equal(checkContentRange(asked, 1000, head({ 'content-range': 'bytes 100-119/1000' })), 20)
  })
  for (const wrong of ['bytes 0-49/1000', 'bytes 100-150/1000', 'bytes 100-99/1000', 'bytes 100-149/999', 'nonsense']) {
    it(`is refused as ${JSON.stringify(wrong)} when 100-149/1000 is asked for`, () => {
      assert.throws(() => checkContentRange(asked, 1000, head({ 'content-range': wrong })), {
        code: 'CDI_SOURCE_CHANGED',
      })
    })
  }
})
