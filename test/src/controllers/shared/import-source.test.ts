import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import {
  annotationsOfSource,
  importOrderOf,
  importSourceOf,
  wantsImport,
} from '../../../../src/controllers/shared/import-source.ts'
import { claim } from '../fixtures.ts'

const importKey = 'cdi.kubevirt.io/storage.import'

describe('the order on a claim', () => {
  it('is there with an endpoint or a source', () => {
    assert.equal(wantsImport(claim({ annotated: { [annotations.importEndpoint]: 'http://x' } })), true)
    assert.equal(wantsImport(claim({ annotated: { [annotations.importSource]: 'none' } })), true)
    assert.equal(wantsImport(claim({ annotated: { [annotations.importEndpoint]: '' } })), true)
    assert.equal(wantsImport(claim()), false)
  })

  it('does not count when somebody else fills the claim', () => {
    const annotated = { [annotations.importEndpoint]: 'http://x', [annotations.externalPopulation]: 'true' }
    assert.equal(wantsImport(claim({ annotated })), false)
  })

  for (const [source, read] of [
    [undefined, 'http'],
    ['', 'http'],
    ['ftp', 'http'],
    ['http', 'http'],
    ['none', 'none'],
    ['registry', 'registry'],
  ] as const) {
    it(`names the source ${read} when the annotation is ${JSON.stringify(source)}`, () => {
      assert.equal(importOrderOf(claim({ annotated: { [annotations.importSource]: source } })).source, read)
    })
  }

  for (const [content, read] of [
    [undefined, 'kubevirt'],
    ['kubevirt', 'kubevirt'],
    ['archive', 'archive'],
    ['something', 'kubevirt'],
  ] as const) {
    it(`has content type ${read} when the annotation is ${JSON.stringify(content)}`, () => {
      assert.equal(importOrderOf(claim({ annotated: { [annotations.contentType]: content } })).contentType, read)
    })
  }

  it('takes a checksum for every source', () => {
    for (const source of ['http', 's3', 'gcs', 'registry']) {
      const annotated = { [annotations.importSource]: source, [annotations.importChecksum]: 'md5:00' }
      assert.equal(importOrderOf(claim({ annotated })).checksum, 'md5:00')
    }
  })

  it('switches off the verification of web servers and engines only', () => {
    for (const [source, read] of [
      ['http', true],
      ['imageio', true],
      ['s3', false],
      ['gcs', false],
      ['registry', false],
    ] as const) {
      const annotated = { [annotations.importSource]: source, [annotations.importInsecureSkipVerify]: 'true' }
      assert.equal(importOrderOf(claim({ annotated })).insecureSkipVerify, read, source)
    }
  })

  for (const [method, stream, read] of [
    [undefined, undefined, 'pod'],
    ['pod', undefined, 'pod'],
    ['node', undefined, 'node'],
    ['else', undefined, 'pod'],
    [undefined, 'true', 'node'],
    ['pod', 'true', 'node'],
  ] as const) {
    it(`pulls by the ${read} when the method is ${method} and the ImageStream ${stream}`, () => {
      const annotated = {
        [annotations.importSource]: 'registry',
        [annotations.importRegistryMethod]: method,
        [annotations.importRegistryImageStream]: stream,
      }
      const order = importOrderOf(claim({ annotated }))
      assert.equal(order.pullMethod, read)
      assert.equal(order.isImageStream, stream === 'true')
    })
  }
})

describe('a source', () => {
  for (const [what, source, written] of [
    [
      'in an S3 store',
      { s3: { url: 'https://s3.example/bucket/disk.qcow2', secretRef: 'keys', certConfigMap: 'ca' } },
      {
        [`${importKey}.source`]: 's3',
        [`${importKey}.endpoint`]: 'https://s3.example/bucket/disk.qcow2',
        [`${importKey}.secretName`]: 'keys',
        [`${importKey}.certConfigMap`]: 'ca',
      },
    ],
    [
      'in a Google bucket',
      { gcs: { url: 'gs://bucket/disk.img', secretRef: 'account' } },
      {
        [`${importKey}.source`]: 'gcs',
        [`${importKey}.endpoint`]: 'gs://bucket/disk.img',
        [`${importKey}.secretName`]: 'account',
      },
    ],
    [
      'in a Google bucket that is open to all',
      { gcs: { url: 'gs://bucket/disk.img', secretRef: '' } },
      { [`${importKey}.source`]: 'gcs', [`${importKey}.endpoint`]: 'gs://bucket/disk.img' },
    ],
    [
      'in a registry',
      {
        registry: {
          url: 'docker://registry.example/disk:1',
          pullMethod: 'pod',
          secretRef: 'login',
          certConfigMap: 'ca',
          platform: { architecture: 'arm64' },
        },
      },
      {
        [`${importKey}.source`]: 'registry',
        [`${importKey}.endpoint`]: 'docker://registry.example/disk:1',
        [`${importKey}.registryImportMethod`]: 'pod',
        [`${importKey}.secretName`]: 'login',
        [`${importKey}.certConfigMap`]: 'ca',
        [`${importKey}.registryImageArchitecture`]: 'arm64',
      },
    ],
    [
      'in an ImageStream',
      { registry: { imageStream: 'fedora', pullMethod: 'node' } },
      {
        [`${importKey}.source`]: 'registry',
        [`${importKey}.endpoint`]: 'fedora',
        [`${importKey}.registryImageStream`]: 'true',
        [`${importKey}.registryImportMethod`]: 'node',
      },
    ],
  ] as const) {
    it(`${what} is written on the claim with all its fields`, () => {
      assert.deepEqual(annotationsOfSource(importSourceOf(source)), written)
    })
  }

  it('that no importer pod serves is none', () => {
    assert.equal(importSourceOf({ upload: {} }), undefined)
    assert.equal(importSourceOf({ pvc: { namespace: 'a', name: 'b' } }), undefined)
    assert.equal(annotationsOfSource({}), undefined)
  })
})
