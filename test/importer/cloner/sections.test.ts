import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { SectionReader } from '../../../importer/cloner/sections.ts'
import type { Section } from '../../../importer/cloner/sections.ts'
import { SectionRoom, takeSection } from '../../../importer/upload/clone/section-body.ts'
import { mostDataBytes, mostExtents, sectionDigest } from '../../../importer/upload/clone/wire.ts'
import { mebibyte } from '../../fixtures/images.ts'

const never = new AbortController().signal
const room = new SectionRoom()

function readerOf(disk: Buffer): { reader: SectionReader; readBytes: () => number } {
  let bytes = 0
  const reader = new SectionReader({
    disk: {
      read: (offset, into, length) => {
        assert.ok(disk.copy(into, 0, offset, offset + length) === length)
        return Promise.resolve()
      },
    },
    onRead: (count) => (bytes += count),
  })
  return { reader, readBytes: () => bytes }
}

/** Puts a section where it belongs, by way of what the receiver makes of its body. */
async function apply(section: Section, disk: Buffer): Promise<void> {
  const place = { start: section.start, end: section.end, total: disk.length }
  const digest = sectionDigest(place, section)
  async function* body(): AsyncGenerator<Buffer> {
    // As a connection cuts it: somewhere.
    for (const part of [section.head, section.data]) {
      for (let at = 0; at < part.length; at += 70_001) yield part.subarray(at, at + 70_001)
    }
  }
  disk.fill(0, section.start, section.end)
  for (const { offset, bytes } of await takeSection(body(), { room, place, isPacked: false, digest })) {
    bytes.copy(disk, offset)
  }
}

describe('sections of a disk', () => {
  it('make the same disk again, whatever lies where', async () => {
    const sizeBytes = 6 * mebibyte + 123
    const patches = fc.array(
      fc.record({ offset: fc.integer({ min: 0, max: sizeBytes - 1 }), length: fc.integer({ min: 1, max: 300_000 }) }),
      { maxLength: 30 },
    )
    await fc.assert(
      fc.asyncProperty(patches, async (list) => {
        const disk = Buffer.alloc(sizeBytes)
        list.forEach(({ offset, length }, index) => disk.fill(index + 1, offset, Math.min(sizeBytes, offset + length)))
        const copy = Buffer.alloc(sizeBytes, 0xee)
        const { reader, readBytes } = readerOf(disk)
        let at = 0
        const whole = { start: 0, end: sizeBytes }
        for await (const section of reader.read({ ...whole, data: [whole] }, never)) {
          assert.equal(section.start, at)
          at = section.end
          assert.ok(section.data.length <= mostDataBytes && section.extents.length <= mostExtents)
          await apply(section, copy)
        }
        assert.equal(at, sizeBytes)
        assert.equal(readBytes(), sizeBytes)
        assert.ok(copy.equals(disk))
      }),
      { numRuns: 30 },
    )
  })

  it('hold no more extents than a head takes', async () => {
    const disk = Buffer.alloc(24 * mebibyte)
    for (let at = 0; at < disk.length; at += 20 * 1024) disk[at] = 1
    const copy = Buffer.alloc(disk.length, 0xee)
    const whole = { start: 0, end: disk.length }
    let sections = 0
    for await (const section of readerOf(disk).reader.read({ ...whole, data: [whole] }, never)) {
      assert.ok(section.extents.length <= mostExtents)
      await apply(section, copy)
      sections += 1
    }
    assert.ok(sections > 1)
    assert.ok(copy.equals(disk))
  })

  it('tell of a window without data in one section of a few bytes', async () => {
    const window = { start: 0, end: 2 ** 40, data: [] }
    const sections: Section[] = []
    for await (const section of readerOf(Buffer.alloc(1)).reader.read(window, never)) sections.push(section)
    assert.deepEqual(
      sections.map(({ start, end, head, data }) => ({ start, end, dataBytes: data.length, headBytes: head.length })),
      [{ start: 0, end: 2 ** 40, dataBytes: 0, headBytes: 4 }],
    )
  })
})
