/** Imports from object stores, as pods and as people run them: disks, archives, checksums, progress, memory, words. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { startFakeGcs } from '../../fixtures/fake-gcs.ts'
import type { FakeGcs } from '../../fixtures/fake-gcs.ts'
import { startGoogleFront } from '../../fixtures/google-front.ts'
import { makeDisk, makeImage, mebibyte, variants } from '../../fixtures/images.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { startToxiproxy } from '../../fixtures/toxiproxy.ts'
import { startVersitygw } from '../../fixtures/versitygw.ts'
import type { Versitygw } from '../../fixtures/versitygw.ts'
import { cdi, eventsOf, outcomeOf } from './support/cdi.ts'
import { assertOnly, assertSame, pack } from './support/disks.ts'
import { Pod } from './support/pod.ts'

const sizeBytes = 8 * mebibyte
const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!
/** Nothing of the machine that runs the test. */
const nobody = { HOME: '/nonexistent', AWS_EC2_METADATA_DISABLED: 'true' }

let dir: TempDir
let s3: Versitygw
let gcs: FakeGcs
const path = (name: string): string => join(dir.path, name)
const objects = ['disk', 'disk.qcow2', 'disk.gz', 'files.tar.gz']

before(async () => {
  dir = await tempDir('object-stores')
  await makeDisk(path('disk'), { sizeBytes })
  await makeImage(path('disk'), path('disk.qcow2'), qcow2)
  await pack(path('disk'), ['gz'])
  await mkdir(path('files'))
  await writeFile(path('files/one'), 'one')
  await writeFile(path('files/two'), 'two')
  await execa('tar', ['-C', path('files'), '-czf', path('files.tar.gz'), '.'])
  s3 = await startVersitygw()
  gcs = await startFakeGcs()
  for (const name of objects) {
    await s3.put('images', name, await readFile(path(name)))
    await gcs.put('images', name, await readFile(path(name)))
  }
})
after(async () => {
  await gcs?.[Symbol.asyncDispose]()
  await s3?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

/** What the secret of an S3 source becomes in the pod. */
function secretOf({ keys }: Versitygw): Record<string, string> {
  return { ...nobody, IMPORTER_ACCESS_KEY_ID: keys.accessKeyId, IMPORTER_SECRET_KEY: keys.secretAccessKey }
}

const completeWords = { scratchSpaceRequired: false, preallocationApplied: false, message: 'Import Complete' }

describe('an importer pod with an object store', { timeout: 300_000 }, () => {
  for (const source of ['s3', 'gcs'] as const) {
    const origin = (): string => (source === 's3' ? s3 : gcs).origin
    const secrets = (): Record<string, string> => (source === 's3' ? secretOf(s3) : nobody)

    for (const name of ['disk', 'disk.qcow2', 'disk.gz']) {
      it(`writes disk.img from ${name} in ${source} without scratch`, async () => {
        await using pod = await Pod.start()
        const ended = await pod.ended({ source, endpoint: `${origin()}/images/${name}` }, {}, secrets())
        assert.equal(ended.exitCode, 0, ended.stderr)
        assert.deepEqual(JSON.parse(ended.words), completeWords)
        await assertSame(pod.disk, path('disk'))
        await assertOnly(pod.path('data'), 'disk.img')
        assert.ok(ended.peakBytes < 256 * mebibyte, `${ended.peakBytes} bytes`)
      })
    }

    it(`unpacks an archive from ${source}`, async () => {
      await using pod = await Pod.start()
      const endpoint = `${origin()}/images/files.tar.gz`
      const ended = await pod.ended({ source, endpoint, contentType: 'archive' }, {}, secrets())
      assert.equal(ended.exitCode, 0, ended.stderr)
      await assertOnly(pod.path('data'), 'one', 'two')
    })

    it(`verifies the checksum of what it reads from ${source}`, async () => {
      const endpoint = `${origin()}/images/disk.qcow2`
      const right = createHash('sha256')
        .update(await readFile(path('disk.qcow2')))
        .digest('hex')
      await using pod = await Pod.start()
      const good = await pod.ended({ source, endpoint, checksum: `sha256:${right}` }, {}, secrets())
      assert.equal(good.exitCode, 0, good.stderr)
      await assertSame(pod.disk, path('disk'))
      await using other = await Pod.start()
      const bad = await other.ended({ source, endpoint, checksum: `sha256:${'0'.repeat(64)}` }, {}, secrets())
      assert.equal(bad.exitCode, 0, bad.stderr)
      assert.match(bad.words, /checksum validation failed: checksum mismatch: expected sha256:0+, calculated sha256:/)
      assert.deepEqual(await readdir(other.path('data')), [])
    })

    it(`says with the words of the contract that ${source} has no such object`, async () => {
      await using pod = await Pod.start()
      const ended = await pod.ended({ source, endpoint: `${origin()}/images/none` }, {}, secrets())
      assert.equal(ended.exitCode, 1)
      const words = {
        s3: /^Unable to connect to s3 data source: could not get s3 object: "images\/none": NoSuchKey: /,
        gcs: /^Unable to connect to gcs data source: expected status code 200, got 404\. Status: 404 Not Found$/,
      }
      assert.match(ended.words, words[source])
    })
  }

  it('refuses half a pair of keys instead of asking without any', async () => {
    await using pod = await Pod.start()
    const secrets = { ...nobody, IMPORTER_ACCESS_KEY_ID: 'only' }
    const ended = await pod.ended({ source: 's3', endpoint: `${s3.origin}/images/disk` }, {}, secrets)
    assert.equal(ended.exitCode, 1)
    assert.match(ended.words, /^Unable to connect to s3 data source: .*secretKey is empty/)
  })

  it('reads as the service account of its secret', async () => {
    await using google = await startGoogleFront({ store: gcs.origin })
    await using pod = await Pod.start()
    await mkdir(pod.path('google'))
    await writeFile(pod.path('google/credentials.json'), google.serviceAccount)
    const ended = await pod.ended({ source: 'gcs', endpoint: `${google.origin}/images/disk.qcow2` }, {}, nobody)
    assert.equal(ended.exitCode, 0, ended.stderr)
    await assertSame(pod.disk, path('disk'))
    assert.equal(google.tokens.length, 1)
    assert.doesNotMatch(ended.stdout + ended.stderr, /token-1|BEGIN PRIVATE KEY/)
  })
})

describe('cdi import with an object store', { timeout: 300_000 }, () => {
  it('takes s3:// with an endpoint and keys from a file, and shows progress', async () => {
    await using target = await tempDir('object-target')
    const secret = path('secret')
    await writeFile(secret, `${s3.keys.accessKeyId}\n${s3.keys.secretAccessKey}\n`)
    const disk = join(target.path, 'disk.raw')
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(s3.port)
    await link.add({ type: 'bandwidth', attributes: { rate: 1000 } })
    const options = ['--s3-endpoint', `http://127.0.0.1:${link.port}`, '--secret-file', secret, '--json']
    const result = await cdi(['import', 's3://images/disk', disk, ...options], { env: nobody })
    assert.equal(result.exitCode, 0, result.stderr)
    assert.equal(outcomeOf(result).event, 'done')
    assert.ok(eventsOf(result).some(({ event, percent = 0 }) => event === 'progress' && percent > 0 && percent < 100))
    await assertSame(disk, path('disk'))
  })

  it('takes keys, region and endpoint from the variables of AWS', async () => {
    await using target = await tempDir('object-target')
    const disk = join(target.path, 'disk.raw')
    const env = {
      ...nobody,
      AWS_ACCESS_KEY_ID: s3.keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: s3.keys.secretAccessKey,
      AWS_ENDPOINT_URL_S3: s3.origin,
      AWS_REGION: 'us-east-1',
    }
    const result = await cdi(['import', 's3://images/disk', disk], { env })
    assert.equal(result.exitCode, 0, result.stderr)
    await assertSame(disk, path('disk'))
  })

  it('takes gs:// with the credentials that Google variables name', async () => {
    await using target = await tempDir('object-target')
    await using google = await startGoogleFront({ store: gcs.origin })
    const disk = join(target.path, 'disk.raw')
    const credentials = path('google.json')
    await writeFile(credentials, google.authorizedUser)
    const env = {
      ...nobody,
      GOOGLE_APPLICATION_CREDENTIALS: credentials,
      STORAGE_EMULATOR_HOST: google.origin,
    }
    const result = await cdi(['import', 'gs://images/disk.gz', disk], { env })
    assert.equal(result.exitCode, 0, result.stderr)
    await assertSame(disk, path('disk'))
    assert.equal(google.tokens.length, 1)
  })
})
