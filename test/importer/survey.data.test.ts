import assert from 'node:assert/strict'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { openFile } from '../../importer/sources/file.ts'
import type { Source } from '../../importer/sources/source.ts'
import { openStream } from '../../importer/sources/stdin.ts'
import { surveySource } from '../../importer/survey.ts'
import { makeDisk, makeImage, mebibyte, variantOf } from '../fixtures/images.ts'
import { tempDir } from '../fixtures/server-process.ts'
import type { TempDir } from '../fixtures/server-process.ts'
import { pack } from './e2e/support/disks.ts'
import type { Packing } from './e2e/support/disks.ts'

const signal = new AbortController().signal

/** A VHDX with its headers in the first megabytes, as all have them. */
async function vhdxIn(dir: TempDir, packings: readonly Packing[]): Promise<string> {
  await makeDisk(join(dir.path, 'disk'), { sizeBytes: 12 * mebibyte })
  await makeImage(join(dir.path, 'disk'), join(dir.path, 'image'), variantOf('vhdx dynamic'))
  return pack(join(dir.path, 'image'), packings)
}

describe('survey', () => {
  for (const packings of [[], ['gz'], ['xz'], ['zst'], ['zst', 'gz']] as const) {
    const where = packings.length === 0 ? 'a stream' : `a stream of ${packings.join(' in ')}`
    it(`finds headers that are not among the first bytes of ${where}`, async () => {
      await using dir = await tempDir('survey')
      const path = await vhdxIn(dir, packings)
      const sources: Source[] = [openStream({ stream: createReadStream(path), name: 'a stream' })]
      if (packings.length > 0) sources.push(await openFile({ path }))
      for (const source of sources) {
        await using open = source
        const { plan, virtualSizeBytes } = await surveySource({ source: open, contentType: 'kubevirt', signal })
        assert.equal(virtualSizeBytes, 12 * mebibyte)
        assert.equal(plan.route, 'convertStream')
        assert.equal(plan.needsScratch, false)
      }
    })
  }

  it('leaves an image for staging whose headers lie still further behind', async () => {
    await using dir = await tempDir('survey')
    await makeDisk(join(dir.path, 'disk'), { sizeBytes: 12 * mebibyte })
    const variant = { ...variantOf('vhdx dynamic'), args: ['-o', 'log_size=16M'] }
    await makeImage(join(dir.path, 'disk'), join(dir.path, 'image'), variant)
    await using source = openStream({ stream: createReadStream(join(dir.path, 'image')), name: 'a stream' })
    const { plan } = await surveySource({ source, contentType: 'kubevirt', signal })
    assert.equal(plan.route, 'convertStaged')
    assert.match(plan.why, /its headers are not all among the first bytes/)
  })
})
