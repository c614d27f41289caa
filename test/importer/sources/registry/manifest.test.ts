import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseImageConfig } from '../../../../importer/sources/registry/image-config.ts'
import { parseManifest } from '../../../../importer/sources/registry/manifest.ts'
import type { ImageIndex, ImageManifest } from '../../../../importer/sources/registry/manifest.ts'
import { CdiError } from '../../../../src/errors.ts'
import { artifact, blob, image, index, json, mediaTypes } from '../../../fixtures/container-images.ts'

const layer = blob(`${mediaTypes.ociLayer}+gzip`, Buffer.from('layer'), {
  'org.opencontainers.image.title': 'disk.img',
})
const oci = JSON.parse(image({ layers: [layer] }).manifest.bytes.toString()) as Record<string, unknown>
const list = JSON.parse(index([image({ layers: [layer] })]).manifest.bytes.toString()) as Record<string, unknown>

function parseImage(bytes: Buffer, type?: string): ImageManifest {
  const manifest = parseManifest(bytes, type)
  assert.ok(manifest.kind === 'image')
  return manifest
}

function parseIndex(bytes: Buffer, type?: string): ImageIndex {
  const manifest = parseManifest(bytes, type)
  assert.ok(manifest.kind === 'index')
  return manifest
}

describe('manifests of images', () => {
  for (const format of ['oci', 'docker'] as const) {
    it(`reads those of ${format}`, () => {
      const { manifest, blobs } = image({ layers: [layer, layer], format })
      const { config, layers, mediaType, artifactType } = parseImage(manifest.bytes, manifest.mediaType)
      assert.equal(mediaType, manifest.mediaType)
      assert.equal(artifactType, undefined)
      assert.deepEqual([config.digest, config.sizeBytes], [blobs[0]?.digest, blobs[0]?.bytes.length])
      assert.deepEqual(
        layers.map(({ digest, sizeBytes }) => [digest, sizeBytes]),
        [layer, layer].map(({ digest, bytes }) => [digest, bytes.length]),
      )
    })

    it(`reads indexes of ${format}`, () => {
      const members = [image({ layers: [], format }), image({ layers: [], format, architecture: 'arm', variant: 'v7' })]
      const { manifest } = index(members, format)
      const parsed = parseIndex(manifest.bytes, manifest.mediaType)
      assert.equal(parsed.noun, format === 'oci' ? 'image index' : 'manifest list')
      assert.deepEqual(
        parsed.members.map(({ platform }) => platform),
        [
          { os: 'linux', architecture: 'amd64', variant: '' },
          { os: 'linux', architecture: 'arm', variant: 'v7' },
        ],
      )
    })
  }

  it('reads annotations and the type of an artifact', () => {
    const { manifest } = artifact({ layers: [layer], artifactType: 'application/vnd.kubevirt.disk' })
    const { artifactType, config, layers } = parseImage(manifest.bytes, manifest.mediaType)
    assert.equal(artifactType, 'application/vnd.kubevirt.disk')
    assert.equal(config.mediaType, mediaTypes.ociEmpty)
    assert.deepEqual(layers[0]?.annotations, { 'org.opencontainers.image.title': 'disk.img' })
  })

  it('finds out what it is when nobody says', () => {
    const { mediaType: _one, ...bare } = oci
    const { mediaType: _other, ...bareList } = list
    for (const told of [undefined, 'application/json', 'application/octet-stream', 'text/plain; charset=utf-8']) {
      assert.equal(parseManifest(json(bare), told).kind, 'image')
      assert.equal(parseManifest(json(bareList), told).kind, 'index')
      assert.equal(parseManifest(json(oci), told).mediaType, mediaTypes.ociManifest)
    }
    assert.equal(parseManifest(json(bare), `${mediaTypes.dockerManifest}; charset=utf-8`).kind, 'image')
  })

  const digest = `sha256:${'a'.repeat(64)}`
  const withLayer = (change: object): object => ({
    ...oci,
    layers: [{ mediaType: 'application/x', digest, size: 1, ...change }],
  })
  for (const [what, document, type, why] of [
    ['the old format', { schemaVersion: 1, fsLayers: [] }, undefined, /v2 schema 1/],
    [
      'the old format, signed',
      { schemaVersion: 1 },
      'application/vnd.docker.distribution.manifest.v1+prettyjws',
      /schema 1/,
    ],
    [
      'an unknown type',
      { schemaVersion: 2, mediaType: 'application/vnd.oci.artifact.manifest.v1+json' },
      undefined,
      /unknown type "application\/vnd\.oci\.artifact/,
    ],
    ['another type than was told', oci, mediaTypes.ociIndex, /says that it is .*, but .* was told/],
    ['an image that is an index too', { ...oci, manifests: [] }, mediaTypes.ociManifest, /as an image and as an index/],
    ['an index that is an image too', { ...list, layers: [] }, mediaTypes.ociIndex, /as an image and as an index/],
    ['a type that is no text', { ...oci, mediaType: {} }, undefined, /mediaType is not a text/],
    ['schema 3', { ...oci, schemaVersion: 3 }, undefined, /schemaVersion/],
    ['no configuration', { ...oci, config: undefined }, mediaTypes.ociManifest, /config is not an object/],
    ['no layers', { ...oci, layers: undefined }, undefined, /no list of layers/],
    [
      'too many layers',
      { ...oci, layers: Array.from({ length: 1001 }, () => 0) },
      undefined,
      /1001 layers, more than 1000/,
    ],
    ['too many members', { ...list, manifests: Array.from({ length: 1001 }, () => 0) }, undefined, /1001 manifests/],
    ['a layer without digest', withLayer({ digest: undefined }), undefined, /layers\[0\] has no digest/],
    ['a digest by md5', withLayer({ digest: `md5:${'a'.repeat(32)}` }), undefined, /no digest by sha256/],
    ['a digest with a path in it', withLayer({ digest: `sha256:../../${'a'.repeat(58)}` }), undefined, /no digest/],
    ['a negative size', withLayer({ size: -1 }), undefined, /impossible size/],
    ['a size that is a text', withLayer({ size: '1' }), undefined, /impossible size/],
    ['a size of 2 EiB', withLayer({ size: 2 ** 61 }), undefined, /impossible size/],
    ['half a byte', withLayer({ size: 0.5 }), undefined, /impossible size/],
    ['an absurd media type', withLayer({ mediaType: 'x'.repeat(256) }), undefined, /media type/],
    ['annotations that are no texts', withLayer({ annotations: { a: 1 } }), undefined, /not all texts/],
    [
      'an absurd platform',
      { ...list, manifests: [{ mediaType: 'x', digest, size: 1, platform: { os: 'x'.repeat(65) } }] },
      undefined,
      /absurd os/,
    ],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parseManifest(json(document), type), { code: 'CDI_REGISTRY_MANIFEST', message: why })
    })
  }

  it('survives JSON that is nested as deeply as it may be large', () => {
    for (const text of ['['.repeat(2_000_000) + ']'.repeat(2_000_000), '{"a":'.repeat(700_000)]) {
      assert.throws(() => parseManifest(Buffer.from(text)), { code: 'CDI_REGISTRY_MANIFEST' })
    }
  })

  it('survives any JSON and any bytes', () => {
    const descriptor = fc.record({
      mediaType: fc.anything(),
      digest: fc.constantFrom(digest, 'x', null),
      size: fc.anything(),
      platform: fc.anything(),
      annotations: fc.anything(),
    })
    const document = fc.record({
      schemaVersion: fc.constantFrom(2, 1, '2'),
      mediaType: fc.constantFrom(...Object.values(mediaTypes), undefined, 1),
      config: fc.oneof(descriptor, fc.anything()),
      layers: fc.oneof(fc.array(descriptor), fc.anything()),
      manifests: fc.oneof(fc.array(descriptor), fc.constant(undefined)),
    })
    const bytes = fc.oneof(
      document.map((value) => json(value)),
      fc.json().map((text) => Buffer.from(text)),
      fc.uint8Array().map((array) => Buffer.from(array)),
    )
    fc.assert(
      fc.property(bytes, fc.constantFrom(undefined, ...Object.values(mediaTypes)), (text, type) => {
        for (const parse of [() => parseManifest(text, type), () => parseImageConfig(text)]) {
          try {
            parse()
          } catch (error) {
            assert.ok(error instanceof CdiError && error.code === 'CDI_REGISTRY_MANIFEST', String(error))
          }
        }
      }),
      { numRuns: 500 },
    )
  })
})

describe('configurations of images', () => {
  it('gives architecture, environment and labels', () => {
    const [config] = image({ layers: [], architecture: 's390x', env: ['A=b=c'], labels: { x: 'y' } }).blobs
    assert.deepEqual(parseImageConfig(config?.bytes ?? Buffer.alloc(0)), {
      architecture: 's390x',
      env: ['A=b=c'],
      labels: { x: 'y' },
    })
  })

  it('takes what is missing or null for empty', () => {
    for (const document of [{}, { config: null }, { config: { Env: null, Labels: null } }]) {
      assert.deepEqual(parseImageConfig(json(document)), { env: [], labels: {} })
    }
  })

  for (const [what, document] of [
    ['an environment that is no list', { config: { Env: { A: 'b' } } }],
    ['an environment with numbers', { config: { Env: [1] } }],
    ['labels that are no texts', { config: { Labels: { a: {} } } }],
    ['labels that are a list', { config: { Labels: ['a'] } }],
    ['an absurd architecture', { architecture: 'x'.repeat(65) }],
  ] as const) {
    it(`refuses ${what}`, () => {
      assert.throws(() => parseImageConfig(json(document)), { code: 'CDI_REGISTRY_MANIFEST' })
    })
  }
})
