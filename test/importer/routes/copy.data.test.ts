import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { copyRanges } from '../../../importer/routes/copy-ranges.ts'
import { copyStream } from '../../../importer/routes/copy-stream.ts'
import { Digest, parseChecksum } from '../../../importer/sources/checksum.ts'
import { openFile } from '../../../importer/sources/file.ts'
import { openHttp } from '../../../importer/sources/http.ts'
import type { ForwardSource, RangedSource, Source } from '../../../importer/sources/source.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import type { Target } from '../../../importer/target/target.ts'
import { contentOf, loopDevice, noRoot } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const mebibyte = 1024 * 1024
const log = silentLog()
const signal = new AbortController().signal

/** 40 MiB and a bit: data, long and short zeros, an odd end. */
function sampleDisk(): Buffer {
  const disk = Buffer.alloc(40 * mebibyte + 512)
  for (let at = 0; at < 25; at += 1) disk.fill(at + 1, at * mebibyte + at * 1111, at * mebibyte + at * 40_000)
  disk.fill(0xee, disk.length - 700)
  return disk
}

function fixedVhdFooter(): Buffer {
  const footer = Buffer.alloc(512)
  footer.write('conectix')
  footer.writeUInt32BE(0x0001_0000, 0x0c)
  footer.writeUInt32BE(2, 0x3c)
  let sum = 0
  for (const byte of footer) sum += byte
  footer.writeUInt32BE(~sum >>> 0, 0x40)
  return footer
}

function sha256(bytes: Buffer): Digest {
  return new Digest(parseChecksum(`sha256:${createHash('sha256').update(bytes).digest('hex')}`))
}

function forwardOf(source: RangedSource): ForwardSource {
  return {
    kind: 'forward',
    name: source.name,
    peek: () => Promise.reject(new Error('not asked for')),
    stream: (sink, signal) => source.stream({ offset: 0, length: source.sizeBytes }, sink, signal),
    [Symbol.asyncDispose]: () => source[Symbol.asyncDispose](),
  }
}

async function openUrl(url: string): Promise<RangedSource> {
  const options = { url, headers: [], secretHeaders: [], insecureSkipVerify: false, proxy: {}, log }
  const source = await openHttp(options, signal)
  assert.equal(source.kind, 'ranged')
  return source
}

function hasCode(code: ErrorCode, text = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CdiError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, text)
    return true
  }
}

async function finished(target: Target, path: string): Promise<Buffer> {
  await target.finish(signal)
  return readFile(path)
}

describe('copyRanges', () => {
  for (const withDigest of [false, true]) {
    it(`copies a disk from nginx and counts every byte, ${withDigest ? 'with' : 'without'} a checksum`, async () => {
      const disk = sampleDisk()
      await using dir = await tempDir('copy')
      await using nginx = await startNginx()
      await writeFile(join(nginx.root, 'disk.raw'), disk)
      await using source = await openUrl(`${nginx.origin}/disk.raw`)
      const path = join(dir.path, 'disk.img')
      await using target = await openTarget({ path, preallocate: false, log })
      const digest = withDigest ? sha256(disk) : undefined
      let counted = 0
      await copyRanges({
        source,
        target,
        diskSizeBytes: disk.length,
        ...(digest ? { digest } : {}),
        onBytes: (bytes) => {
          counted += bytes
        },
        signal,
        log,
      })
      digest?.verify()
      assert.ok((await finished(target, path)).equals(disk))
      assert.equal(counted, disk.length)
      assert.ok((await stat(path)).blocks * 512 < disk.length / 2, 'zeros are left out')
    })
  }

  it('leaves out the footer of a fixed VHD, which the checksum covers', async () => {
    const disk = sampleDisk()
    const file = Buffer.concat([disk, fixedVhdFooter()])
    await using dir = await tempDir('copy')
    await writeFile(join(dir.path, 'disk.vhd'), file)
    for (const digest of [undefined, sha256(file)]) {
      await using source = await openFile({ path: join(dir.path, 'disk.vhd') })
      const path = join(dir.path, 'disk.img')
      await using target = await openTarget({ path, preallocate: false, log })
      const common = { source, target, diskSizeBytes: disk.length, onBytes: () => {}, signal, log }
      await copyRanges({ ...common, ...(digest ? { digest } : {}) })
      digest?.verify()
      assert.ok((await finished(target, path)).equals(disk))
    }
  })

  it('copies to a device full of old bytes', { skip: noRoot }, async () => {
    const disk = sampleDisk()
    await using dir = await tempDir('copy')
    await using device = await loopDevice({ sizeBytes: 48 * mebibyte, dirty: true })
    await writeFile(join(dir.path, 'disk.raw'), disk)
    await using source = await openFile({ path: join(dir.path, 'disk.raw') })
    await using target = await openTarget({ path: device.path, preallocate: false, log })
    await copyRanges({ source, target, diskSizeBytes: disk.length, onBytes: () => {}, signal, log })
    await target.finish(signal)
    assert.ok((await contentOf(device.path, disk.length)).equals(disk))
  })

  it('lets workers without work take over from one that is slow', async () => {
    const disk = sampleDisk()
    await using dir = await tempDir('copy')
    await writeFile(join(dir.path, 'disk.raw'), disk)
    await using file = await openFile({ path: join(dir.path, 'disk.raw') })
    const others = Promise.withResolvers<void>()
    let taken = 0
    const source: RangedSource = {
      ...file,
      kind: 'ranged',
      name: file.name,
      pinned: true,
      parallel: 4,
      sizeBytes: file.sizeBytes,
      async stream({ offset, length }, sink, signal) {
        if (offset > 0) return file.stream({ offset, length }, sink, signal)
        // One piece at first, the rest when everybody else has done what can be done.
        await sink(Buffer.from(disk.subarray(0, 65_536)))
        await others.promise
        return file.stream({ offset: 65_536, length: length - 65_536 }, sink, signal)
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
    const path = join(dir.path, 'disk.img')
    await using target = await openTarget({ path, preallocate: false, log })
    const onBytes = (bytes: number): void => {
      taken += bytes
      if (taken > disk.length - 3 * mebibyte) others.resolve()
    }
    await copyRanges({ source, target, diskSizeBytes: disk.length, onBytes, signal, log })
    assert.ok((await finished(target, path)).equals(disk))
    assert.equal(taken, disk.length)
  })

  it('throws what the source threw, and stops the other streams', async () => {
    await using dir = await tempDir('copy')
    let running = 0
    const source: RangedSource = {
      kind: 'ranged',
      name: 'broken',
      pinned: true,
      parallel: 4,
      sizeBytes: 64 * mebibyte,
      async stream({ offset }, sink, signal) {
        running += 1
        try {
          await sink(Buffer.alloc(65_536, 1))
          if (offset > 0) throw new CdiError('CDI_SOURCE_CHANGED', 'it changed')
          await new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason), { once: true })
          })
        } finally {
          running -= 1
        }
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
    await using target = await openTarget({ path: join(dir.path, 'disk.img'), preallocate: false, log })
    const copying = copyRanges({ source, target, diskSizeBytes: source.sizeBytes, onBytes: () => {}, signal, log })
    await assert.rejects(copying, hasCode('CDI_SOURCE_CHANGED'))
    assert.equal(running, 0)
    await target.discard()
    assert.deepEqual(await readdir(dir.path), [])
  })
})

describe('copyStream', () => {
  const packings = [
    { encodings: [], pack: (disk: Buffer) => disk },
    { encodings: ['gzip'], pack: (disk: Buffer) => gzipSync(disk, { level: 1 }) },
    { encodings: ['zstd'], pack: (disk: Buffer) => zstdCompressSync(disk) },
    { encodings: ['gzip', 'zstd'], pack: (disk: Buffer) => gzipSync(zstdCompressSync(disk)) },
  ] as const
  for (const { encodings, pack } of packings) {
    for (const kind of ['ranged', 'forward'] as const) {
      it(`copies a disk ${encodings.length > 0 ? `in ${encodings.join(' around ')}` : 'as it is'} from a ${kind} source`, async () => {
        const disk = sampleDisk()
        const packed = pack(disk)
        await using dir = await tempDir('copy')
        await writeFile(join(dir.path, 'packed'), packed)
        await using file = await openFile({ path: join(dir.path, 'packed') })
        const source: Source = kind === 'ranged' ? file : forwardOf(file)
        const path = join(dir.path, 'disk.img')
        await using target = await openTarget({ path, preallocate: false, log })
        const digest = sha256(packed)
        let counted = 0
        const onBytes = (bytes: number): void => {
          counted += bytes
        }
        const common = { source, encodings, target, digest, onBytes, signal, log }
        assert.equal(await copyStream({ ...common, maxBytes: 64 * mebibyte }), disk.length)
        digest.verify()
        assert.equal(counted, packed.length)
        assert.ok((await finished(target, path)).equals(disk))
        assert.ok((await stat(path)).blocks * 512 < disk.length / 2, 'zeros are left out')
      })
    }
  }

  it('keeps zeros at the end of the disk, and leaves out the footer of a fixed VHD', async () => {
    const disk = Buffer.concat([Buffer.alloc(100_000, 1), Buffer.alloc(5 * mebibyte)])
    await using dir = await tempDir('copy')
    for (const footer of [Buffer.alloc(0), fixedVhdFooter()]) {
      await writeFile(join(dir.path, 'packed'), gzipSync(Buffer.concat([disk, footer])))
      await using source = await openFile({ path: join(dir.path, 'packed') })
      const path = join(dir.path, 'disk.img')
      await using target = await openTarget({ path, preallocate: false, log })
      const common = { source, target, maxBytes: disk.length, onBytes: () => {}, signal, log }
      assert.equal(await copyStream({ ...common, encodings: ['gzip'] }), disk.length)
      assert.ok((await finished(target, path)).equals(disk))
    }
  })

  it('stops a stream that unpacks to more than the volume holds, and writes no more than that', async () => {
    await using dir = await tempDir('copy')
    await writeFile(join(dir.path, 'packed'), gzipSync(Buffer.alloc(64 * mebibyte, 1)))
    await using source = await openFile({ path: join(dir.path, 'packed') })
    const path = join(dir.path, 'disk.img')
    await using target = await openTarget({ path, preallocate: false, log, capacityBytes: 8 * mebibyte })
    await assert.rejects(
      copyStream({ source, encodings: ['gzip'], target, maxBytes: 8 * mebibyte, onBytes: () => {}, signal, log }),
      hasCode(
        'CDI_IMAGE_TOO_LARGE',
        /is larger than the reported available storage 8388608\. A larger PVC is required$/,
      ),
    )
    assert.ok((await stat(path)).size <= 8 * mebibyte)
  })

  it('never calls a packed disk complete that is cut', async () => {
    const packed = gzipSync(sampleDisk())
    await using dir = await tempDir('copy')
    await writeFile(join(dir.path, 'packed'), packed.subarray(0, packed.length - 3))
    await using source = await openFile({ path: join(dir.path, 'packed') })
    await using target = await openTarget({ path: join(dir.path, 'disk.img'), preallocate: false, log })
    await assert.rejects(
      copyStream({ source, encodings: ['gzip'], target, maxBytes: 64 * mebibyte, onBytes: () => {}, signal, log }),
      hasCode('CDI_DECODE_TRUNCATED'),
    )
  })

  it(
    'unpacks onto a device full of old bytes, whose rest beyond the disk it leaves alone',
    { skip: noRoot },
    async () => {
      const disk = sampleDisk()
      await using dir = await tempDir('copy')
      await using device = await loopDevice({ sizeBytes: 48 * mebibyte, dirty: true })
      await writeFile(join(dir.path, 'packed'), gzipSync(disk, { level: 1 }))
      await using source = await openFile({ path: join(dir.path, 'packed') })
      await using target = await openTarget({ path: device.path, preallocate: false, log })
      const common = { source, target, maxBytes: target.capacityBytes, onBytes: () => {}, signal, log }
      assert.equal(await copyStream({ ...common, encodings: ['gzip'] }), disk.length)
      await target.finish(signal)
      const whole = await contentOf(device.path, 48 * mebibyte)
      assert.ok(whole.subarray(0, disk.length).equals(disk))
      assert.ok(whole.subarray(disk.length).equals(Buffer.alloc(whole.length - disk.length, 0x5a)))
    },
  )
})
