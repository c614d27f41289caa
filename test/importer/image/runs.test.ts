import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { Extent } from '../../../importer/image/extents.ts'
import { groupRuns } from '../../../importer/image/runs.ts'

const stored = (diskOffset: number, sourceOffset: number, bytes: number): Extent => ({
  coding: 'stored',
  diskOffset,
  diskBytes: bytes,
  sourceOffset,
  sourceBytes: bytes,
})
const packed = (diskOffset: number, sourceOffset: number, bytes: number): Extent => ({
  ...stored(diskOffset, sourceOffset, bytes),
  coding: 'deflate',
  diskBytes: 65_536,
})

const anyExtents = fc.array(
  fc
    .record({
      diskOffset: fc.nat(10_000),
      sourceOffset: fc.nat(1_000_000),
      bytes: fc.integer({ min: 1, max: 300_000 }),
      coding: fc.constantFrom('stored' as const, 'deflate' as const, 'grain' as const),
    })
    .map(({ bytes, coding, ...rest }) => ({ ...rest, coding, diskBytes: bytes, sourceBytes: bytes })),
  { maxLength: 30 },
)

const places = (extents: readonly Extent[], gapBytes = 10): number[][] =>
  [...groupRuns({ extents, gapBytes })].map(({ offset, end }) => [offset, end])

describe('runs of extents', () => {
  it('join neighbours in the source, in its order, however the disk is', () => {
    const extents = [stored(300, 100, 50), packed(0, 150, 50), stored(900, 0, 90)]
    const [run, ...others] = groupRuns({ extents, gapBytes: 10 })
    assert.deepEqual([run?.offset, run?.end, others.length], [0, 200, 0])
    assert.deepEqual(
      run?.extents.map(({ diskOffset }) => diskOffset),
      [900, 300, 0],
    )
  })

  it('end at gaps that are too wide to be read through', () => {
    assert.deepEqual(places([stored(0, 0, 10), stored(10, 21, 10)]), [
      [0, 10],
      [21, 31],
    ])
  })

  it('hold what is packed side by side although the bounds of one reach into the next', () => {
    assert.deepEqual(places([packed(0, 0, 512), packed(1, 79, 433), packed(2, 158, 866)]), [[0, 1024]])
  })

  it('hold nothing that overlaps with what is stored', () => {
    assert.deepEqual(places([stored(0, 0, 100), stored(200, 50, 100), packed(0, 140, 20), stored(9, 150, 50)]), [
      [0, 100],
      [50, 150],
      [140, 160],
      [150, 200],
    ])
  })

  it('are cut between two extents, or at a multiple of 64 KiB inside of a stored one', () => {
    const extents = [packed(0, 0, 300), packed(1, 200, 312), stored(2, 1000, 200_000), packed(3, 201_000, 50)]
    const [run] = groupRuns({ extents, gapBytes: 1000 })
    assert.ok(run)
    const cuts = [0, 1, 200, 201, 1001, 66_537, 140_000, 201_000, 201_001].map((at) => run.cut(at))
    assert.deepEqual(cuts, [0, 200, 200, 1000, 66_536, 132_072, 197_608, 201_000, 201_050])
    assert.deepEqual(
      [200, 1000, 66_536, 201_000, 201_050].map((end) => run.readEnd(end)),
      [300, 512, 66_536, 201_000, 201_050],
    )
    assert.deepEqual(
      [0, 200, 1000, 66_536, 201_000].map((at) => run.indexAt(at)),
      [0, 1, 2, 2, 3],
    )
  })

  it('know whether something packed begins in a piece', () => {
    const [run] = groupRuns({
      extents: [stored(0, 0, 200_000), packed(1, 200_000, 50), stored(2, 200_064, 64)],
      gapBytes: 99,
    })
    assert.ok(run)
    assert.equal(run.holdsPacked({ position: 0, end: 200_000 }), false)
    assert.equal(run.holdsPacked({ position: 65_536, end: 200_064 }), true)
    assert.equal(run.holdsPacked({ position: 200_064, end: run.end }), false)
  })

  it('hold every byte of every extent once, and every piece that they are cut into can be read on its own', () => {
    fc.assert(
      fc.property(anyExtents, fc.nat(5000), fc.integer({ min: 1, max: 400_000 }), (extents, gapBytes, step) => {
        const found: Extent[] = []
        for (const run of groupRuns({ extents, gapBytes })) {
          found.push(...run.extents)
          for (let position = run.offset; position < run.end;) {
            const end = run.cut(position + step)
            assert.ok(end > position && end <= run.end)
            const readEnd = run.readEnd(end)
            assert.ok(readEnd <= run.end)
            for (const { coding, sourceOffset, sourceBytes } of run.extents.slice(run.indexAt(position))) {
              if (sourceOffset >= end) break
              const stop = sourceOffset + sourceBytes
              assert.ok((coding === 'stored' ? Math.min(stop, end) : stop) <= readEnd)
              assert.ok(coding === 'stored' || sourceOffset >= position)
            }
            position = end
          }
        }
        const byPlace = (list: readonly Extent[]): string[] => list.map((extent) => JSON.stringify(extent)).sort()
        assert.deepEqual(byPlace(found), byPlace(extents))
      }),
    )
  })
})
