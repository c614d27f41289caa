/**
 * What every decoder must do, whatever it is made of. Call {@link decoderConformance} with an implementation and with
 * a packer of the same encoding, once for each.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { Decoder } from '../../importer/formats/decoder.ts'
import type { Sink } from '../../importer/sources/source.ts'
import { CdiError } from '../../src/errors.ts'

export interface DecoderUnderTest {
  readonly decoder: Decoder
  /** Packs data as the encoding's usual program does, with checksums. */
  readonly pack: (data: Buffer) => Buffer
  /** What may follow the data as padding. */
  readonly padding: Buffer
  /** Runs of each property; children are slow to start. */
  readonly runs: number
  /** Largest plain size in properties, in bytes. */
  readonly sizeBytes?: number
}

const limitMs = 60_000

/** Feeds `pieces` to a new decoding, with back-pressure, and collects what comes out. */
export async function decodeAll(decoder: Decoder, pieces: readonly Buffer[]): Promise<Buffer> {
  const out: Buffer[] = []
  await decodeTo(decoder, pieces, (chunk) => {
    out.push(Buffer.from(chunk))
  })
  return Buffer.concat(out)
}

/** Lends each piece and spoils it when it is given back, as a source does that reads the next bytes into it. */
async function decodeTo(decoder: Decoder, pieces: readonly Buffer[], sink: Sink): Promise<void> {
  await using decoding = decoder.start(sink, AbortSignal.timeout(limitMs))
  for (const piece of pieces) {
    const lent = Buffer.from(piece)
    await decoding.write(lent)
    lent.fill(0xa5)
  }
  await decoding.end()
}

/** Half zeros, half noise, so that both sides of a packer are used. */
function someData(sizeBytes: number, seed: number): Buffer {
  const data = Buffer.alloc(sizeBytes)
  let state = seed >>> 0
  for (let at = 0; at < sizeBytes; at++) {
    if ((at >> 12) % 2 === 0) continue
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[at] = state >>> 24
  }
  return data
}

function cut(data: Buffer, pieceBytes: number): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < data.length; at += pieceBytes) pieces.push(data.subarray(at, at + pieceBytes))
  return pieces
}

function withCode(...codes: string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CdiError, `not a CdiError: ${String(error)}`)
    assert.ok(codes.includes(error.code), `${error.code} is none of ${codes.join(', ')}: ${error.message}`)
    return true
  }
}

const broken = withCode('CDI_DECODE_TRUNCATED', 'CDI_DECODE_CORRUPT')

export function decoderConformance({ decoder, pack, padding, runs, sizeBytes = 300_000 }: DecoderUnderTest): void {
  describe(`${decoder.encoding} by ${decoder.name}`, { timeout: 10 * limitMs }, () => {
    it('gives back data of any size, fed in pieces of any size', async () => {
      const sizes = fc.oneof(
        fc.constantFrom(0, 1, 511, 512, 513, 65_536, 131_072),
        fc.integer({ min: 0, max: sizeBytes }),
      )
      await fc.assert(
        fc.asyncProperty(sizes, fc.integer({ min: 1, max: 100_000 }), fc.integer(), async (size, pieceBytes, seed) => {
          const data = someData(size, seed)
          const packed = pack(data)
          const out = await decodeAll(decoder, cut(packed, Math.max(pieceBytes, packed.length >> 8)))
          assert.ok(out.equals(data))
        }),
        { numRuns: runs },
      )
    })

    it('gives back data fed byte by byte', async () => {
      const data = someData(20_000, 1)
      assert.ok((await decodeAll(decoder, cut(pack(data), 1))).equals(data))
    })

    it('decodes several streams that follow one another, wherever the pieces are cut', async () => {
      const parts = [someData(70_000, 1), someData(0, 2), someData(1, 3), someData(150_000, 4)]
      const packed = Buffer.concat(parts.map((part) => pack(part)))
      for (const pieceBytes of [packed.length, 4096, 37]) {
        assert.ok((await decodeAll(decoder, cut(packed, pieceBytes))).equals(Buffer.concat(parts)))
      }
    })

    it('hands out buffers that stay as they are while a sink takes its time with them', async () => {
      const data = someData(3_000_000, 5)
      const out: Buffer[] = []
      await decodeTo(decoder, cut(pack(data), 65_536), async (chunk) => {
        const before = Buffer.from(chunk)
        await new Promise((resolve) => setTimeout(resolve, 2))
        assert.ok(chunk.equals(before))
        out.push(before)
      })
      assert.ok(Buffer.concat(out).equals(data))
    })

    it('truncated streams are errors wherever they are cut', async () => {
      const packed = pack(someData(200_000, 6))
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: packed.length - 1 }), async (length) => {
          await assert.rejects(decodeAll(decoder, cut(packed.subarray(0, length), 16_384)), broken)
        }),
        { numRuns: runs, examples: [[0], [1], [packed.length - 1]] },
      )
    })

    it('says that a stream cut in the middle is truncated', async () => {
      const packed = pack(someData(200_000, 6))
      await assert.rejects(
        decodeAll(decoder, [packed.subarray(0, packed.length >> 1)]),
        withCode('CDI_DECODE_TRUNCATED'),
      )
      await assert.rejects(decodeAll(decoder, []), withCode('CDI_DECODE_TRUNCATED'))
    })

    it('never hands out other data without an error when a bit is flipped', async () => {
      const data = someData(100_000, 7)
      const packed = pack(data)
      await fc.assert(
        fc.asyncProperty(fc.integer({ min: 0, max: packed.length * 8 - 1 }), async (bit) => {
          const damaged = Buffer.from(packed)
          damaged[bit >> 3]! ^= 1 << (bit & 7)
          let out: Buffer
          try {
            out = await decodeAll(decoder, [damaged])
          } catch (error) {
            withCode(
              'CDI_DECODE_CORRUPT',
              'CDI_DECODE_TRUNCATED',
              'CDI_DECODE_WINDOW',
              'CDI_ENCODING_UNSUPPORTED',
            )(error)
            return
          }
          // Flips in fields that carry no data (name, time, flags of a header) change nothing.
          assert.ok(out.equals(data))
        }),
        { numRuns: runs },
      )
    })

    it('says that a stream with damaged data is corrupt', async () => {
      const damaged = pack(someData(100_000, 7))
      const middle = damaged.length >> 1
      damaged.fill(0x55, middle, middle + 16)
      await assert.rejects(decodeAll(decoder, [damaged]), withCode('CDI_DECODE_CORRUPT'))
    })

    it('refuses what is foreign behind the data', async () => {
      const packed = pack(someData(10_000, 8))
      const junk = Buffer.from('and something else that does not belong here at all')
      for (const pieces of [
        [Buffer.concat([packed, junk])],
        [packed, junk],
        [packed, padding, junk],
        [Buffer.concat([packed, padding, junk])],
      ]) {
        await assert.rejects(decodeAll(decoder, pieces), broken)
      }
    })

    it('takes the padding that its format allows', async () => {
      const data = someData(10_000, 9)
      assert.ok((await decodeAll(decoder, [pack(data), padding])).equals(data))
      assert.ok((await decodeAll(decoder, [Buffer.concat([pack(data), padding])])).equals(data))
    })

    it('waits for a slow sink, and keeps little in the meantime', async () => {
      const packed = pack(Buffer.alloc(96 * 1024 * 1024))
      let takenBytes = 0
      let busy = 0
      let fedAll = false
      const release = Promise.withResolvers<void>()
      const decoding = decoder.start(async (chunk) => {
        busy++
        assert.equal(busy, 1, 'the sink was called while it was busy')
        if (takenBytes === 0) await release.promise
        takenBytes += chunk.length
        busy--
      }, AbortSignal.timeout(limitMs))
      const feeding = (async () => {
        // Again and again, so that it could not all be hidden in the queues of the engine.
        for (let round = 0; round < 2; round++) for (const piece of cut(packed, 4096)) await decoding.write(piece)
        fedAll = true
        await decoding.end()
      })()
      const grown = await growthWhile(async () => {
        for (let turn = 0; turn < 40; turn++) await new Promise((resolve) => setTimeout(resolve, 5))
      })
      assert.ok(grown < 64 * 1024 * 1024, `${grown} bytes were decoded ahead of a sink that takes none`)
      assert.equal(takenBytes, 0)
      release.resolve()
      await feeding
      assert.ok(fedAll)
      assert.equal(takenBytes, 2 * 96 * 1024 * 1024)
      await decoding[Symbol.asyncDispose]()
    })

    it('hands everything in order to a sink that takes its time, to the last buffer', async () => {
      const data = someData(4_000_000, 15)
      const out: Buffer[] = []
      let busy = false
      await decodeTo(decoder, cut(pack(data), 10_001), async (chunk) => {
        assert.ok(!busy, 'the sink was called while it was busy')
        busy = true
        await new Promise((resolve) => setTimeout(resolve, out.length % 3))
        out.push(Buffer.from(chunk))
        busy = false
      })
      assert.ok(Buffer.concat(out).equals(data))
    })

    it('passes on the error of a sink as it is, from a call and from a promise', async () => {
      const refusal = new Error('the disk is full')
      const packed = pack(someData(2_000_000, 10))
      const sinks: Sink[] = [
        () => {
          throw refusal
        },
        () => Promise.reject(refusal),
      ]
      for (const sink of sinks) {
        await assert.rejects(decodeTo(decoder, cut(packed, 65_536), sink), (error) => error === refusal)
      }
    })

    it('passes on the error of a sink that refuses the very last buffer', async () => {
      const data = someData(1000, 11)
      const refusal = new Error('no')
      await assert.rejects(
        decodeTo(decoder, [pack(data)], async () => {
          await new Promise((resolve) => setTimeout(resolve, 50))
          throw refusal
        }),
        (error) => error === refusal,
      )
    })

    it('stops with the reason of an abort', async () => {
      const packed = pack(someData(2_000_000, 12))
      const controller = new AbortController()
      const reason = new Error('enough')
      const decoding = decoder.start(() => new Promise(() => {}), controller.signal)
      const feeding = (async () => {
        for (;;) for (const piece of cut(packed, 65_536)) await decoding.write(piece)
      })()
      setTimeout(() => controller.abort(reason), 20)
      await assert.rejects(feeding, (error) => error === reason)
      await assert.rejects(decoding.end(), (error) => error === reason)
      await decoding[Symbol.asyncDispose]()
    })

    it('stops with the reason of an abort while the sink holds the last buffer', async () => {
      const controller = new AbortController()
      const reason = new Error('enough')
      const held = Promise.withResolvers<void>()
      const decoding = decoder.start(() => {
        held.resolve()
        return new Promise(() => {})
      }, controller.signal)
      const ending = (async () => {
        await decoding.write(pack(someData(1000, 14)))
        await decoding.end()
      })()
      const rejected = assert.rejects(ending, (error) => error === reason)
      await held.promise
      await new Promise((resolve) => setTimeout(resolve, 20))
      controller.abort(reason)
      await rejected
      await decoding[Symbol.asyncDispose]()
    })

    it('does nothing when it was aborted before', async () => {
      const reason = new Error('too late')
      const decoding = decoder.start(() => assert.fail('nothing may come out'), AbortSignal.abort(reason))
      await assert.rejects(decoding.write(pack(Buffer.alloc(10))), (error) => error === reason)
      await decoding[Symbol.asyncDispose]()
    })

    it('can be given up at any time', async () => {
      const packed = pack(someData(500_000, 13))
      for (const length of [0, 100, packed.length]) {
        const decoding = decoder.start(() => {}, AbortSignal.timeout(limitMs))
        if (length > 0) await decoding.write(packed.subarray(0, length))
        await decoding[Symbol.asyncDispose]()
      }
    })
  })
}

/** By how many bytes the memory outside of the heap has grown at most while something ran. */
async function growthWhile(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage().external
  let most = before
  const timer = setInterval(() => {
    most = Math.max(most, process.memoryUsage().external)
  }, 2)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return most - before
}
