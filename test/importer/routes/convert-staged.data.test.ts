import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access, mkdir, readdir, readFile, stat, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { silentLog } from '../../../src/log.ts'
import type { Encoding } from '../../../importer/formats/decoder.ts'
import { Progress } from '../../../importer/progress.ts'
import { convertStaged } from '../../../importer/routes/convert-staged.ts'
import { Digest } from '../../../importer/sources/checksum.ts'
import { openFile } from '../../../importer/sources/file.ts'
import type { Source } from '../../../importer/sources/source.ts'
import { openStream } from '../../../importer/sources/stdin.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import { makeBlockDevice } from '../../fixtures/block-device.ts'
import { hostileImages, makeDisk, makeImage, mebibyte, variants } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const log = silentLog()
const never = new AbortController().signal

interface Import {
  readonly source: Source
  readonly encodings: readonly Encoding[]
  readonly format: 'qcow2' | 'vmdk' | 'vdi' | 'vhd' | 'vhdx'
  readonly scratch: string
  readonly to: string
  readonly digest?: Digest
  readonly progress?: Progress
  readonly signal?: AbortSignal
}

async function importStaged({
  to,
  scratch,
  progress = new Progress(),
  signal = never,
  ...rest
}: Import): Promise<number> {
  await using target = await openTarget({ path: to, preallocate: false, log })
  try {
    const size = await convertStaged({ ...rest, target, scratchDirectory: scratch, progress, signal, log })
    await target.finish(signal)
    return size
  } catch (error) {
    await target.discard()
    throw error
  }
}

const packers = { gzip: ['gzip', '-1'], xz: ['xz', '-1'], zstd: ['zstd', '-q', '--rm'] } as const

describe('convertStaged', () => {
  for (const [format, name, encoding] of [
    ['qcow2', 'qcow2 version 3', 'gzip'],
    ['qcow2', 'qcow2 with zlib clusters', 'zstd'],
    ['vmdk', 'vmdk streamOptimized', 'xz'],
    ['vdi', 'vdi dynamic', 'gzip'],
    ['vhd', 'vhd dynamic by its size', 'gzip'],
    ['vhdx', 'vhdx dynamic', 'zstd'],
  ] as const) {
    it(`imports ${name} inside of ${encoding}, forward only, and leaves scratch as it was`, async () => {
      await using dir = await tempDir('staged')
      const path = (name: string): string => join(dir.path, name)
      await mkdir(path('scratch'))
      await makeDisk(path('disk'), { sizeBytes: 20 * mebibyte })
      await makeImage(
        path('disk'),
        path('image'),
        variants.find((variant) => variant.name === name)!,
      )
      const [program, ...args] = packers[encoding]
      await execa(program, [...args, path('image')])
      const packed = path(`image.${{ gzip: 'gz', xz: 'xz', zstd: 'zst' }[encoding]}`)
      const hex = createHash('sha256')
        .update(await readFile(packed))
        .digest('hex')
      const digest = new Digest({ algorithm: 'sha256', hex })
      const progress = new Progress()
      await using source = openStream({ stream: createReadStream(packed), name: 'packed image' })
      const size = await importStaged({
        source,
        encodings: [encoding],
        format,
        scratch: path('scratch'),
        to: path('got'),
        digest,
        progress,
      })
      digest.verify()
      assert.equal(size, 20 * mebibyte)
      await execa('cmp', [path('got'), path('disk')])
      assert.equal(progress.snapshot().percent, 100)
      assert.deepEqual(await readdir(path('scratch')), [])
    })
  }

  it('leaves no old byte on a block device', async () => {
    await using dir = await tempDir('staged')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using device = await makeBlockDevice(path('backing'), 10 * mebibyte)
    await using source = await openFile({ path: path('image') })
    await importStaged({ source, encodings: [], format: 'qcow2', scratch: dir.path, to: device.path })
    await execa('cmp', ['-n', String(8 * mebibyte), device.path, path('disk')])
  })

  it('refuses a hostile image that was hidden by compression, and clears scratch and target', async () => {
    const hostile = hostileImages.find(({ name }) => name.includes('backed by'))!
    await using dir = await tempDir('staged')
    const path = (name: string): string => join(dir.path, name)
    await mkdir(path('scratch'))
    await hostile.make(path('image'), dir.path)
    await execa('gzip', [path('image')])
    await using source = await openFile({ path: path('image.gz') })
    await assert.rejects(
      importStaged({ source, encodings: ['gzip'], format: 'qcow2', scratch: path('scratch'), to: path('got') }),
      { code: hostile.code, message: hostile.message },
    )
    assert.deepEqual(await readdir(path('scratch')), [])
    await assert.rejects(access(path('got')))
  })

  it('calls a compressed image that was cut by its name, and clears scratch', async () => {
    await using dir = await tempDir('staged')
    const path = (name: string): string => join(dir.path, name)
    await mkdir(path('scratch'))
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await execa('gzip', [path('image')])
    await truncate(path('image.gz'), Math.floor((await stat(path('image.gz'))).size / 2))
    await using source = await openFile({ path: path('image.gz') })
    await assert.rejects(
      importStaged({ source, encodings: ['gzip'], format: 'qcow2', scratch: path('scratch'), to: path('got') }),
      { code: 'CDI_DECODE_TRUNCATED', message: /^Unable to transfer source data to scratch space: / },
    )
    assert.deepEqual(await readdir(path('scratch')), [])
  })

  it('refuses an image that was cut before it was packed, and does not fill it up with zeros', async () => {
    await using dir = await tempDir('staged')
    const path = (name: string): string => join(dir.path, name)
    await mkdir(path('scratch'))
    await makeDisk(path('disk'), { sizeBytes: 20 * mebibyte })
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', path('disk'), path('image')])
    await execa('qemu-img', ['snapshot', '-c', 'before', path('image')])
    await truncate(path('image'), (await stat(path('image'))).size - 4 * mebibyte)
    await execa('gzip', [path('image')])
    await using source = await openFile({ path: path('image.gz') })
    await assert.rejects(
      importStaged({ source, encodings: ['gzip'], format: 'qcow2', scratch: path('scratch'), to: path('got') }),
      { code: 'CDI_CONVERT_FAILED', message: /ends at byte|cut|truncated|ends/ },
    )
    assert.deepEqual(await readdir(path('scratch')), [])
    await assert.rejects(access(path('got')))
  })

  it('clears scratch when it is aborted', async () => {
    await using dir = await tempDir('staged')
    const path = (name: string): string => join(dir.path, name)
    await mkdir(path('scratch'))
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    await makeImage(path('disk'), path('image'), variants[1]!)
    await using source = await openFile({ path: path('image') })
    const abort = new AbortController()
    const progress = new Progress()
    const enter = progress.enter.bind(progress)
    progress.enter = (phase, ...rest) => {
      enter(phase, ...rest)
      if (phase === 'convert') abort.abort(new Error('enough'))
    }
    await assert.rejects(
      importStaged({
        source,
        encodings: [],
        format: 'qcow2',
        scratch: path('scratch'),
        to: path('got'),
        progress,
        signal: abort.signal,
      }),
      /enough/,
    )
    assert.deepEqual(await readdir(path('scratch')), [])
  })
})
