import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { readUnitBytes } from '../../../importer/cloner/disk.ts'
import { missingOf, planWindows } from '../../../importer/cloner/plan.ts'
import type { Extent } from '../../../importer/target/coverage.ts'

const unit = readUnitBytes

/** Extents in order and apart, of whole units or not. */
function extents(sizeBytes: number): fc.Arbitrary<Extent[]> {
  return fc
    .uniqueArray(fc.integer({ min: 0, max: sizeBytes }), { maxLength: 24 })
    .map((cuts) => cuts.sort((one, two) => one - two))
    .map((cuts) =>
      cuts.flatMap((start, index) => {
        const end = cuts[index + 1]
        return index % 2 === 0 && end !== undefined ? [{ start, end }] : []
      }),
    )
}

const disk = fc.integer({ min: 1, max: 300 * unit }).chain((sizeBytes) =>
  fc.record({
    sizeBytes: fc.constant(sizeBytes),
    there: extents(sizeBytes),
    data: extents(sizeBytes),
    windowBytes: fc.integer({ min: 1, max: 40 }).map((units) => units * unit),
  }),
)

const covers = (list: readonly Extent[], at: number): boolean => list.some(({ start, end }) => at >= start && at < end)

describe('missingOf', () => {
  it('is what the target does not have', () => {
    assert.deepEqual(missingOf([], 10), [{ start: 0, end: 10 }])
    assert.deepEqual(missingOf([{ start: 0, end: 10 }], 10), [])
    assert.deepEqual(
      missingOf(
        [
          { start: 2, end: 4 },
          { start: 6, end: 7 },
        ],
        10,
      ),
      [
        { start: 0, end: 2 },
        { start: 4, end: 6 },
        { start: 7, end: 10 },
      ],
    )
  })
})

describe('planWindows', () => {
  it('gives a disk without data one window', () => {
    const windows = planWindows({ sizeBytes: 999, missing: [{ start: 0, end: 999 }], data: [], windowBytes: unit })
    assert.deepEqual(windows, [{ start: 0, end: 999, data: [] }])
  })

  it('gives zeros at the end to the window before', () => {
    const sizeBytes = 100 * unit
    const windows = planWindows({
      sizeBytes,
      missing: [{ start: 0, end: sizeBytes }],
      data: [{ start: 0, end: 4 * unit }],
      windowBytes: 2 * unit,
    })
    assert.deepEqual(windows, [
      { start: 0, end: 2 * unit, data: [{ start: 0, end: 2 * unit }] },
      { start: 2 * unit, end: sizeBytes, data: [{ start: 2 * unit, end: 4 * unit }] },
    ])
  })

  it('covers every missing byte once, and nothing but whole units around them', () => {
    fc.assert(
      fc.property(disk, ({ sizeBytes, there, data, windowBytes }) => {
        const missing = missingOf(there, sizeBytes)
        const windows = planWindows({ sizeBytes, missing, data, windowBytes })
        let before = 0
        for (const { start, end } of windows) {
          assert.ok(start >= before && end > start && end <= sizeBytes)
          assert.ok(start % unit === 0 && (end % unit === 0 || end === sizeBytes))
          before = end
        }
        for (let at = 0; at < sizeBytes; at += unit) {
          const end = Math.min(sizeBytes, at + unit)
          const isMissing = missing.some((range) => range.start < end && range.end > at)
          assert.equal(covers(windows, at), isMissing, `unit at ${at}`)
        }
      }),
    )
  })

  it('keeps all data of what is missing, in portions', () => {
    fc.assert(
      fc.property(disk, ({ sizeBytes, there, data, windowBytes }) => {
        const missing = missingOf(there, sizeBytes)
        for (const window of planWindows({ sizeBytes, missing, data, windowBytes })) {
          const bytes = window.data.reduce((sum, { start, end }) => sum + end - start, 0)
          assert.ok(bytes <= windowBytes)
          let before = window.start
          for (const { start, end } of window.data) {
            assert.ok(start >= before && end > start && end <= window.end && start % unit === 0)
            before = end
          }
          for (let at = window.start; at < window.end; at += unit) {
            const end = Math.min(sizeBytes, at + unit)
            const isData = data.some((extent) => extent.start < end && extent.end > at)
            assert.equal(covers(window.data, at), isData, `unit at ${at}`)
          }
        }
      }),
    )
  })
})
