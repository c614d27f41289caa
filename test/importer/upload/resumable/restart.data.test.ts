import assert from 'node:assert/strict'
import { readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import type { JournalEntry } from '../../../../importer/upload/resume-journal.ts'
import { resumptionPath } from '../../../../src/api/upload-env.ts'
import { contentOf, loopDevice, noRoot } from '../../../fixtures/loop.ts'
import type { LoopDevice } from '../../../fixtures/loop.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { until } from '../../e2e/support/cdi.ts'
import type { RunningCdi } from '../../e2e/support/cdi.ts'
import type { Sent } from '../support/client.ts'
import { UploadPod } from '../support/upload-pod.ts'
import { digestField, hashOf, makeDisk, mebibyte, startTus } from './support.ts'

const path = '/v1beta1/upload-tus'
const version = { 'tus-resumable': '1.0.0' }
const pieceType = { 'content-type': 'application/offset+octet-stream' }
const sizeBytes = 40 * mebibyte
const disk = makeDisk(sizeBytes)
const env = { imageSize: String(sizeBytes) }

const started = new Set<RunningCdi>()

async function start(pod: UploadPod, more: Parameters<UploadPod['start']>[0] = {}): Promise<RunningCdi> {
  const running = await pod.start({ ...env, ...more })
  started.add(running)
  return running
}

// A test that fails leaves its server behind.
afterEach(async () => {
  for (const running of started) {
    running.kill('SIGKILL')
    await running.finished
  }
  started.clear()
})

async function create(pod: UploadPod, headers: Record<string, string> = {}): Promise<string> {
  const created = await pod.send({ path, headers: { ...version, 'upload-length': String(sizeBytes), ...headers } })
  assert.equal(created.status, 201, created.text)
  return `/v1beta1/${created.headers.location}`
}

function patch(pod: UploadPod, address: string, [start, end]: readonly [number, number]): Promise<Sent> {
  return pod.send({
    method: 'PATCH',
    path: address,
    headers: { ...version, ...pieceType, 'upload-offset': String(start) },
    body: disk.subarray(start, end),
  })
}

async function offsetOf(pod: UploadPod, address: string): Promise<number> {
  const { status, headers, text } = await pod.send({ method: 'HEAD', path: address, headers: version })
  assert.equal(status, 200, text)
  return Number(headers['upload-offset'])
}

/** Sends from `start` and kills the server, without a word, when about `bytes` are on their way. */
async function killWhileSending(
  pod: UploadPod,
  running: RunningCdi,
  address: string,
  { start, bytes }: { start: number; bytes: number },
): Promise<void> {
  const request = pod.begin({
    method: 'PATCH',
    path: address,
    headers: { ...version, ...pieceType, 'upload-offset': String(start), 'content-length': String(sizeBytes - start) },
  })
  request.on('error', () => {})
  await new Promise((resolve) => request.write(disk.subarray(start, start + bytes), resolve))
  await delay(50)
  running.kill('SIGKILL')
  await running.finished
}

for (const kind of ['file', 'device'] as const) {
  describe(`a raw disk that is uploaded onto a ${kind}`, { skip: kind === 'device' && noRoot }, () => {
    interface Stage extends AsyncDisposable {
      readonly pod: UploadPod
      readonly assertDisk: () => Promise<void>
    }

    async function stage(): Promise<Stage> {
      const pod = await UploadPod.make()
      let device: LoopDevice | undefined
      if (kind === 'device') {
        device = await loopDevice({ sizeBytes, dirty: true })
        await symlink(device.path, pod.path('dev/cdi-block-volume'))
      }
      return {
        pod,
        assertDisk: async () => {
          const found = await contentOf(device?.path ?? pod.disk, sizeBytes)
          assert.ok(found.equals(disk))
        },
        async [Symbol.asyncDispose]() {
          await pod[Symbol.asyncDispose]()
          await device?.[Symbol.asyncDispose]()
        },
      }
    }

    it('goes on at the last durable byte after its server was killed in the middle', async () => {
      await using scene = await stage()
      const { pod } = scene
      let running = await start(pod)
      const address = await create(pod, {
        'upload-metadata': `checksum ${Buffer.from(`sha256:${hashOf(disk).toString('hex')}`).toString('base64')}`,
      })
      let durable = 8 * mebibyte
      assert.equal((await patch(pod, address, [0, durable])).status, 204)
      for (let life = 0; life < 3; life += 1) {
        await killWhileSending(pod, running, address, { start: durable, bytes: 3 * mebibyte })
        running = await start(pod)
        const offset = await offsetOf(pod, address)
        assert.ok(offset >= durable && offset <= durable + 3 * mebibyte, `${offset} after ${durable}`)
        durable = offset + 4 * mebibyte
        assert.equal((await patch(pod, address, [offset, durable])).status, 204)
      }
      const last = await patch(pod, address, [durable, sizeBytes])
      assert.equal(last.status, 204, last.text)
      const { exitCode, words } = await pod.endOf(running)
      assert.deepEqual([exitCode, JSON.parse(words)], [0, { preallocationApplied: false, message: 'Upload Complete' }])
      await scene.assertDisk()
    })

    it('goes on in another pod that was told only what the controller had asked for', async () => {
      await using scene = await stage()
      const { pod } = scene
      const first = await start(pod)
      const address = await create(pod)
      await patch(pod, address, [0, 9 * mebibyte])
      const { text: resumption } = await pod.send({ method: 'GET', path: resumptionPath })
      // What came after that is lost with the pod.
      await patch(pod, address, [9 * mebibyte, 11 * mebibyte])
      await killWhileSending(pod, first, address, { start: 11 * mebibyte, bytes: mebibyte })
      await rm(pod.path('var'), { recursive: true })
      const second = await start(pod, { resumption })
      assert.equal(await offsetOf(pod, address), 9 * mebibyte)
      assert.equal((await patch(pod, address, [9 * mebibyte, sizeBytes])).status, 204)
      assert.equal((await pod.endOf(second)).exitCode, 0)
      await scene.assertDisk()
    })

    it('goes on when its pod is told to end, and what was written last is durable too', async () => {
      await using scene = await stage()
      const { pod } = scene
      const first = await start(pod)
      const address = await create(pod)
      const request = pod.begin({
        method: 'PATCH',
        path: address,
        headers: { ...version, ...pieceType, 'upload-offset': '0', 'content-length': String(sizeBytes) },
      })
      request.on('error', () => {})
      await new Promise((resolve) => request.write(disk.subarray(0, 5 * mebibyte), resolve))
      // Less than what is made durable while a request is under way.
      await delay(500)
      first.kill('SIGTERM')
      assert.notEqual((await first.finished).exitCode, 0)
      const second = await start(pod)
      const offset = await offsetOf(pod, address)
      assert.ok(offset > 0 && offset <= 5 * mebibyte, `${offset}`)
      assert.equal((await patch(pod, address, [offset, sizeBytes])).status, 204)
      assert.equal((await pod.endOf(second)).exitCode, 0)
      await scene.assertDisk()
    })

    it('in ranges goes on with all of them', async () => {
      await using scene = await stage()
      const { pod } = scene
      const put = (start: number, end: number): Promise<Sent> =>
        pod.send({
          method: 'PUT',
          path: '/v1beta1/upload-ranges',
          headers: { 'content-range': `bytes ${start}-${end - 1}/${sizeBytes}` },
          body: disk.subarray(start, end),
        })
      const first = await start(pod)
      await Promise.all([put(5_000_001, 9_000_000), put(20_000_000, 30_000_003), put(0, 1000)])
      first.kill('SIGKILL')
      await first.finished
      const second = await start(pod)
      const { text } = await pod.send({ method: 'GET', path: '/v1beta1/upload-ranges' })
      const { ranges } = JSON.parse(text) as { ranges: [number, number][] }
      assert.deepEqual(ranges, [
        [0, 1000],
        [5_000_001, 9_000_000],
        [20_000_000, 30_000_003],
      ])
      await Promise.all([put(30_000_003, sizeBytes), put(1000, 5_000_001), put(9_000_000, 20_000_000)])
      const finished = await pod.send({
        path: '/v1beta1/upload-ranges',
        headers: { 'repr-digest': digestField(disk) },
      })
      assert.equal(finished.status, 200, finished.text)
      assert.equal((await pod.endOf(second)).exitCode, 0)
      await scene.assertDisk()
    })
  })
}

describe('the journal of an upload', () => {
  const journalOf = (pod: UploadPod): string => pod.path('var/lib/cdi/upload.json')

  it('does not bring back an upload whose place was taken, whatever the environment says', async () => {
    await using pod = await UploadPod.make()
    const first = await start(pod)
    const address = await create(pod)
    await patch(pod, address, [0, mebibyte])
    const { text: resumption } = await pod.send({ method: 'GET', path: resumptionPath })
    const plain = pod.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(sizeBytes) } })
    plain.on('error', () => {})
    await new Promise((resolve) => plain.write(Buffer.alloc(mebibyte, 7), resolve))
    await until(async () => (await readFile(journalOf(pod), 'utf8')) === 'null', first)
    first.kill('SIGKILL')
    await first.finished
    assert.equal(await readFile(journalOf(pod), 'utf8'), 'null')
    const second = await start(pod, { resumption })
    const { status } = await pod.send({ method: 'HEAD', path: address, headers: version })
    assert.equal(status, 404)
    second.kill('SIGKILL')
    await second.finished
  })

  it('finishes what was verified, or is finished, without another request', async () => {
    for (const state of ['verified', 'finished'] as const) {
      await using pod = await UploadPod.make()
      const first = await start(pod)
      const address = await create(pod)
      await patch(pod, address, [0, sizeBytes])
      await pod.endOf(first)
      const entry = JSON.parse(await readFile(journalOf(pod), 'utf8')) as JournalEntry
      assert.deepEqual(entry.result, { preallocationApplied: false, diskSizeBytes: sizeBytes })
      if (state === 'verified') {
        const { result, ...rest } = entry
        assert.ok(result)
        await writeFile(journalOf(pod), JSON.stringify({ ...rest, verifiedBytes: sizeBytes, ranges: [[0, sizeBytes]] }))
      }
      const second = await start(pod)
      assert.equal(await offsetOf(pod, address), sizeBytes)
      const { exitCode, words } = await pod.endOf(second)
      assert.deepEqual([exitCode, JSON.parse(words).message], [0, 'Upload Complete'])
      assert.ok((await contentOf(pod.disk)).equals(disk))
    }
  })

  it('that is damaged, or tells of a volume that is not there, is as good as none', async () => {
    for (const text of [
      '{',
      '[]',
      JSON.stringify({ id: 'x'.repeat(22), length: 1000, ranges: [[0, 2000]], expires: '2999-01-01T00:00:00Z' }),
      JSON.stringify({ id: 'x'.repeat(22), length: 1000, ranges: [[0, 100]], expires: '2999-01-01T00:00:00Z' }),
      JSON.stringify({ id: 'x'.repeat(22), length: 1000, ranges: [[0, 100]], expires: '2001-01-01T00:00:00Z' }),
    ]) {
      await using pod = await UploadPod.make()
      const running = await start(pod, { resumption: text })
      const { status } = await pod.send({ method: 'HEAD', path: `${path}/${'x'.repeat(22)}`, headers: version })
      assert.equal(status, 404)
      const address = await create(pod)
      assert.equal((await patch(pod, address, [0, sizeBytes])).status, 204)
      assert.equal((await pod.endOf(running)).exitCode, 0)
    }
  })
})

describe('an image that is converted while it is uploaded', () => {
  it('goes on from its last checkpoint after its server was killed', async () => {
    await using dir = await tempDir('restart')
    const large = makeDisk(160 * mebibyte)
    await writeFile(join(dir.path, 'raw'), large)
    const image = join(dir.path, 'image')
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', join(dir.path, 'raw'), image])
    const content = await readFile(image)
    await using pod = await UploadPod.make()
    const size = { imageSize: String(large.length) }
    let running = await start(pod, size)
    const uploading = startTus(content, {
      port: pod.port,
      identities: pod.identities,
      options: { chunkSize: 10 * mebibyte, retryDelays: Array.from({ length: 40 }, () => 100) },
    })
    while (!(await readFile(pod.path('var/lib/cdi/image.json'), 'utf8').catch(() => ''))) await delay(5)
    running.kill('SIGKILL')
    await running.finished
    running = await start(pod, size)
    assert.match(running.output().stderr, /upload of an earlier process goes on/)
    await uploading.done
    assert.equal((await pod.endOf(running)).exitCode, 0)
    assert.ok((await contentOf(pod.disk)).equals(large))
  })
})

describe('memory of the upload server', () => {
  it('does not grow with the disk, nor with the number of connections', async () => {
    await using pod = await UploadPod.make()
    const total = 768 * mebibyte
    const running = await start(pod, { imageSize: String(total) })
    const piece = disk.subarray(0, 16 * mebibyte)
    let next = 0
    const connection = async (): Promise<void> => {
      while (next < total) {
        const start = next
        next += piece.length
        const { status, text } = await pod.send({
          method: 'PUT',
          path: '/v1beta1/upload-ranges',
          headers: { 'content-range': `bytes ${start}-${start + piece.length - 1}/${total}` },
          body: piece,
        })
        assert.equal(status, 204, text)
      }
    }
    await Promise.all(Array.from({ length: 12 }, connection))
    assert.equal((await pod.send({ path: '/v1beta1/upload-ranges' })).status, 200)
    const { exitCode, peakBytes } = await pod.endOf(running)
    assert.equal(exitCode, 0)
    assert.ok(peakBytes < 260 * mebibyte, `${Math.round(peakBytes / mebibyte)} MiB`)
  })
})
