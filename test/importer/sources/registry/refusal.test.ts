import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { refusalText } from '../../../../importer/sources/registry/refusal.ts'

const notFound = { status: 404, reason: 'Not Found' }
const shown = (text: string): string => text

function textOf(body: unknown, hide = shown): string {
  return refusalText(notFound, Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)), hide)
}

describe('text of a refusal', () => {
  it('has the words of registries and of token servers', () => {
    const errors = [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown', detail: { Tag: 'x' } }, { code: 'DENIED' }]
    assert.equal(textOf({ errors }), '404 Not Found (MANIFEST_UNKNOWN: manifest unknown; DENIED)')
    assert.equal(
      textOf({ error: 'invalid_grant', error_description: 'too old' }),
      '404 Not Found (invalid_grant: too old)',
    )
    assert.equal(
      textOf({ details: 'incorrect username or password' }),
      '404 Not Found (incorrect username or password)',
    )
  })

  it('is the status if there are no words', () => {
    for (const body of ['<html>', '', 'null', '[]', { errors: 'x' }, { errors: [null, 1, {}] }]) {
      assert.equal(textOf(body), '404 Not Found')
    }
  })

  it('shows no secret that was echoed', () => {
    const hide = (text: string): string => text.replaceAll('hunter2', '[redacted]')
    assert.equal(
      textOf({ errors: [{ message: 'bad password hunter2' }] }, hide),
      '404 Not Found (bad password [redacted])',
    )
  })

  it('stays short and plain whatever the other side says', () => {
    fc.assert(
      fc.property(fc.array(fc.record({ code: fc.string(), message: fc.string({ maxLength: 2000 }) })), (errors) => {
        const text = textOf({ errors: [{ message: '\u001b[31m\u202e\n'.repeat(100) }, ...errors] })
        assert.ok(text.length < 700)
        assert.doesNotMatch(text, /[\p{Cc}\p{Cf}]/u)
      }),
    )
  })
})
