/** The importer as its pod runs it: environment and mounts in, disk, last words, exit code and metrics out. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import type { WorkerEnv } from '../../../src/api/podenv.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import { makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { descendantsOf, until } from './support/cdi.ts'
import { assertOnly, assertSame, pack, usedDevice } from './support/disks.ts'
import { Pod } from './support/pod.ts'
import { servedBytes, settledRequests } from './support/served.ts'

const sizeBytes = 8 * mebibyte
const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!

let dir: TempDir
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const url = (name: string): string => `${nginx.origin}/${name}`

before(async () => {
  dir = await tempDir('worker')
  await makeDisk(path('disk'), { sizeBytes })
  await makeImage(path('disk'), path('disk.qcow2'), qcow2)
  await pack(path('disk'), ['gz'])
  await pack(path('disk.qcow2'), ['zst'])
  // Snapshots are what is not converted while it streams by.
  await makeImage(path('disk'), path('staged.qcow2'), qcow2)
  await execa('qemu-img', ['snapshot', '-c', 'before', path('staged.qcow2')])
  await pack(path('staged.qcow2'), ['zst'])
  nginx = await startNginx({ root: dir.path })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

const completeWords = '{"scratchSpaceRequired":false,"preallocationApplied":false,"message":"Import Complete"}'

describe('an importer pod that succeeds', { concurrency: 2, timeout: 300_000 }, () => {
  for (const name of ['disk', 'disk.gz', 'disk.qcow2', 'disk.qcow2.zst']) {
    it(`writes disk.img from ${name}, grown to the claim, and says so in the words of the contract`, async () => {
      await using pod = await Pod.start()
      const ended = await pod.ended({ endpoint: url(name), imageSize: '16Mi', filesystemOverhead: '0.05' })
      assert.equal(ended.exitCode, 0, ended.stderr)
      assert.deepEqual(JSON.parse(ended.words), JSON.parse(completeWords))
      const { size, mode } = await stat(pod.disk)
      // What an overhead of 5 % leaves of 16 MiB, in whole MiB (contract: import §4).
      assert.equal(size, 15 * mebibyte)
      assert.equal(mode & 0o777, 0o660)
      await assertSame(pod.disk, path('disk'), sizeBytes)
      await assertOnly(pod.path('data'), 'disk.img')
    })
  }

  it('fills a block volume', { skip: noRoot }, async () => {
    await using pod = await Pod.start()
    await using device = await usedDevice(sizeBytes + mebibyte)
    await symlink(device.path, pod.path('dev/cdi-block-volume'))
    const ended = await pod.ended({ endpoint: url('disk.qcow2') })
    assert.equal(ended.exitCode, 0, ended.stderr)
    await assertSame(device.path, path('disk'), sizeBytes)
    await device.assertKeptBeyond(sizeBytes)
  })

  it('tells that it has preallocated', async () => {
    await using pod = await Pod.start()
    const ended = await pod.ended({ endpoint: url('disk'), preallocation: true })
    assert.equal((JSON.parse(ended.words) as { preallocationApplied: boolean }).preallocationApplied, true)
    assert.ok((await stat(pod.disk)).blocks * 512 >= sizeBytes)
  })

  it('makes a blank disk', async () => {
    await using pod = await Pod.start()
    const ended = await pod.ended({ source: 'none', imageSize: '5Mi' })
    assert.equal(ended.exitCode, 0, ended.stderr)
    assert.deepEqual(JSON.parse(ended.words), { preallocationApplied: false, message: 'Import Complete' })
    assert.equal((await stat(pod.disk)).size, 5 * mebibyte)
    assert.equal((await stat(pod.disk)).blocks, 0)
  })

  it('unpacks an archive into the volume', async () => {
    await execa('tar', ['-C', dir.path, '-czf', path('files.tar.gz'), 'disk', 'disk.gz'])
    await using pod = await Pod.start()
    const ended = await pod.ended({ endpoint: url('files.tar.gz'), contentType: 'archive' })
    assert.equal(ended.exitCode, 0, ended.stderr)
    await assertOnly(pod.path('data'), 'disk', 'disk.gz')
  })

  it('asks for scratch space with exit code 0, and uses it when it is there', async () => {
    await using without = await Pod.start()
    const asked = await without.ended({ endpoint: url('staged.qcow2.zst') })
    assert.equal(asked.exitCode, 0, asked.stderr)
    assert.deepEqual(JSON.parse(asked.words), {
      scratchSpaceRequired: true,
      preallocationApplied: false,
      message: 'scratch space required and none found',
    })
    await assertOnly(without.path('data'))

    await using pod = await Pod.start({ scratch: true })
    const ended = await pod.ended({ endpoint: url('staged.qcow2.zst') })
    assert.equal(ended.exitCode, 0, ended.stderr)
    await assertSame(pod.disk, path('disk'))
    await assertOnly(pod.path('scratch'))
  })

  it('uses mounted certificates, header secrets and credentials, and logs none of them', async () => {
    await using pod = await Pod.start()
    await mkdir(pod.path('certs'))
    const certs = await makeCerts({ dir: dir.path })
    await copyFile(certs.caFile, pod.path('certs/whatever-name'))
    await mkdir(pod.path('extraheaders/0'), { recursive: true })
    await writeFile(pod.path('extraheaders/0/any-key'), 'X-Extra: hush-hush\n')
    const basicAuth = { user: 'alice', password: 'open-sesame' }
    await using own = await startNginx({ root: dir.path, certs, basicAuth })
    const ended = await pod.ended(
      { endpoint: `${own.origin}/disk.qcow2?signature=s1gned` },
      { certDir: pod.path('certs'), extraHeaders: ['X-Shown: yes'] },
      { IMPORTER_ACCESS_KEY_ID: basicAuth.user, IMPORTER_SECRET_KEY: basicAuth.password },
    )
    assert.equal(ended.exitCode, 0, ended.stderr)
    await assertSame(pod.disk, path('disk'))
    const requests = await settledRequests(own)
    assert.ok(requests.length > 0 && requests.every(({ extra }) => extra === 'hush-hush'))
    const encoded = Buffer.from('alice:open-sesame').toString('base64')
    for (const secret of ['hush-hush', 'open-sesame', encoded, 's1gned']) {
      assert.ok(!`${ended.stderr}${ended.stdout}${ended.words}`.includes(secret), `${secret} was logged`)
    }
  })
})

describe('an importer pod that fails', { concurrency: 2, timeout: 300_000 }, () => {
  const zeros = '0'.repeat(64)
  const cases = [
    [
      'a file that is not there',
      { endpoint: '/none' },
      1,
      /^Unable to connect to http data source: expected status code 200, got 404\. Status: 404 Not Found$/,
    ],
    [
      'a disk that is too large',
      { endpoint: '/disk.qcow2', imageSize: '4Mi' },
      1,
      /^Unable to process data: .*virtual image size 8388608 is larger than the reported available storage 4194304\. A larger PVC is required$/,
    ],
    [
      'a checksum that does not match',
      { endpoint: '/disk', checksum: `sha256:${zeros}` },
      0,
      /^\{"message":".*checksum/i,
    ],
    ['a checksum that is none', { endpoint: '/disk', checksum: 'sha256:12' }, 1, /checksum/],
    ['a size that is none', { endpoint: '/disk', imageSize: 'much' }, 1, /no quantity: much/],
    [
      'a source that is not known',
      { source: 'carrier-pigeon', endpoint: '/disk' },
      1,
      /Unknown data source: carrier-pigeon/,
    ],
    [
      'a blank archive',
      { source: 'none', contentType: 'archive' },
      1,
      /Cannot create empty disk with content type archive/,
    ],
  ] as const satisfies readonly (readonly [string, Partial<WorkerEnv>, number, RegExp])[]
  for (const [what, env, exitCode, words] of cases) {
    it(`because of ${what}, says why in one line and leaves the volume empty`, async () => {
      await using pod = await Pod.start()
      const endpoint = 'endpoint' in env ? `${nginx.origin}${env.endpoint}` : ''
      const ended = await pod.ended({ ...env, endpoint })
      assert.equal(ended.exitCode, exitCode, ended.stderr)
      assert.match(ended.words, words)
      assert.ok(!ended.words.includes('\n'))
      await assertOnly(pod.path('data'))
    })
  }

  it('because it is stopped, takes back what it wrote and leaves no process', async () => {
    await using slow = await startNginx({ root: dir.path, limitRate: '150k' })
    for (const name of ['disk', 'disk.qcow2', 'disk.qcow2.zst', 'staged.qcow2.zst']) {
      await using pod = await Pod.start({ scratch: true })
      const running = pod.run({ endpoint: `${slow.origin}/${name}` })
      const begun = name.startsWith('staged') ? 'scratch' : 'data'
      await until(async () => (await execa('ls', [pod.path(begun)])).stdout !== '', running)
      const children = await descendantsOf(running.pid)
      running.kill('SIGTERM')
      const ended = await pod.wordsOf(running)
      assert.equal(ended.exitCode, 1, ended.stderr)
      assert.match(ended.words, /stopped by SIGTERM/)
      await assertOnly(pod.path('data'))
      await assertOnly(pod.path('scratch'))
      for (const pid of children) await assert.rejects(stat(`/proc/${pid}`), { code: 'ENOENT' })
    }
  })

  it('for a reason that lasts, downloads nothing when its container is started again', async () => {
    await using own = await tempDir('own')
    const packed = await readFile(path('disk.gz'))
    await writeFile(join(own.path, 'bad.gz'), Buffer.concat([packed.subarray(0, -8), noise(8, 1)]))
    // nginx tells versions of one length apart by the second only.
    await utimes(join(own.path, 'bad.gz'), 1_000_000_000, 1_000_000_000)
    await using server = await startNginx({ root: own.path })
    await using pod = await Pod.start()
    const env = { endpoint: `${server.origin}/bad.gz` }
    const first = await pod.ended(env)
    assert.equal(first.exitCode, 1)
    const before = await servedBytes(server)
    assert.ok(before >= packed.length * 0.9)

    await writeFile(pod.path('dev/termination-log'), '')
    const second = await pod.ended(env)
    assert.equal(second.exitCode, 1)
    assert.equal(second.words, first.words)
    const again = (await servedBytes(server)) - before
    assert.ok(again <= 300 * 1024, `${again} bytes of ${packed.length} were downloaded again`)

    // A new file of that name is a new chance.
    await rm(join(own.path, 'bad.gz'))
    await writeFile(join(own.path, 'bad.gz'), packed)
    const third = await pod.ended(env)
    assert.equal(third.exitCode, 0, third.stderr)
    await assertSame(pod.disk, path('disk'))
  })

  it('for a reason that may heal, tries in earnest when its container is started again', async () => {
    await using pod = await Pod.start()
    const env = { endpoint: url('late') }
    assert.equal((await pod.ended(env)).exitCode, 1)
    await copyFile(path('disk'), path('late'))
    assert.equal((await pod.ended(env)).exitCode, 0)
    await assertSame(pod.disk, path('disk'))
  })

  it('after it was killed in the middle, imports the whole disk when its container is started again', async () => {
    await using slow = await startNginx({ root: dir.path, limitRate: '200k' })
    for (const name of ['disk', 'disk.qcow2']) {
      await using pod = await Pod.start()
      const running = pod.run({ endpoint: `${slow.origin}/${name}` })
      await until(async () => (await execa('ls', [pod.path('data')])).stdout !== '', running)
      const children = await descendantsOf(running.pid)
      running.kill('SIGKILL')
      // The container's end takes all of its processes.
      for (const pid of children) if (await isAlive(pid)) process.kill(pid, 'SIGKILL')
      await running.finished
      const checksum = `sha256:${createHash('sha256')
        .update(await readFile(path(name)))
        .digest('hex')}`
      const ended = await pod.ended({ endpoint: url(name), checksum })
      assert.equal(ended.exitCode, 0, ended.stderr)
      await assertSame(pod.disk, path('disk'))
    }
  })
})

describe('metrics of an importer pod', { timeout: 120_000 }, () => {
  it('answer over https with a growing percentage while a slow download runs', async () => {
    for (const [name, limitRate] of [
      ['disk', '500k'],
      ['disk.gz', '500k'],
      ['disk.qcow2', '100k'],
    ] as const) {
      await using slow = await startNginx({ root: dir.path, limitRate })
      await using pod = await Pod.start()
      const running = pod.run({ endpoint: `${slow.origin}/${name}`, ownerUid: '7f0c' })
      const seen: number[] = []
      await until(async () => {
        const page = await metricsOf(pod.metricsPort)
        // How the controller reads it (contract: import §15).
        const [, percent] = /^kubevirt_cdi_import_progress_total\{ownerUID="7f0c"\} (\d{1,3}\.?\d*)$/m.exec(page) ?? []
        if (percent !== undefined && Number(percent) !== seen.at(-1)) seen.push(Number(percent))
        return seen.filter((value) => value > 0 && value < 100).length >= 2
      }, running)
      assert.deepEqual(
        seen,
        seen.toSorted((a, b) => a - b),
        name,
      )
      assert.equal((await running.finished).exitCode, 0)
      await assert.rejects(stat(`/proc/${running.pid}`))
    }
  })
})

async function isAlive(pid: number): Promise<boolean> {
  return stat(`/proc/${pid}`).then(
    () => true,
    () => false,
  )
}

/** The page, or nothing while nobody listens yet. */
function metricsOf(port: number): Promise<string> {
  return new Promise((resolve) => {
    request({ host: '127.0.0.1', port, path: '/metrics', rejectUnauthorized: false, agent: false }, (response) => {
      text(response).then(resolve, () => resolve(''))
    })
      .on('error', () => resolve(''))
      .end()
  })
}
