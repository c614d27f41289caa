import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { errorsPage } from '../../src/errors-doc.ts'
import { CdiError, errorTable, prefixError, toCdiError } from '../../src/errors.ts'

describe('error registry', () => {
  it('is the source of docs/errors.md, which is fresh', async () => {
    assert.equal(await readFile(new URL('../../docs/errors.md', import.meta.url), 'utf8'), errorsPage())
  })

  it('gives every code a summary and a remedy that are sentences', () => {
    for (const [code, facts] of Object.entries(errorTable)) {
      assert.match(facts.summary, /\.$/, code)
      assert.match(facts.remedy, /\S/, code)
    }
  })

  it('keeps code, kind and details when a step is put in front', () => {
    const cause = new CdiError('CDI_CHECKSUM_MISMATCH', 'checksum mismatch', { details: { expected: 'a' } })
    const error = prefixError('Unable to process data', cause)
    assert.equal(error.message, 'Unable to process data: checksum mismatch')
    assert.deepEqual([error.code, error.kind, error.details], ['CDI_CHECKSUM_MISMATCH', 'terminal', { expected: 'a' }])
  })

  it('takes an unknown fault for an internal one and an abort for what it was aborted with', () => {
    assert.equal(toCdiError(new TypeError('x is undefined')).code, 'CDI_INTERNAL')
    const aborted = new DOMException('The operation was aborted', 'AbortError')
    assert.equal(toCdiError(aborted).code, 'CDI_ABORTED')
  })
})
