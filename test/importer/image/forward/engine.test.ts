import assert from 'node:assert/strict'
import { readdir } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { deflateRawSync, deflateSync, zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import type { ImageFacts } from '../../../../importer/image/facts.ts'
import { DiskWriter } from '../../../../importer/image/forward/disk-writer.ts'
import { ForwardEngine, forwardLimits } from '../../../../importer/image/forward/engine.ts'
import type { ForwardCheckpoint, ForwardLimits, SeenTable } from '../../../../importer/image/forward/engine.ts'
import type { ForwardCoding, ForwardExtent, ForwardReader } from '../../../../importer/image/forward/forward.ts'
import { noise } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'

const kibibyte = 1024
const never = new AbortController().signal
const sector = 512
const unitBytes = 8 * kibibyte

const factsOf = (virtualSizeBytes: number, format: ImageFacts['format'] = 'qcow2'): ImageFacts => ({
  format,
  virtualSizeBytes,
  clusterBytes: unitBytes,
  features: [],
  layout: 'mapped',
  notes: [],
})

/** A disk in memory that nobody may write to twice. */
class MemoryDisk {
  readonly bytes: Buffer
  readonly #written: Uint8Array

  constructor(sizeBytes: number) {
    this.bytes = Buffer.alloc(sizeBytes)
    this.#written = new Uint8Array(sizeBytes)
  }

  async write(offset: number, buffers: readonly Buffer[]): Promise<void> {
    await turn()
    let at = offset
    for (const buffer of buffers) {
      assert.ok(at + buffer.length <= this.bytes.length, 'beyond the end of the disk')
      assert.ok(!this.#written.subarray(at, at + buffer.length).includes(1), 'written twice')
      this.#written.fill(1, at, at + buffer.length)
      buffer.copy(this.bytes, at)
      at += buffer.length
    }
  }
}

interface Conversion {
  readonly file: Buffer
  readonly diskBytes: number
  readonly reader: ForwardReader
  readonly format?: ImageFacts['format']
  /** Lengths of the buffers that arrive, again and again. */
  readonly chunks?: readonly number[]
  readonly limits?: ForwardLimits
  readonly scratchDirectory?: string
}

interface Converted {
  readonly disk: Buffer
  readonly stats: ForwardEngine['stats']
}

async function convert({
  file,
  diskBytes,
  reader,
  format,
  chunks = [100_000],
  limits = forwardLimits,
  scratchDirectory,
}: Conversion): Promise<Converted> {
  const target = new MemoryDisk(diskBytes)
  const disk = new DiskWriter({ target, unitBytes, name: 'image', signal: never })
  const facts = factsOf(diskBytes, format)
  await using engine = new ForwardEngine({
    reader,
    facts,
    name: 'image',
    disk,
    limits,
    scratchDirectory,
    signal: never,
  })
  for (let at = 0, turns = 0; at < file.length; turns += 1) {
    // Lent like the real ones: overwritten as soon as it was taken.
    const lent = Buffer.from(file.subarray(at, at + (chunks[turns % chunks.length] ?? 1)))
    at += lent.length
    await engine.take(lent)
    lent.fill(0xee)
  }
  await engine.end()
  await disk.settle()
  return { disk: target.bytes, stats: engine.stats }
}

/** The same by a series of engines, each of which knows only what the one before has told. `ends` are shares of the file. */
async function convertInTurns({
  file,
  diskBytes,
  reader,
  chunks = [100_000],
  ends,
}: Omit<Conversion, 'limits' | 'scratchDirectory'> & { readonly ends: readonly number[] }): Promise<Converted> {
  const target = new MemoryDisk(diskBytes)
  const tables: SeenTable[] = []
  const stops = [...ends.map((share) => Math.floor(share * file.length)).sort((a, b) => a - b), file.length]
  let checkpoint: ForwardCheckpoint | undefined
  let stats: ForwardEngine['stats'] | undefined
  for (const stop of stops) {
    const disk = new DiskWriter({ target, unitBytes, name: 'image', signal: never })
    await using engine = new ForwardEngine({
      reader,
      facts: factsOf(diskBytes),
      name: 'image',
      disk,
      signal: never,
      onTable: (offset, bytes) => tables.push({ offset, bytes: Buffer.from(bytes) }),
      ...(checkpoint === undefined ? {} : { resume: { checkpoint, tables: [...tables] } }),
    })
    let turns = 0
    for (let at = checkpoint?.position ?? 0; at < stop; turns += 1) {
      const lent = Buffer.from(file.subarray(at, Math.min(stop, at + (chunks[turns % chunks.length] ?? 1))))
      at += lent.length
      await engine.take(lent)
      lent.fill(0xee)
    }
    if (stop === file.length) await engine.end()
    await disk.settle()
    checkpoint = engine.checkpoint()
    assert.ok(checkpoint)
    assert.equal(checkpoint.position, stop)
    stats = engine.stats
  }
  assert.ok(stats)
  return { disk: target.bytes, stats }
}

type Kind = 'table' | 'ignored' | 'junk' | ForwardCoding

/** What a generated file is made of. */
interface Spec {
  readonly kind: Kind
  readonly bytes: number
  /** Of the tables before it: which one names it. */
  readonly parent: number
  readonly hole: boolean
}

interface Layout {
  readonly file: Buffer
  readonly disk: Buffer
  readonly reader: ForwardReader
}

const packers = {
  deflate: (bytes: Buffer) => deflateRawSync(bytes, { windowBits: 12 }),
  zlib: (bytes: Buffer) => deflateSync(bytes),
  zstd: (bytes: Buffer) => zstdCompressSync(bytes),
} as const

/** Lays pieces out as told by the two orders, with tables that name each other as a tree. */
function layOut(specs: readonly Spec[], fileOrder: readonly number[], diskOrder: readonly number[]): Layout {
  const kindOf = (index: number): Kind => (specs[index] as Spec).kind
  const places = new Map<number, { offset: number; length: number }>()
  const contents = new Map<number, Buffer>()
  const parts: Buffer[] = []
  let fileBytes = 0
  const append = (bytes: Buffer): void => {
    parts.push(bytes)
    fileBytes += bytes.length
  }
  for (const index of fileOrder) {
    const { kind, bytes, hole } = specs[index] as Spec
    const isPacked = kind in packers
    // Only packed units begin where the one before ends.
    if (!isPacked) append(noise((sector - (fileBytes % sector)) % sector, 99))
    const offset = fileBytes
    if (kind in packers) {
      const plain = Buffer.concat([noise(bytes % unitBytes, index + 1), Buffer.alloc(unitBytes)]).subarray(0, unitBytes)
      contents.set(index, plain)
      append(packers[kind as keyof typeof packers](plain))
      const end = Math.ceil(fileBytes / sector) * sector
      places.set(index, { offset, length: end - offset })
      continue
    }
    const stored = hole ? Buffer.alloc(bytes) : noise(bytes, index + 1)
    contents.set(index, stored)
    append(stored)
    places.set(index, { offset, length: bytes })
  }
  append(noise((sector - (fileBytes % sector)) % sector, 98))
  const file = Buffer.concat(parts)

  const extents = new Map<number, ForwardExtent>()
  const diskParts: Buffer[] = []
  let diskBytes = 0
  for (const index of diskOrder) {
    const kind = kindOf(index)
    if (kind === 'table' || kind === 'ignored' || kind === 'junk') continue
    const { offset: sourceOffset, length: sourceBytes } = places.get(index) as { offset: number; length: number }
    const content = contents.get(index) as Buffer
    extents.set(index, { coding: kind, diskOffset: diskBytes, diskBytes: content.length, sourceOffset, sourceBytes })
    const gap = Buffer.alloc(index % 3 === 0 ? index * 100 : 0)
    diskParts.push(content, gap)
    diskBytes += content.length + gap.length
  }

  const children = new Map<number, number[]>()
  const root = -1
  const tables = [root]
  for (const [index, { kind, parent }] of specs.entries()) {
    const of = tables[parent % tables.length] ?? root
    children.set(of, [...(children.get(of) ?? []), index])
    if (kind === 'table') tables.push(index)
  }
  const reader: ForwardReader = (forward) => {
    let awaited = 0
    const claim = (of: number): void => {
      for (const index of children.get(of) ?? []) {
        const { offset, length } = places.get(index) as { offset: number; length: number }
        const kind = kindOf(index)
        if (kind === 'junk') continue
        if (kind === 'ignored') {
          forward.ignore(offset, length)
          continue
        }
        if (kind !== 'table') {
          forward.extent(extents.get(index) as ForwardExtent)
          continue
        }
        awaited += 1
        forward.table(offset, length, (bytes) => {
          assert.ok(bytes.equals(contents.get(index) as Buffer), 'a table came with other bytes')
          claim(index)
          awaited -= 1
          if (awaited === 0) forward.complete()
        })
      }
    }
    claim(root)
    if (awaited === 0) forward.complete()
  }
  return { file, disk: Buffer.concat(diskParts), reader }
}

const kinds = ['table', 'table', 'stored', 'stored', 'deflate', 'zlib', 'zstd', 'ignored', 'junk'] as const

const layoutsOf = (leastPieces: number) =>
  fc
    .array(
      fc.record({
        kind: fc.constantFrom(...kinds),
        bytes: fc.integer({ min: 1, max: 40_000 }),
        parent: fc.nat(),
        hole: fc.boolean(),
      }),
      { minLength: leastPieces, maxLength: 40 },
    )
    .chain((specs) => {
      const all = [...specs.keys()]
      const shuffled = fc.shuffledSubarray(all, { minLength: all.length, maxLength: all.length })
      return fc.record({
        specs: fc.constant(specs),
        fileOrder: fc.oneof(fc.constant(all), shuffled),
        diskOrder: shuffled,
      })
    })

const layouts = layoutsOf(1)
const largeLayouts = layoutsOf(20)
const chunkings = fc.array(fc.integer({ min: 500, max: 150_000 }), { minLength: 1, maxLength: 8 })

describe('forward engine', { timeout: 300_000 }, () => {
  it('makes the same disk of any layout, however the file is cut into buffers, in memory if there is enough', () =>
    fc.assert(
      fc.asyncProperty(layouts, chunkings, async ({ specs, fileOrder, diskOrder }, chunks) => {
        const { file, disk, reader } = layOut(specs, fileOrder, diskOrder)
        const converted = await convert({ file, diskBytes: disk.length, reader, chunks })
        assert.ok(converted.disk.equals(disk))
        assert.equal(converted.stats.spilledBytes, 0)
      }),
      { numRuns: 150 },
    ))

  it('goes on in other processes at any byte, with nothing written twice', () =>
    fc.assert(
      fc.asyncProperty(
        layouts,
        chunkings,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), { minLength: 1, maxLength: 5 }),
        async ({ specs, fileOrder, diskOrder }, chunks, ends) => {
          const { file, disk, reader } = layOut(specs, fileOrder, diskOrder)
          const whole = await convert({ file, diskBytes: disk.length, reader, chunks })
          const inTurns = await convertInTurns({ file, diskBytes: disk.length, reader, chunks, ends })
          assert.ok(inTurns.disk.equals(disk))
          assert.equal(inTurns.stats.extents, whole.stats.extents)
        },
      ),
      { numRuns: 200 },
    ))

  it('gives no checkpoint while something lies in scratch', async () => {
    await using scratch = await tempDir('spill')
    const disk = new DiskWriter({ target: new MemoryDisk(512), unitBytes, name: 'image', signal: never })
    await using engine = new ForwardEngine({
      reader: (forward) => forward.table(1024 * kibibyte, 512, () => forward.complete()),
      facts: factsOf(512),
      name: 'image',
      disk,
      limits: { heldBytes: 128 * kibibyte, claims: 10 },
      scratchDirectory: scratch.path,
      signal: never,
    })
    await engine.take(noise(64 * kibibyte, 3))
    assert.equal(engine.checkpoint()?.held.length, 1)
    await engine.take(noise(512 * kibibyte, 3))
    assert.equal(engine.checkpoint(), undefined)
  })

  it('makes the same disk with little memory, few claims and a scratch directory, which is left empty', async () => {
    await using scratch = await tempDir('spill')
    let spilled = 0
    await fc.assert(
      fc.asyncProperty(
        largeLayouts,
        chunkings,
        fc.constantFrom(1, 2, 5, 1000),
        async ({ specs, fileOrder, diskOrder }, chunks, claims) => {
          const { file, disk, reader } = layOut(specs, fileOrder, diskOrder)
          const limits = { heldBytes: 128 * kibibyte, claims }
          const scratchDirectory = scratch.path
          const converted = await convert({ file, diskBytes: disk.length, reader, chunks, limits, scratchDirectory })
          assert.ok(converted.disk.equals(disk))
          assert.deepEqual(await readdir(scratch.path), [])
          if (converted.stats.spilledBytes > 0) spilled += 1
        },
      ),
      { numRuns: 150 },
    )
    assert.ok(spilled > 20, `only ${spilled} layouts were spilled`)
  })

  it('asks for scratch where there is none, or makes the same disk without', () =>
    fc.assert(
      fc.asyncProperty(largeLayouts, chunkings, async ({ specs, fileOrder, diskOrder }, chunks) => {
        const { file, disk, reader } = layOut(specs, fileOrder, diskOrder)
        const limits = { heldBytes: 128 * kibibyte, claims: 1000 }
        try {
          const converted = await convert({ file, diskBytes: disk.length, reader, chunks, limits })
          assert.ok(converted.disk.equals(disk))
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'CDI_SCRATCH_REQUIRED')
        }
      }),
      { numRuns: 100 },
    ))

  it('calls a file that ends anywhere before the last byte of the disk truncated', () =>
    fc.assert(
      fc.asyncProperty(
        layouts,
        fc.double({ min: 0, max: 1, noNaN: true }),
        async ({ specs, fileOrder, diskOrder }, share) => {
          const { file, disk, reader } = layOut(specs, fileOrder, diskOrder)
          const cut = file.subarray(0, Math.floor(file.length * share))
          try {
            // A format whose blocks are there as a whole.
            const converted = await convert({ file: cut, diskBytes: disk.length, reader, format: 'vhdx' })
            assert.ok(converted.disk.equals(disk))
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'CDI_CONVERT_FAILED')
          }
        },
      ),
      { numRuns: 100 },
    ))

  const file = noise(64 * kibibyte, 1)
  const extent = (sourceOffset: number, diskOffset: number, bytes: number): ForwardExtent => ({
    coding: 'stored',
    diskOffset,
    diskBytes: bytes,
    sourceOffset,
    sourceBytes: bytes,
  })
  const cases: readonly [name: string, reader: ForwardReader, message: RegExp][] = [
    [
      'an extent within another one',
      (forward) => {
        forward.extent(extent(0, 0, 16_384))
        forward.extent(extent(8192, 32_768, 4096))
        forward.complete()
      },
      /what lies at byte 8192 is used twice/,
    ],
    [
      'an extent that was served before',
      (forward) => {
        forward.extent(extent(0, 0, 8192))
        forward.table(16_384, 512, () => {
          forward.extent(extent(0, 32_768, 8192))
          forward.complete()
        })
      },
      /what lies at byte 0 is used twice/,
    ],
    [
      'a table that is data too',
      (forward) => {
        forward.extent(extent(0, 0, 16_384))
        forward.table(8192, 4096, () => forward.complete())
      },
      /what lies at byte 8192 is used twice/,
    ],
    [
      'two packed units at one place',
      (forward) => {
        for (const diskOffset of [0, unitBytes]) {
          forward.extent({ coding: 'deflate', diskOffset, diskBytes: unitBytes, sourceOffset: 0, sourceBytes: 2048 })
        }
        forward.complete()
      },
      /what lies at byte 0 is used twice/,
    ],
    [
      'data that was passed over as reference counts',
      (forward) => {
        forward.ignore(0, 4096)
        forward.table(8192, 512, () => {
          forward.extent(extent(0, 0, 4096))
          forward.complete()
        })
      },
      /what lies at byte 0 is used twice/,
    ],
    [
      'a piece beyond the end of the disk',
      (forward) => forward.extent(extent(0, 60 * kibibyte, 8192)),
      /byte 61440 of its disk lies outside of it/,
    ],
    ['a place that no file has', (forward) => forward.extent(extent(2 ** 53, 0, 512)), /at byte 9007199254740992/],
  ]
  for (const [name, reader, message] of cases) {
    it(`refuses ${name}`, () =>
      assert.rejects(convert({ file, diskBytes: 64 * kibibyte, reader }), { code: 'CDI_FORMAT_INVALID', message }))
  }

  it('calls a packed unit that does not decode damaged', () =>
    assert.rejects(
      convert({
        file,
        diskBytes: 64 * kibibyte,
        reader: (forward) => {
          const place = { sourceOffset: 512, sourceBytes: 2048 }
          forward.extent({ coding: 'deflate', diskOffset: 0, diskBytes: unitBytes, ...place })
          forward.complete()
        },
      }),
      { code: 'CDI_CONVERT_FAILED', message: 'Image image is damaged: what lies at byte 512 does not decode' },
    ))

  it('takes the rest of a last cluster that is there in part for zeros', async () => {
    const reader: ForwardReader = (forward) => {
      forward.extent(extent(56 * kibibyte, 0, unitBytes))
      forward.complete()
    }
    const { disk } = await convert({ file: file.subarray(0, 58 * kibibyte), diskBytes: unitBytes, reader })
    assert.ok(disk.equals(Buffer.concat([file.subarray(56 * kibibyte, 58 * kibibyte), Buffer.alloc(6 * kibibyte)])))
  })

  it('is no end if a reader still waits for a table', () =>
    assert.rejects(convert({ file, diskBytes: 512, reader: (forward) => forward.table(65_530, 16, () => {}) }), {
      code: 'CDI_CONVERT_FAILED',
      message: 'Image image is truncated: its tables point to byte 65546, but it has only 65536 bytes',
    }))

  it('is not kept busy by what has nothing to do with the disk', async () => {
    const target = new MemoryDisk(512)
    const disk = new DiskWriter({ target, unitBytes, name: 'image', signal: never })
    const reader: ForwardReader = (forward) => forward.complete()
    await using engine = new ForwardEngine({ reader, facts: factsOf(512), name: 'image', disk, signal: never })
    const zeros = Buffer.alloc(16 * 1024 * kibibyte)
    await assert.rejects(
      async () => {
        for (let taken = 0; taken <= 2 ** 30; taken += zeros.length) await engine.take(zeros)
      },
      { code: 'CDI_FORMAT_INVALID', message: /more than 1073745920 bytes of it are not data of its disk/ },
    )
  })

  it('lets a table claim a part of itself', async () => {
    const reader: ForwardReader = (forward) => {
      forward.table(1024, 16, () => {
        forward.extent(extent(1036, 0, 500))
        forward.complete()
      })
    }
    const { disk } = await convert({ file, diskBytes: 512, reader, chunks: [100] })
    assert.ok(disk.subarray(0, 500).equals(file.subarray(1036, 1536)))
  })

  it('clears scratch when a reader finds a fault in what was spilled', async () => {
    await using scratch = await tempDir('spill')
    const large = noise(1024 * kibibyte, 2)
    const reader: ForwardReader = (forward) => {
      forward.table(1000 * kibibyte, 512, () => forward.table(0, 512, () => assert.fail('a fault')))
    }
    const limits = { heldBytes: 128 * kibibyte, claims: 10 }
    const scratchDirectory = scratch.path
    await assert.rejects(convert({ file: large, diskBytes: 512, reader, limits, scratchDirectory }), /a fault/)
    assert.deepEqual(await readdir(scratch.path), [])
  })
})
