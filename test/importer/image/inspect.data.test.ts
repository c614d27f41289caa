import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { execa } from 'execa'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import type { ImageFacts } from '../../../importer/image/facts.ts'
import { assertFits, inspectImage } from '../../../importer/image/inspect.ts'
import { info } from '../../../importer/image/qemu-img.ts'
import { makeDisk, makeImage, mebibyte, noise, variants, withVhdChecksum } from '../../fixtures/images.ts'
import type { ImageVariant } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const never = new AbortController().signal

/** Inspects an image in memory and counts what is read of it. */
async function inspect(
  format: ImageVariant['format'],
  image: Buffer,
): Promise<{ facts: ImageFacts; readBytes: number }> {
  let readBytes = 0
  const facts = await inspectImage({
    format,
    name: 'image',
    sizeBytes: image.length,
    read(offset, length) {
      readBytes += length
      return Promise.resolve(image.subarray(offset, offset + length))
    },
  })
  return { facts, readBytes }
}

const images = new Map<string, Buffer>()

describe('inspectImage', () => {
  before(async () => {
    await using dir = await tempDir('inspect')
    const disk = join(dir.path, 'disk')
    await makeDisk(disk, { sizeBytes: 5 * mebibyte, pieces: [[mebibyte, noise(70_000, 1)]] })
    for (const variant of variants) {
      const path = join(dir.path, 'image')
      await makeImage(disk, path, variant)
      images.set(variant.name, await readFile(path))
    }
  })

  for (const variant of variants) {
    it(`finds in ${variant.name} the virtual size that qemu-img finds`, async () => {
      await using dir = await tempDir('inspect')
      const path = join(dir.path, 'image')
      await writeFile(path, images.get(variant.name)!)
      const { facts, readBytes } = await inspect(variant.format, images.get(variant.name)!)
      const reference = { format: variant.format, location: { filePath: path } }
      const told = await info(facts.vhdSize ? { ...reference, vhdSize: facts.vhdSize } : reference, never)
      assert.equal(facts.virtualSizeBytes, told.virtualSizeBytes)
      const { stdout } = await execa('qemu-img', ['info', '--output=json', '-f', variant.driver, path])
      assert.equal(facts.virtualSizeBytes, (JSON.parse(stdout) as Record<string, unknown>)['virtual-size'])
      assert.ok(readBytes <= 256 * 1024, `${readBytes} bytes were read`)
    })

    it(`meets any damage to the headers of ${variant.name} with one of its own errors and few reads`, async () => {
      const image = images.get(variant.name)!
      // Where the fields are: the first KiB, and for VHDX the regions of the first 3 MiB.
      const spots = variant.format === 'vhdx' ? [0, 65_536, 131_072, 196_608, 2 * mebibyte, 2 * mebibyte + 65_536] : [0]
      const change = fc.record({
        spot: fc.constantFrom(...spots),
        at: fc.nat(1024),
        bytes: fc.uint8Array({ minLength: 1, maxLength: 8 }),
      })
      const cutAt = fc.option(fc.nat(image.length))
      await fc.assert(
        fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), cutAt, async (changes, end) => {
          const saved: [number, Buffer][] = []
          for (const { spot, at, bytes } of changes) {
            const place = Math.min(spot + at, image.length - bytes.length)
            saved.push([place, Buffer.from(image.subarray(place, place + bytes.length))])
            image.set(bytes, place)
          }
          try {
            const { facts, readBytes } = await inspect(variant.format, end === null ? image : image.subarray(0, end))
            assert.ok(Number.isSafeInteger(facts.virtualSizeBytes) && facts.virtualSizeBytes > 0)
            assert.ok(readBytes <= 4 * mebibyte)
          } catch (error) {
            assert.ok(error instanceof CdiError, String(error))
            assert.match(error.code, /^CDI_(FORMAT|IMAGE)_/)
          } finally {
            for (const [place, bytes] of saved.reverse()) image.set(bytes, place)
          }
        }),
        { numRuns: 150 },
      )
    })
  }

  it('takes the size of a VHD from its footer unless the program that wrote it goes by the geometry', async () => {
    const image = Buffer.from(images.get('vhd dynamic')!)
    const geometryBytes = image.readUInt16BE(0x38) * image.readUInt8(0x3a) * image.readUInt8(0x3b) * 512
    const larger = BigInt(geometryBytes) + 512n * 3n
    for (const [creator, wanted] of [
      ['vpc ', BigInt(geometryBytes)],
      ['qemu', BigInt(geometryBytes)],
      ['win ', larger],
      ['vbox', larger],
    ] as const) {
      image.write(creator, 0x1c, 'latin1')
      image.writeBigUInt64BE(larger, 0x30)
      withVhdChecksum(image.subarray(0, 512), 0x40)
      assert.equal(BigInt((await inspect('vhd', image)).facts.virtualSizeBytes), wanted, creator)
    }
  })

  it('finds the size without knowing the length of the file, as for an image that is still packed', async () => {
    const image = images.get('qcow2 version 3')!
    const facts = await inspectImage({
      format: 'qcow2',
      name: 'image',
      read: (offset, length) => Promise.resolve(image.subarray(offset, offset + length)),
    })
    assert.equal(facts.virtualSizeBytes, 5 * mebibyte)
  })

  it("passes errors of reading through: they are the source's", async () => {
    const fault = new CdiError('CDI_SOURCE_STALLED', 'no byte came')
    const read = (): Promise<Buffer> => Promise.reject(fault)
    await assert.rejects(inspectImage({ format: 'vmdk', name: 'image', sizeBytes: 1000, read }), fault)
  })

  it('says in the words of the contract that a disk does not fit', () => {
    assert.throws(() => assertFits({ virtualSizeBytes: 1025, availableBytes: 1024 }), {
      code: 'CDI_IMAGE_TOO_LARGE',
      message: 'virtual image size 1025 is larger than the reported available storage 1024. A larger PVC is required',
    })
    assertFits({ virtualSizeBytes: 1024, availableBytes: 1024 })
  })
})
