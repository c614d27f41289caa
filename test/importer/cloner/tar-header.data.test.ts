import { strict as assert } from 'node:assert'
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { promisify } from 'node:util'
import { padding, sparseMap, tarEnd, tarHeader } from '../../../importer/cloner/tar-header.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const execute = promisify(execFile)
const common = { mode: 0o640, mtimeSeconds: 1_234_567_890 }

describe('tar header', () => {
  it('is understood by GNU tar: names of all lengths, links, modes, times', async () => {
    await using place = await tempDir('tar')
    const names = [1, 99, 100, 101, 155, 255].map((length) => 'n'.repeat(length))
    const members = names.map((name) =>
      Buffer.concat([
        tarHeader({ ...common, name, type: 'file', storedBytes: name.length }),
        Buffer.from(name),
        padding(name.length),
      ]),
    )
    const links = [
      tarHeader({ ...common, name: 'hard', type: 'hardlink', linkName: names[5] as string, storedBytes: 0 }),
      tarHeader({ ...common, name: 'soft', type: 'symlink', linkName: 'x'.repeat(200), storedBytes: 0 }),
    ]
    await writeFile(join(place.path, 'a.tar'), Buffer.concat([...members, ...links, tarEnd()]))
    await execute('tar', ['-xpf', 'a.tar'], { cwd: place.path })
    for (const name of names) {
      assert.equal(await readFile(join(place.path, name), 'utf8'), name)
      const { mode, mtimeMs } = await stat(join(place.path, name))
      assert.equal(mode & 0o7777, common.mode)
      assert.equal(mtimeMs, common.mtimeSeconds * 1000)
    }
    assert.equal((await stat(join(place.path, 'hard'))).nlink, 2)
    const { stdout } = await execute('readlink', [join(place.path, 'soft')])
    assert.equal(stdout.trim(), 'x'.repeat(200))
  })

  it('is understood by GNU tar: sparse files, also one without any data', async () => {
    await using place = await tempDir('tar')
    const bytes = randomBytes(3072)
    const sizeBytes = 5 * 1024 * 1024
    const pieces = [
      { start: 4096, end: 6144 },
      { start: 999_936, end: 1_000_960 },
      { start: sizeBytes, end: sizeBytes },
    ]
    const map = sparseMap(pieces)
    const hole = sparseMap([{ start: sizeBytes, end: sizeBytes }])
    const header = (name: string, storedBytes: number): Buffer =>
      tarHeader({ ...common, name, type: 'file', storedBytes, realSizeBytes: sizeBytes })
    const tar = [
      header('some', map.length + bytes.length),
      map,
      bytes,
      padding(bytes.length),
      header('none', hole.length),
      hole,
    ]
    await writeFile(join(place.path, 'a.tar'), Buffer.concat([...tar, tarEnd()]))
    await execute('tar', ['-xf', 'a.tar'], { cwd: place.path })
    const expected = Buffer.alloc(sizeBytes)
    bytes.copy(expected, 4096, 0, 2048)
    bytes.copy(expected, 999_936, 2048)
    assert.ok((await readFile(join(place.path, 'some'))).equals(expected))
    assert.ok((await readFile(join(place.path, 'none'))).equals(Buffer.alloc(sizeBytes)))
    assert.equal((await stat(join(place.path, 'none'))).blocks, 0)
  })

  it('tells sizes and times that no octal digits hold', async () => {
    await using place = await tempDir('tar')
    const sizeBytes = 8 ** 11 + 5
    const map = sparseMap([{ start: sizeBytes, end: sizeBytes }])
    const members = [
      tarHeader({ mode: 0o600, mtimeSeconds: -5, name: 'old', type: 'file', storedBytes: 0 }),
      tarHeader({ ...common, name: 'huge', type: 'file', storedBytes: map.length, realSizeBytes: sizeBytes }),
      map,
    ]
    await writeFile(join(place.path, 'a.tar'), Buffer.concat([...members, tarEnd()]))
    const { stdout } = await execute('tar', ['-tvf', 'a.tar', '--utc', '--full-time'], { cwd: place.path })
    assert.match(stdout, /1969-12-31 23:59:55 old/)
    assert.match(stdout, new RegExp(`${sizeBytes} 2009-02-13 23:31:30 huge`))
  })
})
