/** Layers as the programs write them that people build images with: GNU tar, gzip, pigz-like members, zstd, xz. */
import assert from 'node:assert/strict'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { openImageDisk } from '../../../../importer/sources/registry/container-disk.ts'
import { silentLog } from '../../../../src/log.ts'
import { makeDisk, mebibyte, noise } from '../../../fixtures/images.ts'
import { memoryImage, memoryLayer } from '../../../fixtures/memory-image.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'

const never = new AbortController().signal
const sizeBytes = 12 * mebibyte
const name = 'disk/a directory/fedora.raw'

let dir: TempDir
let disk: Buffer

before(async () => {
  dir = await tempDir('layers')
  await mkdir(join(dir.path, 'disk/a directory'), { recursive: true })
  await mkdir(join(dir.path, 'etc'))
  await makeDisk(join(dir.path, name), { sizeBytes })
  await writeFile(join(dir.path, 'etc/before'), noise(100_000, 7))
  await writeFile(join(dir.path, 'etc/behind'), noise(100_001, 8))
  disk = await readFile(join(dir.path, name))
})

after(() => dir[Symbol.asyncDispose]())

/** A layer with files before and behind the disk. */
async function tar(...args: readonly string[]): Promise<Buffer> {
  const order = ['etc/before', 'disk', 'etc/behind']
  const { stdout } = await execa('tar', ['-c', '-C', dir.path, ...args, '--sort=name', ...order], {
    encoding: 'buffer',
    maxBuffer: 64 * mebibyte,
  })
  return Buffer.from(stdout)
}

async function packedBy(program: string, args: readonly string[], input: Buffer): Promise<Buffer> {
  const { stdout } = await execa(program, args, { input, encoding: 'buffer', maxBuffer: 64 * mebibyte })
  return Buffer.from(stdout)
}

async function assertGivesDisk(blob: Buffer): Promise<void> {
  const image = memoryImage({ layers: [memoryLayer(blob)] })
  await using source = await openImageDisk({ image, log: silentLog() }, never)
  assert.equal(source.sizeBytes, sizeBytes)
  let at = 0
  await source.stream((chunk) => {
    assert.ok(disk.compare(chunk, 0, chunk.length, at, at + chunk.length) === 0, `differs behind byte ${at}`)
    at += chunk.length
  }, never)
  assert.equal(at, sizeBytes)
}

describe('a disk in a layer', () => {
  for (const format of ['gnu', 'oldgnu', 'pax', 'ustar', 'v7']) {
    it(`that GNU tar wrote as ${format}`, async () => assertGivesDisk(await tar(`--format=${format}`)))
  }

  const sparse: Readonly<Record<string, readonly string[]>> = {
    'old GNU': ['--format=gnu'],
    'pax 0.0': ['--format=pax', '--sparse-version=0.0'],
    'pax 0.1': ['--format=pax', '--sparse-version=0.1'],
    'pax 1.0': ['--format=pax', '--sparse-version=1.0'],
  }
  for (const [version, args] of Object.entries(sparse)) {
    it(`that is stored sparse as ${version} comes out with its holes filled`, async () => {
      const blob = await tar('--sparse', ...args)
      assert.ok(blob.length < sizeBytes - mebibyte, 'it was not stored sparse')
      await assertGivesDisk(blob)
    })
  }

  it('with ./ in front of the names', async () => assertGivesDisk(await tar('--transform=s,^,./,')))
  it('with / in front of the names', async () => assertGivesDisk(await tar('-P', '--transform=s,^,/,')))

  const packers: Readonly<Record<string, readonly [string, ...string[]]>> = {
    gzip: ['gzip', '-1'],
    zstd: ['zstd', '-3'],
    'zstd of several threads and a long window': ['zstd', '-T2', '--long=27', '-1'],
    xz: ['xz', '-0'],
    'xz of several blocks': ['xz', '-T2', '-0', '--block-size=1MiB'],
  }
  for (const [what, [program, ...args]] of Object.entries(packers)) {
    it(`that is packed by ${what}`, async () => assertGivesDisk(await packedBy(program, args, await tar())))
    it(`that is packed by ${what} and damaged is an error`, async () => {
      const blob = await packedBy(program, args, await tar())
      blob.fill(0x55, blob.length >> 1, (blob.length >> 1) + 16)
      const image = memoryImage({ layers: [memoryLayer(blob)] })
      const reading = async (): Promise<void> => {
        await using source = await openImageDisk({ image, log: silentLog() }, never)
        await source.stream(() => {}, never)
      }
      await assert.rejects(reading(), {
        code: /^CDI_(DECODE_CORRUPT|DECODE_TRUNCATED|ARCHIVE_INVALID)$/,
        message: /^Failed to read registry image: layer sha256:[0-9a-f]+ cannot be used: /,
      })
    })
  }

  it('that is packed in members one after the other', async () => {
    const bytes = await tar()
    const cuts = [0, 1000, 5 * mebibyte, 5 * mebibyte + 1, bytes.length]
    const parts = cuts.slice(1).map((end, index) => bytes.subarray(cuts[index], end))
    for (const packer of ['gzip', 'zstd', 'xz']) {
      const members = await Promise.all(parts.map((part) => packedBy(packer, ['-1'], part)))
      await assertGivesDisk(Buffer.concat(members))
    }
  })

  it('with a hole of terabytes can be given up in the middle', async () => {
    const blob = await sparseTar('huge', '8T')
    const image = memoryImage({ layers: [memoryLayer(blob)] })
    const abort = new AbortController()
    setTimeout(() => abort.abort(new Error('enough')), 100)
    await using source = await openImageDisk({ image, log: silentLog() }, never)
    assert.equal(source.sizeBytes, 8 * 1024 ** 4)
    // A sink that never waits, as one that leaves zeros out.
    await assert.rejects(
      source.stream(() => {}, abort.signal),
      /^Error: enough$/,
    )
  })
})

async function sparseTar(directory: string, size: string): Promise<Buffer> {
  const root = join(dir.path, directory)
  await mkdir(join(root, 'disk'), { recursive: true })
  await execa('truncate', ['--size', size, join(root, 'disk/x')])
  const { stdout } = await execa('tar', ['-c', '--sparse', '-C', root, 'disk'], { encoding: 'buffer' })
  return Buffer.from(stdout)
}
