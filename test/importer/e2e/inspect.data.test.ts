/** `cdi inspect`: what it says of each format, and that it says it without reading the disk. */
import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { hostileImages, makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import type { ImageVariant } from '../../fixtures/images.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { cdi } from './support/cdi.ts'
import type { CdiOptions } from './support/cdi.ts'
import { pack } from './support/disks.ts'
import { servedBytes } from './support/served.ts'

interface Shown {
  readonly source: string
  readonly access: string
  readonly sizeBytes?: number
  readonly encodings: readonly string[]
  readonly format: string
  readonly virtualSizeBytes?: number
  readonly features: readonly string[]
  readonly route: string
  readonly why: string
  readonly needsScratch: boolean
}

const sizeBytes = 12 * mebibyte

let dir: TempDir
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const url = (name: string): string => `${nginx.origin}/${name}`
const variantOf = (wanted: string): ImageVariant => variants.find(({ name }) => name === wanted)!

before(async () => {
  dir = await tempDir('inspect')
  nginx = await startNginx({ root: dir.path })
  await makeDisk(path('disk'), { sizeBytes, pieces: [[0, noise(sizeBytes, 1)]] })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

async function inspected(args: readonly string[], options?: CdiOptions): Promise<Shown> {
  const { exitCode, stdout, stderr } = await cdi(['inspect', ...args, '--json'], options)
  assert.equal(exitCode, 0, stdout)
  assert.equal(stderr, '')
  return JSON.parse(stdout) as Shown
}

describe('cdi inspect', { concurrency: 2, timeout: 300_000 }, () => {
  for (const [row, variant] of variants.entries()) {
    it(`knows ${variant.name} and its virtual size from a few headers`, async () => {
      const name = `image-${row}`
      await makeImage(path('disk'), path(name), variant)
      await using own = await startNginx({ root: dir.path })
      const shown = await inspected([`${own.origin}/${name}`])
      // A fixed VHD is a raw disk with a footer.
      const isRaw = variant.name === 'vhd fixed'
      assert.equal(shown.format, isRaw ? 'raw' : variant.format)
      const { stdout } = await execa('qemu-img', ['info', '--output=json', '-f', variant.driver, path(name)])
      assert.equal(shown.virtualSizeBytes, (JSON.parse(stdout) as Record<string, unknown>)['virtual-size'])
      const leftToQemu = /zstd|4 KiB|extended L2/.test(variant.name)
      assert.equal(shown.route, isRaw ? 'copyRanges' : leftToQemu ? 'convertRanges' : 'copyExtents')
      assert.equal(/because/.test(shown.why), leftToQemu, shown.why)
      assert.equal(shown.needsScratch, false)
      assert.match(shown.why, /can be read by ranges/)
      assert.deepEqual(shown.encodings, [])
      const served = await servedBytes(own)
      assert.ok(served < 3 * mebibyte, `${served} bytes were read of 12 MiB`)
    })
  }

  it('shows the features of a qcow2 that matter', async () => {
    for (const [name, feature] of [
      ['qcow2 with zstd clusters', /zstd/],
      ['qcow2 with extended L2', /extended L2/],
      ['qcow2 version 2', /version 2/],
    ] as const) {
      await makeImage(path('disk'), path(name), variantOf(name))
      assert.match((await inspected([path(name)])).features.join(), feature)
    }
  })

  it('looks through packings and says why an image in one is staged', async () => {
    await makeImage(path('disk'), path('packed.qcow2'), variantOf('qcow2 version 3'))
    const image = await inspected([await pack(path('packed.qcow2'), ['zst', 'gz'])])
    assert.deepEqual(image.encodings, ['gzip', 'zstd'])
    assert.equal(image.format, 'qcow2')
    assert.equal(image.virtualSizeBytes, sizeBytes)
    assert.equal(image.why.startsWith('qcow2 inside gzip in zstd'), true, image.why)
    const disk = await inspected([await pack(path('disk'), ['xz'])])
    assert.deepEqual(disk.encodings, ['xz'])
    assert.equal(disk.format, 'raw')
    assert.equal(disk.route, 'copyStream')
    assert.equal(disk.needsScratch, false)
  })

  it('tells how a source can be read: local, with ranges, without, and from standard input', async () => {
    assert.equal((await inspected([path('disk')])).route, 'copyRanges')
    assert.match((await inspected([url('disk')])).access, /^ranges, guarded by a validator$/)
    await using poor = await startNginx({ root: dir.path, ranges: false })
    const forward = await inspected([`${poor.origin}/disk`])
    assert.equal(forward.access, 'forward only')
    assert.equal(forward.route, 'copyStream')
    assert.equal(forward.virtualSizeBytes, sizeBytes)
    const piped = await inspected(['-'], { input: createReadStream(path('disk')) })
    assert.equal(piped.source, 'standard input')
    assert.equal(piped.route, 'copyStream')
    assert.equal(piped.virtualSizeBytes, undefined)
  })

  it('takes the word of the user for the content type', async () => {
    await execa('tar', ['-C', dir.path, '-cf', path('disk.tar'), 'disk'])
    assert.equal((await inspected([url('disk.tar'), '--content-type', 'archive'])).route, 'unpackArchive')
    assert.equal((await inspected([url('disk.tar')])).format, 'raw')
  })

  it('prints a table for people', async () => {
    await makeImage(path('disk'), path('table.vmdk'), variantOf('vmdk streamOptimized'))
    const { exitCode, stdout } = await cdi(['inspect', url('table.vmdk')])
    assert.equal(exitCode, 0)
    for (const line of [
      /^format +vmdk$/m,
      /^virtual size +12\.0 MiB \(12582912 bytes\)$/m,
      /^route +copyExtents$/m,
      /^why +vmdk from a source that can be read by ranges/m,
      /^scratch needed +no$/m,
    ]) {
      assert.match(stdout, line)
    }
  })

  it('refuses what an import would refuse, with the same code', async () => {
    for (const [index, hostile] of hostileImages.entries()) {
      if (!/backed by|data lies|huge L1/.test(hostile.name)) continue
      const name = `hostile-${index}`
      await hostile.make(path(name), dir.path)
      const { exitCode, stderr } = await cdi(['inspect', url(name)])
      assert.equal(exitCode, 4, stderr)
      assert.match(stderr, new RegExp(`^cdi: ${hostile.code}: .*${hostile.message.source}`))
    }
  })
})
