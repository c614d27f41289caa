/** Whole uploads over real TLS into files, directories and devices: every mode with every sort of content. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { after, before, describe, it } from 'node:test'
import { connect } from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import * as fc from 'fast-check'
import { mebibyte, noise } from '../../fixtures/images.ts'
import { contentOf, loopDevice, noRoot, smallFilesystem } from '../../fixtures/loop.ts'
import { answerOf } from './support/client.ts'
import { allocatedBytes, startUploadServer } from './support/upload-server.ts'
import type { TestUploadServer } from './support/upload-server.ts'
import { Uploads, diskBytes, diskNames, formWith } from './support/uploads.ts'
import type { FileName } from './support/uploads.ts'

const volumeBytes = 8 * mebibyte
const complete = { exitCode: 0, text: '{"preallocationApplied":false,"message":"Upload Complete"}' }
const noCapacity = /^Saving stream failed: effective image size is larger than the reported available storage: ./

const modes = ['upload', 'upload-async', 'upload-form', 'upload-form-async'] as const

let uploads: Uploads

before(async () => {
  uploads = await Uploads.make()
})
after(() => uploads[Symbol.asyncDispose]())

/** Sends a file the way that the address wants it. */
async function sendFile(server: TestUploadServer, mode: string, name: FileName, version = 'v1beta1') {
  const bytes = await uploads.content(name)
  const path = `/${version}/${mode}`
  return server.send({ path, ...(mode.includes('form') ? formWith(bytes) : { body: bytes }) })
}

async function assertDisk(server: TestUploadServer): Promise<void> {
  const disk = await readFile(server.disk)
  assert.ok(disk.subarray(0, diskBytes).equals(uploads.disk), 'the disk is another one')
  assert.ok(disk.subarray(diskBytes).every((byte) => byte === 0))
}

async function when(condition: () => boolean): Promise<void> {
  while (!condition()) await delay(2)
}

describe('upload into a file', () => {
  for (const mode of modes) {
    for (const name of diskNames) {
      it(`${mode} takes ${name}, and the server ends with success`, async () => {
        await using server = await startUploadServer({ requestedBytes: volumeBytes })
        const { status, text } = await sendFile(server, mode, name)
        assert.deepEqual([status, text], [200, ''])
        assert.deepEqual(await server.end, complete)
        await assertDisk(server)
        const { size, mode: bits } = await stat(server.disk)
        assert.deepEqual([size, bits & 0o777], [volumeBytes, 0o660])
        assert.ok(
          (await allocatedBytes(server.disk)) <= (await allocatedBytes(await uploads.file('raw'))) + mebibyte,
          'not sparse',
        )
      })
    }
  }

  it('is done by PUT too', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const { status } = await server.send({ path: '/v1beta1/upload', method: 'PUT', body: uploads.disk })
    assert.equal(status, 200)
    await assertDisk(server)
  })

  for (const [what, args] of [
    ['with its length', ['--data-binary', '@FILE']],
    ['in chunks', ['--data-binary', '@FILE', '--header', 'Transfer-Encoding: chunked']],
    ['when it is told to go on', ['--data-binary', '@FILE', '--header', 'Expect: 100-continue']],
    ['by PUT', ['--upload-file', 'FILE']],
    ['in a form', ['--form', 'file=@FILE']],
    ['in a form behind other parts', ['--form', 'note=hi', '--form', 'file=@FILE;filename=x', '--form', 'more=this']],
  ] as const) {
    it(`is taken from curl ${what}`, async () => {
      await using server = await startUploadServer({ requestedBytes: volumeBytes })
      const path = what.includes('form') ? '/v1beta1/upload-form' : '/v1alpha1/upload'
      const file = await uploads.file('raw')
      const result = await server.curl(path, ...args.map((arg) => arg.replace('FILE', file)))
      assert.deepEqual([result.exitCode, result.status, result.text], [0, 200, ''], result.stderr)
      await assertDisk(server)
    })
  }

  it('takes a disk of a few bytes', async () => {
    await using server = await startUploadServer({ requestedBytes: mebibyte })
    assert.equal((await server.send({ path: '/v1beta1/upload', body: Buffer.from('hi') })).status, 200)
    const disk = await readFile(server.disk)
    assert.deepEqual([disk.length, disk.toString('utf8', 0, 3)], [mebibyte, 'hi\0'])
  })

  it('takes a tar as a raw disk unless the claim is for an archive', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    assert.equal((await sendFile(server, 'upload', 'tar')).status, 200)
    const tar = await uploads.content('tar')
    assert.ok((await readFile(server.disk)).subarray(0, tar.length).equals(tar))
  })

  it('takes a fixed VHD whose disk is just as large as the volume, its footer left out', async () => {
    await using server = await startUploadServer({ requestedBytes: diskBytes })
    const { status, text } = await sendFile(server, 'upload', 'vhd')
    assert.deepEqual([status, text], [200, ''])
    assert.ok((await readFile(server.disk)).equals(uploads.disk))
  })

  it('converts an image that has to be staged, if there is scratch space, sync and async', async () => {
    for (const mode of modes) {
      await using server = await startUploadServer({ requestedBytes: volumeBytes, scratch: true })
      assert.equal((await sendFile(server, mode, 'snapshot.qcow2')).status, 200)
      assert.deepEqual(await server.end, complete)
      await assertDisk(server)
    }
  })

  it('writes nothing before anything is uploaded', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    await server.send({ path: '/healthz', method: 'GET', as: 'none' })
    await server.send({ path: '/v1beta1/upload', as: 'none', body: uploads.disk })
    assert.deepEqual(await server.names(), [])
  })

  for (const mode of modes) {
    for (const name of ['raw', 'qcow2', 'raw.zst'] as const) {
      it(`${mode} backs all of the disk by storage if that is asked for (${name})`, async () => {
        await using server = await startUploadServer({ requestedBytes: volumeBytes, preallocate: true })
        assert.equal((await sendFile(server, mode, name)).status, 200)
        assert.deepEqual(await server.end, {
          exitCode: 0,
          text: '{"preallocationApplied":true,"message":"Upload Complete"}',
        })
        await assertDisk(server)
        assert.ok((await allocatedBytes(server.disk)) >= volumeBytes)
      })
    }
  }
})

describe('upload into a device', { skip: noRoot }, () => {
  for (const mode of modes) {
    for (const name of ['raw', 'qcow2', 'raw.xz', 'raw.gz', 'raw.zst'] as const) {
      it(`${mode} takes ${name}, and what is not written reads as zero`, async () => {
        await using device = await loopDevice({ sizeBytes: volumeBytes, dirty: true })
        await using server = await startUploadServer({ device: device.path })
        assert.equal((await sendFile(server, mode, name)).status, 200)
        assert.deepEqual(await server.end, complete)
        assert.ok((await contentOf(device.path, diskBytes)).equals(uploads.disk))
      })
    }
  }

  it('backs all of it by storage if that is asked for', async () => {
    await using device = await loopDevice({ sizeBytes: volumeBytes, dirty: true })
    await using server = await startUploadServer({ device: device.path, preallocate: true })
    assert.equal((await sendFile(server, 'upload-async', 'qcow2')).status, 200)
    assert.match((await server.end).text, /"preallocationApplied":true/)
    assert.ok((await contentOf(device.path, diskBytes)).equals(uploads.disk))
  })

  for (const mode of modes) {
    it(`${mode} refuses what is larger, each time`, async () => {
      await using device = await loopDevice({ sizeBytes: volumeBytes })
      await using server = await startUploadServer({ device: device.path })
      for (const name of ['large.qcow2', 'big.raw', 'big.raw.xz', 'big.qcow2', 'large.qcow2'] as const) {
        const { status, text } = await sendFile(server, mode, name)
        assert.equal(status, 400, name)
        assert.match(text, noCapacity)
      }
      assert.equal((await sendFile(server, mode, 'qcow2')).status, 200)
    })
  }

  it('refuses an archive', async () => {
    await using device = await loopDevice({ sizeBytes: volumeBytes })
    await using server = await startUploadServer({ device: device.path, contentType: 'archive' })
    const { status, text } = await sendFile(server, 'upload-archive', 'tar')
    assert.equal(status, 500)
    assert.match(text, /an archive needs a directory/)
  })
})

describe('upload of an archive', () => {
  const unpacked = async (server: TestUploadServer): Promise<void> => {
    assert.deepEqual((await server.names()).sort(), ['bin', 'readme'])
    assert.equal(await readFile(`${server.data}/readme`, 'utf8'), 'hello\n')
    const tool = await stat(`${server.data}/bin/tool`)
    assert.deepEqual([tool.size, tool.mode & 0o777], [2 * mebibyte, 0o751])
  }

  for (const name of ['tar', 'tar.gz', 'tar.xz', 'tar.zst'] as const) {
    for (const version of ['v1beta1', 'v1alpha1']) {
      it(`unpacks ${name} into the volume (${version})`, async () => {
        await using server = await startUploadServer({ contentType: 'archive', requestedBytes: volumeBytes })
        const { status, text } = await sendFile(server, 'upload-archive', name, version)
        assert.deepEqual([status, text], [200, ''])
        assert.deepEqual(await server.end, complete)
        await unpacked(server)
      })
    }
  }

  it('is done at every address of a claim for archives, in forms too', async () => {
    for (const mode of modes) {
      await using server = await startUploadServer({ contentType: 'archive', requestedBytes: volumeBytes })
      assert.equal((await sendFile(server, mode, 'tar.gz')).status, 200)
      await server.end
      await unpacked(server)
    }
  })

  it('reports no preallocation', async () => {
    await using server = await startUploadServer({ contentType: 'archive', preallocate: true })
    await sendFile(server, 'upload-archive', 'tar')
    assert.deepEqual(await server.end, complete)
  })

  it('leaves nothing behind if it is no archive, has a wrong checksum, or breaks off', async () => {
    await using server = await startUploadServer({ contentType: 'archive' })
    const tar = await uploads.content('tar')
    const wrong = `sha-256=:${Buffer.alloc(32).toString('base64')}:`
    for (const request of [
      { body: noise(mebibyte, 1) },
      { body: tar.subarray(0, mebibyte) },
      { body: tar, headers: { 'repr-digest': wrong } },
    ]) {
      const { status, text } = await server.send({ path: '/v1beta1/upload-archive', ...request })
      assert.equal(status, 400, text)
      assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
    }
    assert.equal((await sendFile(server, 'upload-archive', 'tar')).status, 200)
    await unpacked(server)
  })

  it('is refused when the volume is full, and leaves nothing behind', { skip: noRoot }, async () => {
    await using volume = await smallFilesystem({ type: 'ext4', sizeBytes: 2 * mebibyte })
    await using server = await startUploadServer({ data: volume.directory, contentType: 'archive' })
    const { status, text } = await sendFile(server, 'upload-archive', 'tar.zst')
    assert.equal(status, 400, text)
    assert.match(text, noCapacity)
    assert.deepEqual([await server.names(), server.slot.state], [['lost+found'], 'idle'])
  })
})

describe('upload that does not fit', () => {
  for (const mode of modes) {
    it(`${mode} is refused before 200 for its virtual and for its real size, twice in a row`, async () => {
      await using server = await startUploadServer({ requestedBytes: volumeBytes })
      for (const name of ['large.qcow2', 'big.qcow2', 'big.raw', 'big.raw.xz', 'zeros.raw.xz'] as const) {
        for (const again of [false, true]) {
          const { status, text, headers } = await sendFile(server, mode, name)
          assert.equal(status, 400, `${name} ${again}`)
          assert.match(text, noCapacity)
          assert.equal(headers['cdi-error-code'], 'CDI_IMAGE_TOO_LARGE')
          assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
        }
      }
      assert.equal((await sendFile(server, mode, 'raw')).status, 200)
      await server.end
      await assertDisk(server)
    })
  }

  it('is refused when the file system is full, and leaves nothing behind', { skip: noRoot }, async () => {
    await using volume = await smallFilesystem({ type: 'ext4', sizeBytes: 8 * mebibyte })
    await using server = await startUploadServer({ data: volume.directory })
    const { status, text } = await server.send({
      path: '/v1beta1/upload',
      headers: { 'transfer-encoding': 'chunked' },
      body: [noise(4 * mebibyte, 1), noise(16 * mebibyte, 2)],
    })
    assert.equal(status, 400)
    assert.match(text, noCapacity)
    assert.deepEqual(await server.names(), ['lost+found'])
  })

  it('is told to a client that is still sending: to curl, and to Node', async () => {
    await using server = await startUploadServer({ requestedBytes: mebibyte })
    await writeFile(uploads.path('endless'), noise(64 * mebibyte, 1))
    for (const args of [
      ['--data-binary', `@${uploads.path('endless')}`],
      ['--upload-file', uploads.path('endless')],
      ['--data-binary', `@${uploads.path('endless')}`, '--header', 'Expect:'],
      ['--data-binary', `@${uploads.path('endless')}`, '--header', 'Transfer-Encoding: chunked'],
    ]) {
      const { exitCode, status, text, stderr } = await server.curl('/v1beta1/upload', ...args)
      assert.deepEqual([exitCode, status], [0, 400], stderr)
      assert.match(text, noCapacity)
    }
    for (let i = 0; i < 5; i++) {
      const { status, text } = await server.send({ path: '/v1beta1/upload', body: noise(64 * mebibyte, 1) })
      assert.equal(status, 400)
      assert.match(text, noCapacity)
    }
  })

  it('is told to a client that looks at the answer only when it has sent everything', async () => {
    await using server = await startUploadServer({ requestedBytes: mebibyte })
    const { serverCa, proxy } = server.identities
    const socket = connect({
      port: server.port,
      host: '127.0.0.1',
      ca: serverCa,
      cert: proxy.certPem,
      key: proxy.keyPem,
    })
    await once(socket, 'secureConnect')
    socket.write(`POST /v1beta1/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${48 * mebibyte}\r\n\r\n`)
    for (let i = 0; i < 48; i++) {
      const isTaken = socket.write(noise(mebibyte, i))
      if (!isTaken) await once(socket, 'drain')
    }
    let answer = ''
    for await (const chunk of socket) answer += String(chunk)
    assert.match(answer, /^HTTP\/1\.1 400 .*effective image size is larger/s)
  })

  it('does not keep a client that goes on and on', async () => {
    await using server = await startUploadServer({ requestedBytes: mebibyte, linger: { idleMs: 100, totalMs: 300 } })
    const request = server.begin({ path: '/v1beta1/upload', headers: { 'transfer-encoding': 'chunked' } })
    request.on('error', () => {})
    const answer = answerOf(request)
    const closed = new Promise<void>((resolve) => request.once('close', resolve))
    const started = performance.now()
    const feeding = setInterval(() => request.write(noise(mebibyte, 1)), 10)
    assert.equal((await answer).status, 400)
    await closed
    clearInterval(feeding)
    assert.ok(performance.now() - started < 20_000)
  })
})

describe('upload that is wrong', () => {
  const rows: readonly (readonly [FileName, string, RegExp])[] = [
    ['backed.qcow2', 'CDI_IMAGE_BACKING_FILE', /invalid backing file \/etc\/passwd/],
    ['broken.raw.xz', 'CDI_DECODE_CORRUPT', /./],
  ]
  for (const [name, code, message] of rows) {
    for (const mode of modes) {
      it(`${mode} tells what is the matter with ${name}, and is free again`, async () => {
        await using server = await startUploadServer({ requestedBytes: volumeBytes })
        const { status, text, headers } = await sendFile(server, mode, name)
        assert.deepEqual([status, headers['cdi-error-code']], [400, code], text)
        assert.match(text, message)
        assert.doesNotMatch(text, /effective image size/)
        assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
      })
    }
  }

  it('is told to be empty', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    for (const request of [
      { path: '/v1beta1/upload', body: Buffer.alloc(0) },
      { path: '/v1beta1/upload-async', headers: { 'transfer-encoding': 'chunked' } },
      { path: '/v1beta1/upload-form', ...formWith(Buffer.alloc(0)) },
    ]) {
      const { status, headers } = await server.send(request)
      assert.deepEqual([status, headers['cdi-error-code']], [400, 'CDI_UPLOAD_EMPTY'])
      assert.equal(server.slot.state, 'idle')
    }
  })

  it('needs scratch space that is not there: 503, and the server ends to be replaced', async () => {
    for (const mode of modes) {
      await using server = await startUploadServer({ requestedBytes: volumeBytes })
      const { status, text, headers } = await sendFile(server, mode, 'snapshot.qcow2')
      assert.deepEqual([status, headers['retry-after']], [503, '5'])
      assert.match(text, /scratch space required/)
      assert.deepEqual(await server.end, {
        exitCode: 0,
        text: '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"scratch space required and none found"}',
      })
      assert.deepEqual(await server.names(), [])
    }
  })

  it('is a clone stream, which this server does not take', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const headers = { 'x-cdi-content-type': 'filesystem-clone' }
    assert.equal((await server.send({ path: '/v1beta1/upload', body: uploads.disk, headers })).status, 501)
    assert.equal((await server.send({ path: '/v1beta1/upload', body: uploads.disk, headers, as: 'none' })).status, 401)
  })

  it('is a part of something: a range is not taken for the whole', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const headers = { 'content-range': 'bytes 0-99/1000' }
    const { status } = await server.send({ path: '/v1beta1/upload', method: 'PUT', body: Buffer.alloc(100), headers })
    assert.deepEqual([status, server.slot.state], [400, 'idle'])
  })

  it('is a form that is none, and the next one is taken', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const good = formWith(uploads.disk)
    const bad = [
      { body: good.body },
      { ...good, headers: { 'content-type': 'multipart/form-data' } },
      { ...good, body: good.body.subarray(0, -10) },
      { ...good, body: good.body.subarray(0, 1000) },
      { ...good, body: uploads.disk },
      { ...good, body: Buffer.alloc(0) },
      formWith(uploads.disk, { name: 'files' }),
      { ...good, body: Buffer.concat([good.body.subarray(0, -8), good.body]) },
    ]
    for (const path of ['/v1beta1/upload-form', '/v1beta1/upload-form-async']) {
      for (const form of bad) {
        const { status, headers } = await server.send({ path, ...form })
        assert.deepEqual([status, headers['cdi-error-code']], [400, 'CDI_UPLOAD_MALFORMED'])
        assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
      }
    }
    assert.equal((await server.send({ path: '/v1beta1/upload-form', ...good })).status, 200)
    await assertDisk(server)
  })
})

describe('checksum of an upload', () => {
  const digest = (algorithm: string, encoding: 'hex' | 'base64', bytes: Buffer = uploads.disk): string =>
    createHash(algorithm).update(bytes).digest(encoding)

  it('is verified from every header, over the bytes as they are sent', async () => {
    const packed = await uploads.content('raw.zst')
    const form = formWith(packed)
    const rows: readonly { readonly path: string; readonly headers: Record<string, string>; readonly body: Buffer }[] =
      [
        { path: 'upload', headers: { 'repr-digest': `sha-256=:${digest('sha256', 'base64', packed)}:` }, body: packed },
        {
          path: 'upload-async',
          headers: { 'content-digest': `sha-512=:${digest('sha512', 'base64', packed)}:` },
          body: packed,
        },
        { path: 'upload', headers: { digest: `SHA-256=${digest('sha256', 'base64', packed)}` }, body: packed },
        { path: 'upload', headers: { 'repr-digest': 'crc32c=:AAAAAA==:' }, body: packed },
        {
          path: 'upload-form',
          headers: {
            ...form.headers,
            'repr-digest': `sha-256=:${digest('sha256', 'base64', packed)}:`,
            'content-digest': `sha-256=:${digest('sha256', 'base64', form.body)}:`,
          },
          body: form.body,
        },
      ]
    for (const { path, headers, body } of rows) {
      await using server = await startUploadServer({
        requestedBytes: volumeBytes,
        checksums: [{ algorithm: 'md5', hex: digest('md5', 'hex', packed) }],
      })
      const { status, text } = await server.send({ path: `/v1beta1/${path}`, headers, body })
      assert.deepEqual([status, text], [200, ''], JSON.stringify(headers))
      await server.end
      await assertDisk(server)
    }
  })

  it('that is wrong releases nothing and frees the slot, whichever of several it is', async () => {
    const right = `sha-256=:${digest('sha256', 'base64')}:`
    const wrong = `sha-512=:${Buffer.alloc(64).toString('base64')}:`
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const form = formWith(uploads.disk)
    const rows = [
      { path: 'upload', headers: { 'repr-digest': wrong } },
      { path: 'upload-async', headers: { 'repr-digest': `${right}, ${wrong}` } },
      { path: 'upload', headers: { 'repr-digest': right, 'content-digest': wrong } },
      { path: 'upload', headers: { 'repr-digest': right, digest: `MD5=${Buffer.alloc(16).toString('base64')}` } },
      { path: 'upload-form', ...form, headers: { ...form.headers, 'repr-digest': wrong } },
      // Of a form this is the digest of the form.
      { path: 'upload-form', ...form, headers: { ...form.headers, 'content-digest': right } },
    ]
    for (const { path, ...request } of rows) {
      const { status, text, headers } = await server.send({ body: uploads.disk, ...request, path: `/v1beta1/${path}` })
      assert.deepEqual([status, headers['cdi-error-code']], [400, 'CDI_CHECKSUM_MISMATCH'], text)
      assert.match(text, /^Saving stream failed: .*checksum validation failed/)
      assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
    }
    assert.equal((await sendFile(server, 'upload', 'raw')).status, 200)
  })

  it('of the claim counts too', async () => {
    await using server = await startUploadServer({
      requestedBytes: volumeBytes,
      checksums: [{ algorithm: 'sha256', hex: digest('sha256', 'hex') }],
    })
    for (const mode of modes) assert.equal((await sendFile(server, mode, 'qcow2')).status, 400)
    assert.equal((await sendFile(server, 'upload-form-async', 'raw')).status, 200)
  })

  it('that cannot be read is refused at once, before the body is asked for', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const request = server.begin({
      path: '/v1beta1/upload',
      headers: { 'repr-digest': 'sha-256=abc', expect: '100-continue', 'content-length': '100' },
    })
    let isAsked = false
    request.on('continue', () => (isAsked = true))
    request.flushHeaders()
    const { status, text } = await answerOf(request)
    request.destroy()
    assert.deepEqual([status, isAsked], [400, false])
    assert.match(text, /the header repr-digest is malformed/)
  })
})

describe('one upload after the other', () => {
  it('refuses a second one while the first is being read, before its body is asked for', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    const first = server.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
    const answer = answerOf(first)
    first.write(uploads.disk.subarray(0, mebibyte))
    await when(() => server.slot.state !== 'idle')
    for (const mode of [...modes, 'upload-archive']) {
      const { status, text, headers } = await sendFile(server, mode, 'raw')
      assert.deepEqual([status, headers['retry-after']], [503, '5'])
      assert.match(text, /in progress/)
    }
    const second = server.begin({
      path: '/v1beta1/upload',
      headers: { expect: '100-continue', 'content-length': String(diskBytes) },
    })
    second.on('continue', () => assert.fail('the body was asked for'))
    second.flushHeaders()
    assert.equal((await answerOf(second)).status, 503)
    second.destroy()
    first.end(uploads.disk.subarray(mebibyte))
    assert.equal((await answer).status, 200)
    await assertDisk(server)
  })

  it('refuses another one when the volume is finished', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    assert.equal((await sendFile(server, 'upload', 'raw')).status, 200)
    for (const mode of modes) assert.equal((await sendFile(server, mode, 'qcow2')).status, 409)
    assert.equal((await server.send({ path: '/v1beta1/upload-async', method: 'HEAD' })).status, 200)
    await assertDisk(server)
  })

  for (const mode of modes) {
    for (const name of ['raw', 'qcow2', 'raw.zst'] as const) {
      it(`${mode} of ${name} that is broken off leaves no file, and the next one succeeds at once`, async () => {
        await using server = await startUploadServer({ requestedBytes: volumeBytes })
        const bytes = await uploads.content(name)
        const isForm = mode.includes('form')
        const { body, headers } = isForm ? formWith(bytes) : { body: bytes, headers: {} }
        for (const share of [0, 0.01, 0.5, 0.99]) {
          const sentBytes = Math.floor(body.length * share)
          const request = server.begin({
            path: `/v1beta1/${mode}`,
            headers: { ...headers, 'content-length': String(body.length) },
          })
          request.on('error', () => {})
          await new Promise<void>((resolve) => {
            request.flushHeaders()
            request.write(body.subarray(0, Math.max(1, sentBytes)), () => resolve())
          })
          await when(() => server.slot.state === 'held')
          await delay(20)
          request.destroy()
          await when(() => server.slot.state === 'idle')
          assert.deepEqual(await server.names(), [])
        }
        assert.equal((await sendFile(server, mode, name)).status, 200)
        await server.end
        await assertDisk(server)
      })
    }
  }

  it('is given to the next client without a refusal when the connection before it broke just now', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes })
    for (let i = 0; i < 20; i++) {
      const request = server.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
      request.on('error', () => {})
      request.write(uploads.disk.subarray(0, mebibyte))
      await when(() => server.slot.state === 'held')
      request.destroy()
      // The server hears of it a moment later; whoever comes then does not wait for the clean-up by trying again.
      await when(() => !server.slot.isBusy)
      server.slot.assertFree()
    }
    assert.equal((await sendFile(server, 'upload', 'raw')).status, 200)
    await assertDisk(server)
  })

  it('takes the place of a client that has been silent, who is told so', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes, slot: { yieldMs: 1500 } })
    const silent = server.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
    const answer = answerOf(silent)
    silent.write(uploads.disk.subarray(0, mebibyte))
    await when(() => server.slot.state !== 'idle')
    assert.equal((await sendFile(server, 'upload', 'raw')).status, 503)
    await delay(1600)
    assert.equal((await sendFile(server, 'upload', 'qcow2')).status, 200)
    const { status, text } = await answer
    assert.equal(status, 503)
    assert.match(text, /another upload took its place/)
    silent.destroy()
    await assertDisk(server)
  })

  it('is free again when a client says nothing for too long', async () => {
    await using server = await startUploadServer({ requestedBytes: volumeBytes, slot: { idleMs: 200 } })
    const silent = server.begin({ path: '/v1beta1/upload', headers: { 'content-length': String(diskBytes) } })
    silent.write(uploads.disk.subarray(0, mebibyte))
    const { status, headers } = await answerOf(silent)
    silent.destroy()
    assert.deepEqual([status, headers['cdi-error-code']], [408, 'CDI_SOURCE_STALLED'])
    assert.deepEqual([await server.names(), server.slot.state], [[], 'idle'])
  })
})

describe('requests of all sorts', () => {
  it('never bring the server down, and never wedge the slot', async () => {
    await using stack = new AsyncDisposableStack()
    const start = async () =>
      stack.use(await startUploadServer({ requestedBytes: mebibyte, linger: { idleMs: 50, totalMs: 200 } }))
    let server = await start()
    const token = fc.stringMatching(/^[a-cXYZ019_.=:;,"()*/ -]{0,60}$/)
    const header = fc.constantFrom(
      'repr-digest',
      'content-digest',
      'digest',
      'content-type',
      'content-encoding',
      'range',
      'x-cdi-content-type',
    )
    const boundary = 'b0'
    const soup = fc
      .array(
        fc.oneof(
          fc.constantFrom(
            `--${boundary}`,
            '\r\n',
            '--',
            'Content-Disposition: form-data; name="file"',
            '\r\n\r\n',
            'QFI\u00fb',
            '\u001f\u008b',
          ),
          fc.string({ maxLength: 200 }),
        ),
        { maxLength: 20 },
      )
      .map((pieces) => Buffer.from(pieces.join(''), 'latin1'))
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('POST', 'PUT', 'GET', 'DELETE'),
        fc.constantFrom('upload', 'upload-async', 'upload-form', 'upload-form-async', 'upload-archive', 'nothing'),
        fc.dictionary(
          header,
          token.map((text) => text.trim()),
          { maxKeys: 3 },
        ),
        soup,
        fc.boolean(),
        async (method, path, headers, body, isForm) => {
          const sent = await server.send({
            method,
            path: `/v1beta1/${path}`,
            headers: {
              ...headers,
              ...(isForm ? { 'content-type': `multipart/form-data; boundary=${boundary}` } : {}),
              // A digest keeps it from being taken, as long as it is of an algorithm that the server knows.
              'repr-digest': headers['repr-digest'] ?? `sha-256=:${Buffer.alloc(32).toString('base64')}:`,
            },
            body,
          })
          if (sent.status === 200) {
            await when(() => !server.slot.isBusy)
            if (server.slot.state === 'done') server = await start()
            return
          }
          assert.ok(sent.status >= 400 && sent.status < 600 && sent.status !== 500, `${sent.status} ${sent.text}`)
          assert.notEqual(sent.status, 503)
          assert.equal(server.slot.state, 'idle')
        },
      ),
      { numRuns: 150 },
    )
    assert.equal((await server.send({ path: '/v1beta1/upload', body: Buffer.from('good') })).status, 200)
  })
})
