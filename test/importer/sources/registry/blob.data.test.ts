import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Layer } from '../../../../importer/sources/registry/image.ts'
import { readRange } from '../../../../importer/sources/source.ts'
import type { ByteRange, RangedSource } from '../../../../importer/sources/source.ts'
import { blob, image, mediaTypes, sha256 } from '../../../fixtures/container-images.ts'
import { registryUser, startDockerRegistry } from '../../../fixtures/docker-registry.ts'
import { mebibyte, noise } from '../../../fixtures/images.ts'
import { startNginx } from '../../../fixtures/nginx.ts'
import { openImage, readLayer } from '../../../fixtures/open-image.ts'
import { startTokenServer } from '../../../fixtures/token-server.ts'
import { installToxiproxy, startToxiproxy } from '../../../fixtures/toxiproxy.ts'

const never = new AbortController().signal
const insecure = { insecureSkipVerify: true } as const
const stored = noise(6 * mebibyte + 321, 1)
const content = image({ layers: [blob(mediaTypes.ociLayer, stored)] })
const half = Math.floor(stored.length / 2)

function quarters(): ByteRange[] {
  const length = Math.floor(stored.length / 4)
  return [0, 1, 2, 3].map((part) => ({ offset: part * length, length: part < 3 ? length : stored.length - 3 * length }))
}

async function readQuarters(source: RangedSource): Promise<Buffer> {
  return Buffer.concat(await Promise.all(quarters().map((range) => readRange(source, range, never))))
}

function onlyLayer(layers: readonly Layer[]): Layer {
  const [layer] = layers
  assert.ok(layer !== undefined && layers.length === 1)
  return layer
}

describe('a layer of a real registry', () => {
  before(installToxiproxy)

  it('is read by ranges, four at once, pinned by its digest', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', '1', content)
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    const layer = onlyLayer(opened.layers)
    await using source = await layer.open(never)
    assert.deepEqual(
      [source.parallel, source.pinned, source.validator, source.sizeBytes],
      [4, true, layer.digest, stored.length],
    )
    assert.equal(sha256(await readQuarters(source)), layer.digest)
    await assert.rejects(readRange(source, { offset: stored.length, length: 1 }, never), RangeError)
  })

  it('goes on where the connection was cut, again and again', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', '1', content)
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(registry.port)
    await using opened = await openImage(`docker://127.0.0.1:${link.port}/a:1`, insecure)
    await using source = await onlyLayer(opened.layers).open(never)
    // Whoever began anew would never see the end.
    await link.add({ type: 'limit_data', attributes: { bytes: 1_300_000 } })
    const read = await readRange(source, { offset: 0, length: stored.length }, never)
    assert.equal(sha256(read), sha256(stored))
  })

  it('waits for a registry that is gone for a while', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', '1', content)
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(registry.port)
    await using opened = await openImage(`docker://127.0.0.1:${link.port}/a:1`, insecure)
    await using source = await onlyLayer(opened.layers).open(never)
    await link.add({ type: 'bandwidth', attributes: { rate: 8000 } })
    const reading = readRange(source, { offset: 0, length: stored.length }, never)
    await delay(200)
    await link.enable(false)
    await delay(300)
    await link.remove('bandwidth')
    await link.enable(true)
    assert.equal(sha256(await reading), sha256(stored))
  })

  it('outlives its token: one new token for all streams, and the bytes go on', async () => {
    // Good for three seconds at most, whatever is told.
    await using tokens = await startTokenServer({ credentials: registryUser, lifetimeMs: 3000, toldSeconds: 3600 })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', content)
    await using opened = await openImage(`docker://${registry.host}/a:1`, { ...insecure, credentials: registryUser })
    await using source = await onlyLayer(opened.layers).open(never)
    const first = await readRange(source, { offset: 0, length: half }, never)
    assert.deepEqual(first, stored.subarray(0, half))
    const before = tokens.requests.length
    await delay(3100)
    assert.equal(sha256(await readQuarters(source)), sha256(stored))
    assert.equal(tokens.requests.length, before + 1)
  })

  it('outlives its token in the middle of a stream that is cut', async () => {
    await using tokens = await startTokenServer({ lifetimeMs: 2000, toldSeconds: 3600 })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', content)
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(registry.port)
    await using opened = await openImage(`docker://127.0.0.1:${link.port}/a:1`, insecure)
    await using source = await onlyLayer(opened.layers).open(never)
    // Slow enough that the token expires on the way, and cut so that it is needed again.
    await link.add({ type: 'bandwidth', attributes: { rate: 1500 } })
    await link.add({ type: 'limit_data', attributes: { bytes: 2_000_000 } })
    const read = await readRange(source, { offset: 0, length: stored.length }, never)
    assert.equal(sha256(read), sha256(stored))
    assert.ok(tokens.requests.length >= 2)
  })

  it('outlives a token server that refuses for a while', async () => {
    let refusals = 0
    await using tokens = await startTokenServer({
      lifetimeMs: 2000,
      toldSeconds: 3600,
      instead: (request, response) => {
        const refuses = request === 2 || request === 3
        if (refuses) {
          refusals += 1
          response.writeHead(403).end()
        }
        return refuses
      },
    })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', content)
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await using source = await onlyLayer(opened.layers).open(never)
    await delay(2100)
    assert.equal(sha256(await readRange(source, { offset: 0, length: stored.length }, never)), sha256(stored))
    assert.equal(refusals, 2)
  })

  it('gets a new token before the old one expires, without being refused', async () => {
    await using tokens = await startTokenServer({ lifetimeMs: 3000, toldSeconds: 1 })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', content)
    await using front = await startNginx({
      extra: `location / { proxy_pass ${registry.origin}; proxy_set_header Host $http_host; }`,
    })
    await using opened = await openImage(`docker://127.0.0.1:${front.port}/a:1`, insecure)
    await using source = await onlyLayer(opened.layers).open(never)
    await delay(1100)
    assert.equal(sha256(await readQuarters(source)), sha256(stored))
    assert.ok(tokens.requests.length >= 2)
    const refused = (await front.requests()).filter(({ status }) => status === 401)
    assert.equal(refused.length, 1)
  })

  for (const how of ['password', 'token'] as const) {
    it(`is fetched where the registry sends us, without the ${how}`, async () => {
      await using tokens = await startTokenServer({ credentials: registryUser })
      await using registry = await startDockerRegistry(how === 'password' ? { users: true } : { tokens })
      await registry.push('a', '1', content)
      // An object store, as far as we can see: it needs no credentials of ours.
      const granted =
        how === 'password'
          ? `Basic ${Buffer.from(`${registryUser.user}:${registryUser.password}`).toString('base64')}`
          : `Bearer ${await tokens.sign(['repository:a:pull'])}`
      await using store = await startNginx({
        extra: `location / { proxy_pass ${registry.origin}; proxy_set_header Authorization "${granted}"; }`,
      })
      await using front = await startNginx({
        extra:
          `location ~ /blobs/ { return 307 ${store.origin}$request_uri?signature=s3cr3t; }` +
          `location / { proxy_pass ${registry.origin}; proxy_set_header Host $http_host; }`,
      })
      const url = `docker://127.0.0.1:${front.port}/a:1`
      await using opened = await openImage(url, { ...insecure, credentials: registryUser })
      assert.equal(sha256(await readLayer(onlyLayer(opened.layers))), sha256(stored))
      const there = await store.requests()
      assert.ok(there.length >= 3)
      assert.deepEqual([...new Set(there.map(({ authorization }) => authorization))], [''])
      const here = await front.requests()
      assert.ok(here.some(({ uri, authorization }) => uri.includes('/blobs/') && authorization !== ''))
      // The redirect of a blob is asked for once, not for every range.
      const redirects = here.filter(
        ({ status, uri }) => status === 307 && uri.includes(content.blobs[1]?.digest ?? '?'),
      )
      assert.equal(redirects.length, 1)
    })
  }
})
