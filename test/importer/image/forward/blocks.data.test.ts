/** VDI, VHD and VHDX: a table in front, blocks behind it. */
import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import type { ImageFacts } from '../../../../importer/image/facts.ts'
import { ForwardEngine } from '../../../../importer/image/forward/engine.ts'
import { forwardReader } from '../../../../importer/image/forward/readers.ts'
import { inspectImage } from '../../../../importer/image/inspect.ts'
import { readImageForward } from '../../../fixtures/forward-disk.ts'
import { be32, be64, convertByQemu, le32, mebibyte, noise, withVhdChecksum } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'

const drivers = { vdi: 'vdi', vhd: 'vpc', vhdx: 'vhdx' } as const
type Format = keyof typeof drivers
const gibibyte = 1024 * mebibyte
const formats = Object.keys(drivers) as Format[]

/** An image of 48 MiB and a bit whose blocks were written in any order, by qemu. */
async function scattered(dir: TempDir, format: Format, ...args: string[]): Promise<Buffer> {
  const path = join(dir.path, 'image')
  const sizeBytes = 48 * mebibyte + 3 * 512
  const exact = format === 'vhd' ? ['-o', 'force_size=on'] : []
  await execa('qemu-img', ['create', '-q', '-f', drivers[format], ...exact, ...args, path, String(sizeBytes)])
  const dice = noise(256, 11)
  const commands = Array.from({ length: 24 }, (_, step) => {
    const offset = (dice.readUInt32BE(step * 8) % (sizeBytes / 512 - 200)) * 512
    return ['-c', `write -P ${step + 1} ${offset} ${(1 + (step % 9) * 20) * 512}`]
  })
  await execa('qemu-io', ['-f', drivers[format], ...commands.flat(), '-c', `write -P 99 ${sizeBytes - 512} 512`, path])
  return readFile(path)
}

async function factsOf(path: string, format: Format | 'vmdk'): Promise<ImageFacts> {
  await using file = await open(path)
  const read = async (offset: number, length: number): Promise<Buffer> => {
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, offset)
    return buffer
  }
  return await inspectImage({ format, name: path, read })
}

async function byQemu(dir: TempDir, format: Format, image: Buffer): Promise<Buffer> {
  await writeFile(join(dir.path, 'image'), image)
  await convertByQemu(join(dir.path, 'image'), join(dir.path, 'wanted'), { driver: drivers[format] })
  return readFile(join(dir.path, 'wanted'))
}

describe('Images with a table in front, in one pass', () => {
  for (const format of formats) {
    it(`${format}: blocks in any order make the disk, and nothing is asked for that has passed`, async () => {
      await using dir = await tempDir('blocks')
      const image = await scattered(dir, format)
      const { disk, latestBytes } = await readImageForward(format, image)
      assert.ok(disk.equals(await byQemu(dir, format, image)))
      assert.equal(latestBytes, 0)
    })

    it(`${format}: an image that ends within its blocks is truncated`, async () => {
      await using dir = await tempDir('blocks')
      const image = await scattered(dir, format)
      const last = image.lastIndexOf(Buffer.alloc(512, 99)) + 512
      for (const length of [last - 1, last - mebibyte, 4 * mebibyte]) {
        await assert.rejects(readImageForward(format, image.subarray(0, length)), /truncated/)
      }
    })
  }

  for (const format of ['vhd', 'vhdx'] as const) {
    it(`${format}: the rest of the last block has to be there though no disk needs it`, async () => {
      await using dir = await tempDir('blocks')
      const image = await scattered(dir, format)
      const last = image.lastIndexOf(Buffer.alloc(512, 99)) + 512
      await assert.rejects(readImageForward(format, image.subarray(0, last)), /truncated/)
    })
  }

  for (const [driver, format, size, options] of [
    ['vdi', 'vdi', '8T', 'static=off'],
    ['vmdk', 'vmdk', '1T', 'subformat=monolithicSparse'],
    ['vmdk', 'vmdk', '1T', 'subformat=streamOptimized'],
    ['vpc', 'vhd', '2000G', 'force_size=on'],
    ['vhdx', 'vhdx', '8T', 'block_size=32M'],
  ] as const) {
    it(`${format}, ${options}: tables for ${size} pass without being held`, async () => {
      await using dir = await tempDir('blocks')
      const path = join(dir.path, 'image')
      await execa('qemu-img', ['create', '-q', '-f', driver, '-o', options, path, size])
      await execa('qemu-io', ['-f', driver, '-c', 'write -P 7 900G 64k', '-c', 'write -P 8 1G 64k', path])
      const facts = await factsOf(path, format)
      const { onePass: layout } = facts
      assert.ok(typeof layout === 'object')
      const places = new Set<number>()
      await using engine = new ForwardEngine({
        reader: forwardReader({ layout, facts, name: path }),
        facts,
        name: path,
        disk: {
          stored: (diskOffset) => void places.add(Math.floor(diskOffset / gibibyte)),
          room: (bytes) => Promise.resolve(Buffer.alloc(bytes)),
          packed: ({ diskOffset }, bytes, onUsed) => {
            places.add(Math.floor(diskOffset / gibibyte))
            onUsed(bytes.length)
          },
        },
        signal: new AbortController().signal,
      })
      for await (const chunk of createReadStream(path, { highWaterMark: 256 * 1024 })) {
        await engine.take(chunk as Buffer)
      }
      await engine.end()
      assert.deepEqual([...places], [900, 1])
      assert.ok(engine.stats.mostHeldBytes <= mebibyte, `${engine.stats.mostHeldBytes} bytes were held`)
    })
  }

  it('vdi: blocks that were given up read as zeros', async () => {
    await using dir = await tempDir('blocks')
    const image = await scattered(dir, 'vdi')
    const map = image.readUInt32LE(0x154)
    const given = [...Array.from({ length: 48 }).keys()].filter((block) => image.readUInt32LE(map + 4 * block) < 100)
    le32(0xffff_fffe).copy(image, map + 4 * given[0]!)
    le32(0xffff_ffff).copy(image, map + 4 * given[1]!)
    const { disk } = await readImageForward('vdi', image)
    assert.ok(disk.equals(await byQemu(dir, 'vdi', image)))
    assert.ok(disk.subarray(given[0]! * mebibyte, (given[0]! + 1) * mebibyte).every((byte) => byte === 0))
  })

  it('vhd: the bitmaps of sectors are not looked at, as qemu does', async () => {
    await using dir = await tempDir('blocks')
    const image = await scattered(dir, 'vhd')
    const table = Number(image.readBigUInt64BE(512 + 0x10))
    const entries = Array.from({ length: 24 }, (_, block) => image.readUInt32BE(table + 4 * block))
    for (const entry of entries) if (entry !== 0xffff_ffff) image.fill(0, entry * 512, (entry + 1) * 512)
    assert.ok((await readImageForward('vhd', image)).disk.equals(await byQemu(dir, 'vhd', image)))
  })

  it('vhd: a table behind the blocks asks for what has passed', async () => {
    await using dir = await tempDir('blocks')
    const image = await scattered(dir, 'vhd')
    const table = Number(image.readBigUInt64BE(512 + 0x10))
    const moved = Buffer.concat([image.subarray(0, -512), image.subarray(table, table + 512), image.subarray(-512)])
    be64(BigInt(image.length - 512)).copy(moved, 512 + 0x10)
    withVhdChecksum(moved.subarray(512, 512 + 1024), 0x24)
    be32(0xffff_ffff).copy(moved, table)
    const { disk, latestBytes } = await readImageForward('vhd', moved)
    assert.ok(disk.equals(await byQemu(dir, 'vhd', image)))
    assert.ok(latestBytes > 20 * mebibyte)
  })

  it('vhdx: blocks of any size, with entries for bitmaps between them', async () => {
    await using dir = await tempDir('blocks')
    for (const size of ['1M', '8M', '256M']) {
      const image = await scattered(dir, 'vhdx', '-o', `block_size=${size}`)
      assert.ok((await readImageForward('vhdx', image)).disk.equals(await byQemu(dir, 'vhdx', image)))
    }
  })

  it('vhdx: a block in a state that only differences have is an error', async () => {
    await using dir = await tempDir('blocks')
    const image = await scattered(dir, 'vhdx')
    const first = 2 * mebibyte
    image.writeUInt8((image.readUInt8(first) & 0xf8) | 7, first)
    await assert.rejects(readImageForward('vhdx', image), {
      code: 'CDI_FORMAT_INVALID',
      message: /a block has state 7/,
    })
  })
})
