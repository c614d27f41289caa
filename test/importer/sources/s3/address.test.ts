import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { inRegion, objectUrl, parseS3Address } from '../../../../importer/sources/s3/address.ts'
import type { S3Address } from '../../../../importer/sources/s3/address.ts'
import { loadAws } from '../../../../importer/sources/s3/aws.ts'
import { silentLog } from '../../../../src/log.ts'

const access = { ca: [], insecureSkipVerify: false, proxy: {} }

function located(url: string, endpoint?: string): S3Address & { endpoint: URL } {
  const address = parseS3Address({ url, endpoint })
  assert.ok(address.endpoint !== undefined)
  return { ...address, endpoint: address.endpoint }
}

describe('S3 address', () => {
  // URL, bucket, key, region, what is asked for (the URL itself if empty)
  const cases: readonly (readonly [string, string, string, string, string])[] = [
    ['http://10.0.0.5:9000/images/a/b.img', 'images', 'a/b.img', '10', ''],
    ['http://[::1]:9000/images/b.img', 'images', 'b.img', 'us-east-1', ''],
    ['http://localhost/images/b.img', 'images', 'b.img', 'localhost', ''],
    ['https://MinIO.example.org/images/b.img', 'images', 'b.img', 'minio', 'https://minio.example.org/images/b.img'],
    ['https://s3.eu-west-1.amazonaws.com/images/b.img', 'images', 'b.img', 'eu-west-1', ''],
    ['https://s3-eu-west-1.amazonaws.com/images/b.img', 'images', 'b.img', 'eu-west-1', ''],
    ['https://s3.dualstack.eu-west-1.amazonaws.com/images/b.img', 'images', 'b.img', 'eu-west-1', ''],
    ['https://s3-fips.us-gov-west-1.amazonaws.com/images/b.img', 'images', 'b.img', 'us-gov-west-1', ''],
    ['https://s3.cn-north-1.amazonaws.com.cn/images/b.img', 'images', 'b.img', 'cn-north-1', ''],
    ['https://s3.amazonaws.com/images/b.img', 'images', 'b.img', 'us-east-1', ''],
    ['https://images.s3.eu-west-1.amazonaws.com/b.img', 'images', 'b.img', 'eu-west-1', ''],
    ['https://my.images.s3.amazonaws.com/a/b.img', 'my.images', 'a/b.img', 'us-east-1', ''],
    ['https://images.s3-accelerate.amazonaws.com/b.img', 'images', 'b.img', 'us-east-1', ''],
    ['https://bucket.vpce-1a-2b.s3.eu-west-1.vpce.amazonaws.com/images/b.img', 'images', 'b.img', 'eu-west-1', ''],
    [
      's3://s3.eu-west-1.amazonaws.com/images/b.img',
      'images',
      'b.img',
      'eu-west-1',
      'https://s3.eu-west-1.amazonaws.com/images/b.img',
    ],
    [
      's3://store.example.org:9000/images/b.img',
      'images',
      'b.img',
      'store',
      'https://store.example.org:9000/images/b.img',
    ],
    ['http://h/images//a//b.img', 'images', '/a//b.img', 'h', ''],
    ['http://h/images/a b+c%20d.img', 'images', 'a b+c d.img', 'h', 'http://h/images/a%20b%2Bc%20d.img'],
    ['http://h/images/a%2Fb%25.img', 'images', 'a/b%.img', 'h', 'http://h/images/a/b%25.img'],
    ['http://h/images/b.img?versionId=a/1&x=y', 'images', 'b.img', 'h', 'http://h/images/b.img?versionId=a%2F1'],
    ['HTTP://h/images/B.IMG', 'images', 'B.IMG', 'h', 'http://h/images/B.IMG'],
  ]
  for (const [url, bucket, key, region, wanted] of cases) {
    it(`${url} is ${key} in ${bucket}, signed for ${region}`, () => {
      const address = located(url)
      assert.deepEqual([address.bucket, address.key, address.region], [bucket, key, region])
      assert.equal(objectUrl(address).href, wanted || url)
    })
  }

  it('takes s3:// literally', () => {
    const address = located('s3://images/a b%20c?d#e', 'http://store:9000/prefix/')
    assert.equal(address.key, 'a b%20c?d#e')
    assert.equal(address.region, undefined)
    assert.equal(objectUrl(address).href, 'http://store:9000/prefix/images/a%20b%2520c%3Fd%23e')
  })

  it('leaves s3:// without an endpoint to the settings', () => {
    assert.equal(parseS3Address({ url: 's3://images/b.img' }).endpoint, undefined)
  })

  it('goes to another region under another name with Amazon, and under the same elsewhere', () => {
    const moves: readonly (readonly [string, string])[] = [
      ['https://s3.amazonaws.com/images/b', 'https://s3.eu-west-1.amazonaws.com/images/b'],
      ['https://s3.us-east-2.amazonaws.com/images/b', 'https://s3.eu-west-1.amazonaws.com/images/b'],
      ['https://images.s3.us-east-2.amazonaws.com/b', 'https://images.s3.eu-west-1.amazonaws.com/b'],
      ['https://images.s3-accelerate.amazonaws.com/b', 'https://images.s3-accelerate.amazonaws.com/b'],
      ['https://store.example.org/images/b', 'https://store.example.org/images/b'],
    ]
    for (const [from, to] of moves) {
      const moved = inRegion(located(from), 'eu-west-1')
      assert.equal(moved.region, 'eu-west-1')
      assert.ok(moved.endpoint !== undefined)
      assert.equal(objectUrl({ ...moved, endpoint: moved.endpoint }).href, to)
    }
  })

  it('refuses what names no object, without quoting it', () => {
    const bad = [
      'ftp://h/images/b',
      'http://h/images',
      'http://h/images/',
      'http://h/',
      'http://h//b',
      's3://images',
      's3://images/',
      's3:///b',
      'http://h/images/100%.img',
      'http://h/images/%FF.img',
      'http://h/images/a/../b',
      'http://h/images/a/%2e%2e/b',
      's3://images/./b',
      'http://me:p4ss@h/images/b',
    ]
    for (const url of bad) {
      assert.throws(
        () => parseS3Address({ url }),
        (error: Error & { code?: string }) => error.code === 'CDI_USAGE' && !error.message.includes('p4ss'),
        url,
      )
    }
    for (const endpoint of ['store:9000', 'ftp://store', '']) {
      assert.throws(() => parseS3Address({ url: 's3://images/b', endpoint }), { code: 'CDI_USAGE' }, endpoint)
    }
  })

  it('writes every key so that it is read again as the same', () => {
    const key = fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !/(^|\/)\.\.?(\/|$)/.test(text))
    fc.assert(
      fc.property(key, (text) => {
        const url = objectUrl({ ...located('http://h/images/x'), key: text })
        assert.match(url.pathname, /^[A-Za-z0-9\-._~/%]+$/)
        assert.equal(parseS3Address({ url: url.href }).key, text)
      }),
    )
  })

  it('writes keys as the AWS SDK does, which is how stores sign them', async () => {
    const aws = await loadAws({ access, log: silentLog() })
    const key = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !/(^|\/)\.\.?(\/|$)/.test(text))
    await fc.assert(
      fc.asyncProperty(key, async (text) => {
        const ours = objectUrl({ ...located('https://s3.eu-west-1.amazonaws.com/my.images/x'), key: text })
        const theirs = await aws.objectUrl({ bucket: 'my.images', key: text }, 'eu-west-1')
        assert.equal(ours.href, theirs.href)
      }),
      { numRuns: 20 },
    )
  })
})
