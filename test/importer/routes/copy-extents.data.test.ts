import assert from 'node:assert/strict'
import { copyFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { inspectImage } from '../../../importer/image/inspect.ts'
import type { ImageFacts } from '../../../importer/image/facts.ts'
import { copyExtents } from '../../../importer/routes/copy-extents.ts'
import { openFile } from '../../../importer/sources/file.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import { makeBlockDevice } from '../../fixtures/block-device.ts'
import {
  be32,
  be64,
  convertByQemu,
  cut,
  le32,
  makeDisk,
  makeImage,
  mebibyte,
  noise,
  patch,
  text,
  variants,
} from '../../fixtures/images.ts'
import type { ImageVariant } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const log = silentLog()
const never = new AbortController().signal
const variantOf = (name: string): ImageVariant => variants.find((variant) => variant.name === name)!

async function factsOf(source: RangedSource, format: ImageVariant['format']): Promise<ImageFacts> {
  return inspectImage({
    format,
    name: source.name,
    sizeBytes: source.sizeBytes,
    read: (offset, length) => readRange(source, { offset, length: Math.min(length, source.sizeBytes - offset) }, never),
  })
}

interface Copy {
  readonly image: string
  readonly to: string
  readonly format: ImageVariant['format']
  readonly preallocate?: boolean
  readonly around?: (source: RangedSource) => RangedSource
}

/** The steps of a run that concern this route. */
async function copyImage({ image, to, format, preallocate = false, around = (source) => source }: Copy): Promise<void> {
  await using file = await openFile({ path: image })
  const facts = await factsOf(file, format)
  await using target = await openTarget({ path: to, preallocate, log })
  try {
    await copyExtents({ source: around(file), facts, target, signal: never, log })
    await target.finish(never)
  } catch (error) {
    await target.discard()
    throw error
  }
}

const sameBytes = (one: string, other: string, bytes?: number): Promise<unknown> =>
  execa('cmp', [...(bytes === undefined ? [] : ['-n', String(bytes)]), one, other])
const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * 512

const sizes = { sparse: 24 * mebibyte, 'odd-sized': 5 * mebibyte + 12_345, tiny: 512 } as const
const mapped = variants.filter(({ name }) => !/zstd|4 KiB|extended L2|vhd fixed/.test(name))

describe('copyExtents', { timeout: 300_000 }, () => {
  for (const variant of mapped) {
    it(`makes of ${variant.name} what qemu-img makes of it, with the same holes`, async () => {
      await using dir = await tempDir('extents')
      const path = (name: string): string => join(dir.path, name)
      for (const [kind, sizeBytes] of Object.entries(sizes)) {
        const pieces = [[0, noise(512, 1)]] as const
        await makeDisk(path('disk'), { sizeBytes, ...(kind === 'tiny' ? { pieces } : {}) })
        await makeImage(path('disk'), path('image'), variant)
        await convertByQemu(path('image'), path('wanted'), variant)
        await copyImage({ image: path('image'), to: path(kind), format: variant.format })
        assert.equal((await stat(path(kind))).size, (await stat(path('wanted'))).size)
        await sameBytes(path(kind), path('wanted'))
        const [ours, qemus] = await Promise.all([allocatedBytes(path(kind)), allocatedBytes(path('wanted'))])
        assert.ok(ours <= qemus + 256 * 1024, `${kind}: ${ours} allocated, by qemu-img ${qemus}`)
        await copyImage({ image: path('image'), to: path(`${kind}-full`), format: variant.format, preallocate: true })
        await sameBytes(path(`${kind}-full`), path('wanted'))
        const full = await allocatedBytes(path(`${kind}-full`))
        assert.ok(full >= sizeBytes, `${kind}: only ${full} bytes are backed by storage`)
      }
    })
  }

  it('replaces every byte that a device held before', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    const sizeBytes = 16 * mebibyte
    await makeDisk(path('disk'), { sizeBytes })
    for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters', 'vmdk streamOptimized', 'vhdx dynamic']) {
      const variant = variantOf(name)
      await makeImage(path('disk'), path('image'), variant)
      for (const preallocate of [false, true]) {
        await using device = await makeBlockDevice(path(`${variant.driver}-${name.length}-${preallocate}`), sizeBytes)
        await copyImage({ image: path('image'), to: device.path, format: variant.format, preallocate })
        await sameBytes(device.path, path('disk'), sizeBytes)
      }
    }
  })

  it('follows clusters that were written in any order, rewritten, zeroed and discarded', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    for (const [seed, args] of [
      [1, ['-f', 'qcow2']],
      [2, ['-f', 'qcow2', '-o', 'cluster_size=128k']],
      [3, ['-f', 'qcow2', '-o', 'cluster_size=2M']],
      [4, ['-f', 'vmdk']],
      [5, ['-f', 'vdi']],
      [6, ['-f', 'vhdx']],
      [7, ['-f', 'vpc', '-o', 'force_size=on']],
    ] as const) {
      const driver = args[1]
      const sizeBytes = 48 * mebibyte + 512 * seed
      await execa('qemu-img', ['create', '-q', ...args, path('image'), String(sizeBytes)])
      const dice = noise(1024, seed)
      const commands: string[] = []
      for (let step = 0; step < 48; step += 1) {
        const roll = dice.readUInt32BE(step * 8)
        const length = (1 + (dice.readUInt32BE(step * 8 + 4) % 600)) * 512
        const offset = Math.min((roll % (sizeBytes / 512)) * 512, sizeBytes - length)
        const kind = step % 8
        if (driver === 'qcow2' && kind === 5) commands.push(`write -z ${offset} ${length}`)
        else if (driver === 'qcow2' && kind === 6) commands.push(`discard ${offset} ${length}`)
        else if (driver === 'qcow2' && kind === 7) {
          // Only whole clusters can be written packed.
          const cluster = 2 * mebibyte
          commands.push(`write -c -P ${step} ${Math.floor(offset / cluster) * cluster} ${cluster}`)
        } else commands.push(`write -P ${step + 1} ${offset} ${length}`)
      }
      await execa('qemu-io', ['-f', driver, ...commands.flatMap((command) => ['-c', command]), path('image')], {
        reject: false,
      })
      await convertByQemu(path('image'), path('wanted'), { driver })
      await copyImage({ image: path('image'), to: path('got'), format: driver === 'vpc' ? 'vhd' : driver })
      await sameBytes(path('got'), path('wanted'))
    }
  })

  it('takes tables in pieces when they name more than fits into memory at once', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    const cluster = 65_536
    const tables = 10
    const perTable = 8192
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('image'), String(tables * perTable * cluster)])
    const firstTable = mebibyte
    const firstData = 4 * mebibyte
    await using source = await openFile({ path: path('image') })
    const l1 = Number((await readRange(source, { offset: 40, length: 8 }, never)).readBigUInt64BE())
    // Every other cluster of the disk, one after the other in the file: none can be joined.
    let data = firstData
    for (let table = 0; table < tables; table += 1) {
      const place = firstTable + table * cluster
      await patch(path('image'), l1 + table * 8, be64((1n << 63n) | BigInt(place)))
      const entries = Buffer.alloc(cluster)
      for (let index = 0; index < perTable; index += 2) {
        entries.writeBigUInt64BE((1n << 63n) | BigInt(data), index * 8)
        if (index % 2048 === 0) await patch(path('image'), data, noise(cluster, table * perTable + index))
        data += cluster
      }
      await patch(path('image'), place, entries)
    }
    await truncate(path('image'), data)
    await convertByQemu(path('image'), path('wanted'), variantOf('qcow2 version 3'))
    await copyImage({ image: path('image'), to: path('got'), format: 'qcow2' })
    const { stdout } = await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', path('got'), path('wanted')])
    assert.match(stdout, /identical/)
    assert.ok((await allocatedBytes(path('got'))) >= tables * 4 * cluster)
  })

  it('takes an empty image, and a large one of which only the tables are read', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    for (const driver of ['qcow2', 'vmdk', 'vdi', 'vhdx'] as const) {
      await execa('qemu-img', ['create', '-q', '-f', driver, path('image'), '40G'])
      await execa('qemu-io', ['-f', driver, '-c', 'write -P 7 39G 64k', path('image')])
      let readBytes = 0
      await copyImage({
        image: path('image'),
        to: path('got'),
        format: driver,
        around: (source) => ({
          kind: 'ranged',
          name: source.name,
          sizeBytes: source.sizeBytes,
          pinned: true,
          parallel: 3,
          stream: (range, sink, signal) => {
            readBytes += range.length
            return source.stream(range, sink, signal)
          },
          [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
        }),
      })
      const { stdout } = await execa('qemu-img', ['compare', '-f', driver, '-F', 'raw', path('image'), path('got')])
      assert.match(stdout, /identical/)
      assert.ok((await allocatedBytes(path('got'))) <= mebibyte)
      assert.ok(readBytes < 48 * mebibyte, `${driver}: ${readBytes} bytes were read`)
    }
  })

  for (const variant of mapped.filter(({ name }) => !/MiB|fixed|preallocated/.test(name))) {
    it(`refuses ${variant.name} when it is damaged, or makes the same of it as qemu-img`, async () => {
      await using dir = await tempDir('extents')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 3 * mebibyte })
      await makeImage(path('disk'), path('image'), variant)
      const { size } = await stat(path('image'))
      const dice = noise(4 * 80, 17)
      let refused = 0
      for (let way = 0; way < 20; way += 1) {
        // Tables stand in front, mostly; half of the damage is done there.
        const at = dice.readUInt32BE(way * 16) % (way % 4 < 2 ? Math.min(size, 330_000) : size)
        if (way % 5 === 0) await cut(path('image'), path('damaged'), at)
        else {
          await copyFile(path('image'), path('damaged'))
          await patch(path('damaged'), at, noise(1 + (dice.readUInt32BE(way * 16 + 4) % 64), way))
          await truncate(path('damaged'), size)
        }
        const told = `${way} at ${at} of ${size}`
        const error = await copyImage({ image: path('damaged'), to: path('got'), format: variant.format }).catch(
          (error: unknown) => error,
        )
        if (error === undefined) {
          await convertByQemu(path('damaged'), path('wanted'), variant)
          await sameBytes(path('got'), path('wanted'))
          continue
        }
        assert.ok(error instanceof CdiError, told)
        // Damage may take the tables away that we read; the plan then chooses another route.
        if (!/the plan promised tables/.test(error.message)) assert.notEqual(error.code, 'CDI_INTERNAL', told)
        refused += 1
      }
      assert.ok(refused >= 4, `only ${refused} damaged images were refused`)
    })
  }

  it('refuses tables that lead outside, and clusters that decode to something else', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 2 * mebibyte, pieces: [[0, text(2 * mebibyte, 1)]] })
    const refuses = async (name: string, damage: () => Promise<unknown>, message: RegExp): Promise<void> => {
      const variant = variantOf(name)
      await makeImage(path('disk'), path('image'), variant)
      await damage()
      await assert.rejects(
        copyImage({ image: path('image'), to: path('got'), format: variant.format }),
        (error) => error instanceof CdiError && message.test(`${error.code} ${error.message}`),
      )
      await assert.rejects(stat(path('got')), { code: 'ENOENT' })
    }
    const tables = async (): Promise<{ l1: number; l2: number }> => {
      await using source = await openFile({ path: path('image') })
      const l1 = Number((await readRange(source, { offset: 40, length: 8 }, never)).readBigUInt64BE())
      const entry = (await readRange(source, { offset: l1, length: 8 }, never)).readBigUInt64BE()
      return { l1, l2: Number(entry & 0x00ff_ffff_ffff_fe00n) }
    }
    const qcow2 = (value: bigint, table: 'l1' | 'l2') => async () =>
      patch(path('image'), (await tables())[table], be64(value))
    const far = (1n << 63n) | (1n << 40n)
    await refuses('qcow2 version 3', qcow2(far, 'l2'), /CDI_CONVERT_FAILED .*truncated/)
    await refuses('qcow2 version 3', qcow2(far, 'l1'), /CDI_CONVERT_FAILED .*truncated/)
    await refuses('qcow2 version 3', qcow2((1n << 63n) | 512n, 'l2'), /CDI_FORMAT_INVALID .*a cluster stands at/)
    await refuses('qcow2 version 3', qcow2((1n << 63n) | 512n, 'l1'), /CDI_FORMAT_INVALID .*a table stands at/)
    await refuses('qcow2 version 2', qcow2(1n, 'l2'), /CDI_FORMAT_INVALID .*cluster of zeros/)
    await refuses(
      'qcow2 with zlib clusters',
      qcow2((1n << 62n) | 65_536n, 'l2'),
      /CDI_CONVERT_FAILED .*does not decode/,
    )
    await refuses('qcow2 with zlib clusters', qcow2((1n << 62n) | (1n << 40n), 'l2'), /CDI_CONVERT_FAILED .*truncated/)
    const grain = async (offset: number, bytes: Buffer): Promise<void> => {
      await using source = await openFile({ path: path('image') })
      const overhead = (await readRange(source, { offset: 64, length: 8 }, never)).readBigUInt64LE()
      await patch(path('image'), Number(overhead) * 512 + offset, bytes)
    }
    await refuses('vmdk streamOptimized', () => grain(8, le32(0)), /CDI_CONVERT_FAILED .*does not decode/)
    await refuses('vmdk streamOptimized', () => grain(8, le32(0x7fff_ffff)), /CDI_CONVERT_FAILED .*does not decode/)
    await refuses('vmdk streamOptimized', () => grain(40, be32(0x1234_5678)), /CDI_CONVERT_FAILED .*does not decode/)
  })

  it('does not wait for a stream that is slow: its rest is taken over', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    const sizeBytes = 16 * mebibyte
    await makeDisk(path('disk'), {
      sizeBytes,
      pieces: [
        [0, noise(sizeBytes / 2, 1)],
        [sizeBytes / 2, text(sizeBytes / 2, 2)],
      ],
    })
    for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters', 'vmdk streamOptimized']) {
      const variant = variantOf(name)
      await makeImage(path('disk'), path('image'), variant)
      const takenOver = Promise.withResolvers<void>()
      let slow: { readonly from: number; readonly to: number } | undefined
      await copyImage({
        image: path('image'),
        to: path('got'),
        format: variant.format,
        around: (source) => ({
          kind: 'ranged',
          name: source.name,
          sizeBytes: source.sizeBytes,
          pinned: true,
          parallel: 2,
          stream: (range, sink, signal) => {
            const { offset, length } = range
            if (slow !== undefined && offset > slow.from && offset < slow.to) takenOver.resolve()
            if (slow !== undefined || length < 3 * mebibyte) return source.stream(range, sink, signal)
            slow = { from: offset, to: offset + length }
            let brought = 0
            const standingStill = async (chunk: Buffer): Promise<void> => {
              brought += chunk.length
              // Comes to life again only when somebody else is at what it was to bring.
              if (brought > mebibyte) await takenOver.promise
              await sink(chunk)
            }
            return source.stream(range, standingStill, signal)
          },
          [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
        }),
      })
      assert.ok(slow !== undefined)
      await sameBytes(path('got'), path('disk'))
    }
  })

  it('leaves a device as it was as long as qemu-img has not agreed', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    const sizeBytes = 16 * mebibyte
    const before = noise(sizeBytes, 5)
    await writeFile(path('before'), before)
    await makeDisk(path('disk'), { sizeBytes, pieces: [[0, noise(sizeBytes, 1)]] })
    for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters']) {
      const variant = variantOf(name)
      await makeImage(path('disk'), path('image'), variant)
      await using device = await makeBlockDevice(path(`device-${variant.name.length}`), sizeBytes)
      await writeFile(device.path, before)
      await using file = await openFile({ path: path('image') })
      const facts = await factsOf(file, variant.format)
      await using target = await openTarget({ path: device.path, preallocate: false, log })
      const smaller = { ...facts, virtualSizeBytes: facts.virtualSizeBytes - mebibyte }
      await assert.rejects(copyExtents({ source: file, facts: smaller, target, signal: never, log }), {
        code: 'CDI_FORMAT_INVALID',
        message: /but qemu-img finds 16777216/,
      })
      await sameBytes(device.path, path('before'), sizeBytes)
    }
  })

  it('ends with the fault of the source when it breaks off, in the tables or in the data', async () => {
    await using dir = await tempDir('extents')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 16 * mebibyte, pieces: [[0, noise(16 * mebibyte, 1)]] })
    for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters']) {
      const variant = variantOf(name)
      await makeImage(path('disk'), path('image'), variant)
      // In the headers, in the tables, and in the data.
      for (const bytesBefore of [0, 200_000, 9 * mebibyte]) {
        let bytes = 0
        await assert.rejects(
          copyImage({
            image: path('image'),
            to: path('got'),
            format: variant.format,
            around: (source) => ({
              kind: 'ranged',
              name: source.name,
              sizeBytes: source.sizeBytes,
              pinned: true,
              parallel: 2,
              stream: (range, sink, signal) => {
                const cutting = (chunk: Buffer): void | Promise<void> => {
                  bytes += chunk.length
                  if (bytes > bytesBefore) throw new CdiError('CDI_SOURCE_INTERRUPTED', 'the line is cut')
                  return sink(chunk)
                }
                return source.stream(range, cutting, signal)
              },
              [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
            }),
          }),
          { message: 'the line is cut' },
        )
        await assert.rejects(stat(path('got')), { code: 'ENOENT' })
      }
    }
  })
})
