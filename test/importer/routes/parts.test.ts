import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { PartQueue } from '../../../importer/routes/parts.ts'
import type { Part, Stretch } from '../../../importer/routes/parts.ts'

const mebibyte = 1024 * 1024

/** Can be cut at multiples of `edge`, and pieces that end there reach over by `over`. */
function stretch({ offset, length, edge = 65_536, over = 0 }: Record<'offset' | 'length', number> & Options): Stretch {
  const end = offset + length
  return {
    offset,
    end,
    cut: (at) => Math.min(end, offset + Math.ceil((at - offset) / edge) * edge),
    readEnd: (to) => (to === end ? end : to + over),
  }
}
interface Options {
  readonly edge?: number
  readonly over?: number
}

const queueOf = (stretches: readonly Stretch[], workers: number): PartQueue<Stretch> => {
  const queue = new PartQueue<Stretch>({ workers })
  queue.add(stretches)
  return queue
}

describe('parts of a source', () => {
  it('give every byte to exactly one worker, whichever is fast', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 80_000_000 }), { minLength: 1, maxLength: 5 })
    const steps = fc.array(fc.tuple(fc.nat(3), fc.integer({ min: 1, max: 3_000_000 })), { maxLength: 300 })
    const edges = fc.constantFrom(4096, 65_536, 5_000_000)
    fc.assert(
      fc.property(lengths, steps, edges, (lengthList, schedule, edge) => {
        let next = 0
        const stretches = lengthList.map((length) => {
          const offset = next + 1000
          next = offset + length
          return stretch({ offset, length, edge })
        })
        const queue = queueOf(stretches, 4)
        const starts = new Map<Part, number>()
        const at: (Part | undefined)[] = [undefined, undefined, undefined, undefined]
        const advance = (worker: number, bytes: number): boolean => {
          const part = at[worker] ?? queue.next() ?? queue.takeOver()
          if (part === undefined) return false
          if (!starts.has(part)) starts.set(part, part.position)
          part.position = Math.min(part.readEnd, part.position + bytes)
          at[worker] = part
          if (part.position === part.readEnd) {
            queue.done(part)
            at[worker] = undefined
          }
          return true
        }
        for (const [worker, bytes] of schedule) advance(worker, bytes)
        for (const worker of [0, 1, 2, 3]) while (advance(worker, 1_000_000));
        const done = [...starts].map(([{ end }, start]) => ({ start, end })).sort((one, two) => one.start - two.start)
        const joined: { start: number; end: number }[] = []
        for (const piece of done) {
          const last = joined.at(-1)
          if (last?.end === piece.start) last.end = piece.end
          else joined.push({ ...piece })
        }
        assert.deepEqual(
          joined,
          stretches.map(({ offset, end }) => ({ start: offset, end })),
        )
      }),
    )
  })

  it('are the same for all workers, so that each has one request to make if the disk is small', () => {
    const queue = queueOf([stretch({ offset: 0, length: 180 * mebibyte })], 4)
    const lengths: number[] = []
    for (let part = queue.next(); part !== undefined; part = queue.next()) lengths.push(part.end - part.position)
    assert.deepEqual(
      lengths,
      Array.from({ length: 4 }, () => 45 * mebibyte),
    )
  })

  it('hand half of a slow part to a worker that has nothing to do', () => {
    const queue = queueOf([stretch({ offset: 0, length: 16 * mebibyte, over: 100 })], 1)
    const slow = queue.next() as Part
    slow.position = 4 * mebibyte
    const other = queue.takeOver() as Part
    assert.deepEqual([slow.end, slow.readEnd], [10 * mebibyte, 10 * mebibyte + 100])
    assert.deepEqual([other.position, other.end, other.readEnd], [10 * mebibyte, 16 * mebibyte, 16 * mebibyte])
  })

  it('are left to the worker that has them when the rest is small or cannot be cut', () => {
    const small = queueOf([stretch({ offset: 0, length: 16 * mebibyte })], 1)
    const part = small.next() as Part
    part.position = 15 * mebibyte
    assert.equal(small.takeOver(), undefined)
    const whole = queueOf([stretch({ offset: 0, length: 16 * mebibyte, edge: 16 * mebibyte })], 1)
    whole.next()
    assert.equal(whole.takeOver(), undefined)
  })
})
