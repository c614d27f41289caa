import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { access, mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { after, before, describe, it } from 'node:test'
import * as fc from 'fast-check'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { StreamTransfer } from '../../../importer/upload/stream-transfer.ts'
import type { StreamTransferOptions } from '../../../importer/upload/stream-transfer.ts'
import { mebibyte, noise } from '../../fixtures/images.ts'
import { Uploads, diskBytes } from './support/uploads.ts'

const volumeBytes = 8 * mebibyte
const never = new AbortController().signal

let uploads: Uploads
let disk: string

before(async () => {
  uploads = await Uploads.make()
  await mkdir(uploads.path('data'))
  disk = join(uploads.path('data'), 'disk.img')
})
after(() => uploads[Symbol.asyncDispose]())

function open(options: Partial<StreamTransferOptions> = {}): StreamTransfer {
  return new StreamTransfer({
    log: silentLog(),
    volume: {
      contentType: 'kubevirt',
      targetPath: disk,
      requestedBytes: volumeBytes,
      filesystemOverhead: '0',
      resize: true,
      preallocate: false,
      directIo: false,
    },
    checksums: [],
    ...options,
  })
}

async function* inChunks(bytes: Buffer, chunkBytes = 65_536): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes)
}

/** Breaks off after `bytes`. */
async function* brokenOff(bytes: Buffer, chunkBytes?: number): AsyncGenerator<Buffer> {
  yield* inChunks(bytes, chunkBytes)
  throw new CdiError('CDI_SOURCE_INTERRUPTED', 'the connection broke')
}

async function assertDisk(): Promise<void> {
  assert.ok((await readFile(disk)).subarray(0, diskBytes).equals(uploads.disk))
}

const isThere = (): Promise<boolean> =>
  access(disk).then(
    () => true,
    () => false,
  )

describe('streaming transfer', () => {
  it('takes an upload in any number of pieces, some of which break off', async () => {
    for (const name of ['raw', 'qcow2', 'raw.xz'] as const) {
      const bytes = await uploads.content(name)
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.boolean()), { maxLength: 6 }),
          fc.constantFrom(1000, 16_384, 262_144),
          async (pieces, chunkBytes) => {
            const transfer = open({ sizeBytes: bytes.length })
            for (const [share, breaks] of pieces) {
              const from = transfer.offset
              const to = from + Math.floor((bytes.length - from) * share)
              const piece = bytes.subarray(from, to)
              if (breaks) {
                const appending = transfer.append(brokenOff(piece, chunkBytes), never)
                await assert.rejects(appending, { code: 'CDI_SOURCE_INTERRUPTED' })
              } else {
                await transfer.append(inChunks(piece, chunkBytes), never)
              }
              assert.equal(transfer.offset, to)
            }
            await transfer.append(inChunks(bytes.subarray(transfer.offset), chunkBytes), never)
            assert.deepEqual(await transfer.finish(), { preallocationApplied: false, diskSizeBytes: volumeBytes })
            await assertDisk()
          },
        ),
        { numRuns: 8 },
      )
    }
  })

  it('stops between two chunks when it is told to, and goes on later', async () => {
    const transfer = open()
    const stop = new AbortController()
    const reason = new CdiError('CDI_ABORTED', 'another request came')
    const appending = transfer.append(
      (async function* () {
        yield uploads.disk.subarray(0, mebibyte)
        stop.abort(reason)
        yield uploads.disk.subarray(mebibyte, 2 * mebibyte)
      })(),
      stop.signal,
    )
    await assert.rejects(appending, reason)
    await transfer.append(inChunks(uploads.disk.subarray(transfer.offset)), never)
    await transfer.finish()
    await assertDisk()
  })

  it('rejects every append and the end with the fault of the pipeline, and leaves no file', async () => {
    const transfer = open()
    const isTooLarge = { code: 'CDI_IMAGE_TOO_LARGE' }
    await assert.rejects(transfer.append(inChunks(noise(16 * mebibyte, 1)), never), isTooLarge)
    await assert.rejects(transfer.append(inChunks(noise(mebibyte, 1)), never), isTooLarge)
    await assert.rejects(transfer.finish(), isTooLarge)
    await transfer.drop(new CdiError('CDI_ABORTED', 'over'))
    assert.equal(await isThere(), false)
  })

  it('refuses a length that is too large at once, when the first bytes have come', async () => {
    const transfer = open({ sizeBytes: 16 * mebibyte })
    await assert.rejects(transfer.append(inChunks(noise(mebibyte, 1)), never), { code: 'CDI_IMAGE_TOO_LARGE' })
    assert.ok(transfer.offset <= mebibyte)
  })

  it('is an error if it ends early, or goes on behind its length', async () => {
    const short = open({ sizeBytes: diskBytes })
    await short.append(inChunks(uploads.disk.subarray(0, mebibyte)), never)
    await assert.rejects(short.finish(), { code: 'CDI_SOURCE_TRUNCATED' })
    const long = open({ sizeBytes: diskBytes - 1 })
    await assert.rejects(long.append(inChunks(uploads.disk), never), { code: 'CDI_SOURCE_CHANGED' })
    assert.equal(await isThere(), false)
  })

  it('is an error if there is nothing', async () => {
    await assert.rejects(open().finish(), { code: 'CDI_UPLOAD_EMPTY' })
  })

  it('verifies all checksums of the whole before anything is done with it', async () => {
    const right = { algorithm: 'sha256', hex: createHash('sha256').update(uploads.disk).digest('hex') } as const
    const wrong = { algorithm: 'md5', hex: '0'.repeat(32) } as const
    const good = open({ checksums: [right] })
    await good.append(inChunks(uploads.disk.subarray(0, 100)), never)
    await good.append(inChunks(uploads.disk.subarray(100)), never)
    await good.finish()
    await assertDisk()
    const bad = open({ checksums: [right, wrong] })
    await bad.append(inChunks(uploads.disk), never)
    await assert.rejects(bad.received(), { code: 'CDI_CHECKSUM_MISMATCH' })
    await assert.rejects(bad.finish(), { code: 'CDI_CHECKSUM_MISMATCH' })
    assert.equal(await isThere(), false)
  })

  it('leaves no file when it is dropped, whatever it was at', async () => {
    const reason = new CdiError('CDI_ABORTED', 'enough')
    for (const bytes of [0, 100, 300_000, 3 * mebibyte, diskBytes]) {
      const transfer = open()
      await transfer.append(inChunks(uploads.disk.subarray(0, bytes)), never)
      await transfer.drop(reason)
      assert.equal(await isThere(), false, `after ${bytes} bytes`)
      await assert.rejects(transfer.append(inChunks(uploads.disk), never), { code: 'CDI_ABORTED' })
    }
  })

  it('is dropped while somebody appends, who is let go', async () => {
    const reason = new CdiError('CDI_ABORTED', 'enough')
    const transfer = open()
    const appending = transfer.append(
      (async function* () {
        for (;;) {
          yield uploads.disk.subarray(0, 65_536)
          await delay(5)
        }
      })(),
      never,
    )
    appending.catch(() => {})
    await delay(50)
    await transfer.drop(reason)
    await assert.rejects(appending, { code: 'CDI_ABORTED' })
    assert.equal(await isThere(), false)
  })
})
