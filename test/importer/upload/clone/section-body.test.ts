import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { SectionRoom, takeSection } from '../../../../importer/upload/clone/section-body.ts'
import { encodeHead, sectionDigest } from '../../../../importer/upload/clone/wire.ts'
import { PieceMismatch } from '../../../../importer/upload/piece.ts'
import { CdiError } from '../../../../src/errors.ts'

const place = { start: 4096, end: 100_000, total: 200_000 }
const data = randomBytes(300)
const head = encodeHead([
  { start: 5000, end: 5100 },
  { start: 50_000, end: 50_200 },
])
const whole = Buffer.concat([head, data])
const digest = sectionDigest(place, { head, data })
const room = new SectionRoom()

// oxlint-disable-next-line require-await
async function* of(...chunks: Buffer[]): AsyncGenerator<Buffer> {
  yield* chunks
}

const malformed = (error: unknown): boolean => error instanceof CdiError && error.code === 'CDI_UPLOAD_MALFORMED'

describe('body of a section', () => {
  it('is taken byte by byte as well as in one piece', async () => {
    for (const chunks of [[whole], [...whole].map((byte) => Buffer.of(byte))]) {
      const stored = await takeSection(of(...chunks), { room, place, isPacked: false, digest })
      assert.deepEqual(
        stored.map(({ offset, bytes }) => ({ offset, bytes: Buffer.from(bytes) })),
        [
          { offset: 5000, bytes: data.subarray(0, 100) },
          { offset: 50_000, bytes: data.subarray(100) },
        ],
      )
    }
  })

  it('is unpacked, and its digest is that of what was packed', async () => {
    const packed = zstdCompressSync(whole)
    const body = of(packed.subarray(0, 7), packed.subarray(7))
    const stored = await takeSection(body, { room, place, isPacked: true, digest })
    assert.equal(stored.length, 2)
    assert.ok(stored[1]?.bytes.equals(data.subarray(100)))
  })

  it('is refused when a bit is another one', async () => {
    const damaged = Buffer.from(whole)
    damaged[40]! ^= 1
    await assert.rejects(takeSection(of(damaged), { room, place, isPacked: false, digest }), PieceMismatch)
  })

  it('is refused when it belongs elsewhere', async () => {
    const other = { ...place, start: 4097 }
    await assert.rejects(takeSection(of(whole), { room, place: other, isPacked: false, digest }), PieceMismatch)
  })

  it('is refused when it ends too early or too late', async () => {
    for (const body of [whole.subarray(0, -1), whole.subarray(0, 3), Buffer.alloc(0), Buffer.concat([whole, data])]) {
      await assert.rejects(takeSection(of(body), { room, place, isPacked: false, digest }), malformed)
    }
  })

  it('is refused when it unpacks to more than a section may have', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(64 * 1024 * 1024))
    await assert.rejects(takeSection(of(bomb), { room, place, isPacked: true, digest }), PieceMismatch)
  })
})
