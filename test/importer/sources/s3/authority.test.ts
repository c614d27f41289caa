import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import type { ResponseHead } from '../../../../importer/sources/http/head.ts'
import { S3Authority } from '../../../../importer/sources/s3/authority.ts'
import { loadAws } from '../../../../importer/sources/s3/aws.ts'
import type { Aws } from '../../../../importer/sources/s3/aws.ts'
import { CdiError } from '../../../../src/errors.ts'
import { silentLog } from '../../../../src/log.ts'

const never = new AbortController().signal
const access = { ca: [], insecureSkipVerify: false, proxy: {} }
const request = { method: 'GET', url: new URL('https://images.s3.amazonaws.com/disk.img'), headers: [] } as const
const startMs = Date.UTC(2026, 0, 1)

function refusal(date = new Date(startMs).toUTCString()): ResponseHead {
  return { status: 403, reason: 'Forbidden', minorVersion: 1, headers: new Map([['date', date]]) }
}

/** An SDK that counts and tells when it was told to sign. */
function counting() {
  const calls = { dates: [] as Date[], renewed: 0 }
  const aws: Aws = {
    region: () => Promise.resolve('us-east-1'),
    objectUrl: () => Promise.reject(new Error('not asked for')),
    sign: ({ date }) => {
      calls.dates.push(date)
      return Promise.resolve([['authorization', 'signed']])
    },
    renew: () => {
      calls.renewed += 1
      return Promise.resolve()
    },
  }
  return { aws, calls }
}

describe('S3 signatures', () => {
  it('are those of the examples that Amazon publishes', async () => {
    // docs.aws.amazon.com, AmazonS3/latest/API/sig-v4-header-based-auth.html, "GET Bucket Lifecycle"
    const keys = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }
    const aws = await loadAws({ keys, access, log: silentLog() })
    const url = new URL('https://examplebucket.s3.amazonaws.com/?lifecycle')
    const date = new Date('2013-05-24T00:00:00Z')
    const lines = new Map(await aws.sign({ method: 'GET', url, region: 'us-east-1', date }))
    assert.equal(
      lines.get('authorization'),
      'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ' +
        'SignedHeaders=host;x-amz-content-sha256;x-amz-date, ' +
        'Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    )
    assert.equal(lines.get('x-amz-date'), '20130524T000000Z')
    assert.equal(lines.has('host'), false)
  })

  it('are not made for nobody', async () => {
    const { aws, calls } = counting()
    const authority = new S3Authority({
      identity: 'none',
      loadAws: () => Promise.resolve(aws),
      timeOfDay: () => startMs,
      log: silentLog(),
    })
    assert.deepEqual(await authority.headersFor(request, never), [])
    assert.equal(await authority.refused(refusal(), request, never), false)
    assert.equal(calls.dates.length, 0)
  })

  it('follow the clock of the store once it turned out to be another', async () => {
    const { aws, calls } = counting()
    const authority = new S3Authority({
      identity: 'keys',
      loadAws: () => Promise.resolve(aws),
      timeOfDay: () => startMs,
      log: silentLog(),
    })
    await authority.headersFor(request, never)
    const storeMs = startMs + 3_600_000
    assert.equal(await authority.refused(refusal(new Date(storeMs).toUTCString()), request, never), true)
    await authority.headersFor(request, never)
    assert.deepEqual(
      calls.dates.map((date) => date.getTime()),
      [startMs, storeMs],
    )
    // The clock was not the reason this time.
    assert.equal(await authority.refused(refusal(new Date(storeMs).toUTCString()), request, never), false)
    assert.equal(await authority.refused(refusal('nonsense'), request, never), false)
  })

  it('use new credentials after a refusal, but not every moment and never instead of given keys', async () => {
    for (const identity of ['settings', 'keys'] as const) {
      const { aws, calls } = counting()
      let nowMs = startMs
      const authority = new S3Authority({
        identity,
        loadAws: () => Promise.resolve(aws),
        timeOfDay: () => nowMs,
        log: silentLog(),
      })
      const refuse = () => authority.refused(refusal(new Date(nowMs).toUTCString()), request, never)
      await authority.headersFor(request, never)
      assert.equal(await refuse(), false)
      nowMs += 120_000
      assert.equal(await refuse(), identity === 'settings')
      assert.equal(await refuse(), false)
      nowMs += 120_000
      authority.expired()
      await authority.headersFor(request, never)
      assert.equal(calls.renewed, identity === 'settings' ? 2 : 0)
    }
  })

  it('stop waiting for credentials when aborted', async () => {
    const stuck: Aws = { ...counting().aws, sign: () => new Promise(() => {}) }
    const authority = new S3Authority({
      identity: 'settings',
      loadAws: () => Promise.resolve(stuck),
      timeOfDay: () => startMs,
      log: silentLog(),
    })
    const abort = new AbortController()
    const signing = authority.headersFor(request, abort.signal)
    abort.abort(new Error('enough'))
    await assert.rejects(signing, /enough/)
  })

  it('are made with the role of the machine only after nobody was refused, and only if it has one', async () => {
    const { aws } = counting()
    const without: Aws = {
      ...aws,
      sign: () => Promise.reject(new CdiError('CDI_CREDENTIALS_INVALID', 'none')),
    }
    for (const machine of [aws, without]) {
      let loaded = 0
      const authority = new S3Authority({
        identity: 'machine',
        loadAws: () => {
          loaded += 1
          return Promise.resolve(machine)
        },
        timeOfDay: () => startMs,
        log: silentLog(),
      })
      assert.deepEqual(await authority.headersFor(request, never), [])
      assert.equal(loaded, 0)
      const hasRole = machine === aws
      assert.equal(await authority.refused(refusal(), request, never), hasRole)
      assert.equal((await authority.headersFor(request, never)).length, hasRole ? 1 : 0)
      const asked = loaded
      if (!hasRole) assert.equal(await authority.refused(refusal(), request, never), false)
      assert.equal(loaded, asked)
    }
  })

  it('come from the metadata service of the machine if there is one', async () => {
    const role = {
      Code: 'Success',
      AccessKeyId: 'machine-key',
      SecretAccessKey: 'machine-secret',
      Token: 'machine-token',
      Expiration: new Date(Date.now() + 3_600_000).toISOString(),
    }
    const prefix = '/latest/meta-data/iam/security-credentials/'
    const answers: Readonly<Record<string, string>> = {
      '/latest/api/token': 'session',
      [prefix]: 'role',
      [`${prefix}role`]: JSON.stringify(role),
    }
    const server = createServer((asked, response) => {
      const answer = answers[asked.url ?? '']
      response.writeHead(answer === undefined ? 404 : 200).end(answer)
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const variables = {
      HOME: '/nonexistent',
      AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    }
    const before = { HOME: process.env['HOME'] }
    Object.assign(process.env, variables)
    try {
      const authority = new S3Authority({
        identity: 'machine',
        loadAws: () => loadAws({ access, log: silentLog() }),
        timeOfDay: () => startMs,
        log: silentLog(),
      })
      assert.equal(await authority.refused(refusal(), request, never), true)
      const lines = new Map(await authority.headersFor(request, never))
      assert.match(lines.get('authorization') ?? '', /Credential=machine-key\//)
      assert.equal(lines.get('x-amz-security-token'), 'machine-token')
    } finally {
      delete process.env['AWS_EC2_METADATA_SERVICE_ENDPOINT']
      Object.assign(process.env, before)
      server.close()
    }
  })
})
