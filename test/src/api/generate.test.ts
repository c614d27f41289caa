import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { describe, it } from 'node:test'
import { generateTypes } from '../../../src/api/generate.ts'

const directory = new URL('../../../src/api/', import.meta.url)
const generated = await generateTypes()

describe('the generated types', () => {
  for (const [file, contents] of generated) {
    it(`are those of the CRDs: ${file} (else run \`npm run generate\`)`, async () => {
      assert.equal(await readFile(new URL(file, directory), 'utf8'), contents)
    })
  }

  it('have no file whose CRD is gone', async () => {
    const files = (await readdir(directory)).filter((name) => name.endsWith('.gen.ts'))
    assert.deepEqual(files.sort(), [...generated.keys()].sort())
  })

  it('tell what the schema tells: required fields, enumerations, quantities, explanations', () => {
    const text = generated.get('datavolume.gen.ts') ?? ''
    assert.match(text, /^ {2}spec: DataVolumeSpec$/m)
    assert.match(text, /^ {2}status\?: DataVolumeStatus \| undefined$/m)
    assert.match(text, /^ {2}contentType\?: "kubevirt" \| "archive" \| undefined$/m)
    assert.match(text, /^ {2}requests\?: Record<string, number \| string> \| undefined$/m)
    assert.match(
      text,
      /\/\*\* Name of the claim that belongs to this DataVolume, once there is one\. \*\/\n {2}claimName\?/,
    )
  })
})
