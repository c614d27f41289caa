import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { Digest, parseChecksum } from '../../../importer/sources/checksum.ts'

describe('checksum', () => {
  for (const algorithm of ['md5', 'sha1', 'sha256', 'sha512'] as const) {
    it(`accepts the right ${algorithm}, in any case and with blanks around it`, () => {
      const hex = createHash(algorithm).update('some bytes').digest('hex')
      const digest = new Digest(parseChecksum(`  ${algorithm.toUpperCase()}:${hex.toUpperCase()}\n`))
      digest.update(Buffer.from('some '))
      digest.update(Buffer.from('bytes'))
      digest.verify()
    })
  }

  it('tells both checksums when they differ', () => {
    const wanted = 'a'.repeat(64)
    const digest = new Digest(parseChecksum(`sha256:${wanted}`))
    const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    assert.throws(() => digest.verify(), {
      code: 'CDI_CHECKSUM_MISMATCH',
      message: `checksum validation failed: checksum mismatch: expected sha256:${wanted}, calculated sha256:${empty}`,
    })
  })

  const nonsense = ['', 'sha256', 'crc32:00000000', 'md5:123', `sha1:${'g'.repeat(40)}`, `md5:${'0'.repeat(32)}:x`]
  for (const text of [...nonsense, `constructor:${'0'.repeat(32)}`]) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseChecksum(text), { code: 'CDI_CHECKSUM_INVALID', message: /^invalid checksum: / })
    })
  }
})
