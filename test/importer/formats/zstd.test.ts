import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { constants, zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { ZstdFrames } from '../../../importer/formats/zstd-frames.ts'
import { zstdDecoder } from '../../../importer/formats/zstd.ts'
import { decodeAll, decoderConformance } from '../../conformance/decoder.ts'

const pack = (data: Buffer): Buffer => zstdCompressSync(data, { params: { [constants.ZSTD_c_checksumFlag]: 1 } })

/** A frame that decoders must step over (RFC 8878 §3.1.2). */
function skippable(content: Buffer): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt32LE(0x184d2a5e, 0)
  header.writeUInt32LE(content.length, 4)
  return Buffer.concat([header, content])
}

decoderConformance({ decoder: zstdDecoder, pack, padding: skippable(Buffer.alloc(100)), runs: 60 })

describe('zstd decoder', () => {
  it('decodes frames that arrive in one piece, of which node:zlib would drop all but the first', async () => {
    const frames = Array.from({ length: 50 }, (_, index) => Buffer.from(`frame ${index} `))
    const packed = Buffer.concat(frames.map((frame) => pack(frame)))
    assert.equal((await decodeAll(zstdDecoder, [packed])).toString(), Buffer.concat(frames).toString())
  })

  it('steps over skippable frames before, between and after the data', async () => {
    const packed = Buffer.concat([
      skippable(Buffer.from('seek table')),
      pack(Buffer.from('one')),
      skippable(Buffer.alloc(0)),
      pack(Buffer.from('two')),
      skippable(Buffer.alloc(300)),
    ])
    assert.equal((await decodeAll(zstdDecoder, [packed])).toString(), 'onetwo')
  })

  it('refuses a window that a worker has no memory for, and says so', async () => {
    // Without pledged size the frame carries a window descriptor: the byte behind magic and frame descriptor (RFC 8878 §3.1.1.1.2).
    const packed = execFileSync('zstd', ['-c', '-q'], { input: Buffer.alloc(1000) })
    assert.equal(packed[4]! & 0x20, 0)
    const header = Buffer.from(packed)
    header[5] = (28 - 10) << 3
    await assert.rejects(decodeAll(zstdDecoder, [header]), { code: 'CDI_DECODE_WINDOW' })
  })
})

describe('zstd frames', () => {
  it('are found wherever the input is cut', () => {
    const frames = [
      pack(Buffer.alloc(300_000, 'abc')),
      skippable(Buffer.alloc(70)),
      pack(Buffer.alloc(0)),
      pack(Buffer.from('x')),
    ]
    const packed = Buffer.concat(frames)
    fc.assert(
      fc.property(fc.integer({ min: 1, max: packed.length }), (pieceBytes) => {
        const finder = new ZstdFrames()
        const ends = new Set<number>()
        let at = 0
        for (let from = 0; from < packed.length; from += pieceBytes) {
          for (const piece of finder.split(packed.subarray(from, from + pieceBytes))) ends.add((at += piece.length))
        }
        assert.equal(at, packed.length)
        let end = 0
        for (const frame of frames) assert.ok(ends.has((end += frame.length)))
      }),
    )
  })
})
