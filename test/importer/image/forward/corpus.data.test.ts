/**
 * Every image of the corpus through the route convertStream: what arrives is what qemu-img makes of it, byte for byte, and
 * no more is allocated. Only images whose tables come behind their data need scratch.
 */
import assert from 'node:assert/strict'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import type { TestContext } from 'node:test'
import { CdiError } from '../../../../src/errors.ts'
import { assertSameBytes, importForward } from '../../../fixtures/forward-import.ts'
import { guestImages, imageCorpus } from '../../../fixtures/image-corpus.ts'
import type { CorpusImage } from '../../../fixtures/image-corpus.ts'
import { convertByQemu, mebibyte } from '../../../fixtures/images.ts'
import { noRoot } from '../../../fixtures/loop.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { allocatedBytes, pack } from '../../e2e/support/disks.ts'

/** Far less than the images have, so that it shows what has to be held. */
const limits = { heldBytes: 8 * mebibyte, claims: 4096 }
const imageTimeoutMs = 60_000
/** Of a file system's own, and of what qemu-img finds to be zeros in smaller pieces than we do. */
const slackBytes = 256 * 1024

/** Resolves with whether scratch was used. */
async function compare(image: CorpusImage, seed: number): Promise<boolean> {
  await using dir = await tempDir('corpus')
  const path = (name: string): string => join(dir.path, name)
  await image.make({ image: path('image'), directory: dir.path, seed })
  await convertByQemu(path('image'), path('wanted'), image)
  const packed = image.packing === undefined ? path('image') : await pack(path('image'), [image.packing])
  const wanted = { image: packed, to: path('got'), limits, signal: AbortSignal.timeout(imageTimeoutMs) }
  let usedScratch = false
  const route = await importForward(wanted).catch(async (error: unknown) => {
    if (!(error instanceof CdiError) || error.code !== 'CDI_SCRATCH_REQUIRED') throw error
    usedScratch = true
    await mkdir(path('scratch'))
    const route = await importForward({ ...wanted, scratchDirectory: path('scratch') })
    assert.deepEqual(await readdir(path('scratch')), [], 'scratch is left as it was')
    return route
  })
  assert.equal(route, image.isRaw === true ? 'copyStream' : 'convertStream')
  assert.equal(usedScratch, image.comesTooEarly === true, 'whether scratch was used')
  await assertSameBytes(path('got'), path('wanted'))
  const [ours, qemus] = await Promise.all([allocatedBytes(path('got')), allocatedBytes(path('wanted'))])
  assert.ok(ours <= qemus + slackBytes, `${ours} bytes are allocated, by qemu-img ${qemus}`)
  return usedScratch
}

const compared = new Map<string, { images: number; usedScratch: number }>()

async function compareAll(writer: string, images: readonly CorpusImage[], t: TestContext): Promise<void> {
  const count = { images: 0, usedScratch: 0 }
  compared.set(writer, count)
  for (const image of images) {
    try {
      if (await compare(image, imageCorpus.indexOf(image) + 1)) count.usedScratch += 1
      count.images += 1
    } catch (error) {
      throw new Error(`${image.name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
  t.diagnostic(`${writer}: ${count.images} images, ${count.usedScratch} used scratch`)
}

describe('The corpus of images, in one pass', { concurrency: 2, timeout: 580_000 }, () => {
  it('a running guest: every image becomes what qemu-img makes of it', { skip: noRoot }, async (t) => {
    await using dir = await tempDir('guest')
    await compareAll('a running guest', await guestImages(dir.path, t.signal), t)
  })

  for (const [writer, images] of Map.groupBy(imageCorpus, ({ writer }) => writer)) {
    it(`${writer}: every image becomes what qemu-img makes of it`, (t) => compareAll(writer, images, t))
  }
})

describe('The corpus of images', () => {
  it('has at least 200 of them, and only some with tables behind their data used scratch', (t) => {
    const images = [...compared.values()].reduce((sum, count) => sum + count.images, 0)
    t.diagnostic(`${images} images were compared`)
    assert.ok(images >= 200)
    const usedScratch = [...compared].filter(([, count]) => count.usedScratch > 0).map(([writer]) => writer)
    assert.deepEqual(usedScratch, ['shuffled clusters'])
  })
})
