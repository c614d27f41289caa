import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { bounded, mostRanges, parseResumption, ResumeJournal } from '../../../importer/upload/resume-journal.ts'
import type { JournalEntry } from '../../../importer/upload/resume-journal.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const entry: JournalEntry = {
  id: 'abcdefghijklmnopqrst-_',
  length: 1000,
  ranges: [
    [0, 10],
    [20, 1000],
  ],
  checksum: 'md5:d41d8cd98f00b204e9800998ecf8427e',
  expires: '2030-01-01T00:00:00Z',
  byRanges: true,
}

describe('journal of a resumable upload', () => {
  it('tells what was written last, or that there is none, in a directory that it makes itself', async () => {
    await using dir = await tempDir('journal')
    const directory = join(dir.path, 'a/b')
    const journal = new ResumeJournal({ directory })
    assert.equal(await journal.read(), undefined)
    await journal.write(entry)
    assert.deepEqual(await new ResumeJournal({ directory }).read(), entry)
    await journal.write(undefined)
    assert.equal(await new ResumeJournal({ directory }).read(), 'none')
    assert.deepEqual(await readdir(directory), ['upload.json'])
  })

  it('keeps the order of writes that are not waited for', async () => {
    await using dir = await tempDir('journal')
    const journal = new ResumeJournal({ directory: dir.path })
    await Promise.all([1, 2, 3, 4, 5].map((length) => journal.write({ ...entry, length, ranges: [] })))
    const last = await journal.read()
    assert.ok(last !== undefined && last !== 'none')
    assert.equal(last.length, 5)
  })

  it('goes on after a write that failed', async () => {
    await using dir = await tempDir('journal')
    const directory = join(dir.path, 'journal')
    const journal = new ResumeJournal({ directory })
    await writeFile(directory, 'in the way')
    await assert.rejects(journal.write(entry))
    await using other = await tempDir('journal')
    await mkdir(join(other.path, 'x'))
    const next = new ResumeJournal({ directory: join(other.path, 'x') })
    await next.write(entry)
    assert.deepEqual(await next.read(), entry)
  })

  it('is bounded: of too many ranges the largest are kept, in order', async () => {
    await using dir = await tempDir('journal')
    const ranges = Array.from({ length: 5000 }, (_, index): [number, number] => [
      index * 100,
      index * 100 + 1 + (index % 50),
    ])
    const journal = new ResumeJournal({ directory: dir.path })
    await journal.write({ ...entry, length: 1_000_000, ranges })
    const kept = await journal.read()
    assert.ok(kept !== undefined && kept !== 'none')
    assert.equal(kept.ranges.length, mostRanges)
    assert.ok(kept.ranges.every(([start, end]) => end - start >= 45))
    assert.ok((await stat(join(dir.path, 'upload.json'))).size < 32 * 1024)
    assert.ok((await readFile(join(dir.path, 'upload.json'), 'utf8')).startsWith('{'))
    assert.deepEqual(bounded(kept), kept)
  })

  for (const [what, change] of [
    ['an id that is none', { id: '../../etc/passwd' }],
    ['no id', { id: undefined }],
    ['a negative length', { length: -1 }],
    ['a fraction of a byte', { length: 1.5 }],
    ['a range behind the end', { ranges: [[0, 1001]] }],
    [
      'ranges that touch',
      {
        ranges: [
          [0, 10],
          [10, 20],
        ],
      },
    ],
    [
      'ranges out of order',
      {
        ranges: [
          [20, 30],
          [0, 10],
        ],
      },
    ],
    ['an empty range', { ranges: [[5, 5]] }],
    ['a range of three', { ranges: [[1, 2, 3]] }],
    ['ranges that are none', { ranges: 'all' }],
    ['a time that is none', { expires: 'soon' }],
    ['a checksum that is none', { checksum: 'sha256:12' }],
  ] as const) {
    it(`takes nothing for granted: ${what}`, () => {
      assert.equal(parseResumption(JSON.stringify({ ...entry, ...change })), undefined)
    })
  }

  it('does not fail on anything that the environment holds', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.jsonValue().map((value) => JSON.stringify(value)),
        ),
        (text) => {
          parseResumption(text)
        },
      ),
    )
  })
})
