/** How bodies and answers pass through the proxy: over real TLS sockets, to real servers that want a client certificate. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingHttpHeaders, IncomingMessage, RequestOptions, ServerResponse } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import * as fc from 'fast-check'
import { createAuthority } from '../../src/certs/authority.ts'
import { tempDir } from '../fixtures/server-process.ts'
import { curl } from './curl.ts'
import { countBytes, hourMs, ProxyUnderTest } from './proxy-under-test.ts'

interface Seen {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

describe('a request through the upload proxy', () => {
  let proxy: ProxyUnderTest
  let ca: string
  before(async () => {
    proxy = await ProxyUnderTest.start({ linger: { idleMs: 1000, totalMs: 4000 } })
    ca = await readFile(proxy.caFile, 'utf8')
    proxy.putClaim('d')
  })
  after(() => proxy[Symbol.asyncDispose]())

  /** A request of Node's own client. */
  const open = async (options: RequestOptions = {}, path = '/v1beta1/upload', claim = 'd') =>
    httpsRequest(proxy.url + path, {
      ca,
      agent: false,
      method: 'POST',
      ...options,
      headers: { authorization: await proxy.authorization(claim), ...(options.headers as object) },
    })

  const answerOf = async (request: ReturnType<typeof httpsRequest>): Promise<Seen> => {
    const [reply] = (await once(request, 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of reply) body += String(chunk)
    return { status: reply.statusCode ?? 0, headers: reply.headers, body }
  }

  /** A bare TLS connection to the proxy, for what no client library would send. */
  const dial = async (): Promise<TLSSocket> => {
    const socket = connectTls({ host: 'localhost', port: proxy.port, ca, servername: 'localhost' })
    await once(socket, 'secureConnect')
    return socket
  }

  const until = async (claim: () => boolean, limitMs = 20_000): Promise<void> => {
    for (const end = Date.now() + limitMs; !claim(); await delay(10)) {
      if (Date.now() > end) assert.fail(`not within ${limitMs} ms: ${claim.toString()}`)
    }
  }

  const digest = (data: Buffer): string => createHash('sha256').update(data).digest('hex')

  const digestBody = (request: IncomingMessage, response: ServerResponse): void => {
    const hash = createHash('sha256')
    request.on('data', (chunk: Buffer) => hash.update(chunk))
    request.on('end', () => response.end(`${hash.digest('hex')} ${request.headers['transfer-encoding'] ?? 'length'}`))
  }

  describe('bodies', () => {
    const data = randomBytes(9_000_001)

    it('arrive as they were sent, with their length', async () => {
      await using _server = await proxy.serve('d', digestBody)
      const { body, status } = await curl(proxy, '/v1beta1/upload', ['--data-binary', '@-'], {
        input: data,
        authorization: await proxy.authorization('d'),
      })
      assert.deepEqual([status, body], [200, `${digest(data)} length`])
    })

    it('arrive as they were sent, in chunks', async () => {
      await using _server = await proxy.serve('d', digestBody)
      const args = ['-X', 'POST', '-H', 'Transfer-Encoding: chunked', '-T', '-']
      const { body, status } = await curl(proxy, '/v1beta1/upload', args, {
        input: data,
        authorization: await proxy.authorization('d'),
      })
      assert.deepEqual([status, body], [200, `${digest(data)} chunked`])
    })

    it('of a form arrive with their parts', async () => {
      await using _server = await proxy.serve('d', (request, response) => {
        const parts: Buffer[] = []
        request.on('data', (chunk: Buffer) => parts.push(chunk))
        request.on('end', () => response.end(Buffer.concat(parts).includes(data.subarray(0, 1000)) ? 'found' : 'lost'))
      })
      await using dir = await tempDir('form')
      await writeFile(join(dir.path, 'f'), data.subarray(0, 1000))
      const { body } = await curl(proxy, '/v1beta1/upload-form', ['-F', `file=@${join(dir.path, 'f')}`], {
        authorization: await proxy.authorization('d'),
      })
      assert.equal(body, 'found')
    })

    it('may be empty', async () => {
      await using _server = await proxy.serve('d', (request, response) =>
        request
          .resume()
          .on('end', () =>
            response.end(JSON.stringify([request.headers['content-length'], request.headers['expect']])),
          ),
      )
      const authorization = await proxy.authorization('d')
      for (const args of [
        ['-X', 'POST'],
        ['--data-binary', ''],
        ['-X', 'POST', '-H', 'Content-Length: 0'],
      ]) {
        const { body, status } = await curl(proxy, '/v1beta1/upload', args, { authorization })
        assert.deepEqual([status, body], [200, '["0",null]'])
      }
    })

    it('bring their trailers, and answers theirs', async () => {
      await using _server = await proxy.serve('d', (request, response) =>
        request.resume().on('end', () => {
          response.writeHead(200, { trailer: 'X-After' })
          response.write(request.trailers['repr-digest'] ?? 'none')
          response.addTrailers({ 'X-After': 'yes' })
          response.end()
        }),
      )
      const request = await open({ headers: { trailer: 'Repr-Digest', 'transfer-encoding': 'chunked' } })
      request.write('data')
      request.addTrailers({ 'Repr-Digest': 'sha-256=:abc:' })
      request.end()
      const [reply] = (await once(request, 'response')) as [IncomingMessage]
      let body = ''
      for await (const chunk of reply) body += String(chunk)
      assert.deepEqual([body, reply.trailers['x-after']], ['sha-256=:abc:', 'yes'])
    })

    it('are sent no faster than the server reads, and answers no faster than the client reads', async () => {
      let reading: IncomingMessage | undefined
      await using _server = await proxy.serve('d', (request, response) => {
        reading = request
        // Asks for the body, and reads none of it.
        request.once('readable', () => undefined)
        response.on('error', () => undefined)
      })
      const request = await open({ headers: { 'content-length': String(1 << 30) } })
      request.on('error', () => undefined)
      let sent = 0
      const piece = Buffer.alloc(65536)
      const fill = (): void => {
        while (request.write(piece)) sent += piece.length
        sent += piece.length
      }
      request.on('drain', fill)
      fill()
      await until(() => reading !== undefined)
      for (let stuckAt = -1; sent !== stuckAt; await delay(500)) {
        stuckAt = sent
        // What the kernel's buffers of three connections hold, and not the gigabyte.
        assert.ok(sent < 64 << 20, `${sent} bytes are under way`)
      }
      request.destroy()
    })
  })

  describe('100 Continue', () => {
    it('is sent only when the server wants the body', async () => {
      let asked: ServerResponse | undefined
      await using server = await proxy.serve('d', countBytes)
      server.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
        asked = response
        countBytes(request, response)
      })
      const request = await open({ headers: { expect: '100-continue', 'content-length': '4' } })
      let isContinued = false
      request.once('continue', () => {
        isContinued = true
        request.end('data')
      })
      request.flushHeaders()
      await until(() => asked !== undefined)
      await delay(300)
      assert.equal(isContinued, false)
      asked?.writeContinue()
      assert.deepEqual(await answerOf(request).then(({ status, body }) => [status, body]), [200, '4'])
      assert.ok(isContinued)
    })

    it('is not sent when the server refuses', async () => {
      await using server = await proxy.serve('d', countBytes)
      server.server.on('checkContinue', (_: IncomingMessage, response: ServerResponse) =>
        response.writeHead(409).end('done'),
      )
      await using dir = await tempDir('big')
      const file = join(dir.path, 'big')
      await writeFile(file, Buffer.alloc(2_000_000))
      const args = ['-v', '--expect100-timeout', '30', '-H', 'Expect: 100-continue', '--data-binary', `@${file}`]
      const { status, body, stderr, headers } = await curl(proxy, '/v1beta1/upload', args, {
        authorization: await proxy.authorization('d'),
      })
      assert.deepEqual([status, body, headers['connection']], [409, 'done', 'close'])
      assert.doesNotMatch(stderr, /100 Continue/)
    })

    it('is not sent with a refusal of the proxy', async () => {
      const args = ['-v', '--expect100-timeout', '30', '-H', 'Expect: 100-continue', '--data-binary', 'data']
      const { status, stderr } = await curl(proxy, '/v1beta1/upload', args, { authorization: 'Bearer x' })
      assert.equal(status, 401)
      assert.doesNotMatch(stderr, /100 Continue/)
    })

    it('is not needed by clients that send at once', async () => {
      await using _server = await proxy.serve('d', countBytes)
      const { body } = await curl(proxy, '/v1beta1/upload', ['-H', 'Expect:', '--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      assert.equal(body, '4')
    })
  })

  it('lets other interim answers through, with their headers', async () => {
    await using _server = await proxy.serve('d', (request, response) => {
      response.writeInformation(104, ['Location', '/v1beta1/upload-resumable/7', 'Upload-Draft-Interop-Version', '8'])
      request.resume().on('end', () => response.end('done'))
    })
    const request = await open({ headers: { 'content-length': '4' } }, '/v1beta1/upload-resumable')
    const interim: { statusCode: number; headers: IncomingHttpHeaders }[] = []
    request.on('information', (info: (typeof interim)[number]) => interim.push(info))
    request.write('da')
    await until(() => interim.length > 0)
    assert.equal(interim[0]?.statusCode, 104)
    assert.equal(interim[0]?.headers['location'], '/v1beta1/upload-resumable/7')
    assert.equal(interim[0]?.headers['upload-draft-interop-version'], '8')
    request.end('ta')
    assert.equal((await answerOf(request)).body, 'done')
  })

  it('finds out by HEAD whether asynchronous uploads are there', async () => {
    await using _server = await proxy.serve('d', (request, response) => {
      response.writeHead(request.method === 'HEAD' && request.url?.endsWith('async') ? 200 : 404).end()
    })
    const authorization = await proxy.authorization('d')
    assert.equal((await curl(proxy, '/v1beta1/upload-async', ['-I'], { authorization })).status, 200)
    assert.equal((await curl(proxy, '/v1beta1/upload', ['-I'], { authorization })).status, 404)
    assert.equal((await curl(proxy, '/v1beta1/upload-async', ['-I'])).status, 400)
  })

  describe('answers that come while the client is still sending', () => {
    /** Sends without ever looking up, as simple clients do, and reads only at the end. */
    const sendBlindly = async (claim: string, bytes: number): Promise<string> => {
      const socket = await dial()
      socket.on('error', () => undefined)
      let received = ''
      socket.on('data', (chunk) => {
        received += chunk.toString()
      })
      socket.write(
        `POST /v1beta1/upload HTTP/1.1\r\nHost: x\r\nAuthorization: ${claim}\r\nContent-Length: ${bytes}\r\n\r\n`,
      )
      const closed = new Promise<void>((resolve) => {
        socket.once('close', () => resolve())
      })
      const piece = Buffer.alloc(65536)
      let sent = 0
      const fill = (): void => {
        while (sent < bytes && !socket.destroyed) {
          sent += piece.length
          if (!socket.write(piece)) return
        }
      }
      socket.on('drain', fill)
      fill()
      await Promise.race([closed, delay(10_000, undefined, { ref: false })])
      socket.destroy()
      return received
    }

    it('reach it when the server gives them', async () => {
      // As upload servers do: the whole answer first, then the rest of the body is thrown away for a while.
      await using _server = await proxy.serve('d', (request, response) => {
        request.once('data', () => {
          response.writeHead(400, { connection: 'close', 'content-length': '9' }).write('too large')
          request.resume().on('error', () => undefined)
        })
      })
      const received = await sendBlindly(await proxy.authorization('d'), 64 << 20)
      assert.match(received, /^HTTP\/1\.1 400 /)
      assert.match(received, /Connection: close/)
      assert.match(received, /too large/)
    })

    it('reach it when the proxy gives them', async () => {
      assert.match(await sendBlindly('Bearer x', 32 << 20), /^HTTP\/1\.1 401 /)
      assert.match(await sendBlindly('nonsense', 32 << 20), /^HTTP\/1\.1 400 /)
      assert.match(await sendBlindly(await proxy.authorization('nowhere'), 32 << 20), /^HTTP\/1\.1 404 /)
    })

    it('end the connection when the client goes on for ever', async () => {
      const started = Date.now()
      const received = await sendBlindly('Bearer x', 2 ** 50)
      assert.match(received, /^HTTP\/1\.1 401 /)
      const tookMs = Date.now() - started
      assert.ok(tookMs > 3000 && tookMs < 20_000, `${tookMs} ms`)
    })
  })

  describe('broken connections', () => {
    it('of a client are seen by the server at once', async () => {
      let isGone = false
      let bytes = 0
      await using _server = await proxy.serve('d', (request) => {
        request.on('data', (chunk: Buffer) => {
          bytes += chunk.length
        })
        request.on('error', () => undefined)
        request.on('close', () => {
          isGone = true
        })
      })
      const request = await open({ headers: { 'content-length': '1000000' } })
      request.on('error', () => undefined)
      request.write(Buffer.alloc(1000))
      await until(() => bytes === 1000)
      request.destroy()
      await until(() => isGone, 5000)
    })

    it('of a client that waits for its answer are seen by the server at once', async () => {
      let isClosed = false
      let isRead = false
      await using _server = await proxy.serve('d', (request, response) => {
        request.resume().on('end', () => {
          isRead = true
        })
        response.on('close', () => {
          isClosed = true
        })
      })
      const request = await open({ headers: { 'content-length': '4' } })
      request.on('error', () => undefined)
      request.end('data')
      await until(() => isRead)
      request.destroy()
      await until(() => isClosed, 5000)
    })

    it('of a client that sends nonsense for a chunk are seen by the server, and answered', async () => {
      let isAborted = false
      await using _server = await proxy.serve('d', (request) => {
        request.resume().on('error', () => {
          isAborted = true
        })
      })
      const socket = await dial()
      const authorization = await proxy.authorization('d')
      socket.write(
        `POST /v1beta1/upload HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nTransfer-Encoding: chunked\r\n\r\n`,
      )
      socket.write('4\r\ndata\r\nzz\r\n')
      await until(() => isAborted)
      socket.destroy()
    })

    it('of a server in the middle of the body are answered with 502', async () => {
      await using _server = await proxy.serve('d', (request) => {
        request.on('error', () => undefined)
        request.once('data', () => request.socket.destroy())
      })
      const request = await open({ headers: { 'content-length': '100000000' } })
      request.on('error', () => undefined)
      request.write(Buffer.alloc(100_000))
      const { status, body, headers } = await answerOf(request)
      assert.equal(status, 502)
      assert.match(body, /^error in upload-proxy: http: proxy error: \S/)
      assert.equal(headers['connection'], 'close')
      request.destroy()
    })

    it('of a server before its answer are answered with 502', async () => {
      await using _server = await proxy.serve('d', (request) => {
        request.resume().on('end', () => request.socket.destroy())
      })
      const request = await open({ headers: { 'content-length': '4' } })
      request.end('data')
      const { status, body } = await answerOf(request)
      assert.equal(status, 502)
      assert.match(body, /^error in upload-proxy: http: proxy error: /)
    })

    it('of a server in the middle of its answer cut the answer short', async () => {
      await using _server = await proxy.serve('d', (request, response) => {
        request.resume().on('end', () => {
          response.writeHead(200, { 'content-length': '100' }).write('begun')
          setTimeout(() => response.destroy(), 100)
        })
      })
      const { exitCode, status } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      // "Transfer closed with outstanding read data remaining", or the connection was reset.
      assert.ok([18, 56].includes(exitCode), String(exitCode))
      assert.equal(status, 200)
    })

    it('are forgotten by the next upload', async () => {
      let requests = 0
      await using _server = await proxy.serve('d', (request, response) => {
        requests++
        if (requests === 1) request.once('data', () => request.socket.destroy()).on('error', () => undefined)
        else countBytes(request, response)
      })
      const authorization = await proxy.authorization('d')
      const args = ['--data-binary', 'data']
      assert.equal((await curl(proxy, '/v1beta1/upload', args, { authorization })).status, 502)
      assert.equal((await curl(proxy, '/v1beta1/upload', args, { authorization })).status, 200)
    })
  })

  describe('a server that cannot be reached', () => {
    it('is waited for while it starts', async () => {
      const answer = curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      await delay(1500)
      await using _server = await proxy.serve('d', countBytes)
      assert.deepEqual(await answer.then(({ status, body }) => [status, body]), [200, '4'])
    })

    it('is waited for when it dies before it has taken the body', async () => {
      let tries = 0
      await using server = await proxy.serve('d', countBytes)
      server.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
        tries++
        if (tries === 1) {
          request.socket.destroy()
          return
        }
        response.writeContinue()
        countBytes(request, response)
      })
      const { status, body } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      assert.deepEqual([status, body, tries], [200, '4', 2])
    })

    it('is given up after ten seconds, with 502', { timeout: 30_000 }, async () => {
      const started = Date.now()
      const { status, body } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      const seconds = (Date.now() - started) / 1000
      assert.equal(status, 502)
      assert.match(body, /^error in upload-proxy: http: proxy error: .*ECONNREFUSED/)
      assert.ok(seconds >= 10 && seconds < 20, `${seconds} s`)
    })

    it('gets no request twice that it may have acted upon', async () => {
      let requests = 0
      await using _server = await proxy.serve('d', (request) => {
        requests++
        request.resume().on('end', () => request.socket.destroy())
      })
      const { status } = await curl(proxy, '/v1beta1/upload-ranges', ['-X', 'POST'], {
        authorization: await proxy.authorization('d'),
      })
      assert.deepEqual([status, requests], [502, 1])
    })
  })

  describe('trust', () => {
    it('is refused to a server of another CA, and nothing is sent to it', async () => {
      const stranger = await createAuthority({ commonName: 'stranger', lifetimeMs: hourMs, now: Date.now() })
      let requests = 0
      await using _server = await proxy.serve('d', () => requests++, { authority: stranger })
      const { status, body } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      assert.equal(status, 502)
      assert.match(body, /^error in upload-proxy: http: proxy error: .*certificate/)
      assert.equal(requests, 0)
    })

    it('is given to a new CA within the same request', async () => {
      const next = await createAuthority({ commonName: 'next', lifetimeMs: hourMs, now: Date.now() })
      await using _server = await proxy.serve('d', countBytes, { authority: next })
      const answer = curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('d'),
      })
      await delay(800)
      proxy.putBundle(proxy.authorities.server.certPem + next.certPem)
      assert.equal((await answer).status, 200)
      proxy.putBundle(proxy.authorities.server.certPem)
    })

    it('is refused to the server of another claim', async () => {
      proxy.putClaim('mine')
      await using _server = await proxy.serve('theirs', countBytes)
      const { status, body } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await proxy.authorization('mine'),
      })
      assert.equal(status, 502)
      assert.match(body, /Hostname\/IP does not match/)
    })

    it('without a bundle ends with 500 and nothing', async () => {
      await using alone = await ProxyUnderTest.start()
      alone.putClaim('d')
      alone.api.objects.delete('configmaps cdi/cdi-uploadserver-signer-bundle')
      const { status, body } = await curl(alone, '/v1beta1/upload', ['--data-binary', 'data'], {
        authorization: await alone.authorization('d'),
      })
      assert.deepEqual([status, body], [500, ''])
    })
  })

  describe('connections to the server', () => {
    it('are used again by the pieces of a resumable upload, and the server still knows who comes', async () => {
      const names = new Set<string>()
      await using server = await proxy.serve('d', (request, response) => {
        names.add((request.socket as TLSSocket).getPeerCertificate().subject.CN as string)
        countBytes(request, response)
      })
      const agent = new Agent({ keepAlive: true, ca })
      for (let piece = 0; piece < 10; piece++) {
        const request = await open(
          { agent, method: 'PATCH', headers: { 'content-length': '4' } },
          '/v1beta1/upload-tus/1',
        )
        request.end('data')
        assert.equal((await answerOf(request)).body, '4')
      }
      agent.destroy()
      assert.equal(server.connections(), 1)
      assert.deepEqual([...names], ['client.upload-server.cdi.kubevirt.io'])
    })

    it('that are made anew with a known session still show who comes', async () => {
      const names: string[] = []
      const trusted: boolean[] = []
      const reused: boolean[] = []
      const look = (request: IncomingMessage, response: ServerResponse): void => {
        const socket = request.socket as TLSSocket
        trusted.push(socket.authorized)
        names.push(socket.getPeerCertificate().subject.CN as string)
        reused.push(socket.isSessionReused())
        response.setHeader('connection', 'close')
        countBytes(request, response)
      }
      await using _server = await proxy.serve('d', look, { rejectUnauthorized: false })
      const authorization = await proxy.authorization('d')
      for (let n = 0; n < 3; n++) {
        assert.equal((await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], { authorization })).body, '4')
      }
      assert.deepEqual(reused.slice(1), [true, true])
      assert.deepEqual(trusted, [true, true, true])
      assert.deepEqual(new Set(names), new Set(['client.upload-server.cdi.kubevirt.io']))
    })

    it('that were cut while idle are not noticed by the client', async () => {
      const sockets = new Set<TLSSocket>()
      await using _server = await proxy.serve('d', (request, response) => {
        sockets.add(request.socket as TLSSocket)
        countBytes(request, response)
      })
      const authorization = await proxy.authorization('d')
      for (let n = 0; n < 20; n++) {
        const answer = curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], { authorization })
        for (const socket of sockets) socket.destroy()
        sockets.clear()
        assert.equal((await answer).status, 200)
      }
    })
  })

  it('is not waited for longer than ten seconds when its head does not come', { timeout: 30_000 }, async () => {
    const started = Date.now()
    const endings = ['', 'POST /v1beta1/upload HTTP/1.1\r\nHost: x\r\n'].map(async (sent) => {
      const socket = await dial()
      socket.on('error', () => undefined).resume()
      socket.write(sent)
      await once(socket, 'close')
      return (Date.now() - started) / 1000
    })
    for (const seconds of await Promise.all(endings)) assert.ok(seconds > 9 && seconds < 25, `${seconds} s`)
  })

  it('is one of two hundred at the same time', { timeout: 120_000 }, async () => {
    const piece = randomBytes(65536)
    await using _server = await proxy.serve('d', digestBody)
    const authorization = await proxy.authorization('d')
    const pieces = 40
    const expected = createHash('sha256')
    for (let n = 0; n < pieces; n++) expected.update(piece)
    const wanted = `${expected.digest('hex')} chunked`
    const upload = async (): Promise<string> => {
      const request = httpsRequest(`${proxy.url}/v1beta1/upload`, {
        ca,
        agent: false,
        method: 'POST',
        headers: { authorization, 'transfer-encoding': 'chunked' },
      })
      for (let n = 0; n < pieces; n++) {
        if (!request.write(piece)) await once(request, 'drain')
        if (n % 8 === 0) await delay(5)
      }
      request.end()
      return (await answerOf(request)).body
    }
    const bodies = await Promise.all(Array.from({ length: 200 }, upload))
    assert.deepEqual(new Set(bodies), new Set([wanted]))
  })

  it('never brings the proxy down, whatever its headers are', { timeout: 120_000 }, async () => {
    await using _server = await proxy.serve('d', (request, response) =>
      request.resume().on('end', () => response.end('ok')),
    )
    const authorization = await proxy.authorization('d')
    const name = fc.oneof(
      fc.constantFrom(
        'Connection',
        'Expect',
        'Transfer-Encoding',
        'Content-Length',
        'Upgrade',
        'TE',
        'Trailer',
        'Vary',
        'Host',
        'Origin',
        'Access-Control-Request-Method',
        'Content-Type',
        'X-CDI-Content-Type',
        'Upload-Offset',
      ),
      fc.stringMatching(/^[!#$%&'*+.^`|~\w-]{1,12}$/),
      fc.string({ maxLength: 6 }),
    )
    const value = fc.oneof(
      fc.constantFrom(
        'close',
        'keep-alive, upload-offset',
        '100-continue',
        'chunked',
        'gzip, chunked',
        '4',
        '-1',
        '0x4',
        'websocket',
        '*',
        '',
      ),
      fc.string({ maxLength: 30 }),
      fc.string({ unit: 'binary', maxLength: 10 }),
    )
    const method = fc.constantFrom(
      'POST',
      'GET',
      'HEAD',
      'PUT',
      'DELETE',
      'OPTIONS',
      'PATCH',
      'CONNECT',
      'TRACE',
      'BREW',
    )
    const path = fc.oneof(
      fc.constantFrom(
        '/v1beta1/upload',
        '/v1beta1/upload-tus/x',
        '/page/',
        '/',
        '/healthz',
        '/page/api/namespaces/a/datavolumes',
        '*',
        'https://h/v1beta1/upload',
      ),
      fc.string({ maxLength: 20 }).map((text) => `/${text}`),
    )
    await fc.assert(
      fc.asyncProperty(
        method,
        path,
        fc.array(fc.tuple(name, value), { maxLength: 6 }),
        fc.boolean(),
        async (verb, target, headers, withToken) => {
          const socket = await dial()
          socket.on('error', () => undefined)
          const lines = headers.map(([key, text]) => `${key}: ${text}\r\n`).join('')
          const token = withToken ? `Authorization: ${authorization}\r\n` : ''
          let received = ''
          socket.on('data', (chunk) => {
            received += chunk.toString('latin1')
          })
          socket.end(Buffer.from(`${verb} ${target} HTTP/1.1\r\nHost: x\r\n${token}${lines}\r\ndata`))
          await Promise.race([once(socket, 'close'), delay(3000)])
          socket.destroy()
          assert.match(received, /^($|HTTP\/1\.1 (1|2|3|4)\d\d |HTTP\/1\.1 50[023] )/)
        },
      ),
      { numRuns: 300 },
    )
    assert.equal((await curl(proxy, '/healthz', [])).status, 200)
    const { status } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], { authorization })
    assert.equal(status, 200)
  })
})
