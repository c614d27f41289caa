import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { RangeSet } from '../../../importer/upload/range-set.ts'

const sizeBytes = 64
const range = fc
  .tuple(fc.nat(sizeBytes), fc.nat(sizeBytes))
  .map(([one, two]) => [Math.min(one, two), Math.max(one, two)] as const)
const ranges = fc.array(range, { maxLength: 12 })

function bitsOf(list: readonly (readonly [number, number])[]): boolean[] {
  return Array.from({ length: sizeBytes }, (_, at) => list.some(([start, end]) => start <= at && at < end))
}

function setOf(list: readonly (readonly [number, number])[]): RangeSet {
  return new RangeSet(list.map(([start, end]) => ({ start, end })))
}

/** The bytes as the set tells them by its ranges, which have to be in order and apart. */
function told(set: RangeSet): boolean[] {
  let before = -1
  for (const { start, end } of set.ranges) {
    assert.ok(start > before && end > start, JSON.stringify(set.ranges))
    before = end
  }
  return bitsOf(set.ranges.map(({ start, end }) => [start, end]))
}

describe('range set', () => {
  it('holds exactly the bytes that were added, in any order, overlapping and repeated', () => {
    fc.assert(
      fc.property(ranges, (list) => {
        const set = setOf(list)
        const bits = bitsOf(list)
        assert.deepEqual(told(set), bits)
        assert.equal(set.bytes, bits.filter(Boolean).length)
        const prefix = bits.indexOf(false)
        assert.equal(set.prefixEnd, prefix === -1 ? sizeBytes : prefix)
      }),
    )
  })

  it('loses exactly the bytes that are removed', () => {
    fc.assert(
      fc.property(ranges, range, (list, [start, end]) => {
        const set = setOf(list)
        set.remove(start, end)
        const bits = bitsOf(list).map((isIn, at) => isIn && !(start <= at && at < end))
        assert.deepEqual(told(set), bits)
        assert.equal(set.bytes, bits.filter(Boolean).length)
      }),
    )
  })

  it('tells of any range what is inside and what is not', () => {
    fc.assert(
      fc.property(ranges, range, (list, [start, end]) => {
        const set = setOf(list)
        const bits = bitsOf(list)
        let at = start
        for (const share of set.shares(start, end)) {
          assert.equal(share.start, at)
          assert.ok(share.end > share.start)
          for (; at < share.end; at += 1) assert.equal(bits[at], share.isInside)
        }
        assert.equal(at, end)
        assert.equal(set.covers(start, end), bits.slice(start, end).every(Boolean))
      }),
    )
  })

  it('tells what is missing, and what another set lacks', () => {
    fc.assert(
      fc.property(ranges, ranges, (list, others) => {
        const bits = bitsOf(list)
        const otherBits = bitsOf(others)
        const set = setOf(list)
        assert.deepEqual(
          told(new RangeSet(set.gaps(sizeBytes))),
          bits.map((bit) => !bit),
        )
        const rest = new RangeSet(set.without(setOf(others)))
        assert.deepEqual(
          told(rest),
          bits.map((bit, at) => bit && !otherBits[at]),
        )
      }),
    )
  })
})
