import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  Problem,
  completedUpload,
  draftStateHeaders,
  mismatchingOffset,
  parseDraftRequest,
} from '../../../../importer/upload/resumable/draft-headers.ts'

function parse(headers: Readonly<Record<string, string>>, more: { announcedBytes?: number; offset?: number } = {}) {
  return parseDraftRequest({ announcedBytes: undefined, ...more, header: (name) => headers[name] })
}

describe('headers of the draft', () => {
  for (const [name, headers, more, expected] of [
    ['know nothing of resumption if they do not say so', {}, {}, { isPiece: false }],
    [
      'begin an upload in parts',
      { 'upload-complete': '?0', 'upload-length': '100' },
      { announcedBytes: 40, offset: 0 },
      { complete: false, offset: 0, length: 100, isPiece: false },
    ],
    [
      'tell the length by being all that is left',
      { 'upload-complete': '?1', 'upload-offset': '60', 'content-type': 'application/partial-upload' },
      { announcedBytes: 40 },
      { complete: true, offset: 60, length: 100, isPiece: true },
    ],
    [
      'tell no length if nothing does',
      { 'upload-complete': '?1', 'upload-offset': '60' },
      {},
      { complete: true, offset: 60, isPiece: false },
    ],
    [
      'are ignored if they cannot be read',
      { 'upload-complete': '1', 'upload-offset': '-1', 'upload-length': 'x', 'upload-draft-interop-version': '?1' },
      {},
      { isPiece: false },
    ],
    [
      'tell the interop version',
      { 'upload-draft-interop-version': '8', 'content-type': 'application/Partial-Upload; a=b' },
      {},
      { interop: 8, isPiece: true },
    ],
    [
      'need no media type in the versions that had none',
      { 'upload-draft-interop-version': '5', 'content-type': 'text/plain' },
      {},
      { interop: 5, isPiece: true },
    ],
    [
      'tell no version that is not known here',
      { 'upload-draft-interop-version': '9', 'content-type': 'text/plain' },
      {},
      { isPiece: false },
    ],
  ] as const) {
    it(name, () => {
      assert.deepEqual(parse(headers, more), expected)
    })
  }

  it('must not contradict themselves about the length', () => {
    const headers = { 'upload-complete': '?1', 'upload-length': '100', 'upload-offset': '10' }
    assert.equal(parse(headers, { announcedBytes: 90 }).length, 100)
    assert.throws(
      () => parse(headers, { announcedBytes: 91 }),
      (error) =>
        error instanceof Problem &&
        error.status === 400 &&
        error.document['type'] === 'https://iana.org/assignments/http-problem-types#inconsistent-upload-length',
    )
  })

  it('tell the state of an upload', () => {
    assert.deepEqual(draftStateHeaders({ complete: false, offset: 5, length: 9, maxAgeSeconds: 3.7 }), {
      'upload-complete': '?0',
      'upload-offset': 5,
      'upload-length': 9,
      'upload-limit': 'max-age=3',
    })
    assert.deepEqual(draftStateHeaders({ complete: true }), { 'upload-complete': '?1' })
  })

  it('come with documents about what is wrong', () => {
    assert.deepEqual(mismatchingOffset(12, 25).document, {
      type: 'https://iana.org/assignments/http-problem-types#mismatching-upload-offset',
      title: 'the upload goes on at byte 12, not 25',
      status: 409,
      'expected-offset': 12,
      'provided-offset': 25,
    })
    assert.deepEqual(mismatchingOffset(12, 25).headers, { 'upload-complete': '?0', 'upload-offset': 12 })
    assert.equal(completedUpload().document['type'], 'https://iana.org/assignments/http-problem-types#completed-upload')
  })

  it('never fail otherwise, whatever a client sends', () => {
    const text = fc.string({ unit: 'binary', maxLength: 60 })
    fc.assert(
      fc.property(text, text, text, text, fc.nat(), (one, two, three, four, announcedBytes) => {
        const headers = {
          'upload-complete': one,
          'upload-offset': two,
          'upload-length': three,
          'upload-draft-interop-version': four,
        }
        try {
          parse(headers, { announcedBytes })
        } catch (error) {
          assert.ok(error instanceof Problem, String(error))
        }
      }),
    )
  })
})
