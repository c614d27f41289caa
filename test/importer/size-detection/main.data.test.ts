import { strict as assert } from 'node:assert'
import { mkdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { imagePathOf } from '../../../importer/size-detection/main.ts'
import { sizeDetectionArgs } from '../../../src/api/cloner-env.ts'
import { loopDevice, noRoot } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'
import { cdi } from '../e2e/support/cdi.ts'

const program = join(import.meta.dirname, 'worker.ts')

interface Said {
  readonly exitCode: number
  readonly words: string
}

async function detect(args: readonly string[], { directory }: { directory: string }): Promise<Said> {
  const log = join(directory, 'termination-log')
  await writeFile(log, '')
  const { exitCode } = await cdi([log, ...args], { program })
  return { exitCode, words: await readFile(log, 'utf8') }
}

describe('size detection', () => {
  it('tells the virtual size of a disk in decimal bytes', async () => {
    await using place = await tempDir('size')
    const path = join(place.path, 'disk.img')
    await writeFile(path, '')
    await truncate(path, 67_108_864)
    assert.deepEqual(await detect(sizeDetectionArgs({ imagePath: path }), { directory: place.path }), {
      exitCode: 0,
      words: '67108864',
    })
  })

  it('takes a disk for raw, whatever a guest has written to its beginning', async () => {
    await using place = await tempDir('size')
    const path = join(place.path, 'disk.img')
    // The header of a qcow2 image of 1 EiB.
    const header = Buffer.alloc(1024 * 1024)
    Buffer.from('514649fb000000030000000000000000000000000000001010000000000000', 'hex').copy(header)
    await writeFile(path, header)
    const { words } = await detect(['-image-path', path], { directory: place.path })
    assert.equal(words, '1048576')
  })

  it('tells the size of a device', { skip: noRoot }, async () => {
    await using place = await tempDir('size')
    await using device = await loopDevice({ sizeBytes: 3 * 1024 * 1024 })
    const { words } = await detect([`--image-path=${device.path}`], { directory: place.path })
    assert.equal(words, '3145728')
  })

  it('ends with 1 for arguments that make no sense', async () => {
    await using place = await tempDir('size')
    for (const args of [[], ['-image-path'], ['-image-path='], ['/data/disk.img'], ['-image-path', 'a', 'b']]) {
      assert.throws(() => imagePathOf(args))
    }
    assert.equal((await detect([], { directory: place.path })).exitCode, 1)
  })

  it('ends with 2 for what is no disk', async () => {
    await using place = await tempDir('size')
    const path = join(place.path, 'disk.img')
    await mkdir(path)
    assert.deepEqual(await detect(['-image-path', path], { directory: place.path }), { exitCode: 2, words: '' })
    await rm(path, { recursive: true })
    await symlink('/etc/hostname', path)
    assert.equal((await detect(['-image-path', path], { directory: place.path })).exitCode, 2)
    await rm(path)
    await writeFile(path, '')
    assert.equal((await detect(['-image-path', path], { directory: place.path })).exitCode, 2)
  })

  it('ends with 3 where there is nothing', async () => {
    await using place = await tempDir('size')
    const { exitCode } = await detect(['-image-path', join(place.path, 'disk.img')], { directory: place.path })
    assert.equal(exitCode, 3)
  })

  it('ends with 4 when nobody could hear the answer', async () => {
    await using place = await tempDir('size')
    const path = join(place.path, 'disk.img')
    await writeFile(path, 'content')
    const { exitCode } = await cdi([join(place.path, 'nowhere/log'), '-image-path', path], { program })
    assert.equal(exitCode, 4)
  })
})
