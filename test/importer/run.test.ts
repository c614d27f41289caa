import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Journal } from '../../importer/journal.ts'
import { Progress } from '../../importer/progress.ts'
import { runImport } from '../../importer/run.ts'
import { silentLog } from '../../src/log.ts'

const never = new AbortController().signal

/** A volume that has gone bad. */
const brokenJournal: Journal = {
  recall: () => Promise.resolve(undefined),
  remember: () => Promise.reject(new Error('ENOSPC: no space left on device')),
  forget: () => Promise.reject(new Error('EIO: i/o error')),
}

describe('an import whose journal cannot be written', () => {
  let directory: string
  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'cdi-run-'))
    await writeFile(join(directory, 'source'), Buffer.alloc(1024 * 1024, 'disk'))
  })
  after(() => rm(directory, { recursive: true }))

  function importOf(requestedBytes: number) {
    return runImport(
      { log: silentLog(), progress: new Progress(), journal: brokenJournal, stdin: process.stdin },
      {
        source: { type: 'file', path: join(directory, 'source') },
        contentType: 'kubevirt',
        targetPath: join(directory, 'disk.img'),
        requestedBytes,
        resize: true,
        preallocate: false,
        directIo: false,
      },
      never,
    )
  }

  it('is done all the same', async () => {
    await importOf(1024 * 1024)
    assert.ok((await readFile(join(directory, 'disk.img'))).equals(await readFile(join(directory, 'source'))))
  })

  it('still says why it failed', async () => {
    await assert.rejects(importOf(4096), { code: 'CDI_IMAGE_TOO_LARGE' })
  })
})
