import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { findXzProgram, xzChildDecoder } from '../../../importer/formats/xz-child.ts'
import { readXzIndex } from '../../../importer/formats/xz-index.ts'
import { xzNativeDecoder } from '../../../importer/formats/xz-native.ts'
import { xzDecoder } from '../../../importer/formats/xz.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'
import { decodeAll, decoderConformance } from '../../conformance/decoder.ts'

const pack = (data: Buffer): Buffer => runXz(data, '-1')
const runXz = (data: Buffer, ...options: string[]): Buffer =>
  execFileSync('xz', ['-c', ...options], { input: data, maxBuffer: 2 ** 28 })

const padding = Buffer.alloc(512)
decoderConformance({ decoder: xzNativeDecoder, pack, padding, runs: 8 })
decoderConformance({ decoder: xzChildDecoder({ threads: 2 }), pack, padding, runs: 8 })
decoderConformance({ decoder: xzDecoder, pack, padding, runs: 3 })

describe('xz decoders', () => {
  const data = Buffer.alloc(5_000_000, 'several blocks of data that repeats ')
  for (const decoder of [xzNativeDecoder, xzChildDecoder(), xzChildDecoder({ threads: 1 })]) {
    it(`decode files of many blocks, by ${decoder.name}`, async () => {
      assert.ok((await decodeAll(decoder, [runXz(data, '-T2', '--block-size=256KiB')])).equals(data))
    })

    it(`verify SHA-256 checks, by ${decoder.name}`, async () => {
      const packed = runXz(data, '--check=sha256')
      assert.ok((await decodeAll(decoder, [packed])).equals(data))
    })

    it(`refuse a dictionary that a worker has no memory for, by ${decoder.name}`, async () => {
      const packed = runXz(Buffer.from('small'), '--lzma2=dict=256MiB')
      await assert.rejects(decodeAll(decoder, [packed]), { code: 'CDI_DECODE_WINDOW' })
    })
  }

  it('a truncated xz stream is an error although the xz child ends its output normally', async () => {
    const packed = runXz(data, '-T2', '--block-size=1MiB')
    // Cut behind the last block, before the index: every byte of the data comes out and only the exit code is wrong.
    const cutBeforeIndex = packed.subarray(0, packed.length - 12)
    await assert.rejects(decodeAll(xzChildDecoder(), [cutBeforeIndex]), { code: 'CDI_DECODE_TRUNCATED' })
  })

  it('fall back to the library when there is no xz program', async () => {
    await assert.rejects(decodeAll(xzChildDecoder({ file: 'no-such-xz' }), [pack(data)]), { code: 'CDI_INTERNAL' })
    assert.equal(await findXzProgram(AbortSignal.timeout(10_000)), true)
  })
})

function rangedBuffer(bytes: Buffer, reads: number[]): RangedSource {
  return {
    kind: 'ranged',
    name: 'buffer',
    sizeBytes: bytes.length,
    pinned: true,
    parallel: 1,
    async stream({ offset, length }, sink) {
      reads.push(length)
      await sink(Buffer.from(bytes.subarray(offset, offset + length)))
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

describe('xz index', () => {
  const signal = AbortSignal.timeout(60_000)

  it('tells size and blocks of a file by reading a few bytes of it', async () => {
    const reads: number[] = []
    const packed = Buffer.concat([
      runXz(Buffer.alloc(3_000_000, 1), '-T2', '--block-size=1MiB'),
      runXz(Buffer.alloc(1000, 2)),
      Buffer.alloc(8),
    ])
    const index = await readXzIndex(rangedBuffer(packed, reads), signal)
    assert.deepEqual(index, { blocks: 4, streams: 2, uncompressedSizeBytes: 3_001_000 })
    assert.ok(reads.reduce((sum, length) => sum + length, 0) < packed.length)
  })

  it('reports a cut file before anything of it is decoded', async () => {
    const packed = runXz(Buffer.alloc(100_000, 3))
    await assert.rejects(readXzIndex(rangedBuffer(packed.subarray(0, -20), []), signal), (error: { code: string }) =>
      ['CDI_DECODE_CORRUPT', 'CDI_DECODE_TRUNCATED'].includes(error.code),
    )
  })

  it('passes on what the source fails with', async () => {
    const fault = new Error('gone')
    const source: RangedSource = { ...rangedBuffer(pack(Buffer.alloc(10)), []), stream: () => Promise.reject(fault) }
    await assert.rejects(readXzIndex(source, signal), (error: Error) => error === fault || error.cause === fault)
  })
})
