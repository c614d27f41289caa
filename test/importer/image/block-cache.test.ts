import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import { BlockCache } from '../../../importer/image/block-cache.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'
import { noise } from '../../fixtures/images.ts'

const kibibyte = 1024
const never = new AbortController().signal

interface Watched extends RangedSource {
  readonly fetched: { bytes: number; streams: number; atOnce: number }
}

/** A source in memory that hands out odd pieces and counts what is taken. */
function memorySource(content: Buffer, parallel = 4, chunkBytes = 37_000): Watched {
  const fetched = { bytes: 0, streams: 0, atOnce: 0 }
  let running = 0
  return {
    name: 'memory',
    kind: 'ranged',
    sizeBytes: content.length,
    pinned: true,
    parallel,
    fetched,
    async stream({ offset, length }, sink, signal) {
      fetched.streams++
      running++
      fetched.atOnce = Math.max(fetched.atOnce, running)
      // Lent like the real ones: overwritten as soon as the sink is done.
      const lent = Buffer.alloc(chunkBytes)
      try {
        for (let at = offset; at < offset + length; at += chunkBytes) {
          await turn()
          signal.throwIfAborted()
          const piece = lent.subarray(0, content.copy(lent, 0, at, Math.min(at + chunkBytes, offset + length)))
          fetched.bytes += piece.length
          await sink(piece)
          lent.fill(0)
        }
      } finally {
        running--
      }
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

const content = noise(3 * 1024 * kibibyte + 777, 1)
const small = { maxBytes: 512 * kibibyte, blockBytes: 16 * kibibyte }

/** Reads and gives back. */
async function take(cache: BlockCache, offset: number, length: number): Promise<Buffer> {
  const { pieces, release } = await cache.read(offset, length)
  await turn()
  const bytes = Buffer.concat(pieces)
  release()
  return bytes
}

async function readAll(cache: BlockCache, stepBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  for (let at = 0; at < cache.sizeBytes; at += stepBytes) {
    pieces.push(await take(cache, at, Math.min(stepBytes, cache.sizeBytes - at)))
  }
  return Buffer.concat(pieces)
}

describe('block cache', () => {
  it('gives back exactly the bytes of the source, wherever and in whatever number they are asked for', async () => {
    const place = fc.record({ offset: fc.nat(content.length - 1), length: fc.nat(200 * kibibyte) })
    await fc.assert(
      fc.asyncProperty(fc.array(place, { maxLength: 40 }), fc.boolean(), async (places, hashed) => {
        const digest = hashed ? createHash('sha256') : undefined
        await using cache = new BlockCache({
          source: memorySource(content),
          signal: never,
          ...small,
          ...(digest ? { digest } : {}),
        })
        await Promise.all(
          places.map(async ({ offset, length }) => {
            const bytes = Math.min(length, content.length - offset)
            const got = await take(cache, offset, bytes)
            assert.ok(got.equals(content.subarray(offset, offset + bytes)))
          }),
        )
        await cache.finishDigest()
        assert.equal(digest?.digest('hex'), hashed ? createHash('sha256').update(content).digest('hex') : undefined)
      }),
      { numRuns: 60 },
    )
  })

  it('fetches nothing twice when it is read from front to end, by as many streams as the source likes', async () => {
    const source = memorySource(content)
    await using cache = new BlockCache({ source, signal: never, ...small })
    assert.ok((await readAll(cache, 10_000)).equals(content))
    assert.equal(source.fetched.bytes, content.length)
    assert.ok(source.fetched.atOnce > 1 && source.fetched.atOnce <= source.parallel + 1)
    assert.ok(source.fetched.streams < content.length / small.blockBytes / 2, 'stretches are long')
  })

  it('keeps its memory within bounds', async () => {
    const source = memorySource(content)
    await using cache = new BlockCache({ source, signal: never, ...small })
    await readAll(cache, 100_000)
    assert.ok(cache.stats.peakBytes <= small.maxBytes + 8 * small.blockBytes, `${cache.stats.peakBytes}`)
  })

  it('leaves bytes alone that somebody still holds, however much is read meanwhile', async () => {
    await using cache = new BlockCache({ source: memorySource(content), signal: never, ...small })
    const lease = await cache.read(5000, 40_000)
    await readAll(cache, 100_000)
    assert.ok(Buffer.concat(lease.pieces).equals(content.subarray(5000, 45_000)))
    lease.release()
  })

  it('takes a block once from the source for readers that want it at the same time', async () => {
    const source = memorySource(content)
    await using cache = new BlockCache({ source, signal: never, ...small })
    const many = await Promise.all(Array.from({ length: 20 }, () => take(cache, 100_000, 50)))
    for (const bytes of many) assert.ok(bytes.equals(content.subarray(100_000, 100_050)))
    assert.equal(source.fetched.bytes, small.blockBytes)
  })

  it('hashes every byte once without a second download while the reader follows', async () => {
    const source = memorySource(content)
    const digest = createHash('sha256')
    await using cache = new BlockCache({ source, signal: never, ...small, digest })
    // The reader leaves the last third alone, as a converter does with what no table points to.
    for (let at = 0; at < 2 * 1024 * kibibyte; at += 30_000) await take(cache, at, 30_000)
    await cache.finishDigest()
    assert.equal(digest.digest('hex'), createHash('sha256').update(content).digest('hex'))
    assert.ok(source.fetched.bytes <= content.length * 1.05, `${source.fetched.bytes} of ${content.length}`)
  })

  it('hashes everything even if nobody reads', async () => {
    const digest = createHash('md5')
    await using cache = new BlockCache({ source: memorySource(content), signal: never, ...small, digest })
    await cache.finishDigest()
    assert.equal(digest.digest('hex'), createHash('md5').update(content).digest('hex'))
  })

  it('works with a source that allows one stream only', async () => {
    const source = memorySource(content, 1)
    await using cache = new BlockCache({ source, signal: never, ...small })
    assert.ok((await readAll(cache, 65_536)).equals(content))
    assert.equal(source.fetched.atOnce, 1)
  })

  it("ends every read with the source's fault, the waiting and the later ones", async () => {
    const source: RangedSource = {
      ...memorySource(content),
      stream: () => Promise.reject(new CdiError('CDI_SOURCE_INTERRUPTED', 'gone')),
    }
    await using cache = new BlockCache({ source, signal: never, ...small, digest: createHash('md5') })
    const reads = [cache.read(0, 10), cache.read(1_000_000, 10)]
    for (const read of reads) await assert.rejects(read, { code: 'CDI_SOURCE_INTERRUPTED' })
    await assert.rejects(cache.read(5, 1), { code: 'CDI_SOURCE_INTERRUPTED' })
    await assert.rejects(cache.finishDigest(), { code: 'CDI_SOURCE_INTERRUPTED' })
    assert.equal(cache.failure?.code, 'CDI_SOURCE_INTERRUPTED')
  })

  it('takes a stream that ends early for truncated, not for the end', async () => {
    const source: RangedSource = {
      ...memorySource(content),
      async stream(_range, sink) {
        await sink(Buffer.alloc(10))
      },
    }
    await using cache = new BlockCache({ source, signal: never, ...small })
    await assert.rejects(cache.read(0, 10), { code: 'CDI_SOURCE_TRUNCATED' })
  })

  it('lets go of readers and streams when it is aborted', async () => {
    const abort = new AbortController()
    const source: RangedSource = {
      ...memorySource(content),
      stream: (_range, _sink, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason))
        }),
    }
    await using cache = new BlockCache({ source, signal: abort.signal, ...small })
    const read = cache.read(0, 10)
    abort.abort(new CdiError('CDI_ABORTED', 'stop'))
    await assert.rejects(read, { code: 'CDI_ABORTED' })
  })
})
