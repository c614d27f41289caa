import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { S3Request } from '../../../importer/request.ts'
import { openS3 } from '../../../importer/sources/s3.ts'
import type { S3Options } from '../../../importer/sources/s3.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { RangedSource, Source } from '../../../importer/sources/source.ts'
import { silentLog } from '../../../src/log.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import { startFaultyServer } from '../../fixtures/faulty-server.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { startStsServer } from '../../fixtures/sts-server.ts'
import type { StsServer, StsServerOptions } from '../../fixtures/sts-server.ts'
import { startTinyproxy } from '../../fixtures/tinyproxy.ts'
import { installToxiproxy, startToxiproxy } from '../../fixtures/toxiproxy.ts'
import { startVersitygw } from '../../fixtures/versitygw.ts'
import type { Versitygw } from '../../fixtures/versitygw.ts'

const never = new AbortController().signal
const content = randomBytes(3 * 1024 * 1024 + 12_345)
const patience = { silenceMs: 6000, refusalMs: 3000, firstPauseMs: 5, longestPauseMs: 100 }
/** Where nobody has settings for AWS. */
const nobody = { HOME: '/nonexistent' }

function open(url: string, more: Partial<S3Request> = {}, options: Partial<S3Options> = {}): Promise<Source> {
  const request: S3Request = { type: 's3', url, ca: [], insecureSkipVerify: false, proxy: {}, ...more }
  return openS3({ request, log: silentLog(), environment: nobody, patience, ...options }, never)
}

async function openRanged(...args: Parameters<typeof open>): Promise<RangedSource> {
  const source = await open(...args)
  assert.equal(source.kind, 'ranged')
  return source
}

function whole(source: RangedSource): Promise<Buffer> {
  return readRange(source, { offset: 0, length: source.sizeBytes }, never)
}

function credentialsOf({ keys }: Versitygw): Pick<S3Request, 'credentials'> {
  return { credentials: keys }
}

describe('s3 source', () => {
  let store: Versitygw
  before(async () => {
    store = await startVersitygw()
    await store.put('images', 'dir/disk.img', content)
    await store.put('public', 'disk.img', content)
    await store.publish('public')
  })
  after(() => store[Symbol.asyncDispose]())

  it('reads an object by ranges that are tied to its version', async () => {
    await using source = await openRanged(`${store.origin}/images/dir/disk.img`, credentialsOf(store))
    assert.equal(source.sizeBytes, content.length)
    assert.equal(source.pinned, true)
    assert.equal(source.parallel, 4)
    assert.match(source.validator ?? '', /^"[0-9a-f]{32}"$/)
    const halves = await Promise.all([
      readRange(source, { offset: 0, length: 1_500_000 }, never),
      readRange(source, { offset: 1_500_000, length: content.length - 1_500_000 }, never),
    ])
    assert.deepEqual(Buffer.concat(halves), content)
  })

  it('takes s3:// addresses with an endpoint', async () => {
    const request = { ...credentialsOf(store), endpoint: store.origin }
    await using source = await openRanged('s3://images/dir/disk.img', request)
    assert.deepEqual(await whole(source), content)
  })

  it('finds the object under every name that can be written into a URL', async () => {
    const keys = ['a b', 'a+b', 'a%2Fb', 'ä/ö/ü 💾.img', "!'()*~-_.", '?#&=;:@$,', 'x/%25/%', '"<>\\^`{|}']
    for (const [index, key] of keys.entries()) {
      const body = Buffer.from(`${index} ${key}`)
      await store.put('odd', key, body)
      const escaped = `${store.origin}/odd/${encodeURIComponent(key)}`
      await using byUrl = await openRanged(escaped, credentialsOf(store))
      assert.deepEqual(await whole(byUrl), body, escaped)
      await using literally = await openRanged(`s3://odd/${key}`, { ...credentialsOf(store), endpoint: store.origin })
      assert.deepEqual(await whole(literally), body, key)
    }
  })

  it('reads an empty object', async () => {
    await store.put('images', 'empty.img', Buffer.alloc(0))
    await using source = await open(`${store.origin}/images/empty.img`, credentialsOf(store))
    assert.equal(source.sizeBytes, 0)
  })

  it('reads a public object without credentials', async () => {
    await using source = await openRanged(`${store.origin}/public/disk.img`)
    assert.deepEqual(await whole(source), content)
  })

  it('takes empty keys for none, and half a pair for a mistake', async () => {
    const none = { credentials: { accessKeyId: '', secretAccessKey: '' } }
    await using source = await openRanged(`${store.origin}/public/disk.img`, none)
    assert.deepEqual(await whole(source), content)
    const half = { credentials: { accessKeyId: 'me', secretAccessKey: '' } }
    await assert.rejects(open(`${store.origin}/public/disk.img`, half), {
      code: 'CDI_CREDENTIALS_INVALID',
      message: 'the credentials for S3 are half a pair: their secretKey is empty',
    })
  })

  it('takes keys from files that end with a line feed', async () => {
    const { accessKeyId, secretAccessKey } = store.keys
    const credentials = { accessKeyId: `${accessKeyId}\n`, secretAccessKey: `${secretAccessKey}\n` }
    await using source = await openRanged(`${store.origin}/images/dir/disk.img`, { credentials })
    assert.deepEqual(await whole(source), content)
  })

  it('says in the words of the store why it is refused', async () => {
    const { accessKeyId } = store.keys
    const right = credentialsOf(store)
    const cases: readonly [string, Partial<S3Request>, RegExp][] = [
      ['images/none.img', right, /^could not get s3 object: "images\/none\.img": NoSuchKey: .* \(404 Not Found\)$/],
      [
        'nowhere/disk.img',
        right,
        /^could not get s3 object: "nowhere\/disk\.img": NoSuchBucket: .* \(404 Not Found\)$/,
      ],
      ['images/dir/disk.img', { credentials: { accessKeyId, secretAccessKey: 'wrong' } }, /: SignatureDoesNotMatch: /],
      ['images/dir/disk.img', { credentials: { accessKeyId: 'x', secretAccessKey: 'y' } }, /: InvalidAccessKeyId: /],
      [
        'images/dir/disk.img',
        {},
        /: AccessDenied: .* \(403 Forbidden; asked without credentials, since none were found\)$/,
      ],
    ]
    for (const [path, request, message] of cases) {
      await assert.rejects(open(`${store.origin}/${path}`, request), { code: 'CDI_SOURCE_STATUS', message })
    }
  })

  it('shows neither keys nor signatures in faults', async () => {
    const credentials = { accessKeyId: store.keys.accessKeyId, secretAccessKey: 'not-to-be-seen' }
    await assert.rejects(open(`${store.origin}/images/dir/disk.img`, { credentials }), (error) => {
      assert.doesNotMatch(JSON.stringify(error, Object.getOwnPropertyNames(error)), /not-to-be-seen|Signature=/)
      return true
    })
  })

  it('signs by the clock of the store when ours is wrong', async () => {
    const timeOfDay = (): number => Date.now() - 3 * 3_600_000
    await using source = await openRanged(`${store.origin}/images/dir/disk.img`, credentialsOf(store), { timeOfDay })
    assert.deepEqual(await whole(source), content)
  })

  it('goes through a proxy, and not to its own host by another way', async () => {
    await using proxy = await startTinyproxy()
    // 127.0.0.1 is never proxied.
    const origin = store.origin.replace('127.0.0.1', '0.0.0.0')
    const request = { ...credentialsOf(store), proxy: { httpProxy: proxy.url } }
    await using source = await openRanged(`${origin}/images/dir/disk.img`, request)
    assert.deepEqual(await whole(source), content)
    assert.ok((await proxy.requestLines()).some((line) => line.includes('/images/dir/disk.img')))
  })

  it('does not carry its signature to where the endpoint redirects', async () => {
    await using other = await startFaultyServer({ body: content })
    await using front = await startNginx({ redirect: { status: 307, to: other.origin } })
    await assert.rejects(open(`${front.origin}/images/disk.img`, credentialsOf(store)), {
      code: 'CDI_SOURCE_STATUS',
      message: new RegExp(`got 307 \\(307 Temporary Redirect; it points to ${other.origin}, use that address\\)$`),
    })
    assert.equal(other.requests.length, 0)
  })

  it('reads no more of a refusal than it needs', async () => {
    let written = 0
    const server = createServer(({ method }, response) => {
      response.writeHead(403, { 'content-type': 'application/xml' })
      if (method === 'HEAD') {
        response.end()
        return
      }
      response.write('<Error><Code>AccessDenied</Code><Message>Because.</Message>')
      const endless = Buffer.alloc(65_536, 'x')
      const more = (): void => {
        while (!response.destroyed && response.write(endless)) written += endless.length
      }
      response.on('drain', more).on('error', () => {})
      more()
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    try {
      const { port } = server.address() as AddressInfo
      await assert.rejects(open(`http://127.0.0.1:${port}/images/disk.img`, credentialsOf(store)), {
        code: 'CDI_SOURCE_STATUS',
        message: /: AccessDenied: Because\. \(403 Forbidden\)$/,
      })
      // What fits into the sockets' buffers has left the server anyway.
      assert.ok(written < 32 * 1024 * 1024, `${written} bytes`)
    } finally {
      server.closeAllConnections()
      server.close()
    }
  })

  it('continues where the connection broke', async () => {
    await installToxiproxy()
    await using toxiproxy = await startToxiproxy()
    const link = await toxiproxy.link(store.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 700_000 } })
    await using source = await openRanged(`http://127.0.0.1:${link.port}/images/dir/disk.img`, credentialsOf(store))
    assert.deepEqual(await whole(source), content)
  })

  it('notices an object that was replaced in the middle', async () => {
    await store.put('images', 'moving.img', content)
    await using source = await openRanged(`${store.origin}/images/moving.img`, credentialsOf(store))
    await readRange(source, { offset: 0, length: 1_000_000 }, never)
    await store.put('images', 'moving.img', randomBytes(content.length))
    await assert.rejects(readRange(source, { offset: 1_000_000, length: 1_000_000 }, never), {
      code: 'CDI_SOURCE_CHANGED',
    })
  })
})

describe('s3 source and regions', () => {
  it('signs for the region that the store names', async () => {
    await using store = await startVersitygw({ region: 'eu-far-9' })
    await store.put('images', 'disk.img', content)
    await using source = await openRanged(`${store.origin}/images/disk.img`, credentialsOf(store))
    assert.deepEqual(await whole(source), content)
  })

  it('gives up on a store that names one region after the other', async () => {
    await using front = await startNginx({
      extra: `location / { default_type application/xml; add_header X-Amz-Bucket-Region r-$msec always; return 400 "<Error/>"; }`,
    })
    await assert.rejects(open(`${front.origin}/images/disk.img`), { code: 'CDI_SOURCE_STATUS' })
    const asked = (await front.requests()).length
    assert.ok(asked <= 6, `${asked} requests`)
  })
})

describe('s3 source over TLS', () => {
  it('trusts the given CA and no other', async () => {
    await using dir = await tempDir('s3-certs')
    const certs = await makeCerts({ dir: dir.path })
    await using store = await startVersitygw({ certs })
    await store.put('images', 'disk.img', content)
    const url = `${store.origin}/images/disk.img`
    await using trusting = await openRanged(url, { ...credentialsOf(store), ca: [certs.caPem] })
    assert.deepEqual(await whole(trusting), content)
    await using careless = await openRanged(url, { ...credentialsOf(store), insecureSkipVerify: true })
    assert.deepEqual(await whole(careless), content)
    await assert.rejects(open(url, credentialsOf(store)), {
      code: 'CDI_SOURCE_TLS',
      message: /^could not get s3 object: "images\/disk\.img": HTTP request errored: /,
    })
    // As the Go importer reads it: a host, not a bucket.
    const inScheme = url.replace('https:', 's3:')
    await using other = await openRanged(inScheme, { ...credentialsOf(store), ca: [certs.caPem] })
    assert.deepEqual(await whole(other), content)
  })
})

/** Sets variables of this process, which is where the SDK reads them, until disposed of. */
function variables(values: Readonly<Record<string, string>>): Disposable & { readonly environment: typeof values } {
  const before = Object.fromEntries(Object.keys(values).map((name) => [name, process.env[name]]))
  Object.assign(process.env, values)
  return {
    environment: values,
    [Symbol.dispose]() {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) delete process.env[name]
        else process.env[name] = value
      }
    },
  }
}

describe('s3 source with the settings of AWS', () => {
  let store: Versitygw
  before(async () => {
    store = await startVersitygw()
    await store.put('images', 'disk.img', content)
  })
  after(() => store[Symbol.asyncDispose]())

  it('finds keys and endpoint in variables', async () => {
    using set = variables({
      ...nobody,
      AWS_ACCESS_KEY_ID: store.keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: store.keys.secretAccessKey,
      AWS_ENDPOINT_URL: store.origin,
    })
    await using source = await openRanged('s3://images/disk.img', {}, set)
    assert.deepEqual(await whole(source), content)
  })

  it('finds keys, endpoint and region in a profile', async () => {
    await using dir = await tempDir('aws')
    const config = join(dir.path, 'config')
    const credentials = join(dir.path, 'credentials')
    await writeFile(config, `[profile disks]\nregion = eu-west-1\nendpoint_url = ${store.origin}\n`)
    await writeFile(
      credentials,
      `[disks]\naws_access_key_id = ${store.keys.accessKeyId}\naws_secret_access_key = ${store.keys.secretAccessKey}\n`,
    )
    using set = variables({
      ...nobody,
      AWS_CONFIG_FILE: config,
      AWS_SHARED_CREDENTIALS_FILE: credentials,
      AWS_PROFILE: 'disks',
    })
    await using source = await openRanged('s3://images/disk.img', {}, set)
    assert.deepEqual(await whole(source), content)
  })

  it('says where it has looked for a profile that is not there', async () => {
    using set = variables({
      ...nobody,
      AWS_PROFILE: 'gone',
      AWS_CONFIG_FILE: '/none',
      AWS_SHARED_CREDENTIALS_FILE: '/no',
    })
    await assert.rejects(open(`${store.origin}/images/disk.img`, {}, set), {
      code: 'CDI_CREDENTIALS_INVALID',
      message: /no credentials from the settings for AWS \(AWS_PROFILE /,
    })
  })

  async function withIdentity(
    keys: StsServerOptions['keys'],
    work: (set: { environment: Readonly<Record<string, string>> }, sts: StsServer) => Promise<void>,
  ): Promise<void> {
    await using dir = await tempDir('web-identity')
    const token = join(dir.path, 'token')
    await writeFile(token, 'projected-token')
    await using sts = await startStsServer({ token: 'projected-token', keys })
    using set = variables({
      ...nobody,
      AWS_REGION: 'us-east-1',
      AWS_ROLE_ARN: 'arn:aws:iam::123456789012:role/importer',
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_ENDPOINT_URL_STS: sts.origin,
    })
    await work(set, sts)
  }

  it('assumes the role of a service account', async () => {
    await withIdentity(
      () => ({ ...store.keys, validMs: 3_600_000 }),
      async (set, sts) => {
        await using source = await openRanged(`${store.origin}/images/disk.img`, {}, set)
        assert.deepEqual(await whole(source), content)
        assert.equal(sts.assumed.times, 1)
      },
    )
  })

  it('asks for new credentials when those at hand run out', async () => {
    await withIdentity(
      // Credentials that are about to expire are renewed before they do.
      (time) => ({ ...store.keys, validMs: time === 1 ? 1000 : 3_600_000 }),
      async (set, sts) => {
        await using source = await openRanged(`${store.origin}/images/disk.img`, {}, set)
        assert.deepEqual(await whole(source), content)
        assert.equal(sts.assumed.times, 2)
      },
    )
  })

  it('asks for new credentials when those at hand are taken away in the middle', async () => {
    const users = [
      { accessKeyId: 'first', secretAccessKey: 'first-secret' },
      { accessKeyId: 'second', secretAccessKey: 'second-secret' },
    ] as const
    for (const user of users) await store.addUser(user)
    let lateMs = 0
    await withIdentity(
      (time) => ({ ...users[time === 1 ? 0 : 1], validMs: 3_600_000 }),
      async (set, sts) => {
        const timeOfDay = (): number => Date.now() + lateMs
        await using source = await openRanged(`${store.origin}/images/disk.img`, {}, { ...set, timeOfDay })
        await readRange(source, { offset: 0, length: 1_000_000 }, never)
        await store.removeUser('first')
        lateMs = 120_000
        assert.deepEqual(await whole(source), content)
        assert.equal(sts.assumed.times, 2)
      },
    )
  })

  it('reaches the token service through the proxy', async () => {
    await using proxy = await startTinyproxy()
    await withIdentity(
      () => ({ ...store.keys, validMs: 3_600_000 }),
      async (set, sts) => {
        // 127.0.0.1 is never proxied.
        using proxied = variables({
          ...set.environment,
          AWS_ENDPOINT_URL_STS: sts.origin.replace('127.0.0.1', '0.0.0.0'),
        })
        const request = { proxy: { httpProxy: proxy.url } }
        await using source = await openRanged(`${store.origin}/images/disk.img`, request, proxied)
        assert.deepEqual(await whole(source), content)
        assert.ok((await proxy.requestLines()).some((line) => line.includes('POST')))
      },
    )
  })

  it('reports a token service that refuses as something that may heal', async () => {
    await withIdentity(
      () => undefined,
      async (set) => {
        await assert.rejects(open(`${store.origin}/images/disk.img`, {}, set), {
          code: 'CDI_SOURCE_STATUS',
          message: /no credentials from AWS: .*Not authorized to perform sts:AssumeRoleWithWebIdentity/,
        })
      },
    )
  })

  it('reports a token service that is not there', async () => {
    await withIdentity(
      () => undefined,
      async (set, sts) => {
        await sts[Symbol.asyncDispose]()
        await assert.rejects(open(`${store.origin}/images/disk.img`, {}, set), { code: 'CDI_SOURCE_UNREACHABLE' })
      },
    )
  })
})
