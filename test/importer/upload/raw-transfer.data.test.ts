import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import type { Checksum } from '../../../importer/sources/checksum.ts'
import { PieceMismatch } from '../../../importer/upload/piece.ts'
import { RawTransfer } from '../../../importer/upload/raw-transfer.ts'
import type { RawProgress } from '../../../importer/upload/raw-transfer.ts'
import type { Volume } from '../../../importer/upload/transfer.ts'
import { contentOf, loopDevice, noRoot } from '../../fixtures/loop.ts'
import type { LoopDevice } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { vhdFooter } from '../../fixtures/vhd-footer.ts'

const mebibyte = 1024 * 1024
const log = silentLog()
const { signal } = new AbortController()

function withCode(code: ErrorCode, text: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CdiError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, text)
    return true
  }
}

/** A disk with data, zeros, and places where pages and granules are partly zero. */
function makeDisk(sizeBytes: number, seed = 1): Buffer {
  const disk = Buffer.alloc(sizeBytes)
  for (let at = 0, step = seed; at < sizeBytes; step += 1) {
    const length = Math.min(sizeBytes - at, [700, 4096, 70_000, 300_000][step % 4] as number)
    if (step % 3 !== 0) disk.fill((step % 250) + 1, at, at + length)
    at += length + [0, 5000, 130_000][step % 3]!
  }
  return disk
}

async function* inChunks(bytes: Buffer, chunkBytes = 16 * 1024): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield Buffer.from(bytes.subarray(at, at + chunkBytes))
}

/** The beginning of it, and then the connection breaks. */
async function* broken(bytes: Buffer): AsyncGenerator<Buffer> {
  yield* inChunks(bytes)
  throw new CdiError('CDI_SOURCE_INTERRUPTED', 'the cable was pulled')
}

function sha256(bytes: Buffer): Checksum {
  return { algorithm: 'sha256', hex: createHash('sha256').update(bytes).digest('hex') }
}

interface Stage {
  readonly volume: Volume
  /** Every note, the last one being what the next process is told. */
  readonly notes: (RawProgress | undefined)[]
  readonly begin: (length: number, checksums?: readonly Checksum[]) => Promise<RawTransfer>
  readonly resume: (length: number, progress: RawProgress, checksums?: readonly Checksum[]) => Promise<RawTransfer>
}

function stage(volume: Volume): Stage {
  const notes: (RawProgress | undefined)[] = []
  const note = (progress: RawProgress | undefined): Promise<void> => {
    notes.push(progress && { ...progress, ranges: [...progress.ranges] })
    return Promise.resolve()
  }
  return {
    volume,
    notes,
    begin: (length, checksums = []) => RawTransfer.begin({ log, volume, length, checksums, note }, signal),
    resume: (length, progress, checksums = []) =>
      RawTransfer.resume({ log, volume, length, checksums, note }, progress, signal),
  }
}

function fileVolume(directory: string, more: Partial<Volume> = {}): Volume {
  return {
    contentType: 'kubevirt',
    targetPath: join(directory, 'disk.img'),
    resize: false,
    preallocate: false,
    directIo: false,
    ...more,
  }
}

function deviceVolume(path: string, more: Partial<Volume> = {}): Volume {
  return { ...fileVolume(''), targetPath: path, ...more }
}

interface Cut {
  readonly start: number
  readonly end: number
}

/** Cuts that cover [0, sizeBytes) in the end, in any order, overlapping and repeated. */
function cutsOf(sizeBytes: number): fc.Arbitrary<Cut[]> {
  return fc
    .tuple(
      fc.uniqueArray(fc.nat(sizeBytes), { minLength: 1, maxLength: 10 }),
      fc.array(fc.tuple(fc.nat(sizeBytes), fc.nat(sizeBytes)), { maxLength: 4 }),
      fc.infiniteStream(fc.nat()),
    )
    .map(([edges, extra, random]) => {
      const sorted = [...new Set([0, ...edges, sizeBytes])].sort((one, two) => one - two)
      const cuts: Cut[] = sorted.slice(1).map((end, index) => ({ start: sorted[index] as number, end }))
      for (const [one, two] of extra) if (one !== two) cuts.push({ start: Math.min(one, two), end: Math.max(one, two) })
      return cuts
        .map((cut) => ({ cut, key: random.next().value as number }))
        .sort((one, two) => one.key - two.key)
        .map(({ cut }) => cut)
    })
}

/** The beginning of it, and then silence until the signal. */
async function* stalled(bytes: Buffer, signal: AbortSignal): AsyncGenerator<Buffer> {
  yield* inChunks(bytes)
  await new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(new CdiError('CDI_ABORTED', 'the test is over')))
  })
}

/** What every volume has to do. `path` of a device or of a file in a directory of its own. */
function conform(volumeOf: (preallocate: boolean) => Volume): void {
  const sizeBytes = 3 * mebibyte + 1234
  const disk = makeDisk(sizeBytes)

  it('tells what has arrived of pieces whose connections only look alive, and makes it durable', async () => {
    const { volume, begin, notes } = stage(volumeOf(false))
    const transfer = await begin(sizeBytes)
    const over = new AbortController()
    const half = mebibyte + 777
    const pieces = [0, 2 * mebibyte].map((start) => {
      const end = Math.min(sizeBytes, start + half)
      return transfer.writeAt(start, stalled(disk.subarray(start, end), over.signal), signal)
    })
    while (transfer.taken.reduce((sum, { start, end }) => sum + end - start, 0) < 2 * half) await transfer.settle()
    assert.deepEqual(notes.at(-1)?.ranges, [
      { start: 0, end: half },
      { start: 2 * mebibyte, end: 2 * mebibyte + half },
    ])
    over.abort()
    for (const piece of pieces) await assert.rejects(piece, { code: 'CDI_ABORTED' })
    for (const { start, end } of transfer.missing)
      await transfer.writeAt(start, inChunks(disk.subarray(start, end)), signal)
    await transfer.finish()
    assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
  })

  for (const preallocate of [false, true]) {
    const how = preallocate ? 'preallocated' : 'sparse'
    it(`holds a disk whose pieces came from several connections in any order, overlapping and repeated, ${how}`, async () => {
      await fc.assert(
        fc.asyncProperty(cutsOf(sizeBytes), fc.integer({ min: 1, max: 6 }), async (cuts, connections) => {
          const { volume, begin } = stage(volumeOf(preallocate))
          const transfer = await begin(sizeBytes, [sha256(disk)])
          const queue = [...cuts]
          const connection = async (): Promise<void> => {
            for (let cut = queue.shift(); cut !== undefined; cut = queue.shift()) {
              await transfer.writeAt(cut.start, inChunks(disk.subarray(cut.start, cut.end), 60_000), signal)
            }
          }
          await Promise.all(Array.from({ length: connections }, connection))
          assert.deepEqual(transfer.missing, [])
          assert.equal(transfer.offset, sizeBytes)
          await transfer.finish()
          assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
        }),
        { numRuns: 12, endOnFailure: true },
      )
    })

    it(`holds the disk whatever process ended when, and whatever it had written and not noted, ${how}`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(cutsOf(sizeBytes), fc.nat(6)), { minLength: 1, maxLength: 3 }),
          fc.nat(3),
          async (lives, stale) => {
            const { volume, notes, begin, resume } = stage(volumeOf(preallocate))
            let transfer = await begin(sizeBytes)
            let known = notes.at(-1) as RawProgress
            for (const [cuts, many] of lives) {
              const told = [known]
              notes.length = 0
              for (const { start, end } of cuts.slice(0, many)) {
                await transfer.writeAt(start, inChunks(disk.subarray(start, end)), signal)
              }
              told.push(...(notes as RawProgress[]))
              known = told.at(-1 - stale) ?? (told[0] as RawProgress)
              // Something else than the disk, where nothing is known to be durable.
              for (const { start, end } of cuts) {
                if (known.ranges.some((range) => range.start < end && range.end > start)) continue
                await transfer.writeAt(start, inChunks(Buffer.alloc(end - start, 0xee)), signal)
              }
              await transfer.suspend(new CdiError('CDI_ABORTED', 'the pod moves'))
              transfer = await resume(sizeBytes, known)
            }
            for (const { start, end } of transfer.missing) {
              await transfer.writeAt(start, inChunks(disk.subarray(start, end)), signal)
            }
            await transfer.finish()
            assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
          },
        ),
        { numRuns: 10, endOnFailure: true },
      )
    })
  }

  it('keeps what arrived of a piece that broke off, as durable bytes', async () => {
    const { notes, begin, volume } = stage(volumeOf(false))
    const transfer = await begin(sizeBytes)
    await assert.rejects(transfer.append(broken(disk.subarray(0, mebibyte)), signal), /the cable was pulled/)
    assert.equal(transfer.offset, mebibyte)
    assert.deepEqual(notes.at(-1)?.ranges, [{ start: 0, end: mebibyte }])
    await transfer.append(inChunks(disk.subarray(mebibyte)), signal)
    await transfer.finish()
    assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
  })

  it('cuts off the footer of a fixed VHD', async () => {
    const { begin, volume } = stage(volumeOf(false))
    const image = Buffer.concat([disk, Buffer.alloc(512 - (sizeBytes % 512)), vhdFooter(sizeBytes)])
    const transfer = await begin(image.length, [sha256(image)])
    await transfer.append(inChunks(image), signal)
    const { diskSizeBytes } = await transfer.finish()
    assert.equal(diskSizeBytes, image.length - 512)
    const expected = Buffer.concat([disk, Buffer.alloc(image.length - sizeBytes)])
    const found = await contentOf(volume.targetPath, image.length)
    assert.ok(found.equals(expected.subarray(0, found.length)))
    assert.ok(found.length === image.length - 512 || volume.targetPath.startsWith('/dev/'))
  })

  it('finishes the volume that the last process had verified, without asking for a byte', async () => {
    const { begin, resume, notes, volume } = stage(volumeOf(false))
    const image = Buffer.concat([disk, vhdFooter(sizeBytes)])
    const transfer = await begin(image.length)
    await transfer.append(inChunks(image), signal)
    await transfer.finish()
    const last = notes.at(-1) as RawProgress
    assert.equal(last.verifiedBytes, sizeBytes)
    const next = await resume(image.length, last)
    assert.equal(next.offset, image.length)
    assert.deepEqual(next.missing, [])
    assert.equal((await next.finish()).diskSizeBytes, sizeBytes)
    assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
  })

  it('refuses a disk whose digest is another, and says that there is no upload any more', async () => {
    const { begin, notes } = stage(volumeOf(false))
    const transfer = await begin(sizeBytes, [sha256(Buffer.concat([disk, Buffer.alloc(1)]))])
    await transfer.append(inChunks(disk), signal)
    await assert.rejects(transfer.finish(), withCode('CDI_CHECKSUM_MISMATCH', /expected sha256:/))
    await transfer.drop(new CdiError('CDI_CHECKSUM_MISMATCH', ''))
    assert.equal(notes.at(-1), undefined)
  })

  it('does not count a piece whose own digest is another, and takes it again', async () => {
    const { begin, volume, notes } = stage(volumeOf(false))
    const transfer = await begin(sizeBytes, [sha256(disk)])
    const half = 2 * mebibyte
    const damaged = Buffer.from(disk.subarray(0, half))
    damaged.fill(0x77, 0, mebibyte)
    const checksums = [sha256(disk.subarray(0, half))]
    await assert.rejects(
      transfer.append(inChunks(damaged), signal, { checksums }),
      (error) => error instanceof PieceMismatch && /expected sha256:/.test(error.message),
    )
    await assert.rejects(transfer.append(broken(disk.subarray(0, mebibyte)), signal, { checksums }), /cable/)
    assert.equal(transfer.offset, 0)
    assert.deepEqual(notes.at(-1)?.ranges, [])
    await transfer.append(inChunks(disk.subarray(0, half)), signal, { checksums })
    await transfer.append(inChunks(disk.subarray(half)), signal)
    await transfer.finish()
    assert.ok((await contentOf(volume.targetPath, sizeBytes)).equals(disk))
  })
}

describe('raw disk into a file', () => {
  let dir: Awaited<ReturnType<typeof tempDir>>
  before(async () => {
    dir = await tempDir('raw-transfer')
  })
  after(() => dir[Symbol.asyncDispose]())
  conform((preallocate) => fileVolume(dir.path, { preallocate }))
})

describe('raw disk into a device full of old bytes', { skip: noRoot }, () => {
  let device: LoopDevice
  before(async () => {
    device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty: true })
  })
  after(() => device[Symbol.asyncDispose]())
  conform((preallocate) => deviceVolume(device.path, { preallocate }))
})

describe('raw disk', () => {
  it('never notes as durable what a piece has written over that was not there as a whole yet', async () => {
    await using dir = await tempDir('raw')
    const { begin, notes } = stage(fileVolume(dir.path))
    const disk = makeDisk(2 * mebibyte)
    const transfer = await begin(disk.length)
    await transfer.writeAt(0, inChunks(disk), signal)
    assert.deepEqual(notes.at(-1)?.ranges, [{ start: 0, end: 2 * mebibyte }])
    const half = Promise.withResolvers<void>()
    const rest = Promise.withResolvers<void>()
    async function* wrong(): AsyncGenerator<Buffer> {
      yield* inChunks(Buffer.alloc(mebibyte / 2, 9))
      half.resolve()
      await rest.promise
      yield* inChunks(Buffer.alloc(mebibyte / 2, 9))
    }
    const piece = transfer.writeAt(0, wrong(), signal, { checksums: [sha256(Buffer.from('other'))] })
    piece.catch(() => {})
    await half.promise
    // Somebody asks what is there, which makes durable what there is.
    await transfer.settle()
    assert.deepEqual(notes.at(-1)?.ranges, [{ start: mebibyte / 2, end: 2 * mebibyte }])
    rest.resolve()
    await assert.rejects(piece, PieceMismatch)
    await transfer.settle()
    assert.deepEqual(notes.at(-1)?.ranges, [{ start: mebibyte, end: 2 * mebibyte }])
    await transfer.writeAt(0, inChunks(disk.subarray(0, mebibyte)), signal, {
      checksums: [sha256(disk.subarray(0, mebibyte))],
    })
    await transfer.finish()
    assert.ok((await contentOf(join(dir.path, 'disk.img'))).equals(disk))
  })

  it('takes no piece any more while it is finished', async () => {
    await using dir = await tempDir('raw')
    const { begin } = stage(fileVolume(dir.path))
    const disk = makeDisk(mebibyte)
    const transfer = await begin(disk.length)
    await transfer.writeAt(0, inChunks(disk), signal)
    const late = Promise.withResolvers<void>()
    async function* stale(): AsyncGenerator<Buffer> {
      yield* inChunks(disk.subarray(0, 65_536))
      await late.promise
      yield Buffer.alloc(65_536, 9)
    }
    const piece = transfer.writeAt(0, stale(), signal)
    piece.catch(() => {})
    const finished = transfer.finish()
    late.resolve()
    await assert.rejects(piece, { code: 'CDI_ABORTED' })
    await finished
    assert.ok((await contentOf(join(dir.path, 'disk.img'))).equals(disk))
  })

  it('is as sparse as its pieces come, also when some come again and after another process', async () => {
    await using dir = await tempDir('raw-transfer')
    const { volume, begin, resume, notes } = stage(fileVolume(dir.path))
    const sizeBytes = 64 * mebibyte
    const disk = Buffer.alloc(sizeBytes)
    for (let at = 0; at < sizeBytes; at += mebibyte) disk.fill(at / mebibyte + 1, at, at + 4096)
    const first = await begin(sizeBytes)
    await first.append(inChunks(disk.subarray(0, 30 * mebibyte)), signal)
    await first.writeAt(10 * mebibyte, inChunks(disk.subarray(10 * mebibyte, 35 * mebibyte)), signal)
    await first.writeAt(50 * mebibyte, inChunks(Buffer.alloc(mebibyte, 0xee)), signal)
    await first.suspend(new CdiError('CDI_ABORTED', 'the pod moves'))
    const second = await resume(sizeBytes, notes.find((note) => note?.ranges[0]?.end === 35 * mebibyte) as RawProgress)
    assert.equal(second.offset, 35 * mebibyte)
    await second.append(inChunks(disk.subarray(35 * mebibyte)), signal)
    await second.finish()
    assert.ok((await contentOf(volume.targetPath)).equals(disk))
    const { blocks } = await stat(volume.targetPath)
    assert.ok(blocks * 512 <= 64 * 4096 + 128 * 1024, `${blocks * 512} bytes for 64 pages of data`)
  })

  it('is allocated as a whole when that is asked for, grown, and for owner and group only', async () => {
    await using dir = await tempDir('raw-transfer')
    const { volume, begin } = stage(
      fileVolume(dir.path, { preallocate: true, resize: true, requestedBytes: 10 * mebibyte, filesystemOverhead: '0' }),
    )
    const disk = makeDisk(4 * mebibyte)
    const transfer = await begin(disk.length)
    await transfer.append(inChunks(disk), signal)
    assert.deepEqual(await transfer.finish(), { preallocationApplied: true, diskSizeBytes: 10 * mebibyte })
    const facts = await stat(volume.targetPath)
    assert.equal(facts.size, 10 * mebibyte)
    assert.ok(facts.blocks * 512 >= 10 * mebibyte)
    assert.equal(facts.mode & 0o777, 0o660)
    const found = await contentOf(volume.targetPath)
    assert.ok(found.equals(Buffer.concat([disk, Buffer.alloc(6 * mebibyte)])))
  })

  it('that is larger than the volume is refused before a byte is taken, and leaves nothing', async () => {
    await using dir = await tempDir('raw-transfer')
    const { begin } = stage(fileVolume(dir.path, { requestedBytes: mebibyte, resize: true }))
    await assert.rejects(
      begin(mebibyte + 513),
      withCode('CDI_IMAGE_TOO_LARGE', /larger than the reported available storage 1048576\. A larger PVC is required/),
    )
    assert.deepEqual(await readdir(dir.path), [])
  })

  it('that fills its volume may have a footer behind it, and nothing else', { skip: noRoot }, async () => {
    await using device = await loopDevice({ sizeBytes: 2 * mebibyte, dirty: true })
    const { begin } = stage(deviceVolume(device.path))
    const disk = makeDisk(2 * mebibyte)
    const image = Buffer.concat([disk, vhdFooter(disk.length)])
    const transfer = await begin(image.length, [sha256(image)])
    await transfer.append(inChunks(image), signal)
    await transfer.finish()
    assert.ok((await contentOf(device.path, disk.length)).equals(disk))
    const tooLong = await begin(image.length)
    await tooLong.append(inChunks(Buffer.concat([disk, Buffer.alloc(512)])), signal)
    await assert.rejects(tooLong.finish(), withCode('CDI_IMAGE_TOO_LARGE', /2097664/))
    await tooLong.drop(new CdiError('CDI_IMAGE_TOO_LARGE', ''))
  })

  it('is not finished while bytes are missing', async () => {
    await using dir = await tempDir('raw-transfer')
    const { begin } = stage(fileVolume(dir.path))
    const transfer = await begin(mebibyte)
    await transfer.writeAt(0, inChunks(Buffer.alloc(1000, 1)), signal)
    await transfer.writeAt(5000, inChunks(Buffer.alloc(1000, 1)), signal)
    assert.deepEqual(transfer.missing, [
      { start: 1000, end: 5000 },
      { start: 6000, end: mebibyte },
    ])
    await assert.rejects(transfer.finish(), withCode('CDI_SOURCE_TRUNCATED', /lacks bytes 1000 to 4999/))
    await transfer.drop(new CdiError('CDI_ABORTED', ''))
  })

  it('is checked against what is told when all is there', async () => {
    await using dir = await tempDir('raw-transfer')
    const disk = makeDisk(mebibyte)
    for (const isRight of [true, false]) {
      const { begin } = stage(fileVolume(dir.path))
      const transfer = await begin(disk.length, [sha256(disk)])
      await transfer.append(inChunks(disk), signal)
      transfer.expect(sha256(isRight ? disk : Buffer.alloc(3)))
      if (isRight) await transfer.finish()
      else await assert.rejects(transfer.finish(), withCode('CDI_CHECKSUM_MISMATCH', /sha256/))
    }
  })

  it('is refused in the end if it is something else than a raw disk', async () => {
    await using dir = await tempDir('raw-transfer')
    const { begin } = stage(fileVolume(dir.path))
    const image = Buffer.alloc(mebibyte)
    image.write('QFI\xfb', 'latin1')
    const transfer = await begin(image.length)
    await transfer.writeAt(100, inChunks(image.subarray(100)), signal)
    await transfer.writeAt(0, inChunks(image.subarray(0, 100)), signal)
    await assert.rejects(transfer.finish(), withCode('CDI_FORMAT_UNSUPPORTED', /this is qcow2: upload it to/))
    await transfer.drop(new CdiError('CDI_FORMAT_UNSUPPORTED', ''))
  })

  it('takes no byte behind its end', async () => {
    await using dir = await tempDir('raw-transfer')
    const { begin } = stage(fileVolume(dir.path))
    const transfer = await begin(1000)
    await assert.rejects(
      transfer.append(inChunks(Buffer.alloc(1001, 1)), signal),
      withCode('CDI_SOURCE_CHANGED', /more than the 1000 bytes announced/),
    )
    await transfer.drop(new CdiError('CDI_ABORTED', ''))
  })

  it('leaves nothing behind when it is dropped while it is written, and strikes itself out of the notes first', async () => {
    await using dir = await tempDir('raw-transfer')
    const { begin, notes } = stage(fileVolume(dir.path))
    const transfer = await begin(8 * mebibyte)
    const halted = Promise.withResolvers<void>()
    async function* hanging(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(mebibyte, 1)
      await halted.promise
      yield Buffer.alloc(mebibyte, 1)
    }
    const appending = transfer.append(hanging(), signal)
    const dropping = transfer.drop(new CdiError('CDI_ABORTED', 'another one came'))
    halted.resolve()
    await assert.rejects(appending, withCode('CDI_ABORTED', /another one came/))
    await dropping
    assert.equal(notes.at(-1), undefined)
    assert.deepEqual(await readdir(dir.path), [])
  })

  it('is gone on with only if the volume still holds it', async () => {
    await using dir = await tempDir('raw-transfer')
    const { resume } = stage(fileVolume(dir.path))
    const progress = { ranges: [{ start: 0, end: 1000 }] }
    await assert.rejects(resume(mebibyte, progress), withCode('CDI_TARGET_INVALID', /does not exist any more/))
  })
})
