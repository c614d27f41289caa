import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { gapsOf, leastZeroBytes, Pieces } from '../../../../src/cli/upload/pieces.ts'
import type { DiskPiece, Range } from '../../../../src/cli/upload/pieces.ts'

const mebibyte = 1024 * 1024

/** A disk whose MiBs are data or zeros, as `d.dd..`. */
function diskOf(pattern: string): { read(offset: number, length: number): Promise<Buffer>; sizeBytes: number } {
  const sizeBytes = pattern.length * mebibyte
  return {
    sizeBytes,
    read(offset, length) {
      const block = Math.floor(offset / mebibyte)
      const end = Math.min(offset + length, (block + 1) * mebibyte)
      return Promise.resolve(Buffer.alloc(end - offset, pattern[block] === 'd' ? 1 : 0))
    },
  }
}

async function allPieces(
  pattern: string,
  gaps: readonly Range[],
  mostBytes: number,
  skipsZeros = true,
): Promise<DiskPiece[]> {
  const pieces = new Pieces({ bytes: diskOf(pattern), gaps, skipsZeros })
  const all: DiskPiece[] = []
  for (let piece = await pieces.next(mostBytes); piece !== undefined; piece = await pieces.next(mostBytes)) {
    all.push(piece)
  }
  return all
}

const short = (pieces: readonly DiskPiece[]): string[] =>
  pieces.map(({ start, end, isZero }) => `${start / mebibyte}-${end / mebibyte}${isZero ? ' zeros' : ''}`)

describe('pieces of a disk', () => {
  it('tell long stretches of zeros from data', async () => {
    const whole = (pattern: string): Range[] => [[0, pattern.length * mebibyte]]
    const of = async (pattern: string, most = 100): Promise<string[]> =>
      short(await allPieces(pattern, whole(pattern), most * mebibyte))
    assert.deepEqual(await of('dddd'), ['0-4'])
    assert.deepEqual(await of('dd..dd'), ['0-6'])
    assert.deepEqual(await of('dd....dd'), ['0-2', '2-6 zeros', '6-8'])
    assert.deepEqual(await of('.....d'), ['0-5 zeros', '5-6'])
    assert.deepEqual(await of('...'), ['0-3'])
    assert.deepEqual(await of('........'), ['0-8 zeros'])
    assert.deepEqual(await of('d.......'), ['0-1', '1-8 zeros'])
    assert.deepEqual(await of('dddddd', 2), ['0-2', '2-4', '4-6'])
  })

  it('fill exactly the gaps, whatever these are', async () => {
    const gap = fc.tuple(fc.nat(40 * mebibyte), fc.nat(40 * mebibyte))
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('d', '.'), { minLength: 1, maxLength: 40 }),
        fc.array(gap, { maxLength: 3 }),
        fc.integer({ min: 1, max: 12 }),
        fc.boolean(),
        async (blocks, cuts, most, skipsZeros) => {
          const pattern = blocks.join('')
          const sizeBytes = pattern.length * mebibyte
          const there = cuts.map(([a, b]): Range => [Math.min(a, b, sizeBytes), Math.min(Math.max(a, b), sizeBytes)])
          const gaps = gapsOf(sizeBytes, there)
          const pieces = await allPieces(pattern, gaps, most * mebibyte, skipsZeros)
          assert.deepEqual(gapsOf(sizeBytes, [...there, ...pieces.map(({ start, end }): Range => [start, end])]), [])
          let at = 0
          for (const { start, end, isZero } of pieces) {
            assert.ok(start >= at && end > start, 'in order, never twice, never empty')
            assert.ok(
              gaps.some(([from, to]) => from <= start && end <= to),
              'within a gap',
            )
            if (isZero) assert.ok(skipsZeros && end - start >= leastZeroBytes)
            if (isZero) {
              const blocks = pattern.slice(Math.floor(start / mebibyte), Math.ceil(end / mebibyte))
              assert.match(blocks, /^\.+$/, 'no data among zeros')
            }
            at = end
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  it('go to whoever asks first, each once', async () => {
    const pieces = new Pieces({ bytes: diskOf('dddd....dddd'), gaps: [[0, 12 * mebibyte]], skipsZeros: true })
    const all = await Promise.all(Array.from({ length: 10 }, () => pieces.next(2 * mebibyte)))
    assert.deepEqual(short(all.filter((piece) => piece !== undefined)), ['0-2', '2-4', '4-8 zeros', '8-10', '10-12'])
  })
})
