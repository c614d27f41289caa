import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { validateDataImportCron } from '../../../../src/apiserver/admission/dataimportcron.ts'
import { request, told } from './requests.ts'

describe('a DataImportCron', () => {
  const storage = { resources: { requests: { storage: '1Gi' } } }
  const registry = { registry: { url: 'docker://quay.io/fedora' } }
  const template = (spec: object = {}): object => ({ spec: { storage, source: registry, ...spec } })
  const sound = { schedule: '30 1 * * 1', managedDataSource: 'fedora', template: template() }
  const verdictOn = (spec: unknown, name = 'cron'): string =>
    told(validateDataImportCron(request('dataimportcrons', { object: { metadata: { name }, spec } })))
  const long = 'x'.repeat(64)
  const unsettable = '422: Unsettable fields: SourceRef, ContentType, Checkpoints, FinalCheckpoint'

  const rows: [string, unknown, string][] = [
    ['that is in order', sound, 'admitted'],
    ['without a schedule', { ...sound, schedule: '' }, 'admitted'],
    ['with all settings', { ...sound, schedule: '@daily', importsToKeep: 0, garbageCollect: 'Never' }, 'admitted'],
    ['from a claim', { ...sound, template: template({ source: { pvc: { namespace: 'n', name: 'p' } } }) }, 'admitted'],
    ['with a long data source', { ...sound, managedDataSource: long }, '422: Name cannot be longer than 63 characters'],
    ['without a source', { ...sound, template: template({ source: {} }) }, '422: Missing source'],
    ['without a template', { ...sound, template: null }, '422: Missing source'],
    ['from http', { ...sound, template: template({ source: { http: { url: 'http://a/b' } } }) }, '422: Missing source'],
    [
      'with a sourceRef',
      { ...sound, template: template({ sourceRef: { kind: 'DataSource', name: 'x' } }) },
      unsettable,
    ],
    ['with a content type', { ...sound, template: template({ contentType: 'kubevirt' }) }, unsettable],
    [
      'with checkpoints',
      { ...sound, template: template({ checkpoints: [{ current: 'a', previous: '' }] }) },
      unsettable,
    ],
    ['with a final checkpoint', { ...sound, template: template({ finalCheckpoint: false }) }, unsettable],
    ['without a size', { ...sound, template: template({ storage: {} }) }, '422: Storage size is missing'],
    [
      'with a strange image',
      { ...sound, template: template({ source: { registry: { url: 'http://a' } } }) },
      '422: Illegal registry source URL scheme http://a',
    ],
    [
      'with an incomplete claim',
      { ...sound, template: template({ source: { pvc: { namespace: 'n', name: '' } } }) },
      '422: Template.source.PVC source PVC is not valid',
    ],
    ['with a strange schedule', { ...sound, schedule: 'every day' }, '422: Illegal cron schedule'],
    ['with a negative number of imports', { ...sound, importsToKeep: -1 }, '422: Illegal ImportsToKeep value'],
    ['with a strange garbage collection', { ...sound, garbageCollect: 'Now' }, '422: Illegal GarbageCollect value'],
    ['without a data source', { ...sound, managedDataSource: '' }, '422: Illegal ManagedDataSource value'],
  ]
  for (const [name, spec, expected] of rows) {
    it(`${name} is ${expected === 'admitted' ? 'admitted' : 'rejected'}`, () => assert.equal(verdictOn(spec), expected))
  }

  it('must not have a long name', () => {
    assert.equal(verdictOn(sound, long), '422: Name cannot be longer than 63 characters')
  })

  it('keeps its spec, and may change otherwise whatever it says', () => {
    const update = (before: object, after: object): string =>
      told(
        validateDataImportCron(
          request('dataimportcrons', {
            object: { metadata: { name: 'cron', labels: { a: 'b' } }, spec: after },
            oldObject: { metadata: { name: 'cron' }, spec: before },
          }),
        ),
      )
    assert.equal(update(sound, { ...sound, importsToKeep: 5 }), '422: Cannot update DataImportCron Spec')
    assert.equal(update({ ...sound, schedule: 'x' }, { ...sound, schedule: 'x' }), 'admitted')
  })
})
