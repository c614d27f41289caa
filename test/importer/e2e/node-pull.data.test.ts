/** A worker beside the container of an image, as the kubelet starts them (pull method node). */
import assert from 'node:assert/strict'
import { access, copyFile, mkdir, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { imageContainer } from '../../fixtures/image-container.ts'
import type { ImageContainer } from '../../fixtures/image-container.ts'
import { makeDisk, makeImage, mebibyte, variants } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import type { TempDir } from '../../fixtures/server-process.ts'
import { assertSame, pack } from './support/disks.ts'
import { Pod } from './support/pod.ts'
import type { Ended } from './support/pod.ts'

const sizeBytes = 8 * mebibyte

let dir: TempDir
let raw: string
let qcow2: string

before(async () => {
  dir = await tempDir('node-pull')
  raw = join(dir.path, 'disk.raw')
  qcow2 = join(dir.path, 'disk.qcow2')
  await makeDisk(raw, { sizeBytes })
  await makeImage(
    raw,
    qcow2,
    variants.find(({ format }) => format === 'qcow2')!,
  )
})

after(() => dir[Symbol.asyncDispose]())

async function holding(...files: readonly string[]): Promise<ImageContainer> {
  const container = await imageContainer()
  await mkdir(join(container.root, 'disk'))
  for (const file of files) await copyFile(file, join(container.root, 'disk', file.split('/').at(-1) as string))
  return container
}

function run(pod: Pod, { readyFile, doneFile }: ImageContainer): Promise<Ended> {
  return pod.ended({
    source: 'registry',
    endpoint: 'docker://registry.test/disks/fedora:42',
    pullMethod: 'node',
    readyFile,
    doneFile,
  })
}

describe('pull method node', { skip: noRoot }, () => {
  const files: Readonly<Record<string, () => Promise<string>>> = {
    'a raw disk': async () => raw,
    'a qcow2': async () => qcow2,
    'a packed raw disk': () => pack(raw, ['gz']),
    'a raw disk packed twice': () => pack(raw, ['zst', 'xz']),
  }
  for (const [what, file] of Object.entries(files)) {
    it(`imports ${what}, tells the labels and lets the container end`, async () => {
      await using container = await holding(await file())
      await using pod = await Pod.start()
      await container.start({ env: { INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE: 'fedora' } })
      const { exitCode, words, stderr } = await run(pod, container)
      assert.equal(exitCode, 0, stderr)
      assert.deepEqual(JSON.parse(words), {
        scratchSpaceRequired: false,
        preallocationApplied: false,
        labels: { 'instancetype.kubevirt.io/default-preference': 'fedora' },
        message: 'Import Complete',
      })
      await assertSame(pod.disk, raw)
      assert.equal(await container.ended(), 0)
    })
  }

  it('keeps the container of a failed attempt for the next one', async () => {
    await using container = await holding(raw)
    await using pod = await Pod.start()
    await container.start()
    await truncate(join(container.root, 'disk/disk.raw'), 16 * mebibyte)
    const failed = await run(pod, container)
    assert.equal(failed.exitCode, 1)
    assert.match(failed.words, /is larger than the reported available/)
    await assert.rejects(access(container.doneFile), { code: 'ENOENT' })
    await truncate(join(container.root, 'disk/disk.raw'), sizeBytes)
    const { exitCode, stderr } = await run(pod, container)
    assert.equal(exitCode, 0, stderr)
    await assertSame(pod.disk, raw)
    assert.equal(await container.ended(), 0)
  })

  it('says in the words of the contract what is wrong with the image', async () => {
    await using container = await holding(raw, qcow2)
    await using pod = await Pod.start()
    await container.start()
    const two = await run(pod, container)
    assert.equal(two.exitCode, 1)
    assert.match(two.words, /: image directory contains more than one file: /)
    await rm(join(container.root, 'disk'), { recursive: true })
    const none = await run(pod, container)
    assert.match(none.words, /: Failed to find VM disk image file in the container image: /)
    await mkdir(join(container.root, 'sysroot'))
    const bootc = await run(pod, container)
    assert.match(bootc.words, /: bootc image detected: /)
  })
})
