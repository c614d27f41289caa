import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { mutateClaim } from '../../../../src/apiserver/admission/pvc.ts'
import type { Verdict } from '../../../../src/apiserver/admission/verdict.ts'
import type { KubeClient } from '../../../../src/kube/client.ts'
import { formatKey } from '../../../../src/kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../../../src/kube/object.ts'
import { cdiConfig, persistentVolume, storageClass, storageProfile } from '../../../fixtures/storage.ts'
import { patched, patchOf, request, told } from './requests.ts'

type Fields = Record<string, unknown>

const world: Record<string, readonly object[]> = {
  storageclasses: [
    storageClass('standard', { kubernetesDefault: true }),
    storageClass('virt', { virtDefault: true }),
    storageClass('new'),
    storageClass('bare'),
  ],
  storageprofiles: [
    storageProfile('standard', ['Filesystem ReadWriteOnce'], { 'cdi.kubevirt.io/minimumSupportedPvcSize': '1Gi' }),
    storageProfile('virt', ['Block ReadWriteMany', 'Filesystem ReadWriteOnce']),
    storageProfile('bare', []),
  ],
  persistentvolumes: [
    persistentVolume('pv', { storageClassName: 'static', volumeMode: 'Block', accessModes: ['ReadOnlyMany'] }),
  ],
}

const objects: Record<string, object> = {
  'cdiconfigs config': cdiConfig(),
  'volumeclonesources home/of-claim': { spec: { source: { kind: 'PersistentVolumeClaim', name: 'src' } } },
  'volumeclonesources away/of-claim': { spec: { source: { kind: 'PersistentVolumeClaim', name: 'src' } } },
  'volumeclonesources home/of-snapshot': {
    spec: { source: { kind: 'VolumeSnapshot', apiGroup: 'snapshot.storage.k8s.io', name: 'snap' } },
  },
  'volumeclonesources home/of-pod': { spec: { source: { kind: 'Pod', name: 'x' } } },
  'volumeclonesources home/of-nothing': { spec: { source: { kind: 'PersistentVolumeClaim', name: 'gone' } } },
  'persistentvolumeclaims home/src': {
    spec: { volumeMode: 'Filesystem', storageClassName: 'virt', resources: { requests: { storage: '3Gi' } } },
    status: { capacity: { storage: '4Gi' } },
  },
  'persistentvolumeclaims away/src': {
    spec: { volumeMode: 'Filesystem', storageClassName: 'virt', resources: { requests: { storage: '5Gi' } } },
  },
  'volumeclonesources home/of-empty-snapshot': { spec: { source: { kind: 'VolumeSnapshot', name: 'empty' } } },
  'volumeclonesources home/of-new-snapshot': { spec: { source: { kind: 'VolumeSnapshot', name: 'new' } } },
  'volumeclonesources home/of-gone-snapshot': { spec: { source: { kind: 'VolumeSnapshot', name: 'gone' } } },
  'volumesnapshots home/snap': { status: { restoreSize: '7Gi' } },
  'volumesnapshots home/empty': { status: { restoreSize: '0' } },
  'volumesnapshots home/new': {},
}

const client: Pick<KubeClient, 'get' | 'list'> = {
  get: async <T extends KubeObject>(kind: Kind<T>, key: ObjectKey) =>
    objects[`${kind.plural} ${formatKey(key)}`] as T | undefined,
  list: async <T extends KubeObject>(kind: Kind<T>) => ({
    items: [...((world[kind.plural] ?? []) as readonly T[])],
    resourceVersion: '1',
  }),
}

const label = { 'cdi.kubevirt.io/applyStorageProfile': 'true' }

function claim(spec: Fields, annotations: Record<string, string> = {}, labels: object = label): object {
  return { metadata: { name: 'claim', labels, annotations }, spec }
}

const sized = (storage: string): Fields => ({ resources: { requests: { storage } } })

/** Whether the user may make pods, or clones, elsewhere than at home. */
let mayElsewhere = true

const controllerUser = 'system:serviceaccount:cdi:cdi-sa'

function mutate(object: unknown, operation = 'CREATE', user?: object): Promise<Verdict> {
  const askAccess = async ({ namespace }: { namespace: string }): Promise<{ allowed: boolean; reason: string }> => ({
    allowed: mayElsewhere || namespace === 'home',
    reason: '',
  })
  return mutateClaim(
    request('persistentvolumeclaims', { object, operation, ...(user ? { user } : {}) }),
    { client, askAccess: async (_user, access) => askAccess(access), controllerUser },
    new AbortController().signal,
  )
}

async function rendered(spec: Fields, annotations?: Record<string, string>): Promise<unknown> {
  const object = claim(spec, annotations)
  const verdict = await mutate(object)
  assert.equal(told(verdict), 'admitted')
  return (patched(object, patchOf(verdict)) as { spec: unknown }).spec
}

const fromProfile = 'FromStorageProfile'

describe('a claim that does not ask to be rendered', () => {
  for (const [name, object, operation] of [
    ['without the label', claim(sized('1Gi'), {}, {}), 'CREATE'],
    ['with another value of it', claim(sized('1Gi'), {}, { 'cdi.kubevirt.io/applyStorageProfile': 'yes' }), 'CREATE'],
    ['that is there already', claim(sized('1Gi')), 'UPDATE'],
    ['without metadata', { spec: {} }, 'CREATE'],
    ['that is nothing', null, 'CREATE'],
  ] as const) {
    it(`is admitted unchanged: ${name}`, async () => {
      const verdict = await mutate(object, operation)
      assert.deepEqual(verdict, { allowed: true })
    })
  }
})

describe('a claim of the controller', () => {
  it('is complete, although it bears the label of its DataVolume', async () => {
    const wanted = claim({ ...sized('1Gi'), volumeMode: 'Filesystem' })
    assert.deepEqual(await mutate(wanted, 'CREATE', { username: controllerUser }), { allowed: true })
    const other = await mutate(wanted, 'CREATE', { username: 'system:serviceaccount:elsewhere:cdi-sa' })
    assert.notDeepEqual(patchOf(other), [])
  })
})

describe('a claim that asks to be rendered', () => {
  it('gets class and modes from the default for virtual machines', async () => {
    assert.deepEqual(await rendered({ ...sized('64Mi'), volumeMode: fromProfile }), {
      storageClassName: 'virt',
      volumeMode: 'Block',
      accessModes: ['ReadWriteMany'],
      resources: { requests: { storage: '67108864' } },
    })
  })

  it('gets room for its file system', async () => {
    const spec = { ...sized('64Mi'), volumeMode: 'Filesystem', storageClassName: 'virt' }
    assert.deepEqual(await rendered(spec), {
      ...spec,
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '71135396' } },
    })
  })

  it('is at least as large as the storage makes volumes', async () => {
    const spec = { ...sized('64Mi'), volumeMode: fromProfile, storageClassName: 'standard' }
    assert.deepEqual(await rendered(spec), {
      storageClassName: 'standard',
      volumeMode: 'Filesystem',
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '1073741824' } },
    })
  })

  it('keeps the modes that were given', async () => {
    const spec = { ...sized('64Mi'), volumeMode: 'Block', accessModes: ['ReadWriteOncePod'], storageClassName: 'bare' }
    assert.deepEqual(await rendered(spec), { ...spec, resources: { requests: { storage: '67108864' } } })
  })

  it('gets the volume mode that goes with its access mode, or none', async () => {
    const spec = { ...sized('64Mi'), volumeMode: fromProfile, accessModes: ['ReadWriteOnce'] }
    const known = (await rendered({ ...spec, storageClassName: 'virt' })) as Fields
    assert.equal(known['volumeMode'], 'Filesystem')
    const unknown = (await rendered({ ...spec, accessModes: ['ReadOnlyMany'], storageClassName: 'virt' })) as Fields
    assert.ok(!('volumeMode' in unknown), 'the placeholder must not stay')
  })

  it('for an archive is a file system on the class of Kubernetes', async () => {
    const spec = (await rendered(
      { ...sized('2Gi'), volumeMode: fromProfile },
      { 'cdi.kubevirt.io/storage.contentType': 'archive' },
    )) as Fields
    assert.deepEqual([spec['storageClassName'], spec['volumeMode']], ['standard', 'Filesystem'])
  })

  it('gets its modes from a volume that lies ready for a class without an object', async () => {
    const spec = (await rendered({ ...sized('64Mi'), volumeMode: 'Block', storageClassName: 'static' })) as Fields
    assert.deepEqual(spec['accessModes'], ['ReadOnlyMany'])
  })

  it('waits for its class when it brings an access mode', async () => {
    const spec = { ...sized('64Mi'), volumeMode: 'Block', accessModes: ['ReadWriteOnce'], storageClassName: 'nowhere' }
    assert.deepEqual(await rendered(spec), { ...spec, resources: { requests: { storage: '67108864' } } })
  })

  it('keeps what else it says', async () => {
    const more = {
      selector: { matchLabels: { a: 'b' } },
      volumeName: 'pv',
      resources: { limits: { storage: '9Gi' }, requests: { storage: '64Mi' } },
    }
    const spec = (await rendered({ ...more, volumeMode: fromProfile })) as Fields
    assert.deepEqual([spec['selector'], spec['volumeName']], [more.selector, 'pv'])
    assert.deepEqual(spec['resources'], { limits: { storage: '9Gi' }, requests: { storage: '67108864' } })
  })

  const broken: [string, Fields, Record<string, string>, string][] = [
    [
      'of a class whose profile knows no modes',
      { ...sized('1Gi'), volumeMode: fromProfile, storageClassName: 'bare' },
      {},
      'no accessMode specified in StorageProfile bare',
    ],
    [
      'of a volume mode that the profile does not know',
      { ...sized('1Gi'), volumeMode: 'Block', storageClassName: 'standard' },
      {},
      'no matching accessMode specified in StorageProfile standard',
    ],
    [
      'of a class whose profile is not there yet',
      { ...sized('1Gi'), volumeMode: fromProfile, storageClassName: 'new' },
      {},
      'cannot get StorageProfile new',
    ],
    [
      'of no class and without modes',
      { ...sized('1Gi'), volumeMode: fromProfile, storageClassName: '' },
      {},
      'PVC spec is missing accessMode and no storageClass to choose profile',
    ],
    [
      'of an archive on a device',
      { ...sized('1Gi'), volumeMode: 'Block' },
      { 'cdi.kubevirt.io/storage.contentType': 'archive' },
      'ContentType Archive cannot have block volumeMode',
    ],
    ['without a size', { volumeMode: 'Block' }, {}, 'PVC Spec is not valid - missing storage size'],
    [
      'of too small a size',
      { ...sized('1Ki'), volumeMode: 'Block' },
      {},
      'PVC Spec is not valid - storage size should be at least 1MiB',
    ],
  ]
  for (const [name, spec, annotations, message] of broken) {
    it(`is refused: ${name}`, async () => {
      assert.equal(told(await mutate(claim(spec, annotations))), `400:${message}`)
    })
  }
})

describe('a claim that is filled from something else', () => {
  const clone = (name: string, more: Fields = {}): Fields => ({
    volumeMode: 'Filesystem',
    storageClassName: 'virt',
    dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name },
    ...more,
  })
  const sizeOf = async (spec: Fields, annotations?: Record<string, string>): Promise<unknown> => {
    const { resources } = (await rendered(spec, annotations)) as { resources: { requests: { storage: string } } }
    return resources.requests.storage
  }

  it('keeps its size when it restores a snapshot', async () => {
    const reference = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 's' }
    for (const data of [{ dataSource: reference }, { dataSourceRef: reference }]) {
      assert.equal(
        await sizeOf({ ...sized('64Mi'), volumeMode: 'Filesystem', storageClassName: 'virt', ...data }),
        '64Mi',
      )
    }
  })

  it('keeps its size when it is a clone with one', async () => {
    assert.equal(await sizeOf(clone('of-claim', sized('9Gi'))), '9Gi')
  })

  it('takes the request of a source that is alike', async () => {
    assert.equal(await sizeOf(clone('of-claim')), '3Gi')
    assert.equal(await sizeOf(clone('of-claim', sized('0'))), '3Gi')
  })

  it('takes the capacity of a source of another class or mode', async () => {
    assert.equal(await sizeOf(clone('of-claim', { storageClassName: 'standard' })), '4Gi')
    assert.equal(await sizeOf(clone('of-claim', { volumeMode: 'Block' })), '4Gi')
  })

  it('takes the restore size of a snapshot', async () => {
    assert.equal(await sizeOf(clone('of-snapshot')), '7Gi')
  })

  it('keeps its size as a clone of a snapshot without one', async () => {
    assert.equal(await sizeOf(clone('of-empty-snapshot', sized('9Gi'))), '9Gi')
  })

  it('takes the capacity of a file for a device unless it is certain to be copied', async () => {
    const other = { 'cdi.kubevirt.io/cloneType': 'csi-clone' }
    assert.equal(await sizeOf(clone('of-claim', { volumeMode: 'Block' }), other), '4Gi')
    const archive = { 'cdi.kubevirt.io/storage.contentType': 'archive', 'cdi.kubevirt.io/cloneType': 'copy' }
    assert.equal(await sizeOf(clone('of-claim'), archive), '3Gi')
  })

  it('finds its source in the namespace that it names', async () => {
    const away = { 'cdi.kubevirt.io/dataSourceNamespace': 'away' }
    assert.equal(await sizeOf(clone('of-claim'), away), '5Gi')
    mayElsewhere = false
    try {
      for (const name of ['of-claim', 'of-nothing-there']) {
        const refusal = told(await mutate(claim(clone(name), away)))
        assert.match(refusal, /User \S+ has insufficient permissions in clone source namespace away$/)
      }
    } finally {
      mayElsewhere = true
    }
  })

  const copied = { 'cdi.kubevirt.io/cloneType': 'copy' }
  const broken: [string, Fields, Record<string, string>, string][] = [
    [
      'of a file copied to a device',
      clone('of-claim', { volumeMode: 'Block' }),
      copied,
      'cannot detect the required pvc size',
    ],
    [
      'of a source without a capacity',
      clone('of-claim', { storageClassName: 'standard' }),
      { 'cdi.kubevirt.io/dataSourceNamespace': 'away' },
      'cannot detect the required pvc size',
    ],
    ['of something else', clone('of-pod'), {}, 'unsupported volumeCloneSource source'],
    ['of a claim that is gone', clone('of-nothing'), {}, 'persistentvolumeclaims "gone" not found'],
    [
      'of a snapshot whose size the storage does not know',
      clone('of-empty-snapshot'),
      {},
      "size not specified by user/provisioner, can't tell how much needed for restore",
    ],
    ['of a snapshot that is being taken', clone('of-new-snapshot'), {}, 'snapshot has no restore size'],
    [
      'of a snapshot that is gone',
      clone('of-gone-snapshot'),
      {},
      'volumesnapshots.snapshot.storage.k8s.io "gone" not found',
    ],
    ['whose source is not there yet', clone('later'), {}, 'volumeclonesources.cdi.kubevirt.io "later" not found'],
  ]
  for (const [name, spec, annotations, message] of broken) {
    it(`is refused when it has no size and is a clone ${name}`, async () => {
      assert.equal(told(await mutate(claim(spec, annotations))), `400:${message}`)
    })
  }
})
