import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { streamInOrder } from '../../../importer/sources/read-ahead.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'

const never = new AbortController().signal
const mib = 1024 ** 2

/** Gives its first bytes at once, as sources do that have kept them from opening, and is only held back by its sink. */
function memorySource(bytes: Buffer, { pinned }: { pinned: boolean }): RangedSource {
  return {
    kind: 'ranged',
    name: 'memory',
    sizeBytes: bytes.length,
    pinned,
    parallel: 4,
    async stream({ offset, length }, sink) {
      for (let at = offset; at < offset + length; at += mib / 4) {
        const taken = sink(bytes.subarray(at, Math.min(at + mib / 4, offset + length)))
        if (taken !== undefined) await taken
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

async function readSlowly(source: RangedSource): Promise<Buffer> {
  const pieces: Buffer[] = []
  const sink = async (chunk: Buffer): Promise<void> => {
    const piece = Buffer.from(chunk)
    await setImmediate()
    pieces.push(piece)
    if (pieces.length > 1000) throw new Error('the sink is called without end')
  }
  await streamInOrder({ source, sink, onBytes: () => {}, signal: never })
  return Buffer.concat(pieces)
}

describe('reading ahead', () => {
  const bytes = randomBytes(9 * mib + 17)

  it('hands out a source in order that is read by several streams', async () => {
    assert.ok((await readSlowly(memorySource(bytes, { pinned: true }))).equals(bytes))
  })

  it('lets a slow sink hold back a source that is read by one stream only', async () => {
    assert.ok((await readSlowly(memorySource(bytes, { pinned: false }))).equals(bytes))
  })
})
