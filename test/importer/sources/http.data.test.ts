import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rename, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import * as fc from 'fast-check'
import { openHttp } from '../../../importer/sources/http.ts'
import type { HttpOptions } from '../../../importer/sources/http.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { ForwardSource, RangedSource, Source } from '../../../importer/sources/source.ts'
import { createLog, silentLog } from '../../../src/log.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import { startFaultyServer } from '../../fixtures/faulty-server.ts'
import type { FaultyOptions, FaultyServer } from '../../fixtures/faulty-server.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx, NginxOptions, NginxRequest } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { installToxiproxy, startToxiproxy } from '../../fixtures/toxiproxy.ts'

const never = new AbortController().signal
const content = randomBytes(3 * 1024 * 1024 + 12_345)
/** Waits a hundredth of what production waits, so that tests of faults end soon. */
const patience = { silenceMs: 6000, refusalMs: 3000, firstPauseMs: 5, longestPauseMs: 100 }

function open(url: string, more: Partial<HttpOptions> = {}, signal = never): Promise<Source> {
  const plain = { headers: [], secretHeaders: [], insecureSkipVerify: false, proxy: {}, log: silentLog(), patience }
  return openHttp({ ...plain, url, ...more }, signal)
}

async function openRanged(url: string, more?: Partial<HttpOptions>): Promise<RangedSource> {
  const source = await open(url, more)
  assert.equal(source.kind, 'ranged')
  return source
}

async function openForward(url: string, more?: Partial<HttpOptions>): Promise<ForwardSource> {
  const source = await open(url, more)
  assert.equal(source.kind, 'forward')
  return source
}

async function readForward(source: ForwardSource): Promise<Buffer> {
  const chunks: Buffer[] = []
  await source.stream((chunk) => void chunks.push(Buffer.from(chunk)), never)
  return Buffer.concat(chunks)
}

async function readAll(source: Source): Promise<Buffer> {
  return source.kind === 'ranged'
    ? readRange(source, { offset: 0, length: source.sizeBytes }, never)
    : readForward(source)
}

async function withFile(options: NginxOptions = {}): Promise<Nginx> {
  const nginx = await startNginx(options)
  await writeFile(join(nginx.root, 'disk.img'), content)
  return nginx
}

/** The log lines, once there are as many as there will be. */
async function settled(nginx: Nginx): Promise<NginxRequest[]> {
  let lines = await nginx.requests()
  for (;;) {
    await delay(100)
    const more = await nginx.requests()
    if (more.length === lines.length) return more
    lines = more
  }
}

describe('http source on nginx', () => {
  it('reads ranges, asks HEAD first and names itself as contract import §8 says', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    assert.equal(source.sizeBytes, content.length)
    assert.equal(source.pinned, true)
    assert.equal(source.parallel, 4)
    const ranges = [
      { offset: 0, length: 10 },
      { offset: 262_140, length: 100 },
      { offset: 1_000_000, length: 1_000_000 },
      { offset: content.length - 1, length: 1 },
      { offset: 5, length: 0 },
    ]
    const read = await Promise.all(ranges.map((range) => readRange(source, range, never)))
    for (const [index, { offset, length }] of ranges.entries()) {
      assert.deepEqual(read[index], content.subarray(offset, offset + length))
    }
    const requests = await settled(nginx)
    assert.equal(requests[0]?.method, 'HEAD')
    assert.ok(requests.every(({ userAgent }) => userAgent === 'cdi-golang-importer'))
  })

  it('transfers no byte of the body twice', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    await readRange(source, { offset: 0, length: 65_536 }, never)
    const half = 1024 * 1024
    const halves = [
      { offset: 0, length: half },
      { offset: half, length: content.length - half },
    ]
    const read = await Promise.all(halves.map((range) => readRange(source, range, never)))
    assert.deepEqual(Buffer.concat(read), content)
    const bytes = (await settled(nginx)).reduce((sum, { bodyBytes }) => sum + bodyBytes, 0)
    assert.equal(bytes, content.length)
  })

  it('keeps connections for many small ranges', async () => {
    await using nginx = await withFile({ extra: 'add_header X-Connection $connection always;' })
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    for (let offset = 300_000; offset < 400_000; offset += 10_000) {
      const piece = await readRange(source, { offset, length: 10_000 }, never)
      assert.deepEqual(piece, content.subarray(offset, offset + 10_000))
    }
    assert.equal((await settled(nginx)).length, 12)
  })

  it('reads a server without ranges front to end with one GET', async () => {
    await using nginx = await withFile({ ranges: false })
    await using source = await openForward(`${nginx.origin}/disk.img`)
    assert.equal(source.sizeBytes, content.length)
    const first = await source.peek(never)
    assert.ok(first.length >= 65_536)
    assert.deepEqual(first, content.subarray(0, first.length))
    assert.deepEqual(await readForward(source), content)
    const gets = (await settled(nginx)).filter(({ method }) => method === 'GET')
    assert.equal(gets.length, 1)
  })

  it('reads an empty file', async () => {
    await using nginx = await startNginx()
    await writeFile(join(nginx.root, 'empty.img'), '')
    await using source = await open(`${nginx.origin}/empty.img`)
    assert.equal(source.sizeBytes, 0)
    assert.equal((await readAll(source)).length, 0)
  })

  it('tells the content type', async () => {
    await using nginx = await startNginx()
    await writeFile(join(nginx.root, 'page.html'), '<html>')
    await using source = await open(`${nginx.origin}/page.html`)
    assert.equal(source.contentType, 'text/html')
  })

  it('lets the sink hold back the source', async () => {
    await using nginx = await withFile()
    for (const ranges of [true, false]) {
      await using server = ranges ? undefined : await withFile({ ranges: false })
      await using source = await open(`${(server ?? nginx).origin}/disk.img`)
      let busy = 0
      let most = 0
      const chunks: Buffer[] = []
      const slowly = async (chunk: Buffer): Promise<void> => {
        busy += 1
        most = Math.max(most, busy)
        await delay(1)
        chunks.push(Buffer.from(chunk))
        busy -= 1
      }
      if (source.kind === 'ranged') await source.stream({ offset: 0, length: content.length }, slowly, never)
      else await source.stream(slowly, never)
      assert.equal(most, 1)
      assert.deepEqual(Buffer.concat(chunks), content)
    }
  })

  it('reports 404 in the words of the contract', async () => {
    await using nginx = await startNginx()
    await assert.rejects(open(`${nginx.origin}/none.img`), {
      code: 'CDI_SOURCE_STATUS',
      message: 'expected status code 200, got 404. Status: 404 Not Found',
    })
  })

  it('logs in with user and password, and only if both are there', async () => {
    await using nginx = await withFile({ basicAuth: { user: 'me', password: 'p-ss' } })
    const url = `${nginx.origin}/disk.img`
    await using source = await open(url, { credentials: { user: 'me', password: 'p-ss' } })
    assert.deepEqual(await readAll(source), content)
    const refused = { code: 'CDI_SOURCE_STATUS', message: /^expected status code 200, got 401\. Status: 401 / }
    await assert.rejects(open(url, { credentials: { user: 'me', password: 'wrong' } }), refused)
    await assert.rejects(open(url, { credentials: { user: 'me', password: '' } }), refused)
    const last = (await settled(nginx)).at(-1)
    assert.equal(last?.authorization, '')
  })

  it('takes credentials from the URL, and does not show them', async () => {
    await using nginx = await withFile({ basicAuth: { user: 'me', password: 'p@ss' } })
    const url = `${nginx.origin}/disk.img`.replace('//', '//me:p%40ss@')
    await using source = await open(url)
    assert.ok(!source.name.includes('p%40ss'))
    assert.deepEqual(await readAll(source), content)
  })

  it('sends extra and secret headers, and ignores those that would break ranges', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`, {
      headers: ['Range: bytes=0-1'],
      secretHeaders: ['X-Extra: se:cret\n'],
    })
    assert.deepEqual(await readAll(source), content)
    assert.ok((await settled(nginx)).every(({ extra }) => extra === 'se:cret'))
    await assert.rejects(
      open(`${nginx.origin}/disk.img`, { secretHeaders: ['se cret'] }),
      (error: Error & { code?: string }) => error.code === 'CDI_USAGE' && !error.message.includes('se cret'),
    )
    await assert.rejects(open(`${nginx.origin}/disk.img`, { headers: ['A: b\r\nC: d'] }), { code: 'CDI_USAGE' })
  })

  it('survives that the file is deleted and restored in the middle of the transfer', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    const path = join(nginx.root, 'disk.img')
    await rename(path, `${path}.away`)
    const reading = readAll(source)
    await delay(200)
    await rename(`${path}.away`, path)
    assert.deepEqual(await reading, content)
  })

  it('gives up on a file that stays away', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`, { patience: { ...patience, refusalMs: 100 } })
    await rename(join(nginx.root, 'disk.img'), join(nginx.root, 'other.img'))
    await assert.rejects(readAll(source), { code: 'CDI_SOURCE_STATUS', message: /got 404/ })
  })

  it('notices a file that was replaced in the middle of the transfer', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    await utimes(join(nginx.root, 'disk.img'), 1000, 1000)
    await assert.rejects(readAll(source), { code: 'CDI_SOURCE_CHANGED' })
  })

  it('shows a slow server growing, and does not take it for a stalled one', async () => {
    await using nginx = await withFile({ limitRate: '2m' })
    await using source = await openRanged(`${nginx.origin}/disk.img`, { idleTimeoutMs: 1500 })
    assert.deepEqual(await readAll(source), content)
  })

  it('stops when it is aborted, with the reason that was given', async () => {
    await using nginx = await withFile({ limitRate: '100k' })
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    const abort = new AbortController()
    const reading = source.stream({ offset: 0, length: content.length }, () => {}, abort.signal)
    await delay(50)
    abort.abort(new Error('enough'))
    await assert.rejects(reading, /enough/)
  })

  it('ends its streams when it is closed', async () => {
    await using nginx = await withFile({ limitRate: '500k' })
    const source = await openRanged(`${nginx.origin}/disk.img`)
    const reading = source.stream({ offset: 0, length: content.length }, () => {}, never)
    await source[Symbol.asyncDispose]()
    await assert.rejects(reading, { code: 'CDI_ABORTED' })
  })

  it('passes on what the sink throws', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/disk.img`)
    const range = { offset: 300_000, length: 1_000_000 }
    await assert.rejects(
      source.stream(range, () => Promise.reject(new Error('disk full')), never),
      /disk full/,
    )
  })
})

describe('http source and redirects', () => {
  it('follows to another host once and then goes there directly', async () => {
    await using nginx = await withFile()
    for (const status of [301, 302, 307, 308] as const) {
      await using front = await startNginx({ redirect: { status, to: nginx.origin } })
      await using source = await openRanged(`${front.origin}/disk.img`)
      assert.deepEqual(await readAll(source), content)
      assert.equal((await settled(front)).length, 1, 'only HEAD sees the redirect')
    }
  })

  it('keeps credentials and headers from other hosts', async () => {
    await using other = await startFaultyServer({ body: content })
    await using front = await startNginx({ redirect: { status: 302, to: other.origin } })
    await using source = await open(`${front.origin}/disk.img`, {
      credentials: { user: 'me', password: 'secret' },
      headers: ['X-Other: one'],
      secretHeaders: ['X-Extra: two'],
    })
    assert.deepEqual(await readAll(source), content)
    const [toFront] = await settled(front)
    assert.match(toFront?.authorization ?? '', /^Basic /)
    assert.equal(toFront?.extra, 'two')
    assert.ok(other.requests.length > 0)
    for (const { headers } of other.requests) {
      for (const name of ['authorization', 'x-other', 'x-extra']) assert.equal(headers[name], undefined)
    }
  })

  it('gives up on a circle', async () => {
    await using nginx = await startNginx({ extra: 'location /circle { return 302 /circle; }' })
    await assert.rejects(open(`${nginx.origin}/circle`), { code: 'CDI_SOURCE_REDIRECT', message: /10 redirects/ })
    assert.equal((await settled(nginx)).length, 22, 'HEAD and GET, eleven requests each')
  })

  it('goes nowhere but to http and https', async () => {
    for (const to of ['ftp://host/x', 'file:///etc/passwd']) {
      await using nginx = await startNginx({ extra: `location /x { return 302 ${to}; }` })
      await assert.rejects(open(`${nginx.origin}/x`), { code: 'CDI_SOURCE_REDIRECT' })
    }
  })

  it('resolves anew when the place it was sent to forgets it', async () => {
    // A signed URL that expires: the first token stops working after the source was opened.
    await using nginx = await withFile()
    await using signed = await startFaultyServer({ body: content, status: (get) => (get > 1 ? 403 : undefined) })
    let target = `${signed.origin}/disk.img`
    await using front = await redirector(() => target)
    await using source = await openRanged(`${front.origin}/disk.img`)
    target = `${signed.origin}/disk.img?other`
    await using again = await startFaultyServer({ body: content })
    target = `${again.origin}/disk.img`
    assert.deepEqual(await readAll(source), content)
    assert.ok(again.requests.length >= 1)
    assert.ok((await settled(nginx)).length === 0)
  })
})

/** Redirects to wherever it is told at the moment. */
async function redirector(target: () => string): Promise<FaultyServer> {
  const headers = {
    get location() {
      return target()
    },
  }
  return startFaultyServer({ body: Buffer.alloc(0), status: () => 302, headers, head: 'refuse' })
}

describe('https source', () => {
  it('trusts a given CA, whatever else its file holds, and nobody unknown', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs })
    const url = `${nginx.origin}/disk.img`
    await using source = await openRanged(url, { ca: ['not a certificate', `comment\n${certs.caPem}`] })
    assert.deepEqual(await readAll(source), content)
    await assert.rejects(open(url), { code: 'CDI_SOURCE_TLS', message: /^HTTP request errored: / })
    await using unverified = await open(url, { insecureSkipVerify: true })
    assert.deepEqual(await readAll(unverified), content)
  })

  it('checks the name in the certificate', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path, subjectAltName: 'DNS:other.example' })
    await using nginx = await withFile({ certs })
    await assert.rejects(open(`${nginx.origin}/disk.img`, { ca: [certs.caPem] }), { code: 'CDI_SOURCE_TLS' })
  })

  it('speaks no TLS older than 1.2', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs, extra: 'ssl_protocols TLSv1 TLSv1.1; ssl_ciphers ALL:@SECLEVEL=0;' })
    await assert.rejects(open(`${nginx.origin}/disk.img`, { ca: [certs.caPem] }), { code: 'CDI_SOURCE_TLS' })
  })

  it('is not led from https to http', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile()
    await using front = await startNginx({ certs, redirect: { status: 302, to: nginx.origin } })
    await assert.rejects(open(`${front.origin}/disk.img`, { ca: [certs.caPem] }), { code: 'CDI_SOURCE_REDIRECT' })
    assert.equal((await settled(nginx)).length, 0)
  })
})

describe('http source that cannot be opened', () => {
  it('names the cause when nobody listens', async () => {
    await using gone = await startFaultyServer({ body: content })
    await gone[Symbol.asyncDispose]()
    await assert.rejects(open(gone.origin), {
      code: 'CDI_SOURCE_UNREACHABLE',
      message: /^HTTP request errored: connect ECONNREFUSED/,
    })
  })

  it('names the cause when the host is unknown', async () => {
    await assert.rejects(open('http://no-such-host.invalid/disk.img'), {
      code: 'CDI_SOURCE_UNREACHABLE',
      message: /^HTTP request errored: getaddrinfo/,
    })
  })

  it('refuses what is no http URL', async () => {
    for (const url of ['ftp://host/x', 'nonsense', 'http://']) {
      await assert.rejects(open(url), { code: 'CDI_USAGE' })
    }
  })

  it('says so when something else than http answers', async () => {
    await using dir = await tempDir('certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs })
    await using plain = await startFaultyServer({ body: content })
    await assert.rejects(open(`https://127.0.0.1:${plain.port}/`), { code: 'CDI_SOURCE_TLS' })
    await assert.rejects(open(`http://127.0.0.1:${nginx.port}/disk.img`), { code: 'CDI_SOURCE_STATUS' })
  })
})

describe('http source on servers with faults', () => {
  async function faulty(options: Partial<FaultyOptions>): Promise<FaultyServer & { url: string }> {
    const server = await startFaultyServer({ body: content, ...options })
    return { ...server, url: `${server.origin}/disk.img` }
  }

  for (const head of ['refuse', 'cut'] as const) {
    it(`needs no HEAD (${head})`, async () => {
      await using server = await faulty({ head })
      await using source = await openRanged(server.url)
      assert.deepEqual(await readAll(source), content)
    })
  }

  it('does not wait for a HEAD that is never answered', async () => {
    await using server = await faulty({ head: 'hang' })
    await using source = await openRanged(server.url, { idleTimeoutMs: 200 })
    assert.deepEqual(await readAll(source), content)
  })

  it('reads a body whose length nobody tells', async () => {
    await using server = await faulty({ chunked: true, ranges: false })
    await using source = await openForward(server.url)
    assert.equal(source.sizeBytes, undefined)
    assert.deepEqual(await readAll(source), content)
  })

  it('does not take a chunked body that is cut for a complete one', async () => {
    await using server = await faulty({ chunked: true, ranges: false, etag: () => undefined, cutAfter: () => 500_000 })
    await using source = await openForward(server.url)
    await assert.rejects(readAll(source), { code: 'CDI_SOURCE_TRUNCATED' })
  })

  for (const [name, contentRange] of [
    ['the rest in parts', (honest: string) => honest],
    ['a part of the rest and not how much there is', (honest: string) => honest.replace(/\/.*/, '/*')],
  ] as const) {
    it(`does not take a part of the rest for all of it, when a server sends ${name}`, async () => {
      await using server = await faulty({
        chunked: true,
        ranges: (get) => get > 1,
        longestRangeBytes: 200_000,
        contentRange,
        cut: 'reset',
        cutAfter: (get) => (get === 1 ? 300_000 : undefined),
      })
      await using source = await openForward(server.url)
      const read = readAll(source)
      if (contentRange('bytes 0-1/2').endsWith('*')) await assert.rejects(read, { code: 'CDI_SOURCE_CHANGED' })
      else assert.deepEqual(await read, content)
    })
  }

  it('does not take a short body for a complete one', async () => {
    await using server = await faulty({
      ranges: false,
      etag: () => undefined,
      announcedBytes: content.length + 1,
      cutAfter: () => content.length - 1,
    })
    await using source = await openForward(server.url)
    await assert.rejects(readAll(source), { code: 'CDI_SOURCE_TRUNCATED' })
  })

  it('refuses to resume without a validator', async () => {
    for (const ranges of [true, false]) {
      await using server = await faulty({ ranges, etag: () => undefined, cut: 'reset', cutAfter: () => 400_000 })
      await using source = await openForward(server.url)
      const gets = server.requests.length
      await assert.rejects(readAll(source), { code: 'CDI_SOURCE_INTERRUPTED', message: /not resumed/ })
      assert.ok(server.requests.length <= gets + 1)
    }
  })

  it('resumes by a date when there is no ETag', async () => {
    await using server = await faulty({
      etag: () => undefined,
      lastModified: 'Mon, 16 Nov 2026 10:00:00 GMT',
      cutAfter: (get) => (get < 6 ? 300_000 : undefined),
    })
    await using source = await openRanged(server.url)
    assert.deepEqual(await readAll(source), content)
  })

  it('resumes a forward stream by fetching it again where there are no ranges but an ETag', async () => {
    await using server = await faulty({ ranges: false, cutAfter: (get) => (get === 1 ? 1_000_000 : undefined) })
    await using source = await openForward(server.url)
    assert.deepEqual(await readAll(source), content)
  })

  it('resumes a forward stream by range where the server can', async () => {
    await using server = await faulty({
      headers: { 'accept-ranges': 'none' },
      cutAfter: (get) => (get === 1 ? 1_000_000 : undefined),
    })
    await using source = await openForward(server.url)
    assert.deepEqual(await readAll(source), content)
    assert.match(server.requests.at(-1)?.headers.range ?? '', /^bytes=\d+-$/)
    assert.equal(server.requests.at(-1)?.headers['if-range'], '"v1"')
  })

  it('does not glue two versions together', async () => {
    for (const ranges of [true, false]) {
      await using server = await faulty({
        ranges,
        etag: (get) => (get === 1 ? '"v1"' : '"v2"'),
        cutAfter: (get) => (get === 1 ? 200_000 : undefined),
      })
      await using source = await open(server.url)
      await assert.rejects(readAll(source), { code: 'CDI_SOURCE_CHANGED' })
    }
  })

  it('does not take one range for another', async () => {
    const shifted = (honest: string, get: number): string =>
      get === 1 ? honest : honest.replace(/\d+/, (first) => String(Number(first) + 1))
    await using server = await faulty({ contentRange: shifted })
    await using source = await openRanged(server.url)
    await assert.rejects(readAll(source), { code: 'CDI_SOURCE_CHANGED' })
  })

  it('opens and reads where only every fourth GET is answered', async () => {
    for (const status of [503, 'cut'] as const) {
      await using server = await faulty({ status: (get) => (get % 4 === 0 ? undefined : status) })
      await using source = await openRanged(server.url)
      assert.deepEqual(await readAll(source), content)
    }
  })

  it('waits as long as Retry-After says', async () => {
    await using server = await faulty({
      // The first GET opens the source, the third is a range.
      status: (get) => (get === 1 || get === 3 ? 429 : undefined),
      headers: { 'retry-after': '60' },
    })
    const slept: number[] = []
    const clock = {
      now: () => performance.now(),
      sleep: (ms: number) => {
        slept.push(ms)
        return Promise.resolve()
      },
    }
    await using source = await openRanged(server.url, { clock, patience: { ...patience, silenceMs: 600_000 } })
    assert.deepEqual(await readAll(source), content)
    assert.deepEqual(slept, [60_000, 60_000])
  })

  it('connects anew when a server falls silent, and reports the one that stays silent', async () => {
    await using server = await faulty({ cut: 'silence', cutAfter: (get) => (get < 4 ? 300_000 : undefined) })
    await using source = await openRanged(server.url, { idleTimeoutMs: 1000 })
    assert.deepEqual(await readAll(source), content)

    await using mute = await faulty({ cut: 'silence', cutAfter: (get) => (get === 1 ? undefined : 0) })
    const limited = { ...patience, silenceMs: 2500 }
    await using other = await openRanged(mute.url, { idleTimeoutMs: 1000, patience: limited })
    await assert.rejects(readAll(other), { code: 'CDI_SOURCE_STALLED' })
  })

  it('does not take its own slowness for a silent server', async () => {
    await using server = await faulty({})
    await using source = await openRanged(server.url, { idleTimeoutMs: 1000 })
    let first = true
    const chunks: Buffer[] = []
    const sink = async (chunk: Buffer): Promise<void> => {
      if (first) await delay(3000)
      first = false
      chunks.push(Buffer.from(chunk))
    }
    const gets = server.requests.length
    await source.stream({ offset: 300_000, length: 1_000_000 }, sink, never)
    assert.deepEqual(Buffer.concat(chunks), content.subarray(300_000, 1_300_000))
    assert.equal(server.requests.length, gets + 1)
  })

  it('never logs a secret', async () => {
    await using dir = await tempDir('log')
    const { open: openFile, readFile } = await import('node:fs/promises')
    await using file = await openFile(join(dir.path, 'log'), 'w')
    await using target = await faulty({ cutAfter: (get) => (get < 6 ? 300_000 : undefined) })
    await using front = await redirector(() => `${target.url}?X-Signature=hidden1`)
    await using source = await open(`${front.origin}/disk.img?token=hidden2`, {
      credentials: { user: 'me', password: 'hidden3' },
      secretHeaders: ['X-Key: hidden4'],
      log: createLog({ name: 'test', verbosity: 9, fd: file.fd }),
    })
    assert.deepEqual(await readAll(source), content)
    const logged = await readFile(join(dir.path, 'log'), 'utf8')
    assert.match(logged, /redirect/)
    assert.match(logged, /trying again/)
    assert.ok(!/hidden|aGlkZGVu/.test(logged + source.name))
  })

  it('hands out all bytes once, whatever cuts, and costs little more than the file', async () => {
    const plans = fc.record({
      cuts: fc.array(fc.integer({ min: 1, max: 400_000 }), { maxLength: 12 }),
      clean: fc.boolean(),
    })
    await fc.assert(
      fc.asyncProperty(plans, async ({ cuts, clean }) => {
        const cut = clean ? 'close' : 'reset'
        await using server = await faulty({ cut, cutAfter: (get) => cuts[get - 1] })
        await using source = await openRanged(server.url)
        assert.deepEqual(await readAll(source), content)
        // A reset throws away what was on its way.
        if (clean) assert.ok(server.served.bytes <= content.length * 1.05 + 262_144, String(server.served.bytes))
      }),
      { numRuns: 30 },
    )
  })

  it('hands out all bytes once by ETag alone, whatever cuts', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 2_000_000 }), { maxLength: 8 }), async (cuts) => {
        await using server = await faulty({ ranges: false, cut: 'reset', cutAfter: (get) => cuts[get - 1] })
        await using source = await openForward(server.url)
        assert.deepEqual(await readAll(source), content)
      }),
      { numRuns: 15 },
    )
  })
})

describe('http source through a bad link', () => {
  before(() => installToxiproxy())

  it('survives connections that are reset again and again', async () => {
    await using nginx = await withFile()
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(nginx.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 700_000 } })
    await using source = await openRanged(`http://127.0.0.1:${link.port}/disk.img`)
    const quarter = Math.ceil(content.length / 4)
    const quarters = [0, 1, 2, 3].map((index) => {
      const offset = index * quarter
      return { offset, length: Math.min(quarter, content.length - offset) }
    })
    const read = await Promise.all(quarters.map((range) => readRange(source, range, never)))
    assert.deepEqual(Buffer.concat(read), content)
  })

  it('survives a link that is down for a while', async () => {
    await using nginx = await withFile({ limitRate: '1m' })
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(nginx.port)
    await using source = await openRanged(`http://127.0.0.1:${link.port}/disk.img`)
    const reading = readAll(source)
    await delay(300)
    await link.enable(false)
    await delay(300)
    await link.enable(true)
    assert.deepEqual(await reading, content)
  })
})
