import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import { execa } from 'execa'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { convertStream } from '../../../importer/routes/convert-stream.ts'
import { Digest } from '../../../importer/sources/checksum.ts'
import { openFile } from '../../../importer/sources/file.ts'
import type { ForwardSource, Source } from '../../../importer/sources/source.ts'
import { openStream } from '../../../importer/sources/stdin.ts'
import { surveySource } from '../../../importer/survey.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import { makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { pack } from '../e2e/support/disks.ts'

const log = silentLog()
const never = new AbortController().signal
const run = promisify(execFile)
const shuffled = join(import.meta.dirname, 'fixtures/convert-shuffled.ts')
const variantOf = (name: string): (typeof variants)[number] => variants.find((variant) => variant.name === name)!

interface Import {
  readonly source: Source
  readonly to: string
  readonly digest?: Digest
  readonly capacityBytes?: number
  readonly scratchDirectory?: string
  readonly onBytes?: (bytes: number) => void
  readonly signal?: AbortSignal
}

/** The steps of a run that concern this route. */
async function importStream({ source, to, capacityBytes, signal = never, ...rest }: Import): Promise<void> {
  const { facts, encodings, plan } = await surveySource({ source, contentType: 'kubevirt', signal })
  assert.equal(plan.route, 'convertStream')
  assert.ok(facts !== undefined)
  await using target = await openTarget({
    path: to,
    preallocate: false,
    log,
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
  })
  try {
    await convertStream({ source, encodings, facts, target, signal, log, onBytes: () => {}, ...rest })
    await target.finish(signal)
  } catch (error) {
    await target.discard()
    throw error
  }
}

/** A source that breaks off after so many bytes. */
function broken(path: string, afterBytes: number): ForwardSource {
  const whole = openStream({ stream: createReadStream(path, { highWaterMark: 64 * 1024 }), name: path })
  return {
    ...whole,
    async stream(sink, signal) {
      let passed = 0
      await whole.stream((chunk) => {
        passed += chunk.length
        if (passed > afterBytes) throw new CdiError('CDI_SOURCE_INTERRUPTED', 'the line is cut')
        return sink(chunk)
      }, signal)
    },
  }
}

describe('convertStream', { timeout: 300_000 }, () => {
  for (const [name, packing] of [
    ['qcow2 version 3', 'gz'],
    ['qcow2 with zlib clusters', 'zst'],
    ['qcow2 with zstd clusters', 'xz'],
    ['qcow2 with extended L2', 'xz'],
    ['vmdk streamOptimized', 'gz'],
    ['vdi dynamic', 'xz'],
    ['vhd dynamic by its size', 'zst'],
    ['vhdx dynamic', 'gz'],
  ] as const) {
    it(`converts ${name} inside of ${packing} while it streams by, and hashes what was downloaded`, async () => {
      await using dir = await tempDir('convert-stream')
      const path = (name: string): string => join(dir.path, name)
      await makeDisk(path('disk'), { sizeBytes: 20 * mebibyte })
      await makeImage(path('disk'), path('image'), variantOf(name))
      const packed = await pack(path('image'), [packing])
      const bytes = await readFile(packed)
      for (const kind of ['ranged', 'forward'] as const) {
        const hex = createHash('sha256').update(bytes).digest('hex')
        const digest = new Digest({ algorithm: 'sha256', hex })
        await using source =
          kind === 'ranged'
            ? await openFile({ path: packed })
            : openStream({ stream: createReadStream(packed), name: 'stream' })
        let seenBytes = 0
        const onBytes = (count: number): void => {
          seenBytes += count
        }
        await importStream({ source, to: path(kind), digest, onBytes })
        digest.verify()
        assert.equal(seenBytes, bytes.length)
        await execa('cmp', [path(kind), path('disk')])
      }
    })
  }

  it('ends with the fault of the source when it breaks off, wherever that is, and leaves no target', async () => {
    await using dir = await tempDir('convert-stream')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte, pieces: [[0, noise(8 * mebibyte, 1)]] })
    for (const name of ['qcow2 version 3', 'qcow2 with zlib clusters']) {
      await makeImage(path('disk'), path('image'), variantOf(name))
      const { size } = await stat(path('image'))
      for (const afterBytes of [200_000, 330_000, 3 * mebibyte, size - 65_536]) {
        await using source = broken(path('image'), afterBytes)
        await assert.rejects(importStream({ source, to: path('got') }), { message: 'the line is cut' })
        await assert.rejects(stat(path('got')), { code: 'ENOENT' })
      }
    }
  })

  it('calls a packing that was cut by its name', async () => {
    await using dir = await tempDir('convert-stream')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    await makeImage(path('disk'), path('image'), variantOf('qcow2 version 3'))
    const packed = await pack(path('image'), ['gz'])
    await truncate(packed, Math.floor((await stat(packed)).size / 2))
    await using source = await openFile({ path: packed })
    await assert.rejects(importStream({ source, to: path('got') }), { code: 'CDI_DECODE_TRUNCATED' })
    await assert.rejects(stat(path('got')), { code: 'ENOENT' })
  })

  it('reads on behind the image, so that a checksum sees what follows it', async () => {
    await using dir = await tempDir('convert-stream')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 4 * mebibyte })
    await makeImage(path('disk'), path('image'), variantOf('qcow2 version 3'))
    const bytes = Buffer.concat([await readFile(path('image')), noise(3 * mebibyte, 8)])
    await writeFile(path('longer'), bytes)
    const digest = new Digest({ algorithm: 'md5', hex: createHash('md5').update(bytes).digest('hex') })
    await using source = openStream({ stream: createReadStream(path('longer')), name: 'longer' })
    await importStream({ source, to: path('got'), digest })
    digest.verify()
    await execa('cmp', [path('got'), path('disk')])
  })

  it('refuses a disk that does not fit before it reads on', async () => {
    await using dir = await tempDir('convert-stream')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 8 * mebibyte })
    await makeImage(path('disk'), path('image'), variantOf('qcow2 version 3'))
    let seenBytes = 0
    await using source = openStream({ stream: createReadStream(path('image')), name: 'image' })
    const onBytes = (bytes: number): void => {
      seenBytes += bytes
    }
    await assert.rejects(importStream({ source, to: path('got'), capacityBytes: 7 * mebibyte, onBytes }), {
      code: 'CDI_IMAGE_TOO_LARGE',
      message: /virtual image size 8388608 is larger than the reported available storage 7340032/,
    })
    assert.equal(seenBytes, 0)
  })

  it('stops when it is told to, with what it has spilled removed', async () => {
    await using dir = await tempDir('convert-stream')
    await using scratch = await tempDir('scratch')
    const path = (name: string): string => join(dir.path, name)
    await makeDisk(path('disk'), { sizeBytes: 64 * mebibyte, pieces: [[0, noise(64 * mebibyte, 1)]] })
    await makeImage(path('disk'), path('image'), variantOf('qcow2 version 3'))
    // The table of the clusters is not found, so that everything is held and spilled.
    const bytes = await readFile(path('image'))
    const l1 = Number(bytes.readBigUInt64BE(40))
    bytes.writeBigUInt64BE((1n << 63n) | BigInt(256 * mebibyte), l1)
    await writeFile(path('lost'), bytes)
    const abort = new AbortController()
    let seenBytes = 0
    const onBytes = (count: number): void => {
      seenBytes += count
      if (seenBytes > 50 * mebibyte) abort.abort(new Error('enough'))
    }
    await using source = openStream({ stream: createReadStream(path('lost')), name: 'lost' })
    const scratchDirectory = scratch.path
    await assert.rejects(importStream({ source, to: path('got'), scratchDirectory, onBytes, signal: abort.signal }), {
      message: 'enough',
    })
    assert.deepEqual(await readdir(scratch.path), [])
    await assert.rejects(stat(path('got')), { code: 'ENOENT' })
  })

  it('keeps to its memory when the tables in front name a quarter of a million clusters out of order', async () => {
    await using dir = await tempDir('convert-stream')
    const path = (name: string): string => join(dir.path, name)
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path('empty'), '16G'])
    const { stdout } = await run(process.execPath, [shuffled, path('empty'), path('got')])
    const { mostBytes } = JSON.parse(stdout) as { mostBytes: number }
    assert.ok(mostBytes < 192 * mebibyte, `${mostBytes / mebibyte} MiB`)
  })
})
