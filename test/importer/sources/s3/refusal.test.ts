import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ResponseHead } from '../../../../importer/sources/http/head.ts'
import { explainS3, isExpiry } from '../../../../importer/sources/s3/refusal.ts'

function answer(status: number, headers: Record<string, string> = {}): ResponseHead {
  return { status, reason: 'Reason', minorVersion: 1, headers: new Map(Object.entries(headers)) }
}

function document(code: string, more = ''): Buffer {
  return Buffer.from(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>Words.</Message>${more}</Error>`)
}

const signed = { anonymous: false }

describe('a refusal of S3', () => {
  it('is told in its own words', () => {
    assert.deepEqual(explainS3(answer(404), document('NoSuchKey'), signed), {
      code: 'CDI_SOURCE_STATUS',
      text: 'NoSuchKey: Words. (404 Reason)',
      details: {},
      storeCode: 'NoSuchKey',
    })
  })

  it('ends the import when the object is in an archive', () => {
    assert.equal(explainS3(answer(403), document('InvalidObjectState'), signed)?.code, 'CDI_SOURCE_ARCHIVED')
  })

  it('names the region by header or document, if it is one', () => {
    const region = (head: ResponseHead, body: Buffer) => explainS3(head, body, signed)?.details?.['region']
    assert.equal(region(answer(301, { 'x-amz-bucket-region': 'eu-west-1' }), Buffer.alloc(0)), 'eu-west-1')
    const malformed = document('AuthorizationHeaderMalformed', '<Region>eu-west-2</Region>')
    assert.equal(region(answer(400), malformed), 'eu-west-2')
    assert.equal(region(answer(400), document('X', '<Region>evil.example.org/</Region>')), undefined)
    assert.equal(region(answer(400), document('X', '<Region>../..</Region>')), undefined)
  })

  it('says where a redirect leads, without its query', () => {
    const head = answer(307, { location: 'https://me:pw@other.example.org/x?X-Amz-Signature=abc' })
    const text = explainS3(head, Buffer.alloc(0), signed)?.text
    assert.equal(
      text,
      'expected status code 200, got 307 (307 Reason; it points to https://other.example.org, use that address)',
    )
  })

  it('says that there were no credentials', () => {
    assert.match(explainS3(answer(403), Buffer.alloc(0), { anonymous: true })?.text ?? '', /asked without credentials/)
  })

  it('has no words of its own if the store has none', () => {
    assert.equal(explainS3(answer(500), Buffer.from('<html>Internal Server Error</html>'), signed), undefined)
    assert.equal(explainS3(answer(404), Buffer.alloc(0), signed), undefined)
  })

  it('knows credentials that have expired', () => {
    const expiry = (code: string): boolean => {
      const refusal = explainS3(answer(400), document(code), signed)
      return refusal !== undefined && isExpiry(refusal)
    }
    assert.equal(expiry('ExpiredToken'), true)
    assert.equal(expiry('AccessDenied'), false)
  })
})
