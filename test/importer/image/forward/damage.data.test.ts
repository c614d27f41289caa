/**
 * Damaged images through the route convertStream: what was cut never becomes a disk, and what was scribbled on is refused
 * or becomes what qemu-img makes of it.
 */
import assert from 'node:assert/strict'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { CdiError } from '../../../../src/errors.ts'
import { Dice } from '../../../fixtures/dice.ts'
import { assertSameBytes, importForward } from '../../../fixtures/forward-import.ts'
import { convertByQemu, makeDisk, makeImage, mebibyte, noise, text, variants } from '../../../fixtures/images.ts'
import type { ImageVariant } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { vmdkStream } from '../../../fixtures/vmdk-stream.ts'

const cuts = 12
const flips = 32
const timeoutMs = 20_000

interface Layout extends Pick<ImageVariant, 'name' | 'format' | 'driver'> {
  readonly make: (disk: string, image: string) => Promise<void>
  /** Where headers and tables stand: offset and length in bytes. */
  readonly tables: (image: Buffer) => readonly (readonly [offset: number, length: number])[]
  /** What may be missing at the end and no disk needs: a footer, or the rest of a cluster. */
  readonly sparableBytes: number
}

const tablesOf: Readonly<Record<ImageVariant['format'], Layout['tables']>> = {
  qcow2: (image) => [
    [0, 128],
    [Number(image.readBigUInt64BE(40)), 8],
    [Number(image.readBigUInt64BE(Number(image.readBigUInt64BE(40))) & 0x00ff_ffff_ffff_fe00n), 512],
  ],
  vmdk: (image) => [
    [0, 80],
    [512, 512],
    [Math.min(image.readUInt32LE(56), 100) * 512, 16],
    [Math.min(image.readUInt32LE(56) + 1, 100) * 512, 256],
  ],
  vdi: () => [
    [0x40, 0x1c8],
    [512, 24],
  ],
  vhd: (image) => [
    [0, 1536],
    [Number(image.readBigUInt64BE(512 + 16)), 16],
  ],
  vhdx: () => [
    [65_536, 80],
    [196_608, 100],
    [2 * mebibyte, 48],
    [3 * mebibyte, 300],
    [3 * mebibyte + 65_536, 64],
  ],
}

const written: readonly Layout[] = variants
  .filter(({ name }) => !/2 MiB|fixed|version 2|4 KiB|out of order/.test(name))
  .map((variant) => ({
    ...variant,
    make: (disk, image) => makeImage(disk, image, variant),
    tables: tablesOf[variant.format],
    sparableBytes: variant.format === 'vhd' ? 512 : 128 * 1024,
  }))

const layouts: readonly Layout[] = [
  ...written,
  {
    name: 'vmdk as VMware streams it',
    format: 'vmdk',
    driver: 'vmdk',
    make: async (disk, image) => writeFile(image, vmdkStream(await readFile(disk))),
    tables: (image) => [
      [0, 80],
      [512, 300],
      [65_536, 16],
      [image.length - 4096, 4096],
    ],
    sparableBytes: 0,
  },
]

/** What was thrown, which has to be a fault of the image; undefined if it was imported. */
async function outcome(work: Promise<unknown>, told: string): Promise<CdiError | undefined> {
  try {
    await work
    return undefined
  } catch (error) {
    assert.ok(error instanceof CdiError, `${told}: ${String(error)}`)
    assert.match(error.code, /^CDI_(FORMAT|IMAGE|CONVERT|SCRATCH)_/, `${told}: ${error.message}`)
    return error
  }
}

/** Whether qemu-img takes the image and, where it looks for any, finds no fault in it. */
async function isSound(image: string, driver: string): Promise<boolean> {
  const { exitCode } = await execa('qemu-img', ['check', '-q', '-f', driver, image], { reject: false })
  const cannotCheck = 63
  return exitCode === 0 || exitCode === cannotCheck
}

describe('Damaged images, in one pass', { concurrency: 2, timeout: 580_000 }, () => {
  for (const [row, layout] of layouts.entries()) {
    it(`${layout.name}: what was cut is refused, wherever that was`, async () => {
      await using dir = await tempDir('damage')
      const path = (name: string): string => join(dir.path, name)
      const image = await madeImage(layout, path)
      const dice = new Dice(row + 1)
      const cut = Array.from({ length: cuts }, () => 512 + dice.below(image.length - 512 - layout.sparableBytes))
      for (const length of [...cut, image.length - layout.sparableBytes - 1].sort((one, other) => other - one)) {
        await truncate(path('image'), length)
        const signal = AbortSignal.timeout(timeoutMs)
        const told = `${length} of ${image.length} bytes`
        const error = await outcome(
          importForward({ format: layout.format, image: path('image'), to: path('got'), signal }),
          told,
        )
        assert.ok(error !== undefined, `${told}: imported`)
      }
    })

    it(`${layout.name}: flipped bits are refused, or change the disk as they do for qemu-img`, async () => {
      await using dir = await tempDir('damage')
      const path = (name: string): string => join(dir.path, name)
      const image = await madeImage(layout, path)
      const places = layout.tables(image).filter(([offset, length]) => offset + length <= image.length)
      const dice = new Dice(100 + row)
      let imported = 0
      for (let flip = 0; flip < flips; flip += 1) {
        const [offset, length] = places[flip % places.length] ?? [0, 512]
        const at = offset + dice.below(length)
        const damaged = Buffer.from(image)
        damaged.writeUInt8(damaged.readUInt8(at) ^ (1 << dice.below(8)), at)
        await writeFile(path('image'), damaged)
        const signal = AbortSignal.timeout(timeoutMs)
        const told = `byte ${at}`
        const error = await outcome(
          importForward({ format: layout.format, image: path('image'), to: path('got'), signal }),
          told,
        )
        if (error !== undefined || !(await isSound(path('image'), layout.driver))) continue
        imported += 1
        const byQemu = convertByQemu(path('image'), path('wanted'), layout)
        if (
          await byQemu.then(
            () => true,
            () => false,
          )
        )
          await assertSameBytes(path('got'), path('wanted'))
      }
      assert.ok(imported < flips, 'no damage was noticed')
    })
  }
})

/** Of a small disk that is full at its end, so that a cut there takes something away. */
async function madeImage(layout: Layout, path: (name: string) => string): Promise<Buffer> {
  const sizeBytes = 4 * mebibyte
  await makeDisk(path('disk'), {
    sizeBytes,
    pieces: [
      [0, text(mebibyte, 1)],
      [mebibyte + 700_000, noise(300_000, 2)],
      [3 * mebibyte, noise(mebibyte, 3)],
    ],
  })
  await layout.make(path('disk'), path('image'))
  return readFile(path('image'))
}
