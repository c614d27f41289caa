import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { PartQueue } from '../../../importer/routes/parts.ts'
import type { Part } from '../../../importer/routes/parts.ts'

describe('parts of a disk', () => {
  it('give every byte to exactly one worker, whichever is fast', () => {
    const steps = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 3_000_000 })), { maxLength: 300 })
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 120_000_000 }), steps, (sizeBytes, schedule) => {
        const queue = new PartQueue({ sizeBytes, workers: 4 })
        const parts: Part[] = []
        const starts = new Map<Part, number>()
        const at: (Part | undefined)[] = [undefined, undefined, undefined, undefined]
        const advance = (worker: number, bytes: number): boolean => {
          let part = at[worker]
          if (part === undefined) {
            part = queue.next()
            if (part === undefined) return false
            parts.push(part)
            starts.set(part, part.position)
          }
          part.position = Math.min(part.end, part.position + bytes)
          at[worker] = part
          if (part.position === part.end) {
            queue.done(part)
            at[worker] = undefined
          }
          return true
        }
        for (const [worker, bytes] of schedule) advance(worker, bytes)
        for (const worker of [0, 1, 2, 3]) while (advance(worker, 1_000_000));
        const done = parts
          .map((part) => ({ start: starts.get(part) ?? 0, end: part.end }))
          .sort((one, two) => one.start - two.start)
        let expected = 0
        for (const { start, end } of done) {
          assert.equal(start, expected)
          expected = end
        }
        assert.equal(expected, sizeBytes)
      }),
    )
  })

  it('hand half of a slow part to a worker that has nothing to do', () => {
    const queue = new PartQueue({ sizeBytes: 16 * 1024 * 1024, workers: 1 })
    const slow = queue.next() as Part
    const before = slow.end
    for (let part = queue.next(); part !== undefined && part.position >= before; part = queue.next()) queue.done(part)
    assert.ok(slow.end < before, 'the slow part became shorter')
  })
})
