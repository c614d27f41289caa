import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseResponseHead } from '../../../../importer/sources/http/head.ts'

describe('the head of an answer', () => {
  it('plays no tricks with a terminal or a log, since errors show its reason and its headers', () => {
    const head = parseResponseHead(Buffer.from('HTTP/1.1 404 \x1b[2JAll\x07is\0well\r\netag: "\x1b[31mred"\r\n\r\n'))
    assert.equal(head.reason, '[2JAll is well')
    assert.equal(head.headers.get('etag'), '" [31mred"')
  })

  it('has a reason that is not endless', () => {
    const { reason } = parseResponseHead(Buffer.from(`HTTP/1.1 404 ${'no '.repeat(10_000)}\r\n\r\n`))
    assert.ok(reason.length <= 200, `${reason.length} characters`)
  })
})
