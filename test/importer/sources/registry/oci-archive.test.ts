import assert from 'node:assert/strict'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { readRange } from '../../../../importer/sources/source.ts'
import { CdiError } from '../../../../src/errors.ts'
import {
  artifact,
  blob,
  diskLayer,
  image,
  index,
  json,
  layoutEntries,
  mediaTypes,
  sha256,
  tarOf,
  writeArchive,
} from '../../../fixtures/container-images.ts'
import type { Blob, Content, LayerEntry } from '../../../fixtures/container-images.ts'
import { noise } from '../../../fixtures/images.ts'
import { openImage, readLayer } from '../../../fixtures/open-image.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'

const never = new AbortController().signal
let dir: TempDir
let layer: Blob
let amd64: Content
let arm64: Content
let archives = 0

before(async () => {
  dir = await tempDir('archive')
  layer = await diskLayer(noise(700_000, 1))
  amd64 = image({ layers: [layer], env: ['A=b'], labels: { c: 'd' } })
  arm64 = image({ layers: [await diskLayer(noise(1000, 2))], architecture: 'arm64' })
})
after(() => dir[Symbol.asyncDispose]())

function newPath(): string {
  archives += 1
  return join(dir.path, `${archives}.tar`)
}

async function archive(images: Readonly<Record<string, Content>>): Promise<string> {
  const path = newPath()
  await writeArchive(path, images)
  return path
}

async function archiveOf(entries: readonly LayerEntry[]): Promise<string> {
  const path = newPath()
  await writeFile(path, await tarOf(entries))
  return path
}

/** The entries of a layout with some of them changed; undefined takes one away. */
function changed(change: (entry: LayerEntry) => LayerEntry | undefined): Promise<string> {
  const entries = layoutEntries({ '': amd64 }).map(change)
  return archiveOf(entries.filter((entry) => entry !== undefined))
}

describe('images in OCI archives', () => {
  it('gives manifest, configuration and layers in place', async () => {
    await using opened = await openImage(`oci-archive:${await archive({ '': amd64 })}`)
    assert.equal(opened.digest, amd64.manifest.digest)
    assert.equal(opened.type, mediaTypes.ociConfig)
    assert.deepEqual(opened.config, { architecture: 'amd64', env: ['A=b'], labels: { c: 'd' } })
    const [only] = opened.layers
    assert.ok(only !== undefined && opened.layers.length === 1)
    assert.equal(only.mediaType, layer.mediaType)
    assert.deepEqual(await readLayer(only), layer.bytes)
    await using source = await only.open(never)
    assert.equal(source.validator, layer.digest)
    const piece = await readRange(source, { offset: 1000, length: 300_000 }, never)
    assert.deepEqual(piece, layer.bytes.subarray(1000, 301_000))
    await assert.rejects(readRange(source, { offset: source.sizeBytes - 1, length: 2 }, never), RangeError)
  })

  it('finds an image by its reference', async () => {
    const path = await archive({ one: amd64, 'quay.io/a/b:two': arm64 })
    await using opened = await openImage(`oci-archive:${path}:quay.io/a/b:two`)
    assert.equal(opened.digest, arm64.manifest.digest)
  })

  it('lists the references if there are several or the wanted one is missing', async () => {
    const path = await archive({ one: amd64, two: arm64 })
    await assert.rejects(openImage(`oci-archive:${path}`), {
      code: 'CDI_REGISTRY_PULL',
      message: /failed to pull image: the archive has 2 images to choose from.*"one", "two"/,
    })
    await assert.rejects(openImage(`oci-archive:${path}:three`), {
      code: 'CDI_REGISTRY_PULL',
      message: /failed to pull image: the archive has no image "three"; it has "one", "two"/,
    })
  })

  it('chooses by architecture, from an index in the archive and from index.json itself', async () => {
    const nested = await archive({ all: index([amd64, arm64]) })
    await using fromNested = await openImage(`oci-archive:${nested}:all`, { architecture: 'arm64' })
    assert.equal(fromNested.digest, arm64.manifest.digest)
    const members = index([amd64, arm64]).manifest.bytes
    const entries = layoutEntries({ a: amd64, b: arm64 })
    const flat = await archiveOf(entries.map((one) => (one.name === 'index.json' ? { ...one, data: members } : one)))
    await using fromFlat = await openImage(`oci-archive:${flat}`, { architecture: 'arm64' })
    assert.equal(fromFlat.digest, arm64.manifest.digest)
  })

  it('gives artifacts an empty configuration and their own type', async () => {
    const disk = blob('application/vnd.kubevirt.disk.raw+zstd', noise(5000, 3))
    for (const [content, type] of [
      [artifact({ layers: [disk], artifactType: 'application/vnd.kubevirt.disk' }), 'application/vnd.kubevirt.disk'],
      [artifact({ layers: [disk], configType: 'application/vnd.acme.config' }), 'application/vnd.acme.config'],
    ] as const) {
      await using opened = await openImage(`oci-archive:${await archive({ '': content })}`, { architecture: 'arm64' })
      assert.equal(opened.type, type)
      assert.deepEqual(opened.config, { env: [], labels: {} })
      assert.deepEqual(await readLayer(opened.layers[0]!), disk.bytes)
    }
  })

  it('finds names behind ./, in pax headers and behind hard links', async () => {
    const entries = layoutEntries({ '': amd64 })
    const long = `${'d/'.repeat(120)}file`
    const blobs = entries.filter(({ name, type }) => name.startsWith('blobs/') && type === undefined)
    const rest = entries.filter((entry) => !blobs.includes(entry))
    const path = await archiveOf([
      { name: long, data: noise(1000, 4) },
      ...rest.map((entry) => ({ ...entry, name: `./${entry.name}` })),
      ...blobs.map(({ name, data }) => ({ name: `${long}/${name}`, data: data ?? Buffer.alloc(0) })),
      ...blobs.map(({ name }) => ({ name, type: 'link' as const, linkname: `${long}/${name}` })),
    ])
    await using opened = await openImage(`oci-archive:${path}`)
    assert.deepEqual(await readLayer(opened.layers[0]!), layer.bytes)
  })

  it('refuses a lone image of another architecture than the wanted one', async () => {
    await assert.rejects(openImage(`oci-archive:${await archive({ '': amd64 })}`, { architecture: 'arm64' }), {
      code: 'CDI_REGISTRY_PLATFORM',
      message:
        'Failed to read registry image: Error validating architecture: ' +
        `manifest image architecture: "amd64" doesn't match requested architecture: "arm64"`,
    })
  })

  for (const [what, change, code, why] of [
    [
      'a manifest with another digest',
      (entry) => (entry.name === nameOf(amd64.manifest) ? { ...entry, data: flipped(amd64.manifest.bytes) } : entry),
      'CDI_REGISTRY_DIGEST',
      /instead of sha256:/,
    ],
    [
      'a configuration with another digest',
      (entry) => (entry.name === nameOf(amd64.blobs[0]!) ? { ...entry, data: flipped(entry.data!) } : entry),
      'CDI_REGISTRY_DIGEST',
      /instead of sha256:/,
    ],
    [
      'a configuration of another length',
      (entry) => (entry.name === nameOf(amd64.blobs[0]!) ? { ...entry, data: Buffer.alloc(3) } : entry),
      'CDI_REGISTRY_DIGEST',
      /has 3 bytes instead of/,
    ],
    [
      'a manifest that is not there',
      (entry) => (entry.name === nameOf(amd64.manifest) ? undefined : entry),
      'CDI_REGISTRY_MANIFEST',
      /blob sha256:.* is missing in the archive/,
    ],
    [
      'no index.json',
      (entry) => (entry.name === 'index.json' ? undefined : entry),
      'CDI_REGISTRY_MANIFEST',
      /no OCI layout/,
    ],
    [
      'an old docker-archive',
      (entry) => (entry.name === 'index.json' ? { ...entry, name: 'manifest.json' } : entry),
      'CDI_REGISTRY_MANIFEST',
      /docker save.*skopeo copy docker-archive:/,
    ],
    [
      'an unknown layout',
      (entry) => (entry.name === 'oci-layout' ? { ...entry, data: json({ imageLayoutVersion: '2.0.0' }) } : entry),
      'CDI_REGISTRY_MANIFEST',
      /unknown version/,
    ],
    [
      'an index.json without images',
      (entry) => (entry.name === 'index.json' ? { ...entry, data: json({ schemaVersion: 2, manifests: [] }) } : entry),
      'CDI_REGISTRY_PULL',
      /failed to pull image: the archive has no image$/,
    ],
    [
      'an index.json that is huge',
      (entry) => (entry.name === 'index.json' ? { ...entry, data: Buffer.alloc(5_000_000, ' ') } : entry),
      'CDI_REGISTRY_MANIFEST',
      /absurdly large/,
    ],
  ] as readonly (readonly [string, (entry: LayerEntry) => LayerEntry | undefined, string, RegExp])[]) {
    it(`refuses ${what}`, async () => {
      const path = await changed((entry) => change(entry))
      await assert.rejects(openImage(`oci-archive:${path}`), { code, message: why })
    })
  }

  it('refuses a layer that is missing or of another length when it is opened', async () => {
    for (const [data, code] of [
      [undefined, 'CDI_REGISTRY_MANIFEST'],
      [Buffer.alloc(7), 'CDI_REGISTRY_DIGEST'],
    ] as const) {
      const path = await changed((entry) => {
        if (entry.name !== nameOf(layer)) return entry
        return data === undefined ? undefined : { ...entry, data }
      })
      await using opened = await openImage(`oci-archive:${path}`)
      await assert.rejects(async () => opened.layers[0]?.open(never), { code })
    }
  })

  it('follows indexes in indexes once, and no deeper', async () => {
    const twice = index([{ ...index([amd64]), platform: { os: 'linux', architecture: 'amd64' } }])
    await using opened = await openImage(`oci-archive:${await archive({ '': twice })}`, { architecture: 'amd64' })
    assert.equal(opened.digest, amd64.manifest.digest)
    const thrice = index([{ ...twice, platform: { os: 'linux', architecture: 'amd64' } }])
    await assert.rejects(openImage(`oci-archive:${await archive({ '': thrice })}`, { architecture: 'amd64' }), {
      code: 'CDI_REGISTRY_MANIFEST',
      message: /nested too deeply/,
    })
  })

  it('refuses files that are no archive, packed, cut or not there', async () => {
    const whole = await readFile(await archive({ '': amd64 }))
    const packed = newPath()
    await writeFile(packed, gzipSync(whole))
    await assert.rejects(openImage(`oci-archive:${packed}`), {
      code: 'CDI_ENCODING_UNSUPPORTED',
      message: /packed with gzip; unpack it first/,
    })
    const cut = newPath()
    await writeFile(cut, whole)
    await truncate(cut, whole.length - 100_000)
    await assert.rejects(openImage(`oci-archive:${cut}`), {
      code: 'CDI_ARCHIVE_INVALID',
      message: /ends in the middle/,
    })
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(100, 1), noise(10_000, 6)]) {
      const path = newPath()
      await writeFile(path, bytes)
      await assert.rejects(openImage(`oci-archive:${path}`), { code: 'CDI_ARCHIVE_INVALID' })
    }
    await assert.rejects(openImage(`oci-archive:${newPath()}`), { code: 'CDI_SOURCE_UNREACHABLE' })
  })

  it('refuses more entries than any image has', async () => {
    const header = (await tarOf([{ name: 'x' }])).subarray(0, 512)
    const path = newPath()
    await writeFile(path, Buffer.alloc(50_002 * 512, header))
    await assert.rejects(openImage(`oci-archive:${path}`), {
      code: 'CDI_ARCHIVE_INVALID',
      message: /more than 50000 entries/,
    })
  })

  it('ends in an image or a clear error, whatever bytes of the archive are damaged', async () => {
    const small = await tarOf(
      layoutEntries({ '': image({ layers: [blob(mediaTypes.ociLayer, Buffer.from('tiny'))] }) }),
    )
    const damage = fc.array(fc.tuple(fc.nat({ max: small.length - 1 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 8,
    })
    const path = newPath()
    await fc.assert(
      fc.asyncProperty(damage, async (places) => {
        const bytes = Buffer.from(small)
        for (const [at, value] of places) bytes[at] = value
        await writeFile(path, bytes)
        try {
          await using opened = await openImage(`oci-archive:${path}`)
          assert.match(opened.digest, /^sha256:/)
        } catch (error) {
          assert.ok(error instanceof CdiError && error.code !== 'CDI_INTERNAL', String(error))
        }
      }),
      { numRuns: 300 },
    )
  })
})

function nameOf({ digest }: Blob): string {
  return `blobs/${digest.replace(':', '/')}`
}

function flipped(bytes: Buffer): Buffer {
  const other = Buffer.from(bytes)
  other[other.length - 2] = (other[other.length - 2] ?? 0) ^ 1
  assert.notEqual(sha256(other), sha256(bytes))
  return other
}
