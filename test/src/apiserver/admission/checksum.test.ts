import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { checksumProblem } from '../../../../src/apiserver/admission/checksum.ts'

describe('a checksum', () => {
  it('may be of four algorithms, in any case', () => {
    for (const [algorithm, digits] of [
      ['md5', 32],
      ['sha1', 40],
      ['SHA256', 64],
      ['Sha512', 128],
    ] as const) {
      assert.equal(checksumProblem(`${algorithm}:${'aF'.repeat(digits / 2)}`), undefined)
    }
  })

  it('is told what is wrong with it', () => {
    assert.match(checksumProblem('crc32:00') ?? '', /unsupported algorithm "crc32"/)
    assert.match(checksumProblem('constructor:00') ?? '', /unsupported algorithm/)
    assert.match(checksumProblem('md5:00:00') ?? '', /expected/)
    assert.match(checksumProblem(`md5:${'g'.repeat(32)}`) ?? '', /not hexadecimal/)
  })
})
