import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { access, copyFile, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import type { DiskFormat } from '../../../importer/formats/detect.ts'
import { inspectImage } from '../../../importer/image/inspect.ts'
import { convertRanges } from '../../../importer/routes/convert-ranges.ts'
import { Digest } from '../../../importer/sources/checksum.ts'
import { openFile } from '../../../importer/sources/file.ts'
import { openHttp } from '../../../importer/sources/http.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { RangedSource, Source } from '../../../importer/sources/source.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import { makeBlockDevice } from '../../fixtures/block-device.ts'
import {
  convertByQemu,
  cut,
  hostileImages,
  makeDisk,
  makeImage,
  mebibyte,
  noise,
  patch,
  variants,
} from '../../fixtures/images.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const log = silentLog()
const never = new AbortController().signal

interface Import {
  readonly source: RangedSource
  readonly format: DiskFormat
  readonly to: string
  readonly preallocate?: boolean
  readonly directIo?: boolean
  readonly digest?: Digest
  readonly onProgress?: (percent: number) => void
  readonly signal?: AbortSignal
}

/** The steps of a run that concern this route: look, convert, finish; discard when anything fails. */
async function importImage({
  source,
  format,
  to,
  preallocate = false,
  signal = never,
  ...rest
}: Import): Promise<void> {
  await using target = await openTarget({ path: to, preallocate, log })
  try {
    const facts = await inspectImage({
      format,
      name: source.name,
      sizeBytes: source.sizeBytes,
      read: (offset, length) =>
        readRange(source, { offset, length: Math.min(length, source.sizeBytes - offset) }, signal),
    })
    await convertRanges({ source, format, facts, target, onProgress: () => {}, signal, log, ...rest })
    rest.digest?.verify()
    await target.finish(signal)
  } catch (error) {
    await target.discard()
    throw error
  }
}

async function importFile(image: string, to: string, format: DiskFormat, preallocate = false): Promise<void> {
  await using source = await openFile({ path: image })
  await importImage({ source, format, to, preallocate })
}

const sameBytes = (one: string, other: string, bytes?: number): Promise<unknown> =>
  execa('cmp', [...(bytes === undefined ? [] : ['-n', String(bytes)]), one, other])

const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * 512

function ranged(source: Source): RangedSource {
  assert.ok(source.kind === 'ranged')
  return source
}

describe('convertRanges', () => {
  for (const variant of variants) {
    it(`makes of ${variant.name} the very disk that qemu-img makes of it, sparse, in a file`, async () => {
      await using dir = await tempDir('convert')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 17 * mebibyte + 512 })
      await makeImage(path('disk'), path('image'), variant)
      await convertByQemu(path('image'), path('wanted'), variant)
      await importFile(path('image'), path('got'), variant.format)
      await sameBytes(path('got'), path('wanted'))
      await sameBytes(path('got'), path('disk'), 17 * mebibyte + 512)
      assert.equal((await stat(path('got'))).size, (await stat(path('wanted'))).size)
      const { size } = await stat(path('got'))
      assert.ok((await allocatedBytes(path('got'))) < size * 0.6, 'holes stay holes')
      assert.equal((await stat(path('got'))).mode & 0o777, 0o660)
    })
  }

  for (const name of [
    'qcow2 with zlib clusters',
    'vmdk streamOptimized',
    'vdi dynamic',
    'vhd dynamic',
    'vhdx dynamic',
  ]) {
    it(`leaves no old byte on a block device that gets ${name}`, async () => {
      const variant = variants.find((variant) => variant.name === name)!
      await using dir = await tempDir('convert')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 12 * mebibyte })
      await makeImage(path('disk'), path('image'), variant)
      await convertByQemu(path('image'), path('wanted'), variant)
      await using device = await makeBlockDevice(path('backing'), 16 * mebibyte)
      await importFile(path('image'), device.path, variant.format)
      await sameBytes(device.path, path('wanted'), (await stat(path('wanted'))).size)
    })
  }

  it('backs every byte by storage when preallocating, in a file and on a device', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 12 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await importFile(path('image'), path('got'), 'qcow2', true)
    await sameBytes(path('got'), path('disk'))
    assert.ok((await allocatedBytes(path('got'))) >= 12 * mebibyte)
    await using device = await makeBlockDevice(path('backing'), 12 * mebibyte)
    await importFile(path('image'), device.path, 'qcow2', true)
    await sameBytes(device.path, path('disk'))
  })

  it('places data beyond 4 GiB right and reads only what is there', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    const sizeBytes = 5 * 1024 * mebibyte
    await makeDisk(path('disk'), {
      sizeBytes,
      pieces: [
        [0, noise(mebibyte, 1)],
        [4096 * mebibyte - 4096, noise(mebibyte, 2)],
        [sizeBytes - 512, noise(512, 3)],
      ],
    })
    for (const variant of variants.filter(({ name }) => /version 3|streamOptimized|vhdx dynamic/.test(name))) {
      await makeImage(path('disk'), path('image'), variant)
      await importFile(path('image'), path('got'), variant.format)
      // Skips holes, which cmp would read.
      await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', path('got'), path('disk')])
      assert.equal((await stat(path('got'))).size, sizeBytes)
      assert.ok((await allocatedBytes(path('got'))) < 8 * mebibyte)
    }
  })

  it('imports an empty image as a disk of holes', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 64 * mebibyte, pieces: [] })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await importFile(path('image'), path('got'), 'qcow2')
    await sameBytes(path('got'), path('disk'))
    assert.equal(await allocatedBytes(path('got')), 0)
  })

  it('writes with direct I/O and falls back where the file system has none', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 6 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using source = await openFile({ path: path('image') })
    await importImage({ source, format: 'qcow2', to: path('got'), directIo: true })
    await sameBytes(path('got'), path('disk'))
  })

  it('takes an image over http once, tells progress up to 100 and checks its sum without a second download', async () => {
    await using nginx = await startNginx()
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 96 * mebibyte })
    for (const variant of variants.filter(({ name }) => /version 3|zlib|streamOptimized|vhdx dynamic/.test(name))) {
      const image = join(nginx.root, variant.format)
      await makeImage(path('disk'), image, variant)
      const hex = createHash('sha256')
        .update(await readFile(image))
        .digest('hex')
      await using opened = await openHttp(
        {
          url: `${nginx.origin}/${variant.format}`,
          headers: [],
          secretHeaders: [],
          insecureSkipVerify: false,
          proxy: {},
          log,
        },
        never,
      )
      const source = ranged(opened)
      const seen: number[] = []
      let taken = 0
      const counted: RangedSource = {
        name: source.name,
        kind: 'ranged',
        sizeBytes: source.sizeBytes,
        pinned: source.pinned,
        parallel: source.parallel,
        stream: (range, sink, signal) =>
          source.stream(
            range,
            (chunk) => {
              taken += chunk.length
              return sink(chunk)
            },
            signal,
          ),
        [Symbol.asyncDispose]: () => Promise.resolve(),
      }
      await importImage({
        source: counted,
        format: variant.format,
        to: path('got'),
        digest: new Digest({ algorithm: 'sha256', hex }),
        onProgress: (percent) => seen.push(percent),
      })
      await sameBytes(path('got'), path('disk'), 96 * mebibyte)
      assert.equal(seen.at(-1), 100)
      assert.ok(taken < source.sizeBytes * 1.1, `${taken} bytes were taken of ${source.sizeBytes}`)
    }
  })

  it('names a wrong checksum even when the conversion was fine, and leaves no file', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 6 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using source = await openFile({ path: path('image') })
    const digest = new Digest({ algorithm: 'sha256', hex: '0'.repeat(64) })
    await assert.rejects(importImage({ source, format: 'qcow2', to: path('got'), digest }), {
      code: 'CDI_CHECKSUM_MISMATCH',
    })
    await assert.rejects(access(path('got')))
  })

  it("reports the source's own fault instead of qemu's input/output error", async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 32 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using file = await openFile({ path: path('image') })
    const source: RangedSource = {
      name: file.name,
      kind: 'ranged',
      sizeBytes: file.sizeBytes,
      pinned: true,
      parallel: 4,
      stream: (range, sink, signal) =>
        range.offset > mebibyte
          ? Promise.reject(new CdiError('CDI_SOURCE_CHANGED', 'the image was replaced meanwhile'))
          : file.stream(range, sink, signal),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
    await assert.rejects(importImage({ source, format: 'qcow2', to: path('got') }), {
      code: 'CDI_SOURCE_CHANGED',
      message: /replaced meanwhile/,
    })
  })

  it('stops qemu-img and every stream when it is aborted', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 32 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using file = await openFile({ path: path('image') })
    const abort = new AbortController()
    const source: RangedSource = {
      name: file.name,
      kind: 'ranged',
      sizeBytes: file.sizeBytes,
      pinned: true,
      parallel: 4,
      stream(range, sink, signal) {
        if (range.offset > mebibyte) abort.abort(new CdiError('CDI_ABORTED', 'enough'))
        return file.stream(range, sink, signal)
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
    await assert.rejects(importImage({ source, format: 'qcow2', to: path('got'), signal: abort.signal }), {
      code: 'CDI_ABORTED',
    })
    await assert.rejects(access(path('got')))
  })

  it('refuses a disk that does not fit before anything is written', async () => {
    await using dir = await tempDir('convert')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 12 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using device = await makeBlockDevice(path('backing'), 8 * mebibyte)
    await assert.rejects(importFile(path('image'), device.path, 'qcow2'), {
      code: 'CDI_IMAGE_TOO_LARGE',
      message:
        'virtual image size 12582912 is larger than the reported available storage 8388608. A larger PVC is required',
    })
    const device2 = await readFile(device.path)
    assert.ok(
      device2.every((byte) => byte === 0xa5),
      'the old bytes are still there',
    )
  })

  for (const hostile of hostileImages) {
    it(`refuses ${hostile.name}`, async () => {
      await using dir = await tempDir('hostile')
      const path = (name: string): string => join(dir.path, name)
      await hostile.make(path('image'), dir.path)
      await assert.rejects(importFile(path('image'), path('got'), hostile.format), {
        code: hostile.code,
        message: hostile.message,
      })
      await assert.rejects(access(path('got')))
    })
  }

  for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters', 'vmdk monolithicSparse', 'vmdk streamOptimized']) {
    it(`never makes a silently different disk of damaged ${name}`, () => damage(name))
  }
  for (const name of ['vdi dynamic', 'vhd dynamic', 'vhdx dynamic']) {
    it(`never makes a silently different disk of damaged ${name}`, () => damage(name))
  }
})

/** Cuts and scribbles at places that a fixed seed chooses; either we refuse, or we agree with qemu-img. */
async function damage(name: string): Promise<void> {
  const variant = variants.find((variant) => variant.name === name)!
  await using dir = await tempDir('damage')
  const path = (name: string): string => join(dir.path, name)
  await makeDisk(path('disk'), { sizeBytes: 3 * mebibyte })
  await makeImage(path('disk'), path('image'), variant)
  const { size } = await stat(path('image'))
  const dice = noise(4 * 64, 42)
  const roll = (index: number, below: number): number => dice.readUInt32BE(index * 4) % below
  let refused = 0
  const ways = 14
  for (let way = 0; way < ways; way++) {
    // Headers and tables stand in front: half of the damage is done there.
    const at = roll(way * 2, way % 4 < 2 ? Math.min(size, 8192) : size)
    if (way % 2 === 0) await cut(path('image'), path('damaged'), at)
    else {
      await copyFile(path('image'), path('damaged'))
      await patch(path('damaged'), at, noise(1 + roll(way * 2 + 1, 64), way))
      await truncate(path('damaged'), size)
    }
    const error = await importFile(path('damaged'), path('got'), variant.format).catch((error: unknown) => error)
    if (error !== undefined) {
      assert.ok(error instanceof CdiError, `damage ${way} at ${at}: not a CdiError`)
      assert.notEqual(error.code, 'CDI_INTERNAL', `damage ${way} at ${at}: ${error.message}`)
      refused++
      continue
    }
    await convertByQemu(path('damaged'), path('wanted'), variant)
    await sameBytes(path('got'), path('wanted'))
  }
  assert.ok(refused >= ways / 3, `only ${refused} of ${ways} damaged images were refused`)
}
