import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { isZero, splitRuns, zeroBlockBytes } from '../../../importer/target/data-runs.ts'

/** A disk of blocks that are data or zeros, beginning anywhere and cut into buffers anywhere. */
const disks = fc.record({
  offset: fc.nat(3 * zeroBlockBytes),
  blocks: fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }),
  cuts: fc.array(fc.nat(12 * zeroBlockBytes), { maxLength: 8 }),
})

function render({ blocks, cuts }: { blocks: boolean[]; cuts: number[] }): { whole: Buffer; buffers: Buffer[] } {
  const whole = Buffer.concat(blocks.map((data) => Buffer.alloc(zeroBlockBytes, data ? 0xa5 : 0)))
  const edges = [0, ...cuts.map((cut) => Math.min(cut, whole.length)).sort((one, two) => one - two), whole.length]
  const buffers = edges.slice(1).map((edge, index) => whole.subarray(edges[index], edge))
  return { whole, buffers }
}

describe('runs of data and zeros', () => {
  it('put together again are the bytes that came in, at the place where they belong', () => {
    fc.assert(
      fc.property(disks, (disk) => {
        const { whole, buffers } = render(disk)
        let at = disk.offset
        const pieces = splitRuns(disk.offset, buffers).map((run) => {
          assert.equal(run.offset, at)
          at += run.length
          return run.buffers === undefined ? Buffer.alloc(run.length) : Buffer.concat(run.buffers)
        })
        assert.deepEqual(Buffer.concat(pieces), whole)
      }),
    )
  })

  it('leave out every whole block of zeros, however it is spread over buffers', () => {
    fc.assert(
      fc.property(disks, (disk) => {
        const { whole, buffers } = render(disk)
        for (const run of splitRuns(disk.offset, buffers)) {
          if (run.buffers === undefined) continue
          const first = Math.ceil(run.offset / zeroBlockBytes) * zeroBlockBytes
          for (let at = first; at + zeroBlockBytes <= run.offset + run.length; at += zeroBlockBytes) {
            const block = whole.subarray(at - disk.offset, at - disk.offset + zeroBlockBytes)
            assert.equal(isZero(block), false, `zeros at ${at} are to be written`)
          }
        }
      }),
    )
  })

  it('see a single byte anywhere in a large buffer', () => {
    for (const place of [0, 1, 4095, 4096, 262_143, 262_144, 700_000, 1_048_575]) {
      const bytes = Buffer.alloc(1024 * 1024)
      assert.equal(isZero(bytes), true)
      bytes[place] = 1
      assert.equal(isZero(bytes), false, `byte ${place}`)
    }
  })
})
