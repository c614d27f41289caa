/** The upload server as the process that a pod runs: readiness, last words, exit codes, signals, limits. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir, stat } from 'node:fs/promises'
import { connect } from 'node:tls'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { makeDisk, makeImage, mebibyte, noise, text, variantOf } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { assertSameDisk, pack } from '../e2e/support/disks.ts'
import { until } from '../e2e/support/cdi.ts'
import { answerOf } from './support/client.ts'
import { makeIdentities, writeIdentities } from './support/identities.ts'
import { UploadPod, readyText } from './support/upload-pod.ts'
import { Uploads, diskBytes, formWith } from './support/uploads.ts'

const complete = '{"preallocationApplied":false,"message":"Upload Complete"}'

let uploads: Uploads

before(async () => {
  uploads = await Uploads.make()
})
after(() => uploads[Symbol.asyncDispose]())

async function assertDisk(pod: UploadPod): Promise<void> {
  assert.ok((await readFile(pod.disk)).subarray(0, diskBytes).equals(uploads.disk))
}

describe('upload server pod', () => {
  for (const mode of ['upload', 'upload-async', 'upload-form', 'upload-form-async']) {
    it(`ends with success behind its answer (${mode})`, async () => {
      await using pod = await UploadPod.make()
      const running = await pod.start()
      const started = performance.now()
      const isForm = mode.includes('form')
      const request = isForm ? formWith(uploads.disk) : { body: uploads.disk }
      const { status } = await pod.send({ path: `/v1beta1/${mode}`, ...request })
      assert.equal(status, 200)
      const { exitCode, words } = await pod.endOf(running)
      assert.deepEqual([exitCode, words], [0, complete])
      // It waits 30 s for a client that could not be told.
      assert.ok(performance.now() - started < 20_000)
      await assertDisk(pod)
    })
  }

  it('takes what its environment says: overhead, preallocation, checksum, kind of content', async () => {
    await using pod = await UploadPod.make()
    // (1 + 0.06) of 8 MiB does not fit; 7 whole MiB do.
    const running = await pod.start({
      filesystemOverhead: '0.06',
      preallocation: true,
      checksum: `md5:${'0'.repeat(32)}`,
    })
    assert.equal((await pod.send({ path: '/v1beta1/upload', body: uploads.disk })).status, 400)
    running.kill('SIGTERM')
    await running.finished
    const again = await pod.start({ filesystemOverhead: '0.06', preallocation: true })
    assert.equal((await pod.send({ path: '/v1beta1/upload', body: uploads.disk })).status, 200)
    const { exitCode, words } = await pod.endOf(again)
    assert.deepEqual([exitCode, words], [0, '{"preallocationApplied":true,"message":"Upload Complete"}'])
    const { size, blocks } = await stat(pod.disk)
    assert.equal(size, 7 * mebibyte)
    assert.ok(blocks * 512 >= size)
  })

  it('unpacks an archive', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start({ contentType: 'archive' })
    assert.equal(
      (await pod.send({ path: '/v1beta1/upload-archive', body: await uploads.content('tar.xz') })).status,
      200,
    )
    assert.equal((await pod.endOf(running)).words, complete)
    assert.deepEqual((await readdir(pod.path('data'))).sort(), ['bin', 'readme'])
  })

  it('writes the text of the contract to its log when an image is too large', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    for (let i = 0; i < 2; i++) {
      assert.equal(
        (await pod.send({ path: '/v1beta1/upload', body: await uploads.content('large.qcow2') })).status,
        400,
      )
    }
    running.kill('SIGTERM')
    const { stderr } = await running.finished
    assert.match(stderr, /effective image size is larger than the reported available/)
  })

  it('says that it needs scratch space, and its successor takes the same upload', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    const body = await uploads.content('snapshot.qcow2')
    assert.equal((await pod.send({ path: '/v1beta1/upload-async', body })).status, 503)
    const { exitCode, words } = await pod.endOf(running)
    assert.equal(exitCode, 0)
    assert.equal((JSON.parse(words) as { scratchSpaceRequired: boolean }).scratchSpaceRequired, true)
    await using next = await UploadPod.make({ scratch: true })
    const successor = await next.start()
    assert.equal((await next.send({ path: '/v1beta1/upload-async', body })).status, 200)
    assert.equal((await next.endOf(successor)).words, complete)
    await assertDisk(next)
    assert.deepEqual(await readdir(next.path('scratch')), [])
  })

  it('fails with plain text when something goes wrong behind the 200 of an asynchronous upload', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    // The disk fits, but cannot be grown to the size of the claim.
    await execa('prlimit', ['--pid', String(running.pid), `--fsize=${7 * mebibyte}`])
    const { status } = await pod.send({ path: '/v1beta1/upload-async', body: uploads.disk })
    assert.equal(status, 200)
    const { exitCode, words } = await pod.endOf(running)
    assert.equal(exitCode, 1)
    assert.match(words, /^Unable to process data: Unable to resize disk image to requested size: /)
    assert.deepEqual(await readdir(pod.path('data')), [])
  })

  it('shows the right certificate as soon as that is mounted, if it began with that of a former pod', async () => {
    await using pod = await UploadPod.make()
    const rightful = pod.identities
    const former = await makeIdentities()
    await writeIdentities(pod.path('etc/tls'), former)
    const running = await pod.start()
    await assert.rejects(pod.send({ path: '/v1beta1/upload', body: uploads.disk }))
    await writeIdentities(pod.path('etc/tls'), rightful)
    // Looked at every 3 s.
    await until(async () => {
      const { exitCode } = await pod.curl('/healthz', '--fail')
      return exitCode === 0
    }, running)
    assert.equal((await pod.send({ path: '/v1beta1/upload', body: uploads.disk })).status, 200)
    assert.equal((await pod.endOf(running)).words, complete)
    await assertDisk(pod)
  })

  it('ends at its deadline if nobody uploads', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start({ deadline: new Date(Date.now() + 1500).toISOString() })
    const { exitCode, words } = await pod.endOf(running)
    assert.deepEqual([exitCode, words], [0, '{"deadlinePassed":true,"message":"Deadline Passed"}'])
    assert.deepEqual(await readdir(pod.path('data')), [])
  })

  it('finishes an upload at its deadline before it ends', async () => {
    await using pod = await UploadPod.make()
    // Far enough for a busy machine to start the server and to begin the upload before.
    const deadlineMs = Date.now() + 8000
    const running = await pod.start({ deadline: new Date(deadlineMs).toISOString() })
    const request = pod.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
    request.write(uploads.disk.subarray(0, mebibyte))
    // It looks at its deadline every 2 s.
    await delay(deadlineMs + 3500 - Date.now())
    request.end(uploads.disk.subarray(mebibyte))
    assert.equal((await answerOf(request)).status, 200)
    assert.equal((await pod.endOf(running)).words, complete)
    await assertDisk(pod)
  })

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    it(`leaves nothing half-written when it is stopped in the middle (${signal}), and fails`, async () => {
      await using pod = await UploadPod.make()
      const running = await pod.start()
      const request = pod.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
      const answer = answerOf(request)
      request.write(uploads.disk.subarray(0, 3 * mebibyte))
      await until(async () => (await readdir(pod.path('data'))).length > 0, running)
      running.kill(signal)
      const { status, text: said } = await answer
      request.destroy()
      assert.deepEqual([status, said.includes(`stopped by ${signal}`)], [503, true])
      const { exitCode, words } = await pod.endOf(running)
      assert.deepEqual([exitCode, words], [1, `stopped by ${signal}`])
      assert.deepEqual(await readdir(pod.path('data')), [])
    })
  }

  it('fails when it is stopped although nobody uploads', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    running.kill('SIGTERM')
    const { exitCode, words } = await pod.endOf(running)
    assert.deepEqual([exitCode, words], [1, 'stopped by SIGTERM'])
  })

  it('fails as process 1 of its container, too, when it is stopped from inside', { skip: noRoot }, async () => {
    await using pod = await UploadPod.make()
    const { args, env } = pod.command()
    const options = { env: { ...process.env, ...env, NODE_TEST_CONTEXT: undefined } }
    const unshare = spawn('unshare', ['--pid', '--fork', '--mount-proc', process.execPath, ...args], options)
    const ended = once(unshare, 'exit')
    let said = ''
    unshare.stderr.setEncoding('utf8').on('data', (piece: string) => (said += piece))
    while (!said.includes(readyText)) await delay(20)
    const [child = ''] = (await readFile(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8')).split(' ')
    await execa('nsenter', ['--target', child, '--pid', '--mount', 'kill', '-TERM', '1'])
    assert.deepEqual(await ended, [1, null])
    assert.equal(await readFile(pod.path('dev/termination-log'), 'utf8'), 'stopped by SIGTERM')
  })

  it('goes on without what a killed container left behind', async () => {
    await using pod = await UploadPod.make()
    const killed = await pod.start()
    const request = pod.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
    request.on('error', () => {})
    request.write(uploads.disk.subarray(0, 3 * mebibyte))
    await until(async () => (await readdir(pod.path('data'))).length > 0, killed)
    killed.kill('SIGKILL')
    await killed.finished
    const running = await pod.start()
    assert.equal((await pod.send({ path: '/v1beta1/upload', body: await uploads.content('qcow2') })).status, 200)
    assert.equal((await pod.endOf(running)).words, complete)
    await assertDisk(pod)
  })

  for (const [what, env, words] of [
    ['a size that is none', { imageSize: 'huge' }, /no quantity: huge/],
    ['a deadline that is none', { deadline: 'soon' }, /DEADLINE is no time/],
    ['a checksum that is none', { checksum: 'abc' }, /invalid checksum/],
    ['a certificate that is not there', { tlsCertFile: '/nowhere' }, /TLS_CERT_FILE cannot be read/],
  ] as const) {
    it(`fails with a clear text for ${what}`, async () => {
      await using pod = await UploadPod.make()
      await assert.rejects(pod.start(env), /"exitCode":1/)
      assert.match(await readFile(pod.path('dev/termination-log'), 'utf8'), words)
    })
  }
})

describe('connections to an upload server pod', () => {
  it('are answered for /healthz without a certificate, and need the right one for uploads', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    const { stranger, forged } = pod.identities
    for (const method of ['GET', 'HEAD']) {
      const { status, text: said } = await pod.send({ path: '/healthz', method, as: 'none' })
      assert.deepEqual([status, said], [200, method === 'GET' ? 'OK' : ''])
    }
    for (const path of ['upload', 'upload-async', 'upload-form', 'upload-form-async', 'upload-archive']) {
      for (const as of ['none', stranger] as const) {
        assert.equal((await pod.send({ path: `/v1beta1/${path}`, as, body: uploads.disk })).status, 401)
      }
      const isAsync = path.endsWith('async')
      assert.equal((await pod.send({ path: `/v1alpha1/${path}`, method: 'HEAD' })).status, isAsync ? 200 : 404)
      assert.equal((await pod.send({ path: `/v1alpha1/${path}`, method: 'GET' })).status, 404)
    }
    // A certificate that is shown must verify, whatever is asked for.
    for (const path of ['/healthz', '/v1beta1/upload']) {
      await assert.rejects(pod.send({ path, method: 'GET', as: forged }), { code: 'ECONNRESET' })
    }
    assert.equal((await pod.send({ path: '/v1beta1/nothing' })).status, 404)
    running.kill('SIGTERM')
    await running.finished
  })

  it('are refused below the TLS version of the profile, with the alert that says so', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start({ tlsMinVersion: 'VersionTLS13' })
    const old = connect({ port: pod.port, host: '127.0.0.1', ca: pod.identities.serverCa, maxVersion: 'TLSv1.2' })
    const [error] = (await once(old, 'error')) as [NodeJS.ErrnoException]
    assert.equal(error.code, 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION')
    assert.equal((await pod.send({ path: '/healthz', method: 'GET' })).status, 200)
    running.kill('SIGTERM')
    await running.finished
  })

  it('cost nothing while they are idle', async () => {
    await using pod = await UploadPod.make()
    const running = await pod.start()
    const sockets = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const socket = connect({ port: pod.port, host: '127.0.0.1', ca: pod.identities.serverCa })
        await once(socket, 'secureConnect')
        return socket
      }),
    )
    assert.equal((await pod.send({ path: '/v1beta1/upload', body: uploads.disk })).status, 200)
    const { words, peakBytes } = await pod.endOf(running)
    assert.equal(words, complete)
    assert.ok(peakBytes < 256 * mebibyte)
    for (const socket of sockets) socket.destroy()
  })
})

describe('a large upload', () => {
  const largeBytes = 1024 * mebibyte

  it('stays within 256 MiB of memory, packed or not', async () => {
    const raw = uploads.path('sparse')
    const pieces = Array.from({ length: 16 }, (_, index) => {
      const bytes = index % 2 === 0 ? noise(8 * mebibyte, index) : text(16 * mebibyte, index)
      return [index * 64 * mebibyte, bytes] as const
    })
    await makeDisk(raw, { sizeBytes: largeBytes, pieces })
    for (const file of [await pack(raw, ['zst']), raw]) {
      for (const [path, ...args] of [
        ['/v1beta1/upload', '--upload-file', file],
        ['/v1beta1/upload-form', '--form', `file=@${file}`],
      ] as const) {
        await using pod = await UploadPod.make()
        const running = await pod.start({ imageSize: String(largeBytes) })
        assert.equal((await pod.curl(path, ...args)).status, 200)
        const { words, peakBytes } = await pod.endOf(running)
        assert.equal(words, complete)
        assert.ok(peakBytes < 256 * mebibyte, `${peakBytes} bytes`)
        await assertSameDisk(pod.disk, raw)
      }
    }
  })

  it('of a qcow2 is finished within a second of its last byte', async () => {
    const raw = uploads.path('full')
    await makeDisk(raw, { sizeBytes: 256 * mebibyte, pieces: [[0, noise(192 * mebibyte, 1)]] })
    await makeImage(raw, `${raw}.qcow2`, variantOf('qcow2 version 3'))
    const image = await readFile(`${raw}.qcow2`)
    const tailOfUpload = async (): Promise<number> => {
      await using pod = await UploadPod.make()
      const running = await pod.start({ imageSize: String(256 * mebibyte) })
      const request = pod.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(image.length) } })
      const answer = answerOf(request)
      for (let at = 0; at < image.length; at += mebibyte) {
        if (!request.write(image.subarray(at, at + mebibyte))) await once(request, 'drain')
      }
      request.end()
      await once(request, 'finish')
      const sent = performance.now()
      assert.equal((await answer).status, 200)
      const tookMs = performance.now() - sent
      assert.equal((await pod.endOf(running)).words, complete)
      await assertSameDisk(pod.disk, raw)
      return tookMs
    }
    // The machine may be busy with something else, but not each time.
    const tailsMs: number[] = []
    while (tailsMs.length < 5 && !tailsMs.some((ms) => ms < 1000)) tailsMs.push(await tailOfUpload())
    assert.ok((tailsMs.at(-1) ?? 0) < 1000, `${tailsMs.join(', ')} ms`)
  })
})
