import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Part } from '../../../importer/routes/parts.ts'
import { streamPart } from '../../../importer/routes/stream-part.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'

const signal = new AbortController().signal
const content = Buffer.from('0123456789abcdef')

/** Streams in pieces of 4 bytes, and counts them. */
function fourByFour(counted: { bytes: number }): RangedSource {
  return {
    kind: 'ranged',
    name: 'digits',
    sizeBytes: content.length,
    pinned: true,
    parallel: 2,
    async stream({ offset, length }, sink) {
      for (let at = offset; at < offset + length; at += 4) {
        const piece = content.subarray(at, Math.min(at + 4, offset + length))
        counted.bytes += piece.length
        await sink(piece)
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

function partOf(position: number, end: number): Part {
  return { of: { offset: 0, end: 16, cut: (at) => at, readEnd: (at) => at }, position, end, readEnd: end }
}

describe('the stream of a part', () => {
  it('brings the part and no more', async () => {
    const counted = { bytes: 0 }
    const part = partOf(2, 11)
    let got = ''
    await streamPart({ source: fourByFour(counted), part, sink: (chunk) => void (got += chunk.toString()), signal })
    assert.deepEqual([got, part.position, counted.bytes], ['23456789a', 11, 9])
  })

  it('ends where another one took over the rest, after the sink has taken what was before', async () => {
    const counted = { bytes: 0 }
    const part = partOf(0, 16)
    let got = ''
    const sink = async (chunk: Buffer): Promise<void> => {
      await new Promise((resolve) => setImmediate(resolve))
      got += chunk.toString()
      part.end = 6
      part.readEnd = 7
    }
    await streamPart({ source: fourByFour(counted), part, sink, signal })
    assert.deepEqual([got, part.position, counted.bytes], ['0123456', 7, 8])
  })

  it('ends with what its sink throws', async () => {
    const sink = (): never => {
      throw new Error('full')
    }
    await assert.rejects(streamPart({ source: fourByFour({ bytes: 0 }), part: partOf(0, 16), sink, signal }), {
      message: 'full',
    })
  })
})
