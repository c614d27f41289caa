import { strict as assert } from 'node:assert'
import { createHash, randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { frameHead, mostFrameBytes, unframed } from '../../../../importer/upload/clone/frames.ts'
import { CdiError } from '../../../../src/errors.ts'

const one = randomBytes(1000)
const two = Buffer.alloc(5000, 'x')
const packed = zstdCompressSync(two)
const digest = createHash('sha256').update(one).update(two).digest()
const frames = [frameHead('plain', one.length), one, frameHead('packed', packed.length), packed]
const end = [frameHead('end', digest.length), digest]

async function read(stream: Buffer, chunkBytes = stream.length): Promise<Buffer> {
  // oxlint-disable-next-line require-await
  async function* chunks(): AsyncGenerator<Buffer> {
    for (let at = 0; at < stream.length; at += chunkBytes) yield stream.subarray(at, at + chunkBytes)
  }
  const parts: Buffer[] = []
  for await (const part of unframed(chunks())) parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}

const withCode = (code: string) => (error: unknown) => error instanceof CdiError && error.code === code

describe('frames of a tree', () => {
  it('give the bytes back, however they are cut', async () => {
    const stream = Buffer.concat([...frames, ...end])
    for (const chunkBytes of [1, 7, 1000, stream.length]) {
      assert.ok((await read(stream, chunkBytes)).equals(Buffer.concat([one, two])), `chunks of ${chunkBytes}`)
    }
  })

  it('are no whole stream without their end', async () => {
    const stream = Buffer.concat(frames)
    for (const bytes of [stream.length, stream.length - 1, 3, 0]) {
      await assert.rejects(read(stream.subarray(0, bytes)), withCode('CDI_SOURCE_TRUNCATED'))
    }
  })

  it('are refused with another digest', async () => {
    const stream = Buffer.concat([frameHead('plain', 1), Buffer.from('!'), ...frames, ...end])
    await assert.rejects(read(stream), withCode('CDI_CHECKSUM_MISMATCH'))
  })

  it('are refused with bytes behind the end', async () => {
    await assert.rejects(read(Buffer.concat([...frames, ...end, one])), withCode('CDI_UPLOAD_MALFORMED'))
  })

  it('are refused when one is too large or of no known kind', async () => {
    await assert.rejects(read(frameHead('plain', mostFrameBytes + 1)), withCode('CDI_UPLOAD_MALFORMED'))
    await assert.rejects(read(Buffer.from([9, 0, 0, 0, 0])), withCode('CDI_UPLOAD_MALFORMED'))
  })

  it('are refused when one unpacks to more than it may', async () => {
    const bomb = zstdCompressSync(Buffer.alloc(mostFrameBytes + 1))
    await assert.rejects(
      read(Buffer.concat([frameHead('packed', bomb.length), bomb])),
      withCode('CDI_CHECKSUM_MISMATCH'),
    )
  })
})
