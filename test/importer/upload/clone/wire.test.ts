import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  decodeHead,
  encodeHead,
  headLength,
  mostDataBytes,
  mostExtents,
  rangesOf,
  sectionDigest,
} from '../../../../importer/upload/clone/wire.ts'
import { CdiError } from '../../../../src/errors.ts'

const malformed = (error: unknown): boolean => error instanceof CdiError && error.code === 'CDI_UPLOAD_MALFORMED'

describe('head of a section', () => {
  it('is read as it was written, also far out on the disk', () => {
    const steps = fc.array(
      fc.record({ gap: fc.integer({ min: 0, max: 2 ** 40 }), length: fc.integer({ min: 1, max: 4096 }) }),
      { maxLength: mostExtents },
    )
    fc.assert(
      fc.property(steps, (list) => {
        let at = 0
        const extents = list.map(({ gap, length }) => {
          const start = at + gap
          at = start + length
          return { start, end: at }
        })
        const head = encodeHead(extents)
        assert.equal(headLength(head.subarray(0, 4)), head.length)
        assert.deepEqual(decodeHead(head, { start: 0, end: at }), extents)
      }),
    )
  })

  const section = { start: 100, end: 200 }
  const bad: [why: string, extents: { start: number; end: number }[]][] = [
    ['begins before the section', [{ start: 99, end: 120 }]],
    ['ends behind the section', [{ start: 120, end: 201 }]],
    [
      'overlaps',
      [
        { start: 100, end: 120 },
        { start: 119, end: 130 },
      ],
    ],
    [
      'is out of order',
      [
        { start: 150, end: 160 },
        { start: 100, end: 110 },
      ],
    ],
    ['has nothing in it', [{ start: 150, end: 150 }]],
  ]
  for (const [why, extents] of bad) {
    it(`is refused when an extent ${why}`, () => {
      assert.throws(() => decodeHead(encodeHead(extents), section), malformed)
    })
  }

  it('is refused when it tells of more data than a section may have', () => {
    const end = mostDataBytes + 1
    assert.throws(() => decodeHead(encodeHead([{ start: 0, end }]), { start: 0, end }), malformed)
  })

  it('is refused when it tells of more extents than there may be', () => {
    const start = Buffer.alloc(4)
    start.writeUInt32LE(mostExtents + 1)
    assert.throws(() => headLength(start), malformed)
  })
})

describe('digest of a section', () => {
  it('is another one in another place, with another head, with other data', () => {
    const body = { head: Buffer.from('head'), data: Buffer.from('data') }
    const place = { start: 0, end: 10, total: 20 }
    const digest = sectionDigest(place, body)
    assert.match(digest, /^[0-9a-f]{64}$/)
    assert.equal(sectionDigest({ ...place }, { ...body }), digest)
    for (const other of [{ start: 1 }, { end: 11 }, { total: 21 }]) {
      assert.notEqual(sectionDigest({ ...place, ...other }, body), digest)
    }
    for (const other of [{ head: Buffer.from('heat') }, { data: Buffer.from('date') }]) {
      assert.notEqual(sectionDigest(place, { ...body, ...other }), digest)
    }
  })
})

describe('what a target says is there', () => {
  it('is taken as it is', () => {
    const ranges = [
      [0, 10],
      [10, 20],
      [30, 100],
    ] as const
    assert.deepEqual(rangesOf({ ranges, length: 100 }), [
      { start: 0, end: 10 },
      { start: 10, end: 20 },
      { start: 30, end: 100 },
    ])
  })

  const nonsense: [string, [number, number][]][] = [
    ['behind the end', [[0, Number.MAX_SAFE_INTEGER]]],
    [
      'out of order',
      [
        [50, 60],
        [10, 20],
      ],
    ],
    [
      'overlapping',
      [
        [0, 20],
        [10, 30],
      ],
    ],
    ['empty', [[10, 10]]],
    ['no whole numbers', [[0, 1.5]]],
    ['negative', [[-1, 5]]],
    ['no numbers', [[null, 'x'] as unknown as [number, number]]],
  ]
  for (const [name, ranges] of nonsense) {
    it(`makes no sense when it is ${name}`, () => {
      assert.throws(() => rangesOf({ ranges, length: 100 }), { code: 'CDI_CLONE_REFUSED' })
    })
  }
})
