import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { renderTarget } from '../../../../src/controllers/datavolume/render.ts'
import type { RenderInput, RenderedPvc, RenderProblem } from '../../../../src/controllers/datavolume/render.ts'
import { dataVolume } from '../../../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../../../fixtures/data-volume.ts'
import { cdiConfig, persistentVolume, storageClass, storageProfile } from '../../../fixtures/storage.ts'

const disk = dataVolume('dv').http('http://server/disk.img').storage('64Mi')

const world = {
  storageClasses: [
    storageClass('standard', { kubernetesDefault: true }),
    storageClass('fast'),
    storageClass('blocks'),
    storageClass('bare'),
  ],
  storageProfiles: [
    storageProfile('standard', ['Filesystem ReadWriteOnce']),
    storageProfile('fast', ['Block ReadWriteMany', 'Block ReadWriteOnce', 'Filesystem ReadWriteOnce']),
    storageProfile('blocks', ['Block ReadWriteMany']),
    storageProfile('bare', []),
  ],
  cdiConfig: cdiConfig(),
  persistentVolumes: [],
} satisfies Omit<RenderInput, 'dataVolume'>

function render(builder: DataVolumeBuilder, change: Partial<RenderInput> = {}): ReturnType<typeof renderTarget> {
  return renderTarget({ ...world, ...change, dataVolume: builder.stored() })
}

function claim(builder: DataVolumeBuilder, change: Partial<RenderInput> = {}): RenderedPvc {
  const rendering = render(builder, change)
  assert.ok('pvc' in rendering, JSON.stringify(rendering))
  return rendering.pvc
}

function problem(builder: DataVolumeBuilder, change: Partial<RenderInput> = {}): RenderProblem {
  const rendering = render(builder, change)
  assert.ok('problem' in rendering, JSON.stringify(rendering))
  return rendering.problem
}

function size({ spec }: RenderedPvc): unknown {
  return spec.resources?.requests?.['storage']
}

describe('the form spec.pvc', () => {
  it('is copied as it stands, without room for a file system', () => {
    const claimed = dataVolume('dv')
      .blank()
      .pvc('64Mi')
      .claim({ volumeName: 'pv-1', selector: { matchLabels: { a: 'b' } } })
    assert.deepEqual(claim(claimed).spec, claimed.stored().spec.pvc)
  })

  it('keeps a missing class missing although there is a default', () => {
    assert.equal(claim(dataVolume('dv').blank().pvc('64Mi')).spec.storageClassName, undefined)
  })
})

describe('the class of spec.storage', () => {
  const virt = [...world.storageClasses, storageClass('virt', { virtDefault: true })]
  const profiles = [
    ...world.storageProfiles,
    storageProfile('virt', ['Block ReadWriteMany', 'Filesystem ReadWriteOnce']),
  ]

  it('is the default of Kubernetes when none is named', () => {
    assert.equal(claim(disk).spec.storageClassName, 'standard')
  })

  it('is the default for virtual machines when there is one', () => {
    assert.equal(claim(disk, { storageClasses: virt, storageProfiles: profiles }).spec.storageClassName, 'virt')
  })

  it('is the default of Kubernetes for an archive', () => {
    const change = { storageClasses: virt, storageProfiles: profiles }
    assert.equal(claim(disk.archive(), change).spec.storageClassName, 'standard')
  })

  it('is the newest of several defaults', () => {
    const storageClasses = [
      storageClass('bare', { kubernetesDefault: true, created: '2026-01-01T00:00:00Z' }),
      storageClass('fast', { kubernetesDefault: true, created: '2026-03-01T00:00:00Z' }),
      storageClass('blocks', { kubernetesDefault: true, created: '2026-02-01T00:00:00Z' }),
    ]
    assert.equal(claim(disk, { storageClasses }).spec.storageClassName, 'fast')
  })

  it('is the first by name of defaults of the same age', () => {
    const storageClasses = ['standard', 'fast'].map((name) => storageClass(name, { kubernetesDefault: true }))
    assert.equal(claim(disk, { storageClasses }).spec.storageClassName, 'fast')
  })
})

describe('the modes of spec.storage', () => {
  const cases: {
    title: string
    given: DataVolumeBuilder
    accessModes: string[]
    volumeMode: string | undefined
  }[] = [
    {
      title: 'are the first set of the profile when none is given',
      given: disk.on('fast'),
      accessModes: ['ReadWriteMany'],
      volumeMode: 'Block',
    },
    {
      title: 'take the access modes of the first set with the given volume mode',
      given: disk.on('fast').mode('Filesystem'),
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
    },
    {
      title: 'take the volume mode of the first set that shares an access mode',
      given: disk.on('fast').access('ReadWriteOnce'),
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Block',
    },
    {
      title: 'leave the volume mode open when no set shares an access mode',
      given: disk.on('fast').access('ReadOnlyMany'),
      accessModes: ['ReadOnlyMany'],
      volumeMode: undefined,
    },
    {
      title: 'of the user win over a profile that lacks them',
      given: disk.on('blocks').mode('Filesystem').access('ReadOnlyMany'),
      accessModes: ['ReadOnlyMany'],
      volumeMode: 'Filesystem',
    },
    {
      title: 'are Filesystem for an archive on a class that prefers Block',
      given: disk.on('fast').archive(),
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
    },
    {
      title: 'of the user are enough on a class without a profile',
      given: disk.on('nothere').access('ReadWriteOnce'),
      accessModes: ['ReadWriteOnce'],
      volumeMode: undefined,
    },
  ]
  for (const { title, given, accessModes, volumeMode } of cases) {
    it(title, () => {
      const { spec } = claim(given)
      assert.deepEqual([spec.accessModes, spec.volumeMode], [accessModes, volumeMode])
    })
  }

  it('are those of an available volume when the class has no object', () => {
    const persistentVolumes = [
      persistentVolume('other', { storageClassName: 'else' }),
      persistentVolume('taken', { storageClassName: 'manual', phase: 'Bound' }),
      persistentVolume('leaving', { storageClassName: 'manual', deletionTimestamp: '2026-01-01T00:00:00Z' }),
      persistentVolume('small', { storageClassName: 'manual', size: '32Mi' }),
      persistentVolume('fits', {
        storageClassName: 'manual',
        accessModes: ['ReadWriteMany'],
        volumeMode: 'Filesystem',
      }),
    ]
    const { spec } = claim(disk.on('manual'), { persistentVolumes })
    assert.deepEqual(
      [spec.accessModes, spec.volumeMode, spec.storageClassName],
      [['ReadWriteMany'], 'Filesystem', 'manual'],
    )
  })

  it('are found on a Block volume only when Block is asked for', () => {
    const persistentVolumes = [persistentVolume('pv', { storageClassName: 'manual', volumeMode: 'Block' })]
    assert.deepEqual(claim(disk.on('manual').mode('Block'), { persistentVolumes }).spec.accessModes, ['ReadWriteOnce'])
    assert.match(problem(disk.on('manual'), { persistentVolumes }).message, /no storageClass/)
  })

  it('wait without a word for a profile that is about to be made', () => {
    assert.deepEqual(render(disk.on('fast'), { storageProfiles: [] }), { waitsForProfile: 'fast' })
  })

  it('need no profile when both are given', () => {
    const { spec } = claim(disk.on('fast').mode('Block').access('ReadWriteOnce'), { storageProfiles: [] })
    assert.equal(spec.volumeMode, 'Block')
  })
})

describe('a DataVolume that cannot be rendered', () => {
  const cases: { title: string; given: DataVolumeBuilder; message: string; warning?: string }[] = [
    {
      title: 'says that neither access mode nor class is known',
      given: disk.on('nothere'),
      message: 'PVC spec is missing accessMode and no storageClass to choose profile',
    },
    {
      title: 'takes the empty class name for no class',
      given: disk.on(''),
      message: 'PVC spec is missing accessMode and no storageClass to choose profile',
    },
    {
      title: 'names the profile that has no access mode',
      given: disk.on('bare'),
      message: 'no accessMode specified in StorageProfile bare',
    },
    {
      title: 'names the profile that has no access mode for the wanted volume mode, twice',
      given: disk.on('blocks').mode('Filesystem'),
      message: 'no matching accessMode specified in StorageProfile blocks',
      warning: 'Spec is missing accessMode and cannot get access mode from StorageProfile blocks',
    },
    {
      title: 'refuses an archive on a block device',
      given: disk.archive().mode('Block'),
      message: 'ContentType Archive cannot have block volumeMode',
    },
    {
      title: 'misses a size',
      given: dataVolume('dv')
        .blank()
        .claim({ accessModes: ['ReadWriteOnce'] }),
      message: 'PVC Spec is not valid - missing storage size',
    },
    {
      title: 'refuses less than 1 MiB',
      given: disk.storage('1048575'),
      message: 'PVC Spec is not valid - storage size should be at least 1MiB',
    },
  ]
  for (const { title, given, message, warning } of cases) {
    it(title, () => {
      assert.deepEqual(problem(given), { reason: 'ErrClaimNotValid', message, ...(warning ? { warning } : {}) })
    })
  }
})

describe('the size of spec.storage', () => {
  it('makes room for the file system', () => {
    assert.equal(size(claim(disk)), '71135396')
  })

  it('counts a volume mode that stays open as Filesystem', () => {
    assert.equal(size(claim(disk.on('fast').access('ReadOnlyMany'))), '71135396')
  })

  it('is a plain byte count of what was asked for on a block device', () => {
    assert.equal(size(claim(disk.on('fast'))), '67108864')
  })

  it('uses the overhead of the class', () => {
    const config = cdiConfig({ filesystemOverhead: { global: '0.06', storageClass: { standard: '0.5' } } })
    assert.equal(size(claim(disk.storage('100Mi'), { cdiConfig: config })), String(150 * 1024 * 1024))
  })

  it('uses the overhead of the default class for one that does not exist', () => {
    const config = cdiConfig({ filesystemOverhead: { global: '0.06', storageClass: { standard: '0.5' } } })
    const given = disk.storage('100Mi').on('nothere').access('ReadWriteOnce')
    assert.equal(size(claim(given, { cdiConfig: config })), String(150 * 1024 * 1024))
  })

  it('has no overhead without a class', () => {
    assert.equal(size(claim(disk.on('').access('ReadWriteOnce'))), '67108864')
  })

  it('has no overhead without a CDIConfig', () => {
    assert.equal(size(claim(disk, { cdiConfig: undefined })), '67108864')
  })

  it('is raised to the minimum of the storage', () => {
    const profile = storageProfile('fast', ['Block ReadWriteMany'], {
      'cdi.kubevirt.io/minimumSupportedPvcSize': '1Gi',
    })
    assert.equal(size(claim(disk.on('fast'), { storageProfiles: [profile] })), '1073741824')
  })

  it('ignores a minimum that is no quantity', () => {
    const profile = storageProfile('fast', ['Block ReadWriteMany'], {
      'cdi.kubevirt.io/minimumSupportedPvcSize': 'big',
    })
    assert.equal(size(claim(disk.on('fast'), { storageProfiles: [profile] })), '67108864')
  })

  it('may come later from the source of a clone', () => {
    const clone = dataVolume('dv')
      .source({ pvc: { name: 'a', namespace: 'b' } })
      .claim({ accessModes: ['ReadWriteOnce'] })
    assert.equal(size(claim(clone)), undefined)
  })

  it('always leaves room for the disk that was asked for', () => {
    const sizes = fc.integer({ min: 1024 * 1024, max: 2 ** 45 })
    const overheads = fc.integer({ min: 0, max: 999 }).map((thousandths) => String(thousandths / 1000))
    fc.assert(
      fc.property(sizes, overheads, (bytes, overhead) => {
        const config = cdiConfig({ filesystemOverhead: { global: overhead } })
        const rendered = Number(size(claim(disk.storage(String(bytes)), { cdiConfig: config })))
        const usable = Math.floor(rendered / (1 + Number(overhead)) + 1e-3)
        assert.ok(usable >= bytes, `${rendered} bytes leave ${usable} of ${bytes}`)
      }),
    )
  })
})

describe('labels of the claim', () => {
  it('are the recommended ones and silence the alert about full file systems', () => {
    assert.deepEqual(claim(disk).labels, {
      app: 'containerized-data-importer',
      'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'app.kubernetes.io/component': 'storage',
    })
  })

  it('do not silence the alert for block devices', () => {
    assert.ok(!('alerts.k8s.io/KubePersistentVolumeFillingUp' in claim(disk.on('fast')).labels))
  })

  it("are overridden by the DataVolume's, except for the recommended ones", () => {
    const given = disk
      .label('app', 'mine')
      .label('team', 'blue')
      .label('alerts.k8s.io/KubePersistentVolumeFillingUp', 'on')
      .label('app.kubernetes.io/managed-by', 'me')
    assert.deepEqual(claim(given, { installer: { partOf: 'hco', version: '9' } }).labels, {
      app: 'mine',
      team: 'blue',
      'alerts.k8s.io/KubePersistentVolumeFillingUp': 'on',
      'app.kubernetes.io/managed-by': 'cdi-controller',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/part-of': 'hco',
      'app.kubernetes.io/version': '9',
    })
  })
})

describe('annotations of the claim', () => {
  it('tell whose it is and what shall be in it', () => {
    assert.deepEqual(claim(disk).annotations, {
      'cdi.kubevirt.io/createdForDataVolume': 'uid-of-dv',
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.pod.restarts': '0',
      'cdi.kubevirt.io/storage.preallocation.requested': 'false',
    })
  })

  it("are the DataVolume's, without what would be untrue or foreign on the claim", () => {
    const given = disk
      .annotate('note', 'kept')
      .annotate('cdi.kubevirt.io/storage.populatedFor', 'dv')
      .annotate('kubectl.kubernetes.io/last-applied-configuration', '{}')
    for (const done of ['cdi.kubevirt.io/storage.pod.phase', 'cdi.kubevirt.io/clonePhase', 'k8s.io/CloneOf']) {
      assert.equal(claim(disk.annotate(done, 'Succeeded')).annotations[done], undefined, done)
    }
    const { note, ...others } = claim(given).annotations
    assert.equal(note, 'kept')
    assert.ok(!('cdi.kubevirt.io/storage.populatedFor' in others))
    assert.ok(!('kubectl.kubernetes.io/last-applied-configuration' in others))
  })

  it('carry priority class and service account', () => {
    const { annotations } = claim(disk.spec({ priorityClassName: 'high', serviceAccountName: 'me' }))
    assert.equal(annotations['cdi.kubevirt.io/storage.pod.priorityclassname'], 'high')
    assert.equal(annotations['cdi.kubevirt.io/storage.pod.serviceAccountName'], 'me')
  })

  it('ask for preallocation when the DataVolume or, if it is silent, the configuration does', () => {
    const wanted = (given: DataVolumeBuilder, preallocation?: boolean) =>
      claim(given, preallocation === undefined ? {} : { cdiConfig: cdiConfig({ preallocation }) }).annotations[
        'cdi.kubevirt.io/storage.preallocation.requested'
      ]
    assert.equal(wanted(disk.preallocated()), 'true')
    assert.equal(wanted(disk, true), 'true')
    assert.equal(wanted(disk.spec({ preallocation: false }), true), 'false')
  })

  it('tell the other controllers to keep off a claim that is populated by somebody else', () => {
    const external = dataVolume('dv')
      .storage('64Mi')
      .claim({ dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' } })
    const { annotations, spec } = claim(external)
    assert.equal(annotations['cdi.kubevirt.io/externalPopulation'], 'true')
    assert.equal(spec.dataSourceRef?.name, 'snap')
    assert.equal(size({ annotations, spec, labels: {} }), '71135396')
  })
})

describe('a DataVolume with the label of the webhook', () => {
  const labelled = (builder: DataVolumeBuilder): DataVolumeBuilder =>
    builder.label('cdi.kubevirt.io/applyStorageProfile', 'true')
  const off = { cdiConfig: { ...cdiConfig(), spec: { webhookPvcRendering: 'Disabled' } } }

  it('is completed here whether the webhook is on or off', () => {
    for (const change of [{}, off]) {
      const { spec } = claim(labelled(disk).mode('FromStorageProfile'), change)
      assert.deepEqual(spec, {
        storageClassName: 'standard',
        volumeMode: 'Filesystem',
        accessModes: ['ReadWriteOnce'],
        resources: { requests: { storage: '71135396' } },
      })
    }
  })

  it('gives what was asked for to a snapshot that is restored, as the webhook does', () => {
    const dataSourceRef = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' }
    const restored = labelled(dataVolume('dv').storage('64Mi').claim({ dataSourceRef }))
    assert.equal(size(claim(restored)), '64Mi')
    assert.equal(size(claim(restored, off)), '71135396')
  })
})

describe('rendering', () => {
  it('changes neither the DataVolume nor the profile that it reads', () => {
    const given = disk.on('fast').stored()
    const before = structuredClone({ given, world })
    const rendering = renderTarget({ ...world, dataVolume: given })
    assert.ok('pvc' in rendering)
    rendering.pvc.spec.accessModes?.push('ReadOnlyMany')
    assert.deepEqual({ given, world }, before)
  })
})
