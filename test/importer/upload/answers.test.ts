import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CdiError, errorTable } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { RequestRefusal, answerTo } from '../../../importer/upload/answers.ts'
import { SlotRefusal } from '../../../importer/upload/slot.ts'

const noCapacity = 'Saving stream failed: effective image size is larger than the reported available storage: '

describe('answers', () => {
  for (const code of ['CDI_IMAGE_TOO_LARGE', 'CDI_TARGET_FULL'] as const) {
    it(`tell in the words of the contract that there is no room (${code})`, () => {
      const { status, text = '', headers } = answerTo(new CdiError(code, 'why'))
      assert.equal(status, 400)
      assert.ok(text.startsWith(`${noCapacity}why`), text)
      assert.deepEqual(headers, { 'cdi-error-code': code })
    })
  }

  const rows: readonly (readonly [ErrorCode, number])[] = [
    ['CDI_FORMAT_INVALID', 400],
    ['CDI_FORMAT_UNSUPPORTED', 400],
    ['CDI_IMAGE_BACKING_FILE', 400],
    ['CDI_IMAGE_ENCRYPTED', 400],
    ['CDI_CHECKSUM_MISMATCH', 400],
    ['CDI_DECODE_CORRUPT', 400],
    ['CDI_DECODE_TRUNCATED', 400],
    ['CDI_ARCHIVE_INVALID', 400],
    ['CDI_UPLOAD_EMPTY', 400],
    ['CDI_UPLOAD_MALFORMED', 400],
    ['CDI_SOURCE_STALLED', 408],
    ['CDI_TARGET_IO', 500],
    ['CDI_TARGET_INVALID', 500],
    ['CDI_INTERNAL', 500],
  ]
  for (const [code, status] of rows) {
    it(`tell the fault, with ${status} for ${code}`, () => {
      const answer = answerTo(new CdiError(code, 'why'))
      assert.equal(answer.status, status)
      assert.ok(answer.text?.startsWith('Saving stream failed: why'), answer.text)
      // What the bytes are to blame for comes with what can be done about it.
      if (status === 400) assert.ok(answer.text?.endsWith(errorTable[code].remedy))
      assert.equal(answer.headers?.['cdi-error-code'], code)
    })
  }

  it('ask to come again when a server with scratch space is there', () => {
    const { status, text = '', headers } = answerTo(new CdiError('CDI_SCRATCH_REQUIRED', 'scratch space required'))
    assert.equal(status, 503)
    assert.match(text, /scratch space, upload again/)
    assert.equal(headers?.['retry-after'], '5')
  })

  it('say why the slot is not to be had', () => {
    assert.equal(answerTo(new SlotRefusal('busy')).status, 503)
    assert.equal(answerTo(new SlotRefusal('done')).status, 409)
    assert.equal(answerTo(new SlotRefusal('gone')).status, 410)
  })

  it('pass on a refusal of the request, and tell everything else as an inner error', () => {
    assert.deepEqual(answerTo(new RequestRefusal(415, 'what')), { status: 415, text: 'what' })
    assert.equal(answerTo(new TypeError('oops')).status, 500)
    assert.equal(answerTo('oops').status, 500)
  })

  it('exist for every fault that there is', () => {
    for (const code of Object.keys(errorTable) as ErrorCode[]) {
      const { status, text } = answerTo(new CdiError(code, 'why'))
      assert.ok(status >= 400 && status < 600 && text !== undefined && text.includes('why'), code)
    }
  })
})
