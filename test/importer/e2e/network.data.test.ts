/** `cdi import` over links that break, from servers that are slow or poor, of files that change underneath. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { makeDisk, makeImage, mebibyte, noise, text, variants } from '../../fixtures/images.ts'
import { startNginx } from '../../fixtures/nginx.ts'
import type { Nginx } from '../../fixtures/nginx.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { startToxiproxy } from '../../fixtures/toxiproxy.ts'
import type { Toxiproxy } from '../../fixtures/toxiproxy.ts'
import { cdi, eventsOf, outcomeOf, startCdi, until } from './support/cdi.ts'
import type { CdiResult, RunningCdi } from './support/cdi.ts'
import { assertOnly, assertSame, pack, replaceFile } from './support/disks.ts'
import { servedBytes, settledRequests } from './support/served.ts'

const sizeBytes = 8 * mebibyte
const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!
/** No ETag and no date: nobody can tell two versions apart. */
const noValidator = 'etag off; if_modified_since off; add_header Last-Modified "";'

let dir: TempDir
let toxiproxy: Toxiproxy
let nginx: Nginx
const path = (name: string): string => join(dir.path, name)
const images = ['disk', 'disk.xz', 'disk.qcow2', 'disk.qcow2.gz'] as const

before(async () => {
  dir = await tempDir('network')
  await makeDisk(path('disk'), { sizeBytes })
  await makeImage(path('disk'), path('disk.qcow2'), qcow2)
  await pack(path('disk'), ['xz'])
  await pack(path('disk.qcow2'), ['gz'])
  toxiproxy = await startToxiproxy()
  nginx = await startNginx({ root: dir.path })
})
after(async () => {
  await nginx?.[Symbol.asyncDispose]()
  await toxiproxy?.[Symbol.asyncDispose]()
  await dir?.[Symbol.asyncDispose]()
})

async function workplace(): Promise<TempDir & { readonly target: string }> {
  const place = await tempDir('workplace')
  return { ...place, target: join(place.path, 'disk.img') }
}

function assertArrived(result: CdiResult): void {
  assert.equal(result.exitCode, 0, `${result.stdout}${result.stderr}`)
}

/** The transfer has begun, but cannot have ended yet. */
const underWay = (running: RunningCdi): Promise<void> =>
  until(() => eventsOf(running.output()).some(({ doneBytes = 0, percent = 0 }) => doneBytes + percent > 0), running)

describe('cdi import over a bad link', { concurrency: 2, timeout: 300_000 }, () => {
  for (const name of images) {
    it(`brings ${name} home in one go though every connection is cut after 300 KB`, async () => {
      await using place = await workplace()
      const link = await toxiproxy.link(nginx.port)
      await link.add({ type: 'limit_data', attributes: { bytes: 300_000 } })
      assertArrived(await cdi(['import', `http://127.0.0.1:${link.port}/${name}`, place.target]))
      await assertSame(place.target, path('disk'))
      await assertOnly(place.path, 'disk.img')
    })
  }

  it('does not fetch again what has arrived before a cut', async () => {
    await using own = await startNginx({ root: dir.path })
    await using place = await workplace()
    const link = await toxiproxy.link(own.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 2_000_000 } })
    assertArrived(await cdi(['import', `http://127.0.0.1:${link.port}/disk`, place.target]))
    await assertSame(place.target, path('disk'))
    // What nginx had sent when it was cut is lost in sockets' buffers; the file itself is not started anew.
    const starts = (await settledRequests(own)).filter(({ method, range }) => method === 'GET' && range === '')
    assert.deepEqual(starts, [])
  })

  it('survives a link that is down for a while', async () => {
    await using slow = await startNginx({ root: dir.path, limitRate: '500k' })
    await using place = await workplace()
    const link = await toxiproxy.link(slow.port)
    const running = startCdi(['import', `http://127.0.0.1:${link.port}/disk`, place.target, '--json'])
    await underWay(running)
    await link.enable(false)
    await delay(1500)
    await link.enable(true)
    assertArrived(await running.finished)
    await assertSame(place.target, path('disk'))
  })

  it('brings an image over a link of 100 ms latency', async () => {
    await using place = await workplace()
    const link = await toxiproxy.link(nginx.port)
    await link.add({ type: 'latency', attributes: { latency: 100 } })
    assertArrived(await cdi(['import', `http://127.0.0.1:${link.port}/disk.qcow2`, place.target]))
    await assertSame(place.target, path('disk'))
  })

  it('sees a slow server through', async () => {
    await using slow = await startNginx({ root: dir.path, limitRate: '400k' })
    await using place = await workplace()
    for (const name of ['disk.xz', 'disk.qcow2']) {
      assertArrived(await cdi(['import', `${slow.origin}/${name}`, place.target]))
      await assertSame(place.target, path('disk'))
    }
  })
})

describe('cdi import from a poor server', { concurrency: 2, timeout: 300_000 }, () => {
  it('takes everything from a server without ranges, an image by converting it on its way', async () => {
    await using poor = await startNginx({ root: dir.path, ranges: false })
    for (const name of images) {
      await using place = await workplace()
      const before = await servedBytes(poor)
      const result = await cdi(['import', `${poor.origin}/${name}`, place.target, '--json'])
      assertArrived(result)
      assert.equal(outcomeOf(result).route, name.includes('qcow2') ? 'convertStream' : 'copyStream')
      await assertSame(place.target, path('disk'))
      await assertOnly(place.path, 'disk.img')
      const { size } = await stat(path(name))
      assert.ok((await servedBytes(poor)) - before <= 1.1 * size, `${name} was downloaded more than once`)
    }
  })

  it('takes everything from a server that names no version', async () => {
    await using poor = await startNginx({ root: dir.path, extra: noValidator })
    for (const name of images) {
      await using place = await workplace()
      const result = await cdi(['import', `${poor.origin}/${name}`, place.target, '--json'])
      assertArrived(result)
      // Pieces could be of two versions, one answer cannot.
      assert.equal(outcomeOf(result).route, name.includes('qcow2') ? 'convertStream' : 'copyStream')
      await assertSame(place.target, path('disk'))
    }
  })

  it('does not glue together what a server without versions sent before and after a cut', async () => {
    await using poor = await startNginx({ root: dir.path, extra: noValidator })
    const link = await toxiproxy.link(poor.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 600_000 } })
    for (const name of ['disk', 'disk.xz']) {
      await using place = await workplace()
      const result = await cdi(['import', `http://127.0.0.1:${link.port}/${name}`, place.target])
      // A connection that ends in good order looks as if the file were cut.
      assert.match(result.stderr, /^cdi: CDI_SOURCE_(TRUNCATED|INTERRUPTED): /)
      assert.notEqual(result.exitCode, 0)
      await assertOnly(place.path)
    }
  })
})

describe('cdi import of a file that changes underneath', { concurrency: 2, timeout: 300_000 }, () => {
  type Form = 'raw' | 'gz' | 'qcow2'
  /** Two versions of the same length, that differ everywhere. */
  async function versions(own: TempDir, form: Form): Promise<{ name: string; olds: string; news: string }> {
    const [olds, news] = [join(own.path, 'old'), join(own.path, 'new')]
    await makeDisk(olds, { sizeBytes, pieces: [[0, noise(sizeBytes, 1)]] })
    await makeDisk(news, { sizeBytes, pieces: [[0, noise(sizeBytes, 2)]] })
    const served = join(own.path, 'www', 'disk')
    await mkdir(join(own.path, 'www'))
    for (const [disk, to] of [
      [olds, served],
      [news, join(own.path, 'next')],
    ] as const) {
      if (form === 'qcow2') await makeImage(disk, to, qcow2)
      else await copyFile(await pack(disk, form === 'gz' ? ['gz'] : []), to)
    }
    // nginx makes its ETag of length and date, in seconds: nobody could tell apart two versions of one second.
    const yesterday = new Date(Date.now() - 86_400_000)
    await utimes(served, yesterday, yesterday)
    return { name: 'disk', olds, news }
  }

  async function isSame(one: string, other: string): Promise<boolean> {
    return (await readFile(one)).equals(await readFile(other))
  }

  for (const [what, form, extra] of [
    ['a raw disk', 'raw', ''],
    ['a packed disk', 'gz', ''],
    ['a qcow2', 'qcow2', ''],
    ['a raw disk without ETag', 'raw', 'etag off;'],
    ['a qcow2 without ETag', 'qcow2', 'etag off;'],
    ['a raw disk without any validator', 'raw', noValidator],
    ['a qcow2 without any validator', 'qcow2', noValidator],
  ] as const) {
    it(`never mixes two versions of ${what}: it fails, or one of them arrives whole`, async () => {
      await using own = await tempDir('changes')
      await using place = await workplace()
      const { name, olds, news } = await versions(own, form)
      await using slow = await startNginx({ root: join(own.path, 'www'), limitRate: '600k', extra })
      const link = await toxiproxy.link(slow.port)
      // Cuts make sure that the file is asked for again after it was replaced.
      await link.add({ type: 'limit_data', attributes: { bytes: 1_000_000 } })
      const running = startCdi(['import', `http://127.0.0.1:${link.port}/${name}`, place.target, '--json'])
      await underWay(running)
      await replaceFile(join(own.path, 'www', name), join(own.path, 'next'))
      const result = await running.finished
      if (result.exitCode === 0) {
        assert.ok((await isSame(place.target, olds)) || (await isSame(place.target, news)), 'two versions were mixed')
        return
      }
      const { code } = outcomeOf(result)
      assert.match(code ?? '', extra === noValidator ? /^CDI_SOURCE_(TRUNCATED|INTERRUPTED)$/ : /^CDI_SOURCE_CHANGED$/)
      await assertOnly(place.path)
    })
  }

  it('goes on when the file was gone for a moment', async () => {
    await using own = await tempDir('gone')
    await using place = await workplace()
    await writeFile(join(own.path, 'disk'), text(sizeBytes, 5))
    await using slow = await startNginx({ root: own.path, limitRate: '600k' })
    const link = await toxiproxy.link(slow.port)
    await link.add({ type: 'limit_data', attributes: { bytes: 1_000_000 } })
    const running = startCdi(['import', `http://127.0.0.1:${link.port}/disk`, place.target, '--json'])
    await underWay(running)
    await rename(join(own.path, 'disk'), join(own.path, 'away'))
    await until(async () => (await slow.requests()).some(({ status }) => status === 404), running)
    await rename(join(own.path, 'away'), join(own.path, 'disk'))
    assertArrived(await running.finished)
    assert.ok((await readFile(place.target)).equals(text(sizeBytes, 5)))
  })
})
