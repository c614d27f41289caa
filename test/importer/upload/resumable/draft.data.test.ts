import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { startCutter } from '../../../fixtures/cutter.ts'
import { uploadByDraft } from '../../../fixtures/draft-upload-client.ts'
import type { DraftClientOptions, DraftUpload } from '../../../fixtures/draft-upload-client.ts'
import { contentOf, loopDevice, noRoot } from '../../../fixtures/loop.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { answerOf } from '../support/client.ts'
import type { Sent } from '../support/client.ts'
import type { TestUploadServer } from '../support/upload-server.ts'
import { digestField, makeDisk, mebibyte, startResumableServer, startTus, until } from './support.ts'

const path = '/v1beta1/upload-resumable'
const pieceType = { 'content-type': 'application/partial-upload' }
const problem = (name: string): string => `https://iana.org/assignments/http-problem-types#${name}`

function upload(
  { port, identities }: Pick<TestUploadServer, 'port' | 'identities'>,
  content: Buffer,
  options: Partial<DraftClientOptions> = {},
): Promise<DraftUpload> {
  const { serverCa, proxy } = identities
  return uploadByDraft({
    url: `https://127.0.0.1:${port}${path}`,
    tls: { ca: serverCa, cert: proxy.certPem, key: proxy.keyPem },
    content,
    ...options,
  })
}

async function assertDisk(server: TestUploadServer, disk: Buffer): Promise<void> {
  assert.ok((await contentOf(server.disk, disk.length)).equals(disk))
}

async function create(
  server: TestUploadServer,
  headers: Record<string, string>,
  body: Buffer = Buffer.alloc(0),
): Promise<Sent & { address: string }> {
  const sent = await server.send({ path, headers, body })
  return { ...sent, address: new URL(sent.headers.location ?? '', `https://host${path}`).pathname }
}

function patch(
  server: TestUploadServer,
  address: string,
  headers: Record<string, string>,
  body: Buffer = Buffer.alloc(0),
): Promise<Sent> {
  return server.send({ method: 'PATCH', path: address, headers: { ...pieceType, ...headers }, body })
}

describe('a client of the draft of resumable uploads', () => {
  const disk = makeDisk(6 * mebibyte + 1000)
  for (const [how, options] of [
    ['at once', { interop: 8 }],
    ['at once, without telling a version', {}],
    ['in parts', { pieceBytes: 900_000 }],
    ['after asking for the address', { careful: true }],
  ] as const) {
    it(`uploads a raw disk ${how}`, async () => {
      await using server = await startResumableServer({ requestedBytes: 8 * mebibyte })
      const { answer, interims } = await upload(server, disk, options)
      assert.equal(answer.status, 200, answer.text)
      assert.equal(answer.headers['upload-complete'], '?1')
      await assertDisk(server, disk)
      assert.equal((await server.end).exitCode, 0)
      const addresses = interims.map(({ headers }) => headers.location).filter((one) => one !== undefined)
      assert.equal(addresses.length, 'interop' in options ? 1 : 0)
    })
  }

  it('uploads onto a device full of old bytes, and what is packed', { skip: noRoot }, async () => {
    for (const content of [disk, gzipSync(disk, { level: 1 })]) {
      await using device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty: true })
      await using server = await startResumableServer({ device: device.path })
      assert.equal((await upload(server, content, { pieceBytes: 2 * mebibyte })).answer.status, 200)
      await assertDisk(server, disk)
    }
  })

  it('finishes through an ingress that cuts every connection after some bytes, with at most 5 % more', async () => {
    const large = makeDisk(96 * mebibyte)
    await using server = await startResumableServer({ requestedBytes: 96 * mebibyte })
    await using cutter = await startCutter({ to: () => server.port, afterBytes: 11 * mebibyte })
    const { answer } = await upload({ ...server, port: cutter.port }, large, { interop: 8 })
    assert.equal(answer.status, 200, answer.text)
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
      const { answer } = await upload({ ...server, port: cutter.port }, content, { interop: 8 })
      assert.equal(answer.status, 200, answer.text)
      await assertDisk(server, large)
      assert.ok(cutter.cuts >= 3, `${cutter.cuts} cuts`)
      assert.ok(cutter.sentBytes <= 1.05 * content.length, `${cutter.sentBytes / content.length} times the bytes`)
    }
  })

  it('gets the reason when what it sent cannot be a volume, marked as an answer to all of it', async () => {
    await using server = await startResumableServer({ requestedBytes: 4 * mebibyte })
    const { answer } = await upload(server, disk, {
      pieceBytes: mebibyte,
      headers: { 'repr-digest': digestField(disk) },
    })
    assert.equal(answer.status, 400)
    assert.match(answer.text, /effective image size is larger than the reported available storage/)
    const small = makeDisk(3 * mebibyte)
    const wrong = await upload(server, small, { headers: { 'repr-digest': digestField(disk) } })
    assert.equal(wrong.answer.status, 400)
    assert.equal(wrong.answer.headers['upload-complete'], '?1')
    assert.match(wrong.answer.text, /checksum mismatch/)
    assert.deepEqual(await server.names(), [])
    const right = await upload(server, small, { headers: { 'repr-digest': digestField(small) } })
    assert.equal(right.answer.status, 200)
  })

  for (const protocol of ['ietf-draft-03', 'ietf-draft-05'] as const) {
    it(`of an earlier version (tus-js-client, ${protocol}) uploads, through an ingress that cuts`, async () => {
      await using server = await startResumableServer({ requestedBytes: 8 * mebibyte })
      await using cutter = await startCutter({ to: () => server.port, afterBytes: 2 * mebibyte })
      await startTus(disk, {
        ...server,
        port: cutter.port,
        path: 'upload-resumable',
        options: { protocol, chunkSize: 3 * mebibyte } as object,
      }).done
      await assertDisk(server, disk)
      assert.ok(cutter.cuts >= 2, `${cutter.cuts} cuts`)
    })
  }
})

describe('the interim response 104', () => {
  it('tells the address and how far an upload has come, to clients of the draft only', async () => {
    await using server = await startResumableServer()
    for (const [interop, isTold] of [
      ['8', true],
      ['6', true],
      ['4', false],
      [undefined, false],
    ] as const) {
      const request = server.begin({
        path,
        headers: {
          'upload-complete': '?1',
          'content-length': '1000000',
          ...(interop === undefined ? {} : { 'upload-draft-interop-version': interop }),
        },
      })
      request.on('error', () => {})
      const interims: { statusCode: number; headers: Record<string, unknown> }[] = []
      request.on('information', ({ statusCode, headers }) => interims.push({ statusCode, headers }))
      request.write(Buffer.alloc(400_000, 1))
      await until(() => server.slot.isBusy)
      if (isTold) await until(() => interims.length === 2)
      else await delay(100)
      const told = interims.map(({ statusCode, headers }) => [statusCode, headers['upload-draft-interop-version']])
      assert.deepEqual(
        told,
        isTold
          ? [
              [104, interop],
              [104, interop],
            ]
          : [],
      )
      if (isTold) {
        assert.match(String(interims[0]?.headers['location']), /^upload-resumable\/[A-Za-z0-9_-]{22}$/)
        assert.match(String(interims[0]?.headers['upload-limit']), /^max-age=\d+$/)
        assert.equal(interims[1]?.headers['location'], undefined)
        assert.match(String(interims[1]?.headers['upload-offset']), /^\d+$/)
      }
      request.destroy()
      await until(() => !server.slot.isBusy)
    }
  })

  it('is no trouble to curl', async () => {
    await using dir = await tempDir('draft')
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    await writeFile(join(dir.path, 'disk'), disk)
    const { exitCode, status, text } = await server.curl(
      path,
      '--include',
      '--http1.1',
      '--data-binary',
      `@${join(dir.path, 'disk')}`,
      '--header',
      'upload-complete: ?1',
      '--header',
      'upload-draft-interop-version: 8',
    )
    assert.deepEqual([exitCode, status], [0, 200])
    assert.match(text, /HTTP\/1\.1 104 Upload Resumption Supported\r\nlocation: upload-resumable\//)
    await assertDisk(server, disk)
  })
})

describe('the draft of resumable uploads', () => {
  it('tells what it can', async () => {
    await using server = await startResumableServer()
    const { status, headers } = await server.send({ method: 'OPTIONS', path })
    assert.equal(status, 204)
    assert.equal(headers['accept-patch'], 'application/partial-upload')
    assert.match(headers['upload-limit'] as string, /^max-age=\d+$/)
  })

  it('tells how far an upload has come, and whether it is complete', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(500_000)
    const created = await create(server, { 'upload-complete': '?0', 'upload-length': '500000' }, disk.subarray(0, 1000))
    assert.equal(created.status, 201)
    assert.equal(created.headers['upload-complete'], '?0')
    const told = await server.send({ method: 'HEAD', path: created.address })
    assert.deepEqual(
      [
        told.status,
        ...['upload-complete', 'upload-offset', 'upload-length', 'cache-control'].map((name) => told.headers[name]),
      ],
      [204, '?0', '1000', '500000', 'no-store'],
    )
    const rest = await patch(
      server,
      created.address,
      { 'upload-complete': '?0', 'upload-offset': '1000' },
      disk.subarray(1000),
    )
    assert.deepEqual(
      [rest.status, rest.headers['upload-complete'], rest.headers['upload-offset']],
      [204, '?0', '500000'],
    )
    // All bytes are there, but only its client says that it is complete.
    const before = await server.send({ method: 'HEAD', path: created.address })
    assert.equal(before.headers['upload-complete'], '?0')
    const end = await patch(server, created.address, { 'upload-complete': '?1', 'upload-offset': '500000' })
    assert.deepEqual([end.status, end.headers['upload-complete']], [200, '?1'])
    const after = await server.send({ method: 'HEAD', path: created.address })
    assert.deepEqual(
      [after.status, after.headers['upload-complete'], after.headers['upload-offset']],
      [204, '?1', '500000'],
    )
    await assertDisk(server, disk)
    // Asked again, the end is told again; more bytes are refused.
    const again = await patch(server, created.address, { 'upload-complete': '?1', 'upload-offset': '500000' })
    assert.equal(again.status, 200)
    const more = await patch(
      server,
      created.address,
      { 'upload-complete': '?1', 'upload-offset': '500000' },
      Buffer.alloc(1),
    )
    assert.equal(more.status, 400)
    assert.equal(JSON.parse(more.text).type, problem('completed-upload'))
  })

  it('answers what it cannot take, with documents where the draft has some', async () => {
    await using server = await startResumableServer()
    const { address } = await create(server, { 'upload-complete': '?0', 'upload-length': '1000' })
    const part = { 'upload-complete': '?0', 'upload-offset': '0' }
    for (const [what, request, status, type] of [
      ['no completeness', { headers: { ...pieceType, 'upload-offset': '0' } }, 400, undefined],
      ['no place', { headers: { ...pieceType, 'upload-complete': '?0' } }, 400, undefined],
      ['another media type', { headers: { ...part, 'content-type': 'text/plain' } }, 415, undefined],
      ['another place', { headers: { ...pieceType, ...part, 'upload-offset': '7' } }, 409, 'mismatching-upload-offset'],
      [
        'another length',
        { headers: { ...pieceType, ...part, 'upload-length': '7' } },
        400,
        'inconsistent-upload-length',
      ],
      [
        'too many bytes',
        { headers: { ...pieceType, ...part }, body: Buffer.alloc(1001) },
        400,
        'inconsistent-upload-length',
      ],
      [
        'an end that is none',
        { headers: { ...pieceType, ...part, 'upload-complete': '?1' }, body: Buffer.alloc(7) },
        400,
        'inconsistent-upload-length',
      ],
      [
        'another digest',
        { headers: { ...pieceType, ...part, 'content-digest': digestField(Buffer.alloc(1)) }, body: Buffer.alloc(7) },
        400,
        undefined,
      ],
      [
        'a malformed digest',
        { headers: { ...pieceType, ...part, 'content-digest': 'sha-256=x' }, body: Buffer.alloc(7) },
        400,
        undefined,
      ],
      ['an unknown upload', { path: `${path}/x`, headers: { ...pieceType, ...part } }, 404, undefined],
      ['an upload by GET', { method: 'GET', headers: {} }, 405, undefined],
      ['a creation by GET', { method: 'GET', path, headers: {} }, 405, undefined],
      ['a creation without completeness', { method: 'POST', path, headers: {}, body: Buffer.alloc(1) }, 400, undefined],
      [
        'a creation of two lengths',
        { method: 'POST', path, headers: { 'upload-complete': '?1', 'upload-length': '2' }, body: Buffer.alloc(1) },
        400,
        'inconsistent-upload-length',
      ],
    ] as const) {
      const sent = await server.send({ method: 'PATCH', path: address, body: Buffer.alloc(0), ...request })
      assert.equal(sent.status, status, `${what}: ${sent.text}`)
      if (type === undefined) continue
      assert.equal(sent.headers['content-type'], 'application/problem+json')
      assert.equal(JSON.parse(sent.text).type, problem(type), what)
    }
    const told = await server.send({ method: 'HEAD', path: address })
    assert.equal(told.headers['upload-offset'], '0', 'none of that did it any harm')
  })

  it('ends the request before when its client comes back', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(4 * mebibyte)
    const { address } = await create(server, { 'upload-complete': '?0', 'upload-length': String(disk.length) })
    const hanging = server.begin({
      method: 'PATCH',
      path: address,
      headers: { ...pieceType, 'upload-complete': '?1', 'upload-offset': '0', 'content-length': String(disk.length) },
    })
    const ended = answerOf(hanging)
    ended.catch(() => {})
    hanging.write(disk.subarray(0, mebibyte))
    await until(() => server.takenBytes === mebibyte)
    const { headers } = await server.send({ method: 'HEAD', path: address })
    const offset = Number(headers['upload-offset'])
    assert.equal(offset, mebibyte)
    const next = await patch(
      server,
      address,
      { 'upload-complete': '?1', 'upload-offset': String(offset) },
      disk.subarray(offset),
    )
    assert.equal(next.status, 200, next.text)
    assert.equal((await ended).status, 503)
    await assertDisk(server, disk)
  })

  it('can be cancelled', async () => {
    await using server = await startResumableServer()
    const { address } = await create(
      server,
      { 'upload-complete': '?0', 'upload-length': '1000000' },
      Buffer.alloc(500_000, 1),
    )
    assert.deepEqual(await server.names(), ['disk.img'].slice(0, (await server.names()).length))
    assert.equal((await server.send({ method: 'DELETE', path: address })).status, 204)
    assert.deepEqual(await server.names(), [])
    assert.equal((await server.send({ method: 'HEAD', path: address })).status, 410)
  })

  it('answers the end with what is true when the volume takes longer', async () => {
    const disk = makeDisk(mebibyte)
    for (const isRight of [true, false]) {
      await using server = await startResumableServer({ patienceMs: 0 })
      const { answer } = await upload(server, disk, {
        careful: true,
        headers: { 'repr-digest': digestField(isRight ? disk : Buffer.alloc(1)) },
      })
      assert.deepEqual([answer.status, answer.headers['upload-complete']], [202, '?1'])
      await until(() => server.slot.state === (isRight ? 'done' : 'idle'))
    }
  })

  it('takes what comes without a length, in pieces of any sizes', async () => {
    const disk = makeDisk(700_000)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 300_000 }), { maxLength: 5 }), async (sizes) => {
        await using server = await startResumableServer()
        const { address } = await create(server, { 'upload-complete': '?0' })
        let offset = 0
        for (const size of sizes) {
          const piece = disk.subarray(offset, offset + size)
          const sent = await patch(server, address, { 'upload-complete': '?0', 'upload-offset': String(offset) }, piece)
          assert.equal(sent.status, 204, sent.text)
          offset += piece.length
        }
        const end = await patch(
          server,
          address,
          { 'upload-complete': '?1', 'upload-offset': String(offset) },
          disk.subarray(offset),
        )
        assert.equal(end.status, 200, end.text)
        await assertDisk(server, disk)
      }),
      { numRuns: 10, endOnFailure: true },
    )
  })
})
