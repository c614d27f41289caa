/**
 * Every format in every packing through `cdi import` from a real web server, to files and to devices full of old bytes:
 * what arrives is what qemu-img makes of the image, byte for byte. Kind of disk and target alternate from cell to cell, and
 * the layouts of a format share its packings, so that every pair of format, packing, kind and target is met.
 */
import assert from 'node:assert/strict'
import { open, readFile, mkdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { convertByQemu, makeDisk, makeImage, mebibyte, noise, text, variants } from '../../fixtures/images.ts'
import type { ImageVariant } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { cdi, outcomeOf } from './support/cdi.ts'
import type { CdiEvent, CdiOptions } from './support/cdi.ts'
import { allocatedBytes, assertOnly, assertSame, assertSameDisk, pack, usedDevice } from './support/disks.ts'
import type { Packing } from './support/disks.ts'

const gibibyte = 1024 * mebibyte
const packings: readonly (readonly Packing[])[] = [[], ['gz'], ['xz'], ['zst'], ['zst', 'gz']]

/** A raw disk meets all of them, and of the layouts of a format each meets every other. */
function packingsFor(row: number): readonly (readonly Packing[])[] {
  return row === 0 ? packings : packings.filter((_, column) => column === 0 || column > 2 === (row % 2 === 1))
}

const disks = {
  sparse: { sizeBytes: 16 * mebibyte },
  dense: {
    sizeBytes: 4 * mebibyte,
    pieces: [
      [0, text(2 * mebibyte, 8)],
      [2 * mebibyte, noise(2 * mebibyte, 9)],
    ],
  },
  'odd-sized': { sizeBytes: 5 * mebibyte + 12_345 },
} as const
type Kind = keyof typeof disks
const kinds = Object.keys(disks) as Kind[]

let dir: TempDir
let nginx: Nginx

before(async () => {
  dir = await tempDir('matrix')
  for (const kind of kinds) await makeDisk(join(dir.path, kind), disks[kind])
  nginx = await startNginx({ root: dir.path })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

/** An image and what qemu-img makes of it. */
async function imageOf(kind: Kind, variant: ImageVariant | 'raw', cell: number): Promise<readonly [string, string]> {
  const disk = join(dir.path, kind)
  if (variant === 'raw') return [disk, disk]
  const image = join(dir.path, `${cell}.${variant.format}`)
  await makeImage(disk, image, variant)
  await convertByQemu(image, `${image}.wanted`, variant)
  return [image, `${image}.wanted`]
}

/** `cdi import` of something that must arrive. */
async function imported(args: readonly string[], options?: CdiOptions): Promise<CdiEvent> {
  const result = await cdi(['import', ...args, '--json'], options)
  assert.equal(result.exitCode, 0, `${result.stdout}${result.stderr}`)
  return outcomeOf(result)
}

const urlOf = (path: string): string => `${nginx.origin}/${basename(path)}`

/** A device for a disk: whole sectors, and something behind the disk that is not ours. */
const deviceFor = (diskBytes: number) => usedDevice(Math.ceil(diskBytes / 4096) * 4096 + mebibyte)

describe('cdi import', { concurrency: 2, timeout: 600_000 }, () => {
  for (const [row, variant] of (['raw', ...variants] as const).entries()) {
    for (const packing of packingsFor(row)) {
      const cell = row * packings.length + packings.indexOf(packing)
      const kind = kinds[cell % kinds.length] as Kind
      const toDevice = cell % 2 === 1
      const name = variant === 'raw' ? 'a raw disk' : variant.name
      const packed = packing.length === 0 ? '' : ` in ${packing.join('.')}`
      const target = toDevice ? 'a used device' : 'a file'
      it(`takes ${name}, ${kind}${packed}, to ${target}`, { skip: toDevice && noRoot }, async () => {
        const [image, wanted] = await imageOf(kind, variant, cell)
        const { size } = await stat(wanted)
        const url = urlOf(await pack(image, packing))
        const scratch = join(dir.path, `scratch-${cell}`)
        await mkdir(scratch)
        if (toDevice) {
          await using device = await deviceFor(size)
          const done = await imported([url, device.path, '--scratch', scratch])
          assert.equal(done.diskSizeBytes, size)
          await assertSame(device.path, wanted, size)
          await device.assertKeptBeyond(size)
        } else {
          const got = join(dir.path, `got-${cell}`)
          const done = await imported([url, got, '--scratch', scratch])
          assert.equal(done.diskSizeBytes, size)
          await assertSame(got, wanted)
          if (kind === 'sparse') {
            const [ours, qemus] = await Promise.all([allocatedBytes(got), allocatedBytes(wanted)])
            assert.ok(ours < size / 2, `${ours} of ${size} bytes are allocated`)
            if (variant !== 'raw') assert.ok(ours <= qemus + 256 * 1024, `${ours} allocated, by qemu-img ${qemus}`)
          }
        }
        await assertOnly(scratch)
      })
    }
  }
})

describe('cdi import of a disk of more than 4 GiB', { concurrency: 2, timeout: 600_000 }, () => {
  const sizeBytes = 4 * gibibyte + 3 * mebibyte
  const pieces = [
    [0, noise(70_000, 1)],
    [4 * gibibyte - 1000, noise(2000, 2)],
    [4 * gibibyte + mebibyte, text(100_000, 3)],
    [sizeBytes - 512, noise(512, 4)],
  ] as const
  const wanted = (): string => join(dir.path, 'large')
  before(() => makeDisk(wanted(), { sizeBytes, pieces }))

  const large = [
    ['raw', []],
    ['raw', ['zst']],
    ['qcow2 version 3', []],
    ['qcow2 with zlib clusters', ['xz']],
    ['vmdk monolithicSparse', []],
    ['vmdk streamOptimized', ['gz']],
    ['vdi dynamic', []],
    ['vhd dynamic by its size', []],
    ['vhdx dynamic', []],
  ] as const satisfies readonly (readonly [string, readonly Packing[]])[]

  for (const [index, [name, packing]] of large.entries()) {
    const toDevice = index % 2 === 1
    const where = toDevice ? 'a used device' : 'a file'
    it(`places every byte of ${[name, ...packing].join('.')} in ${where}`, { skip: toDevice && noRoot }, async () => {
      const variant = variants.find((candidate) => candidate.name === name)
      const image = variant === undefined ? wanted() : join(dir.path, `large-${index}`)
      if (variant !== undefined) await makeImage(wanted(), image, variant)
      const url = urlOf(await pack(image, packing))
      if (toDevice) {
        await using device = await usedDevice(sizeBytes)
        await imported([url, device.path, '--scratch', dir.path])
        await assertSameDisk(device.backingFile, wanted())
        assert.ok((await allocatedBytes(device.backingFile)) < 4 * mebibyte)
      } else {
        const got = join(dir.path, `large-got-${index}`)
        await imported([url, got])
        await assertSameDisk(got, wanted())
        assert.ok((await allocatedBytes(got)) < 4 * mebibyte)
      }
    })
  }
})

describe('cdi import from standard input', { timeout: 120_000 }, () => {
  const got = (): string => join(dir.path, 'from-stdin')

  it('takes a packed raw disk and needs no scratch', async () => {
    const packed = await pack(join(dir.path, 'sparse'), ['zst'])
    await using file = await open(packed)
    const done = await imported(['-', got(), '--scratch', join(dir.path, 'nowhere')], { input: file.fd })
    assert.equal(done.route, 'copyStream')
    await assertSame(got(), join(dir.path, 'sparse'))
  })

  it('takes a qcow2 and needs no scratch', async () => {
    const variant = variants.find(({ name }) => name === 'qcow2 with zstd clusters')!
    const image = join(dir.path, 'stdin.qcow2')
    await makeImage(join(dir.path, 'sparse'), image, variant)
    await using file = await open(image)
    // A pipe this time, not a file: what `curl … | cdi import -` gives.
    const done = await imported(['-', got(), '--scratch', join(dir.path, 'nowhere')], {
      input: file.createReadStream(),
    })
    assert.deepEqual([done.format, done.route], ['qcow2', 'convertStream'])
    await assertSame(got(), join(dir.path, 'sparse'))
  })

  it('stages a qcow2 with snapshots in the scratch directory and leaves nothing there', async () => {
    const image = join(dir.path, 'snapshot.qcow2')
    await makeImage(
      join(dir.path, 'sparse'),
      image,
      variants.find(({ name }) => name === 'qcow2 version 3')!,
    )
    await execa('qemu-img', ['snapshot', '-c', 'before', image])
    const scratch = join(dir.path, 'stdin-scratch')
    await mkdir(scratch)
    await using file = await open(image)
    const done = await imported(['-', got(), '--scratch', scratch], { input: file.createReadStream() })
    assert.equal(done.route, 'convertStaged')
    await assertSame(got(), join(dir.path, 'sparse'))
    await assertOnly(scratch)
  })

  it('unpacks an archive', async () => {
    const tree = join(dir.path, 'tree')
    await mkdir(join(tree, 'deep/er'), { recursive: true })
    await makeDisk(join(tree, 'deep/er/disk'), { sizeBytes: mebibyte })
    await execa('tar', ['-C', tree, '-cf', join(dir.path, 'tree.tar'), '.'])
    const packed = await pack(join(dir.path, 'tree.tar'), ['zst'])
    const out = join(dir.path, 'out')
    await mkdir(out)
    await using file = await open(packed)
    const done = await imported(['-', out, '--content-type', 'archive'], { input: file.fd })
    assert.equal(done.route, 'unpackArchive')
    assert.deepEqual(await readFile(join(out, 'deep/er/disk')), await readFile(join(tree, 'deep/er/disk')))
  })
})
