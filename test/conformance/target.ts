/** What every target has to do, whatever lies underneath. */
import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { it } from 'node:test'
import * as fc from 'fast-check'
import { CdiError } from '../../src/errors.ts'
import { silentLog } from '../../src/log.ts'
import type { Extent } from '../../importer/target/coverage.ts'
import { openTarget, reopenTarget } from '../../importer/target/open-target.ts'
import type { Target, Writer } from '../../importer/target/target.ts'
import { contentOf } from '../fixtures/loop.ts'

export interface TargetCase {
  /** Path of a target of at least 8 MiB, which may hold anything. */
  readonly path: () => string
}

const mebibyte = 1024 * 1024
const log = silentLog()
const signal = new AbortController().signal

interface Operation {
  readonly kind: 'data' | 'zeros' | 'zero'
  readonly start: number
  readonly end: number
}

/** Pieces that do not overlap, in any order; starts and ends anywhere. */
const operations = fc
  .tuple(
    fc.uniqueArray(fc.nat(4 * mebibyte - 1), { minLength: 2, maxLength: 16 }),
    fc.array(fc.constantFrom('data', 'zeros', 'zero', 'nothing'), { minLength: 15, maxLength: 15 }),
    fc.boolean(),
  )
  .map(([edges, kinds, backwards]) => {
    const sorted = edges.sort((one, two) => one - two)
    const list: Operation[] = []
    for (const [index, kind] of kinds.slice(0, sorted.length - 1).entries()) {
      if (kind === 'nothing') continue
      list.push({ kind, start: sorted[index] as number, end: sorted[index + 1] as number })
    }
    return backwards ? list.reverse() : list
  })

async function apply(target: Target, list: readonly Operation[], model: Buffer): Promise<void> {
  await Promise.all(
    list.map(async ({ kind, start, end }) => {
      if (kind === 'zero') return target.zero(start, end - start)
      const bytes = Buffer.alloc(end - start, kind === 'data' ? (start % 251) + 1 : 0)
      bytes.copy(model, start)
      const middle = Math.floor(bytes.length / 3)
      return target.write(start, [bytes.subarray(0, middle), bytes.subarray(middle)])
    }),
  )
}

/** The same bytes in ranges that do not touch. */
function joined(ranges: readonly Extent[]): Extent[] {
  const list: { start: number; end: number }[] = []
  for (const { start, end } of [...ranges].sort((one, two) => one.start - two.start)) {
    const last = list.at(-1)
    if (last !== undefined && last.end === start) last.end = end
    else list.push({ start, end })
  }
  return list
}

/** Registers the suite; to be called within `describe`. */
export function conformTarget({ path }: TargetCase): void {
  for (const preallocate of [false, true]) {
    for (const writer of ['ours', 'foreign'] as Writer[]) {
      if (preallocate && writer === 'foreign') continue
      it(`holds what was written and zeros elsewhere, ${preallocate ? 'preallocated' : 'sparse'}, written by ${writer}`, async () => {
        await fc.assert(
          fc.asyncProperty(operations, fc.constantFrom(4 * mebibyte, 4 * mebibyte + 512), async (list, sizeBytes) => {
            await using target = await openTarget({ path: path(), preallocate, log })
            const model = Buffer.alloc(sizeBytes)
            await target.begin(sizeBytes, signal, writer)
            await apply(target, list, model)
            await target.finish(signal)
            assert.ok((await contentOf(path(), sizeBytes)).equals(model))
          }),
          { numRuns: 12, endOnFailure: true },
        )
      })
    }
  }

  it('grows with what is written when the size is not known', async () => {
    await using target = await openTarget({ path: path(), preallocate: false, log })
    await target.begin(0, signal, 'ours')
    const data = Buffer.alloc(100_000, 7)
    await target.write(0, [data])
    await target.write(data.length, [Buffer.alloc(3 * mebibyte)])
    await target.write(data.length + 3 * mebibyte, [data, Buffer.alloc(50_000)])
    await target.finish(signal)
    const expected = Buffer.concat([data, Buffer.alloc(3 * mebibyte), data, Buffer.alloc(50_000)])
    assert.ok((await contentOf(path(), expected.length)).equals(expected))
  })

  it('makes a range read as zero that was written before', async () => {
    await using target = await openTarget({ path: path(), preallocate: false, log })
    await target.begin(4 * mebibyte, signal, 'ours')
    await target.write(0, [Buffer.alloc(4 * mebibyte, 9)])
    await target.zero(1000, 3 * mebibyte)
    await target.finish(signal)
    const expected = Buffer.alloc(4 * mebibyte, 9)
    expected.fill(0, 1000, 1000 + 3 * mebibyte)
    assert.ok((await contentOf(path(), expected.length)).equals(expected))
  })

  for (const preallocate of [false, true]) {
    it(`holds what two processes wrote one after the other, ${preallocate ? 'preallocated' : 'sparse'}`, async () => {
      await fc.assert(
        fc.asyncProperty(operations, operations, operations, async (first, lost, second) => {
          const sizeBytes = 4 * mebibyte
          const model = Buffer.alloc(sizeBytes)
          const kept: Extent[] = []
          {
            await using target = await openTarget({ path: path(), preallocate, log })
            await target.begin(sizeBytes, signal, 'ours')
            const written = first.filter(({ kind }) => kind !== 'zero')
            await apply(target, written, model)
            const ranges = written.map(({ start, end }) => ({ start, end }))
            await target.sync(ranges, signal)
            kept.push(...joined(ranges))
            // What was not synced counts for nothing, wherever it does not lie on what was.
            const beside = lost.filter(({ start, end }) => !kept.some((one) => one.start < end && one.end > start))
            await apply(target, beside, Buffer.alloc(sizeBytes))
          }
          await using target = await reopenTarget({ path: path(), preallocate, log, leastBytes: sizeBytes })
          await target.resume(sizeBytes, kept, signal)
          for (const { kind, start, end } of second) {
            const bytes = Buffer.alloc(end - start, kind === 'data' ? (end % 251) + 1 : 0)
            bytes.copy(model, start)
            await target.overwrite(start, [bytes])
          }
          await target.finish(signal)
          assert.ok((await contentOf(path(), sizeBytes)).equals(model))
        }),
        { numRuns: 12, endOnFailure: true },
      )
    })
  }

  for (const preallocate of [false, true]) {
    it(`makes zeros that it left out as durable as all else, ${preallocate ? 'preallocated' : 'sparse'}`, async () => {
      // A file is made anew anyway.
      await writeFile(path(), Buffer.alloc(4 * mebibyte, 0x5a), { flag: 'r+' }).catch(() => {})
      const kept = [{ start: mebibyte, end: 3 * mebibyte }]
      {
        await using target = await openTarget({ path: path(), preallocate, log })
        await target.begin(4 * mebibyte, signal, 'ours')
        await target.write(mebibyte, [Buffer.alloc(2 * mebibyte)])
        await target.sync(kept, signal)
      }
      await using target = await reopenTarget({ path: path(), preallocate, log, leastBytes: 4 * mebibyte })
      await target.resume(4 * mebibyte, kept, signal)
      await target.finish(signal)
      assert.ok((await contentOf(path(), 4 * mebibyte)).equals(Buffer.alloc(4 * mebibyte)))
    })
  }

  it('may end earlier than was declared', async () => {
    await using target = await openTarget({ path: path(), preallocate: false, log })
    await target.begin(mebibyte + 512, signal, 'ours')
    await target.write(0, [Buffer.alloc(mebibyte + 512, 7)])
    await target.cut(mebibyte)
    await target.finish(signal)
    const whole = await contentOf(path(), mebibyte + 512)
    assert.ok(whole.subarray(0, mebibyte).equals(Buffer.alloc(mebibyte, 7)))
    assert.ok(whole.subarray(mebibyte).every((byte) => byte === 0))
    assert.equal(whole.length, target.kind === 'file' ? mebibyte : mebibyte + 512)
  })

  it('refuses a disk that is larger than the volume, in the words of the contract', async () => {
    await using target = await openTarget({ path: path(), preallocate: false, log })
    const size = target.capacityBytes + 1
    await assert.rejects(target.begin(size, signal), (error) => {
      assert.ok(error instanceof CdiError)
      assert.equal(error.code, 'CDI_IMAGE_TOO_LARGE')
      assert.equal(
        error.message,
        `virtual image size ${size} is larger than the reported available storage ${target.capacityBytes}. A larger PVC is required`,
      )
      return true
    })
  })

  it('holds what another process wrote by its path', async () => {
    await using target = await openTarget({ path: path(), preallocate: false, log })
    await target.begin(4 * mebibyte, signal)
    await writeFile(path(), Buffer.alloc(mebibyte, 3), { flag: 'r+' })
    await target.written(mebibyte)
    await target.finish(signal)
    const expected = Buffer.concat([Buffer.alloc(mebibyte, 3), Buffer.alloc(3 * mebibyte)])
    assert.ok((await contentOf(path(), expected.length)).equals(expected))
  })
}
