import assert from 'node:assert/strict'
import { mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { loadWorkerConfig } from '../../importer/config.ts'
import type { WorkerConfig } from '../../importer/config.ts'
import type { HttpRequest } from '../../importer/request.ts'
import { tempDir } from '../fixtures/server-process.ts'

const http = { IMPORTER_SOURCE: 'http', IMPORTER_ENDPOINT: 'https://server/disk' }

interface Mounts {
  /** Paths below the pod's root, with their content; a path that ends in `/` is a directory. */
  readonly files?: Readonly<Record<string, string>>
  /** Link → what it points to. */
  readonly links?: Readonly<Record<string, string>>
}

/** Loads the configuration of a pod with these mounts; paths in the result are relative to its root. */
async function loaded(
  env: Readonly<Record<string, string>>,
  { files = {}, links = {} }: Mounts = {},
): Promise<WorkerConfig> {
  await using root = await tempDir('config')
  const path = (name: string): string => join(root.path, name)
  for (const [name, content] of Object.entries(files)) {
    await mkdir(name.endsWith('/') ? path(name) : join(path(name), '..'), { recursive: true })
    if (!name.endsWith('/')) await writeFile(path(name), content)
  }
  for (const [name, target] of Object.entries(links)) await symlink(target, path(name))
  const inRoot = Object.entries(env).map(([name, value]) => [name, value.replace('ROOT', root.path)] as const)
  const config = await loadWorkerConfig(Object.fromEntries(inRoot), {
    dataDirectory: path('data'),
    blockDevice: path('dev/block'),
    scratchDirectory: path('scratch'),
    extraHeadersDirectory: path('extraheaders'),
    googleDirectory: path('google'),
  })
  return JSON.parse(JSON.stringify(config).replaceAll(root.path, '')) as WorkerConfig
}

describe('configuration of a worker', () => {
  it('writes disk.img into the data volume when there is no device, and grows it to the claim', async () => {
    const { request, ownerUid } = await loaded({
      ...http,
      IMPORTER_IMAGE_SIZE: '4Gi',
      OWNER_UID: 'uid-1',
      FILESYSTEM_OVERHEAD: '0.06',
    })
    assert.equal(ownerUid, 'uid-1')
    assert.equal(request.targetPath, '/data/disk.img')
    assert.equal(request.resize, true)
    assert.equal(request.requestedBytes, 4 * 2 ** 30)
    assert.equal(request.filesystemOverhead, '0.06')
    assert.equal(request.scratchDirectory, undefined)
    // A restarted container finds what the one before has left.
    assert.equal(request.requireEmptyDirectory, undefined)
  })

  it('writes to the device when there is one, which has no overhead and does not grow', async () => {
    const { request } = await loaded({ ...http, FILESYSTEM_OVERHEAD: '0.06' }, { files: { 'dev/block': '' } })
    assert.equal(request.targetPath, '/dev/block')
    assert.equal(request.resize, false)
    assert.equal(request.filesystemOverhead, '0')
  })

  it('unpacks archives into the data volume', async () => {
    const { request } = await loaded({ ...http, IMPORTER_CONTENTTYPE: 'archive' })
    assert.equal(request.contentType, 'archive')
    assert.equal(request.targetPath, '/data')
  })

  it('stages in the scratch volume if one is mounted', async () => {
    const { request } = await loaded(http, { files: { 'scratch/': '' } })
    assert.equal(request.scratchDirectory, '/scratch')
  })

  it('takes preallocation, direct I/O and the checksum from the environment', async () => {
    const { request } = await loaded({
      ...http,
      PREALLOCATION: 'true',
      CACHE_MODE: 'TRYNONE',
      IMPORTER_CHECKSUM: `md5:${'0'.repeat(32)}`,
    })
    assert.equal(request.preallocate, true)
    assert.equal(request.directIo, true)
    assert.equal(request.checksum?.algorithm, 'md5')
    const plain = (await loaded({ ...http, PREALLOCATION: 'false', CACHE_MODE: '' })).request
    assert.deepEqual([plain.preallocate, plain.directIo, plain.checksum], [false, false, undefined])
  })

  it('uses credentials only if both are there', async () => {
    const both = (await loaded({ ...http, IMPORTER_ACCESS_KEY_ID: 'me', IMPORTER_SECRET_KEY: 'secret' })).request.source
    assert.deepEqual((both as HttpRequest).credentials, { user: 'me', password: 'secret' })
    const one = (await loaded({ ...http, IMPORTER_ACCESS_KEY_ID: 'me' })).request.source
    assert.equal((one as HttpRequest).credentials, undefined)
  })

  it("reads certificates of any name and passes over the kubelet's own entries", async () => {
    const { source } = (
      await loaded(
        { ...http, IMPORTER_CERT_DIR: 'ROOT/certs', IMPORTER_PROXY_CERT_DIR: 'ROOT/proxycerts' },
        {
          // As the kubelet lays out a ConfigMap: files are links through ..data.
          files: { 'certs/..2026/my ca': 'server', 'proxycerts/ca.pem': 'proxy' },
          links: { 'certs/..data': '..2026', 'certs/my ca': '..data/my ca' },
        },
      )
    ).request
    assert.deepEqual((source as HttpRequest).ca, ['server', 'proxy'])
  })

  it('reads header Secrets in the order of their mounts, also beyond ten', async () => {
    const files = Object.fromEntries([10, 2, 0].map((n) => [`extraheaders/${n}/key`, `X-Secret-${n}: v\n`]))
    const { source } = (
      await loaded({ ...http, IMPORTER_EXTRA_HEADER_1: 'X-B: 2', IMPORTER_EXTRA_HEADER_0: 'X-A: 1' }, { files })
    ).request
    assert.deepEqual((source as HttpRequest).secretHeaders, ['X-Secret-0: v', 'X-Secret-2: v', 'X-Secret-10: v'])
    assert.deepEqual((source as HttpRequest).headers, ['X-A: 1', 'X-B: 2'])
  })

  it('hands on the proxy and the wish not to verify', async () => {
    const { source } = (
      await loaded({
        ...http,
        INSECURE_TLS: 'true',
        http_proxy: 'http://p:1',
        https_proxy: 'http://p:2',
        no_proxy: '10.0.0.0/8',
      })
    ).request
    assert.equal((source as HttpRequest).insecureSkipVerify, true)
    assert.deepEqual((source as HttpRequest).proxy, {
      httpProxy: 'http://p:1',
      httpsProxy: 'http://p:2',
      noProxy: '10.0.0.0/8',
    })
  })

  it('asks a registry for the wanted architecture, with the credentials and CAs that count for registries', async () => {
    const { source } = (
      await loaded(
        {
          IMPORTER_SOURCE: 'registry',
          IMPORTER_ENDPOINT: 'docker://registry:5000/disk',
          IMPORTER_REGISTRY_IMAGE_ARCHITECTURE: 'arm64',
          IMPORTER_ACCESS_KEY_ID: 'me',
          IMPORTER_SECRET_KEY: 'secret',
          IMPORTER_CERT_DIR: 'ROOT/certs',
          INSECURE_TLS: 'true',
        },
        { files: { 'certs/tls.crt': 'crt', 'certs/ca.pem': 'pem', 'certs/ca': 'no' } },
      )
    ).request
    assert.deepEqual(source, {
      type: 'registry',
      url: 'docker://registry:5000/disk',
      ca: ['pem', 'crt'],
      insecureSkipVerify: true,
      proxy: { httpProxy: '', httpsProxy: '', noProxy: '' },
      architecture: 'arm64',
      credentials: { user: 'me', password: 'secret' },
    })
  })

  it('reads the disk of the container beside it when the kubelet has pulled the image', async () => {
    const { source } = (
      await loaded({
        IMPORTER_SOURCE: 'registry',
        IMPORTER_ENDPOINT: 'docker://registry/disk',
        IMPORTER_PULL_METHOD: 'node',
        IMPORTER_READY_FILE: '/shared/ready',
        IMPORTER_DONE_FILE: '/shared/done',
      })
    ).request
    assert.deepEqual(source, { type: 'containerDisk', readyFile: '/shared/ready', doneFile: '/shared/done' })
  })

  it('reads an object with the keys that there are, or without any', async () => {
    const s3 = { IMPORTER_SOURCE: 's3', IMPORTER_ENDPOINT: 'http://store:9000/bucket/key' }
    const open = (await loaded(s3)).request.source
    assert.ok(open.type === 's3' && open.url === 'http://store:9000/bucket/key' && open.credentials === undefined)
    const secret = { IMPORTER_ACCESS_KEY_ID: 'id', IMPORTER_SECRET_KEY: 'key' }
    const closed = (await loaded({ ...s3, ...secret })).request.source
    assert.ok(closed.type === 's3')
    assert.deepEqual(closed.credentials, { accessKeyId: 'id', secretAccessKey: 'key' })
  })

  it('reads from Google with the key of a service account if one is mounted', async () => {
    const gcs = { IMPORTER_SOURCE: 'gcs', IMPORTER_ENDPOINT: 'gs://bucket/object' }
    const anonymous = (await loaded(gcs)).request.source
    assert.ok(anonymous.type === 'gcs' && anonymous.serviceAccount === undefined)
    const known = (await loaded(gcs, { files: { 'google/credentials.json': '{}' } })).request.source
    assert.ok(known.type === 'gcs' && known.serviceAccount === '{}')
    await assert.rejects(loaded(gcs, { files: { 'google/key.json': '{}' } }), {
      code: 'CDI_CREDENTIALS_INVALID',
      message: /has no key credentials\.json/,
    })
  })

  it('makes a blank disk of source none', async () => {
    assert.deepEqual((await loaded({ IMPORTER_SOURCE: 'none' })).request.source, { type: 'blank' })
  })

  for (const [what, env, code] of [
    ['a source that nobody knows', { IMPORTER_SOURCE: 'pigeon' }, 'CDI_USAGE'],
    ['no source at all', {}, 'CDI_USAGE'],
    ['a size that is no quantity', { ...http, IMPORTER_IMAGE_SIZE: 'large' }, 'CDI_USAGE'],
    ['a checksum that is none', { ...http, IMPORTER_CHECKSUM: 'crc32:00000000' }, 'CDI_CHECKSUM_INVALID'],
  ] as const) {
    it(`refuses ${what}`, async () => {
      await assert.rejects(loaded(env), { code })
    })
  }
})
