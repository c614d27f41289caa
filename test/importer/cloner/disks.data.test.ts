import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import { readFile, stat, truncate, utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { createAuthority } from '../../../src/certs/authority.ts'
import { uploadProxyClientName } from '../../../src/api/upload-env.ts'
import { loopDevice, noRoot } from '../../fixtures/loop.ts'
import { startToxiproxy } from '../../fixtures/toxiproxy.ts'
import type { Toxiproxy } from '../../fixtures/toxiproxy.ts'
import { until } from '../e2e/support/cdi.ts'
import type { RunningCdi } from '../e2e/support/cdi.ts'
import { allocatedBytes, digestOf, makeDisk, mebibyte, oddPatches, writePatches } from './support/disks.ts'
import { CloneScene, clientName, logged } from './support/scene.ts'
import type { Ended } from './support/scene.ts'

const diskBytes = 192 * mebibyte
const done = '{"preallocationApplied":false,"message":"Clone Complete"}'
/** What file systems take for themselves (extent blocks), and where the copy rounds to whole blocks. */
const smallBytes = mebibyte

function assertDone(cloner: Ended, target: Ended, words = done): void {
  assert.equal(cloner.exitCode, 0, cloner.stderr)
  assert.equal(cloner.words, words === done ? 'Clone Complete' : 'Clone Complete, Preallocation applied')
  assert.equal(target.exitCode, 0, target.stderr)
  assert.equal(target.words, words)
}

const numberOf = (ended: Ended, field: string): number => logged(ended, 'disk sent')[field] as number

describe('clone of a disk', () => {
  it('copies a file into a file, as long as it is however much room there is', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, diskBytes, oddPatches(diskBytes))
    const target = await scene.startTarget({ imageSize: String(64 * diskBytes) })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    const facts = await stat(scene.targetDisk)
    assert.equal(facts.size, diskBytes)
    assert.equal(facts.mode & 0o7777, 0o660)
    assert.equal(await digestOf(scene.targetDisk, diskBytes), await digestOf(source, diskBytes))
    assert.ok((await allocatedBytes(scene.targetDisk)) <= (await allocatedBytes(source)) + smallBytes)
  })

  it('copies a file of a few letters, and one of none', async () => {
    for (const text of ['123456789012345678901234567890\n', '']) {
      await using scene = await CloneScene.make()
      await writeFile(join(scene.source, 'disk.img'), text)
      const target = await scene.startTarget({ imageSize: '500Mi' })
      const cloner = await scene.clonerEnd(await scene.startCloner())
      assertDone(cloner, await scene.targetEnd(target))
      assert.equal(await readFile(scene.targetDisk, 'utf8'), text)
    }
  })

  it('copies a file into a device that is full of old bytes', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: diskBytes, dirty: true })
    await scene.useTargetDevice(device.path)
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, diskBytes, oddPatches(diskBytes))
    const target = await scene.startTarget()
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.equal(await digestOf(device.path, diskBytes), await digestOf(source, diskBytes))
    assert.ok((await allocatedBytes(device.backingFile)) <= (await allocatedBytes(source)) + smallBytes)
  })

  it('copies a file of a few letters into a device that is full of old bytes', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 4 * mebibyte, dirty: true })
    await scene.useTargetDevice(device.path)
    const text = '123456789012345678901234567890\n'
    await writeFile(join(scene.source, 'disk.img'), text)
    const target = await scene.startTarget()
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    const bytes = await readFile(device.path)
    assert.equal(bytes.subarray(0, text.length).toString(), text)
  })

  it('copies a device into a file', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: diskBytes })
    await writePatches(device.path, oddPatches(diskBytes))
    const target = await scene.startTarget({ imageSize: String(diskBytes) })
    const cloner = await scene.clonerEnd(await scene.startCloner({ volumeMode: 'block', source: device.path }))
    assertDone(cloner, await scene.targetEnd(target))
    assert.equal((await stat(scene.targetDisk)).size, diskBytes)
    assert.equal(await digestOf(scene.targetDisk, diskBytes), await digestOf(device.path, diskBytes))
    assert.ok((await allocatedBytes(scene.targetDisk)) <= (await allocatedBytes(device.backingFile)) + smallBytes)
  })

  it('copies a device into a larger one that is full of old bytes', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using from = await loopDevice({ sizeBytes: diskBytes })
    await using to = await loopDevice({ sizeBytes: diskBytes + 8 * mebibyte, dirty: true })
    await writePatches(from.path, oddPatches(diskBytes))
    await scene.useTargetDevice(to.path)
    const target = await scene.startTarget()
    const cloner = await scene.clonerEnd(await scene.startCloner({ volumeMode: 'block', source: from.path }))
    assertDone(cloner, await scene.targetEnd(target))
    assert.equal(await digestOf(to.path, diskBytes), await digestOf(from.path, diskBytes))
  })

  it('copies a disk whose length is no multiple of anything', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    const odd = 10 * mebibyte + 333
    await makeDisk(source, odd, [{ offset: odd - 5, bytes: Buffer.from('abcde') }])
    const target = await scene.startTarget({ imageSize: String(odd) })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.equal((await stat(scene.targetDisk)).size, odd)
    assert.equal(await digestOf(scene.targetDisk, odd), await digestOf(source, odd))
  })

  it('copies bytes as they are, even if they look like an image or end like a VHD', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    const footer = Buffer.alloc(512)
    footer.write('conectix')
    await makeDisk(source, 4 * mebibyte, [
      { offset: 0, bytes: Buffer.from('514649fb00000003', 'hex') },
      { offset: 4 * mebibyte - 512, bytes: footer },
    ])
    const target = await scene.startTarget({ imageSize: String(4 * mebibyte) })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.deepEqual(await readFile(scene.targetDisk), await readFile(source))
  })

  it('sends 40 MiB of a disk of 4 GiB, and little more', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    const patches = Array.from({ length: 40 }, (_, index) => ({
      offset: index * 100 * mebibyte + index * 12_345,
      bytes: randomBytes(mebibyte),
    }))
    await makeDisk(source, 4096 * mebibyte, patches)
    const target = await scene.startTarget({ imageSize: '4Gi' })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.ok(numberOf(cloner, 'sentBytes') <= 42 * mebibyte, `${numberOf(cloner, 'sentBytes')} bytes sent`)
    assert.ok((await allocatedBytes(scene.targetDisk)) <= (await allocatedBytes(source)) + smallBytes)
    await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', source, scene.targetDisk])
  })

  it('leaves out zeros that a file holds as data', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [
      { offset: 0, bytes: Buffer.alloc(64 * mebibyte) },
      { offset: 33 * mebibyte, bytes: randomBytes(mebibyte) },
    ])
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.ok(numberOf(cloner, 'sentBytes') < 1.05 * mebibyte)
    assert.ok((await allocatedBytes(scene.targetDisk)) <= mebibyte + smallBytes)
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('backs every byte by storage and says so when preallocation is requested', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 32 * mebibyte, [{ offset: 5 * mebibyte, bytes: randomBytes(mebibyte) }])
    const target = await scene.startTarget({ imageSize: '40Mi', preallocation: true })
    const cloner = await scene.clonerEnd(await scene.startCloner({ preallocation: true }))
    assertDone(cloner, await scene.targetEnd(target), '{"preallocationApplied":true,"message":"Clone Complete"}')
    assert.ok((await allocatedBytes(scene.targetDisk)) >= 32 * mebibyte)
    assert.equal(await digestOf(scene.targetDisk, 32 * mebibyte), await digestOf(source, 32 * mebibyte))
  })

  it('tells the progress as a metric', async () => {
    await using scene = await CloneScene.make()
    await using toxiproxy = await startToxiproxy()
    const link = await slowLink(toxiproxy, scene)
    await makeDisk(join(scene.source, 'disk.img'), 32 * mebibyte, [{ offset: 0, bytes: randomBytes(24 * mebibyte) }])
    await scene.startTarget({ imageSize: '32Mi' })
    const cloner = await scene.startCloner({}, { port: link.port })
    let percent = 0
    await until(async () => {
      const text = await metricsOf(scene.metricsPort).catch(() => '')
      percent = Number(/^kubevirt_cdi_clone_progress_total\{ownerUID="uid-of-target"\} (\S+)$/m.exec(text)?.[1] ?? 0)
      return percent > 20
    }, cloner)
    assert.ok(percent < 100)
  })
})

describe('clone of a disk with trouble', () => {
  let toxiproxy: Toxiproxy
  before(async () => {
    toxiproxy = await startToxiproxy()
  })
  after(() => toxiproxy[Symbol.asyncDispose]())

  const dataBytes = 48 * mebibyte
  async function halfSent(scene: CloneScene, cloner: RunningCdi): Promise<void> {
    await until(async () => (await allocatedBytes(scene.targetDisk).catch(() => 0)) > dataBytes / 3, cloner)
  }

  it('goes on where a killed cloner stopped', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
    const link = await slowLink(toxiproxy, scene)
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const first = await scene.startCloner({}, { port: link.port })
    await halfSent(scene, first)
    first.kill('SIGKILL')
    await first.finished
    const second = await scene.clonerEnd(await scene.startCloner())
    assertDone(second, await scene.targetEnd(target))
    assert.ok(numberOf(second, 'sentBytes') < dataBytes * 0.75, 'what was there is not sent again')
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  describe('whose source is a device, which does not tell whether somebody wrote to it', { skip: noRoot }, () => {
    /** A cloner is killed in the middle, something happens, another one comes. */
    async function interrupted(scene: CloneScene, between: (device: string) => Promise<void>): Promise<Ended> {
      await using device = await loopDevice({ sizeBytes: 64 * mebibyte })
      await writePatches(device.path, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
      const block = { volumeMode: 'block', source: device.path } as const
      const link = await slowLink(toxiproxy, scene)
      const target = await scene.startTarget({ imageSize: '64Mi' })
      const first = await scene.startCloner(block, { port: link.port })
      await halfSent(scene, first)
      first.kill('SIGKILL')
      await first.finished
      await between(device.path)
      const second = await scene.clonerEnd(await scene.startCloner(block))
      assertDone(second, await scene.targetEnd(target))
      assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(device.path, 64 * mebibyte))
      return second
    }

    it('goes on when it holds what was sent', async () => {
      await using scene = await CloneScene.make()
      const cloner = await interrupted(scene, async () => {})
      assert.ok(numberOf(cloner, 'sentBytes') < dataBytes * 0.75, 'what was there is not sent again')
    })

    it('begins anew when a single byte of what was sent is another one now', async () => {
      await using scene = await CloneScene.make()
      const cloner = await interrupted(scene, (device) =>
        writePatches(device, [{ offset: 2 * mebibyte + 77, bytes: Buffer.from([1, 2, 3]) }]),
      )
      assert.match(cloner.stderr, /the source is another one than before, beginning anew/)
      assert.ok(numberOf(cloner, 'sentBytes') >= dataBytes)
    })
  })

  it('goes on when the target is killed and comes back, without being started again', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    const patches = [{ offset: mebibyte, bytes: randomBytes(dataBytes) }]
    await makeDisk(source, 64 * mebibyte, patches)
    const link = await slowLink(toxiproxy, scene)
    const first = await scene.startTarget({ imageSize: '64Mi' })
    const cloner = await scene.startCloner({}, { port: link.port })
    await halfSent(scene, cloner)
    first.kill('SIGKILL')
    await first.finished
    const second = await scene.startTarget({ imageSize: '64Mi' })
    const ended = await scene.clonerEnd(cloner)
    assertDone(ended, await scene.targetEnd(second))
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('goes on when the target comes back on a new pod that is told what was durable', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 64 * mebibyte, dirty: true })
    await scene.useTargetDevice(device.path)
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
    const link = await slowLink(toxiproxy, scene)
    const first = await scene.startTarget()
    const cloner = await scene.startCloner({}, { port: link.port })
    await until(async () => (await scene.durableBytes()) > dataBytes / 3, cloner)
    cloner.kill('SIGTERM')
    const stopped = await scene.clonerEnd(cloner)
    assert.equal(stopped.exitCode, 1)
    assert.equal(stopped.words, 'stopped by SIGTERM')
    await scene.durableBytes()
    // So does the controller, with the certificate of the proxy.
    const resumption = await scene.ask(
      'GET',
      '/v1beta1/upload-resumption',
      await scene.otherClient(uploadProxyClientName),
    )
    assert.equal(resumption.status, 200)
    assert.ok((JSON.parse(resumption.text) as { ranges: unknown[] }).ranges.length > 0)
    first.kill('SIGKILL')
    await first.finished
    await scene.newTargetPod()
    const second = await scene.startTarget({ resumption: resumption.text })
    const ended = await scene.clonerEnd(await scene.startCloner())
    assertDone(ended, await scene.targetEnd(second))
    assert.ok(numberOf(ended, 'sentBytes') < dataBytes, 'what was there is not sent again')
    assert.equal(await digestOf(device.path, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('packs what can be packed when the link is slow', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    const text = Buffer.alloc(64 * mebibyte)
    for (let at = 0; at < text.length; at += 64) text.write(`line ${at} of a log that says the same all the time\n`, at)
    await makeDisk(source, 64 * mebibyte, [{ offset: 0, bytes: text }])
    const link = await slowLink(toxiproxy, scene)
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const cloner = await scene.clonerEnd(await scene.startCloner({}, { port: link.port }))
    assertDone(cloner, await scene.targetEnd(target))
    assert.ok(numberOf(cloner, 'sentBytes') < 32 * mebibyte, `${numberOf(cloner, 'sentBytes')} bytes sent`)
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('survives a link that is cut again and again', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: 0, bytes: randomBytes(dataBytes) }])
    const link = await toxiproxy.link(scene.port)
    await link.add({ type: 'limit_data', stream: 'upstream', attributes: { bytes: 11 * mebibyte } })
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const cloner = await scene.clonerEnd(await scene.startCloner({}, { port: link.port }))
    assertDone(cloner, await scene.targetEnd(target))
    assert.match(cloner.stderr, /setback, trying again/)
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('begins anew when the source is another one than before', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
    const link = await slowLink(toxiproxy, scene)
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const first = await scene.startCloner({}, { port: link.port })
    await halfSent(scene, first)
    first.kill('SIGKILL')
    await first.finished
    await makeDisk(source, 64 * mebibyte, [{ offset: 9 * mebibyte, bytes: randomBytes(mebibyte) }])
    const second = await scene.clonerEnd(await scene.startCloner())
    assertDone(second, await scene.targetEnd(target))
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
    assert.ok((await allocatedBytes(scene.targetDisk)) <= mebibyte + smallBytes)
  })

  it('makes no torn copy of a source that somebody writes to', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
    const link = await slowLink(toxiproxy, scene)
    const target = await scene.startTarget({ imageSize: '64Mi' })
    const running = await scene.startCloner({}, { port: link.port })
    await halfSent(scene, running)
    await utimes(source, new Date(), new Date(Date.now() + 5000))
    await link.remove('bandwidth')
    const first = await scene.clonerEnd(running)
    assert.equal(first.exitCode, 1)
    assert.equal(first.words, `${source} was written to while it was cloned`)
    const second = await scene.clonerEnd(await scene.startCloner())
    assertDone(second, await scene.targetEnd(target))
    assert.equal(await digestOf(scene.targetDisk, 64 * mebibyte), await digestOf(source, 64 * mebibyte))
  })

  it('says what is wrong when the source becomes shorter', async () => {
    await using scene = await CloneScene.make()
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 64 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(dataBytes) }])
    const link = await slowLink(toxiproxy, scene)
    await scene.startTarget({ imageSize: '64Mi' })
    const running = await scene.startCloner({}, { port: link.port })
    await halfSent(scene, running)
    await truncate(source, 30 * mebibyte)
    const { exitCode, words } = await scene.clonerEnd(running)
    assert.equal(exitCode, 1)
    assert.match(words, /disk\.img (ends at byte 31457280 of 67108864|was written to while it was cloned)$/)
  })

  it('says what is wrong when the source cannot be read', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 64 * mebibyte })
    // The device keeps its size; behind the end of its file there is nothing to be read.
    await truncate(device.backingFile, 16 * mebibyte)
    await scene.startTarget({ imageSize: '64Mi' })
    const { exitCode, words } = await scene.clonerEnd(
      await scene.startCloner({ volumeMode: 'block', source: device.path }),
    )
    assert.equal(exitCode, 1)
    assert.match(words, /^the source \/dev\/loop\d+ cannot be read at byte \d+: EIO/)
  })

  it('ends at once when the target is too small', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 8 * mebibyte })
    await scene.useTargetDevice(device.path)
    await makeDisk(join(scene.source, 'disk.img'), 16 * mebibyte, oddPatches(16 * mebibyte).slice(0, 3))
    await scene.startTarget()
    const { exitCode, words } = await scene.clonerEnd(await scene.startCloner())
    assert.equal(exitCode, 1)
    assert.match(words, /refuses the clone: .*effective image size is larger than the reported available storage/)
  })

  it('ends at once for a file system without a disk that is to become a device', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 8 * mebibyte })
    await scene.useTargetDevice(device.path)
    await writeFile(join(scene.source, 'note.txt'), 'no disk here')
    await scene.startTarget()
    const { exitCode, words } = await scene.clonerEnd(await scene.startCloner())
    assert.equal(exitCode, 1)
    assert.equal(words, 'the source holds no disk.img that could be written to a block volume')
  })

  it('writes the disk alone to a device when other files lie beside it', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty: true })
    await scene.useTargetDevice(device.path)
    const source = join(scene.source, 'disk.img')
    await makeDisk(source, 8 * mebibyte, [{ offset: mebibyte, bytes: randomBytes(5000) }])
    await writeFile(join(scene.source, 'another'), 'something else')
    const target = await scene.startTarget()
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assertDone(cloner, await scene.targetEnd(target))
    assert.equal(await digestOf(device.path, 8 * mebibyte), await digestOf(source, 8 * mebibyte))
  })
})

describe('who may clone', () => {
  it('is nobody whose certificate has another name', async () => {
    await using scene = await CloneScene.make()
    await makeDisk(join(scene.source, 'disk.img'), mebibyte, [])
    await scene.startTarget({ imageSize: '1Mi' })
    for (const name of [uploadProxyClientName, `${clientName}x`, clientName.slice(0, 64)]) {
      const { exitCode, words } = await scene.clonerEnd(await scene.startCloner(await scene.otherClient(name)))
      assert.equal(exitCode, 1)
      assert.match(words, /it expects the certificate of another client$/)
    }
    await assert.rejects(stat(scene.targetDisk))
  })

  it('is nobody with the right name from another authority', async () => {
    await using scene = await CloneScene.make()
    await scene.startTarget()
    const authority = await createAuthority({ commonName: 'clients', lifetimeMs: 60_000, now: Date.now() })
    const answer = scene.ask('GET', '/v1beta1/clone-target', await scene.otherClient(clientName, authority))
    await assert.rejects(answer)
  })

  it('does not send to a server of another authority', async () => {
    await using scene = await CloneScene.make()
    await makeDisk(join(scene.source, 'disk.img'), mebibyte, [])
    await scene.startTarget()
    const { certPem } = await createAuthority({ commonName: 'servers', lifetimeMs: 60_000, now: Date.now() })
    const serverCaFile = scene.path('tls/other-ca.pem')
    await writeFile(serverCaFile, certPem)
    const { exitCode, words } = await scene.clonerEnd(await scene.startCloner({ serverCaFile }))
    assert.equal(exitCode, 1)
    assert.match(words, /^the certificate of 127\.0\.0\.1:\d+ is not accepted: /)
  })

  it('cannot upload to the target of a clone, nor clone to the target of an upload', async () => {
    await using scene = await CloneScene.make()
    const clone = await scene.startTarget()
    assert.equal((await scene.ask('POST', '/v1beta1/upload')).status, 403)
    assert.equal((await scene.ask('PUT', '/v1beta1/upload-ranges')).status, 404)
    clone.kill('SIGKILL')
    await clone.finished
    await scene.startTarget({ isCloneTarget: false })
    assert.equal((await scene.ask('PUT', '/v1beta1/clone-disk')).status, 404)
    assert.equal((await scene.ask('POST', '/v1beta1/clone-archive')).status, 404)
  })
})

async function slowLink(toxiproxy: Toxiproxy, scene: CloneScene): ReturnType<Toxiproxy['link']> {
  const link = await toxiproxy.link(scene.port)
  // KiB a second, of each connection.
  await link.add({ type: 'bandwidth', stream: 'upstream', attributes: { rate: 4096 } })
  return link
}

function metricsOf(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, path: '/metrics', rejectUnauthorized: false }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => resolve(text))
    })
      .once('error', reject)
      .end()
  })
}
