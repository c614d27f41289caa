import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseGcsAddress } from '../../../../importer/sources/gcs/address.ts'

describe('GCS address', () => {
  it('gs:// is taken literally and is with Google', () => {
    const { url, google } = parseGcsAddress('gs://images/a b/%41?c#d.img')
    assert.equal(url.href, 'https://storage.googleapis.com/images/a%20b/%2541%3Fc%23d.img')
    assert.equal(google, true)
  })

  it('gs:// is with the emulator if one is set', () => {
    for (const [value, origin] of [
      ['localhost:4443', 'http://localhost:4443'],
      ['https://gcs.test/', 'https://gcs.test'],
    ]) {
      const { url } = parseGcsAddress('gs://images/b.img', { STORAGE_EMULATOR_HOST: value })
      assert.equal(url.href, `${origin}/images/b.img`)
    }
    assert.throws(() => parseGcsAddress('gs://images/b.img', { STORAGE_EMULATOR_HOST: 'ftp://x' }), {
      code: 'CDI_USAGE',
    })
  })

  it('http(s) URLs stay as they are', () => {
    for (const text of ['http://web:8080/images/a%20b.img?x=y', 'https://storage.googleapis.com/images/b.img']) {
      const { url, google } = parseGcsAddress(text, { STORAGE_EMULATOR_HOST: 'localhost:1' })
      assert.equal(url.href, text)
      assert.equal(google, text.includes('googleapis'))
    }
  })

  it('is refused if it names no object', () => {
    for (const text of [
      'gs://',
      'gs://images',
      'gs://images/',
      'gs:///b',
      'gs://images/../b',
      'ftp://h/b',
      'http://h',
      'b',
    ]) {
      assert.throws(() => parseGcsAddress(text), { code: 'CDI_USAGE' }, text)
    }
  })
})
