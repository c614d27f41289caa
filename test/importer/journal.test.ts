import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { openJournal } from '../../importer/journal.ts'
import { CdiError } from '../../src/errors.ts'

describe('journal', () => {
  let directory = ''
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cdi-journal-'))
  })
  after(() => rm(directory, { recursive: true }))

  const version = { name: 'disk.qcow2', validator: '"abc"', sizeBytes: 10 }
  const tooLarge = new CdiError('CDI_IMAGE_TOO_LARGE', 'virtual image size 2 is larger than 1')

  it('repeats a lasting fault while source and request are the same', async () => {
    await openJournal(directory).remember(version, 'request', tooLarge)
    const known = await openJournal(directory).recall(version, 'request')
    assert.deepEqual([known?.code, known?.message], [tooLarge.code, tooLarge.message])
  })

  it('forgets it when the source or the request changed', async () => {
    const journal = openJournal(directory)
    await journal.remember(version, 'request', tooLarge)
    assert.equal(await journal.recall({ ...version, validator: '"def"' }, 'request'), undefined)
    assert.equal(await journal.recall(version, 'larger volume'), undefined)
    await journal.forget()
    assert.equal(await journal.recall(version, 'request'), undefined)
  })

  it('does not remember what may heal, nor anything about a source without a validator', async () => {
    const journal = openJournal(directory)
    await journal.remember(version, 'request', new CdiError('CDI_SOURCE_INTERRUPTED', 'cut'))
    assert.equal(await journal.recall(version, 'request'), undefined)
    const { validator: _, ...unproved } = version
    await journal.remember(unproved, 'request', tooLarge)
    assert.equal(await journal.recall(unproved, 'request'), undefined)
  })

  it('takes a damaged note for none', async () => {
    await writeFile(join(directory, 'fault.json'), '{"version":')
    assert.equal(await openJournal(directory).recall(version, 'request'), undefined)
  })
})
