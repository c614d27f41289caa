import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import { importOrderOf, wantsImport } from '../../../../src/controllers/shared/import-source.ts'
import { claim } from '../fixtures.ts'

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
})
