import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo, Server } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { createServer as createTlsServer } from 'node:tls'
import { openHttp } from '../../../importer/sources/http.ts'
import type { HttpOptions } from '../../../importer/sources/http.ts'
import { readRange } from '../../../importer/sources/source.ts'
import { silentLog } from '../../../src/log.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import type { TestCerts } from '../../fixtures/certs.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx, NginxOptions } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { startTinyproxy } from '../../fixtures/tinyproxy.ts'

const never = new AbortController().signal
const content = randomBytes(1_234_567)

async function withFile(options: NginxOptions = {}): Promise<Nginx & { url: string }> {
  const nginx = await startNginx(options)
  await writeFile(join(nginx.root, 'disk.img'), content)
  // 127.0.0.1 would never be proxied; 0.0.0.0 leads to the same place.
  return { ...nginx, url: `${nginx.origin.replace('127.0.0.1', '0.0.0.0')}/disk.img` }
}

async function read(url: string, more: Partial<HttpOptions>): Promise<Buffer> {
  const plain = { headers: [], secretHeaders: [], insecureSkipVerify: false, proxy: {}, log: silentLog() }
  await using source = await openHttp({ ...plain, url, ...more }, never)
  assert.equal(source.kind, 'ranged')
  return await readRange(source, { offset: 0, length: source.sizeBytes }, never)
}

/** An https proxy: TLS in front of a real proxy. */
async function tlsFront(certs: TestCerts, port: number): Promise<{ url: string } & AsyncDisposable> {
  const [cert, key] = await Promise.all([readFile(certs.certFile), readFile(certs.keyFile)])
  const server = createTlsServer({ cert, key }, (client) => {
    const proxy = connect({ port, host: '127.0.0.1' })
    client.on('error', () => proxy.destroy()).on('close', () => proxy.destroy())
    proxy.on('error', () => client.destroy()).on('close', () => client.destroy())
    client.pipe(proxy).pipe(client)
  })
  await listening(server)
  return {
    url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      await new Promise((resolve) => {
        server.close(resolve)
      })
    },
  }
}

async function listening(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
}

describe('http source through a proxy', () => {
  it('asks an http proxy for an http URL, with the credentials of the proxy', async () => {
    await using nginx = await withFile()
    await using proxy = await startTinyproxy({ basicAuth: { user: 'me', password: 'secret' } })
    assert.deepEqual(await read(nginx.url, { proxy: { httpProxy: proxy.url } }), content)
    assert.match((await proxy.requestLines())[0] ?? '', /^HEAD http:\/\/0\.0\.0\.0:\d+\/disk\.img HTTP\/1\.1$/)
    const requests = await nginx.requests()
    assert.ok(requests.length > 0 && requests.every(({ userAgent }) => userAgent === 'cdi-golang-importer'))
  })

  it('tunnels https through an http proxy', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs })
    await using proxy = await startTinyproxy({ basicAuth: { user: 'me', password: 'secret' } })
    assert.deepEqual(await read(nginx.url, { proxy: { httpsProxy: proxy.url }, ca: [certs.caPem] }), content)
    assert.match((await proxy.requestLines())[0] ?? '', /^CONNECT 0\.0\.0\.0:\d+ HTTP\/1\.1$/)
  })

  it('verifies an https proxy by the given CA, for http and https', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using proxy = await startTinyproxy()
    await using front = await tlsFront(certs, proxy.port)
    await using plain = await withFile()
    await using secure = await withFile({ certs })
    assert.deepEqual(await read(plain.url, { proxy: { httpProxy: front.url }, ca: [certs.caPem] }), content)
    assert.deepEqual(await read(secure.url, { proxy: { httpsProxy: front.url }, ca: [certs.caPem] }), content)
    assert.ok((await proxy.requestLines()).some((line) => line.startsWith('CONNECT')))
    await assert.rejects(read(plain.url, { proxy: { httpProxy: front.url } }), { code: 'CDI_SOURCE_TLS' })
  })

  it('reports a proxy that refuses the credentials, without showing them', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs })
    await using proxy = await startTinyproxy({ basicAuth: { user: 'me', password: 'secret' } })
    const wrong = proxy.url.replace('secret', 'hidden')
    await assert.rejects(
      read(nginx.url, { proxy: { httpsProxy: wrong }, ca: [certs.caPem] }),
      (error: Error & { code?: string }) =>
        error.code === 'CDI_SOURCE_UNREACHABLE' &&
        /^HTTP request errored: .*: 40[17] /.test(error.message) &&
        !error.message.includes('hidden'),
    )
  })

  it('reports a proxy that is not there', async () => {
    await using proxy = await startTinyproxy()
    await proxy[Symbol.asyncDispose]()
    await assert.rejects(read('http://0.0.0.0:9/x', { proxy: { httpProxy: proxy.url } }), {
      code: 'CDI_SOURCE_UNREACHABLE',
    })
  })

  it('goes directly where no_proxy says so', async () => {
    await using nginx = await withFile()
    await using proxy = await startTinyproxy()
    for (const noProxy of ['*', '0.0.0.0', '0.0.0.0/8']) {
      assert.deepEqual(await read(nginx.url, { proxy: { httpProxy: proxy.url, noProxy } }), content)
    }
    assert.deepEqual(await proxy.requestLines(), [])
  })

  it('names itself to the proxy when it asks for a tunnel', async () => {
    const seen: IncomingHttpHeaders[] = []
    const server = createHttpServer()
    server.on('connect', (request, socket) => {
      seen.push(request.headers)
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    })
    await listening(server)
    const { port } = server.address() as AddressInfo
    try {
      await assert.rejects(
        read('https://image.invalid/x', { proxy: { httpsProxy: `http://me:pw@127.0.0.1:${port}` } }),
        {
          code: 'CDI_SOURCE_UNREACHABLE',
          message: /^HTTP request errored: .*502 Bad Gateway$/,
        },
      )
    } finally {
      server.close()
    }
    assert.equal(seen[0]?.['user-agent'], 'cdi-golang-importer')
    assert.equal(seen[0]?.['host'], 'image.invalid:443')
    assert.equal(seen[0]?.['proxy-authorization'], `Basic ${Buffer.from('me:pw').toString('base64')}`)
  })
})
