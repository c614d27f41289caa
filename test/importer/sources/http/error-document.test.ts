import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseErrorDocument } from '../../../../importer/sources/http/error-document.ts'

describe('error document of an object store', () => {
  it('gives code, message, details and region', () => {
    const body = Buffer.from(
      '<Error xmlns="x"><Code>AccessDenied</Code>\n<Message>You &amp; &#34;me&#34;</Message>' +
        '<Details>Anonymous caller</Details><Region>eu-west-1</Region></Error>',
    )
    assert.deepEqual(parseErrorDocument(body), {
      code: 'AccessDenied',
      message: 'You & "me"',
      details: 'Anonymous caller',
      region: 'eu-west-1',
    })
  })

  it('is understood when it was cut off behind the code', () => {
    assert.deepEqual(parseErrorDocument(Buffer.from('<Error><Code>SlowDown</Code><Message>Reduce')), {
      code: 'SlowDown',
      message: '',
    })
  })

  it('is nothing else', () => {
    for (const text of [
      '',
      '<html><Code>x</Code></html>',
      '<Error/>',
      '<Error><Code>a b</Code></Error>',
      '{"error":1}',
    ]) {
      assert.equal(parseErrorDocument(Buffer.from(text)), undefined, text)
    }
  })

  it('brings no control characters and no essays into a message', () => {
    const hostile = fc.tuple(
      fc.string({ unit: 'binary', maxLength: 3000 }),
      fc.constantFrom('\u001b[2J', '\r\nX: y', '\u202e'),
    )
    fc.assert(
      fc.property(hostile, ([text, trick]) => {
        const body = Buffer.from(`<Error><Code>X</Code><Message>a${trick}${text.replaceAll('<', '')}</Message></Error>`)
        const { message = '' } = parseErrorDocument(body) ?? {}
        assert.ok(message.length <= 400)
        assert.doesNotMatch(message, /[\p{Cc}\p{Cf}]/u)
      }),
    )
  })
})
