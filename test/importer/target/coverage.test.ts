import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { Coverage } from '../../../importer/target/coverage.ts'

const unit = 4096
const units = 160

describe('coverage of a disk', () => {
  it('names exactly the bytes that were not written, whatever the order of the writes', () => {
    const writes = fc.array(fc.tuple(fc.nat(units - 1), fc.integer({ min: 1, max: 60 })), { maxLength: 40 })
    fc.assert(
      fc.property(writes, fc.integer({ min: 1, max: units }), (list, endUnit) => {
        const coverage = new Coverage(units * unit)
        const model = Array.from({ length: units }, () => false)
        for (const [start, length] of list) {
          const stop = Math.min(units, start + length)
          coverage.add(start * unit, stop * unit)
          model.fill(true, start, stop)
        }
        const seen = Array.from({ length: units }, () => true)
        let before = -1
        for (const gap of coverage.gaps(endUnit * unit)) {
          assert.ok(gap.start > before && gap.end > gap.start, 'gaps come in order and apart')
          before = gap.end
          seen.fill(false, gap.start / unit, gap.end / unit)
        }
        assert.deepEqual(seen.slice(0, endUnit), model.slice(0, endUnit))
        for (const [index, written] of model.entries()) {
          assert.equal(coverage.touches(index * unit, (index + 1) * unit), written)
        }
      }),
    )
  })

  it('keeps its account small on the largest disks', () => {
    const tebibyte = 1024 ** 4
    assert.ok((64 * tebibyte) / new Coverage(64 * tebibyte).granuleBytes <= 32 * 1024 * 1024)
  })
})
