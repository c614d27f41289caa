import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import * as fc from 'fast-check'
import { readLayer } from '../../../../importer/sources/registry/container-disk-layer.ts'
import { openImageDisk } from '../../../../importer/sources/registry/container-disk.ts'
import type { ContainerImage } from '../../../../importer/sources/registry/image.ts'
import { silentLog } from '../../../../src/log.ts'
import { noise, text } from '../../../fixtures/images.ts'
import { memoryImage, memoryLayer, sha256, tarOf } from '../../../fixtures/memory-image.ts'
import type { Entry, LayerOptions, MemoryLayer } from '../../../fixtures/memory-image.ts'

const never = new AbortController().signal
const log = silentLog()
const mib = 1024 * 1024

interface Found {
  readonly name: string
  readonly sizeBytes: number | undefined
  readonly content: Buffer
}

/** Opens the image's disk and reads it to its verified end. */
async function readDisk(image: ContainerImage): Promise<Found> {
  await using source = await openImageDisk({ image, log }, never)
  const pieces: Buffer[] = []
  await source.stream((chunk) => {
    pieces.push(Buffer.from(chunk))
  }, never)
  const { name, sizeBytes } = source
  return { name, sizeBytes, content: Buffer.concat(pieces) }
}

async function layer(...entries: readonly Entry[]): Promise<MemoryLayer> {
  return memoryLayer(gzipSync(await tarOf(...entries), { level: 1 }))
}

const disk = noise(300_000, 1)
const other = noise(300_000, 2)
const directory: Entry = { name: 'disk/', type: 'directory' }
const file = (name: string, content = disk): Entry => ({ name, content })
/** Reads an image of these layers, lowest first, and tells where the disk was. */
async function diskOf(...layers: readonly MemoryLayer[]): Promise<Found> {
  return readDisk(memoryImage({ layers }))
}

async function rejects(reading: Promise<unknown>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(reading, { code, message })
}

describe('the disk in a container image', () => {
  for (const name of [
    'disk/fedora.qcow2',
    './disk/disk.img',
    '/disk/a',
    'disk/deep/er/than usual.raw',
    'disk//./x',
    'disk/ÄÖ',
  ]) {
    it(`is found at ${name}`, async () => {
      const { content, sizeBytes, name: shown } = await diskOf(await layer(directory, file(name)))
      assert.ok(content.equals(disk))
      assert.equal(sizeBytes, disk.length)
      assert.match(shown, /^docker:\/\/registry\.test\/disks\/fedora:42 \(disk\//)
    })
  }

  it('is not a file that is merely called so', async () => {
    const beside = await layer(file('diskette/x', other), file('disk.img', other), file('a/disk/x', other))
    await rejects(
      diskOf(beside),
      'CDI_REGISTRY_NO_DISK',
      /^Failed to read registry image: Failed to find VM disk image file in the container image: /,
    )
    assert.ok((await diskOf(beside, await layer(file('disk/x')))).content.equals(disk))
  })

  it('is told by size, name and version before it is read', async () => {
    const image = memoryImage({
      layers: [await layer(file('disk/x'))],
      config: { env: ['KUBEVIRT_IO_OS=linux', 'PATH=/bin'] },
    })
    await using source = await openImageDisk({ image, log }, never)
    assert.equal(source.sizeBytes, disk.length)
    assert.equal(source.validator, `${image.digest} disk/x`)
    assert.deepEqual(source.labels, { 'kubevirt.io/os': 'linux' })
    assert.ok((await source.peek(never)).equals(disk.subarray(0, (await source.peek(never)).length)))
  })

  it('is not read ahead of whoever wants it', async () => {
    const large = memoryLayer(await tarOf(file('disk/x', noise(24 * mib, 3))))
    await using source = await openImageDisk({ image: memoryImage({ layers: [large] }), log }, never)
    await source.peek(never)
    // Four ranges of 4 MiB wait in memory.
    assert.ok(large.counts.bytes <= 17 * mib, `${large.counts.bytes} bytes were read`)
  })

  it('is that of the uppermost layer which has one', async () => {
    const lower = await layer(file('disk/old.img', other))
    const found = await diskOf(lower, await layer(file('disk/new.img')), await layer(file('etc/passwd')))
    assert.ok(found.content.equals(disk))
    assert.equal(lower.counts.opened, 0)
  })

  it('is the overwriting file, not the overwritten one', async () => {
    assert.ok((await diskOf(await layer(file('disk/x', other)), await layer(file('./disk/x')))).content.equals(disk))
  })

  it('is not one that an upper layer has removed', async () => {
    const old = await layer(file('disk/sub/old.img', other))
    const removals: readonly (readonly [string, Entry[]])[] = [
      ['a whiteout', [{ name: 'disk/sub/.wh.old.img' }]],
      ['a whiteout of its directory', [{ name: './disk/.wh.sub' }]],
      ['a whiteout of all', [{ name: '.wh.disk' }]],
      ['an opaque directory', [directory, { name: 'disk/.wh..wh..opq' }]],
      ['an opaque root', [{ name: '.wh..wh..opq' }]],
      ['a link in its place', [{ name: 'disk/sub/old.img', type: 'symlink', linkname: '/etc/passwd' }]],
      ['a link in place of the directory', [{ name: 'disk', type: 'symlink', linkname: '/data' }]],
      ['a directory in its place', [{ name: 'disk/sub/old.img/', type: 'directory' }]],
    ]
    for (const [how, entries] of removals) {
      const top = await layer(...entries)
      await assert.rejects(diskOf(old, top), { code: 'CDI_REGISTRY_NO_DISK' }, how)
      const below = await layer(file('disk/other.img'), ...entries)
      assert.ok((await diskOf(old, below)).content.equals(disk), how)
    }
  })

  it('is found below a layer that touches other things', async () => {
    const touches: readonly (readonly [string, Entry[]])[] = [
      ['a whiteout of another file', [{ name: 'disk/.wh.other' }]],
      ['a whiteout of a name that begins alike', [{ name: 'disk/.wh.x' }]],
      ['the directory again', [directory]],
      ['an opaque sibling', [{ name: 'disk/sub/.wh..wh..opq' }]],
      ['what AUFS leaves', [{ name: 'disk/.wh..wh.plnk', type: 'directory' }]],
    ]
    for (const [how, entries] of touches) {
      const found = await diskOf(await layer(file('disk/x.img')), await layer(...entries))
      assert.ok(found.content.equals(disk), how)
    }
  })

  it('does not have the layers searched whose files are all hidden', async () => {
    const lower = await layer(file('disk/x'))
    await assert.rejects(diskOf(lower, await layer({ name: '.wh.disk' })))
    assert.equal(lower.counts.opened, 0)
  })

  it('is a hidden file only if there is nothing else', async () => {
    const hidden = file('disk/.gitkeep', other)
    assert.ok((await diskOf(await layer(hidden, file('disk/x')))).content.equals(disk))
    assert.ok((await diskOf(await layer(file('disk/x')), await layer(hidden))).content.equals(disk))
    const found = await diskOf(await layer(file('etc/x')), await layer(hidden), await layer(file('etc/y')))
    assert.ok(found.content.equals(other))
    assert.match(found.name, /\(disk\/\.gitkeep\)$/)
  })

  it('is the first of several, and the others are told', async () => {
    const warnings: unknown[] = []
    const telling = Object.assign(silentLog(), { warn: (facts: unknown) => warnings.push(facts) })
    const image = memoryImage({ layers: [await layer(file('disk/a'), file('disk/b', other), file('disk/c', other))] })
    await using source = await openImageDisk({ image, log: telling }, never)
    await source.stream(() => {}, never)
    assert.match(source.name, /disk\/a/)
    assert.deepEqual(warnings, [{ file: 'disk/b', disk: 'disk/a' }])
  })

  it('is an error if its layer writes it twice', async () => {
    await rejects(diskOf(await layer(file('disk/a', other), file('./disk/a'))), 'CDI_ARCHIVE_INVALID', /disk\/a twice/)
  })

  it('is missing if there are only links, devices and empty files, which the error names', async () => {
    const links = await layer(
      directory,
      { name: 'disk/a', type: 'symlink', linkname: 'b' },
      { name: 'disk/b', type: 'link', linkname: 'elsewhere' },
      { name: 'disk/c', type: 'block-device', devmajor: 8, devminor: 0 },
      { name: 'disk/d' },
    )
    await rejects(
      diskOf(links),
      'CDI_REGISTRY_NO_DISK',
      /container image: .*; disk\/a is a symbolic link; disk\/b is a hard link; disk\/c is a device; disk\/d is empty$/,
    )
  })

  it('is missing in an image without layers', async () => {
    await rejects(diskOf(), 'CDI_REGISTRY_NO_DISK', /no plain file below \/disk/)
  })

  it('is found among forty layers, some of them empty', async () => {
    const empty = layer()
    const layers = await Promise.all(
      Array.from({ length: 40 }, (_, at) =>
        at === 3 ? layer(file('disk/x')) : at % 3 ? layer(file(`srv/${at}`)) : empty,
      ),
    )
    assert.ok((await diskOf(...layers)).content.equals(disk))
    assert.ok(layers.every(({ counts }) => counts.opened === counts.closed))
  })

  it('is found behind layers that are no archives', async () => {
    const junk: readonly (readonly [string, Buffer])[] = [
      ['nothing', Buffer.alloc(0)],
      ['a few bytes', Buffer.from('{}')],
      ['packed few bytes', gzipSync('{}')],
      ['text', text(5000, 1)],
      ['noise', noise(5000, 1)],
      ['a packing that is not supported', Buffer.concat([Buffer.from([0x50, 0x4b, 3, 4]), noise(2000, 1)])],
    ]
    for (const [what, bytes] of junk) {
      const found = await diskOf(await layer(file('disk/x')), memoryLayer(bytes))
      assert.ok(found.content.equals(disk), what)
      await rejects(diskOf(memoryLayer(bytes)), 'CDI_REGISTRY_NO_DISK', /was passed over: /)
    }
  })

  it('is unpacked by what the layer is, not by what its media type says', async () => {
    const tar = await tarOf(file('disk/x'))
    for (const mediaType of ['application/vnd.oci.image.layer.v1.tar', 'application/vnd.oci.image.layer.v1.tar+gzip']) {
      for (const blob of [tar, gzipSync(tar), zstdCompressSync(tar)]) {
        const found = await readDisk(memoryImage({ layers: [memoryLayer(blob, { mediaType })] }))
        assert.ok(found.content.equals(disk))
      }
    }
  })

  it('may lie in a layer with an index behind it, as zstd:chunked and eStargz have', async () => {
    const tar = await tarOf(file('disk/x'))
    const skipped = Buffer.concat([Buffer.from([0x50, 0x2a, 0x4d, 0x18, 100, 0, 0, 0]), noise(100, 6)])
    const chunked = Buffer.concat([zstdCompressSync(tar), skipped, skipped])
    const stargz = Buffer.concat([gzipSync(tar.subarray(0, 512)), gzipSync(tar.subarray(512)), gzipSync('')])
    for (const blob of [chunked, stargz]) assert.ok((await diskOf(memoryLayer(blob))).content.equals(disk))
  })

  it('comes out whole, wherever the bytes are cut', async () => {
    const tar = await tarOf(
      { name: 'etc/', type: 'directory' },
      file('etc/x', text(5000, 1)),
      file('disk/x', text(70_000, 2)),
      file('z'),
    )
    const blobs = [tar, gzipSync(tar)]
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9000 }),
        fc.boolean(),
        fc.integer({ min: 1, max: 4 }),
        async (pieceBytes, packed, parallel) => {
          const image = memoryImage({
            layers: [
              memoryLayer(blobs[Number(packed)]!, { pieceBytes: Math.max(pieceBytes, packed ? 1 : 500), parallel }),
            ],
          })
          assert.ok((await readDisk(image)).content.equals(text(70_000, 2)))
        },
      ),
      { numRuns: 10 },
    )
  })

  it('may come from an archive without the mark of its end', async () => {
    const tar = await tarOf(file('disk/x'))
    assert.ok((await diskOf(memoryLayer(gzipSync(tar.subarray(0, -1024))))).content.equals(disk))
  })
})

describe('a damaged layer', () => {
  const damaged = async (served: (blob: Buffer) => Buffer, options: LayerOptions = {}): Promise<MemoryLayer> => {
    const blob = gzipSync(await tarOf(file('disk/x', noise(900_000, 4)), file('etc/x')))
    return memoryLayer(blob, { ...options, served: served(blob) })
  }
  const flip = (blob: Buffer, at: number): Buffer => {
    const copy = Buffer.from(blob)
    copy[at]! ^= 1
    return copy
  }

  it('is a fault of the transfer when the bytes are not those of the digest', async () => {
    for (const at of [5, 11, 2000, 500_000, 890_000]) {
      await rejects(
        diskOf(await damaged((blob) => flip(blob, at))),
        'CDI_REGISTRY_DIGEST',
        /^Failed to read registry image: layer sha256:[0-9a-f]+ has the digest sha256:/,
      )
    }
  })

  it('is a fault of the image when the digest is right', async () => {
    const blob = gzipSync(await tarOf(file('disk/x', noise(900_000, 4))))
    const tar = await tarOf(file('disk/x', noise(900_000, 4)))
    const cases: readonly (readonly [Buffer, string])[] = [
      [flip(blob, 500_000), 'CDI_DECODE_CORRUPT'],
      [blob.subarray(0, 500_000), 'CDI_DECODE_TRUNCATED'],
      [blob.subarray(0, 100), 'CDI_DECODE_TRUNCATED'],
      [tar.subarray(0, 500_000), 'CDI_ARCHIVE_INVALID'],
      [tar.subarray(0, 700), 'CDI_ARCHIVE_INVALID'],
      [flip(Buffer.concat([tar.subarray(0, 900_608), tar]), 900_700), 'CDI_ARCHIVE_INVALID'],
    ]
    for (const [bytes, code] of cases) {
      await rejects(
        diskOf(memoryLayer(bytes)),
        code,
        /^Failed to read registry image: layer sha256:[0-9a-f]{64} cannot be used: /,
      )
    }
  })

  it('is one whose file is longer than its header says', async () => {
    const tar = await tarOf(file('disk/x', noise(900_000, 4)))
    // 900,000 becomes 32,768, in octal, with the checksum made right again.
    tar.write('00000100000', 124)
    const sum =
      tar.subarray(0, 148).reduce((a, b) => a + b, 8 * 0x20) + tar.subarray(156, 512).reduce((a, b) => a + b, 0)
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    await rejects(diskOf(memoryLayer(tar)), 'CDI_ARCHIVE_INVALID', /the header of an entry is damaged/)
  })

  it('is never passed over, although the disk lies in another one', async () => {
    const lower = await layer(file('disk/x'))
    const blob = gzipSync(await tarOf(file('etc/x', noise(100_000, 1))))
    await rejects(diskOf(lower, memoryLayer(blob.subarray(0, 50_000))), 'CDI_DECODE_TRUNCATED', /cannot be used/)
    await rejects(
      diskOf(lower, memoryLayer(blob, { served: flip(blob, 3) })),
      'CDI_REGISTRY_DIGEST',
      /as it was received/,
    )
    assert.equal(lower.counts.opened, 0)
  })

  it('is noticed behind the disk, at the end of the stream', async () => {
    const tar = await tarOf(file('disk/x', noise(900_000, 4)), file('etc/x', noise(400_000, 5)))
    const served = flip(tar, 1_200_000)
    const image = memoryImage({ layers: [memoryLayer(tar, { served })] })
    await using source = await openImageDisk({ image, log }, never)
    let bytes = 0
    await rejects(
      source.stream((chunk) => {
        bytes += chunk.length
      }, never),
      'CDI_REGISTRY_DIGEST',
      /as it was received/,
    )
    assert.equal(bytes, 900_000)
  })

  it('is noticed even if the damage makes it look like no archive', async () => {
    const tar = await tarOf(file('etc/x'))
    await rejects(diskOf(memoryLayer(tar, { served: flip(tar, 3) })), 'CDI_REGISTRY_DIGEST', /as it was received/)
  })

  it('with a digest of an unknown kind is refused', async () => {
    const tar = await tarOf(file('disk/x'))
    for (const digest of ['md5:00', 'sha256:', 'sha256', 'sha256:00', '']) {
      await rejects(diskOf(memoryLayer(tar, { digest })), 'CDI_REGISTRY_MANIFEST', /digest of a layer/)
    }
  })
})

describe('reading the disk of an image', () => {
  it('stops when it is aborted, and closes everything', async () => {
    const large = memoryLayer(await tarOf(file('disk/x', noise(9 * mib, 3))))
    const image = memoryImage({ layers: [large] })
    const abort = new AbortController()
    await using source = await openImageDisk({ image, log }, never)
    await assert.rejects(
      source.stream(() => abort.abort(new Error('enough')), abort.signal),
      /^Error: enough$/,
    )
    await source[Symbol.asyncDispose]()
    assert.deepEqual([large.counts.closed, image.isClosed], [1, true])
  })

  it('stops while it searches when it is aborted', async () => {
    const abort = new AbortController()
    const large = memoryLayer(await tarOf(file('etc/x', noise(9 * mib, 3))))
    const open: MemoryLayer['open'] = (signal) => {
      setImmediate(() => abort.abort(new Error('enough')))
      return large.open(signal)
    }
    const image = memoryImage({ layers: [await layer(file('disk/x')), { ...large, open }] })
    await assert.rejects(openImageDisk({ image, log }, abort.signal), /^Error: enough$/)
    assert.deepEqual([large.counts.closed, image.isClosed], [1, true])
  })

  it('closes the image when there is no disk', async () => {
    const image = memoryImage({ layers: [] })
    await assert.rejects(openImageDisk({ image, log }, never))
    assert.equal(image.isClosed, true)
  })

  it('passes on what the sink throws as it is, at once', async () => {
    const large = memoryLayer(await tarOf(file('disk/x', noise(40 * mib, 3))))
    const image = memoryImage({ layers: [large] })
    await using source = await openImageDisk({ image, log }, never)
    const full = new Error('no space left')
    await assert.rejects(
      source.stream(() => Promise.reject(full), never),
      (error) => error === full,
    )
    assert.ok(large.counts.bytes < 30 * mib, `${large.counts.bytes} bytes were read`)
  })

  it('holds the blob back while the sink is busy', async () => {
    const large = memoryLayer(gzipSync(await tarOf(file('disk/x', noise(40 * mib, 3))), { level: 0 }))
    await using source = await openImageDisk({ image: memoryImage({ layers: [large] }), log }, never)
    let most = 0
    let taken = 0
    let busy = 0
    await source.stream(async (chunk) => {
      assert.equal((busy += 1), 1)
      await new Promise(setImmediate)
      most = Math.max(most, large.counts.bytes - taken)
      taken += chunk.length
      busy -= 1
    }, never)
    assert.equal(taken, 40 * mib)
    assert.ok(most < 20 * mib, `${most} bytes ahead`)
  })

  it('refuses layers that unpack to absurdly much besides a disk', async () => {
    const zeros = Buffer.alloc(64 * mib)
    const bomb = zstdCompressSync(Buffer.concat([await tarOf(file('etc/x', zeros)), zeros]))
    const handler = { entry: () => Promise.resolve(undefined) }
    await rejects(
      readLayer({ layer: memoryLayer(bomb), handler, limitBytes: 16 * mib }, never),
      'CDI_ARCHIVE_INVALID',
      /cannot be used: it unpacks to more than 16777216 bytes besides a disk/,
    )
  })

  it('refuses names that are absurdly long', async () => {
    await rejects(diskOf(await layer(file(`disk/${'x'.repeat(5000)}`))), 'CDI_ARCHIVE_INVALID', /name of 5005 bytes/)
  })

  it('does not look outside of the image', async () => {
    await rejects(
      diskOf(await layer(file('disk/../../x'), file('../disk/x'))),
      'CDI_REGISTRY_NO_DISK',
      /disk\/x is a name that leads out of the image$/,
    )
  })
})

describe('a bootable container image', () => {
  for (const label of ['containers.bootc', 'ostree.bootable']) {
    it(`is refused by its label ${label}, without a look at its layers`, async () => {
      const only = await layer(file('disk/x'))
      const image = memoryImage({ layers: [only], config: { labels: { [label]: '1' } } })
      await rejects(readDisk(image), 'CDI_REGISTRY_BOOTC', /^Failed to read registry image: bootc image detected: /)
      assert.equal(only.counts.opened, 0)
    })
  }

  it('is not one whose label says no', async () => {
    const image = memoryImage({
      layers: [await layer(file('disk/x'))],
      config: { labels: { 'containers.bootc': '0' } },
    })
    assert.ok((await readDisk(image)).content.equals(disk))
  })
})

describe('an artifact that is a disk', () => {
  const artifact = { type: 'application/vnd.unknown.artifact.v1' }
  const tarType = 'application/vnd.oci.image.layer.v1.tar'
  const titled = (title: string): Pick<LayerOptions, 'annotations'> => ({
    annotations: { 'org.opencontainers.image.title': title },
  })

  it('is its layer as it stands, verified', async () => {
    const blob = gzipSync(disk)
    const image = memoryImage({
      ...artifact,
      layers: [memoryLayer(blob, { mediaType: tarType, ...titled('fedora.raw.gz') })],
    })
    const found = await readDisk(image)
    assert.ok(found.content.equals(blob))
    assert.equal(found.sizeBytes, blob.length)
    assert.match(found.name, /\(fedora\.raw\.gz\)$/)
    const served = Buffer.from(blob)
    served[100]! ^= 1
    const wrong = memoryImage({ ...artifact, layers: [memoryLayer(blob, { served, ...titled('x') })] })
    await rejects(readDisk(wrong), 'CDI_REGISTRY_DIGEST', /as it was received/)
  })

  it('may be a tar, which is then a raw disk', async () => {
    const blob = await tarOf(file('disk/x'))
    const image = memoryImage({
      ...artifact,
      layers: [memoryLayer(blob, { mediaType: tarType, ...titled('backup.tar') })],
    })
    assert.ok((await readDisk(image)).content.equals(blob))
  })

  for (const kind of ['raw+zstd', 'raw+gzip', 'qcow2']) {
    it(`is what KubeVirt exports as ${kind}`, async () => {
      const mediaType = `application/vnd.kubevirt.disk.${kind}`
      const image = memoryImage({
        type: 'application/vnd.kubevirt.virtualmachine.v1',
        layers: [memoryLayer(disk, { mediaType })],
      })
      assert.ok((await readDisk(image)).content.equals(disk))
    })
  }

  it('may have notes beside the disk', async () => {
    const layers = [
      memoryLayer(Buffer.from('read me'), titled('README.md')),
      memoryLayer(disk, titled('Disk.QCOW2')),
      memoryLayer(other, titled('x.sha256')),
    ]
    assert.ok((await readDisk(memoryImage({ ...artifact, layers }))).content.equals(disk))
  })

  it('is refused if it has several disks, or none that can be told', async () => {
    const two = [memoryLayer(disk, titled('a.img')), memoryLayer(other, titled('b.img'))]
    await rejects(
      readDisk(memoryImage({ ...artifact, layers: two })),
      'CDI_REGISTRY_NO_DISK',
      /2 disks.*: a\.img, b\.img$/,
    )
    const none = [memoryLayer(disk, titled('a')), memoryLayer(other, titled('b'))]
    await rejects(
      readDisk(memoryImage({ ...artifact, layers: none })),
      'CDI_REGISTRY_NO_DISK',
      /none is named like a disk: a, b$/,
    )
    const empty = [memoryLayer(Buffer.from('{}'), { mediaType: 'application/vnd.oci.empty.v1+json' })]
    await rejects(readDisk(memoryImage({ ...artifact, layers: empty })), 'CDI_REGISTRY_NO_DISK', /has no content$/)
  })

  it('is searched like an image if its layer is the tar of a directory', async () => {
    const blob = gzipSync(await tarOf(directory, file('disk/x')))
    const options: LayerOptions = {
      mediaType: `${tarType}+gzip`,
      annotations: { 'org.opencontainers.image.title': 'disk', 'io.deis.oras.content.unpack': 'true' },
    }
    assert.ok((await readDisk(memoryImage({ ...artifact, layers: [memoryLayer(blob, options)] }))).content.equals(disk))
  })

  it('is none if it has the configuration of an image, whatever its type', async () => {
    const layers = [await layer(file('disk/x'))]
    const image = memoryImage({ ...artifact, layers, config: { architecture: 'amd64' } })
    assert.ok((await readDisk(image)).content.equals(disk))
  })

  it('takes the name from the digest if nobody gave it one', async () => {
    const image = memoryImage({ ...artifact, layers: [memoryLayer(disk, { mediaType: 'application/octet-stream' })] })
    assert.match((await readDisk(image)).name, new RegExp(`application/octet-stream ${sha256(disk)}`))
  })
})
