/** The proxy as a process: what may change while it runs, how it ends, and what it takes of the machine. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { afterEach, beforeEach, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { curl } from './curl.ts'
import { RunningProxy } from './running-proxy.ts'

const mebibyte = 1 << 20
/** How long uploads may go on when the proxy is to end; nothing else takes nearly so long, on a busy machine either. */
const graceMs = 8000

describe('the running upload proxy', () => {
  let proxy: RunningProxy
  let ca: string
  let handler: (request: IncomingMessage, response: ServerResponse) => void

  const countBytes = (request: IncomingMessage, response: ServerResponse): void => {
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    request.on('error', () => undefined)
    request.on('end', () => response.end(String(bytes)))
  }

  beforeEach(async () => {
    handler = countBytes
    proxy = await RunningProxy.start((request, response) => handler(request, response), {
      graceMs,
      filesIntervalMs: 100,
    })
    ca = await readFile(proxy.caFile, 'utf8')
  })
  afterEach(() => proxy[Symbol.asyncDispose]())

  const upload = async (body = 'data') =>
    curl(proxy, '/v1beta1/upload', ['--data-binary', body], { authorization: await proxy.authorization() })

  const open = async (bytes: number) => {
    const request = httpsRequest(`${proxy.url}/v1beta1/upload`, {
      ca,
      agent: false,
      method: 'POST',
      headers: { authorization: await proxy.authorization(), 'content-length': String(bytes) },
    })
    return request
  }

  /** An upload of which the server has the first half, and no more comes. */
  const openHalf = async () => {
    let arrived = 0
    handler = (request, response) => {
      request.on('data', (chunk: Buffer) => {
        arrived += chunk.length
      })
      countBytes(request, response)
    }
    const request = await open(8)
    request.on('error', () => undefined)
    request.write('half')
    await eventually(async () => arrived === 4)
    return request
  }

  const dial = async (): Promise<TLSSocket> => {
    const socket = connectTls({ host: 'localhost', port: proxy.port, ca, servername: 'localhost' })
    await once(socket, 'secureConnect')
    return socket
  }

  const eventually = async (check: () => Promise<boolean>, limitMs = 20_000): Promise<void> => {
    for (const end = Date.now() + limitMs; !(await check()); await delay(50)) {
      if (Date.now() > end) assert.fail(`not within ${limitMs} ms`)
    }
  }

  it('shows a renewed server certificate to whoever comes, and keeps the connections that it has', async () => {
    const before = await dial()
    const serial = before.getPeerX509Certificate()?.serialNumber
    const renewed = new X509Certificate((await proxy.rotateServerCertificate()).certPem).serialNumber
    await eventually(async () => {
      const socket = await dial()
      const shown = socket.getPeerX509Certificate()?.serialNumber
      socket.destroy()
      return shown === renewed
    })
    assert.notEqual(renewed, serial)
    before.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
    const [data] = (await once(before, 'data')) as [Buffer]
    assert.match(data.toString(), /^HTTP\/1\.1 200 /)
    before.destroy()
  })

  it('comes to servers with a renewed client certificate', async () => {
    const serials: string[] = []
    handler = (request, response) => {
      serials.push((request.socket as TLSSocket).getPeerCertificate().serialNumber)
      countBytes(request, response)
    }
    assert.equal((await upload()).status, 200)
    const renewed = new X509Certificate((await proxy.rotateClientCertificate()).certPem).serialNumber
    await eventually(async () => {
      assert.equal((await upload()).status, 200)
      return serials.at(-1) === renewed
    })
  })

  it('takes tokens of a new key, and no longer those of the old one', async () => {
    const old = await proxy.authorization()
    assert.equal((await upload()).status, 200)
    await proxy.rotateSigningKey()
    await eventually(async () => (await upload()).status === 200)
    const { status } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data'], { authorization: old })
    assert.equal(status, 401)
  })

  it('follows the TLS profile of CDIConfig within seconds, both ways', async () => {
    const oldClient = () => curl(proxy, '/healthz', ['--tls-max', '1.2', '-v'])
    assert.equal((await oldClient()).status, 200)
    proxy.kubernetes.putConfig({ tlsSecurityProfile: { type: 'Modern' } })
    await eventually(async () => (await oldClient()).status === 0)
    const refused = await oldClient()
    assert.match(refused.stderr, /protocol version/)
    assert.equal((await upload()).status, 200)
    proxy.kubernetes.putConfig({ tlsSecurityProfile: { type: 'Intermediate' } })
    await eventually(async () => (await oldClient()).status === 200)
  })

  it('says in one line what became of an upload, and never the token', async () => {
    await upload()
    await eventually(async () => proxy.log.some(({ msg }) => msg === 'upload request'))
    const line = proxy.log.find(({ msg }) => msg === 'upload request') as unknown as Record<string, unknown>
    assert.deepEqual(
      [line['namespace'], line['pvc'], line['bytes'], line['outcome'], line['status'], typeof line['seconds']],
      ['team', 'disk', 4, 'succeeded', 200, 'number'],
    )
    const authorization = await proxy.authorization()
    assert.doesNotMatch(JSON.stringify(proxy.log), new RegExp(authorization.slice(7, 40)))
  })

  it('ends at once when it is told to and nothing is going on, idle connections or not', async () => {
    const idle = await dial()
    idle.on('error', () => undefined)
    const started = Date.now()
    proxy.child.kill('SIGTERM')
    assert.equal(await proxy.ended, 0)
    const tookMs = Date.now() - started
    assert.ok(tookMs < graceMs, `${tookMs} ms`)
  })

  it('lets an upload end that is going on, and takes no other', async () => {
    const request = await openHalf()
    proxy.child.kill('SIGTERM')
    const couldNotConnect = 7
    await eventually(async () => (await curl(proxy, '/healthz', [])).exitCode === couldNotConnect)
    request.end('half')
    const [reply] = (await once(request, 'response')) as [IncomingMessage]
    let body = ''
    for await (const chunk of reply) body += String(chunk)
    assert.equal(body, '8')
    assert.equal(await proxy.ended, 0)
  })

  it('does not let an upload keep it for ever', async () => {
    const request = await openHalf()
    const started = Date.now()
    proxy.child.kill('SIGTERM')
    assert.equal(await proxy.ended, 0)
    const tookMs = Date.now() - started
    assert.ok(tookMs >= graceMs - 100 && tookMs < 2 * graceMs, `${tookMs} ms`)
    request.destroy()
  })

  it('needs no more memory for four gibibytes than for one mebibyte', { timeout: 180_000 }, async (test) => {
    const send = async (bytes: number): Promise<string> => {
      const request = await open(bytes)
      const piece = Buffer.alloc(mebibyte)
      for (let sent = 0; sent < bytes; sent += piece.length) {
        if (!request.write(piece)) await once(request, 'drain')
      }
      request.end()
      const [reply] = (await once(request, 'response')) as [IncomingMessage]
      let body = ''
      for await (const chunk of reply) body += String(chunk)
      return body
    }
    // Warm: code is compiled, and the heap has its working size.
    await send(256 * mebibyte)
    const before = await proxy.residentBytes()
    let peak = before
    const sampling = setInterval(() => {
      void (async () => {
        peak = Math.max(peak, await proxy.residentBytes())
      })()
    }, 50)
    assert.equal(await send(4096 * mebibyte), String(4096 * mebibyte))
    clearInterval(sampling)
    test.diagnostic(`resident: ${Math.round(before / mebibyte)} MiB before, ${Math.round(peak / mebibyte)} MiB at most`)
    assert.ok(peak - before < 64 * mebibyte, `grew by ${(peak - before) / mebibyte} MiB`)
  })

  it(
    'holds five hundred idle connections at the cost of their memory, and goes on serving',
    { timeout: 60_000 },
    async (test) => {
      await upload()
      const before = await proxy.residentBytes()
      const sockets: TLSSocket[] = []
      // Each is answered before the next ones come: whoever sends no head for 10 s is cut, on a busy machine too.
      const dialAndAsk = async (): Promise<TLSSocket> => {
        const socket = await dial()
        socket.on('error', () => undefined)
        socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
        await once(socket, 'data')
        return socket.resume()
      }
      while (sockets.length < 500) sockets.push(...(await Promise.all(Array.from({ length: 50 }, dialAndAsk))))
      await delay(1000)
      const cpuBefore = await cpuSeconds(proxy.child.pid)
      await delay(2000)
      const cpu = (await cpuSeconds(proxy.child.pid)) - cpuBefore
      const each = ((await proxy.residentBytes()) - before) / sockets.length
      test.diagnostic(`${Math.round(each / 1024)} KiB for each of 500 idle connections, ${cpu} s of CPU in 2 s`)
      assert.ok(sockets.every((socket) => !socket.destroyed))
      assert.ok(each < 160 * 1024, `${each} bytes each`)
      assert.ok(cpu < 0.2, `${cpu} s`)
      assert.deepEqual([(await upload()).status, (await upload('more')).body], [200, '4'])
      for (const socket of sockets) socket.destroy()
    },
  )
})

/** CPU time of a process so far, in seconds. */
async function cpuSeconds(pid: number | undefined): Promise<number> {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}
