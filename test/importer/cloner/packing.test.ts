import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { zstdDecompressSync } from 'node:zlib'
import { Packing, paysOff } from '../../../importer/cloner/packing.ts'
import { mebibyte } from '../../fixtures/images.ts'

/** Bytes per millisecond. */
const perSecond = (bytes: number): number => bytes / 1000

describe('whether packing pays off', () => {
  const cases: [why: string, linkMiB: number, packMiB: number, ratio: number, expected: boolean][] = [
    ['a slow link and data that shrinks', 10, 150, 0.4, true],
    ['a slow link and data that does not shrink', 10, 150, 1, false],
    ['a link as fast as packing', 150, 150, 0.1, false],
    ['a link that is faster than packing', 400, 150, 0.1, false],
    ['a saving that is hardly one', 10, 1000, 0.85, false],
    ['a processor that is as slow as the link', 10, 10, 0.1, false],
  ]
  for (const [why, linkMiB, packMiB, ratio, expected] of cases) {
    it(`is ${expected ? 'yes' : 'no'} for ${why}`, () => {
      const linkRate = perSecond(linkMiB * mebibyte)
      const packRate = perSecond(packMiB * mebibyte)
      assert.equal(paysOff({ linkRate, packRate, ratio }), expected)
    })
  }
})

describe('packing', () => {
  const text = Buffer.from('the same again and again, '.repeat(40_000))

  function slow(packing: Packing): void {
    for (let body = 0; body < 6; body += 1) packing.sent(mebibyte, 10_000)
  }

  it('does nothing while the link is not known', async () => {
    const packing = new Packing()
    assert.equal(await packing.pack([text]), undefined)
    packing.sent(mebibyte, 10_000)
    assert.equal(await packing.pack([text]), undefined, 'the first bodies tell nothing')
  })

  it('packs for a slow link', async () => {
    const packing = new Packing()
    slow(packing)
    const packed = await packing.pack([text.subarray(0, 1000), text.subarray(1000)])
    assert.ok(packed !== undefined && packed.length < text.length / 10)
    assert.ok(zstdDecompressSync(packed).equals(text))
  })

  it('sends what does not shrink as it is', async () => {
    const packing = new Packing()
    slow(packing)
    assert.equal(await packing.pack([randomBytes(mebibyte)]), undefined)
  })

  it('stops when the link becomes fast', async () => {
    const packing = new Packing()
    slow(packing)
    assert.notEqual(await packing.pack([text]), undefined)
    for (let body = 0; body < 60; body += 1) packing.sent(64 * mebibyte, 0.1)
    assert.equal(await packing.pack([text]), undefined)
  })

  it('leaves small bodies alone', async () => {
    const packing = new Packing()
    slow(packing)
    assert.equal(await packing.pack([text.subarray(0, 1000)]), undefined)
  })
})
