import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, describe, it } from 'node:test'
import { UploadConnection } from '../../../../src/cli/upload/connection.ts'
import { Patience } from '../../../../src/cli/upload/patience.ts'
import type { TransferEvents } from '../../../../src/cli/upload/transfer.ts'
import { Trouble } from '../../../../src/cli/upload/trouble.ts'
import { TusTransfer } from '../../../../src/cli/upload/tus-client.ts'
import { FileBytes, StreamBytes } from '../../../../src/cli/upload/upload-bytes.ts'
import type { UploadBytes } from '../../../../src/cli/upload/upload-bytes.ts'
import { systemClock } from '../../../../src/kube/clock.ts'
import { mebibyte, noise } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startTusServer } from './tus-server.ts'
import type { TusServer } from './tus-server.ts'

const data = noise(24 * mebibyte + 123, 1)

let dir: TempDir
before(async () => {
  dir = await tempDir('tus-client')
  await writeFile(join(dir.path, 'disk'), data)
})
after(() => dir[Symbol.asyncDispose]())

interface Run {
  readonly bytes?: UploadBytes
  readonly address?: string
  readonly budgetMs?: number
  readonly isFinished?: () => Promise<boolean>
  readonly token?: { get(): Promise<string>; forget(): void }
  readonly headers?: Record<string, string>
}

interface Told {
  address: string
  readonly restarts: string[]
  readonly troubles: string[]
  done: number
}

async function upload(
  server: TusServer,
  run: Run = {},
  signal: AbortSignal = AbortSignal.timeout(60_000),
): Promise<Told> {
  const told: Told = { address: '', restarts: [], troubles: [], done: 0 }
  const events: TransferEvents = {
    onAddress: (address) => {
      told.address = address
    },
    onProgress: (done) => {
      told.done = done
    },
    onRestart: (text) => told.restarts.push(text),
  }
  const token = run.token ?? { get: () => Promise.resolve('good'), forget: () => {} }
  await using connection = new UploadConnection({ url: new URL(server.url), token, trust: [server.ca], proxy: {} })
  await using bytes = run.bytes ?? (await FileBytes.open(join(dir.path, 'disk'), data.length))
  const trouble = new Trouble({
    clock: systemClock,
    token,
    patience: new Patience({ clock: systemClock, random: () => 0, budgetMs: run.budgetMs ?? 20_000 }),
    isFinished: run.isFinished ?? (() => Promise.resolve(false)),
    onTrouble: (text) => told.troubles.push(text),
  })
  const transfer = new TusTransfer({
    exchange: connection,
    bytes,
    clock: systemClock,
    trouble,
    events,
    ...(run.address === undefined ? {} : { address: run.address }),
    ...(run.headers === undefined ? {} : { headers: run.headers }),
  })
  await transfer.send(signal)
  return told
}

describe('tus client', () => {
  it('uploads a file in several requests and tells its address and headers', async () => {
    await using server = await startTusServer()
    const { address, done } = await upload(server, { headers: { 'repr-digest': 'sha-256=:abc:' } })
    assert.ok(server.contentOf(address).equals(data))
    assert.equal(done, data.length)
    const stored = [...server.uploads.values()][0]
    assert.equal(stored?.headers['repr-digest'], 'sha-256=:abc:')
    assert.equal(stored?.length, data.length)
    assert.equal(server.requests.filter((request) => request.startsWith('PATCH')).length, 3)
  })

  it('goes on where the server is when every request is cut, with few bytes sent twice', async () => {
    await using server = await startTusServer()
    server.cutAfterBytes = 3 * mebibyte
    const { address, troubles, restarts } = await upload(server)
    assert.ok(server.contentOf(address).equals(data))
    assert.equal(server.arrivedBytes, data.length)
    assert.ok(troubles.length >= 3, String(troubles.length))
    assert.deepEqual(restarts, [])
  })

  it('goes on when connections live for a second only', async () => {
    await using server = await startTusServer()
    server.cutAfterMs = 1000
    server.bytesPerSecond = 8 * mebibyte
    const { address, troubles } = await upload(server)
    assert.ok(server.contentOf(address).equals(data))
    assert.ok(troubles.length >= 1, String(troubles.length))
    assert.equal(server.arrivedBytes, data.length)
  })

  it('goes on with an upload that another process began', async () => {
    await using server = await startTusServer()
    server.cutAfterBytes = 5 * mebibyte
    const stop = new AbortController()
    const first = upload(server, {}, stop.signal)
    while (server.arrivedBytes < 5 * mebibyte) await new Promise((resolve) => setTimeout(resolve, 5))
    stop.abort(new Error('stopped'))
    await assert.rejects(first, { message: 'stopped' })
    const [id] = server.uploads.keys()
    // What the first one had sent may still be on its way.
    while ((await server.connections()) > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    server.cutAfterBytes = undefined
    const before = server.arrivedBytes
    await upload(server, { address: `/v1beta1/upload-tus/${id}` })
    assert.ok(server.contentOf(`/v1beta1/upload-tus/${id}`).equals(data))
    assert.equal(server.arrivedBytes - before, data.length - before)
    assert.equal(server.uploads.size, 1)
  })

  it('begins anew, and says so, when the server has lost the upload', async () => {
    await using server = await startTusServer()
    let lost = false
    server.intercept = (request) => {
      if (!lost && request.method === 'PATCH' && request.headers['upload-offset'] !== '0') {
        lost = true
        server.uploads.clear()
      }
      return false
    }
    const { address, restarts } = await upload(server)
    assert.ok(server.contentOf(address).equals(data))
    assert.equal(restarts.length, 1)
    assert.match(restarts[0] ?? '', /404/)
  })

  it('gives up when the server loses the upload at the same place again and again', async () => {
    await using server = await startTusServer()
    server.intercept = (request) => {
      if (request.method === 'PATCH' && request.headers['upload-offset'] !== '0') server.uploads.clear()
      return false
    }
    await assert.rejects(upload(server), { code: 'CDI_UPLOAD_INTERRUPTED', message: /again and again/ })
  })

  it('asks for another token when one is refused, and gives up when none is accepted', async () => {
    let current = 1
    await using server = await startTusServer({ isTokenGood: (token) => token === 'token-2' })
    const token = {
      get: () => Promise.resolve(`token-${current}`),
      forget: () => {
        current += 1
      },
    }
    const { address } = await upload(server, { token })
    assert.ok(server.contentOf(address).equals(data))
    const bad = { get: () => Promise.resolve('bad'), forget: () => {} }
    await assert.rejects(upload(server, { token: bad }), { code: 'CDI_UPLOAD_FORBIDDEN' })
  })

  it('suffers a proxy that is being restarted', async () => {
    await using server = await startTusServer()
    let left = 3
    server.intercept = (request, response) => {
      if (request.method === 'HEAD' || server.requests.length < 3 || left === 0) return false
      left -= 1
      response.writeHead(left % 2 === 0 ? 502 : 503, { 'retry-after': '0' }).end('not now')
      return true
    }
    const { address, troubles } = await upload(server)
    assert.ok(server.contentOf(address).equals(data))
    assert.deepEqual(troubles, ['502: not now', '503: not now', '502: not now'])
  })

  it('tells what the server says when it refuses', async () => {
    await using server = await startTusServer()
    server.intercept = (request, response) => {
      if (request.method !== 'PATCH') return false
      request.resume().on('end', () => response.writeHead(400).end('Saving stream failed: it is garbage'))
      return true
    }
    await assert.rejects(upload(server), {
      code: 'CDI_UPLOAD_REFUSED',
      message: /400: Saving stream failed: it is garbage/,
    })
  })

  it('takes the code of a fault from the server', async () => {
    await using server = await startTusServer()
    server.intercept = (request, response) => {
      if (request.method !== 'PATCH') return false
      request
        .resume()
        .on('end', () => response.writeHead(400, { 'cdi-error-code': 'CDI_IMAGE_TOO_LARGE' }).end('too large'))
      return true
    }
    await assert.rejects(upload(server), { code: 'CDI_IMAGE_TOO_LARGE', message: 'too large' })
  })

  it('gives up when no byte gets through for the whole budget', async () => {
    await using server = await startTusServer()
    server.intercept = (_request, response) => {
      response.writeHead(503).end('no')
      return true
    }
    await assert.rejects(upload(server, { budgetMs: 300 }), { code: 'CDI_UPLOAD_UNREACHABLE', message: /503: no/ })
  })

  it('does not trust a certificate that nobody vouches for', async () => {
    await using server = await startTusServer()
    const stranger = { ...server, ca: '' }
    await assert.rejects(upload(stranger), { code: 'CDI_UPLOAD_TLS' })
  })

  it('is done when the answer to the last bytes is lost and the volume turns out to be finished', async () => {
    await using server = await startTusServer()
    let isOver = false
    server.intercept = (request, response) => {
      if (isOver) {
        response.writeHead(503).end('that already finished uploading')
        return true
      }
      if (request.method !== 'PATCH') return false
      const isLast =
        Number(request.headers['upload-offset']) + Number(request.headers['content-length']) === data.length
      if (!isLast) return false
      request.resume().on('end', () => {
        isOver = true
        request.socket.destroy()
      })
      return true
    }
    await upload(server, { isFinished: () => Promise.resolve(isOver) })
    assert.ok(isOver)
  })

  it('does not take a volume for its own that somebody else has finished', async () => {
    await using server = await startTusServer()
    server.intercept = (_request, response) => {
      response.writeHead(503).end('that already finished uploading')
      return true
    }
    await assert.rejects(upload(server, { isFinished: () => Promise.resolve(true) }), { code: 'CDI_UPLOAD_TARGET' })
  })

  it('uploads a stream of unknown length, over cuts too', async () => {
    await using server = await startTusServer()
    server.cutAfterBytes = 3 * mebibyte
    const chunks: Buffer[] = []
    for (let at = 0; at < data.length; at += 100_000) chunks.push(data.subarray(at, at + 100_000))
    const { address, restarts } = await upload(server, { bytes: new StreamBytes(Readable.from(chunks)) })
    assert.ok(server.contentOf(address).equals(data))
    assert.equal([...server.uploads.values()][0]?.length, data.length)
    assert.deepEqual(restarts, [])
  })

  it('uploads a stream that ends exactly where a request ends', async () => {
    await using server = await startTusServer()
    const exact = data.subarray(0, 8 * mebibyte)
    const { address } = await upload(server, { bytes: new StreamBytes(Readable.from([exact])) })
    assert.ok(server.contentOf(address).equals(exact))
    assert.equal([...server.uploads.values()][0]?.length, exact.length)
  })

  it('cannot begin a stream anew', async () => {
    await using server = await startTusServer()
    server.intercept = (request) => {
      if (request.method === 'PATCH' && request.headers['upload-offset'] !== '0') server.uploads.clear()
      return false
    }
    await assert.rejects(upload(server, { bytes: new StreamBytes(Readable.from([data])) }), { code: 'CDI_UPLOAD_LOST' })
  })

  it('stops when the file changes under it', async () => {
    await using server = await startTusServer()
    const path = join(dir.path, 'changing')
    await writeFile(path, data)
    await using bytes = await FileBytes.open(path, data.length)
    server.intercept = (request) => {
      if (request.method === 'PATCH') void writeFile(path, data.subarray(0, 100))
      return false
    }
    await assert.rejects(upload(server, { bytes }), { code: 'CDI_SOURCE_CHANGED' })
  })
})
