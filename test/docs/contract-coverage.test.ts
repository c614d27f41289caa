/** The page on the coverage of the contract names tests that exist. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, it } from 'node:test'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/contract-coverage.md'), 'utf8')

/** Test files of a line, each with the names that are quoted behind it. */
function namedTests(line: string): [file: string, names: string[]][] {
  return [...line.matchAll(/`([\w./-]+\.test\.ts)` ((?:"(?:[^"\\]|\\.)*"(?:, )?)+)/g)].map(
    ([, file = '', names = '']) => [
      file,
      [...names.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, name = '']) => name.replaceAll('\\"', '"')),
    ],
  )
}

describe('the page on the coverage of the contract', () => {
  const rows = page.split('\n').filter((line) => line.startsWith('| ') && !line.startsWith('| §'))

  it('names only tests that exist', () => {
    const named = rows.flatMap(namedTests)
    assert.ok(named.length > 100, `${named.length} files found on the page`)
    for (const [file, names] of named) {
      const source = readFileSync(join(root, 'test', file), 'utf8').replaceAll("\\'", "'")
      for (const name of names) assert.ok(source.includes(name), `${file} has no test ${JSON.stringify(name)}`)
    }
  })

  it('says of every line which test proves it, or that none does', () => {
    for (const row of rows) {
      const says = namedTests(row).length > 0 || /not done|not covered|see DataVolumes/.test(row)
      assert.ok(says, row)
    }
  })
})
