import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  validateVolumeImportSource,
  validateVolumeUploadSource,
} from '../../../../src/apiserver/admission/populator.ts'
import { request, told } from './requests.ts'

describe('a VolumeImportSource', () => {
  const source = { http: { url: 'http://server/disk.img' } }
  const vddk = { vddk: { url: 'https://v/', secretRef: 's', uuid: 'u', backingFile: 'b', thumbprint: 't' } }
  const checkpoints = [{ current: 'a', previous: '' }]
  const verdictOn = (spec: unknown, name = 'source'): string =>
    told(validateVolumeImportSource(request('volumeimportsources', { object: { metadata: { name }, spec } })))

  const rows: [string, unknown, string][] = [
    ['in order', { source }, 'admitted'],
    ['of several stages', { source: vddk, checkpoints, targetClaim: 'claim' }, 'admitted'],
    ['without a spec', undefined, '422: Missing VolumeImport source'],
    ['without a source', { source: null }, '422: Missing VolumeImport source'],
    ['with two sources', { source: { ...source, blank: {} } }, '422: Multiple VolumeImport sources'],
    ['of a strange content type', { source, contentType: 'x' }, '422: ContentType not one of: kubevirt, archive'],
    [
      'of several stages without a target',
      { source: vddk, checkpoints },
      '422: Unable to do multi-stage import without specifying a target claim',
    ],
    ['with a bad URL', { source: { http: { url: 'x' } } }, '422: spec.source Invalid source URL: x'],
    [
      'of a blank archive',
      { source: { blank: {} }, contentType: 'archive' },
      '422: SourceType cannot be blank and the contentType be archive',
    ],
  ]
  for (const [name, spec, expected] of rows) {
    it(`${name} is ${expected === 'admitted' ? 'admitted' : 'rejected'}`, () => assert.equal(verdictOn(spec), expected))
  }

  it('must not have a name longer than a label', () => {
    assert.equal(verdictOn({ source }, 'x'.repeat(63)), 'admitted')
    assert.equal(verdictOn({ source }, 'x'.repeat(64)), '422: Name cannot be longer than 63 characters')
  })

  it('keeps its spec but for checkpoints', () => {
    const update = (before: object, after: object): string =>
      told(
        validateVolumeImportSource(
          request('volumeimportsources', {
            object: { metadata: { name: 's' }, spec: after },
            oldObject: { metadata: { name: 's' }, spec: before },
          }),
        ),
      )
    assert.equal(update({ source }, { source: { blank: {} } }), '422: Cannot update VolumeImportSource Spec')
    const stage = { source: vddk, targetClaim: 'claim' }
    assert.equal(update(stage, { ...stage, checkpoints, finalCheckpoint: true }), 'admitted')
    assert.equal(update({ source: {} }, { source: {} }), 'admitted')
  })
})

describe('a VolumeUploadSource', () => {
  const verdictOn = (spec: unknown, name = 'source'): string =>
    told(validateVolumeUploadSource(request('volumeuploadsources', { object: { metadata: { name }, spec } })))

  it('needs nothing', () => {
    for (const spec of [undefined, {}, { contentType: '' }, { contentType: 'archive', preallocation: true }]) {
      assert.equal(verdictOn(spec), 'admitted')
    }
  })

  it('must have a content type that is known, and no longer name than a label', () => {
    assert.equal(verdictOn({ contentType: 'iso' }), '422: ContentType not one of: kubevirt, archive')
    assert.equal(verdictOn({}, 'x'.repeat(64)), '422: Name cannot be longer than 63 characters')
  })

  it('keeps its spec', () => {
    const change = { object: { spec: { contentType: 'archive' } }, oldObject: { spec: {} } }
    assert.equal(
      told(validateVolumeUploadSource(request('volumeuploadsources', change))),
      '422: Cannot update VolumeUploadSource Spec',
    )
  })
})
