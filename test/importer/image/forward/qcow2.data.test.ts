import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { copyFile, open, readdir, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { CdiError } from '../../../../src/errors.ts'
import { silentLog } from '../../../../src/log.ts'
import type { ForwardLimits } from '../../../../importer/image/forward/engine.ts'
import { convertStream } from '../../../../importer/routes/convert-stream.ts'
import { openStream } from '../../../../importer/sources/stdin.ts'
import { surveySource } from '../../../../importer/survey.ts'
import type { Survey } from '../../../../importer/survey.ts'
import { openTarget } from '../../../../importer/target/open-target.ts'
import { makeBlockDevice } from '../../../fixtures/block-device.ts'
import { Dice } from '../../../fixtures/dice.ts'
import { be32, be64, convertByQemu, makeDisk, mebibyte, noise, patch, text } from '../../../fixtures/images.ts'
import { noRoot } from '../../../fixtures/loop.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { allocatedBytes } from '../../e2e/support/disks.ts'

const log = silentLog()
const kibibyte = 1024
const qcow2 = { driver: 'qcow2' } as const
/** Less than most of the images have. */
const limits: ForwardLimits = { heldBytes: 512 * kibibyte, claims: 2000 }
const minuteMs = 60_000

interface Import {
  readonly image: string
  readonly to: string
  readonly scratchDirectory?: string
  readonly preallocate?: boolean
  readonly limits?: ForwardLimits
}

const surveyOf = async (image: string): Promise<Survey> => {
  await using source = openStream({ stream: createReadStream(image), name: 'image' })
  return await surveySource({ source, contentType: 'kubevirt', signal: AbortSignal.timeout(minuteMs) })
}

/** Reads an image as from a pipe. Rejects with CDI_INTERNAL if the plan is another one. */
async function importForward({ image, to, preallocate = false, ...rest }: Import): Promise<void> {
  const signal = AbortSignal.timeout(minuteMs)
  await using source = openStream({ stream: createReadStream(image, { highWaterMark: 100_000 }), name: 'image' })
  const { facts, encodings, plan } = await surveySource({ source, contentType: 'kubevirt', signal })
  if (facts === undefined) throw new CdiError('CDI_INTERNAL', plan.why)
  await using target = await openTarget({ path: to, preallocate, log })
  try {
    await convertStream({ source, encodings, facts, target, signal, log, onBytes: () => {}, ...rest })
    await target.finish(signal)
  } catch (error) {
    await target.discard()
    throw error
  }
}

const sameBytes = (one: string, other: string, bytes?: number): Promise<unknown> =>
  execa('cmp', [...(bytes === undefined ? [] : ['-n', String(bytes)]), one, other])

/** Places of the tables, as qemu-img has laid them out. */
async function tablesOf(image: string): Promise<{ l1: number; l2: number; counts: number; firstCounts: number }> {
  const bytes = await readFile(image)
  const offsetAt = (at: number): number => Number(bytes.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n)
  const l1 = offsetAt(40)
  const counts = offsetAt(48)
  return { l1, l2: offsetAt(l1), counts, firstCounts: offsetAt(counts) }
}

const layouts: readonly (readonly [name: string, args: readonly string[]])[] = [
  ['version 2', ['-o', 'compat=0.10']],
  ['version 3', []],
  ['version 3 with 512-byte clusters', ['-o', 'cluster_size=512']],
  ['version 3 with 4 KiB clusters', ['-o', 'cluster_size=4k']],
  ['version 3 with 2 MiB clusters', ['-o', 'cluster_size=2M']],
  ['reference counts of 1 bit', ['-o', 'refcount_bits=1']],
  ['reference counts of 64 bits', ['-o', 'refcount_bits=64,lazy_refcounts=on']],
  ['extended L2', ['-o', 'extended_l2=on,cluster_size=128k']],
  ['extended L2 and 16 KiB clusters', ['-o', 'extended_l2=on,cluster_size=16k']],
  ['preallocated metadata', ['-o', 'preallocation=metadata']],
  ['preallocated space', ['-o', 'preallocation=full']],
  ['zlib clusters', ['-c']],
  ['zlib clusters of 512 bytes', ['-c', '-o', 'cluster_size=512']],
  ['zlib clusters of 2 MiB', ['-c', '-o', 'cluster_size=2M']],
  ['zlib clusters written out of order', ['-c', '-W', '-m', '8', '-o', 'cluster_size=4k']],
  ['zlib clusters with extended L2', ['-c', '-o', 'extended_l2=on']],
  ['zstd clusters', ['-c', '-o', 'compression_type=zstd']],
  ['zstd clusters of 4 KiB', ['-c', '-o', 'compression_type=zstd,cluster_size=4k']],
]

describe('qcow2 in one pass', { timeout: 580_000 }, () => {
  for (const [name, args] of layouts) {
    it(`makes of ${name} what qemu-img makes of it, with the same holes and no scratch`, async () => {
      await using dir = await tempDir('qcow2')
      const path = (name: string): string => join(dir.path, name)
      // The last cluster of the disk and of the file may be there in part.
      for (const sizeBytes of [512, 9 * mebibyte + 12_800]) {
        await makeDisk(path('disk'), { sizeBytes, ...(sizeBytes === 512 ? { pieces: [[0, noise(512, 1)]] } : {}) })
        await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
        await convertByQemu(path('image'), path('wanted'), qcow2)
        const { plan } = await surveyOf(path('image'))
        assert.deepEqual([plan.route, plan.needsScratch], ['convertStream', false])
        const heldBytes = name.includes('2 MiB') ? 8 * mebibyte : limits.heldBytes
        await importForward({ image: path('image'), to: path('got'), limits: { ...limits, heldBytes } })
        await sameBytes(path('got'), path('wanted'))
        const [ours, qemus] = await Promise.all([allocatedBytes(path('got')), allocatedBytes(path('wanted'))])
        assert.ok(ours <= qemus + 256 * kibibyte, `${ours} bytes are allocated, by qemu-img ${qemus}`)
      }
    })
  }

  it('replaces every byte that a device held before', { skip: noRoot }, async () => {
    await using dir = await tempDir('qcow2')
    const path = (name: string): string => join(dir.path, name)
    const sizeBytes = 9 * mebibyte + 12_800
    await makeDisk(path('disk'), { sizeBytes })
    for (const args of [[], ['-c'], ['-o', 'cluster_size=4k'], ['-o', 'extended_l2=on,cluster_size=128k']]) {
      await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
      for (const preallocate of [false, true]) {
        await using device = await makeBlockDevice(path(`backing-${args.join('')}-${preallocate}`), 12 * mebibyte)
        await importForward({ image: path('image'), to: device.path, preallocate, limits })
        await sameBytes(device.path, path('disk'), sizeBytes)
      }
    }
  })

  for (const args of [
    ['-o', 'cluster_size=64k'],
    ['-o', 'cluster_size=4k'],
    ['-o', 'cluster_size=2M'],
    ['-o', 'extended_l2=on,cluster_size=64k'],
    ['-o', 'cluster_size=64k,compression_type=zstd,lazy_refcounts=on'],
  ]) {
    it(`follows what was written, rewritten, zeroed, discarded and resized at random with ${args[1]}`, async () => {
      await using dir = await tempDir('qcow2')
      const path = (name: string): string => join(dir.path, name)
      for (const seed of [1, 2, 3]) {
        const dice = new Dice(seed)
        const clusterBytes = args[1]?.includes('2M') === true ? 2 * mebibyte : 64 * kibibyte
        const sizeBytes = 40 * mebibyte
        await execa('qemu-img', ['create', '-q', '-f', 'qcow2', ...args, path('image'), String(sizeBytes)])
        const edit = async (): Promise<void> => {
          const commands = Array.from({ length: 60 }, (_, step) => {
            const length = (1 + dice.below(600)) * 512
            const offset = dice.below(sizeBytes / 512 - 600) * 512
            const cluster = `${dice.below(sizeBytes / clusterBytes) * clusterBytes} ${clusterBytes}`
            if (step % 8 === 5) return `write -z ${offset} ${length}`
            if (step % 8 === 6) return `discard ${cluster}`
            // Only whole clusters can be written packed.
            if (step % 8 === 7) return `write -c -P ${step} ${cluster}`
            return `write -P ${step + 1} ${offset} ${length}`
          })
          // Nothing can be packed where something was written before.
          await execa('qemu-io', ['-f', 'qcow2', ...commands.flatMap((command) => ['-c', command]), path('image')], {
            reject: false,
          })
        }
        await edit()
        if (seed === 2) await execa('qemu-img', ['resize', '-q', '-f', 'qcow2', path('image'), '50M'])
        if (seed === 3) await execa('qemu-img', ['resize', '-q', '--shrink', '-f', 'qcow2', path('image'), '40M'])
        await edit()
        await convertByQemu(path('image'), path('wanted'), qcow2)
        await importForward({ image: path('image'), to: path('got'), limits, scratchDirectory: dir.path })
        await sameBytes(path('got'), path('wanted'))
      }
    })
  }

  it('finds clusters that lie before the table that names them, in memory or in scratch', async () => {
    await using dir = await tempDir('qcow2')
    const path = (name: string): string => join(dir.path, name)
    await using scratch = await tempDir('scratch')
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte, pieces: [[0, noise(8 * mebibyte, 1)]] })
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', path('disk'), path('image')])
    // The table is moved to the end, and a hole is where it was.
    const { l1, l2 } = await tablesOf(path('image'))
    const bytes = await readFile(path('image'))
    const end = Math.ceil(bytes.length / 65_536) * 65_536
    await patch(path('image'), end, bytes.subarray(l2, l2 + 65_536))
    await patch(path('image'), l2, Buffer.alloc(65_536))
    await patch(path('image'), l1, be64((1n << 63n) | BigInt(end)))
    await importForward({ image: path('image'), to: path('in-memory') })
    await sameBytes(path('in-memory'), path('disk'))
    await assert.rejects(importForward({ image: path('image'), to: path('without'), limits }), {
      code: 'CDI_SCRATCH_REQUIRED',
      message: 'scratch space required and none found',
    })
    await assert.rejects(stat(path('without')), { code: 'ENOENT' })
    await importForward({ image: path('image'), to: path('spilled'), limits, scratchDirectory: scratch.path })
    await sameBytes(path('spilled'), path('disk'))
    assert.deepEqual(await readdir(scratch.path), [])
  })

  it('passes over bitmaps, and takes an image that was not closed', async () => {
    await using dir = await tempDir('qcow2')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    const args = ['-o', 'lazy_refcounts=on']
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
    await execa('qemu-img', ['bitmap', '--add', '-f', 'qcow2', path('image'), 'backup'])
    await execa('qemu-io', ['-f', 'qcow2', '-c', 'write -P 7 3M 1M', path('image')])
    await convertByQemu(path('image'), path('wanted'), qcow2)
    await importForward({ image: path('image'), to: path('got'), limits })
    await sameBytes(path('got'), path('wanted'))
    // The lowest of the incompatible features.
    await patch(path('image'), 79, Buffer.from([1]))
    const { facts } = await surveyOf(path('image'))
    assert.match(facts?.notes.join() ?? '', /was not closed properly/)
    await importForward({ image: path('image'), to: path('got'), limits })
    await sameBytes(path('got'), path('wanted'))
  })

  it('stages internal snapshots, a first table that was moved behind the data, and too many small clusters', async () => {
    await using dir = await tempDir('qcow2')
    const path = (name: string): string => join(dir.path, name)
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('image'), '64M'])
    await execa('qemu-img', ['snapshot', '-c', 'before', path('image')])
    const { plan } = await surveyOf(path('image'))
    assert.equal(plan.route, 'convertStaged')
    assert.match(plan.why, /because it has internal snapshots$/)
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('grown'), '64M'])
    await execa('qemu-io', ['-f', 'qcow2', '-c', 'write -P 5 0 60M', path('grown')])
    await execa('qemu-img', ['resize', '-q', '-f', 'qcow2', path('grown'), '5T'])
    const grown = await surveyOf(path('grown'))
    assert.equal(grown.plan.route, 'convertStaged')
    assert.match(grown.plan.why, /because its first table stands behind the data, at byte \d+$/)
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', 'cluster_size=4k', path('fine'), '30G'])
    const fine = await surveyOf(path('fine'))
    assert.equal(fine.plan.route, 'convertStaged')
    assert.match(fine.plan.why, /because a disk of \d+ bytes has too many clusters of 4096 bytes$/)
  })

  it('refuses tables that lead outside, back, or to one place twice', async () => {
    await using dir = await tempDir('qcow2')
    const path = (name: string): string => join(dir.path, name)
    const stored = 1n << 63n
    const refuses = async (args: readonly string[], damage: () => Promise<unknown>, told: RegExp): Promise<void> => {
      await makeDisk(path('disk'), { sizeBytes: 2 * mebibyte, pieces: [[0, text(2 * mebibyte, 1)]] })
      await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
      await damage()
      await assert.rejects(
        importForward({ image: path('image'), to: path('got'), scratchDirectory: dir.path }),
        (error) => error instanceof CdiError && told.test(`${error.code} ${error.message}`),
        String(told),
      )
      await assert.rejects(stat(path('got')), { code: 'ENOENT' })
    }
    type Tables = Awaited<ReturnType<typeof tablesOf>>
    const entry =
      (table: 'l1' | 'l2', value: (tables: Tables) => bigint, index = 0) =>
      async () => {
        const tables = await tablesOf(path('image'))
        await patch(path('image'), tables[table] + index * 8, be64(value(tables)))
      }
    const far = stored | (1n << 40n)
    await refuses(
      [],
      entry('l2', () => far),
      /CDI_CONVERT_FAILED .*truncated/,
    )
    await refuses(
      [],
      entry('l1', () => far),
      /CDI_CONVERT_FAILED .*truncated/,
    )
    await refuses(
      ['-c'],
      entry('l2', () => (1n << 62n) | (1n << 40n)),
      /CDI_CONVERT_FAILED .*truncated/,
    )
    await refuses(
      [],
      entry('l2', () => stored | (1n << 54n)),
      /CDI_FORMAT_INVALID .*at byte/,
    )
    await refuses(
      [],
      entry('l2', () => stored | 512n),
      /CDI_FORMAT_INVALID .*a cluster stands at/,
    )
    await refuses(
      [],
      entry('l1', () => stored | 512n),
      /CDI_FORMAT_INVALID .*a table stands at/,
    )
    await refuses(
      ['-o', 'compat=0.10'],
      entry('l2', () => 1n),
      /CDI_FORMAT_INVALID .*cluster of zeros/,
    )
    await refuses(
      ['-c'],
      entry('l2', () => (1n << 62n) | 65_536n),
      /CDI_FORMAT_INVALID .*used twice/,
    )
    // Two clusters of the disk at one place, a table that is data, data in the tables.
    const first = async (): Promise<bigint> =>
      (await readFile(path('image'))).readBigUInt64BE((await tablesOf(path('image'))).l2)
    await refuses(
      [],
      async () => patch(path('image'), (await tablesOf(path('image'))).l2 + 8, be64(await first())),
      /CDI_FORMAT_INVALID .*used twice/,
    )
    for (const table of ['l1', 'l2', 'counts', 'firstCounts'] as const) {
      await refuses(
        [],
        entry('l2', (tables) => stored | BigInt(tables[table])),
        /CDI_FORMAT_INVALID .*used twice/,
      )
    }
    for (const table of ['l1', 'counts', 'firstCounts'] as const) {
      await refuses(
        [],
        entry('l1', (tables) => stored | BigInt(tables[table])),
        /CDI_FORMAT_INVALID .*used twice/,
      )
    }
    const smaller = ['-o', 'cluster_size=1k']
    await refuses(
      smaller,
      entry('l1', ({ l2 }) => stored | BigInt(l2), 1),
      /CDI_FORMAT_INVALID .*used twice/,
    )
    // Subclusters of data and of zeros at once, and of data without a place.
    const extended = ['-o', 'extended_l2=on']
    const bitmap = (zeros: number, allocated: number) => async () =>
      patch(path('image'), (await tablesOf(path('image'))).l2 + 8, Buffer.concat([be32(zeros), be32(allocated)]))
    await refuses(extended, bitmap(3, 2), /CDI_FORMAT_INVALID .*both of data and of zeros/)
    await refuses(
      extended,
      entry('l2', () => 0n),
      /CDI_FORMAT_INVALID .*without a place/,
    )
  })

  for (const args of [[], ['-c'], ['-c', '-o', 'compression_type=zstd'], ['-o', 'extended_l2=on,cluster_size=16k']]) {
    it(`refuses ${args.join(' ') || 'plain clusters'} when it is cut, or makes the same of it as qemu-img`, async () => {
      await using dir = await tempDir('qcow2')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 3 * mebibyte })
      await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
      const { size } = await stat(path('image'))
      const dice = new Dice(5)
      const places = [64, 71, 103, 104, 511, 65_535, ...Array.from({ length: 30 }, () => dice.below(size)), size - 1]
      let refused = 0
      for (const at of places) {
        await copyFile(path('image'), path('cut'))
        await truncate(path('cut'), at)
        refused += await refusesOrAgrees({ path, image: 'cut', told: `cut at ${at}` })
      }
      // What was cut may have been nothing but zeros.
      assert.ok(refused >= places.length - 8, `only ${refused} of ${places.length} were refused`)
    })
  }

  for (const args of [
    [],
    ['-c'],
    ['-c', '-o', 'compression_type=zstd,cluster_size=4k'],
    ['-o', 'extended_l2=on,cluster_size=16k'],
    ['-o', 'compat=0.10,cluster_size=1k'],
  ]) {
    it(`refuses ${args.join(' ') || 'plain clusters'} when bits of its tables are flipped, or makes the same of it as qemu-img`, async () => {
      await using dir = await tempDir('qcow2')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 2 * mebibyte })
      await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', ...args, path('disk'), path('image')])
      const { l1, l2, counts, firstCounts } = await tablesOf(path('image'))
      const dice = new Dice(11)
      let refused = 0
      for (let way = 0; way < 60; way += 1) {
        const [start, bytes] = dice.pick([
          [4, 124],
          [l1, 64],
          [l2, 512],
          [l2, 64],
          [counts, 16],
          [firstCounts, 512],
        ])
        const at = start + dice.below(bytes)
        const bit = dice.below(8)
        await copyFile(path('image'), path('damaged'))
        {
          await using file = await open(path('damaged'), 'r+')
          const byte = Buffer.alloc(1)
          await file.read(byte, 0, 1, at)
          await file.write(Buffer.from([(byte[0] ?? 0) ^ (1 << bit)]), 0, 1, at)
        }
        refused += await refusesOrAgrees({ path, image: 'damaged', told: `bit ${bit} of byte ${at}` })
      }
      assert.ok(refused >= 8, `only ${refused} were refused`)
    })
  }
})

/** Returns 1 if the image was refused, 0 if it became what qemu-img makes of it; fails if it became something else. */
async function refusesOrAgrees({
  path,
  image,
  told,
}: {
  readonly path: (name: string) => string
  readonly image: string
  readonly told: string
}): Promise<number> {
  const error = await importForward({ image: path(image), to: path('got'), scratchDirectory: path('.') }).catch(
    (error: unknown) => error,
  )
  if (error === undefined) {
    await convertByQemu(path(image), path('wanted'), qcow2)
    await sameBytes(path('got'), path('wanted'))
    return 0
  }
  assert.ok(error instanceof CdiError, told)
  // Damage may leave a header that goes another way.
  if (!/plan promised|first bytes/.test(error.message))
    assert.notEqual(error.code, 'CDI_INTERNAL', `${told}: ${error.message}`)
  return 1
}
