/** What a person or a script notices of `cdi import`: exit codes, the one line of a failure, what is left behind. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, link, mkdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { errorTable, exitCodes } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { makeCerts } from '../../fixtures/certs.ts'
import { startFaultyServer } from '../../fixtures/faulty-server.ts'
import { makeDisk, makeImage, mebibyte, noise, variants } from '../../fixtures/images.ts'
import { noRoot, smallFilesystem } from '../../fixtures/loop.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { freePort, tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { startTinyproxy } from '../../fixtures/tinyproxy.ts'
import { cdi, descendantsOf, eventsOf, outcomeOf, startCdi, until } from './support/cdi.ts'
import type { CdiResult } from './support/cdi.ts'
import { allocatedBytes, assertOnly, assertSame, pack, usedDevice } from './support/disks.ts'
import { servedBytes, settledRequests } from './support/served.ts'

const sizeBytes = 8 * mebibyte
const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!

let dir: TempDir
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const url = (name: string): string => `${nginx.origin}/${name}`

before(async () => {
  dir = await tempDir('command-line')
  await makeDisk(path('disk'), { sizeBytes })
  await makeImage(path('disk'), path('disk.qcow2'), qcow2)
  await pack(path('disk'), ['gz'])
  await pack(path('disk.qcow2'), ['zst'])
  await makeStaged('disk', 'staged.qcow2')
  await pack(path('staged.qcow2'), ['zst'])
  const packed = await readFile(path('disk.gz'))
  await writeFile(path('cut.gz'), packed.subarray(0, packed.length / 2))
  await writeFile(path('damaged.gz'), Buffer.concat([packed.subarray(0, -8), noise(8, 1)]))
  await writeFile(path('disk.bz2'), Buffer.concat([Buffer.from('BZh91AY&SY', 'latin1'), noise(1000, 2)]))
  await execa('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-u',
    '-b',
    '/etc/passwd',
    '-F',
    'raw',
    path('thin.qcow2'),
    '8M',
  ])
  nginx = await startNginx({ root: dir.path })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

/** An image that is not converted while it streams by. */
async function makeStaged(disk: string, image: string): Promise<void> {
  await makeImage(path(disk), path(image), qcow2)
  await execa('qemu-img', ['snapshot', '-c', 'before', path(image)])
}

/** A fresh directory for one import: `out/` to write to and `scratch/`. */
async function workplace(): Promise<
  TempDir & { readonly out: string; readonly target: string; readonly scratch: string }
> {
  const place = await tempDir('workplace')
  const [out, scratch] = [join(place.path, 'out'), join(place.path, 'scratch')]
  await mkdir(out)
  await mkdir(scratch)
  return { ...place, out, target: join(out, 'disk.img'), scratch }
}

const digestOf = async (algorithm: string, file: string): Promise<string> =>
  `${algorithm}:${createHash(algorithm)
    .update(await readFile(file))
    .digest('hex')}`

/** Says so in one line with code and remedy, and ends with the code's exit code. */
function assertFailed(result: CdiResult, code: ErrorCode, message = /./): void {
  const { remedy, exit } = errorTable[code]
  assert.equal(result.stdout, '')
  const lines = result.stderr.trimEnd().split('\n')
  assert.equal(lines.length, 1, result.stderr)
  const [line = ''] = lines
  assert.ok(line.startsWith(`cdi: ${code}: `) && line.endsWith(` - ${remedy}`), line)
  assert.match(line, message)
  assert.equal(result.exitCode, exitCodes[exit], line)
}

/** Fails as said and leaves neither a target nor anything in scratch. */
async function assertRefused(args: readonly string[], code: ErrorCode, message?: RegExp): Promise<void> {
  await using place = await workplace()
  const [source = '', ...options] = args
  assertFailed(await cdi(['import', source, place.target, '--scratch', place.scratch, ...options]), code, message)
  await assertOnly(place.out)
  await assertOnly(place.scratch)
}

describe('a failing import ends with its exit code, one line and no file', { concurrency: 2, timeout: 300_000 }, () => {
  const wrong = `sha256:${'0'.repeat(64)}`
  const cases: readonly (readonly [
    string,
    () => readonly string[] | Promise<readonly string[]>,
    ErrorCode,
    RegExp?,
  ])[] = [
    [
      'a file that the server does not have',
      () => [url('none')],
      'CDI_SOURCE_STATUS',
      /expected status code 200, got 404/,
    ],
    ['a local file that is not there', () => [path('none')], 'CDI_SOURCE_UNREACHABLE', /none/],
    ['a directory as source', () => [dir.path], 'CDI_USAGE', /directory/],
    [
      'a server that does not answer',
      async () => [`http://127.0.0.1:${await freePort()}/disk`],
      'CDI_SOURCE_UNREACHABLE',
      /ECONNREFUSED|refused/,
    ],
    ['a URL that is none', () => ['http://'], 'CDI_USAGE'],
    ['a scheme that is not known', () => ['ftp://127.0.0.1/disk'], 'CDI_USAGE'],
    ['a wrong checksum of a raw disk', () => [url('disk'), '--checksum', wrong], 'CDI_CHECKSUM_MISMATCH', /checksum/i],
    ['a wrong checksum of a packed disk', () => [url('disk.gz'), '--checksum', wrong], 'CDI_CHECKSUM_MISMATCH'],
    ['a wrong checksum of an image', () => [url('disk.qcow2'), '--checksum', wrong], 'CDI_CHECKSUM_MISMATCH'],
    ['a wrong checksum of a packed image', () => [url('disk.qcow2.zst'), '--checksum', wrong], 'CDI_CHECKSUM_MISMATCH'],
    [
      'a wrong checksum of a staged image',
      () => [url('staged.qcow2.zst'), '--checksum', wrong],
      'CDI_CHECKSUM_MISMATCH',
    ],
    ['a checksum that is none', () => [url('disk'), '--checksum', 'sha256:abc'], 'CDI_CHECKSUM_INVALID'],
    ['a disk that is larger than wanted', () => [url('disk'), '--size', '7Mi'], 'CDI_IMAGE_TOO_LARGE', /larger/],
    [
      'an image that is larger than wanted',
      () => [url('disk.qcow2'), '--size', '7Mi'],
      'CDI_IMAGE_TOO_LARGE',
      /larger/,
    ],
    ['a packed disk that is larger', () => [url('disk.gz'), '--size', '7Mi'], 'CDI_IMAGE_TOO_LARGE', /larger/],
    ['a packed image that is larger', () => [url('disk.qcow2.zst'), '--size', '7Mi'], 'CDI_IMAGE_TOO_LARGE', /larger/],
    ['a packed disk that ends in the middle', () => [url('cut.gz')], 'CDI_DECODE_TRUNCATED'],
    ['a packed disk that is damaged', () => [url('damaged.gz')], 'CDI_DECODE_CORRUPT'],
    ['a packing that is not taken', () => [url('disk.bz2')], 'CDI_ENCODING_UNSUPPORTED', /bzip2/],
    ['an image with a backing file', () => [url('thin.qcow2')], 'CDI_IMAGE_BACKING_FILE', /\/etc\/passwd/],
    ['an image that is not of the wanted format', () => [url('disk'), '--format', 'vhdx'], 'CDI_FORMAT_INVALID'],
    ['an archive that is none', () => [url('disk'), '--content-type', 'archive'], 'CDI_TARGET_INVALID'],
    ['an option that is not known', () => [url('disk'), '--frobnicate'], 'CDI_USAGE', /--frobnicate/],
    ['a size that is none', () => [url('disk'), '--size', 'big'], 'CDI_USAGE', /--size big/],
    [
      'a scratch directory that is not there',
      () => [url('staged.qcow2.zst'), '--scratch', '/nowhere'],
      'CDI_TARGET_INVALID',
    ],
  ]
  for (const [name, args, code, message] of cases) {
    it(`${name}: ${code}`, async () => assertRefused(await args(), code, message))
  }

  it('a target that is missing on the command line: CDI_USAGE', async () => {
    assertFailed(await cdi(['import', url('disk')]), 'CDI_USAGE', /SOURCE and TARGET/)
  })

  it('a target in a missing directory: CDI_TARGET_INVALID', async () => {
    await using place = await workplace()
    const result = await cdi(['import', url('disk'), join(place.out, 'missing', 'disk.img')])
    assertFailed(result, 'CDI_TARGET_INVALID', /missing/)
    await assertOnly(place.out)
  })

  it('a directory as target: CDI_TARGET_INVALID', async () => {
    await using place = await workplace()
    assertFailed(await cdi(['import', url('disk'), place.out]), 'CDI_TARGET_INVALID', /directory/)
    await assertOnly(place.out)
  })

  it('a device that is too small: CDI_IMAGE_TOO_LARGE, and the device is not touched', { skip: noRoot }, async () => {
    for (const name of ['disk', 'disk.qcow2', 'disk.qcow2.zst']) {
      await using device = await usedDevice(4 * mebibyte)
      await using place = await workplace()
      const before = await readFile(device.path)
      const result = await cdi(['import', url(name), device.path, '--scratch', place.scratch])
      assertFailed(result, 'CDI_IMAGE_TOO_LARGE', /larger/)
      assert.ok(before.equals(await readFile(device.path)), name)
      await assertOnly(place.scratch)
    }
  })

  it(
    'a file system that is too small for the disk or for staging: CDI_IMAGE_TOO_LARGE, CDI_TARGET_FULL',
    { skip: noRoot },
    async () => {
      await using small = await smallFilesystem({ type: 'ext4', sizeBytes: 6 * mebibyte })
      for (const name of ['disk', 'disk.qcow2', 'disk.gz']) {
        const result = await cdi(['import', url(name), join(small.directory, 'disk.img')])
        assertFailed(result, 'CDI_IMAGE_TOO_LARGE', /larger/)
        await assertOnly(small.directory, 'lost+found')
      }
      // Enough for the target, not for the scratch file.
      await using place = await workplace()
      await makeDisk(path('dense'), { sizeBytes, pieces: [[0, noise(sizeBytes, 7)]] })
      await makeStaged('dense', 'dense.qcow2')
      await pack(path('dense.qcow2'), ['gz'])
      const result = await cdi(['import', url('dense.qcow2.gz'), place.target, '--scratch', small.directory])
      assertFailed(result, 'CDI_TARGET_FULL', /scratch/)
      await assertOnly(small.directory, 'lost+found')
      await assertOnly(place.out)
    },
  )
})

describe('an import spares what is there', { timeout: 120_000 }, () => {
  it('leaves an older target alone until the source has been looked at', async () => {
    await using place = await workplace()
    await writeFile(place.target, 'precious')
    for (const args of [[url('none')], [url('disk.qcow2'), '--size', '1Mi'], [url('thin.qcow2')]]) {
      const [source = '', ...options] = args
      assert.notEqual((await cdi(['import', source, place.target, ...options])).exitCode, 0)
      assert.equal(await readFile(place.target, 'utf8'), 'precious', args.join(' '))
    }
    assert.equal((await cdi(['import', url('disk'), place.target])).exitCode, 0)
    await assertSame(place.target, path('disk'))
  })

  it('refuses a target that is the source itself, under whatever name', async () => {
    await using place = await workplace()
    const names = ['same', 'hard', 'soft'].map((name) => join(place.out, name))
    const [same = '', hard = '', soft = ''] = names
    await copyFile(path('disk'), same)
    await link(same, hard)
    await symlink(same, soft)
    for (const target of names) {
      assertFailed(await cdi(['import', same, target]), 'CDI_USAGE', /itself/)
      await assertSame(same, path('disk'))
    }
  })

  it('unpacks no archive into a directory that holds something', async () => {
    await using place = await workplace()
    await writeFile(join(place.out, 'precious'), 'yes')
    await writeFile(path('note'), 'no')
    await execa('tar', ['-C', dir.path, '-cf', path('note.tar'), 'note'])
    const result = await cdi(['import', url('note.tar'), place.out, '--content-type', 'archive'])
    assertFailed(result, 'CDI_TARGET_INVALID', /not empty/)
    await assertOnly(place.out, 'precious')
  })
})

describe('an import does as it is told', { concurrency: 2, timeout: 300_000 }, () => {
  it('takes a URL, a path and prints where the disk is and how it came there', async () => {
    await using place = await workplace()
    for (const source of [url('disk.qcow2'), path('disk.qcow2')]) {
      const result = await cdi(['import', source, place.target])
      assert.equal(result.exitCode, 0, result.stderr)
      assert.equal(result.stderr, '')
      assert.match(result.stdout, /disk\.img: qcow2, disk of 8\.00 MiB, route copyExtents \(.+\)\n$/)
      await assertSame(place.target, path('disk'))
    }
  })

  it('grows the disk to --size with zeros, whatever the route', async () => {
    for (const name of ['disk', 'disk.gz', 'disk.qcow2', 'disk.qcow2.zst']) {
      await using place = await workplace()
      const result = await cdi(['import', url(name), place.target, '--size', '1Gi'])
      assert.equal(result.exitCode, 0, result.stderr)
      const { size } = await stat(place.target)
      assert.equal(size, 1024 * mebibyte, name)
      assert.ok((await allocatedBytes(place.target)) < sizeBytes)
      await truncate(place.target, sizeBytes + 4096)
      const got = await readFile(place.target)
      assert.ok(got.subarray(0, sizeBytes).equals(await readFile(path('disk'))), name)
      assert.ok(got.subarray(sizeBytes).equals(Buffer.alloc(4096)), name)
    }
  })

  it('grows the disk to the very byte', async () => {
    await using place = await workplace()
    const result = await cdi(['import', url('disk.qcow2'), place.target, '--size', '10000001'])
    assert.equal(result.exitCode, 0, result.stderr)
    assert.equal((await stat(place.target)).size, 10_000_001)
  })

  it('backs every byte by storage with --preallocate', async () => {
    for (const name of ['disk', 'disk.gz', 'disk.qcow2']) {
      await using place = await workplace()
      const result = await cdi(['import', url(name), place.target, '--preallocate', '--size', '12Mi', '--json'])
      assert.equal(outcomeOf(result).preallocationApplied, true, result.stdout)
      assert.ok((await allocatedBytes(place.target)) >= 12 * mebibyte, name)
      await assertSame(place.target, path('disk'), sizeBytes)
    }
  })

  it('accepts the right checksum of every algorithm and downloads the file once', async () => {
    for (const name of ['disk', 'disk.gz', 'disk.qcow2', 'disk.qcow2.zst']) {
      await using place = await workplace()
      await using own = await startNginx({ root: dir.path })
      const algorithms = ['md5', 'sha1', 'sha256', 'sha512']
      for (const algorithm of algorithms) {
        const checksum = await digestOf(algorithm, path(name))
        const result = await cdi(['import', `${own.origin}/${name}`, place.target, '--checksum', checksum])
        assert.equal(result.exitCode, 0, `${name} ${algorithm}: ${result.stderr}`)
        await assertSame(place.target, path('disk'))
      }
      const { size } = await stat(path(name))
      assert.ok((await servedBytes(own)) <= 1.1 * size * algorithms.length, `${name} was downloaded more than once`)
    }
  })

  it('reads only the headers of an image that is too large', async () => {
    await using own = await startNginx({ root: dir.path })
    const large = variants.filter(({ name }) =>
      /qcow2 version 3|streamOptimized|vdi dynamic|vhd dynamic by|vhdx dynamic/.test(name),
    )
    await makeDisk(path('noise'), { sizeBytes: 32 * mebibyte, pieces: [[0, noise(32 * mebibyte, 6)]] })
    for (const variant of large) {
      const image = `noise.${variant.format}`
      await makeImage(path('noise'), path(image), variant)
      const before = await servedBytes(own)
      await assertRefused([`${own.origin}/${image}`, '--size', '16Mi'], 'CDI_IMAGE_TOO_LARGE', /larger/)
      const served = (await servedBytes(own)) - before
      assert.ok(served < 3 * mebibyte, `${image}: ${served} bytes of 32 MiB were read to know its size`)
    }
  })

  it('logs in with --secret-file and shows the secret nowhere', async () => {
    await using own = await startNginx({ root: dir.path, basicAuth: { user: 'alice', password: 'open-sesame' } })
    await using place = await workplace()
    const target = `${own.origin}/disk`
    assertFailed(await cdi(['import', target, place.target]), 'CDI_SOURCE_STATUS', /401/)
    await writeFile(path('wrong'), 'alice\nguess-me\n')
    const refused = await cdi(['import', target, place.target, '--secret-file', path('wrong')])
    assertFailed(refused, 'CDI_SOURCE_STATUS', /401/)
    assert.ok(!refused.stderr.includes('guess-me'))
    await assertOnly(place.out)
    await writeFile(path('right'), 'alice\nopen-sesame\n')
    const result = await cdi(['import', target, place.target, '--secret-file', path('right'), '--verbose'])
    assert.equal(result.exitCode, 0, result.stderr)
    await assertSame(place.target, path('disk'))
    const encoded = Buffer.from('alice:open-sesame').toString('base64')
    for (const secret of ['open-sesame', encoded]) assert.ok(!result.stderr.includes(secret))
  })

  it('sends --header and --header-file to the server, and not to the one it is redirected to', async () => {
    await using other = await startFaultyServer({ body: await readFile(path('disk')) })
    await using front = await startNginx({ redirect: { status: 302, to: other.origin } })
    await using place = await workplace()
    await writeFile(path('secret-header'), 'X-Extra: hush-hush\n')
    await writeFile(path('right'), 'alice\nopen-sesame\n')
    const options = ['--header', 'X-Shown: one', '--header-file', path('secret-header'), '--secret-file', path('right')]
    const result = await cdi(['import', `${front.origin}/disk`, place.target, ...options, '--verbose'])
    assert.equal(result.exitCode, 0, result.stderr)
    await assertSame(place.target, path('disk'))
    const [asked] = await settledRequests(front)
    assert.equal(asked?.extra, 'hush-hush')
    assert.match(asked?.authorization ?? '', /^Basic /)
    assert.ok(other.requests.length > 0)
    for (const { headers } of other.requests) {
      for (const name of ['authorization', 'x-extra', 'x-shown']) assert.equal(headers[name], undefined)
    }
    assert.ok(!result.stderr.includes('hush-hush'))
  })

  it('trusts --ca-file and nobody unknown, unless told not to look', async () => {
    await using trust = await tempDir('trust')
    const certs = await makeCerts({ dir: trust.path })
    await using own = await startNginx({ root: dir.path, certs })
    await using place = await workplace()
    const target = `${own.origin}/disk`
    assertFailed(await cdi(['import', target, place.target]), 'CDI_SOURCE_TLS')
    await assertOnly(place.out)
    for (const options of [['--ca-file', certs.caFile], ['--insecure-skip-verify']]) {
      const result = await cdi(['import', target, place.target, ...options])
      assert.equal(result.exitCode, 0, result.stderr)
      await assertSame(place.target, path('disk'))
    }
  })

  it('goes through the proxy of the environment, and past it where no_proxy names a network', async () => {
    await using proxy = await startTinyproxy()
    await using place = await workplace()
    // 127.0.0.1 is never proxied; 0.0.0.0 is the same machine under a name that is.
    const target = `http://0.0.0.0:${nginx.port}/disk.gz`
    const past = await cdi(['import', target, place.target], { env: { http_proxy: proxy.url, no_proxy: '0.0.0.0/8' } })
    assert.equal(past.exitCode, 0, past.stderr)
    assert.deepEqual(await proxy.requestLines(), [])
    for (const name of ['http_proxy', 'HTTP_PROXY']) {
      const seen = (await proxy.requestLines()).length
      const through = await cdi(['import', target, place.target], {
        env: { [name]: proxy.url, no_proxy: '10.0.0.0/8' },
      })
      assert.equal(through.exitCode, 0, through.stderr)
      assert.ok((await proxy.requestLines()).length > seen, `${name} was not obeyed`)
      await assertSame(place.target, path('disk'))
    }
  })

  it('unpacks an archive and leaves nothing of one that leads outside', async () => {
    await using place = await workplace()
    await execa('tar', ['-C', dir.path, '-czf', path('good.tar.gz'), 'disk', 'disk.gz'])
    const good = await cdi(['import', url('good.tar.gz'), place.out, '--content-type', 'archive'])
    assert.equal(good.exitCode, 0, good.stderr)
    assert.match(good.stdout, /: archive, route unpackArchive/)
    await assertSame(join(place.out, 'disk'), path('disk'))

    const empty = join(place.path, 'empty')
    await mkdir(empty)
    await execa('tar', [
      '-C',
      dir.path,
      '-cPf',
      path('bad.tar'),
      'disk',
      '--transform',
      's,disk.gz,../escaped,',
      'disk.gz',
    ])
    const bad = await cdi(['import', url('bad.tar'), empty, '--content-type', 'archive'])
    assertFailed(bad, 'CDI_ARCHIVE_UNSAFE')
    await assertOnly(empty)
    await assertOnly(place.path, 'out', 'scratch', 'empty')
  })

  it('tells with --json how it goes on, and one last event: done or failed', async () => {
    await using slow = await startNginx({ root: dir.path, limitRate: '700k' })
    await using place = await workplace()
    const result = await cdi(['import', `${slow.origin}/disk`, place.target, '--json'])
    assert.equal(result.exitCode, 0, result.stderr)
    assert.equal(result.stderr, '')
    const events = eventsOf(result)
    const last = events.at(-1)
    assert.deepEqual(
      { ...last, why: undefined },
      {
        event: 'done',
        target: place.target,
        route: 'copyRanges',
        why: undefined,
        format: 'raw',
        encodings: [],
        diskSizeBytes: sizeBytes,
        preallocationApplied: false,
      },
    )
    const steps = events.slice(0, -1)
    assert.ok(steps.length >= 1)
    assert.ok(steps.every(({ event }) => event === 'progress'))
    const percents = steps.map(({ percent }) => percent ?? 0)
    assert.deepEqual(
      percents,
      percents.toSorted((a, b) => a - b),
    )
    assert.ok(steps.some(({ percent = 0, totalBytes }) => percent > 0 && percent < 100 && totalBytes === sizeBytes))

    const failed = await cdi(['import', `${slow.origin}/none`, place.target, '--json'])
    assert.equal(failed.exitCode, 3)
    const [only, ...rest] = eventsOf(failed)
    assert.deepEqual(rest, [])
    assert.equal(only?.code, 'CDI_SOURCE_STATUS')
    assert.equal(only?.kind, 'transient')
    assert.equal(only?.remedy, errorTable.CDI_SOURCE_STATUS.remedy)

    // Also for what is wrong with the command line itself.
    const misused = await cdi(['import', '--json'])
    assert.equal(misused.exitCode, 2)
    assert.equal(outcomeOf(misused).code, 'CDI_USAGE')
  })

  it('helps', async () => {
    for (const args of [['import', '--help'], ['inspect', '--help'], ['--help']]) {
      const { exitCode, stdout } = await cdi(args)
      assert.equal(exitCode, 0)
      assert.match(stdout, /usage: cdi /)
    }
    const { exitCode, stderr } = await cdi(['explode'])
    assert.equal(exitCode, 2)
    assert.match(stderr, /no such command: explode/)
  })
})

describe('progress of an import', { concurrency: 2, timeout: 120_000 }, () => {
  for (const [name, limitRate] of [
    ['disk.gz', '300k'],
    ['disk.qcow2', '200k'],
    ['disk.qcow2.zst', '300k'],
  ] as const) {
    it(`of ${name} over a slow link shows bytes and percent growing`, async () => {
      await using slow = await startNginx({ root: dir.path, limitRate })
      await using place = await workplace()
      const result = await cdi(['import', `${slow.origin}/${name}`, place.target, '--json'])
      assert.equal(result.exitCode, 0, result.stdout)
      const steps = eventsOf(result).slice(0, -1)
      const { size } = await stat(path(name))
      assert.ok(steps.some(({ percent = 0 }) => percent > 0 && percent < 100))
      for (const what of ['doneBytes', 'percent'] as const) {
        const values = steps.map((step) => step[what] ?? 0)
        assert.deepEqual(
          values,
          values.toSorted((a, b) => a - b),
        )
        assert.ok(new Set(values).size >= 2, `${what}: ${values.join()}`)
      }
      assert.ok(steps.every(({ totalBytes, phase }) => phase === 'connect' || totalBytes === size))
    })
  }
})

describe('an import that is stopped', { concurrency: 2, timeout: 300_000 }, () => {
  for (const [name, signal, exitCode] of [
    ['disk', 'SIGINT', 130],
    ['disk.gz', 'SIGTERM', 143],
    ['disk.qcow2', 'SIGTERM', 143],
    ['disk.qcow2 read by qemu-img', 'SIGTERM', 143],
    ['disk.qcow2.zst', 'SIGINT', 130],
  ] as const) {
    it(`by ${signal} in the middle of ${name} leaves no file and no process, and says so`, async () => {
      await using slow = await startNginx({ root: dir.path, limitRate: '150k' })
      await using place = await workplace()
      const [file = ''] = name.split(' ')
      const byQemu = name.endsWith('qemu-img')
      const checksum = byQemu ? ['--checksum', `md5:${'0'.repeat(32)}`] : []
      const args = [`${slow.origin}/${file}`, place.target, '--scratch', place.scratch, ...checksum]
      const running = startCdi(['import', ...args, '--json'])
      await until(
        () => eventsOf(running.output()).some(({ doneBytes = 0, percent = 0 }) => doneBytes + percent > 0),
        running,
      )
      const children = await descendantsOf(running.pid)
      if (byQemu) assert.ok(children.length > 0, 'qemu-img is at work')
      running.kill(signal)
      const result = await running.finished
      assert.equal(result.exitCode, exitCode, result.stderr)
      assert.equal(outcomeOf(result).code, 'CDI_ABORTED')
      await assertOnly(place.out)
      await assertOnly(place.scratch)
      for (const pid of children) await assert.rejects(stat(`/proc/${pid}`), { code: 'ENOENT' })
    })
  }

  it('while it unpacks an archive leaves an empty directory', async () => {
    await execa('tar', ['-C', dir.path, '-cf', path('slow.tar'), 'disk', 'disk.gz'])
    await using slow = await startNginx({ root: dir.path, limitRate: '300k' })
    await using place = await workplace()
    const running = startCdi(['import', `${slow.origin}/slow.tar`, place.out, '--content-type', 'archive', '--json'])
    await until(() => eventsOf(running.output()).some(({ doneBytes = 0 }) => doneBytes > 0), running)
    running.kill('SIGTERM')
    assert.equal((await running.finished).exitCode, 143)
    await assertOnly(place.out)
  })
})
