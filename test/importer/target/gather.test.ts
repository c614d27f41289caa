import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { isAligned } from '../../../importer/target/aligned.ts'
import { Gather } from '../../../importer/target/gather.ts'

const mebibyte = 1024 * 1024
const diskBytes = 6 * mebibyte

/** A disk in memory that takes its time, and refuses to be written to twice in the same place. */
class MemoryTarget {
  readonly disk = Buffer.alloc(diskBytes, 0)
  readonly writes: { offset: number; length: number; aligned: boolean }[] = []

  async write(offset: number, buffers: readonly Buffer[]): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    let at = offset
    for (const buffer of buffers) {
      const aligned = at % 4096 !== 0 || isAligned(buffer)
      for (const { offset: start, length } of this.writes) {
        assert.ok(at >= start + length || at + buffer.length <= start, `byte ${at} is written twice`)
      }
      this.writes.push({ offset: at, length: buffer.length, aligned })
      buffer.copy(this.disk, at)
      at += buffer.length
    }
  }
}

/** Lends pieces of `content` in one buffer, which is spoilt as soon as it is given back. */
async function feed(gather: Gather, content: Buffer, cuts: readonly number[]): Promise<void> {
  const slab = Buffer.alloc(content.length)
  for (const [index, from] of cuts.entries()) {
    const piece = content.subarray(from, cuts[index + 1] ?? content.length)
    const lent = slab.subarray(0, piece.length)
    piece.copy(lent)
    await gather.push(lent)
    slab.fill(0xa5)
  }
}

/** Extents of data in a disk of zeros, with edges anywhere. */
const contents = fc
  .array(fc.tuple(fc.nat(diskBytes - 1), fc.integer({ min: 1, max: 900_000 }), fc.integer({ min: 1, max: 255 })), {
    maxLength: 6,
  })
  .map((extents) => {
    const content = Buffer.alloc(diskBytes)
    for (const [start, length, value] of extents) content.fill(value, start, Math.min(start + length, diskBytes))
    return content
  })
const cutsOf = fc
  .uniqueArray(fc.nat(diskBytes - 1), { maxLength: 40 })
  .map((cuts) => [0, ...cuts.filter(Boolean).sort((a, b) => a - b)])

describe('gather', () => {
  it('brings every byte to its place from buffers that are only lent, wherever they are cut', async () => {
    await fc.assert(
      fc.asyncProperty(contents, cutsOf, fc.integer({ min: 1, max: 4 }), async (content, cuts, slabs) => {
        const target = new MemoryTarget()
        const gather = new Gather({ target, offset: 0, slabs: slabs + 1 })
        await feed(gather, content, cuts)
        await gather.end()
        assert.equal(gather.position, diskBytes)
        assert.ok(target.disk.equals(content))
        assert.ok(target.writes.every(({ aligned }) => aligned))
      }),
      { numRuns: 40 },
    )
  })

  it('leaves the neighbours alone when it goes to another place', async () => {
    const target = new MemoryTarget()
    const gather = new Gather({ target, offset: 0, slabs: 2 })
    const places = [3 * mebibyte + 1000, 64 * 1024, 3 * mebibyte + 64 * 1024, 5000]
    const expected = Buffer.alloc(diskBytes)
    for (const [index, place] of places.entries()) {
      const content = Buffer.alloc(40_000, index + 1)
      content.fill(0, 0, 10_000)
      content.copy(expected, place)
      gather.seek(place)
      await feed(gather, content, [0, 5000, 20_000])
    }
    await gather.end()
    assert.ok(target.disk.equals(expected))
    for (const { offset, length } of target.writes) {
      assert.ok(places.some((place) => offset >= place && offset + length <= place + 40_000))
    }
  })

  it('writes nothing for zeros', async () => {
    const target = new MemoryTarget()
    const gather = new Gather({ target, offset: 0, slabs: 2 })
    await feed(gather, Buffer.alloc(diskBytes), [0, 1, 100_000, 3_000_001])
    await gather.end()
    assert.equal(target.writes.length, 0)
  })

  it('holds its feeder back while all slabs are being written', async () => {
    const release = Promise.withResolvers<void>()
    const gather = new Gather({ target: { write: () => release.promise }, offset: 0, slabs: 2 })
    const data = Buffer.alloc(mebibyte, 1)
    assert.equal(gather.push(data), undefined)
    assert.equal(gather.push(data), undefined)
    const third = gather.push(data)
    assert.ok(third instanceof Promise)
    let taken = false
    const taking = (async () => {
      await third
      taken = true
    })()
    await new Promise((resolve) => setTimeout(resolve, 5))
    assert.equal(taken, false)
    release.resolve()
    await taking
    await gather.end()
    assert.equal(gather.position, 3 * mebibyte)
  })

  it('tells the feeder of a write that failed, at the latest at the end', async () => {
    const refusal = new Error('the storage is gone')
    const gather = new Gather({ target: { write: () => Promise.reject(refusal) }, offset: 0, slabs: 2 })
    const data = Buffer.alloc(mebibyte, 1)
    void gather.push(data)
    void gather.push(data)
    await assert.rejects(gather.end(), (error) => error === refusal)
    assert.throws(
      () => gather.push(data),
      (error) => error === refusal,
    )
  })
})
