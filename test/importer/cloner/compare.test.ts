import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { compareStretches } from '../../../importer/cloner/compare.ts'
import type { Extent } from '../../../importer/target/coverage.ts'

const mebibyte = 1024 * 1024
const never = new AbortController().signal

/** Compares two disks of the same length where something is there. */
async function compared(source: Buffer, target: Buffer, there: readonly Extent[]): Promise<boolean> {
  return compareStretches({
    disk: {
      async read(offset, into, length) {
        source.copy(into, 0, offset, offset + length)
      },
    },
    target: {
      async digest(id, { start, end }) {
        assert.equal(id, 'copy')
        return createHash('sha256').update(target.subarray(start, end)).digest('hex')
      },
    },
    id: 'copy',
    there,
    streams: 3,
    patience: { progressed() {} },
    onSame: ({ start, end }) => assert.ok(source.subarray(start, end).equals(target.subarray(start, end))),
    signal: never,
  })
}

describe('comparing what is at a target with its source', () => {
  it('finds any difference where something is there, and none elsewhere', async () => {
    const length = 5 * mebibyte + 333
    const source = Buffer.alloc(length, 7)
    const places = fc.array(fc.nat(length), { minLength: 2, maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(places, fc.nat(length - 1), async (cuts, at) => {
        const sorted = [...new Set(cuts)].toSorted((a, b) => a - b)
        const there = sorted.flatMap((start, index) => {
          const end = sorted[index + 1]
          return index % 2 === 0 && end !== undefined ? [{ start, end }] : []
        })
        const target = Buffer.from(source)
        target[at] = 8
        assert.equal(await compared(source, target, there), !there.some(({ start, end }) => start <= at && at < end))
        assert.equal(await compared(source, source, there), true)
      }),
      { numRuns: 25 },
    )
  })

  it('throws what the target throws', async () => {
    const failing = compareStretches({
      disk: { read: async () => {} },
      target: { digest: () => Promise.reject(new Error('gone')) },
      id: 'copy',
      there: [{ start: 0, end: mebibyte }],
      streams: 3,
      patience: { progressed() {} },
      onSame: () => assert.fail('nothing was compared'),
      signal: never,
    })
    await assert.rejects(failing, /gone/)
  })
})
