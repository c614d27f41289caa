import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  compareQuantities,
  formatBytes,
  parseQuantity,
  QuantityError,
  requiredBytes,
  roundUpToMebibyte,
  tryParseQuantity,
  usableBytes,
} from '../../src/quantity.ts'

const mebibyte = 1024 * 1024

describe('reading a quantity', () => {
  const cases: [text: string | number, value: number][] = [
    ['0', 0],
    ['71135396', 71135396],
    [71135396, 71135396],
    ['1Ki', 1024],
    ['64Mi', 64 * mebibyte],
    ['1.5Gi', 1.5 * 1024 ** 3],
    ['.5Gi', 0.5 * 1024 ** 3],
    ['2Ti', 2 * 1024 ** 4],
    ['0064Mi', 64 * mebibyte],
    ['+3', 3],
    ['-3', -3],
    ['5.', 5],
    ['1k', 1000],
    ['500M', 500_000_000],
    ['2G', 2e9],
    ['1P', 1e15],
    ['12e6', 12e6],
    ['12E6', 12e6],
    ['1.25e2', 125],
    ['100m', 1],
    ['1n', 1],
    ['1500m', 2],
    ['-1500m', -1],
    ['0.1Ki', 103],
    ['25e-1', 3],
  ]
  for (const [text, value] of cases) {
    it(`takes ${text} for ${value}, rounding up`, () => assert.equal(parseQuantity(text), value))
  }

  for (const text of ['', ' ', 'Gi', '1 Gi', '1KI', '1ki', '0x10', '1e', '1,5Gi', '--1', '1.2.3', 'NaN', '1Gi ']) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      assert.throws(() => parseQuantity(text), QuantityError)
      assert.equal(tryParseQuantity(text), undefined)
    })
  }

  it('refuses what a number cannot hold exactly', () => {
    assert.throws(() => parseQuantity('1Ei'), RangeError)
    assert.equal(parseQuantity('8191Ti'), 8191 * 1024 ** 4)
  })

  it('reads what was written', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (bytes) => assert.equal(parseQuantity(formatBytes(bytes)), bytes)))
  })
})

describe('writing a quantity', () => {
  it('uses the largest binary suffix that is exact', () => {
    assert.equal(formatBytes(64 * mebibyte), '64Mi')
    assert.equal(formatBytes(1536 * mebibyte), '1536Mi')
    assert.equal(formatBytes(71135396), '71135396')
    assert.equal(formatBytes(0), '0')
  })

  it('refuses fractions', () => {
    assert.throws(() => formatBytes(0.5), RangeError)
  })
})

describe('comparing quantities', () => {
  it('goes by the amount, not by the text', () => {
    assert.equal(compareQuantities('1Gi', '1024Mi'), 0)
    assert.equal(compareQuantities('1', '1000m'), 0)
    assert.equal(compareQuantities('1G', '1Gi'), -1)
    assert.equal(compareQuantities('999m', '1'), -1)
    assert.equal(compareQuantities('100Ei', '1'), 1)
  })

  it('agrees with the numbers', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.maxSafeNat(), (a, b) =>
        assert.equal(compareQuantities(formatBytes(a), String(b)), Math.sign(a - b)),
      ),
    )
  })
})

describe('the size of a volume with a file system', () => {
  it('has the values that clients know', () => {
    assert.equal(requiredBytes('0.06', 64 * mebibyte), 71135396)
    assert.equal(requiredBytes('0.5', 100 * mebibyte), 150 * mebibyte)
    assert.equal(requiredBytes('0', 100 * mebibyte + 1), 101 * mebibyte)
  })

  it('is exact where binary fractions are not', () => {
    // 0.055 × 1000 MiB is 57671680 exactly; in floating point 1 + 0.055 is a little less.
    assert.equal(requiredBytes('0.055', 1000 * mebibyte), 1000 * mebibyte + 57671680)
    assert.equal(usableBytes('0.055', 1000 * mebibyte + 57671680), 1000 * mebibyte)
  })

  it('gives the scratch volume of a worker the size that clients know', () => {
    assert.equal(roundUpToMebibyte(requiredBytes('0.06', usableBytes('0.06', 71135396))), 71303168)
  })

  it('leaves exactly the disk that it was made for', () => {
    const overheads = fc.integer({ min: 0, max: 1000 }).map((thousandths) => (thousandths / 1000).toFixed(3))
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 2 ** 46 }), overheads, (bytes, overhead) => {
        assert.equal(usableBytes(overhead, requiredBytes(overhead, bytes)), roundUpToMebibyte(bytes))
      }),
    )
  })

  it('never leaves more than there is', () => {
    const overheads = fc.integer({ min: 0, max: 1000 }).map((thousandths) => (thousandths / 1000).toFixed(3))
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 31 - 1 }), overheads, (bytes, overhead) => {
        const usable = usableBytes(overhead, bytes)
        assert.ok(usable <= bytes && usable % mebibyte === 0)
      }),
    )
  })

  it('refuses an overhead that is no number', () => {
    assert.throws(() => requiredBytes('lots', 1), QuantityError)
    assert.throws(() => usableBytes('-0.1', 1), QuantityError)
  })
})
