import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { Encoding } from '../../../importer/formats/decoder.ts'
import { plainSize } from '../../../importer/formats/plain-size.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'
import { mebibyte, noise } from '../../fixtures/images.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { cdi } from '../e2e/support/cdi.ts'
import { servedBytes } from '../e2e/support/served.ts'

const never = new AbortController().signal
const run = (program: 'xz' | 'zstd' | 'gzip', data: Buffer, ...options: string[]): Buffer =>
  execFileSync(program, ['-c', '-q', ...options], { input: data, maxBuffer: 2 ** 28 })

interface Counted {
  reads: number
  bytes: number
}

function rangedBuffer(bytes: Buffer, counted: Counted = { reads: 0, bytes: 0 }): RangedSource {
  return {
    kind: 'ranged',
    name: 'buffer',
    sizeBytes: bytes.length,
    pinned: true,
    parallel: 1,
    async stream({ offset, length }, sink) {
      counted.reads += 1
      counted.bytes += length
      await sink(Buffer.from(bytes.subarray(offset, offset + length)))
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}

function sizeIn(packed: Buffer, encodings: readonly Encoding[], more: Partial<RangedSource> = {}) {
  const source = { ...rangedBuffer(packed), ...more }
  return plainSize({ source, encodings, head: packed.subarray(0, 192 * 1024) }, never)
}

/** `bytes` in one frame that says so; without its size as the input of a pipe has none. */
async function framed(bytes: number): Promise<Buffer> {
  await using dir = await tempDir('plain-size')
  const path = join(dir.path, 'plain')
  await writeFile(path, Buffer.alloc(bytes, 7))
  return execFileSync('zstd', ['-c', '-q', path])
}

describe('the size that packed data tells of itself', () => {
  it('is the sum of all streams and blocks of an xz file, by a few reads of its end', async () => {
    const packed = Buffer.concat([run('xz', noise(3_000_000, 1), '--block-size=1MiB'), run('xz', Buffer.alloc(999))])
    const counted: Counted = { reads: 0, bytes: 0 }
    const source = rangedBuffer(packed, counted)
    assert.equal(await plainSize({ source, encodings: ['xz'], head: packed }, never), 3_000_999)
    assert.ok(counted.reads <= 8 && counted.bytes < 64 * 1024, JSON.stringify(counted))
  })

  it('is told by the first frame of zstd, however many bytes it takes to say it', async () => {
    for (const bytes of [0, 200, 256, 65_791, 65_792, 3_000_000]) {
      const packed = await framed(bytes)
      assert.equal(await sizeIn(packed, ['zstd']), bytes)
      const skippable = Buffer.from([0x5e, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3])
      assert.equal(await sizeIn(Buffer.concat([skippable, packed]), ['zstd']), bytes)
    }
    const large = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 16, 0, 0, 0])
    assert.equal(await sizeIn(large, ['zstd']), 2 ** 36)
  })

  it('is not known where nothing says it for sure', async () => {
    const data = noise(100_000, 2)
    const xz = run('xz', data)
    assert.equal(await sizeIn(run('gzip', data), ['gzip']), undefined)
    assert.equal(await sizeIn(run('zstd', data), ['zstd']), undefined, 'a frame from a pipe')
    assert.equal(await sizeIn((await framed(300)).subarray(0, 6), ['zstd']), undefined, 'a frame that is cut')
    const absurd = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0x7f])
    assert.equal(await sizeIn(absurd, ['zstd']), undefined, 'more than a number holds')
    assert.equal(
      await sizeIn(run('xz', run('gzip', data)), ['xz', 'gzip']),
      undefined,
      'the size of what is packed again',
    )
    assert.equal(await sizeIn(xz, ['xz'], { pinned: false }), undefined, 'an end that may be of another version')
    assert.equal(await sizeIn(xz.subarray(0, -3), ['xz']), undefined, 'a file that is cut')
    assert.equal(await sizeIn(Buffer.concat([xz, Buffer.from('foreign')]), ['xz']), undefined)
    const refusing = { stream: () => Promise.reject(new Error('no ranges after all')) }
    assert.equal(await sizeIn(xz, ['xz'], refusing), undefined)
  })

  it('is not looked for through thousands of streams', async () => {
    const one = run('xz', Buffer.alloc(100))
    const packed = Buffer.concat(Array.from({ length: 5000 }, () => one))
    const counted: Counted = { reads: 0, bytes: 0 }
    assert.equal(
      await plainSize({ source: rangedBuffer(packed, counted), encodings: ['xz'], head: packed }, never),
      undefined,
    )
    assert.ok(counted.reads <= 33, `${counted.reads} reads`)
  })

  it('is given up with the import', async () => {
    const stop = new AbortController()
    const stream: RangedSource['stream'] = () => {
      stop.abort(new Error('stopped'))
      return Promise.reject(new Error('interrupted'))
    }
    const source = { ...rangedBuffer(run('xz', Buffer.alloc(100))), stream }
    await assert.rejects(plainSize({ source, encodings: ['xz'], head: Buffer.alloc(0) }, stop.signal), {
      message: 'stopped',
    })
  })
})

describe('a packed disk that is larger than its volume', { timeout: 120_000 }, () => {
  it('is refused by a little of its file, and one that fits with its footer left out is not', async () => {
    await using dir = await tempDir('plain-size')
    const path = (name: string): string => join(dir.path, name)
    await writeFile(path('disk'), noise(16 * mebibyte, 3))
    execFileSync('qemu-img', [
      'convert',
      '-f',
      'raw',
      '-O',
      'vpc',
      '-o',
      'subformat=fixed,force_size',
      path('disk'),
      path('vhd'),
    ])
    for (const name of ['disk', 'vhd']) {
      execFileSync('xz', ['-0', '-k', path(name)])
      execFileSync('zstd', ['-q', '-1', path(name)])
    }
    for (const packing of ['xz', 'zst']) {
      await using nginx = await startNginx({ root: dir.path })
      const refused = await cdi(['import', `${nginx.origin}/disk.${packing}`, path('out'), '--size', '15Mi', '--json'])
      assert.equal(refused.exitCode, 6)
      assert.match(refused.stdout, /virtual image size 16777216 is larger than the reported available storage 15728640/)
      const served = await servedBytes(nginx)
      assert.ok(served < mebibyte, `${served} bytes were read to know it`)
      const fits = await cdi(['import', `${nginx.origin}/vhd.${packing}`, path('out'), '--size', '16Mi'])
      assert.equal(fits.exitCode, 0, fits.stderr)
      execFileSync('cmp', [path('disk'), path('out')])
      const shown = await cdi(['inspect', `${nginx.origin}/disk.${packing}`, '--json'])
      assert.match(shown.stdout, /"plainSizeBytes":16777216/)
    }
  })
})
