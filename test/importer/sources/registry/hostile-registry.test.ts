import assert from 'node:assert/strict'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { ServerResponse } from 'node:http'
import { readRange } from '../../../../importer/sources/source.ts'
import { CdiError } from '../../../../src/errors.ts'
import { createLog } from '../../../../src/log.ts'
import { blob, descriptor, image, index, json, mediaTypes, sha256 } from '../../../fixtures/container-images.ts'
import type { Blob, Content } from '../../../fixtures/container-images.ts'
import { noise } from '../../../fixtures/images.ts'
import { hastyPatience, openImage, readLayer } from '../../../fixtures/open-image.ts'
import { sendBlob, sendJson, sendManifest, startScriptedRegistry } from '../../../fixtures/scripted-registry.ts'
import type { ScriptedRegistry, ScriptedRequest } from '../../../fixtures/scripted-registry.ts'
import { tempDir } from '../../../fixtures/server-process.ts'

const never = new AbortController().signal
const insecure = { insecureSkipVerify: true } as const
const stored = blob(mediaTypes.ociLayer, noise(900_000, 1))
const content = image({ layers: [stored] })
const layerPath = `/v2/a/blobs/${stored.digest}`
const manifestPath = '/v2/a/manifests/1'

/** A registry with the content as `a:1` that answers one path by `answer`, the others as it should. */
function registryWith(
  path: string | undefined,
  answer: (response: ServerResponse, request: ScriptedRequest) => boolean | void,
  contents: Readonly<Record<string, Content>> = { 'a:1': content },
): Promise<ScriptedRegistry> {
  return startScriptedRegistry({
    contents,
    instead: (request, response) =>
      (path === undefined || request.path === path) && answer(response, request) !== false,
  })
}

/** As an index would hold it whose maker did not look. */
function withDescriptor(of: Blob, change: object): Content {
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociIndex,
    manifests: [{ ...descriptor(of), platform: { os: 'linux', architecture: 'amd64' }, ...change }],
  }
  return { manifest: blob(mediaTypes.ociIndex, json(manifest)), blobs: [of], members: [] }
}

const amd64 = { ...insecure, architecture: 'amd64' } as const

describe('a registry that lies', () => {
  it('about the digest of a manifest is not believed', async () => {
    const other = image({ layers: [] }).manifest
    await using byTag = await registryWith(manifestPath, (response) => {
      sendManifest(response, { ...content.manifest, digest: other.digest })
    })
    await assert.rejects(openImage(`docker://${byTag.host}/a:1`, insecure), { code: 'CDI_REGISTRY_DIGEST' })
    await using byDigest = await registryWith(`/v2/a/manifests/${content.manifest.digest}`, (response) => {
      sendManifest(response, other)
    })
    await assert.rejects(openImage(`docker://${byDigest.host}/a@${content.manifest.digest}`, insecure), {
      code: 'CDI_REGISTRY_DIGEST',
      message: /Failed to read registry image: the manifest of .* has the digest .* instead of sha256:/,
    })
  })

  it('about a member of an index or a configuration is not believed', async () => {
    const all = index([content])
    const config = content.blobs[0]!
    for (const [path, wrong] of [
      [`/v2/a/manifests/${content.manifest.digest}`, all.manifest],
      [`/v2/a/blobs/${config.digest}`, { ...config, bytes: Buffer.alloc(config.bytes.length, ' ') }],
    ] as const) {
      await using registry = await registryWith(path, (response) => sendManifest(response, wrong), { 'a:1': all })
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, amd64), { code: 'CDI_REGISTRY_DIGEST' })
    }
  })

  it('about the size of a manifest in an index is not believed', async () => {
    for (const [size, code] of [
      [content.manifest.bytes.length + 1, 'CDI_REGISTRY_DIGEST'],
      [10 * 1024 * 1024, 'CDI_REGISTRY_MANIFEST'],
    ] as const) {
      const lie = withDescriptor(content.manifest, { size })
      await using registry = await startScriptedRegistry({ contents: { 'a:1': lie, 'a:2': content } })
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, amd64), { code })
    }
  })

  it('with indexes that lead to each other is left', async () => {
    let inner: Content = index([content])
    for (let depth = 0; depth < 5; depth += 1) {
      inner = index([{ ...inner, platform: { os: 'linux', architecture: 'amd64' } }])
    }
    await using registry = await startScriptedRegistry({ contents: { 'a:1': inner } })
    await assert.rejects(openImage(`docker://${registry.host}/a:1`, amd64), {
      code: 'CDI_REGISTRY_MANIFEST',
      message: /nested too deeply/,
    })
    assert.ok(registry.requests.length <= 4)
  })

  it('with a manifest without end is left after 4 MiB', async () => {
    let written = 0
    await using registry = await registryWith(manifestPath, (response) => {
      response.writeHead(200, { 'content-type': mediaTypes.ociManifest })
      const more = (): void => {
        if (response.destroyed) return
        written += 65_536
        response.write(Buffer.alloc(65_536, ' '), more)
      }
      more()
    })
    await assert.rejects(openImage(`docker://${registry.host}/a:1`, insecure), {
      code: 'CDI_REGISTRY_MANIFEST',
      message: /gives more than 4194304 bytes/,
    })
    // What the kernel buffers of it comes on top.
    assert.ok(written < 32 * 1024 * 1024)
  })

  it('about the size of a layer is found out when it is opened', async () => {
    for (const length of [stored.bytes.length - 1, stored.bytes.length + 1]) {
      for (const ranges of [true, false]) {
        await using registry = await registryWith(layerPath, (response, { range }) => {
          sendBlob(response, Buffer.alloc(length), ranges ? range : undefined)
        })
        await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
        await assert.rejects(async () => opened.layers[0]?.open(never), {
          code: 'CDI_REGISTRY_DIGEST',
          message: new RegExp(`has ${length} bytes instead of the ${stored.bytes.length} of the manifest`),
        })
      }
    }
  })

  it('with another range than the one that was asked for is found out', async () => {
    await using registry = await registryWith(layerPath, (response) => {
      sendBlob(response, stored.bytes, 'bytes=10-1000')
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await assert.rejects(async () => opened.layers[0]?.open(never), { code: 'CDI_SOURCE_CHANGED' })
  })
})

describe('a registry that stumbles', () => {
  it('is asked again a few times', async () => {
    await using registry = await registryWith(manifestPath, (response, { count }) => {
      if (count > 3) return false
      if (count === 1) response.destroy()
      else response.writeHead(count === 2 ? 502 : 429).end()
      return true
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    assert.equal(opened.digest, content.manifest.digest)
  })

  it('is left in the end, with its words', async () => {
    await using registry = await registryWith(manifestPath, (response) => {
      sendJson(response, 503, { errors: [{ code: 'UNAVAILABLE', message: 'come back later' }] })
    })
    await assert.rejects(openImage(`docker://${registry.host}/a:1`, insecure), {
      code: 'CDI_REGISTRY_PULL',
      message: /failed to pull image: .*503 Service Unavailable \(UNAVAILABLE: come back later\)$/,
    })
    assert.equal(registry.requests.length, 4)
  })

  it('is waited for as long as it asks', async () => {
    await using registry = await registryWith(manifestPath, (response, { count }) => {
      if (count > 1) return false
      sendJson(response, 429, { errors: [{ code: 'TOOMANYREQUESTS' }] }, { 'retry-after': '7' })
      return true
    })
    const pauses: number[] = []
    const clock = { now: () => performance.now(), sleep: async (ms: number) => void pauses.push(ms) }
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure, { clock })
    assert.equal(opened.digest, content.manifest.digest)
    assert.deepEqual(pauses, [7000])
  })

  for (const status of [400, 401, 403, 404, 501]) {
    it(`is left at once when it says ${status}`, async () => {
      await using registry = await registryWith(manifestPath, (response) => sendJson(response, status, { errors: [] }))
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, insecure), { code: 'CDI_REGISTRY_PULL' })
      assert.equal(registry.requests.length, 1)
    })
  }

  it('is left at once when it does not have a layer', async () => {
    await using registry = await registryWith(layerPath, (response) => {
      sendJson(response, 404, { errors: [{ code: 'BLOB_UNKNOWN', message: 'blob unknown to registry' }] })
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await assert.rejects(async () => opened.layers[0]?.open(never), {
      code: 'CDI_REGISTRY_PULL',
      message:
        /^failed to pull image: reading blob sha256:.*: 404 Not Found \(BLOB_UNKNOWN: blob unknown to registry\)$/,
    })
    assert.equal(registry.requests.filter(({ path }) => path === layerPath).length, 1)
  })

  it('in the middle of a layer is suffered whatever it says, and left with its words in the end', async () => {
    const says = [404, 401, 500, 403]
    await using registry = await registryWith(layerPath, (response, { count }) => {
      const status = says[count - 2]
      if (status === undefined) return false
      sendJson(response, status, { errors: [{ code: 'RESTARTING' }] })
      return true
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    assert.equal(sha256(await readLayer(opened.layers[0]!)), stored.digest)
    await using gone = await registryWith(layerPath, (response, { count }) => {
      if (count === 1) return false
      sendJson(response, 404, { errors: [{ code: 'BLOB_UNKNOWN' }] })
      return true
    })
    const patience = { ...hastyPatience, refusalMs: 100 }
    await using deleted = await openImage(`docker://${gone.host}/a:1`, insecure, { patience })
    await assert.rejects(readLayer(deleted.layers[0]!), {
      code: 'CDI_SOURCE_STATUS',
      message: /^failed to pull image: reading blob .* 404 Not Found \(BLOB_UNKNOWN\)/,
    })
  })
})

describe('a registry without ranges', () => {
  it('gives the same bytes, one stream at a time', async () => {
    await using registry = await startScriptedRegistry({ contents: { 'a:1': content }, ranges: false })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await using source = await opened.layers[0]!.open(never)
    assert.equal(source.parallel, 1)
    assert.equal(source.validator, stored.digest)
    const ranges = fc.tuple(fc.nat({ max: stored.bytes.length - 1 }), fc.nat({ max: stored.bytes.length }))
    await fc.assert(
      fc.asyncProperty(ranges, async ([offset, most]) => {
        const length = Math.min(most, stored.bytes.length - offset)
        const piece = await readRange(source, { offset, length }, never)
        assert.ok(piece.equals(stored.bytes.subarray(offset, offset + length)))
      }),
      { numRuns: 30, examples: [[[0, stored.bytes.length]], [[stored.bytes.length - 1, 1]]] },
    )
  })

  it('is left as soon as the wanted piece has come', async () => {
    await using registry = await registryWith(layerPath, (response) => {
      // More than what is fetched when opening, a pause, a little of the rest, and then nothing for ever.
      response.writeHead(200, { 'content-length': stored.bytes.length })
      response.write(stored.bytes.subarray(0, 300_000))
      setTimeout(() => response.write(stored.bytes.subarray(300_000, 310_000)), 50)
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await using source = await opened.layers[0]!.open(never)
    for (const length of [290_000, 300_000, 305_000]) {
      const piece = await readRange(source, { offset: 0, length }, never)
      assert.ok(piece.equals(stored.bytes.subarray(0, length)))
    }
  })

  it('is resumed by passing over what is there already', async () => {
    await using registry = await registryWith(layerPath, (response, { count }) => {
      response.writeHead(200, { 'content-length': stored.bytes.length })
      if (count >= 4) response.end(stored.bytes)
      else response.write(stored.bytes.subarray(0, 250_000 * count), () => response.destroy())
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    assert.equal(sha256(await readLayer(opened.layers[0]!)), stored.digest)
  })
})

describe('a layer elsewhere', () => {
  it('is asked for anew when the signature of its place has expired', async () => {
    const signatures: string[] = []
    await using store = await registryWith(undefined, (response, { query, range }) => {
      const signature = query.get('signature') ?? ''
      // Each is good for two answers.
      if (signatures.filter((one) => one === signature).length >= 2) {
        sendJson(response, 403, { error: 'expired' })
      } else {
        signatures.push(signature)
        const [, first = ''] = /=(\d+)-/.exec(range ?? '') ?? []
        sendBlob(response, stored.bytes, `bytes=${first}-${Number(first) + 149_999}`)
      }
    })
    await using registry = await registryWith(layerPath, (response, { count }) => {
      response.writeHead(307, { location: `http://${store.host}/x?signature=${count}` }).end()
    })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    assert.equal(sha256(await readLayer(opened.layers[0]!)), stored.digest)
    assert.ok(new Set(signatures).size > 1)
  })
})

describe('sources of layers', () => {
  it('end their own streams when they are closed, and nobody else', async () => {
    await using registry = await startScriptedRegistry({ contents: { 'a:1': content } })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    await using kept = await opened.layers[0]!.open(never)
    const closed = await opened.layers[0]!.open(never)
    const blocked = Promise.withResolvers<void>()
    const reading = closed.stream({ offset: 0, length: closed.sizeBytes }, () => blocked.promise, never)
    await closed[Symbol.asyncDispose]()
    blocked.resolve()
    await assert.rejects(reading, { code: 'CDI_ABORTED' })
    assert.equal(sha256(await readRange(kept, { offset: 0, length: kept.sizeBytes }, never)), stored.digest)
  })

  it('of nothing are empty', async () => {
    const empty = image({ layers: [blob(mediaTypes.ociLayer, Buffer.alloc(0))] })
    await using registry = await startScriptedRegistry({ contents: { 'a:1': empty } })
    await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
    assert.equal((await readLayer(opened.layers[0]!)).length, 0)
  })
})

describe('a registry that asks for credentials in strange ways', () => {
  const credentials = { user: 'me', password: 'hunter2' }
  const ask = { ...insecure, credentials }

  function asking(
    challenge: string,
    others: (request: ScriptedRequest, response: ServerResponse) => boolean = () => false,
  ) {
    return startScriptedRegistry({
      contents: { 'a:1': content },
      instead: (request, response) => {
        if (others(request, response)) return true
        sendJson(response, 401, { errors: [{ code: 'UNAUTHORIZED' }] }, { 'www-authenticate': challenge })
        return true
      },
    })
  }

  for (const challenge of [
    '',
    'Negotiate',
    'Bearer',
    'Bearer service="x"',
    'Digest realm="x", nonce="y"',
    'Basic Basic Basic',
    '"""',
    '=,=,=',
  ]) {
    it(`is left at once: ${JSON.stringify(challenge)}`, async () => {
      await using registry = await asking(challenge)
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, ask), {
        code: 'CDI_REGISTRY_PULL',
        message: /401 Unauthorized/,
      })
      assert.ok(registry.requests.length <= 2)
    })
  }

  for (const [realm, why] of [
    ['/token', /no URL/],
    ['file:///etc/passwd', /no URL|not reached by https/],
    ['ftp://127.0.0.1/x', /not reached by https/],
    ['https://', /no URL/],
  ] as const) {
    it(`is left at once when tokens are at ${realm}`, async () => {
      await using registry = await asking(`Bearer realm="${realm}"`)
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, ask), { code: 'CDI_REGISTRY_PULL', message: why })
      assert.equal(registry.requests.length, 1)
    })
  }

  it('survives any challenge', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: 'binary-ascii', maxLength: 200 }), async (garbage) => {
        // Node itself refuses to send control characters.
        const challenge = `Bearer ${garbage.replaceAll(/[^\x20-\x7e]/g, '')}`
        await using registry = await asking(challenge)
        await assert.rejects(
          openImage(`docker://${registry.host}/a:1`, ask),
          (error) =>
            error instanceof CdiError && error.code !== 'CDI_INTERNAL' && error.message.includes('failed to pull'),
        )
      }),
      { numRuns: 50 },
    )
  })

  function tokens(host: () => string, answer: (response: ServerResponse, request: ScriptedRequest) => void) {
    return (request: ScriptedRequest, response: ServerResponse): boolean => {
      if (!request.path.startsWith('/token')) {
        const challenge = `Bearer realm="http://${host()}/token"`
        sendJson(response, 401, { errors: [{ code: 'UNAUTHORIZED' }] }, { 'www-authenticate': challenge })
        return true
      }
      answer(response, request)
      return true
    }
  }

  for (const [what, answer, why] of [
    ['no JSON', (response) => response.end('hunter2 is your password'), /its answer is not JSON/],
    ['JSON without a token', (response) => sendJson(response, 200, { token: '' }), /holds no token/],
    ['a token that would be a header', (response) => sendJson(response, 200, { token: 'a\r\nX: y' }), /holds no token/],
    ['a token that is no text', (response) => sendJson(response, 200, { token: ['a'] }), /holds no token/],
    ['an endless token', (response) => sendJson(response, 200, { token: 'x'.repeat(300_000) }), /longer than 262144/],
    [
      'a refusal that echoes the password',
      (response) => sendJson(response, 403, { details: 'hunter2' }),
      /\[redacted\]/,
    ],
  ] as readonly (readonly [string, (response: ServerResponse) => void, RegExp])[]) {
    it(`is left when the token server sends ${what}`, async () => {
      let host = ''
      await using registry = await asking(
        '',
        tokens(() => host, answer),
      )
      host = registry.host
      await assert.rejects(openImage(`docker://${registry.host}/a:1`, ask), (error) => {
        assert.ok(error instanceof CdiError)
        assert.equal(error.code, 'CDI_REGISTRY_PULL')
        assert.match(error.message, /failed to pull image/)
        assert.match(error.message, why)
        assert.doesNotMatch(error.message, /hunter2/)
        return true
      })
    })
  }

  it('is left when no token is good enough, after two of them', async () => {
    let host = ''
    await using registry = await asking(
      '',
      tokens(
        () => host,
        (response, { count }) => sendJson(response, 200, { token: `t${count}` }),
      ),
    )
    host = registry.host
    await assert.rejects(openImage(`docker://${registry.host}/a:1`, ask), {
      code: 'CDI_REGISTRY_PULL',
      message: /401 Unauthorized \(UNAUTHORIZED\); the given credentials do not suffice/,
    })
    assert.ok(registry.requests.filter(({ path }) => path === '/token').length <= 2)
  })

  it('gets no credentials by sending token requests elsewhere', async () => {
    await using thief = await registryWith(undefined, (response) => sendJson(response, 200, { token: 'stolen' }))
    let host = ''
    const elsewhere = tokens(
      () => host,
      (response) => void response.writeHead(307, { location: `http://${thief.host}/token` }).end(),
    )
    await using registry = await asking('', elsewhere)
    host = registry.host
    await assert.rejects(openImage(`docker://${host}/a:1`, ask), { code: 'CDI_REGISTRY_PULL' })
    assert.deepEqual(
      thief.requests.map(({ authorization }) => authorization),
      [undefined],
    )
    const dockerConfig = JSON.stringify({ auths: { [host]: { identitytoken: 'hunter2' } } })
    await assert.rejects(openImage(`docker://${host}/a:1`, { ...insecure, dockerConfig }), {
      code: 'CDI_REGISTRY_PULL',
      message: /refused: 307/,
    })
    assert.equal(thief.requests.length, 1)
  })

  it('finds no secret in what we say and log', async () => {
    await using dir = await tempDir('log')
    const path = join(dir.path, 'log')
    const file = await open(path, 'w')
    const log = createLog({ name: 'test', verbosity: 9, fd: file.fd })
    let host = ''
    const echo = tokens(
      () => host,
      (response, { count }) => sendJson(response, 200, { token: `s3cr3t-t0k3n-${count}` }),
    )
    await using registry = await asking('', (request, response) => {
      if (request.authorization === undefined || request.path === '/token') return echo(request, response)
      const said = `${request.authorization} hunter2 ${Buffer.from('me:hunter2').toString('base64')}`
      sendJson(response, request.count % 2 === 0 ? 503 : 403, { errors: [{ code: 'ECHO', message: said }] })
      return true
    })
    host = registry.host
    await assert.rejects(openImage(`docker://${host}/a:1`, ask, { log }), (error) => {
      const texts: string[] = []
      for (let at: unknown = error; at instanceof Error; at = at.cause) texts.push(at.message, String(at.stack))
      assert.doesNotMatch(texts.join('\n'), /hunter2|s3cr3t-t0k3n|bWU6aHVudGVyMg/)
      assert.match(texts.join('\n'), /ECHO: Bearer \[redacted\] \[redacted\]/)
      return true
    })
    await file.close()
    const logged = await readFile(path, 'utf8')
    assert.match(logged, /registry stumbled/)
    assert.doesNotMatch(logged, /hunter2|s3cr3t-t0k3n|bWU6aHVudGVyMg/)
  })
})
