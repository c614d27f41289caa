/** What the contract promises of a worker's sizes, of its log and of what it leaves behind (contract: import §4, §7, §8, §15, §16). */
import assert from 'node:assert/strict'
import { copyFile, readFile, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { assertOnly, assertSame, usedDevice } from './support/disks.ts'
import { Pod } from './support/pod.ts'
import type { Ended } from './support/pod.ts'

const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!
const zeros = '0'.repeat(64)

let dir: TempDir
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const url = (name: string): string => `${nginx.origin}/${name}`

before(async () => {
  dir = await tempDir('contract')
  nginx = await startNginx({ root: dir.path })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

/** A raw disk, and the same as qcow2 under `NAME.qcow2`. */
async function makePair(name: string, sizeBytes: number): Promise<void> {
  await makeDisk(path(name), { sizeBytes })
  await makeImage(path(name), path(`${name}.qcow2`), qcow2)
}

function succeeded(ended: Ended): void {
  assert.equal(ended.exitCode, 0, ended.stderr)
  assert.equal((JSON.parse(ended.words) as { message: string }).message, 'Import Complete')
}

/** Messages of the log, which is one JSON object a line. */
function logged({ stderr }: Ended): string[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => (JSON.parse(line) as { msg?: string }).msg ?? '')
}

describe('the disk in a file system', { concurrency: 2, timeout: 300_000 }, () => {
  it('of 18 MiB fits into a claim of 22Mi and is grown to what the overhead leaves', async () => {
    await makePair('disk18', 18 * mebibyte)
    for (const name of ['disk18', 'disk18.qcow2']) {
      await using pod = await Pod.start()
      succeeded(await pod.ended({ endpoint: url(name), imageSize: '22Mi', filesystemOverhead: '0.06' }))
      assert.equal((await stat(pod.disk)).size, 20 * mebibyte)
      await assertSame(pod.disk, path('disk18'), 18 * mebibyte)
    }
  })

  it('that is larger than what the overhead leaves, but not than the claim, stays as it is', async () => {
    const sizeBytes = 21 * mebibyte + 512
    await makePair('disk21', sizeBytes)
    for (const name of ['disk21', 'disk21.qcow2']) {
      await using pod = await Pod.start()
      succeeded(await pod.ended({ endpoint: url(name), imageSize: '22Mi', filesystemOverhead: '0.06' }))
      assert.equal((await stat(pod.disk)).size, sizeBytes)
      await assertSame(pod.disk, path('disk21'))
    }
  })

  it('of 2 GiB fits into the claim that a DataVolume of 2Gi asks for', async () => {
    const sizeBytes = 2048 * mebibyte
    await makeDisk(path('disk2g'), { sizeBytes, pieces: [[sizeBytes - mebibyte, noise(mebibyte, 3)]] })
    await makeImage(path('disk2g'), path('disk2g.qcow2'), qcow2)
    await using pod = await Pod.start()
    // ceil(2 GiB × 1.06), as T requests it.
    succeeded(await pod.ended({ endpoint: url('disk2g.qcow2'), imageSize: '2276332667', filesystemOverhead: '0.06' }))
    assert.equal((await stat(pod.disk)).size, sizeBytes)
  })

  it('that is blank has what the overhead leaves', async () => {
    await using pod = await Pod.start()
    succeeded(await pod.ended({ source: 'none', imageSize: '71135396', filesystemOverhead: '0.06' }))
    const { size, blocks, mode } = await stat(pod.disk)
    assert.deepEqual([size, blocks, mode & 0o777], [64 * mebibyte, 0, 0o660])
  })

  it('replaces what an earlier attempt has left, and is the only file', async () => {
    await makePair('disk4', 4 * mebibyte)
    for (const name of ['disk4', 'disk4.qcow2']) {
      await using pod = await Pod.start()
      await makeDisk(pod.disk, { sizeBytes: 7 * mebibyte, pieces: [[0, noise(7 * mebibyte, 5)]] })
      succeeded(await pod.ended({ endpoint: url(name), imageSize: '4Mi' }))
      assert.equal((await stat(pod.disk)).size, 4 * mebibyte)
      await assertSame(pod.disk, path('disk4'))
      await assertOnly(pod.path('data'), 'disk.img')
    }
  })

  it('is a tar, byte by byte, if the content type is not archive', async () => {
    await makeDisk(path('some'), { sizeBytes: mebibyte })
    await execa('tar', ['-C', dir.path, '-cf', path('some.tar'), 'some'])
    await using pod = await Pod.start()
    succeeded(await pod.ended({ endpoint: url('some.tar') }))
    await assertSame(pod.disk, path('some.tar'), (await stat(path('some.tar'))).size)
  })
})

describe('a blank block volume', { skip: noRoot, timeout: 120_000 }, () => {
  const run = async (preallocation: boolean): Promise<{ before: Buffer; after: Buffer; words: string }> => {
    await using device = await usedDevice(8 * mebibyte)
    const before = await readFile(device.path)
    await using pod = await Pod.start()
    await symlink(device.path, pod.path('dev/cdi-block-volume'))
    const ended = await pod.ended({ source: 'none', imageSize: '5Mi', preallocation })
    assert.equal(ended.exitCode, 0, ended.stderr)
    return { before, after: await readFile(device.path), words: ended.words }
  }

  it('is not touched', async () => {
    const { before, after, words } = await run(false)
    assert.ok(after.equals(before))
    assert.equal((JSON.parse(words) as { preallocationApplied: boolean }).preallocationApplied, false)
  })

  it('is zero as far as was asked for when it is preallocated, and no further', async () => {
    const { before, after, words } = await run(true)
    assert.ok(after.subarray(0, 5 * mebibyte).equals(Buffer.alloc(5 * mebibyte)))
    assert.ok(after.subarray(5 * mebibyte).equals(before.subarray(5 * mebibyte)))
    assert.equal((JSON.parse(words) as { preallocationApplied: boolean }).preallocationApplied, true)
  })
})

describe('a checksum that does not match', { timeout: 120_000 }, () => {
  it('takes everything back that an archive has brought, and ends with exit code 0 and the message alone', async () => {
    await execa('tar', ['-C', import.meta.dirname, '-czf', path('files.tar.gz'), '.'])
    await using pod = await Pod.start()
    const ended = await pod.ended({
      endpoint: url('files.tar.gz'),
      contentType: 'archive',
      checksum: `sha256:${zeros}`,
      preallocation: true,
    })
    assert.equal(ended.exitCode, 0, ended.stderr)
    const words = JSON.parse(ended.words) as Record<string, string>
    assert.deepEqual(Object.keys(words), ['message'])
    assert.match(words['message'] ?? '', /^Unable to process data: .*checksum validation failed: checksum mismatch: /)
    await assertOnly(pod.path('data'))
  })
})

describe('the log of a worker', { timeout: 120_000 }, () => {
  it('names what was synced: a disk, a device, a directory', async () => {
    await makePair('disk8', 8 * mebibyte)
    await execa('tar', ['-C', import.meta.dirname, '-cf', path('files.tar'), '.'])
    await using file = await Pod.start()
    const filled = await file.ended({ endpoint: url('disk8.qcow2') })
    succeeded(filled)
    assert.ok(logged(filled).includes(`Successfully completed fsync(${file.disk}) syscall`))
    await using directory = await Pod.start()
    const unpacked = await directory.ended({ endpoint: url('files.tar'), contentType: 'archive', preallocation: true })
    succeeded(unpacked)
    assert.ok(logged(unpacked).includes(`Successfully completed fsync(${directory.path('data')}) syscall`))
    assert.equal(
      (JSON.parse(unpacked.words) as { preallocationApplied: boolean }).preallocationApplied,
      false,
      'an archive is never preallocated',
    )
    if (noRoot) return
    await using device = await usedDevice(8 * mebibyte)
    await using block = await Pod.start()
    await symlink(device.path, block.path('dev/cdi-block-volume'))
    const written = await block.ended({ endpoint: url('disk8') })
    succeeded(written)
    assert.ok(
      logged(written).some((line) => /^Successfully completed fsync\(.*\/dev\/cdi-block-volume\) syscall$/.test(line)),
    )
  })

  it('warns of a text that is taken for a disk, and takes it', async () => {
    await makeDisk(path('raw'), { sizeBytes: mebibyte })
    await copyFile(path('raw'), path('page.html'))
    await using pod = await Pod.start()
    const ended = await pod.ended({ endpoint: url('page.html') })
    succeeded(ended)
    await assertSame(pod.disk, path('raw'), mebibyte)
    assert.ok(
      logged(ended).includes("Unexpected content type 'text/html'. Content might not be a KubeVirt image."),
      ended.stderr,
    )
  })

  it('says that a request failed, in the words that others look for', async () => {
    await using pod = await Pod.start()
    const ended = await pod.ended({ endpoint: 'http://no-such-host.invalid/disk.img' })
    assert.equal(ended.exitCode, 1)
    assert.match(ended.words, /^Unable to connect to http data source: HTTP request errored: /)
    assert.ok(logged(ended).some((line) => line.includes('HTTP request errored')))
  })
})
