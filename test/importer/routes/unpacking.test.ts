import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { deflateRawSync } from 'node:zlib'
import * as fc from 'fast-check'
import type { Extent } from '../../../importer/image/extents.ts'
import { groupRuns } from '../../../importer/image/runs.ts'
import type { Run } from '../../../importer/image/runs.ts'
import { PartQueue } from '../../../importer/routes/parts.ts'
import { Unpacking } from '../../../importer/routes/unpacking.ts'
import { Gather } from '../../../importer/target/gather.ts'

const unitBytes = 65_536

interface Image {
  readonly source: Buffer
  readonly extents: readonly Extent[]
  readonly disk: Buffer
}

/** Clusters of a disk one behind the other in an image, some packed and some several in a row, with gaps between them. */
function imageOf(
  clusters: readonly { readonly packed: boolean; readonly gap: number; readonly kind: number }[],
): Image {
  const lengthOf = ({ packed, kind }: { packed: boolean; kind: number }): number =>
    packed ? unitBytes : unitBytes * (1 + (kind % 4))
  const disk = Buffer.alloc(clusters.reduce((sum, cluster) => sum + lengthOf(cluster), 0))
  // Not in the order of the image.
  let diskOffset = disk.length
  const pieces: Buffer[] = []
  const extents: Extent[] = []
  let sourceOffset = 0
  for (const [index, { packed, gap, kind }] of clusters.entries()) {
    const diskBytes = lengthOf({ packed, kind })
    diskOffset -= diskBytes
    const plain = disk.subarray(diskOffset, diskOffset + diskBytes)
    for (let at = 0; at < diskBytes; at += 1) plain[at] = (at * kind * (index + 3)) >>> (kind % 8)
    pieces.push(Buffer.alloc(gap, 0xee))
    sourceOffset += gap
    const bytes = packed ? deflateRawSync(plain, { windowBits: 12 }) : plain
    // The tables say how many sectors something packed reaches into.
    const sourceBytes = packed ? Math.ceil((sourceOffset + bytes.length) / 512) * 512 - sourceOffset : diskBytes
    extents.push({ coding: packed ? 'deflate' : 'stored', diskOffset, diskBytes, sourceOffset, sourceBytes })
    pieces.push(bytes)
    sourceOffset += bytes.length
    const next = clusters[index + 1]
    if (packed && next?.packed !== true) {
      const rest = Math.ceil(sourceOffset / 512) * 512 - sourceOffset
      pieces.push(Buffer.alloc(rest))
      sourceOffset += rest
    }
  }
  return { source: Buffer.concat(pieces), extents, disk }
}

/** Rarely one that is too wide to be read through. */
const anyGap = fc.oneof(
  { weight: 40, arbitrary: fc.constant(0) },
  { weight: 4, arbitrary: fc.constantFrom(100, 60_000) },
  { weight: 1, arbitrary: fc.constant(70_000) },
)
const anyClusters = fc.array(
  fc.record({
    packed: fc.boolean(),
    gap: anyGap,
    kind: fc.integer({ min: 0, max: 40 }),
  }),
  { minLength: 25, maxLength: 60 },
)

/** Streams all parts of an image through one unpacking, in buffers that are spoilt as soon as they are given back. */
async function unpackAll({ source, extents }: Image, { workers, chunkBytes }: { workers: number; chunkBytes: number }) {
  const disk = Buffer.alloc(extents.reduce((sum, { diskBytes }) => sum + diskBytes, 0))
  const write = async (offset: number, buffers: readonly Buffer[]): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve))
    Buffer.concat(buffers).copy(disk, offset)
  }
  const gather = new Gather({ target: { write }, offset: 0, slabs: 2 })
  await using unpacking = new Unpacking({ gather, unitBytes, name: 'image' })
  const queue = new PartQueue<Run>({ workers })
  queue.add([...groupRuns({ extents, gapBytes: 65_536 })])
  for (let part = queue.next(); part !== undefined; part = queue.next()) {
    const sink = unpacking.sinkFor(part)
    for (let at = part.position; at < part.readEnd; at += chunkBytes) {
      const lent = Buffer.from(source.subarray(at, Math.min(at + chunkBytes, part.readEnd)))
      await sink(lent)
      lent.fill(0xa5)
    }
    queue.done(part)
  }
  await unpacking.settle()
  await gather.end()
  return disk
}

describe('unpacking', () => {
  it('makes the disk of packed and stored clusters, however they lie and wherever the stream and its parts are cut', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyClusters,
        fc.integer({ min: 1, max: 8 }),
        fc.constantFrom(1000, 65_536, 262_144, 5_000_000),
        async (clusters, workers, chunkBytes) => {
          const image = imageOf(clusters)
          assert.ok((await unpackAll(image, { workers, chunkBytes })).equals(image.disk))
        },
      ),
      { numRuns: 40 },
    )
  })

  it('says where damage lies, and hands over nothing that comes behind it', async () => {
    const clusters = Array.from({ length: 40 }, (_, index) => ({ packed: true, gap: 0, kind: index }))
    const image = imageOf(clusters)
    const { sourceOffset } = image.extents[20] as Extent
    image.source.fill(0xff, sourceOffset, sourceOffset + 50)
    await assert.rejects(unpackAll(image, { workers: 1, chunkBytes: 10_000 }), {
      code: 'CDI_CONVERT_FAILED',
      message: `Image image is damaged: what lies at byte ${sourceOffset} does not decode`,
    })
  })

  it('ends when the disk cannot be written, although the stream is held back for it', async () => {
    const image = imageOf(Array.from({ length: 60 }, () => ({ packed: false, gap: 0, kind: 3 })))
    const write = (): Promise<void> => Promise.reject(new Error('the disk is gone'))
    const gather = new Gather({ target: { write }, offset: 0, slabs: 2 })
    await using unpacking = new Unpacking({ gather, unitBytes, name: 'image' })
    const [run] = groupRuns({ extents: image.extents, gapBytes: 0 })
    assert.ok(run)
    const sink = unpacking.sinkFor({ of: run, position: 0, end: run.end, readEnd: run.end })
    await assert.rejects(
      async () => {
        await sink(image.source)
        await unpacking.settle()
        await gather.end()
      },
      { message: 'the disk is gone' },
    )
  })
})
