import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { readImageForward } from '../../../fixtures/forward-disk.ts'
import { le32, le64, mebibyte, noise, text } from '../../../fixtures/images.ts'
import { vmdkStream } from '../../../fixtures/vmdk-stream.ts'
import type { VmdkStreamOptions } from '../../../fixtures/vmdk-stream.ts'

const sector = 512
const grain = 64 * 1024

/** Noise, text and holes, the last grain being cut by the end of the disk. */
function mixedDisk(sizeBytes = 3 * mebibyte + 7 * sector): Buffer {
  const disk = Buffer.alloc(sizeBytes)
  noise(300_000, 1).copy(disk, grain)
  text(700_000, 2).copy(disk, mebibyte + 5)
  noise(sector, 3).copy(disk, sizeBytes - sector)
  return disk
}

/** Replaces the bytes at `at` of each part of a kind. */
const patched =
  (kind: string, at: number, bytes: Buffer): NonNullable<VmdkStreamOptions['edit']> =>
  (part, whole) => {
    if (part === kind) bytes.copy(whole, at)
    return whole
  }

async function refuses(options: VmdkStreamOptions, message: RegExp): Promise<void> {
  await assert.rejects(readImageForward('vmdk', vmdkStream(mixedDisk(), options)), {
    code: 'CDI_FORMAT_INVALID',
    message,
  })
}

describe('streamOptimized VMDK in one pass', () => {
  it('makes the disk of grains in any order, of any size, whether header or footer names the directory', async () => {
    const anything = fc.record({
      sizeSectors: fc.integer({ min: 1, max: 2000 }),
      pieces: fc.array(fc.tuple(fc.nat(1_000_000), fc.integer({ min: 1, max: 100_000 }), fc.nat(100)), {
        maxLength: 6,
      }),
      grainBytes: fc.constantFrom(512, 4096, grain, mebibyte),
      directory: fc.constantFrom('footer' as const, 'header' as const),
      progress: fc.boolean(),
      level: fc.constantFrom(0, 1, 6),
      shuffle: fc.infiniteStream(fc.nat()),
    })
    await fc.assert(
      fc.asyncProperty(anything, async ({ sizeSectors, pieces, shuffle, ...options }) => {
        const disk = Buffer.alloc(sizeSectors * sector)
        for (const [at, length, seed] of pieces) noise(length, seed).copy(disk, at % disk.length)
        const order = (grains: readonly number[]): readonly number[] =>
          grains
            .map((number) => ({ number, key: shuffle.next().value ?? 0 }))
            .sort((one, other) => one.key - other.key)
            .map(({ number }) => number)
        const read = await readImageForward('vmdk', vmdkStream(disk, { ...options, order }))
        assert.ok(read.disk.equals(disk))
      }),
      { numRuns: 60 },
    )
  })

  it('asks for everything in the order of the file, and leaves nothing to be held', async () => {
    const { latestBytes, heldBytes } = await readImageForward('vmdk', vmdkStream(mixedDisk()))
    // A grain's marker is looked at together with its first bytes.
    assert.ok(latestBytes <= 4)
    assert.equal(heldBytes, 0)
  })

  it('makes an empty disk of an image without grains', async () => {
    const { disk, extents } = await readImageForward('vmdk', vmdkStream(Buffer.alloc(5 * mebibyte)))
    assert.equal(disk.length, 5 * mebibyte)
    assert.equal(extents.length, 0)
  })

  it('refuses grains that lie outside of the disk, between others, on top of another, or are too long', async () => {
    await refuses({ edit: patched('grain', 0, le64(1n << 40n)) }, /lies outside of the disk/)
    await refuses({ edit: patched('grain', 0, le64(1n << 63n)) }, /is absurd/)
    await refuses({ edit: patched('grain', 0, le64(3n)) }, /begins within another one, at sector 3/)
    await refuses({ edit: patched('grain', 0, le64(128n)) }, /holds what another one has held, from sector 128 on/)
    await refuses({ edit: patched('grain', 8, le32(2 * grain + 1)) }, /has 131073 bytes/)
  })

  it('refuses tables that do not name the grains that came', async () => {
    const contradict = /grain tables and its markers contradict each other/
    await refuses({ edit: patched('table', 4, le32(0)) }, contradict)
    await refuses({ edit: patched('table', 4, le32(4711)) }, contradict)
    await refuses({ edit: patched('table', 4 * 511, le32(4711)) }, contradict)
    await refuses({ edit: patched('directory', 0, le32(0)) }, contradict)
    await refuses({ edit: patched('directory', 0, le32(1)) }, contradict)
    // The grains of two neighbours change places, their markers do not.
    const exchange: VmdkStreamOptions['edit'] = (part, bytes) =>
      part === 'table'
        ? Buffer.concat([bytes.subarray(0, 4), bytes.subarray(8, 12), bytes.subarray(4, 8), bytes.subarray(12)])
        : bytes
    await refuses({ edit: exchange }, contradict)
  })

  it('refuses a footer that says something else than the header or leads elsewhere, and an end without one', async () => {
    await refuses({ edit: patched('footer', 12, le64(999n)) }, /header and footer contradict each other/)
    await refuses({ edit: patched('footer', 20, le64(64n)) }, /header and footer contradict each other/)
    await refuses({ edit: patched('footer', 56, le64(7n)) }, /footer does not lead to its grain directory/)
    await refuses({ edit: patched('footer', 0, Buffer.from('vmdk')) }, /the magic is missing/)
    await refuses({ edit: (part, bytes) => (part === 'footer' ? Buffer.alloc(0) : bytes) }, /the magic is missing/)
    await refuses(
      { edit: (part, bytes) => (part === 'marker' && bytes.readUInt32LE(12) === 3 ? Buffer.alloc(512) : bytes) },
      /ends without a footer/,
    )
  })

  it('refuses markers of unknown kinds, and tables of other lengths than the header says', async () => {
    await refuses({ edit: patched('marker', 12, le32(9)) }, /a marker of kind 9/)
    await refuses({ edit: patched('marker', 0, le64(3n)) }, /the marker of a grain table .* speaks of 3 sectors/)
    await refuses({ edit: patched('marker', 0, le64(1n << 33n)) }, /speaks of 8589934592 sectors/)
    await refuses({ edit: patched('end', 0, le64(1n)) }, /a marker of no kind/)
  })

  it('comes to no end when the image is cut, wherever that is', async () => {
    const image = vmdkStream(mixedDisk())
    for (let length = 128 * sector; length < image.length; length += 13 * sector) {
      await assert.rejects(readImageForward('vmdk', image.subarray(0, length)), /truncated/)
    }
    await assert.rejects(readImageForward('vmdk', image.subarray(0, image.length - 1)), /truncated/)
  })

  it('takes zeros behind the end, which pad it, and nothing else', async () => {
    const image = vmdkStream(mixedDisk())
    const { disk } = await readImageForward('vmdk', Buffer.concat([image, Buffer.alloc(70_000)]))
    assert.ok(disk.equals(mixedDisk()))
    await assert.rejects(readImageForward('vmdk', Buffer.concat([image, Buffer.from([0, 1])])), /something follows/)
  })

  it('says why it does not take directories that are too large to be kept', async () => {
    const image = vmdkStream(mixedDisk(), { edit: patched('header', 12, le64(1n << 34n)) })
    await assert.rejects(readImageForward('vmdk', image), /not in one pass: its grain directory has 262144 entries/)
  })
})
