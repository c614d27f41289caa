import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import type { RangesState } from '../../../../importer/upload/resumable/ranges.ts'
import { resumptionPath } from '../../../../src/api/upload-env.ts'
import type { UploadResumption } from '../../../../src/api/upload-env.ts'
import { contentOf, loopDevice, noRoot } from '../../../fixtures/loop.ts'
import { answerOf } from '../support/client.ts'
import type { Sent } from '../support/client.ts'
import type { TestUploadServer } from '../support/upload-server.ts'
import { allocatedBytes } from '../support/upload-server.ts'
import { digestField, makeDisk, mebibyte, startResumableServer, until } from './support.ts'

const path = '/v1beta1/upload-ranges'

function put(
  server: TestUploadServer,
  disk: Buffer,
  [start, end]: readonly [number, number],
  headers: Record<string, string> = {},
): Promise<Sent> {
  return server.send({
    method: 'PUT',
    path,
    headers: { 'content-range': `bytes ${start}-${end - 1}/${disk.length}`, ...headers },
    body: disk.subarray(start, end),
  })
}

function finish(server: TestUploadServer, headers: Record<string, string> = {}): Promise<Sent> {
  return server.send({ method: 'POST', path, headers })
}

async function stateOf(server: TestUploadServer): Promise<RangesState> {
  const { text } = await server.send({ method: 'GET', path })
  return JSON.parse(text) as RangesState
}

async function assertDisk(server: TestUploadServer, disk: Buffer): Promise<void> {
  assert.ok((await contentOf(server.disk, disk.length)).equals(disk))
}

describe('a raw disk in ranges', () => {
  it('is taken in any order, over several connections, overlapping and repeated', async () => {
    const disk = makeDisk(3 * mebibyte + 777)
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.integer({ min: 1, max: disk.length - 1 }), { maxLength: 8 }),
        fc.array(fc.tuple(fc.nat(disk.length), fc.nat(disk.length)), { maxLength: 3 }),
        fc.integer({ min: 1, max: 5 }),
        fc.infiniteStream(fc.nat()),
        async (edges, extra, connections, random) => {
          const sorted = [0, ...edges.sort((one, two) => one - two), disk.length]
          const ranges = sorted.slice(1).map((end, index) => [sorted[index] as number, end] as const)
          for (const [one, two] of extra) if (one !== two) ranges.push([Math.min(one, two), Math.max(one, two)])
          const queue = ranges
            .map((range) => ({ range, key: random.next().value as number }))
            .sort((one, two) => one.key - two.key)
            .map(({ range }) => range)
          await using server = await startResumableServer({ requestedBytes: 4 * mebibyte })
          const connection = async (): Promise<void> => {
            for (let range = queue.shift(); range !== undefined; range = queue.shift()) {
              const { status, text } = await put(server, disk, range)
              assert.equal(status, 204, text)
            }
          }
          await Promise.all(Array.from({ length: connections }, connection))
          const { status, text } = await finish(server, { 'repr-digest': digestField(disk) })
          assert.equal(status, 200, text)
          assert.equal((JSON.parse(text) as RangesState).state, 'done')
          await assertDisk(server, disk)
          // Every third MiB is zeros; what lies around odd edges may be backed by storage.
          assert.ok((await allocatedBytes(server.disk)) <= 2 * mebibyte + 256 * 1024)
          assert.equal((await server.end).exitCode, 0)
        },
      ),
      { numRuns: 12, endOnFailure: true },
    )
  })

  it('goes onto a device full of old bytes', { skip: noRoot }, async () => {
    await using device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty: true })
    await using server = await startResumableServer({ device: device.path })
    const disk = makeDisk(7 * mebibyte + 512)
    const half = 3 * mebibyte + 1
    await Promise.all([put(server, disk, [half, disk.length]), put(server, disk, [0, half])])
    assert.equal((await finish(server)).status, 200)
    await assertDisk(server, disk)
  })

  it('tells what is there, and what is missing when it is to be finished', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    assert.equal((await server.send({ method: 'GET', path })).status, 404)
    await put(server, disk, [1000, 5000])
    await put(server, disk, [500_000, 600_000])
    const { id, expires, ...state } = await stateOf(server)
    assert.match(id, /^[A-Za-z0-9_-]{22}$/)
    assert.ok(Date.parse(expires) - Date.now() > 23 * 3_600_000)
    const ranges = [
      [1000, 5000],
      [500_000, 600_000],
    ]
    assert.deepEqual(state, { length: mebibyte, state: 'open', ranges, missingBytes: mebibyte - 104_000 })
    const refused = await finish(server)
    assert.equal(refused.status, 409)
    assert.deepEqual((JSON.parse(refused.text) as RangesState).ranges, ranges)
    await put(server, disk, [0, 500_000])
    await put(server, disk, [600_000, mebibyte])
    assert.equal((await finish(server)).status, 200)
    // And once more, for a client that did not get the answer.
    assert.equal((await finish(server)).status, 200)
    assert.equal((await stateOf(server)).state, 'done')
    assert.equal((await put(server, disk, [0, 10])).status, 409)
  })

  it('does not count what a piece has damaged that was not what its digest told', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    assert.equal((await put(server, disk, [0, mebibyte])).status, 204)
    const wrong = await server.send({
      method: 'PUT',
      path,
      headers: { 'content-range': `bytes 1000-1999/${mebibyte}`, 'content-digest': digestField(Buffer.from('other')) },
      body: Buffer.alloc(1000, 9),
    })
    assert.equal(wrong.status, 400)
    const refused = await finish(server)
    assert.equal(refused.status, 409)
    assert.deepEqual((JSON.parse(refused.text) as RangesState).ranges, [
      [0, 1000],
      [2000, mebibyte],
    ])
    await put(server, disk, [1000, 2000])
    assert.equal((await finish(server)).status, 200)
    await assertDisk(server, disk)
  })

  it('keeps two clients apart who begin in the same moment, if they have chosen ids', async () => {
    await using server = await startResumableServer()
    const [one, two] = [makeDisk(mebibyte), Buffer.alloc(mebibyte, 2)]
    const begin = (id: string, disk: Buffer) =>
      server.send({
        method: 'PUT',
        path,
        headers: { 'content-range': `bytes 0-999/${mebibyte}`, 'cdi-upload-begin': id },
        body: disk.subarray(0, 1000),
      })
    const ids = ['first_client_of_the_two', 'other_client_of_the_two'].map((name) => name.slice(0, 22))
    const answers = await Promise.all([begin(ids[0]!, one), begin(ids[1]!, two)])
    assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([204, 409]))
    const winner = answers[0]?.status === 204 ? 0 : 1
    assert.equal((await stateOf(server)).id, ids[winner])
    // The answer may get lost: who asks again is still the same.
    assert.equal((await begin(ids[winner]!, [one, two][winner]!)).status, 204)
    assert.equal((await begin('short', one)).status, 400)
  })

  it('keeps what arrived of a piece that broke off', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    const request = server.begin({
      method: 'PUT',
      path,
      headers: {
        'content-range': `bytes 100000-${mebibyte - 1}/${mebibyte}`,
        'content-length': String(mebibyte - 100_000),
      },
    })
    request.on('error', () => {})
    request.write(disk.subarray(100_000, 400_000))
    await until(() => server.takenBytes === 300_000)
    request.destroy()
    await until(() => !server.slot.isBusy)
    assert.deepEqual((await stateOf(server)).ranges, [[100_000, 400_000]])
    await put(server, disk, [0, 100_000])
    await put(server, disk, [400_000, mebibyte])
    assert.equal((await finish(server, { 'repr-digest': digestField(disk) })).status, 200)
    await assertDisk(server, disk)
  })

  it('is refused when its digest is another, and the volume is free again', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    await put(server, disk, [0, mebibyte])
    const { status, text } = await finish(server, { 'repr-digest': digestField(Buffer.alloc(1)) })
    assert.equal(status, 400)
    assert.match(text, /checksum mismatch/)
    assert.deepEqual(await server.names(), [])
    const { state, error } = await stateOf(server)
    assert.equal(state, 'failed')
    assert.match(error ?? '', /checksum mismatch/)
    // The digest may come with the first piece as well.
    await put(server, disk, [0, 1000], { 'repr-digest': digestField(Buffer.alloc(1)) })
    await put(server, disk, [1000, mebibyte])
    assert.equal((await finish(server)).status, 400)
    await put(server, disk, [0, mebibyte], { 'repr-digest': digestField(disk) })
    assert.equal((await finish(server, { 'repr-digest': digestField(disk) })).status, 200)
    await assertDisk(server, disk)
  })

  it('does not count a piece whose digest is another', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    const wrong = await put(server, disk, [0, 500_000], { 'content-digest': digestField(disk) })
    assert.equal(wrong.status, 400)
    assert.deepEqual((await stateOf(server)).ranges, [])
    const right = await put(server, disk, [0, 500_000], { 'content-digest': digestField(disk.subarray(0, 500_000)) })
    assert.equal(right.status, 204)
  })

  it('is refused before a byte is taken if it is larger than the volume', async () => {
    await using server = await startResumableServer({ requestedBytes: mebibyte })
    const request = server.begin({
      method: 'PUT',
      path,
      headers: { 'content-range': 'bytes 0-999999/9000000', 'content-length': '1000000', expect: '100-continue' },
    })
    let continued = false
    request.on('continue', () => (continued = true))
    request.flushHeaders()
    const { status, text } = await answerOf(request)
    assert.equal(status, 400)
    assert.match(text, /effective image size is larger than the reported available storage/)
    assert.equal(continued, false)
    assert.deepEqual(await server.names(), [])
    request.destroy()
  })

  it('is the only thing that is taken in ranges', async () => {
    const packed = gzipSync(makeDisk(mebibyte), { level: 1 })
    await using server = await startResumableServer()
    const { status, text } = await put(server, packed, [0, 100_000])
    assert.equal(status, 400)
    assert.match(text, /only raw disks can be uploaded in ranges, and this is gzip: upload it to/)
    assert.equal(server.slot.state, 'idle')
    assert.deepEqual(await server.names(), [])
    await using archives = await startResumableServer({ contentType: 'archive' })
    assert.equal((await put(archives, makeDisk(1000), [0, 1000])).status, 400)
  })

  it('answers what it cannot take', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    await put(server, disk, [0, 10])
    const range = { 'content-range': `bytes 10-19/${mebibyte}` }
    for (const [what, request, status] of [
      ['no range', { method: 'PUT', body: Buffer.alloc(10) }, 400],
      ['a range that is none', { method: 'PUT', headers: { 'content-range': 'x' }, body: Buffer.alloc(10) }, 400],
      ['another length of the body', { method: 'PUT', headers: range, body: Buffer.alloc(9) }, 400],
      ['a longer body without a length', { method: 'PUT', headers: range, body: [Buffer.alloc(11)] }, 400],
      ['a shorter body without a length', { method: 'PUT', headers: range, body: [Buffer.alloc(9)] }, 400],
      [
        'another length of the disk',
        { method: 'PUT', headers: { 'content-range': 'bytes 0-9/10' }, body: Buffer.alloc(10) },
        409,
      ],
      ['a finish with a body', { method: 'POST', body: Buffer.alloc(1) }, 400],
      ['another method', { method: 'PATCH' }, 405],
    ] as const) {
      const sent = await server.send({ path, ...request })
      assert.equal(sent.status, status, `${what}: ${sent.text}`)
    }
    // The nine bytes of the shorter one arrived.
    assert.deepEqual((await stateOf(server)).ranges, [[0, 19]])
  })

  it('can be given up, and gives its place to whoever begins anew', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    await put(server, disk, [0, 10])
    assert.equal((await server.send({ method: 'DELETE', path })).status, 204)
    assert.deepEqual(await server.names(), [])
    assert.equal((await server.send({ method: 'DELETE', path })).status, 410)
    await put(server, disk, [0, 10])
    assert.equal((await server.send({ path: '/v1beta1/upload', body: disk })).status, 200)
    assert.equal((await stateOf(server)).state, 'failed')
  })

  it('is finished behind the answer if it takes longer', async () => {
    await using server = await startResumableServer({ patienceMs: 0 })
    const disk = makeDisk(mebibyte)
    await put(server, disk, [0, mebibyte])
    const { status, text } = await finish(server, { 'repr-digest': digestField(disk) })
    assert.equal(status, 202)
    assert.equal((JSON.parse(text) as RangesState).state, 'finishing')
    await until(() => server.slot.state === 'done')
    assert.equal((await stateOf(server)).state, 'done')
    assert.equal((await server.end).exitCode, 0)
  })
})

describe('what another pod could go on with', () => {
  it('is told to the controller: the durable ranges of a raw disk, and nothing else', async () => {
    await using server = await startResumableServer()
    const disk = makeDisk(mebibyte)
    const ask = (): Promise<Sent> => server.send({ method: 'GET', path: resumptionPath })
    assert.equal((await ask()).status, 204)
    await put(server, disk, [1000, 5000], { 'repr-digest': digestField(disk) })
    const { status, text, headers } = await ask()
    assert.equal(status, 200)
    assert.equal(headers['content-type'], 'application/json')
    const { id, expires, checksum, ...rest } = JSON.parse(text) as UploadResumption
    assert.match(id, /^[A-Za-z0-9_-]{22}$/)
    assert.ok(Date.parse(expires) > Date.now())
    assert.match(checksum ?? '', /^sha256:[0-9a-f]{64}$/)
    assert.deepEqual(rest, { length: mebibyte, ranges: [[1000, 5000]], byRanges: true })
    assert.equal((await server.send({ method: 'GET', path: resumptionPath, as: 'none' })).status, 401)
    assert.equal((await server.send({ method: 'GET', path: resumptionPath, as: 'stranger' })).status, 401)
    assert.equal((await server.send({ method: 'PUT', path: resumptionPath })).status, 405)
    await server.send({ method: 'DELETE', path })
    assert.equal((await ask()).status, 204)
  })
})
