import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { validateDataVolume } from '../../../../src/apiserver/admission/datavolume-validate.ts'
import type { DataVolumeSurroundings } from '../../../../src/apiserver/admission/datavolume-validate.ts'
import type { PersistentVolumeClaim } from '../../../../src/api/kinds.ts'
import { request, told } from './requests.ts'

type Spec = Record<string, unknown>

const alone: DataVolumeSurroundings = { claim: undefined, adoptionGate: false }
const storage = { resources: { requests: { storage: '1Gi' } } }
const pvc = { ...storage, accessModes: ['ReadWriteOnce'] }
const blank = { source: { blank: {} } }

function dataVolume(spec: unknown, metadata: object = { name: 'dv' }): object {
  return { apiVersion: 'cdi.kubevirt.io/v1beta1', kind: 'DataVolume', metadata, spec }
}

function created(spec: unknown, metadata?: object, around: DataVolumeSurroundings = alone): string {
  return told(validateDataVolume(request('datavolumes', { object: dataVolume(spec, metadata) }), around))
}

function from(source: unknown, more: Spec = {}): Spec {
  return { storage, source, ...more }
}

describe('a DataVolume that may be created', () => {
  const sound: [string, Spec][] = [
    ['blank', from({ blank: {} })],
    ['upload', from({ upload: {} })],
    ['upload of an archive', from({ upload: {} }, { contentType: 'archive' })],
    ['http', from({ http: { url: 'http://server:8080/disk.img?a=b#c' } })],
    ['https with a user', from({ http: { url: 'https://user:secret@server/disk.img' } })],
    ['http from an IPv6 address', from({ http: { url: 'http://[fd00::1]:80/disk.img' } })],
    ['http with a checksum', from({ http: { url: 'http://s/d', checksum: `SHA256:${'aB'.repeat(32)}` } })],
    ['s3', from({ s3: { url: 'https://s3.example/bucket/key' } })],
    ['gcs', from({ gcs: { url: 'gs://bucket/object' } })],
    ['imageio', from({ imageio: { url: 'https://e/api', secretRef: 's', diskId: 'd', certConfigMap: 'c' } })],
    [
      'imageio insecure',
      from({ imageio: { url: 'https://e/', secretRef: 's', diskId: 'd', insecureSkipVerify: true } }),
    ],
    ['vddk', from({ vddk: { url: 'https://v/', secretRef: 's', uuid: 'u', backingFile: 'b', thumbprint: 't' } })],
    ['registry', from({ registry: { url: 'docker://registry:5000/image:tag@sha256:00' } })],
    ['registry from an archive', from({ registry: { url: 'oci-archive:image.tar', pullMethod: 'pod' } })],
    ['image stream', from({ registry: { imageStream: 'stream', pullMethod: 'node' } })],
    ['clone of a claim without a size', { storage: {}, source: { pvc: { namespace: 'n', name: 'p' } } }],
    ['clone of a snapshot without a size', { storage: {}, source: { snapshot: { namespace: 'n', name: 's' } } }],
    ['sourceRef without a size', { storage: {}, sourceRef: { kind: 'DataSource', name: 'd' } }],
    ['spec.pvc', { pvc, ...blank }],
    ['size with leading zeros', { storage: { resources: { requests: { storage: '000500Mi' } } }, ...blank }],
    ['size beyond 8 PiB', { storage: { resources: { requests: { storage: '1Ei' } } }, ...blank }],
    ['size as a number', { storage: { resources: { requests: { storage: 1_073_741_824 } } }, ...blank }],
    [
      'several modes in spec.storage',
      { storage: { ...storage, accessModes: ['ReadWriteMany', 'ReadWriteOncePod'] }, ...blank },
    ],
    [
      'population by others',
      { pvc: { ...pvc, dataSource: { kind: 'VolumeSnapshot', apiGroup: 'snapshot.storage.k8s.io', name: 's' } } },
    ],
    [
      'population from a claim',
      { storage: { ...storage, dataSourceRef: { kind: 'PersistentVolumeClaim', name: 's' } } },
    ],
    [
      'population named twice',
      {
        pvc: {
          ...pvc,
          dataSource: { apiGroup: 'a', kind: 'K', name: 's' },
          dataSourceRef: { apiGroup: 'a', kind: 'K', name: 's' },
        },
      },
    ],
  ]
  for (const [name, spec] of sound) {
    it(`is one with: ${name}`, () => assert.equal(created(spec), 'admitted'))
  }
})

describe('a DataVolume that breaks a rule', () => {
  const tooLong = 'x'.repeat(254)
  const withPvc = (more: Spec): Spec => ({ pvc: { ...pvc, ...more }, ...blank })
  const withStorage = (more: Spec): Spec => ({ storage: { ...storage, ...more }, ...blank })
  const size = (amount: string): Spec => ({ resources: { requests: { storage: amount } } })
  const modes = 'supported values: "ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"'
  const external = (more: Spec): Spec => ({ pvc: { ...pvc, ...more } })
  const oneSource = 'Data volume should have either Source or SourceRef, or be externally populated'
  const broken: [string, Spec, string][] = [
    ['neither pvc nor storage', { ...blank }, 'Missing Data volume PVC'],
    ['null for both', { pvc: null, storage: null, ...blank }, 'Missing Data volume PVC'],
    [
      'both pvc and storage',
      { pvc, storage, ...blank },
      'Duplicate storage definition, both target storage and target pvc defined',
    ],
    ['a size of zero', withPvc(size('0')), "PVC size can't be equal or less than zero"],
    ['a negative size', withStorage(size('-1Gi')), "Storage size can't be equal or less than zero"],
    ['too small a size', withPvc(size('1023Ki')), 'PVC size should be at least 1MiB'],
    ['too small a size in storage', withStorage(size('1000k')), 'Storage size should be at least 1MiB'],
    ['no size', withPvc({ resources: {} }), 'PVC size is missing'],
    ['no size in storage', withStorage({ resources: null }), 'Storage size is missing'],
    [
      'no size for a clone in pvc',
      { pvc: { accessModes: ['ReadWriteOnce'] }, source: { pvc: { namespace: 'n', name: 'p' } } },
      'PVC size is missing',
    ],
    [
      'a size that is none',
      withPvc(size('big')),
      "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ],
    ['a long class name', withStorage({ storageClassName: tooLong }), 'Name cannot be longer than 253 characters'],
    ['no access mode', withPvc({ accessModes: [] }), 'Required value: at least 1 access mode is required'],
    ['two access modes', withPvc({ accessModes: ['ReadWriteOnce', 'ReadOnlyMany'] }), 'PVC multiple accessModes'],
    ['an unknown mode', withPvc({ accessModes: ['Write'] }), `Unsupported value: "Write": ${modes}`],
    [
      'an unknown mode in storage',
      withStorage({ accessModes: ['ReadWriteOnce', 'W'] }),
      `Unsupported value: "W": ${modes}`,
    ],
    [
      'a data source beside a source',
      { ...external({ dataSource: { kind: 'PersistentVolumeClaim', name: 'p' } }), ...blank },
      'External population is incompatible with Source and SourceRef',
    ],
    [
      'a data source beside a sourceRef',
      {
        ...external({ dataSourceRef: { kind: 'PersistentVolumeClaim', name: 'p' } }),
        sourceRef: { kind: 'DataSource', name: 'd' },
      },
      'External population is incompatible with Source and SourceRef',
    ],
    [
      'two data sources',
      external({ dataSource: { kind: 'K', name: 'a' }, dataSourceRef: { kind: 'K', name: 'b' } }),
      'DataSourceRef and DataSource must match',
    ],
    ['a data source without a name', external({ dataSource: { kind: 'K' } }), 'Required value: DataSource name'],
    ['a data source without a kind', external({ dataSource: { name: 'n' } }), 'Required value: DataSource kind'],
    [
      'a data source without a group',
      external({ dataSource: { name: 'n', kind: 'K' } }),
      "Required value: DataSource apiGroup when kind is not 'PersistentVolumeClaim'",
    ],
    ['a reference without a name', external({ dataSourceRef: { kind: 'K' } }), 'Required value: DataSourceRef name'],
    ['a reference without a kind', external({ dataSourceRef: { name: 'n' } }), 'Required value: DataSourceRef kind'],
    [
      'a reference without a group',
      external({ dataSourceRef: { name: 'n', kind: 'K' } }),
      "Required value: DataSourceRef apiGroup when kind is not 'PersistentVolumeClaim'",
    ],
    [
      'a reference into another namespace',
      external({ dataSourceRef: { name: 'n', kind: 'PersistentVolumeClaim', namespace: 'other' } }),
      'Invalid value: DataSourceRef namespace not supported',
    ],
    ['neither source nor sourceRef', { storage }, oneSource],
    ['both source and sourceRef', { storage, ...blank, sourceRef: { kind: 'DataSource', name: 'd' } }, oneSource],
    ['a sourceRef without a kind', { storage, sourceRef: { name: 'd' } }, 'Missing sourceRef kind'],
    [
      'a sourceRef of another kind',
      { storage, sourceRef: { kind: 'X', name: 'd' } },
      'Unsupported sourceRef kind X, currently only DataSource is supported',
    ],
    ['a sourceRef without a name', { storage, sourceRef: { kind: 'DataSource' } }, 'Missing sourceRef name'],
    ['an empty source', from({}), 'Missing Data volume source'],
    ['a source that is null', from({ http: null }), 'Missing Data volume source'],
    ['two sources', from({ blank: {}, http: { url: 'http://s/x' } }), 'Multiple Data volume sources'],
    [
      'a strange content type',
      from({ blank: {} }, { contentType: 'iso' }),
      'ContentType not one of: kubevirt, archive',
    ],
    ['an empty URL', from({ http: { url: '' } }), 'spec.source source URL is empty'],
    ['no URL', from({ s3: {} }), 'spec.source source URL is empty'],
    ['a relative URL', from({ http: { url: 'x.img' } }), 'spec.source Invalid source URL: x.img'],
    ['a URL with blanks', from({ gcs: { url: 'http://a b/c' } }), 'spec.source Invalid source URL: http://a b/c'],
    ['a URL without a server', from({ http: { url: 'http:///x' } }), 'spec.source Invalid source URL: http:///x'],
    ['a strange port', from({ http: { url: 'http://a:b/x' } }), 'spec.source Invalid source URL: http://a:b/x'],
    ['a strange scheme', from({ http: { url: 'ftp://a/x' } }), 'spec.source Invalid source URL scheme: ftp://a/x'],
    ['a path', from({ http: { url: '/x.img' } }), 'spec.source Invalid source URL scheme: /x.img'],
    [
      'a URL of imageio',
      from({ imageio: { url: 'x', secretRef: 's', diskId: 'd', certConfigMap: 'c' } }),
      'spec.source Invalid source URL: x',
    ],
    ['an empty URL of vddk', from({ vddk: { uuid: 'u' } }), 'spec.source source URL is empty'],
    [
      'a short checksum',
      from({ http: { url: 'http://s/d', checksum: 'md5:00' } }),
      'Invalid checksum format: md5 has 32 hexadecimal digits, not 2',
    ],
    [
      'a checksum without an algorithm',
      from({ http: { url: 'http://s/d', checksum: 'abc' } }),
      'Invalid checksum format: expected "algorithm:hash"',
    ],
    [
      'a blank archive',
      from({ blank: {} }, { contentType: 'archive' }),
      'SourceType cannot be blank and the contentType be archive',
    ],
    [
      'an archive from a registry',
      from({ registry: { url: 'docker://r/i' } }, { contentType: 'archive' }),
      'ContentType must be kubevirt when Source is Registry',
    ],
    ['a registry without an image', from({ registry: {} }), 'Source registry should have either URL or ImageStream'],
    [
      'a registry with two images',
      from({ registry: { url: 'docker://r/i', imageStream: 's' } }),
      'Source registry should have either URL or ImageStream',
    ],
    [
      'a damaged registry URL',
      from({ registry: { url: 'docker://r:x/i' } }),
      'Illegal registry source URL docker://r:x/i',
    ],
    [
      'a registry over http',
      from({ registry: { url: 'http://r/i' } }),
      'Illegal registry source URL scheme http://r/i',
    ],
    ['a bare image name', from({ registry: { url: 'r/i' } }), 'Illegal registry source URL scheme r/i'],
    [
      'a strange pull method',
      from({ registry: { url: 'docker://r/i', pullMethod: 'magic' } }),
      'ImportMethod magic is neither pod, node or ""',
    ],
    [
      'an image stream without a name',
      from({ registry: { imageStream: '', pullMethod: 'node' } }),
      'Source registry ImageStream is not valid',
    ],
    [
      'an image stream pulled by a pod',
      from({ registry: { imageStream: 's' } }),
      'Source registry ImageStream is supported only with node pull import method',
    ],
    [
      'imageio without a secret',
      from({ imageio: { url: 'https://e/', diskId: 'd', certConfigMap: 'c' } }),
      'spec.source.Imageio source Imageio is not valid',
    ],
    [
      'imageio without trust',
      from({ imageio: { url: 'https://e/', secretRef: 's', diskId: 'd', insecureSkipVerify: false } }),
      'spec.source.Imageio source Imageio requires CertConfigMap or InsecureSkipVerify',
    ],
    [
      'vddk without a thumbprint',
      from({ vddk: { url: 'https://v/', secretRef: 's', uuid: 'u', backingFile: 'b' } }),
      'spec.source.VDDK source VDDK is not valid',
    ],
    [
      'a source claim without a namespace',
      from({ pvc: { name: 'p', namespace: '' } }),
      'spec.source.PVC source PVC is not valid',
    ],
    [
      'a source snapshot without a name',
      from({ snapshot: { namespace: 'n' } }),
      'spec.source.Snapshot source snapshot is not valid',
    ],
  ]
  for (const [name, spec, message] of broken) {
    it(`is told so: ${name}`, () => assert.equal(created(spec), `422: ${message}`))
  }

  it('is told of a name that is too long', () => {
    assert.equal(created(from({ blank: {} }), { name: tooLong }), '422: Name cannot be longer than 253 characters')
  })

  it('is told the first rule only', () => {
    assert.equal(
      created({ source: { blank: {}, http: { url: '' } }, contentType: 'x' }),
      '422: Missing Data volume PVC',
    )
  })

  it('names the field and the sort of the fault', () => {
    const both = request('datavolumes', { object: dataVolume({ pvc, storage, ...blank }) })
    const verdict = validateDataVolume(both, alone)
    assert.ok(!verdict.allowed && 'causes' in verdict)
    assert.deepEqual(
      verdict.causes.map(({ reason, field }) => [reason, field]),
      [['FieldValueDuplicate', 'spec.storage']],
    )
  })
})

describe('a claim of the same name', () => {
  const claim = (annotations: Record<string, string>, owner?: object): PersistentVolumeClaim =>
    ({
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: {
        name: 'dv',
        namespace: 'home',
        uid: 'c',
        resourceVersion: '1',
        annotations,
        ownerReferences: owner ? [owner] : [],
      },
    }) as PersistentVolumeClaim
  const spec = from({ blank: {} })
  const exists = '422: Destination PVC home/dv already exists'
  const adopting = { name: 'dv', uid: 'u', annotations: { 'cdi.kubevirt.io/allowClaimAdoption': 'true' } }
  const notAdopting = { name: 'dv', uid: 'u', annotations: { 'cdi.kubevirt.io/allowClaimAdoption': 'false' } }
  const mine = { 'cdi.kubevirt.io/createdForDataVolume': 'u' }
  const owner = { apiVersion: 'v1', kind: 'DataVolume', name: 'other', uid: 'o', controller: true }

  const rows: [string, object, DataVolumeSurroundings, string][] = [
    ['is in the way', { name: 'dv' }, { claim: claim({}), adoptionGate: false }, exists],
    [
      'is no obstacle when it was filled for this DataVolume',
      { name: 'dv' },
      { claim: claim({ 'cdi.kubevirt.io/storage.populatedFor': 'dv' }), adoptionGate: false },
      'admitted',
    ],
    [
      'is in the way when it was filled for another one',
      { name: 'dv' },
      { claim: claim({ 'cdi.kubevirt.io/storage.populatedFor': 'else' }), adoptionGate: false },
      exists,
    ],
    ['is adopted when the DataVolume wants that', adopting, { claim: claim({}), adoptionGate: false }, 'admitted'],
    [
      'is adopted when the feature gate is open',
      { name: 'dv', uid: 'u' },
      { claim: claim({}), adoptionGate: true },
      'admitted',
    ],
    [
      'is not adopted when the DataVolume does not want that',
      notAdopting,
      { claim: claim({}), adoptionGate: true },
      exists,
    ],
    [
      'is not adopted when it was made for this DataVolume',
      adopting,
      { claim: claim(mine), adoptionGate: true },
      exists,
    ],
    [
      'is no obstacle when it belongs to a DataVolume',
      { name: 'dv' },
      { claim: claim({}, owner), adoptionGate: false },
      'admitted',
    ],
    [
      'is in the way when it belongs to something else',
      { name: 'dv' },
      { claim: claim({}, { ...owner, kind: 'Other' }), adoptionGate: false },
      exists,
    ],
  ]
  for (const [name, metadata, around, expected] of rows) {
    it(name, () => assert.equal(created(spec, metadata, around), expected))
  }
})

describe('an update of a DataVolume', () => {
  const vddk = { url: 'https://v/', secretRef: 's', uuid: 'u', backingFile: 'b', thumbprint: 't' }
  const checkpoints = [{ current: 'a', previous: '' }]
  const update = (before: unknown, after: unknown): string =>
    told(
      validateDataVolume(request('datavolumes', { object: dataVolume(after), oldObject: dataVolume(before) }), alone),
    )
  const forbidden = '422: Cannot update DataVolume Spec'

  it('must not change the spec', () => {
    assert.equal(update(from({ blank: {} }), from({ upload: {} })), forbidden)
    assert.equal(update(from({ blank: {} }), from({ blank: {} }, { preallocation: true })), forbidden)
  })

  it('may say the same in other words', () => {
    const before = { storage: { resources: { requests: { storage: '1Gi' } }, accessModes: [] }, source: { blank: {} } }
    const after = {
      storage: { resources: { requests: { storage: '1024Mi' } } },
      source: { blank: {} },
      checkpoints: null,
    }
    assert.equal(update(before, after), 'admitted')
  })

  it('may add checkpoints of vddk and imageio', () => {
    assert.equal(update(from({ vddk }), from({ vddk }, { checkpoints, finalCheckpoint: true })), 'admitted')
    const imageio = { url: 'https://e/', secretRef: 's', diskId: 'd', certConfigMap: 'c' }
    assert.equal(
      update(from({ imageio }, { checkpoints }), from({ imageio }, { checkpoints: [...checkpoints, ...checkpoints] })),
      'admitted',
    )
  })

  it('must not add checkpoints to other sources, nor take all away, nor change more', () => {
    assert.equal(update(from({ blank: {} }), from({ blank: {} }, { checkpoints })), forbidden)
    assert.equal(update(from({ vddk }, { checkpoints }), from({ vddk })), forbidden)
    assert.equal(update(from({ vddk }), from({ vddk: { ...vddk, uuid: 'x' } }, { checkpoints })), forbidden)
  })

  it('of metadata only is not held against rules that the spec breaks', () => {
    const old = from({ http: { url: 'no url' } })
    assert.equal(update(old, structuredClone(old)), 'admitted')
  })
})
