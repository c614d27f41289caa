import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { execa } from 'execa'
import { CdiError } from '../../../../src/errors.ts'
import { makeCerts } from '../../../fixtures/certs.ts'
import type { TestCerts } from '../../../fixtures/certs.ts'
import {
  artifact,
  blob,
  diskLayer,
  image,
  index,
  json,
  layer,
  mediaTypes,
  sha256,
  writeArchive,
  writeLayout,
} from '../../../fixtures/container-images.ts'
import type { Content } from '../../../fixtures/container-images.ts'
import { registryUser, startDockerRegistry } from '../../../fixtures/docker-registry.ts'
import { noise } from '../../../fixtures/images.ts'
import { startNginx } from '../../../fixtures/nginx.ts'
import { openImage, readLayer } from '../../../fixtures/open-image.ts'
import { freePort, tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startTinyproxy } from '../../../fixtures/tinyproxy.ts'
import { startTokenServer } from '../../../fixtures/token-server.ts'

const insecure = { insecureSkipVerify: true } as const
let dir: TempDir
let certs: TestCerts
let amd64: Content
let arm64: Content

before(async () => {
  dir = await tempDir('registry-test')
  certs = await makeCerts({ dir: dir.path })
  amd64 = image({ layers: [await diskLayer(noise(600_000, 1))], env: ['KUBEVIRT_IO_A=b'], labels: { c: 'd' } })
  arm64 = image({ layers: [await diskLayer(noise(1000, 2), 'zstd')], architecture: 'arm64' })
})
after(() => dir[Symbol.asyncDispose]())

/** The error has this code, and its text has all of these in it. */
function faultWith(code: string, ...texts: readonly (string | RegExp)[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CdiError, String(error))
    assert.equal(error.code, code, error.message)
    for (const text of ['Failed to read registry image: ', ...texts]) {
      assert.ok(typeof text === 'string' ? error.message.includes(text) : text.test(error.message), error.message)
    }
    return true
  }
}

async function assertSame(url: string, content: Content, more = {}): Promise<void> {
  await using opened = await openImage(url, more)
  assert.equal(opened.digest, content.manifest.digest)
  const layers = await Promise.all(opened.layers.map(readLayer))
  assert.deepEqual(
    layers,
    content.blobs.slice(1).map(({ bytes }) => bytes),
  )
}

describe('images in a registry', () => {
  it('are found by tag and by digest, with configuration and layers', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a/b', '1', amd64)
    const { digest } = amd64.manifest
    for (const reference of [':1', `@${digest}`]) {
      await using opened = await openImage(`docker://${registry.host}/a/b${reference}`, insecure)
      assert.equal(opened.name, `docker://${registry.host}/a/b${reference}`)
      assert.equal(opened.digest, digest)
      assert.equal(opened.type, mediaTypes.ociConfig)
      assert.deepEqual(opened.config, { architecture: 'amd64', env: ['KUBEVIRT_IO_A=b'], labels: { c: 'd' } })
      assert.deepEqual(await readLayer(opened.layers[0]!), amd64.blobs[1]?.bytes)
    }
  })

  it('come as skopeo copies them: docker and OCI, gzip and zstd, many layers', async () => {
    const small = Array.from({ length: 30 }, (_, at) => layer([{ name: `etc/${at}`, data: noise(2000, at) }], 'none'))
    const disk = noise(300_000, 3)
    const path = join(dir.path, 'many.tar')
    const layers = [...(await Promise.all(small)), await diskLayer(disk, 'none')]
    await writeArchive(path, { it: image({ layers }) })
    for (const [args, type, unpack] of [
      [['--format=v2s2'], mediaTypes.dockerConfig, gunzipSync],
      [['--format=oci', '--dest-compress-format=zstd'], mediaTypes.ociConfig, zstdDecompressSync],
    ] as const) {
      // One for each, since skopeo uses again what it knows to be in a registry.
      await using registry = await startDockerRegistry()
      await registry.copy(`oci-archive:${path}:it`, 'a:1', args)
      await using opened = await openImage(`docker://${registry.host}/a:1`, insecure)
      assert.equal(opened.type, type)
      const contents = await Promise.all(opened.layers.map(readLayer))
      assert.deepEqual(
        contents.map((packed) => sha256(unpack(packed))),
        layers.map(({ diffId }) => diffId),
      )
    }
  })

  it('are read from archives that skopeo and GNU tar write', async () => {
    const layout = join(dir.path, 'layout')
    await writeLayout(layout, { it: amd64 })
    const written = join(dir.path, 'skopeo.tar')
    await execa('skopeo', ['--insecure-policy', 'copy', `oci:${layout}:it`, `oci-archive:${written}:new`])
    await assertSame(`oci-archive:${written}:new`, amd64)
    for (const format of ['gnu', 'ustar', 'posix']) {
      const packed = join(dir.path, `${format}.tar`)
      const longer = `s,^\\./,./${'long/'.repeat(30)}../,`
      await execa('tar', [`--format=${format}`, '-cf', packed, '-C', layout, '.'])
      await assertSame(`oci-archive:${packed}`, amd64)
      await execa('tar', [`--format=${format}`, `--transform=${longer}`, '-rf', packed, '-C', layout, './oci-layout'])
      await assertSame(`oci-archive:${packed}`, amd64)
    }
  })

  it('are artifacts too', async () => {
    await using registry = await startDockerRegistry()
    const disk = blob('application/vnd.kubevirt.disk.raw+zstd', noise(400_000, 4))
    const content = artifact({ layers: [disk], artifactType: 'application/vnd.kubevirt.disk' })
    await registry.push('disk', '1', content)
    await using opened = await openImage(`docker://${registry.host}/disk:1`, { ...insecure, architecture: 's390x' })
    assert.equal(opened.type, 'application/vnd.kubevirt.disk')
    assert.deepEqual(opened.config, { env: [], labels: {} })
    assert.deepEqual(await readLayer(opened.layers[0]!), disk.bytes)
  })

  it('take the architecture from an index or list; without a wish that of this machine', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', 'oci', index([amd64, arm64]))
    await registry.push('a', 'docker', index([amd64, arm64].map(dockerOf), 'docker'))
    await registry.push('a', 'one', amd64)
    const own = process.arch === 'arm64' ? arm64 : amd64
    await assertSame(`docker://${registry.host}/a:oci`, arm64, { ...insecure, architecture: 'arm64' })
    await assertSame(`docker://${registry.host}/a:oci`, own, insecure)
    await assertSame(`docker://${registry.host}/a:one`, amd64, insecure)
    await using docker = await openImage(`docker://${registry.host}/a:docker`, { ...insecure, architecture: 'arm64' })
    assert.equal(docker.config.architecture, 'arm64')
    const text = (noun: string): string =>
      `Failed to read registry image: Error retrieving image: choosing image instance: ` +
      `no image found in ${noun} for architecture "s390x", variant "", OS "linux"`
    const wish = { ...insecure, architecture: 's390x' }
    await assert.rejects(openImage(`docker://${registry.host}/a:oci`, wish), {
      code: 'CDI_REGISTRY_PLATFORM',
      message: text('image index'),
    })
    await assert.rejects(openImage(`docker://${registry.host}/a:docker`, wish), { message: text('manifest list') })
    await assert.rejects(openImage(`docker://${registry.host}/a:one`, wish), {
      code: 'CDI_REGISTRY_PLATFORM',
      message:
        'Failed to read registry image: Error validating architecture: ' +
        `manifest image architecture: "amd64" doesn't match requested architecture: "s390x"`,
    })
  })
})

function dockerOf({ platform, blobs }: Content): Content {
  return image({ layers: blobs.slice(1), format: 'docker', architecture: platform?.architecture ?? '' })
}

describe('what cannot be pulled', () => {
  it('says what the registry said', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', '1', amd64)
    await assert.rejects(
      openImage(`docker://${registry.host}/a:2`, insecure),
      faultWith(
        'CDI_REGISTRY_PULL',
        `failed to pull image: reading manifest 2 of ${registry.host}/a: 404 Not Found`,
        'MANIFEST_UNKNOWN: manifest unknown',
      ),
    )
    await assert.rejects(
      openImage(`docker://${registry.host}/other`, insecure),
      faultWith('CDI_REGISTRY_PULL', 'failed to pull image', '404 Not Found'),
    )
  })

  it('says why there is no connection', async () => {
    const url = `docker://127.0.0.1:${await freePort()}/a`
    const refused = faultWith('CDI_SOURCE_UNREACHABLE', 'failed to pull image', 'ECONNREFUSED')
    await assert.rejects(openImage(url), refused)
    await assert.rejects(openImage(url, insecure), refused)
    await assert.rejects(
      openImage('docker://registry.invalid/a'),
      faultWith('CDI_SOURCE_UNREACHABLE', 'failed to pull image', /getaddrinfo \w+ registry\.invalid/),
    )
  })

  it('refuses the old manifest format with its reason', async () => {
    await using nginx = await startNginx({
      certs,
      extra:
        'location /v2/a/manifests/ { default_type application/vnd.docker.distribution.manifest.v1+prettyjws;' +
        ` return 200 '${json({ schemaVersion: 1, name: 'a' }).toString()}'; }`,
    })
    await assert.rejects(
      openImage(`docker://127.0.0.1:${nginx.port}/a`, { ca: [certs.caPem] }),
      faultWith('CDI_REGISTRY_MANIFEST', 'v2 schema 1'),
    )
  })
})

describe('trust in a registry', () => {
  it('is verified against the given CA', async () => {
    await using registry = await startDockerRegistry({ certs })
    await registry.push('a', '1', amd64)
    const url = `docker://${registry.host}/a:1`
    await assertSame(url, amd64, { ca: [certs.caPem] })
    await assert.rejects(
      openImage(url),
      faultWith('CDI_SOURCE_TLS', 'failed to pull image', 'unable to verify the first certificate'),
    )
  })

  it('is not asked for of an insecure registry, which may have https or http', async () => {
    await using encrypted = await startDockerRegistry({ certs })
    await encrypted.push('a', '1', amd64)
    await assertSame(`docker://${encrypted.host}/a:1`, amd64, insecure)
    await using plain = await startDockerRegistry()
    await plain.push('a', '1', amd64)
    await assertSame(`docker://${plain.host}/a:1`, amd64, insecure)
  })

  it('never falls back to plain http for a registry that is not listed, and says what to list', async () => {
    await using registry = await startDockerRegistry()
    await registry.push('a', '1', amd64)
    await assert.rejects(
      openImage(`docker://${registry.host}/a:1`),
      faultWith('CDI_SOURCE_TLS', 'failed to pull image', `list ${registry.host} in insecureRegistries`),
    )
  })
})

describe('credentials for a registry', () => {
  const packed = Buffer.from(`${registryUser.user}:${registryUser.password}`).toString('base64')

  it('are a password where the registry asks for one', async () => {
    await using registry = await startDockerRegistry({ certs, users: true })
    await registry.push('a', '1', amd64)
    const url = `docker://${registry.host}/a:1`
    const ca = [certs.caPem]
    await assertSame(url, amd64, { ca, credentials: registryUser })
    await assertSame(url, amd64, { ca, dockerConfig: JSON.stringify({ auths: { [registry.host]: { auth: packed } } }) })
    await assert.rejects(
      openImage(url, { ca }),
      faultWith('CDI_REGISTRY_PULL', 'failed to pull image', '401 Unauthorized', 'no credentials were given'),
    )
    await assert.rejects(
      openImage(url, { ca, credentials: { user: 'me', password: 'hunter2' } }),
      faultWith('CDI_REGISTRY_PULL', 'failed to pull image', '401 Unauthorized', 'credentials do not suffice'),
    )
    await assert.rejects(
      openImage(url, { ca, dockerConfig: JSON.stringify({ credHelpers: { [registry.host]: 'pass' } }) }),
      faultWith('CDI_REGISTRY_PULL', 'credential helper "pass", which is not run'),
    )
  })

  it('given outright win over a docker config.json', async () => {
    await using registry = await startDockerRegistry({ users: true })
    await registry.push('a', '1', amd64)
    const wrong = Buffer.from('me:wrong').toString('base64')
    const dockerConfig = JSON.stringify({ auths: { [registry.host]: { auth: wrong } } })
    await assertSame(`docker://${registry.host}/a:1`, amd64, { ...insecure, credentials: registryUser, dockerConfig })
  })

  it('are exchanged for a token of the repository, once for everything', async () => {
    await using tokens = await startTokenServer({ credentials: registryUser })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a/b', '1', index([amd64, arm64]))
    await assertSame(`docker://${registry.host}/a/b:1`, arm64, {
      ...insecure,
      credentials: registryUser,
      architecture: 'arm64',
    })
    assert.equal(tokens.requests.length, 1)
    const [request] = tokens.requests
    assert.equal(request?.query.get('service'), 'cdi-test-registry')
    assert.deepEqual(request?.query.getAll('scope'), ['repository:a/b:pull'])
    assert.equal(request?.authorization, `Basic ${packed}`)
  })

  it('are not needed for a token that everybody gets', async () => {
    await using tokens = await startTokenServer()
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', amd64)
    await assertSame(`docker://${registry.host}/a:1`, amd64, insecure)
    assert.equal(tokens.requests[0]?.authorization, undefined)
  })

  it('may be an identity token, which is posted', async () => {
    await using tokens = await startTokenServer({ credentials: registryUser, refreshToken: 'refresh me' })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', amd64)
    const dockerConfig = JSON.stringify({ auths: { [registry.host]: { identitytoken: 'refresh me' } } })
    await assertSame(`docker://${registry.host}/a:1`, amd64, { ...insecure, dockerConfig })
    const [request] = tokens.requests
    assert.equal(request?.method, 'POST')
    assert.equal(request?.form.get('grant_type'), 'refresh_token')
    assert.equal(request?.form.get('scope'), 'repository:a:pull')
    assert.equal(request?.form.get('service'), 'cdi-test-registry')
    assert.equal(request?.authorization, undefined)
  })

  it('that are wrong are refused by the token server, which is named', async () => {
    await using tokens = await startTokenServer({ credentials: registryUser })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', amd64)
    const { host } = new URL(tokens.realm)
    for (const credentials of [{ user: 'me', password: 'hunter2' }, undefined]) {
      await assert.rejects(
        openImage(`docker://${registry.host}/a:1`, { ...insecure, ...(credentials ? { credentials } : {}) }),
        faultWith('CDI_REGISTRY_PULL', `failed to pull image: the token server ${host} refused: 401 Unauthorized`),
      )
    }
  })

  it('wait for a token server that stumbles', async () => {
    await using tokens = await startTokenServer({
      instead: (request, response) => {
        if (request < 3) response.writeHead(503).end()
        return request < 3
      },
    })
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', amd64)
    await assertSame(`docker://${registry.host}/a:1`, amd64, insecure)
    assert.equal(tokens.requests.length, 3)
  })

  it('are verified to go to a token server by the same CA as the registry', async () => {
    await using tokens = await startTokenServer({ credentials: registryUser, certs })
    await using registry = await startDockerRegistry({ tokens, certs })
    await registry.push('a', '1', amd64)
    const url = `docker://${registry.host}/a:1`
    await assertSame(url, amd64, { ca: [certs.caPem], credentials: registryUser })
  })

  it('are never sent from an https registry to a token server without https', async () => {
    await using tokens = await startTokenServer({ credentials: registryUser })
    await using registry = await startDockerRegistry({ tokens, certs })
    await registry.push('a', '1', amd64)
    for (const trust of [{ ca: [certs.caPem] }, insecure]) {
      await assert.rejects(
        openImage(`docker://${registry.host}/a:1`, { ...trust, credentials: registryUser }),
        faultWith('CDI_REGISTRY_PULL', 'failed to pull image', 'not reached by https', 'nothing is sent there'),
      )
    }
    assert.deepEqual(tokens.requests, [])
  })
})

describe('a registry behind a proxy', () => {
  it('is asked through it, for tokens and blobs too, as the user agent of the contract', async () => {
    await using tokens = await startTokenServer()
    await using registry = await startDockerRegistry({ tokens })
    await registry.push('a', '1', amd64)
    // Records what a registry sees.
    await using front = await startNginx({
      extra: `location / { proxy_pass ${registry.origin}; proxy_set_header Host $http_host; }`,
    })
    await using proxy = await startTinyproxy({ basicAuth: { user: 'p', password: 'q' } })
    const settings = { httpProxy: proxy.url, httpsProxy: proxy.url }
    // 127.0.0.1 would never be proxied; 0.0.0.0 leads to the same place.
    await assertSame(`docker://0.0.0.0:${front.port}/a:1`, amd64, { ...insecure, proxy: settings })
    const lines = await proxy.requestLines()
    assert.ok(lines.some((line) => line.startsWith(`CONNECT 0.0.0.0:${front.port}`)))
    assert.ok(lines.some((line) => line.startsWith(`GET http://0.0.0.0:${front.port}/v2/a/manifests/1`)))
    assert.ok(lines.some((line) => line.startsWith(`GET http://0.0.0.0:${front.port}/v2/a/blobs/sha256:`)))
    const agents = [...(await front.requests()), ...tokens.requests].map(({ userAgent }) => userAgent)
    assert.deepEqual([...new Set(agents.filter((agent) => agent !== ''))], ['Go-http-client/1.1'])
  })

  it('names itself to the proxy as the contract says when it asks for a tunnel', async () => {
    const seen: IncomingHttpHeaders[] = []
    const server = createServer()
    server.on('connect', (request, socket) => {
      seen.push(request.headers)
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const httpsProxy = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    try {
      await assert.rejects(
        openImage('docker://registry.invalid/a', { proxy: { httpsProxy } }),
        faultWith('CDI_SOURCE_UNREACHABLE', 'failed to pull image', '502 Bad Gateway'),
      )
      await assert.rejects(openImage('docker://fedora', { proxy: { httpsProxy } }), { code: 'CDI_SOURCE_UNREACHABLE' })
    } finally {
      server.close()
    }
    assert.deepEqual(
      seen.map(({ host, 'user-agent': agent }) => [host, agent]),
      [
        ['registry.invalid:443', 'Go-http-client/1.1'],
        ['registry-1.docker.io:443', 'Go-http-client/1.1'],
      ],
    )
  })
})
