import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import type { Encoding } from '../../../importer/formats/decoder.ts'
import { decodeThrough, peel, peelBytes } from '../../../importer/formats/decoders.ts'

const xz = (data: Buffer): Buffer => execFileSync('xz', ['-1c'], { input: data, maxBuffer: 2 ** 28 })
const packers: Record<Encoding, (data: Buffer) => Buffer> = { gzip: gzipSync, zstd: zstdCompressSync, xz }
const signal = AbortSignal.timeout(60_000)
const disk = Buffer.concat([
  Buffer.from('QFI\xfb', 'latin1'),
  Buffer.alloc(500_000, 'content of a disk '),
  randomBytes(400_000),
])

const orders: Encoding[][] = [[], ['gzip'], ['xz'], ['zstd'], ['gzip', 'zstd'], ['xz', 'gzip'], ['zstd', 'xz', 'gzip']]

describe('nested encodings', () => {
  for (const encodings of orders) {
    const packed = encodings.reduceRight<Buffer>((data, encoding) => packers[encoding](data), disk)

    it(`are seen through: ${encodings.join(' around ') || 'none'}`, async () => {
      const peeled = await peel(packed.subarray(0, peelBytes), signal)
      assert.deepEqual(peeled.encodings, encodings)
      assert.ok(peeled.head.length >= 65_536)
      assert.ok(peeled.head.equals(disk.subarray(0, peeled.head.length)))
    })

    it(`are decoded in one chain: ${encodings.join(' around ') || 'none'}`, async () => {
      const out: Buffer[] = []
      await using chain = decodeThrough(
        encodings,
        (chunk) => {
          out.push(Buffer.from(chunk))
        },
        signal,
      )
      for (let at = 0; at < packed.length; at += 10_000) await chain.write(packed.subarray(at, at + 10_000))
      await chain.end()
      assert.ok(Buffer.concat(out).equals(disk))
    })
  }

  it('are errors when an inner one is cut although the outer one is whole', async () => {
    const cut = gzipSync(xz(disk).subarray(0, -30))
    await using chain = decodeThrough(['gzip', 'xz'], () => {}, signal)
    await chain.write(cut)
    await assert.rejects(chain.end(), { code: 'CDI_DECODE_TRUNCATED' })
  })
})

describe('peel', () => {
  it('takes whole archives of a few hundred bytes', async () => {
    const { encodings, head } = await peel(gzipSync(Buffer.alloc(1024)), signal)
    assert.deepEqual(encodings, ['gzip'])
    assert.equal(head.length, 1024)
  })

  it('sees the format inside of data that does not pack at all', async () => {
    const noise = Buffer.concat([Buffer.from('vhdxfile'), randomBytes(500_000)])
    for (const pack of Object.values(packers)) {
      const { head } = await peel(pack(noise).subarray(0, peelBytes), signal)
      assert.ok(head.length >= 65_536)
      assert.ok(head.equals(noise.subarray(0, head.length)))
    }
  })

  it('reports damage that the first bytes show', async () => {
    const damaged = gzipSync(disk)
    damaged.fill(0xff, 10, 30)
    await assert.rejects(peel(damaged.subarray(0, peelBytes), signal), { code: 'CDI_DECODE_CORRUPT' })
  })

  it('decodes no more of a bomb than it needs', async () => {
    const { head } = await peel(gzipSync(Buffer.alloc(100_000_000)), signal)
    assert.equal(head.length, 256 * 1024)
  })

  it('peels each encoding once: the second of a kind is the data', async () => {
    const { encodings, head } = await peel(gzipSync(gzipSync(disk)), signal)
    assert.deepEqual(encodings, ['gzip'])
    assert.equal(head.readUInt16BE(), 0x1f8b)
  })

  it('refuses what is packed in a way that is not supported, also inside', async () => {
    const zip = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), Buffer.alloc(1000)])
    await assert.rejects(peel(gzipSync(zip), signal), { code: 'CDI_ENCODING_UNSUPPORTED' })
  })
})
