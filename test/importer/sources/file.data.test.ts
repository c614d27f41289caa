import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { appendFile, readdir, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { openFile } from '../../../importer/sources/file.ts'
import { counted } from '../../../importer/sources/progress.ts'
import { readRange } from '../../../importer/sources/source.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const never = new AbortController().signal
const content = randomBytes(2 * 1024 * 1024 + 512)

describe('file source', () => {
  it('reads any range of a regular file', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    await writeFile(path, content)
    await using source = await openFile({ path })
    assert.equal(source.sizeBytes, content.length)
    for (const [offset, length] of [
      [0, 0],
      [0, content.length],
      [1, 700_000],
      [content.length - 3, 3],
    ] as const) {
      assert.deepEqual(await readRange(source, { offset, length }, never), content.subarray(offset, offset + length))
    }
  })

  it('knows the size of a block device and reads it', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    await writeFile(path, content)
    const { stdout: device } = await execa('losetup', ['--find', '--show', '--read-only', path])
    try {
      await using source = await openFile({ path: device })
      assert.equal(source.sizeBytes, content.length)
      assert.deepEqual(await readRange(source, { offset: 0, length: content.length }, never), content)
    } finally {
      await execa('losetup', ['--detach', device])
    }
  })

  it('notices that the file was written to', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    const changes = [() => appendFile(path, 'more'), () => truncate(path, 1000), () => utimes(path, 1000, 1000)]
    for (const change of changes) {
      await writeFile(path, content)
      await using source = await openFile({ path })
      await change()
      await assert.rejects(readRange(source, { offset: 0, length: content.length }, never), {
        code: 'CDI_SOURCE_CHANGED',
      })
    }
  })

  it('refuses what is neither file nor device, and what is not there', async () => {
    await using dir = await tempDir('file')
    await assert.rejects(openFile({ path: dir.path }), { code: 'CDI_USAGE', message: /is a directory/ })
    await assert.rejects(openFile({ path: '/dev/null' }), { code: 'CDI_USAGE', message: /character device/ })
    await assert.rejects(openFile({ path: join(dir.path, 'none') }), { code: 'CDI_SOURCE_UNREACHABLE' })
  })

  it('keeps no file open after it was closed', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    await writeFile(path, content)
    const openFiles = async (): Promise<number> => (await readdir('/proc/self/fd')).length
    const before = await openFiles()
    {
      await using source = await openFile({ path })
      await readRange(source, { offset: 0, length: 10 }, never)
    }
    await openFile({ path: dir.path }).catch(() => {})
    assert.equal(await openFiles(), before)
  })

  it('stops between reads when it is aborted, and passes on what the sink throws', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    await writeFile(path, content)
    await using source = await openFile({ path })
    const range = { offset: 0, length: content.length }
    const abort = new AbortController()
    await assert.rejects(
      source.stream(range, () => abort.abort(new Error('enough')), abort.signal),
      /enough/,
    )
    await assert.rejects(
      source.stream(range, () => assert.fail('disk full'), never),
      /disk full/,
    )
  })

  it('is counted as it is read', async () => {
    await using dir = await tempDir('file')
    const path = join(dir.path, 'disk.img')
    await writeFile(path, content)
    let bytes = 0
    await using source = counted(await openFile({ path }), (more) => {
      bytes += more
    })
    await readRange(source, { offset: 100, length: 1_000_000 }, never)
    assert.equal(bytes, 1_000_000)
  })
})
