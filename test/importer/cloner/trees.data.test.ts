import { strict as assert } from 'node:assert'
import { randomBytes } from 'node:crypto'
import {
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readFile,
  readdir,
  readlink,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { noRoot, smallFilesystem } from '../../fixtures/loop.ts'
import { startToxiproxy } from '../../fixtures/toxiproxy.ts'
import { until } from '../e2e/support/cdi.ts'
import { allocatedBytes, makeDisk, mebibyte } from './support/disks.ts'
import { CloneScene } from './support/scene.ts'

const longName = `${'directory/'.repeat(14)}${'file'.repeat(50)}`
const oddName = Buffer.concat([Buffer.from('not-utf8-'), Buffer.from([0xff, 0xfe])])

/** A tree with everything that a tree may have. */
async function plant(root: string): Promise<void> {
  await mkdir(join(root, 'lost+found'))
  await writeFile(join(root, 'lost+found/remains'), 'not to be cloned')
  await mkdir(join(root, 'closed'))
  await writeFile(join(root, 'closed/secret'), 'something')
  await writeFile(join(root, 'empty'), '')
  await writeFile(join(root, 'program'), randomBytes(3 * mebibyte + 17))
  await chmod(join(root, 'program'), 0o751)
  await utimes(join(root, 'program'), 1_000_000_000, 1_000_000_000)
  await link(join(root, 'program'), join(root, 'another-name'))
  await symlink('/nowhere/at/all', join(root, 'dangling'))
  await symlink('x'.repeat(300), join(root, 'far-away'))
  await mkdir(join(root, longName, '..'), { recursive: true })
  await writeFile(join(root, longName), 'deep')
  await writeFile(Buffer.concat([Buffer.from(`${root}/`), oddName]), 'bytes are bytes')
  await makeDisk(join(root, 'sparse'), 400 * mebibyte, [
    { offset: 0, bytes: Buffer.from('first') },
    { offset: 123 * mebibyte + 5, bytes: randomBytes(mebibyte) },
    { offset: 400 * mebibyte - 3, bytes: Buffer.from('end') },
  ])
  await makeDisk(join(root, 'nothing-but-a-hole'), 50 * mebibyte, [])
  await makeDisk(join(root, 'hole-at-the-end'), 20 * mebibyte, [{ offset: 0, bytes: Buffer.alloc(5000, 1) }])
  await chmod(join(root, 'closed'), 0o500)
}

/** What diff does not look at. */
async function factsOf(root: string): Promise<Record<string, unknown>> {
  const facts: Record<string, unknown> = {}
  for (const name of (await readdir(root, { recursive: true, encoding: 'latin1' })).sort()) {
    if (name.startsWith('lost+found')) continue
    const path = Buffer.from(`${root}/${name}`, 'latin1')
    const { mode, nlink, size, mtimeMs } = await lstat(path)
    const isLink = (mode & 0o170000) === 0o120000
    facts[name] = {
      mode: mode.toString(8),
      ...((mode & 0o170000) === 0o100000 ? { nlink, size, mtime: Math.floor(mtimeMs / 1000) } : {}),
      ...(isLink ? { to: await readlink(path) } : {}),
    }
  }
  return facts
}

describe('clone of a tree', () => {
  it('restores files, modes, times, links and holes at the root of the volume', async () => {
    await using scene = await CloneScene.make()
    await plant(scene.source)
    const target = await scene.startTarget({ contentType: 'archive', imageSize: '1Gi' })
    const cloner = await scene.clonerEnd(await scene.startCloner({ contentType: 'archive' }))
    assert.equal(cloner.exitCode, 0, cloner.stderr)
    assert.equal(cloner.words, 'Clone Complete')
    const { exitCode, words } = await scene.targetEnd(target)
    assert.equal(exitCode, 0)
    assert.equal(words, '{"preallocationApplied":false,"message":"Clone Complete"}')
    await execa('diff', ['-r', '--no-dereference', '--exclude=lost+found', scene.source, scene.target])
    assert.deepEqual(await factsOf(scene.target), await factsOf(scene.source))
    assert.deepEqual(await readdir(scene.target).then((names) => names.includes('lost+found')), false)
    for (const name of ['sparse', 'nothing-but-a-hole', 'hole-at-the-end']) {
      const least = await allocatedBytes(join(scene.source, name))
      assert.ok((await allocatedBytes(join(scene.target, name))) <= least + mebibyte / 4, name)
    }
  })

  it('restores the tree of a kubevirt volume that holds more than its disk', async () => {
    await using scene = await CloneScene.make()
    await makeDisk(join(scene.source, 'disk.img'), 64 * mebibyte, [{ offset: 5, bytes: randomBytes(mebibyte) }])
    await chmod(join(scene.source, 'disk.img'), 0o660)
    await writeFile(join(scene.source, 'nvram'), 'beside the disk')
    const target = await scene.startTarget({ imageSize: '1Gi' })
    const cloner = await scene.clonerEnd(await scene.startCloner())
    assert.equal(cloner.exitCode, 0, cloner.stderr)
    assert.equal((await scene.targetEnd(target)).exitCode, 0)
    await execa('diff', ['-r', scene.source, scene.target])
    assert.deepEqual(await factsOf(scene.target), await factsOf(scene.source))
  })

  it('writes holes too when preallocation is requested, and says so', async () => {
    await using scene = await CloneScene.make()
    await makeDisk(join(scene.source, 'sparse'), 24 * mebibyte, [{ offset: 5, bytes: randomBytes(mebibyte) }])
    const target = await scene.startTarget({ contentType: 'archive', imageSize: '1Gi', preallocation: true })
    const cloner = await scene.clonerEnd(await scene.startCloner({ contentType: 'archive', preallocation: true }))
    assert.equal(cloner.words, 'Clone Complete, Preallocation applied', cloner.stderr)
    const { words } = await scene.targetEnd(target)
    assert.equal(words, '{"preallocationApplied":true,"message":"Clone Complete"}')
    assert.ok((await allocatedBytes(join(scene.target, 'sparse'))) >= 24 * mebibyte)
    assert.deepEqual(await readFile(join(scene.target, 'sparse')), await readFile(join(scene.source, 'sparse')))
  })

  it('clones an empty volume', async () => {
    await using scene = await CloneScene.make()
    const target = await scene.startTarget({ contentType: 'archive' })
    const cloner = await scene.clonerEnd(await scene.startCloner({ contentType: 'archive' }))
    assert.equal(cloner.exitCode, 0, cloner.stderr)
    assert.equal((await scene.targetEnd(target)).exitCode, 0)
    assert.deepEqual(await readdir(scene.target), [])
  })

  it('leaves out what is no file', async () => {
    await using scene = await CloneScene.make()
    await using _socket = await socketAt(join(scene.source, 'socket'))
    await writeFile(join(scene.source, 'file'), 'content')
    const target = await scene.startTarget({ contentType: 'archive' })
    const cloner = await scene.clonerEnd(await scene.startCloner({ contentType: 'archive' }))
    assert.equal(cloner.exitCode, 0, cloner.stderr)
    assert.match(cloner.stderr, /left out: devices, fifos and sockets are not cloned/)
    assert.equal((await scene.targetEnd(target)).exitCode, 0)
    assert.deepEqual(await readdir(scene.target), ['file'])
  })

  it('begins anew, without being started again, when the target is killed and comes back', async () => {
    await using scene = await CloneScene.make()
    await using toxiproxy = await startToxiproxy()
    const connection = await toxiproxy.link(scene.port)
    await connection.add({ type: 'bandwidth', stream: 'upstream', attributes: { rate: 8192 } })
    for (let index = 0; index < 12; index += 1) {
      await writeFile(join(scene.source, `file-${index}`), randomBytes(3 * mebibyte))
    }
    const first = await scene.startTarget({ contentType: 'archive' })
    const cloner = await scene.startCloner({ contentType: 'archive' }, { port: connection.port })
    await until(async () => (await readdir(scene.target)).length > 3, cloner)
    first.kill('SIGKILL')
    await first.finished
    const second = await scene.startTarget({ contentType: 'archive' })
    const ended = await scene.clonerEnd(cloner)
    assert.equal(ended.exitCode, 0, ended.stderr)
    assert.equal((await scene.targetEnd(second)).exitCode, 0)
    await execa('diff', ['-r', scene.source, scene.target])
  })

  it('ends at once when the target is full', { skip: noRoot }, async () => {
    await using scene = await CloneScene.make()
    await using small = await smallFilesystem({ type: 'ext4', sizeBytes: 16 * mebibyte })
    await execa('mount', ['--bind', small.directory, scene.target])
    try {
      await writeFile(join(scene.source, 'file'), randomBytes(20 * mebibyte))
      await scene.startTarget({ contentType: 'archive' })
      const { exitCode, words } = await scene.clonerEnd(await scene.startCloner({ contentType: 'archive' }))
      assert.equal(exitCode, 1)
      assert.match(words, /refuses the clone: .*no space left on device/)
    } finally {
      await execa('umount', [scene.target])
    }
  })

  it('makes no torn copy of a file that somebody writes to', async () => {
    await using scene = await CloneScene.make()
    await using toxiproxy = await startToxiproxy()
    const connection = await toxiproxy.link(scene.port)
    await connection.add({ type: 'bandwidth', stream: 'upstream', attributes: { rate: 8192 } })
    await writeFile(join(scene.source, 'file'), randomBytes(24 * mebibyte))
    const target = await scene.startTarget({ contentType: 'archive' })
    const running = await scene.startCloner({ contentType: 'archive' }, { port: connection.port })
    await until(async () => (await readdir(scene.target)).length > 0, running)
    await using file = await open(join(scene.source, 'file'), 'r+')
    await file.write('torn')
    const { exitCode, words } = await scene.clonerEnd(running)
    assert.equal(exitCode, 1)
    assert.match(words, /file was written to while it was cloned$/)
    await until(async () => (await readdir(scene.target)).length === 0, target)
  })
})

async function socketAt(path: string): Promise<AsyncDisposable> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(path, resolve)
  })
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
      }),
  }
}
