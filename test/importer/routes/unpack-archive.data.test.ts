import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmod,
  link,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readFile,
  readdir,
  readlink,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { buffer } from 'node:stream/consumers'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { pack } from 'tar-stream'
import type { Header } from 'tar-stream'
import type { Encoding } from '../../../importer/formats/decoder.ts'
import { discardDirectory, unpackArchive } from '../../../importer/routes/unpack-archive.ts'
import type { UnpackArchiveOptions } from '../../../importer/routes/unpack-archive.ts'
import type { Source } from '../../../importer/sources/source.ts'
import { silentLog } from '../../../src/log.ts'

type EntryHeader = Partial<Header> & Pick<Header, 'name'>

let root: string
before(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'cdi-archive-'))
})
after(() => discardDirectory(root).then(() => rm(root, { recursive: true })))

const newDirectory = (): Promise<string> => mkdtemp(path.join(root, 'd-'))

function sourceOf(bytes: Buffer, kind: 'ranged' | 'forward' = 'ranged'): Source {
  const facts = { name: 'archive', [Symbol.asyncDispose]: () => Promise.resolve() }
  const feed = async (sink: (chunk: Buffer) => void | Promise<void>): Promise<void> => {
    for (let at = 0; at < bytes.length; at += 10_001) await sink(Buffer.from(bytes.subarray(at, at + 10_001)))
  }
  return kind === 'ranged'
    ? { ...facts, kind, sizeBytes: bytes.length, pinned: true, parallel: 1, stream: (_range, sink) => feed(sink) }
    : { ...facts, kind, peek: () => Promise.resolve(bytes.subarray(0, 65_536)), stream: (sink) => feed(sink) }
}

async function unpackInto(directory: string, archive: Buffer, more: Partial<UnpackArchiveOptions> = {}): Promise<void> {
  const signal = AbortSignal.timeout(60_000)
  await unpackArchive({ source: sourceOf(archive), encodings: [], directory, signal, log: silentLog(), ...more })
}

async function makeTar(entries: readonly (EntryHeader & { content?: string })[]): Promise<Buffer> {
  const packing = pack()
  for (const { content, ...header } of entries) packing.entry(header, content ?? '')
  packing.finalize()
  return buffer(packing)
}

interface Found {
  readonly type: string
  readonly mode: string
  readonly mtime: number
  readonly what: string
  readonly links: number
}

/** Everything in a tree: type, mode, time, and content, link target or nothing. */
async function listTree(directory: string, prefix = ''): Promise<Record<string, Found>> {
  const all: Record<string, Found> = {}
  for (const name of (await readdir(directory)).sort()) {
    const at = path.join(directory, name)
    const facts = await lstat(at)
    const isLink = facts.isSymbolicLink()
    const isDirectory = facts.isDirectory()
    all[prefix + name] = {
      type: isLink ? 'link' : isDirectory ? 'directory' : 'file',
      mode: isLink ? '' : (facts.mode & 0o7777).toString(8),
      mtime: Math.floor(facts.mtimeMs / 1000),
      what: isLink ? await readlink(at) : isDirectory ? '' : `${facts.size} ${await digestOf(at)}`,
      links: isDirectory ? 0 : facts.nlink,
    }
    if (isDirectory) Object.assign(all, await listTree(at, `${prefix}${name}/`))
  }
  return all
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  await using handle = await open(file)
  for await (const chunk of handle.createReadStream({ autoClose: false })) hash.update(chunk as Buffer)
  return hash.digest('hex')
}

const tar = (directory: string, ...options: string[]): Buffer =>
  execFileSync('tar', ['-C', directory, '-c', ...options, '.'], { maxBuffer: 2 ** 28 })

/** What GNU tar makes of the archive. */
async function unpackedByGnuTar(archive: Buffer): Promise<Record<string, Found>> {
  const directory = await newDirectory()
  execFileSync('tar', ['-C', directory, '-xp', '--no-same-owner'], { input: archive })
  return listTree(directory)
}

/** A tree with everything that an archive may hold. */
async function makeTree(): Promise<string> {
  const tree = await newDirectory()
  const long = path.join(...Array.from({ length: 12 }, (_, index) => `${index}-${'long'.repeat(10)}`))
  await mkdir(path.join(tree, long), { recursive: true })
  await writeFile(path.join(tree, long, 'f'.repeat(200)), 'deep')
  await writeFile(path.join(tree, 'disk.img'), Buffer.alloc(3_000_000, 'disk'))
  await writeFile(path.join(tree, 'ünïcode 日本'), 'name')
  await writeFile(path.join(tree, 'empty'), '')
  await writeFile(path.join(tree, 'private'), 'x', { mode: 0o600 })
  await writeFile(path.join(tree, 'script'), '#!/bin/sh\n', { mode: 0o755 })
  await link(path.join(tree, 'script'), path.join(tree, 'same-script'))
  await symlink('script', path.join(tree, 'to-script'))
  await symlink('/etc/passwd', path.join(tree, 'to-elsewhere'))
  await symlink('../'.repeat(60), path.join(tree, 'far'))
  await mkdir(path.join(tree, 'closed'))
  await writeFile(path.join(tree, 'closed', 'inside'), 'read only')
  await mkdir(path.join(tree, 'sticky'))
  await chmod(path.join(tree, 'sticky'), 0o1777)
  await utimes(path.join(tree, 'script'), 1_234_567_890, 1_234_567_890)
  await utimes(path.join(tree, 'closed'), 1_111_111_111, 1_111_111_111)
  await chmod(path.join(tree, 'closed'), 0o555)
  return tree
}

describe('unpacking an archive', { timeout: 300_000 }, () => {
  for (const format of ['gnu', 'oldgnu', 'pax', 'ustar', 'v7']) {
    it(`gives what GNU tar gives: names, content, modes, times and links (${format})`, async () => {
      const tree = await makeTree()
      // ustar and v7 have no place for long names.
      const short = format === 'ustar' || format === 'v7' ? ['--exclude=./0-*', '--exclude=./far'] : []
      const archive = tar(tree, `--format=${format}`, ...short)
      const directory = await newDirectory()
      await unpackInto(directory, archive)
      assert.deepEqual(await listTree(directory), await unpackedByGnuTar(archive))
    })
  }

  for (const options of [
    ['--format=gnu'],
    ['--format=pax', '--sparse-version=0.0'],
    ['--format=pax', '--sparse-version=0.1'],
    ['--format=pax', '--sparse-version=1.0'],
  ]) {
    it(`sparse tar entries are expanded, never condensed (${options.join(' ')})`, async () => {
      const tree = await newDirectory()
      // Many pieces (an old GNU header holds four), a file that is one hole, one that ends in data, one that begins with it.
      await using many = await open(path.join(tree, 'many'), 'w')
      for (let index = 0; index < 60; index++) await many.write(`piece ${index}`, index * 1024 * 1024 + 12_288)
      await many.truncate(64 * 1024 * 1024)
      await using hole = await open(path.join(tree, 'hole'), 'w')
      await hole.truncate(5_000_001)
      await using tail = await open(path.join(tree, 'tail'), 'w')
      await tail.write(Buffer.alloc(70_000, 'end'), 0, 70_000, 9_000_000)
      await using head = await open(path.join(tree, 'head'), 'w')
      await head.write(Buffer.alloc(70_000, 'begin'), 0, 70_000, 0)
      await head.truncate(2_000_000)
      await writeFile(path.join(tree, 'zzz'), 'an ordinary file behind them')
      const archive = tar(tree, '--sparse', ...options)
      assert.ok(archive.length < 4_000_000, 'the archive is not sparse')

      const directory = await newDirectory()
      await unpackInto(directory, archive)
      assert.deepEqual(await listTree(directory), await listTree(tree))
      const { blocks, size } = await lstat(path.join(directory, 'many'))
      assert.equal(size, 64 * 1024 * 1024)
      assert.ok(blocks * 512 < 8 * 1024 * 1024, 'the holes were filled')
    })
  }

  const encodings: Record<Encoding, (data: Buffer) => Buffer> = {
    gzip: gzipSync,
    zstd: zstdCompressSync,
    xz: (data) => execFileSync('xz', ['-1c'], { input: data, maxBuffer: 2 ** 28 }),
  }
  for (const [encoding, packer] of Object.entries(encodings)) {
    it(`takes tar inside of ${encoding}, from a source that can only be read forward, and feeds the digest with what was downloaded`, async () => {
      const packed = packer(tar(await makeTree()))
      const directory = await newDirectory()
      const hash = createHash('sha256')
      let bytes = 0
      await unpackInto(directory, packed, {
        source: sourceOf(packed, 'forward'),
        encodings: [encoding as Encoding],
        digest: { update: (chunk) => void hash.update(chunk) },
        onBytes: (count) => (bytes += count),
      })
      assert.equal((await readFile(path.join(directory, 'disk.img'))).length, 3_000_000)
      assert.equal(hash.digest('hex'), createHash('sha256').update(packed).digest('hex'))
      assert.equal(bytes, packed.length)
    })
  }

  it('keeps mode and owner of the volume when the archive has an entry "./"', async () => {
    const directory = await newDirectory()
    await chmod(directory, 0o775)
    await unpackInto(
      directory,
      await makeTar([
        { name: './', type: 'directory', mode: 0o700 },
        { name: './a', content: 'a' },
      ]),
    )
    assert.equal((await lstat(directory)).mode & 0o777, 0o775)
    assert.deepEqual(await readdir(directory), ['a'])
  })

  it('lets lost+found alone, whatever the archive holds of that name', async () => {
    const directory = await newDirectory()
    await mkdir(path.join(directory, 'lost+found'), 0o700)
    await unpackInto(
      directory,
      await makeTar([
        { name: 'lost+found/', type: 'directory', mode: 0o777 },
        { name: 'lost+found/x', content: 'x' },
        { name: 'a', content: 'a' },
      ]),
    )
    assert.deepEqual((await readdir(directory)).sort(), ['a', 'lost+found'])
    assert.deepEqual(await readdir(path.join(directory, 'lost+found')), [])
  })

  it('leaves nothing of what an earlier attempt has left, and never writes into it', async () => {
    const [directory, elsewhere] = [await newDirectory(), await newDirectory()]
    await writeFile(path.join(directory, 'a'), 'a much longer old content')
    await link(path.join(directory, 'a'), path.join(elsewhere, 'other-name'))
    await symlink(path.join(elsewhere, 'other-name'), path.join(directory, 'b'))
    await mkdir(path.join(directory, 'c'), 0o500)
    await writeFile(path.join(directory, 'of the archive that came before'), 'x')
    await unpackInto(
      directory,
      await makeTar([
        { name: 'a', content: 'new' },
        { name: 'b', content: 'new' },
        { name: 'c/', type: 'directory', mode: 0o700 },
        { name: 'c/d', content: 'new' },
      ]),
    )
    for (const name of ['a', 'b', 'c/d']) assert.equal(await readFile(path.join(directory, name), 'utf8'), 'new')
    assert.equal((await lstat(path.join(directory, 'b'))).isFile(), true)
    assert.deepEqual((await readdir(directory)).toSorted(), ['a', 'b', 'c'])
    assert.equal(await readFile(path.join(elsewhere, 'other-name'), 'utf8'), 'a much longer old content')
  })

  it('takes absolute names as relative to the volume', async () => {
    const directory = await newDirectory()
    await unpackInto(directory, await makeTar([{ name: '/cdi-absolute/file', content: 'x' }]))
    assert.equal(await readFile(path.join(directory, 'cdi-absolute/file'), 'utf8'), 'x')
  })

  it('drops set-user-ID and set-group-ID, since the owner is not kept', async () => {
    const directory = await newDirectory()
    await unpackInto(directory, await makeTar([{ name: 'su', mode: 0o6755, content: 'x' }]))
    assert.equal((await lstat(path.join(directory, 'su'))).mode & 0o7777, 0o755)
  })

  it('leaves out devices and fifos and unpacks the rest', async () => {
    const directory = await newDirectory()
    await unpackInto(
      directory,
      await makeTar([
        { name: 'null', type: 'character-device', devmajor: 1, devminor: 3 },
        { name: 'sda', type: 'block-device', devmajor: 8, devminor: 0 },
        { name: 'pipe', type: 'fifo' },
        { name: 'file', content: 'x' },
      ]),
    )
    assert.deepEqual(await readdir(directory), ['file'])
  })
})

describe('an archive that is refused', { timeout: 300_000 }, () => {
  /** Unpacks into a directory beside a secret; afterwards directory must be empty and the secret untouched. */
  async function assertRefused(archive: Buffer, code: string, more: Partial<UnpackArchiveOptions> = {}): Promise<void> {
    const outside = await newDirectory()
    const secret = path.join(outside, 'secret')
    await writeFile(secret, 'untouched')
    const directory = path.join(outside, 'volume')
    await mkdir(path.join(directory, 'lost+found'), { recursive: true })
    await assert.rejects(unpackInto(directory, archive, more), (error: { code: string; message: string }) => {
      assert.equal(error.code, code, error.message)
      assert.match(error.message, /^unable to untar files from endpoint: /)
      return true
    })
    assert.deepEqual(await readdir(directory), ['lost+found'])
    assert.equal(await readFile(secret, 'utf8'), 'untouched')
    assert.deepEqual((await readdir(outside)).sort(), ['secret', 'volume'])
  }

  const unsafe: Record<string, (EntryHeader & { content?: string })[]> = {
    'climbs out by its name': [{ name: '../secret', content: 'evil' }],
    'climbs out in the middle of its name': [{ name: 'a/../../secret', content: 'evil' }],
    'climbs out by an absolute name': [{ name: '/../secret', content: 'evil' }],
    'writes through a symbolic link': [
      { name: 'a', type: 'symlink', linkname: '..' },
      { name: 'a/secret', content: 'evil' },
    ],
    'makes a directory through a symbolic link': [
      { name: 'a', type: 'symlink', linkname: '..' },
      { name: 'a/b/', type: 'directory' },
    ],
    'writes through a chain of links': [
      { name: 'd/', type: 'directory' },
      { name: 'd/up', type: 'symlink', linkname: '../..' },
      { name: 'd/up/secret', content: 'evil' },
    ],
    'links to a file outside by its name': [{ name: 'a', type: 'link', linkname: '../secret' }],
    'links to a file outside through a symbolic link': [
      { name: 'a', type: 'symlink', linkname: '..' },
      { name: 'b', type: 'link', linkname: 'a/secret' },
    ],
    'takes the place of the volume': [{ name: './', type: 'symlink', linkname: '/etc' }],
  }
  for (const [what, entries] of Object.entries(unsafe)) {
    it(`${what}: unsafe, and nothing of it is kept`, async () => {
      await assertRefused(await makeTar([{ name: 'good', content: 'x' }, ...entries]), 'CDI_ARCHIVE_UNSAFE')
    })
  }

  it('replaces a symbolic link of the same name instead of writing through it', async () => {
    const directory = await newDirectory()
    const secret = path.join(await newDirectory(), 'secret')
    await writeFile(secret, 'untouched')
    await unpackInto(
      directory,
      await makeTar([
        { name: 'a', type: 'symlink', linkname: secret },
        { name: 'a', content: 'mine' },
      ]),
    )
    assert.equal(await readFile(secret, 'utf8'), 'untouched')
    assert.equal(await readFile(path.join(directory, 'a'), 'utf8'), 'mine')
  })

  it('is no tar at all', async () => {
    await assertRefused(Buffer.alloc(100_000, 'not a tar'), 'CDI_ARCHIVE_INVALID')
  })

  it('ends in the middle', async () => {
    const archive = tar(await makeTree())
    await assertRefused(archive.subarray(0, archive.length >> 1), 'CDI_ARCHIVE_INVALID')
  })

  it('ends in the middle of its compressed data', async () => {
    const packed = gzipSync(tar(await makeTree()))
    await assertRefused(packed.subarray(0, packed.length - 10), 'CDI_DECODE_TRUNCATED', {
      source: sourceOf(packed.subarray(0, packed.length - 10)),
      encodings: ['gzip'],
    })
  })

  it('has more entries than anybody means', async () => {
    const archive = await makeTar(Array.from({ length: 20 }, (_, index) => ({ name: `file-${index}` })))
    await assertRefused(archive, 'CDI_ARCHIVE_INVALID', { limits: { entries: 10, directories: 10 } })
    const deep = await makeTar([{ name: Array.from({ length: 20 }, () => 'd').join('/') }])
    await assertRefused(deep, 'CDI_ARCHIVE_INVALID', { limits: { entries: 10, directories: 10 } })
  })

  it('has a hard link to nothing', async () => {
    await assertRefused(await makeTar([{ name: 'a', type: 'link', linkname: 'b' }]), 'CDI_ARCHIVE_INVALID')
  })

  it('is larger than the volume', async () => {
    const directory = await newDirectory()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory])
    try {
      await assert.rejects(unpackInto(directory, await makeTar([{ name: 'a', content: 'x'.repeat(3_000_000) }])), {
        code: 'CDI_TARGET_FULL',
        message: /no space left on device/,
      })
      assert.deepEqual(await readdir(directory), [])
    } finally {
      execFileSync('umount', [directory])
    }
  })

  it('meets a directory that is not empty where that was ruled out: nothing is touched', async () => {
    const directory = await newDirectory()
    await writeFile(path.join(directory, 'mine'), 'precious')
    const archive = await makeTar([{ name: '../evil' }])
    await assert.rejects(unpackInto(directory, archive, { requireEmpty: true }), { code: 'CDI_TARGET_INVALID' })
    assert.equal(await readFile(path.join(directory, 'mine'), 'utf8'), 'precious')
  })

  it('comes from a source that fails: its own error is shown, and nothing is kept', async () => {
    const directory = await newDirectory()
    const archive = tar(await makeTree())
    const fault = new Error('connection lost')
    const source = sourceOf(archive) as Extract<Source, { kind: 'ranged' }>
    const failing: Extract<Source, { kind: 'ranged' }> = {
      ...source,
      async stream(_range, sink) {
        await sink(archive.subarray(0, 1_000_000))
        throw fault
      },
    }
    await assert.rejects(unpackInto(directory, archive, { source: failing }), (error: Error) => error.cause === fault)
    assert.deepEqual(await readdir(directory), [])
  })
})
