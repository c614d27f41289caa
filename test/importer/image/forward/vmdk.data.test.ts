import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { readImageForward } from '../../../fixtures/forward-disk.ts'
import { assertSameBytes, importForward } from '../../../fixtures/forward-import.ts'
import { convertByQemu, le32, makeDisk, makeImage, mebibyte, variantOf } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { vmdkStream } from '../../../fixtures/vmdk-stream.ts'

/** What qemu-img makes of an image. */
async function byQemu(dir: TempDir, image: Buffer): Promise<Buffer> {
  await writeFile(join(dir.path, 'image'), image)
  await convertByQemu(join(dir.path, 'image'), join(dir.path, 'wanted'), { driver: 'vmdk' })
  return readFile(join(dir.path, 'wanted'))
}

async function madeByQemu(dir: TempDir, name: string, sizeBytes = 20 * mebibyte): Promise<Buffer> {
  await makeDisk(join(dir.path, 'disk'), { sizeBytes })
  await makeImage(join(dir.path, 'disk'), join(dir.path, 'image'), variantOf(name))
  return readFile(join(dir.path, 'image'))
}

describe('VMDK in one pass', () => {
  it('of our own writer of streams is what qemu-img sees in it too', async () => {
    await using dir = await tempDir('vmdk')
    await makeDisk(join(dir.path, 'disk'), { sizeBytes: 40 * mebibyte })
    const disk = await readFile(join(dir.path, 'disk'))
    for (const options of [
      {},
      { directory: 'header' },
      { level: 0 },
      { grainBytes: 4096 },
      { order: (grains: readonly number[]) => [...grains].reverse() },
    ] as const) {
      const image = vmdkStream(disk, options)
      assert.ok((await byQemu(dir, image)).equals(disk))
      assert.ok((await readImageForward('vmdk', image)).disk.equals(disk))
    }
  })

  it('takes padding behind the end of a stream, and refuses anything else there', async () => {
    await using dir = await tempDir('vmdk')
    await makeDisk(join(dir.path, 'disk'), { sizeBytes: 3 * mebibyte })
    const stream = vmdkStream(await readFile(join(dir.path, 'disk')))
    const wanted = { image: join(dir.path, 'image'), to: join(dir.path, 'got'), signal: AbortSignal.timeout(20_000) }
    await writeFile(wanted.image, Buffer.concat([stream, Buffer.alloc(300_000)]))
    await importForward(wanted)
    await assertSameBytes(wanted.to, join(dir.path, 'disk'))
    await writeFile(wanted.image, Buffer.concat([stream, Buffer.alloc(300_000), Buffer.from('more')]))
    await assert.rejects(importForward(wanted), {
      code: 'CDI_FORMAT_INVALID',
      message: new RegExp(`it ends at byte ${stream.length}, and something else follows`),
    })
  })

  for (const name of ['vmdk monolithicSparse', 'vmdk streamOptimized']) {
    it(`of ${name} needs nothing that has passed`, async () => {
      await using dir = await tempDir('vmdk')
      for (const sizeBytes of [20 * mebibyte, 5 * mebibyte + 12_345, 512]) {
        const image = await madeByQemu(dir, name, sizeBytes)
        const { disk, latestBytes } = await readImageForward('vmdk', image)
        assert.ok(disk.equals(await byQemu(dir, image)))
        assert.ok(latestBytes <= 4)
      }
    })
  }

  it('takes packed grains that were appended by a second run of qemu, behind a gap', async () => {
    await using dir = await tempDir('vmdk')
    const path = join(dir.path, 'image')
    await execa('qemu-img', ['create', '-q', '-f', 'vmdk', '-o', 'subformat=streamOptimized', path, '8M'])
    for (const at of ['1M', '0', '5M']) await execa('qemu-io', ['-f', 'vmdk', '-c', `write -P 3 ${at} 64k`, path])
    const image = await readFile(path)
    const { disk, extents } = await readImageForward('vmdk', image)
    assert.ok(disk.equals(await byQemu(dir, image)))
    assert.equal(extents.length, 3)
  })

  it('refuses tables and grains that lie where the copies of the tables do', async () => {
    await using dir = await tempDir('vmdk')
    const image = await madeByQemu(dir, 'vmdk monolithicSparse')
    const copies = image.readUInt32LE(48)
    const directory = image.readUInt32LE(56) * 512
    const firstTable = image.readUInt32LE(directory) * 512
    for (const [at, value] of [
      [directory, copies + 1],
      [firstTable, copies],
    ] as const) {
      const damaged = Buffer.from(image)
      le32(value).copy(damaged, at)
      await assert.rejects(readImageForward('vmdk', damaged), {
        code: 'CDI_FORMAT_INVALID',
        message: /belongs to its tables and to their copies/,
      })
    }
  })

  it('takes grains of zeros for holes', async () => {
    await using dir = await tempDir('vmdk')
    const path = join(dir.path, 'image')
    await execa('qemu-img', ['create', '-q', '-f', 'vmdk', '-o', 'zeroed_grain=on', path, '8M'])
    await execa('qemu-io', ['-f', 'vmdk', '-c', 'write -P 3 0 1M', '-c', 'write -z 128k 256k', path])
    const image = await readFile(path)
    const { disk, extents } = await readImageForward('vmdk', image)
    assert.ok(disk.equals(await byQemu(dir, image)))
    assert.equal(
      extents.reduce((sum, { diskBytes }) => sum + diskBytes, 0),
      mebibyte - 256 * 1024,
    )
  })
})
