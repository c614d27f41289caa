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

const anyExtents = fc.array(
  fc
    .record({
      diskOffset: fc.nat(10_000),
      sourceOffset: fc.nat(10_000),
      bytes: fc.integer({ min: 1, max: 3000 }),
      coding: fc.constantFrom('stored' as const, 'deflate' as const, 'grain' as const),
    })
    .map(({ bytes, coding, ...rest }) => ({ ...rest, coding, diskBytes: bytes, sourceBytes: bytes })),
)

describe('runs of extents', () => {
  it('join neighbours in the source, in its order, however the disk is', () => {
    const extents = [stored(300, 100, 50), stored(0, 150, 50), stored(900, 0, 90)]
    const runs = [...groupRuns({ extents, maxBytes: 1000, gapBytes: 10 })]
    assert.deepEqual(
      runs.map(({ offset, length }) => [offset, length]),
      [[0, 200]],
    )
    assert.deepEqual(
      runs[0]?.extents.map(({ diskOffset }) => diskOffset),
      [900, 300, 0],
    )
  })

  it('end at gaps that are too wide to be read through', () => {
    const runs = [...groupRuns({ extents: [stored(0, 0, 10), stored(10, 21, 10)], maxBytes: 1000, gapBytes: 10 })]
    assert.deepEqual(
      runs.map(({ offset, length }) => [offset, length]),
      [
        [0, 10],
        [21, 10],
      ],
    )
  })

  it('hold every byte of every extent once, are bounded, and never mix codings', () => {
    fc.assert(
      fc.property(anyExtents, fc.integer({ min: 1, max: 5000 }), fc.nat(500), (extents, maxBytes, gapBytes) => {
        const runs = [...groupRuns({ extents, maxBytes, gapBytes })]
        const bytesOf = (list: readonly Extent[]): string[] =>
          list
            .flatMap(({ coding, diskOffset, sourceOffset, sourceBytes }) =>
              coding === 'stored'
                ? Array.from({ length: sourceBytes }, (_, at) => `${diskOffset + at} ${sourceOffset + at}`)
                : [`${coding} ${diskOffset} ${sourceOffset} ${sourceBytes}`],
            )
            .sort()
        assert.deepEqual(bytesOf(runs.flatMap((run) => run.extents)), bytesOf(extents))
        for (const { coding, offset, length, extents: members } of runs) {
          assert.ok(length <= maxBytes + (coding === 'stored' ? 0 : 3000))
          let end = offset
          for (const member of members) {
            assert.equal(member.coding, coding)
            assert.ok(member.sourceOffset >= (coding === 'stored' ? end : offset))
            end = member.sourceOffset + member.sourceBytes
            assert.ok(end <= offset + length)
          }
        }
      }),
      { numRuns: 60 },
    )
  })
})
