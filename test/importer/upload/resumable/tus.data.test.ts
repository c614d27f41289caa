import assert from 'node:assert/strict'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { execa } from 'execa'
import * as fc from 'fast-check'
import { CdiError } from '../../../../src/errors.ts'
import { startCutter } from '../../../fixtures/cutter.ts'
import { contentOf, loopDevice, noRoot } from '../../../fixtures/loop.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { answerOf } from '../support/client.ts'
import type { Sent } from '../support/client.ts'
import type { TestUploadServer } from '../support/upload-server.ts'
import { allocatedBytes } from '../support/upload-server.ts'
import { digestField, hashOf, makeDisk, mebibyte, startResumableServer, startTus, until } from './support.ts'

const path = '/v1beta1/upload-tus'
const version = { 'tus-resumable': '1.0.0' }
const pieceType = { 'content-type': 'application/offset+octet-stream' }

type Server = Pick<TestUploadServer, 'send'>

async function create(
  server: Server,
  headers: Record<string, string>,
  body?: Buffer,
): Promise<Sent & { address: string }> {
  const sent = await server.send({
    path,
    headers: { ...version, ...headers },
    ...(body === undefined ? {} : { body }),
  })
  return { ...sent, address: new URL(sent.headers.location ?? '', `https://host${path}`).pathname }
}

function patch(
  server: Server,
  address: string,
  offset: number,
  body: Buffer,
  headers: Record<string, string> = {},
): Promise<Sent> {
  return server.send({
    method: 'PATCH',
    path: address,
    headers: { ...version, ...pieceType, 'upload-offset': String(offset), ...headers },
    body,
  })
}

function head(server: Server, address: string): Promise<Sent> {
  return server.send({ method: 'HEAD', path: address, headers: version })
}

async function assertDisk(server: TestUploadServer, disk: Buffer): Promise<void> {
  assert.ok((await contentOf(server.disk, disk.length)).equals(disk))
}

describe('the client of tus', () => {
  const disk = makeDisk(6 * mebibyte + 1000)
  for (const [how, options] of [
    ['in one request', {}],
    ['in small pieces', { chunkSize: 700_000 }],
    ['with the first bytes in the request that creates the upload', { uploadDataDuringCreation: true }],
    ['in pieces, the first with the creation', { uploadDataDuringCreation: true, chunkSize: mebibyte }],
    ['without telling the length at first', { uploadLengthDeferred: true, chunkSize: mebibyte }],
    ['by POST instead of PATCH', { overridePatchMethod: true, chunkSize: 2 * mebibyte }],
  ] as const) {
    it(`uploads a raw disk ${how}`, async () => {
      await using server = await startResumableServer({ requestedBytes: 8 * mebibyte })
      await startTus(disk, { ...server, options: { ...options, metadata: { filename: 'disk.img', filetype: '' } } })
        .done
      const found = await contentOf(server.disk)
      assert.equal(found.length, 8 * mebibyte)
      assert.ok(found.subarray(0, disk.length).equals(disk))
      assert.ok(found.subarray(disk.length).equals(Buffer.alloc(found.length - disk.length)))
      assert.ok((await allocatedBytes(server.disk)) < 5 * mebibyte)
      assert.equal((await stat(server.disk)).mode & 0o777, 0o660)
      const { exitCode, text } = await server.end
      assert.deepEqual([exitCode, text], [0, '{"preallocationApplied":false,"message":"Upload Complete"}'])
    })
  }

  it('uploads a raw disk onto a device full of old bytes', { skip: noRoot }, async () => {
    await using device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty: true })
    await using server = await startResumableServer({ device: device.path })
    await startTus(disk, { ...server, options: { chunkSize: mebibyte } }).done
    await assertDisk(server, disk)
  })

  it('uploads what is packed, and an image, which are unpacked and converted while they come', async () => {
    await using dir = await tempDir('tus')
    const raw = join(dir.path, 'disk.raw')
    await writeFile(raw, disk)
    await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', raw, join(dir.path, 'disk.qcow2')])
    const image = await contentOf(join(dir.path, 'disk.qcow2'))
    for (const content of [gzipSync(disk, { level: 1 }), image]) {
      await using server = await startResumableServer({ requestedBytes: 8 * mebibyte })
      await startTus(content, { ...server, options: { chunkSize: 500_000 } }).done
      await assertDisk(server, disk)
    }
  })

  it('finishes through an ingress that cuts every connection after some bytes, with at most 5 % more', async () => {
    const large = makeDisk(96 * mebibyte)
    await using server = await startResumableServer({ requestedBytes: 96 * mebibyte })
    await using cutter = await startCutter({ to: () => server.port, afterBytes: 11 * mebibyte })
    await startTus(large, { ...server, port: cutter.port }).done
    await assertDisk(server, large)
    assert.ok(cutter.cuts >= 8, `${cutter.cuts} cuts`)
    assert.ok(cutter.sentBytes <= 1.05 * large.length, `${cutter.sentBytes / large.length} times the bytes`)
  })

  it('finishes through an ingress that cuts every connection after a while, packed or not', async () => {
    const large = makeDisk(24 * mebibyte)
    for (const content of [large, gzipSync(large, { level: 1 })]) {
      await using server = await startResumableServer({ requestedBytes: 24 * mebibyte })
      await using cutter = await startCutter({
        to: () => server.port,
        afterMs: 1000,
        bytesPerSecond: content.length / 5,
      })
      await startTus(content, { ...server, port: cutter.port }).done
      await assertDisk(server, large)
      assert.ok(cutter.cuts >= 3, `${cutter.cuts} cuts`)
      assert.ok(cutter.sentBytes <= 1.05 * content.length, `${cutter.sentBytes / content.length} times the bytes`)
    }
  })

  it('ends with the reason when the image is too large, and the server takes another one', async () => {
    await using server = await startResumableServer({ requestedBytes: 4 * mebibyte })
    await assert.rejects(
      startTus(disk, server).done,
      /response code: 400.*effective image size is larger than the reported available storage/s,
    )
    assert.deepEqual(await server.names(), [])
    await startTus(makeDisk(4 * mebibyte), server).done
  })

  it('takes the checksum of the whole in the metadata', async () => {
    const checksum = `sha256:${hashOf(disk).toString('hex')}`
    await using server = await startResumableServer({ requestedBytes: 8 * mebibyte })
    const wrong = `sha256:${hashOf(Buffer.alloc(1)).toString('hex')}`
    await assert.rejects(
      startTus(disk, { ...server, options: { metadata: { checksum: wrong } } }).done,
      /response code: 400.*checksum mismatch/s,
    )
    assert.deepEqual(await server.names(), [])
    await startTus(disk, { ...server, options: { metadata: { checksum } } }).done
    await assertDisk(server, disk)
  })
})

describe('tus', () => {
  it('tells what it can', async () => {
    await using server = await startResumableServer()
    const { status, headers } = await server.send({ method: 'OPTIONS', path })
    assert.equal(status, 204)
    assert.equal(headers['tus-version'], '1.0.0')
    assert.equal(
      headers['tus-extension'],
      'creation,creation-with-upload,creation-defer-length,expiration,checksum,termination',
    )
    assert.equal(headers['tus-checksum-algorithm'], 'sha1,sha256,sha512,md5')
  })

  it('tells how far an upload has come, until when it lives, and what it was told', async () => {
    await using server = await startResumableServer()
    const metadata = 'filename d29ybGQudHh0,is_confidential'
    const created = await create(server, { 'upload-length': '1000', 'upload-metadata': metadata })
    assert.equal(created.status, 201)
    assert.match(created.headers.location ?? '', /^upload-tus\/[A-Za-z0-9_-]{22}$/)
    assert.equal(created.headers['tus-resumable'], '1.0.0')
    const appended = await patch(server, created.address, 0, Buffer.alloc(100, 1))
    assert.equal(appended.status, 204)
    assert.equal(appended.headers['upload-offset'], '100')
    const told = await head(server, created.address)
    assert.equal(told.status, 200)
    assert.equal(told.headers['upload-offset'], '100')
    assert.equal(told.headers['upload-length'], '1000')
    assert.equal(told.headers['upload-metadata'], metadata)
    assert.equal(told.headers['cache-control'], 'no-store')
    const expires = Date.parse(String(told.headers['upload-expires']))
    assert.ok(Math.abs(expires - Date.now() - 3_600_000) < 10_000, String(told.headers['upload-expires']))
  })

  it('knows no length until it is told one', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(300_000)
    const { address } = await create(server, { 'upload-defer-length': '1' })
    assert.equal((await head(server, address)).headers['upload-defer-length'], '1')
    await patch(server, address, 0, disk.subarray(0, 1000))
    const last = await patch(server, address, 1000, disk.subarray(1000), { 'upload-length': '300000' })
    assert.equal(last.status, 204)
    assert.equal(last.headers['upload-offset'], '300000')
    await assertDisk(server, disk)
  })

  it('keeps what arrived of a request that broke off', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(2 * mebibyte)
    const { address } = await create(server, { 'upload-length': String(disk.length) })
    const request = server.begin({
      method: 'PATCH',
      path: address,
      headers: { ...version, ...pieceType, 'upload-offset': '0', 'content-length': String(disk.length) },
    })
    request.on('error', () => {})
    request.write(disk.subarray(0, mebibyte), () => {})
    while (Number((await head(server, address)).headers['upload-offset']) === 0) await delay(20)
    const offset = Number((await head(server, address)).headers['upload-offset'])
    assert.ok(offset > 0 && offset <= mebibyte)
    const { status } = await patch(server, address, offset, disk.subarray(offset))
    assert.equal(status, 204)
    await assertDisk(server, disk)
    request.destroy()
  })

  it('ends the request before when its client comes back, and goes on where that one had come', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(4 * mebibyte)
    const { address } = await create(server, { 'upload-length': String(disk.length) })
    const hanging = server.begin({
      method: 'PATCH',
      path: address,
      headers: { ...version, ...pieceType, 'upload-offset': '0', 'content-length': String(disk.length) },
    })
    const ended = answerOf(hanging)
    ended.catch(() => {})
    hanging.write(disk.subarray(0, mebibyte))
    await until(() => server.slot.isBusy)
    await delay(50)
    const { headers } = await head(server, address)
    const offset = Number(headers['upload-offset'])
    // What comes late is not taken any more.
    hanging.write(disk.subarray(mebibyte, 2 * mebibyte))
    const next = await patch(server, address, offset, disk.subarray(offset))
    assert.equal(next.status, 204, next.text)
    assert.equal((await ended).status, 503)
    await assertDisk(server, disk)
  })

  it('answers what it cannot take', async () => {
    await using server = await startResumableServer()
    const { address } = await create(server, { 'upload-length': '1000' })
    const raw = { path: address, method: 'PATCH', body: Buffer.alloc(10) }
    const offset = { 'upload-offset': '0' }
    for (const [what, request, status] of [
      ['another version', { ...raw, headers: { ...pieceType, ...offset, 'tus-resumable': '0.2.2' } }, 412],
      ['no version', { ...raw, headers: { ...pieceType, ...offset } }, 412],
      ['an unknown upload', { ...raw, path: `${path}/x`, headers: { ...version, ...pieceType, ...offset } }, 404],
      ['the head of an unknown upload', { method: 'HEAD', path: `${path}/x`, headers: version }, 404],
      ['another place', { ...raw, headers: { ...version, ...pieceType, 'upload-offset': '5' } }, 409],
      ['no place', { ...raw, headers: { ...version, ...pieceType } }, 400],
      ['a place that is none', { ...raw, headers: { ...version, ...pieceType, 'upload-offset': '-1' } }, 400],
      ['another media type', { ...raw, headers: { ...version, ...offset, 'content-type': 'text/plain' } }, 415],
      ['no media type', { ...raw, headers: { ...version, ...offset } }, 415],
      ['too many bytes', { ...raw, body: Buffer.alloc(1001), headers: { ...version, ...pieceType, ...offset } }, 413],
      ['another length', { ...raw, headers: { ...version, ...pieceType, ...offset, 'upload-length': '999' } }, 400],
      [
        'an unknown checksum',
        { ...raw, headers: { ...version, ...pieceType, ...offset, 'upload-checksum': 'crc32 AAAA' } },
        400,
      ],
      ['a creation without length', { path, headers: version }, 400],
      [
        'a creation with two lengths',
        { path, headers: { ...version, 'upload-length': '1', 'upload-defer-length': '1' } },
        400,
      ],
      [
        'a creation with bad metadata',
        { path, headers: { ...version, 'upload-length': '1', 'upload-metadata': 'a !' } },
        400,
      ],
      ['a concatenation', { path, headers: { ...version, 'upload-length': '1', 'upload-concat': 'partial' } }, 400],
      ['a creation by PUT', { method: 'PUT', path, headers: version }, 405],
      ['an upload by POST', { path: address, headers: version }, 405],
    ] as const) {
      const sent = await server.send(request)
      assert.equal(sent.status, status, `${what}: ${sent.text}`)
      assert.equal(sent.headers['tus-resumable'], '1.0.0', what)
      if (status === 412) assert.equal(sent.headers['tus-version'], '1.0.0')
    }
    // None of that did it any harm.
    assert.equal((await head(server, address)).headers['upload-offset'], '0')
    assert.equal((await server.send({ method: 'PATCH', path: address, headers: version, as: 'none' })).status, 401)
  })

  it('does not count a piece that is not what was told of it', async () => {
    const disk = makeDisk(2 * mebibyte)
    for (const content of [disk, gzipSync(disk, { level: 1 })]) {
      await using server = await startResumableServer()
      const { address } = await create(server, { 'upload-length': String(content.length) })
      const checksum = (bytes: Buffer) => ({ 'upload-checksum': `sha1 ${hashOf(bytes, 'sha1').toString('base64')}` })
      const half = Math.floor(content.length / 2)
      const first = content.subarray(0, half)
      for (const offset of [0, half]) {
        const rest = content.subarray(offset, offset + half)
        const wrong = await patch(server, address, offset, Buffer.alloc(rest.length, 1), checksum(rest))
        assert.equal(wrong.status, 460)
        assert.equal((await head(server, address)).headers['upload-offset'], String(offset))
        const right = await patch(server, address, offset, rest, checksum(rest))
        assert.equal(right.status, 204)
      }
      const end = await patch(server, address, 2 * half, content.subarray(2 * half), {
        'content-digest': digestField(content.subarray(2 * half)),
      })
      assert.equal(end.status, 204, end.text)
      assert.ok(first.length > 0)
      await assertDisk(server, disk)
    }
  })

  it('gives its place to whoever begins anew, and says so', async () => {
    await using server = await startResumableServer()
    const first = await create(server, { 'upload-length': '1000' }, undefined)
    await patch(server, first.address, 0, Buffer.alloc(100, 1))
    const second = await create(server, { 'upload-length': '1000' })
    assert.equal(second.status, 201)
    const gone = await patch(server, first.address, 100, Buffer.alloc(900, 1))
    assert.equal(gone.status, 410)
    assert.match(gone.text, /another one took its place/)
    const plain = await server.send({ path: '/v1beta1/upload', body: makeDisk(mebibyte) })
    assert.equal(plain.status, 200)
    assert.equal((await head(server, second.address)).status, 410)
  })

  it('is to be asked for again, and not over, when the server ends in the middle of it', async () => {
    await using server = await startResumableServer()
    const { address } = await create(server, { 'upload-length': '1000' })
    const request = server.begin({
      method: 'PATCH',
      path: address,
      headers: { ...version, ...pieceType, 'upload-offset': '0', 'content-length': '1000' },
    })
    request.write(Buffer.alloc(10, 1))
    const answered = answerOf(request)
    await until(() => server.slot.isBusy)
    await server.slot.end(new CdiError('CDI_ABORTED', 'stopped by SIGTERM'))
    const { status, text } = await answered
    assert.equal(status, 503, text)
    assert.equal((await head(server, address)).status, 503)
  })

  it('gives its place to nobody while it is being read', async () => {
    await using server = await startResumableServer()
    const { address } = await create(server, { 'upload-length': '1000' })
    const request = server.begin({
      method: 'PATCH',
      path: address,
      headers: { ...version, ...pieceType, 'upload-offset': '0', 'content-length': '1000' },
    })
    request.on('error', () => {})
    request.write(Buffer.alloc(10, 1))
    await until(() => server.slot.isBusy)
    assert.equal((await create(server, { 'upload-length': '1000' })).status, 503)
    request.destroy()
    await until(() => !server.slot.isBusy)
    assert.equal((await create(server, { 'upload-length': '1000' })).status, 201)
  })

  it('can be given up by its client', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    const { address } = await create(server, { 'upload-length': String(disk.length) })
    await patch(server, address, 0, disk.subarray(0, 500_000))
    assert.deepEqual(await server.names(), ['disk.img'])
    const dropped = await server.send({ method: 'DELETE', path: address, headers: version })
    assert.equal(dropped.status, 204)
    assert.deepEqual(await server.names(), [])
    assert.equal((await head(server, address)).status, 410)
  })

  it('expires when nothing comes', async () => {
    await using server = await startResumableServer({ expiry: { rawMs: 4000, streamMs: 4000 } })
    const { address } = await create(server, { 'upload-length': '1000000' })
    await patch(server, address, 0, Buffer.alloc(500_000, 1))
    // Twice that is longer than it lives by itself, and once so much less that a busy machine asks in time.
    await delay(2200)
    assert.equal((await head(server, address)).status, 200)
    await delay(2200)
    assert.equal((await head(server, address)).status, 200)
    await until(() => server.slot.state === 'idle')
    assert.deepEqual(await server.names(), [])
    const over = await patch(server, address, 500_000, Buffer.alloc(10))
    assert.equal(over.status, 410)
    assert.match(over.text, /nothing came for too long/)
  })

  it('answers the last byte with what is true when the volume takes longer, and later with the end', async () => {
    const disk = makeDisk(mebibyte)
    for (const isRight of [true, false]) {
      await using server = await startResumableServer({ patienceMs: 0 })
      const checksum = `sha256:${hashOf(isRight ? disk : Buffer.alloc(1)).toString('hex')}`
      const { address } = await create(server, {
        'upload-length': String(disk.length),
        'upload-metadata': `checksum ${Buffer.from(checksum).toString('base64')}`,
      })
      const last = await patch(server, address, 0, disk)
      assert.equal(last.status, 204)
      assert.equal(last.headers['upload-offset'], String(disk.length))
      await until(() => server.slot.state === (isRight ? 'done' : 'idle'))
      const told = await head(server, address)
      assert.equal(told.status, isRight ? 200 : 400)
      const again = await patch(server, address, disk.length, Buffer.alloc(0))
      assert.equal(again.status, isRight ? 204 : 400)
      if (isRight) assert.equal((await server.end).exitCode, 0)
    }
  })

  it('refuses another upload when the volume is finished, and tells the one that finished it', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(100_000)
    const created = await create(server, { ...pieceType, 'upload-length': String(disk.length) }, disk)
    assert.equal(created.status, 201)
    assert.equal(created.headers['upload-offset'], String(disk.length))
    const told = await head(server, created.address)
    assert.equal(told.headers['upload-offset'], told.headers['upload-length'])
    assert.equal((await create(server, { 'upload-length': '10' })).status, 409)
    assert.equal((await server.send({ method: 'DELETE', path: created.address, headers: version })).status, 409)
  })

  it('says that an empty upload is none', async () => {
    await using server = await startResumableServer()
    const { status, text } = await create(server, { 'upload-length': '0' })
    assert.equal(status, 400)
    assert.match(text, /no content/)
    assert.equal(server.slot.state, 'idle')
  })

  it('takes a disk in pieces of any sizes, raw or packed', async () => {
    const disk = makeDisk(700_000)
    const packed = gzipSync(disk, { level: 1 })
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.array(fc.integer({ min: 0, max: 300_000 }), { maxLength: 6 }),
        async (isPacked, sizes) => {
          const content = isPacked ? packed : disk
          await using server = await startResumableServer()
          const { address } = await create(server, { 'upload-length': String(content.length) })
          let offset = 0
          for (const size of [...sizes, content.length]) {
            const piece = content.subarray(offset, offset + size)
            if (piece.length === 0 && offset === content.length) break
            const { status, headers, text } = await patch(server, address, offset, piece)
            assert.equal(status, 204, text)
            offset += piece.length
            assert.equal(headers['upload-offset'], String(offset))
          }
          await assertDisk(server, disk)
        },
      ),
      { numRuns: 12, endOnFailure: true },
    )
  })

  it('does not fail on any headers', async () => {
    await using server = await startResumableServer()
    const { address } = await create(server, { 'upload-length': '1000' })
    const value = fc.string({ unit: fc.constantFrom(...'0123456789 -,=:?;"abcABC/+*.'.split('')), maxLength: 40 })
    const names = [
      'upload-offset',
      'upload-length',
      'upload-metadata',
      'upload-checksum',
      'content-type',
      'content-digest',
      'repr-digest',
      'upload-defer-length',
      'x-http-method-override',
    ]
    await fc.assert(
      fc.asyncProperty(
        fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 5 }),
        fc.constantFrom('PATCH', 'POST', 'HEAD', 'DELETE2', 'PUT'),
        fc.boolean(),
        async (headers, method, toUpload) => {
          const { status } = await server.send({
            method: method === 'DELETE2' ? 'PUT' : method,
            path: toUpload ? address : path,
            headers: { ...headers, ...version },
          })
          assert.ok(status < 500 || status === 503, `${status}`)
        },
      ),
      { numRuns: 60, endOnFailure: true },
    )
  })
})
