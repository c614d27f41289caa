import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { GcsRequest } from '../../../importer/request.ts'
import { openGcs } from '../../../importer/sources/gcs.ts'
import type { GcsOptions } from '../../../importer/sources/gcs.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { RangedSource, Source } from '../../../importer/sources/source.ts'
import { silentLog } from '../../../src/log.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import { startFakeGcs } from '../../fixtures/fake-gcs.ts'
import type { FakeGcs } from '../../fixtures/fake-gcs.ts'
import { startFaultyServer } from '../../fixtures/faulty-server.ts'
import { startGoogleFront } from '../../fixtures/google-front.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx, NginxOptions } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { startTinyproxy } from '../../fixtures/tinyproxy.ts'
import { installToxiproxy, startToxiproxy } from '../../fixtures/toxiproxy.ts'

const never = new AbortController().signal
const content = randomBytes(3 * 1024 * 1024 + 12_345)
const patience = { silenceMs: 6000, refusalMs: 3000, firstPauseMs: 5, longestPauseMs: 100 }

function open(url: string, more: Partial<GcsRequest> = {}, options: Partial<GcsOptions> = {}): Promise<Source> {
  const request: GcsRequest = { type: 'gcs', url, ca: [], insecureSkipVerify: false, proxy: {}, ...more }
  return openGcs({ request, log: silentLog(), environment: {}, patience, ...options }, never)
}

async function openRanged(...args: Parameters<typeof open>): Promise<RangedSource> {
  const source = await open(...args)
  assert.equal(source.kind, 'ranged')
  return source
}

function whole(source: RangedSource): Promise<Buffer> {
  return readRange(source, { offset: 0, length: source.sizeBytes }, never)
}

describe('gcs source', () => {
  let store: FakeGcs
  let environment: Readonly<Record<string, string>>
  before(async () => {
    store = await startFakeGcs()
    await store.put('images', 'dir/disk.img', content)
    environment = { STORAGE_EMULATOR_HOST: store.origin }
  })
  after(() => store[Symbol.asyncDispose]())

  it('reads an object by ranges that are tied to its version', async () => {
    await using source = await openRanged('gs://images/dir/disk.img', {}, { environment })
    assert.equal(source.sizeBytes, content.length)
    assert.equal(source.pinned, true)
    assert.equal(source.parallel, 4)
    const halves = await Promise.all([
      readRange(source, { offset: 0, length: 1_500_000 }, never),
      readRange(source, { offset: 1_500_000, length: content.length - 1_500_000 }, never),
    ])
    assert.deepEqual(Buffer.concat(halves), content)
  })

  it('reads the same object from an http URL', async () => {
    await using source = await openRanged(`${store.origin}/images/dir/disk.img`)
    assert.deepEqual(await whole(source), content)
  })

  it('finds the object under every name that can be written into a URL', async () => {
    for (const [index, name] of ['a b', 'a+b', 'a%2Fb', 'ä/ö/💾.img', "!'()*~", '?#&=;:@$,', 'x/%25/%'].entries()) {
      const body = Buffer.from(`${index} ${name}`)
      await store.put('odd', name, body)
      await using source = await openRanged(`gs://odd/${name}`, {}, { environment })
      assert.deepEqual(await whole(source), body, name)
    }
  })

  it('reads an empty object', async () => {
    await store.put('images', 'empty.img', Buffer.alloc(0))
    await using source = await open('gs://images/empty.img', {}, { environment })
    assert.equal(source.sizeBytes, 0)
  })

  it('reports an object that is not there', async () => {
    await assert.rejects(open('gs://images/none.img', {}, { environment }), {
      code: 'CDI_SOURCE_STATUS',
      message: 'expected status code 200, got 404. Status: 404 Not Found',
    })
  })

  it('continues where the connection broke', async () => {
    await installToxiproxy()
    await using toxiproxy = await startToxiproxy()
    // Through nginx, since fake-gcs-server answers to its own host only.
    await using front = await startNginx({
      extra: `location / { proxy_pass ${store.origin}; proxy_set_header Host 127.0.0.1:${store.port}; }`,
    })
    const link = await toxiproxy.link(front.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 700_000 } })
    await using source = await openRanged(`http://127.0.0.1:${link.port}/images/dir/disk.img`)
    assert.deepEqual(await whole(source), content)
  })

  it('notices an object that was replaced in the middle', async () => {
    await store.put('images', 'moving.img', content)
    await using source = await openRanged('gs://images/moving.img', {}, { environment })
    await readRange(source, { offset: 0, length: 1_000_000 }, never)
    await store.put('images', 'moving.img', randomBytes(content.length))
    await assert.rejects(readRange(source, { offset: 1_000_000, length: 1_000_000 }, never), {
      code: 'CDI_SOURCE_CHANGED',
    })
  })

  it('goes through a proxy', async () => {
    await using proxy = await startTinyproxy()
    await using front = await startNginx({
      extra: `location / { proxy_pass ${store.origin}; proxy_set_header Host 127.0.0.1:${store.port}; }`,
    })
    // 127.0.0.1 is never proxied.
    const url = `http://0.0.0.0:${front.port}/images/dir/disk.img`
    await using source = await openRanged(url, { proxy: { httpProxy: proxy.url } })
    assert.deepEqual(await whole(source), content)
    assert.ok((await proxy.requestLines()).length > 0)
  })
})

describe('gcs source with credentials', () => {
  let store: FakeGcs
  before(async () => {
    store = await startFakeGcs()
    await store.put('images', 'disk.img', content)
  })
  after(() => store[Symbol.asyncDispose]())

  it('reads as a service account', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    const { serviceAccount } = google
    await using source = await openRanged(`${google.origin}/images/disk.img`, { serviceAccount })
    assert.deepEqual(await whole(source), content)
    assert.deepEqual(google.tokens, ['token-1'])
  })

  it('reads as a user who has logged in', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    await using source = await openRanged(`${google.origin}/images/disk.img`, { serviceAccount: google.authorizedUser })
    assert.deepEqual(await whole(source), content)
  })

  it('sends no authorization without credentials', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    await assert.rejects(open(`${google.origin}/images/disk.img`), {
      code: 'CDI_SOURCE_STATUS',
      message: 'AuthenticationRequired: Authentication required. (401 Unauthorized; asked without credentials)',
    })
    assert.deepEqual([...new Set(google.asked)], [''])
  })

  it('gets a new token before the old one expires', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    let nowMs = 0
    const clock = {
      now: () => nowMs,
      sleep: async (ms: number): Promise<void> => {
        await delay(ms)
      },
    }
    const { serviceAccount } = google
    await using source = await openRanged(`${google.origin}/images/disk.img`, { serviceAccount }, { clock })
    await readRange(source, { offset: 0, length: 1_000_000 }, never)
    assert.equal(google.tokens.length, 1)
    nowMs = 3_500_000
    assert.deepEqual(await whole(source), content)
    assert.equal(google.tokens.length, 2)
  })

  it('gets a new token when the old one is refused in the middle, one for all streams', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    const { serviceAccount } = google
    await using source = await openRanged(`${google.origin}/images/disk.img`, { serviceAccount })
    google.revoke()
    const quarter = Math.ceil(content.length / 4)
    const quarters = [0, 1, 2, 3].map((index) => {
      const offset = index * quarter
      return readRange(source, { offset, length: Math.min(quarter, content.length - offset) }, never)
    })
    assert.deepEqual(Buffer.concat(await Promise.all(quarters)), content)
    assert.deepEqual(google.tokens, ['token-1', 'token-2'])
  })

  it('tells what the token endpoint objects to', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    await using other = await startGoogleFront({ store: store.origin })
    const strangers = JSON.parse(other.serviceAccount) as Record<string, string>
    const serviceAccount = JSON.stringify({ ...strangers, token_uri: `${google.origin}/token` })
    await assert.rejects(open(`${google.origin}/images/disk.img`, { serviceAccount }), {
      code: 'CDI_SOURCE_STATUS',
      message:
        /^no access token from 127\.0\.0\.1:\d+: invalid_grant: signature verification failed \(400 Bad Request\)$/,
    })
  })

  it('carries no token to where the store redirects, and no assertion to where the token endpoint does', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    await using other = await startFaultyServer({ body: content })
    const { serviceAccount } = google
    await using front = await startNginx({ redirect: { status: 307, to: other.origin } })
    await using source = await openRanged(`${front.origin}/images/disk.img`, { serviceAccount })
    assert.deepEqual(await whole(source), content)
    assert.ok(other.requests.length > 0)
    assert.ok(other.requests.every(({ headers }) => headers.authorization === undefined))
    const before = other.requests.length
    const misled = JSON.stringify({ ...JSON.parse(serviceAccount), token_uri: `${front.origin}/token` })
    await assert.rejects(open(`${google.origin}/images/disk.img`, { serviceAccount: misled }), {
      message: /no access token from .*307/,
    })
    assert.equal(other.requests.length, before)
  })

  it('keeps its token to itself where everybody could read it', async () => {
    await using google = await startGoogleFront({ store: store.origin })
    await using nginx = await withFile()
    await using proxy = await startTinyproxy()
    const { serviceAccount } = google
    const url = `http://0.0.0.0:${nginx.port}/images/disk.img`
    await using source = await openRanged(url, { serviceAccount, proxy: { httpProxy: proxy.url } })
    assert.deepEqual(await whole(source), content)
    assert.deepEqual(google.tokens, [])
    assert.ok((await nginx.requests()).every(({ authorization }) => authorization === ''))
  })
})

async function withFile(options: NginxOptions = {}): Promise<Nginx> {
  const nginx = await startNginx(options)
  await mkdir(join(nginx.root, 'images'))
  await writeFile(join(nginx.root, 'images', 'disk.img'), content)
  return nginx
}

describe('gcs source on any web server', () => {
  it('reads with plain GET, without authorization', async () => {
    await using nginx = await withFile()
    await using source = await openRanged(`${nginx.origin}/images/disk.img`)
    assert.deepEqual(await whole(source), content)
    for (const { uri, authorization } of await nginx.requests()) {
      assert.equal(uri, '/images/disk.img')
      assert.equal(authorization, '')
    }
  })

  it('reads a server without ranges', async () => {
    await using nginx = await withFile({ ranges: false })
    await using source = await open(`${nginx.origin}/images/disk.img`)
    assert.equal(source.kind, 'forward')
    const chunks: Buffer[] = []
    await source.stream((chunk) => void chunks.push(Buffer.from(chunk)), never)
    assert.deepEqual(Buffer.concat(chunks), content)
  })

  it('ties ranges to the version where there is only a date', async () => {
    await using nginx = await withFile({ extra: 'etag off;' })
    await using source = await openRanged(`${nginx.origin}/images/disk.img`)
    const path = join(nginx.root, 'images', 'disk.img')
    assert.deepEqual(await whole(source), content)
    await utimes(path, Date.now() / 1000, Date.now() / 1000 + 100)
    await assert.rejects(whole(source), { code: 'CDI_SOURCE_CHANGED' })
  })

  it('trusts the given CA and no other', async () => {
    await using dir = await tempDir('gcs-certs')
    const certs = await makeCerts({ dir: dir.path })
    await using nginx = await withFile({ certs })
    const url = `${nginx.origin}/images/disk.img`
    await using source = await openRanged(url, { ca: [certs.caPem] })
    assert.deepEqual(await whole(source), content)
    await assert.rejects(open(url), { code: 'CDI_SOURCE_TLS' })
  })

  it('reports 404 in the words of the contract', async () => {
    await using nginx = await startNginx()
    await assert.rejects(open(`${nginx.origin}/images/none.img`), {
      code: 'CDI_SOURCE_STATUS',
      message: 'expected status code 200, got 404. Status: 404 Not Found',
    })
  })
})
