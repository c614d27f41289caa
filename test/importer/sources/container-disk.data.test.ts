import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmod, mkdir, rename, rm, symlink, truncate, writeFile, readFile, link } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, it } from 'node:test'
import { openContainerDisk, releaseContainer } from '../../../importer/sources/container-disk.ts'
import type { ContainerDiskOptions } from '../../../importer/sources/container-disk.ts'
import { ForeignDirectory } from '../../../importer/sources/foreign-directory.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { RangedSource } from '../../../importer/sources/source.ts'
import { silentLog } from '../../../src/log.ts'
import { imageContainer } from '../../fixtures/image-container.ts'
import { noise } from '../../fixtures/images.ts'
import { noRoot } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const never = new AbortController().signal
const log = silentLog()
const disk = noise(700_000, 1)

/** A process as `/proc` shows it, with a root that a test fills. */
class FakeProcess implements AsyncDisposable {
  readonly #place
  readonly pid = '4711'

  private constructor(place: Awaited<ReturnType<typeof tempDir>>) {
    this.#place = place
  }

  static async start(files: Readonly<Record<string, Buffer | string>> = {}, env = ''): Promise<FakeProcess> {
    const made = new FakeProcess(await tempDir('node-pull'))
    await mkdir(join(made.root))
    await mkdir(join(made.path('proc'), made.pid), { recursive: true })
    await symlink(made.root, made.path('proc', made.pid, 'root'))
    await writeFile(made.path('proc', made.pid, 'environ'), env)
    await writeFile(made.path('ready'), `${made.pid}\n`)
    for (const [name, content] of Object.entries(files)) await made.put(name, content)
    return made
  }

  get root(): string {
    return this.path('root')
  }

  path(...names: readonly string[]): string {
    return join(this.#place.path, ...names)
  }

  async put(name: string, content: Buffer | string): Promise<void> {
    await mkdir(dirname(join(this.root, name)), { recursive: true })
    await writeFile(join(this.root, name), content)
  }

  open(options: Partial<ContainerDiskOptions> = {}, signal = never): Promise<RangedSource> {
    const request = { type: 'containerDisk', readyFile: this.path('ready'), doneFile: this.path('done') } as const
    return openContainerDisk({ request, log, procDirectory: this.path('proc'), waitMs: 0, ...options }, signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]()
  }
}

async function contentOf(opening: Promise<RangedSource>): Promise<Buffer> {
  await using source = await opening
  return await readRange(source, { offset: 0, length: source.sizeBytes }, never)
}

describe('the disk of a container on this node', () => {
  for (const name of ['disk/fedora.qcow2', 'disk/deep/er/x', 'disk/ä ö']) {
    it(`is the file ${name}, read by ranges`, async () => {
      await using process = await FakeProcess.start({ [name]: disk, 'etc/passwd': 'root' })
      await using source = await process.open()
      assert.deepEqual([source.kind, source.sizeBytes, source.pinned], ['ranged', disk.length, true])
      assert.ok((await readRange(source, { offset: 5, length: 600_000 }, never)).equals(disk.subarray(5, 600_005)))
      assert.equal(source.name, `the container image (${name})`)
      assert.equal(source.labels, undefined)
    })
  }

  it('brings the labels that the environment of the container asks for', async () => {
    await using process = await FakeProcess.start(
      { 'disk/x': disk },
      'PATH=/bin\0INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=fedora\0KUBEVIRT_IO_BAD=no good\0',
    )
    await using source = await process.open()
    assert.deepEqual(source.labels, { 'instancetype.kubevirt.io/default-preference': 'fedora' })
  })

  it('is a hidden file only if there is nothing else', async () => {
    await using process = await FakeProcess.start({ 'disk/.keep': 'hidden' })
    assert.equal((await contentOf(process.open())).toString(), 'hidden')
    await process.put('disk/x', disk)
    assert.ok((await contentOf(process.open())).equals(disk))
  })

  it('is not one of several', async () => {
    await using process = await FakeProcess.start({ 'disk/a': disk, 'disk/sub/b': disk })
    await assert.rejects(process.open(), {
      code: 'CDI_REGISTRY_NO_DISK',
      message: /^image directory contains more than one file: disk\/(a, disk\/sub\/b|sub\/b, disk\/a)$/,
    })
  })

  it('is missing if there is nothing, or only links, pipes and empty files', async () => {
    await using process = await FakeProcess.start({ 'diskette/x': disk })
    const missing = {
      code: 'CDI_REGISTRY_NO_DISK',
      message: /^Failed to find VM disk image file in the container image: /,
    }
    await assert.rejects(process.open(), missing)
    await process.put('disk/empty', '')
    await symlink('../diskette/x', join(process.root, 'disk/link'))
    execFileSync('mkfifo', [join(process.root, 'disk/pipe')])
    await assert.rejects(process.open(), missing)
    await assert.rejects(process.open(), /disk\/link is a symbolic link/)
    await assert.rejects(process.open(), /disk\/pipe is a named pipe/)
    await assert.rejects(process.open(), /disk\/empty is empty/)
  })

  it('is never found through a symbolic link, wherever the link stands', async () => {
    await using process = await FakeProcess.start()
    const secret = process.path('secret')
    await mkdir(join(secret, 'sub'), { recursive: true })
    await writeFile(join(secret, 'x'), 'a token of ours')
    await writeFile(join(secret, 'sub', 'x'), 'a token of ours')
    const at = (name: string): string => join(process.root, name)
    const traps: readonly (() => Promise<void>)[] = [
      () => symlink(secret, at('disk')),
      () => symlink('../secret', at('disk')),
      async () => {
        await mkdir(at('disk'))
        await symlink(join(secret, 'sub'), at('disk/sub'))
      },
      async () => {
        await mkdir(at('disk'))
        await symlink(join(secret, 'x'), at('disk/x'))
      },
      async () => {
        await mkdir(at('disk'))
        await symlink('/proc/self/environ', at('disk/x'))
      },
    ]
    for (const trap of traps) {
      await rm(at('disk'), { recursive: true, force: true })
      await trap()
      await assert.rejects(process.open(), { code: 'CDI_REGISTRY_NO_DISK', message: /is a symbolic link/ })
    }
  })

  it('is never a file that was swapped for a link while it was opened', async () => {
    await using process = await FakeProcess.start({ 'sub/x': disk, file: disk })
    await writeFile(process.path('secret'), 'a token of ours')
    await using root = await ForeignDirectory.open(process.root)
    const sub = await root.look('sub')
    const file = await root.look('file')
    assert.ok(sub && file)
    for (const name of ['sub', 'file']) await rm(join(process.root, name), { recursive: true })
    await symlink(dirname(process.root), join(process.root, 'sub'))
    await symlink(process.path('secret'), join(process.root, 'file'))
    await assert.rejects(root.directory('sub', sub), { code: 'CDI_SOURCE_CHANGED' })
    await assert.rejects(root.file('file', file), { code: 'CDI_SOURCE_CHANGED' })
    // Another file of the same name is another file.
    await rm(join(process.root, 'file'))
    await writeFile(process.path('other'), disk)
    await rename(process.path('other'), join(process.root, 'file'))
    await assert.rejects(root.file('file', file), { code: 'CDI_SOURCE_CHANGED' })
    for (const name of ['..', 'a/b', '../x']) await assert.rejects(root.look(name), RangeError)
  })

  it('is not read from our own root, whatever the ready file says', async () => {
    await using process = await FakeProcess.start()
    await rm(process.path('proc', process.pid, 'root'))
    await symlink('/', process.path('proc', process.pid, 'root'))
    await assert.rejects(process.open(), { code: 'CDI_SOURCE_UNREACHABLE', message: /not one of another container/ })
    await writeFile(process.path('ready'), '../../..')
    await assert.rejects(process.open(), { code: 'CDI_SOURCE_UNREACHABLE', message: /^Timeout waiting for file / })
  })

  it('is not looked for in a labyrinth', async () => {
    await using process = await FakeProcess.start({ [`disk/${'d/'.repeat(40)}x`]: disk })
    await assert.rejects(process.open(), { code: 'CDI_REGISTRY_NO_DISK', message: /32 directories in one another/ })
  })

  for (const name of ['sysroot', 'ostree']) {
    it(`is not looked for in an image that boots by itself, which has a directory ${name}`, async () => {
      await using process = await FakeProcess.start({ 'disk/x': disk, [`${name}/x`]: 'x' })
      await assert.rejects(process.open(), { code: 'CDI_REGISTRY_BOOTC', message: /^bootc image detected: / })
    })
  }

  it('is waited for', async () => {
    await using process = await FakeProcess.start({ 'disk/x': disk })
    await rename(process.path('ready'), process.path('later'))
    let looks = 0
    const clock = {
      now: () => looks * 200,
      sleep: async () => {
        if (++looks === 3) await rename(process.path('later'), process.path('ready'))
      },
    }
    assert.ok((await contentOf(process.open({ clock, waitMs: 60_000 }))).equals(disk))
    assert.equal(looks, 3)
  })

  it('that does not come in a minute is an error in the words of the contract', async () => {
    await using process = await FakeProcess.start()
    await rm(process.path('ready'))
    let ms = 0
    const clock = { now: () => ms, sleep: (more: number) => Promise.resolve(void (ms += more)) }
    const { message } = (await process.open({ clock, waitMs: 60_000 }).catch((error: unknown) => error)) as Error
    assert.equal(message, `Timeout waiting for file ${process.path('ready')}`)
    assert.ok(ms >= 60_000 && ms < 61_000)
  })

  it('is not waited for any more when that is aborted', async () => {
    await using process = await FakeProcess.start()
    await rm(process.path('ready'))
    const abort = new AbortController()
    const opening = process.open({ waitMs: 60_000 }, abort.signal)
    abort.abort(new Error('enough'))
    await assert.rejects(opening, /^Error: enough$/)
  })

  it('that changes while it is read is an error', async () => {
    await using process = await FakeProcess.start({ 'disk/x': disk })
    await using source = await process.open()
    await truncate(join(process.root, 'disk/x'), 10)
    await assert.rejects(readRange(source, { offset: 0, length: disk.length }, never), { code: 'CDI_SOURCE_CHANGED' })
  })

  it('may be hard linked from elsewhere in the image', async () => {
    await using process = await FakeProcess.start({ 'srv/x': disk, 'disk/sub/.keep': '' })
    await link(join(process.root, 'srv/x'), join(process.root, 'disk/x'))
    assert.ok((await contentOf(process.open())).equals(disk))
  })
})

describe('letting the container of an image go', () => {
  it('makes the done file, once and again', async () => {
    await using dir = await tempDir('done')
    const doneFile = join(dir.path, 'done')
    await releaseContainer({ doneFile })
    await releaseContainer({ doneFile })
    assert.equal(await readFile(doneFile, 'utf8'), '')
  })

  it('does not write through a link that the container has made', async () => {
    await using dir = await tempDir('done')
    await writeFile(join(dir.path, 'disk.img'), 'precious')
    await symlink(join(dir.path, 'disk.img'), join(dir.path, 'done'))
    await releaseContainer({ doneFile: join(dir.path, 'done') })
    assert.equal(await readFile(join(dir.path, 'disk.img'), 'utf8'), 'precious')
  })
})

describe('a real container that holds nothing but a disk', { skip: noRoot }, () => {
  it('is waited for, read through /proc, and let go', async () => {
    await using container = await imageContainer()
    await mkdir(join(container.root, 'disk'))
    await writeFile(join(container.root, 'disk', 'fedora.raw'), disk)
    await chmod(join(container.root, 'disk', 'fedora.raw'), 0o400)
    await container.start({ env: { KUBEVIRT_IO_OS: 'linux' }, afterSeconds: 0.3 })
    const { readyFile, doneFile } = container
    {
      await using source = await openContainerDisk(
        { request: { type: 'containerDisk', readyFile, doneFile }, log },
        never,
      )
      assert.deepEqual(source.labels, { 'kubevirt.io/os': 'linux' })
      assert.ok((await readRange(source, { offset: 0, length: source.sizeBytes }, never)).equals(disk))
    }
    await releaseContainer({ doneFile })
    assert.equal(await container.ended(), 0)
  })

  it('does not lead into our own files by an absolute link', async () => {
    await using container = await imageContainer()
    await mkdir(join(container.root, 'disk'))
    await symlink('/etc/hostname', join(container.root, 'disk', 'x'))
    await container.start()
    const { readyFile, doneFile } = container
    await assert.rejects(openContainerDisk({ request: { type: 'containerDisk', readyFile, doneFile }, log }, never), {
      code: 'CDI_REGISTRY_NO_DISK',
      message: /disk\/x is a symbolic link/,
    })
  })

  it('that was started again is found by its new process', async () => {
    await using container = await imageContainer()
    await mkdir(join(container.root, 'disk'))
    await writeFile(join(container.root, 'disk', 'x'), disk)
    await container.start()
    const { readyFile, doneFile } = container
    const request = { type: 'containerDisk', readyFile, doneFile } as const
    await using first = await openContainerDisk({ request, log }, never)
    container.kill()
    await container.ended()
    await assert.rejects(openContainerDisk({ request, log, waitMs: 100 }, never), {
      code: 'CDI_SOURCE_UNREACHABLE',
      message: /^Timeout waiting for file .*: the container of the image \(process \d+\) has ended$/,
    })
    const again = contentOf(openContainerDisk({ request, log }, never))
    await container.start()
    assert.ok((await again).equals(disk))
    assert.equal(first.sizeBytes, disk.length)
  })
})
