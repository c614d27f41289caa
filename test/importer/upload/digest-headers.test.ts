import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import { digestsOf, parseDigestField, parseInstanceDigest } from '../../../importer/upload/digest-headers.ts'
import type { Checksum } from '../../../importer/sources/checksum.ts'

const hash = (algorithm: string, encoding: 'base64' | 'hex'): string =>
  createHash(algorithm).update('disk').digest(encoding)
const sum = (algorithm: Checksum['algorithm']): Checksum => ({ algorithm, hex: hash(algorithm, 'hex') })
const sha256 = hash('sha256', 'base64')
const sha512 = hash('sha512', 'base64')

const isMalformed = (error: unknown): boolean =>
  error instanceof CdiError && error.code === 'CDI_UPLOAD_MALFORMED' && error.message.includes('Repr-Digest')

describe('Repr-Digest and Content-Digest (RFC 9530)', () => {
  const good: readonly (readonly [string, readonly Checksum[]])[] = [
    [`sha-256=:${sha256}:`, [sum('sha256')]],
    [`sha-512=:${sha512}:`, [sum('sha512')]],
    [`sha-256=:${sha256}:, sha-512=:${sha512}:`, [sum('sha256'), sum('sha512')]],
    [`sha-256=:${sha256}:,sha-512=:${sha512}:`, [sum('sha256'), sum('sha512')]],
    [`  sha-256=:${sha256}:;q=1  `, [sum('sha256')]],
    [`sha=:${hash('sha1', 'base64')}:, md5=:${hash('md5', 'base64')}:`, [sum('sha1'), sum('md5')]],
    // Unknown algorithms, whatever their values are, are passed over.
    ['crc32c=:AAAAAA==:', []],
    [`unixsum=30637, new="a, b", list=(1 "x,y" 2), flag, sha-256=:${sha256}:`, [sum('sha256')]],
    // Of a key that stands twice the last one counts (RFC 9651 §3.2).
    [`sha-256=:${Buffer.alloc(32).toString('base64')}:, sha-256=:${sha256}:`, [sum('sha256')]],
    // RFC 9651 §4.2.7 lets padding be left out.
    [`sha-256=:${sha256.replace('=', '')}:`, [sum('sha256')]],
  ]
  for (const [text, expected] of good) {
    it(`reads ${text}`, () => assert.deepEqual(parseDigestField('Repr-Digest', text), expected))
  }
  const bad = [
    '',
    ',',
    `sha-256=:${sha256}:,`,
    `,sha-256=:${sha256}:`,
    `sha-256=${sha256}`,
    `sha-256=:${sha256}`,
    `sha-256="${sha256}"`,
    'sha-256',
    'sha-256=::',
    'sha-256=:AAAA:',
    `sha-512=:${sha256}:`,
    `sha-256=:${hash('sha256', 'hex')}:`,
    `SHA-256=:${sha256}:`,
    `sha-256 =:${sha256}:`,
    `sha-256=:${sha256}: sha-512=:${sha512}:`,
    'new="open',
    'list=(1 2',
  ]
  for (const text of bad) {
    it(`refuses ${JSON.stringify(text)}`, () => assert.throws(() => parseDigestField('Repr-Digest', text), isMalformed))
  }

  it('never fails otherwise, and never finds what is not there', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary-ascii' }), (text) => {
        try {
          for (const { algorithm } of parseDigestField('Repr-Digest', text))
            assert.ok(text.includes(algorithm.slice(0, 3)))
        } catch (error) {
          assert.ok(isMalformed(error))
        }
      }),
    )
  })

  it('takes time in proportion to its length', () => {
    const started = performance.now()
    for (const text of ['a'.repeat(64_000), '"'.repeat(64_000), `x=${'(('.repeat(32_000)}`, 'sha-256=:'.repeat(7000)]) {
      assert.throws(() => parseDigestField('Repr-Digest', `${text}"`), isMalformed)
    }
    assert.ok(performance.now() - started < 5000)
  })
})

describe('Digest (RFC 3230)', () => {
  const good: readonly (readonly [string, readonly Checksum[]])[] = [
    [`SHA-256=${sha256}`, [sum('sha256')]],
    [`sha-256=${sha256}, MD5=${hash('md5', 'base64')}`, [sum('sha256'), sum('md5')]],
    [`SHA=${hash('sha1', 'base64')},UNIXsum=30637`, [sum('sha1')]],
    [`sha-512=${sha512}`, [sum('sha512')]],
  ]
  for (const [text, expected] of good) {
    it(`reads ${text}`, () => assert.deepEqual(parseInstanceDigest('Digest', text), expected))
  }
  for (const text of [
    '',
    'SHA-256',
    `SHA-256=${hash('sha256', 'hex')}`,
    `SHA-256=:${sha256}:`,
    `SHA-256=${sha256},`,
    '=x',
  ]) {
    it(`refuses ${JSON.stringify(text)}`, () =>
      assert.throws(
        () => parseInstanceDigest('Digest', text),
        (error) => error instanceof CdiError && error.code === 'CDI_UPLOAD_MALFORMED',
      ))
  }
})

describe('digests of a request', () => {
  it('are those of the file and those of the body', () => {
    const headers: Record<string, string> = {
      'repr-digest': `sha-512=:${sha512}:`,
      digest: `md5=${hash('md5', 'base64')}`,
      'content-digest': `sha-256=:${sha256}:`,
    }
    assert.deepEqual(
      digestsOf((name) => headers[name]),
      { representation: [sum('sha512'), sum('md5')], content: [sum('sha256')] },
    )
  })

  it('are none if there is no header', () => {
    assert.deepEqual(
      digestsOf(() => undefined),
      { representation: [], content: [] },
    )
  })
})
