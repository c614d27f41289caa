import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { RequestRefusal } from '../../../../importer/upload/answers.ts'
import {
  formatHttpDate,
  parseTusChecksum,
  parseTusCount,
  parseTusLength,
  parseTusMetadata,
  wholeChecksum,
} from '../../../../importer/upload/resumable/tus-headers.ts'

function refuses(text: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof RequestRefusal, String(error))
    assert.equal(error.status, 400)
    assert.match(error.message, text)
    return true
  }
}

describe('headers of tus', () => {
  it('are counted in non-negative integers', () => {
    assert.equal(parseTusCount('Upload-Offset', '0'), 0)
    assert.equal(parseTusCount('Upload-Offset', '4398046511104'), 4_398_046_511_104)
    assert.equal(parseTusCount('Upload-Offset', undefined), undefined)
    for (const text of ['', '-1', '1.5', '1e3', ' 1', '0x1', '9007199254740992', 'NaN']) {
      assert.throws(
        () => parseTusCount('Upload-Offset', text),
        refuses(/Upload-Offset has to be a non-negative integer/),
      )
    }
  })

  it('tell the length at once or say that it comes later', () => {
    assert.equal(parseTusLength('100', undefined), 100)
    assert.equal(parseTusLength(undefined, '1'), undefined)
    for (const [length, defer] of [
      [undefined, undefined],
      ['100', '1'],
    ]) {
      assert.throws(() => parseTusLength(length, defer), refuses(/either Upload-Length or Upload-Defer-Length: 1/))
    }
    assert.throws(() => parseTusLength(undefined, '2'), refuses(/Upload-Defer-Length has to be 1/))
  })

  it('carry metadata', () => {
    const metadata = parseTusMetadata('filename d29ybGQudHh0,is_confidential,relative_path Zm9v')
    assert.deepEqual(
      [...metadata],
      [
        ['filename', 'world.txt'],
        ['is_confidential', ''],
        ['relative_path', 'foo'],
      ],
    )
    assert.equal(parseTusMetadata(undefined).size, 0)
    assert.equal(parseTusMetadata('').size, 0)
    for (const text of ['a YQ==,a YQ==', 'a Y', 'a YQ== b', 'ä YQ==', ',', 'a YQ==,', 'a !!!!']) {
      assert.throws(() => parseTusMetadata(text), refuses(/Upload-Metadata/), text)
    }
  })

  it('carry any metadata that a client writes', () => {
    const key = fc.stringMatching(/^[!-+\--~]{1,20}$/)
    fc.assert(
      fc.property(fc.uniqueArray(fc.tuple(key, fc.string()), { selector: ([name]) => name }), (pairs) => {
        const text = pairs.map(([name, value]) => `${name} ${Buffer.from(value).toString('base64')}`).join(',')
        const expected = pairs.map(([name, value]) => [name, Buffer.from(value).toString()])
        assert.deepEqual([...parseTusMetadata(text)], expected)
      }),
    )
  })

  it('carry a checksum of the whole in the metadata', () => {
    const hex = createHash('sha256').update('x').digest('hex')
    assert.deepEqual(wholeChecksum(new Map([['checksum', `sha256:${hex}`]])), { algorithm: 'sha256', hex })
    assert.equal(wholeChecksum(new Map()), undefined)
    assert.throws(
      () => wholeChecksum(new Map([['checksum', 'sha256:12']])),
      refuses(/sha256 has 64 hexadecimal digits/),
    )
  })

  it('carry a checksum of the piece', () => {
    for (const algorithm of ['sha1', 'sha256', 'sha512', 'md5'] as const) {
      const hash = createHash(algorithm).update('hello').digest()
      assert.deepEqual(parseTusChecksum(`${algorithm} ${hash.toString('base64')}`), {
        algorithm,
        hex: hash.toString('hex'),
      })
    }
    assert.equal(parseTusChecksum(undefined), undefined)
    assert.throws(() => parseTusChecksum('crc32 AAAA'), refuses(/the algorithms are sha1, sha256, sha512, md5/))
    for (const text of [
      'sha1',
      'sha1 ',
      'sha1 AAAA',
      'sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0= x',
      'sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0',
    ]) {
      assert.throws(() => parseTusChecksum(text), refuses(/Upload-Checksum has to be/), text)
    }
  })

  it('are refused and never fail otherwise, whatever a client sends', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        for (const read of [
          () => parseTusCount('Upload-Offset', text),
          () => parseTusLength(text, undefined),
          () => parseTusMetadata(text),
          () => parseTusChecksum(text),
        ]) {
          try {
            read()
          } catch (error) {
            assert.ok(error instanceof RequestRefusal, String(error))
          }
        }
      }),
    )
  })

  it('write a moment as HTTP does', () => {
    assert.equal(formatHttpDate(Date.UTC(2014, 5, 25, 16)), 'Wed, 25 Jun 2014 16:00:00 GMT')
  })
})
