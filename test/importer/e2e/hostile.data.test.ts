/**
 * What a hostile or broken file does to `cdi import`: it is refused with a code of the registry and leaves nothing, or
 * the disk is exactly what qemu-img (or gzip, xz, zstd) makes of the same file. Never a silently different disk, never
 * much memory, never long.
 */
import assert from 'node:assert/strict'
import { createWriteStream } from 'node:fs'
import { appendFile, copyFile, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { errorTable, exitCodes } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
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
import type { ImageVariant } from '../../fixtures/images.ts'
import { noRoot, smallFilesystem } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { cdi, outcomeOf } from './support/cdi.ts'
import type { CdiResult } from './support/cdi.ts'
import { assertOnly, assertSame, pack } from './support/disks.ts'
import type { Packing } from './support/disks.ts'

/** Codes that a damaged file may end with. CDI_INTERNAL is none of them, and nothing that a retry would heal. */
const acceptable: ReadonlySet<string> = new Set<ErrorCode>([
  'CDI_DECODE_CORRUPT',
  'CDI_DECODE_TRUNCATED',
  'CDI_DECODE_WINDOW',
  'CDI_FORMAT_INVALID',
  'CDI_FORMAT_UNSUPPORTED',
  'CDI_IMAGE_BACKING_FILE',
  'CDI_IMAGE_ENCRYPTED',
  'CDI_IMAGE_TOO_LARGE',
  'CDI_CONVERT_FAILED',
])

/** Bytes that a worker may take with all its children. */
const memoryLimitBytes = 256 * mebibyte

let dir: TempDir
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const url = (name: string): string => `${nginx.origin}/${name}`

before(async () => {
  dir = await tempDir('hostile')
  nginx = await startNginx({ root: dir.path })
  await makeDisk(path('disk'), { sizeBytes: 3 * mebibyte })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

interface Attempt {
  readonly result: CdiResult
  readonly target: string
}

/** Imports a file of the web server into a directory of its own and checks what must hold however it ends. */
async function attempt(name: string, options: readonly string[], look: (attempt: Attempt) => Promise<void>) {
  await using place = await tempDir('attempt')
  const target = join(place.path, 'disk.img')
  const result = await cdi(['import', url(name), target, '--json', ...options])
  if (result.exitCode !== 0) await assertOnly(place.path)
  else await assertOnly(place.path, 'disk.img')
  assert.ok(result.peakBytes < memoryLimitBytes, `${name} took ${result.peakBytes} bytes of memory`)
  await look({ result, target })
}

function assertCode(result: CdiResult, code: ErrorCode, message = /./): void {
  const last = outcomeOf(result)
  assert.equal(last.code, code, result.stdout)
  assert.match(last.message ?? '', message)
  assert.equal(result.exitCode, exitCodes[errorTable[code].exit])
}

/** Numbers that look random and are the same in every run: what fails once can be looked at. */
function dice(seed: number): (below: number) => number {
  const numbers = noise(4096, seed)
  let index = 0
  return (below) => numbers.readUInt32BE((index++ * 4) % numbers.length) % below
}

/** Cuts a file or scribbles into it; says what it did. */
async function damage(from: string, to: string, seed: number): Promise<string> {
  const { size } = await stat(from)
  const roll = dice(seed)
  // Headers and tables stand in front: half of the damage is done there.
  const at = roll(seed % 2 === 0 ? size : Math.min(size, 70_000))
  if (seed % 3 === 0) {
    await cut(from, to, at)
    return `seed ${seed}: cut at ${at} of ${size}`
  }
  const length = Math.min(1 + roll(64), size - at)
  await copyFile(from, to)
  await patch(to, at, noise(length, seed))
  return `seed ${seed}: ${length} bytes at ${at} of ${size} overwritten`
}

describe('a damaged image is refused, or is the very disk that qemu-img makes of it', { concurrency: 2 }, () => {
  const layouts = variants.filter(({ name }) => !/version 2|4 KiB|2 MiB|vdi fixed|vhd fixed|vhdx fixed/.test(name))
  for (const [row, variant] of layouts.entries()) {
    it(variant.name, { timeout: 300_000 }, async () => {
      const image = path(`image-${row}`)
      await makeImage(path('disk'), image, variant)
      for (let seed = row * 10; seed < row * 10 + 3; seed += 1) {
        const name = `damaged-${seed}`
        const done = await damage(image, path(name), seed)
        await attempt(name, [], (attempted) => assertHonest(attempted, path(name), variant, done))
      }
    })
  }
})

async function assertHonest({ result, target }: Attempt, file: string, variant: ImageVariant, done: string) {
  const { event, code = '', format } = outcomeOf(result)
  if (event === 'failed') {
    assert.ok(acceptable.has(code), `${done}: ${result.stdout}`)
    return
  }
  // Damage may take away the magic: then it is a raw disk, as with qemu-img.
  if (format === 'raw') await assertSame(target, file)
  else {
    await convertByQemu(file, `${file}.wanted`, variant)
    await assertSame(target, `${file}.wanted`)
  }
}

describe('damaged packing is refused, or unpacks as the usual program does it', { concurrency: 2 }, () => {
  const unpackers: Readonly<Record<Packing, readonly string[]>> = {
    gz: ['gzip', '-dc'],
    xz: ['xz', '-dc'],
    zst: ['zstd', '-dcq'],
  }
  const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!
  before(() => makeImage(path('disk'), path('disk.qcow2'), qcow2))

  for (const [row, packing] of (['gz', 'xz', 'zst'] as const).entries()) {
    for (const content of ['disk', 'disk.qcow2']) {
      it(`${content}.${packing}`, { timeout: 300_000 }, async () => {
        const packed = await pack(path(content), [packing])
        for (let seed = 300 + row * 10; seed < 304 + row * 10; seed += 1) {
          const name = `${content}-${seed}.${packing}`
          const done = await damage(packed, path(name), seed)
          const [command = '', ...args] = unpackers[packing]
          const unpacked = await execa(command, [...args, path(name)], { encoding: 'buffer', reject: false })
          await attempt(name, [], async ({ result, target }) => {
            const { event, code = '', format } = outcomeOf(result)
            if (event === 'failed') {
              assert.ok(acceptable.has(code), `${done}: ${result.stdout}`)
              return
            }
            // With the magic gone it is a raw disk that looks odd.
            const plain = format === 'raw' && (await readFile(target)).equals(await readFile(path(name)))
            if (plain) return
            assert.equal(unpacked.exitCode, 0, `${done}: taken, but ${command} says ${String(unpacked.stderr)}`)
            await assertSame(target, path('disk'))
          })
        }
      })
    }
  }

  it('a file that ends anywhere within its trailer is never taken', { timeout: 300_000 }, async () => {
    for (const packing of ['gz', 'xz', 'zst'] as const) {
      const packed = await pack(path('disk'), [packing])
      const { size } = await stat(packed)
      for (const missing of [1, 4]) {
        await cut(packed, path(`short.${packing}`), size - missing)
        await attempt(`short.${packing}`, [], ({ result }) => {
          assertCode(result, 'CDI_DECODE_TRUNCATED')
          return Promise.resolve()
        })
      }
    }
  })
})

describe('an image that leads elsewhere, hides something or wants to hurt', { concurrency: 2 }, () => {
  for (const [index, hostile] of hostileImages.entries()) {
    it(`is refused with ${hostile.code}: ${hostile.name}`, { timeout: 120_000 }, async () => {
      const name = `hostile-${index}`
      await hostile.make(path(name), dir.path)
      await attempt(name, [], ({ result }) => {
        assertCode(result, hostile.code as ErrorCode, hostile.message)
        return Promise.resolve()
      })
    })
  }

  it('is refused inside of a packing too, before or after it was staged', { timeout: 120_000 }, async () => {
    for (const [index, hostile] of hostileImages.entries()) {
      if (!/backed by|encrypted|huge L1|parent/.test(hostile.name)) continue
      const name = `packed-hostile-${index}`
      await hostile.make(path(name), dir.path)
      await pack(path(name), ['zst'])
      await attempt(`${name}.zst`, [], ({ result }) => {
        assertCode(result, hostile.code as ErrorCode, hostile.message)
        return Promise.resolve()
      })
    }
  })

  it('never shows what is in a file of the machine', { timeout: 120_000 }, async () => {
    await writeFile(path('private'), 'the secret of the machine')
    const flat = '# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
    await writeFile(path('descriptor'), `${flat}RW 1 FLAT "${path('private')}" 0\n`)
    await attempt('descriptor', [], ({ result }) => {
      assertCode(result, 'CDI_FORMAT_UNSUPPORTED')
      return Promise.resolve()
    })
  })
})

describe('a bomb of zeros', { concurrency: 1, timeout: 300_000 }, () => {
  const zeros = 256 * mebibyte

  /** A member of 256 MiB of zeros, again and again; then packed once more, so that the file is small. */
  async function bomb(name: string, packing: Packing, members: number, outer?: Packing): Promise<void> {
    await writeFile(path(`${name}-zeros`), '')
    await execa('truncate', ['-s', String(zeros), path(`${name}-zeros`)])
    const member = await readFile(await pack(path(`${name}-zeros`), [packing]))
    await pipeline(Readable.from(Array.from({ length: members }, () => member)), createWriteStream(path(name)))
    if (outer !== undefined) await rm(await renamed(await pack(path(name), [outer]), path(name)), { force: true })
  }

  async function renamed(from: string, to: string): Promise<string> {
    await copyFile(from, to)
    return from
  }

  for (const [name, packing, members, outer] of [
    ['64 GiB in gzip', 'gz', 256, undefined],
    ['64 GiB in xz', 'xz', 256, undefined],
    ['1 TiB in zstd', 'zst', 4096, undefined],
    ['1 TiB in zstd in gzip', 'zst', 4096, 'gz'],
    ['1 TiB in xz in zstd', 'xz', 4096, 'zst'],
  ] as const) {
    it(`of ${name} is stopped as soon as it is larger than the volume`, async () => {
      const file = name.replaceAll(' ', '-')
      await bomb(file, packing, members, outer)
      await attempt(file, ['--size', '64Mi'], ({ result }) => {
        assertCode(result, 'CDI_IMAGE_TOO_LARGE', /larger than the reported available storage 67108864/)
        return Promise.resolve()
      })
    })
  }

  it('behind the header of an image is stopped when it has nothing to do with its disk', async () => {
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('head.qcow2'), '8M'])
    await bomb('tail', 'gz', 256)
    const head = await readFile(await pack(path('head.qcow2'), ['gz']))
    await writeFile(path('headed'), head)
    await appendFile(path('headed'), await readFile(path('tail')))
    await attempt('headed', ['--size', '64Mi'], ({ result }) => {
      assertCode(result, 'CDI_FORMAT_INVALID', /bytes of it are not data of its disk/)
      return Promise.resolve()
    })
  })

  it(
    'behind an image that is staged is stopped when it is larger than the scratch space',
    { skip: noRoot },
    async () => {
      await using scratch = await smallFilesystem({ type: 'ext4', sizeBytes: 64 * mebibyte })
      await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('staged.qcow2'), '8M'])
      await execa('qemu-img', ['snapshot', '-c', 'before', path('staged.qcow2')])
      await bomb('tail', 'gz', 256)
      const head = await readFile(await pack(path('staged.qcow2'), ['gz']))
      await writeFile(path('staged'), head)
      await appendFile(path('staged'), await readFile(path('tail')))
      await attempt('staged', ['--size', '64Mi', '--scratch', scratch.directory], async ({ result }) => {
        assertCode(result, 'CDI_TARGET_FULL', /scratch/)
        await assertOnly(scratch.directory, 'lost+found')
      })
    },
  )
})

describe('an archive that leads outside', { timeout: 120_000 }, () => {
  for (const [name, tar] of [
    ['by a name with dots', ['--transform', 's,inside,../outside,', 'inside']],
    ['by a link and a file behind it', ['--transform', 's,inside,link/outside,', 'link', 'inside']],
    ['by a hard link', ['hard', '--transform', 's,hard,x,']],
  ] as const) {
    it(`${name} is refused, and nothing of it is kept`, async () => {
      await using place = await tempDir('escape')
      const [from, into] = [join(place.path, 'from'), join(place.path, 'into')]
      await mkdir(from)
      await mkdir(into)
      await writeFile(join(from, 'inside'), 'payload')
      await execa('ln', ['-s', place.path, join(from, 'link')])
      if (name === 'by a hard link') {
        // A hard link whose other name lies outside: tar stores the name as it is given.
        await execa(
          'sh',
          [
            '-c',
            'ln inside hard && tar -cPf "$1" --transform "s,^inside$,../../etc/passwd,RSh" inside hard',
            '-',
            path('bad.tar'),
          ],
          { cwd: from },
        )
      } else await execa('tar', ['-C', from, '-cPf', path('bad.tar'), ...tar])
      const result = await cdi(['import', url('bad.tar'), into, '--content-type', 'archive', '--json'])
      assertCode(result, 'CDI_ARCHIVE_UNSAFE')
      await assertOnly(into)
      await assertOnly(place.path, 'from', 'into')
    })
  }
})
