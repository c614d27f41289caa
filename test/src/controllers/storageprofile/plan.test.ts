import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { PersistentVolume, StorageClass, StorageProfile, VolumeSnapshotClass } from '../../../../src/api/kinds.ts'
import { annotations } from '../../../../src/api/names.ts'
import { MissingSnapshotClassError, planProfile } from '../../../../src/controllers/storageprofile/plan.ts'
import type { ProfileObservation, ProfilePlan } from '../../../../src/controllers/storageprofile/plan.ts'

const now = '2026-01-01T00:00:00Z'

function storageClass(
  provisioner: string,
  { parameters, annotated }: { parameters?: Record<string, string>; annotated?: Record<string, string> } = {},
): StorageClass {
  return {
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name: 'fast', uid: 'uid-sc', resourceVersion: '1', ...(annotated ? { annotations: annotated } : {}) },
    provisioner,
    ...(parameters ? { parameters } : {}),
  }
}

function profile(
  spec: StorageProfile['spec'] = {},
  { annotated, status }: { annotated?: Record<string, string>; status?: StorageProfile['status'] } = {},
): StorageProfile {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'StorageProfile',
    metadata: { name: 'fast', uid: 'uid-sp', resourceVersion: '1', ...(annotated ? { annotations: annotated } : {}) },
    spec,
    status,
  }
}

function snapshotClass(
  name: string,
  driver: string,
  { isDefault = false, parameters }: { isDefault?: boolean; parameters?: Record<string, string> } = {},
): VolumeSnapshotClass {
  return {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshotClass',
    metadata: {
      name,
      uid: `uid-${name}`,
      resourceVersion: '1',
      ...(isDefault ? { annotations: { [annotations.defaultSnapshotClass]: 'true' } } : {}),
    },
    driver,
    deletionPolicy: 'Delete',
    parameters,
  }
}

function volume(accessModes: string[], volumeMode?: string): PersistentVolume {
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: 'pv', uid: 'uid-pv', resourceVersion: '1' },
    spec: { accessModes, ...(volumeMode ? { volumeMode } : {}) },
  }
}

function plan(observation: Partial<ProfileObservation> & Pick<ProfileObservation, 'storageClass'>): ProfilePlan {
  return planProfile({
    profile: profile(),
    snapshotClasses: [],
    csiDrivers: [],
    volumes: [],
    isSingleNode: false,
    now,
    ...observation,
  })
}

function modes(status: ProfilePlan['status']): string[] | undefined {
  return status.claimPropertySets?.map(({ accessModes, volumeMode }) => `${accessModes.join('+')} ${volumeMode}`)
}

describe('claimPropertySets', () => {
  it('come from the table, one mode each, the preferred first', () => {
    const { status } = plan({ storageClass: storageClass('rook-ceph.rbd.csi.ceph.com') })
    assert.deepEqual(modes(status), ['ReadWriteMany Block', 'ReadWriteOnce Block', 'ReadWriteOnce Filesystem'])
  })

  it('depend on the parameters of the class', () => {
    const { status } = plan({ storageClass: storageClass('ebs.csi.aws.com', { parameters: { type: 'io2' } }) })
    assert.deepEqual(modes(status), ['ReadWriteMany Block', 'ReadWriteOnce Block', 'ReadWriteOnce Filesystem'])
  })

  it('are what the spec says, when it says something', () => {
    const claimPropertySets = [{ accessModes: ['ReadWriteOncePod'], volumeMode: 'Filesystem' as const }]
    const { status } = plan({ storageClass: storageClass('nfs.csi.k8s.io'), profile: profile({ claimPropertySets }) })
    assert.deepEqual(status.claimPropertySets, claimPropertySets)
    const empty = plan({ storageClass: storageClass('nfs.csi.k8s.io'), profile: profile({ claimPropertySets: [] }) })
    assert.deepEqual(modes(empty.status), ['ReadWriteMany Filesystem'])
  })

  it('are left out for storage that nobody knows', () => {
    const { status } = plan({ storageClass: storageClass('somebody.example') })
    assert.ok(!Object.hasOwn(status, 'claimPropertySets'))
  })

  it('of a class without provisioner are those of its volumes, each pair once', () => {
    const { status } = plan({
      storageClass: storageClass('kubernetes.io/no-provisioner'),
      volumes: [
        volume(['ReadWriteOnce', 'ReadWriteMany']),
        volume(['ReadWriteOnce'], 'Filesystem'),
        volume(['ReadWriteOnce'], 'Block'),
      ],
    })
    assert.deepEqual(modes(status), ['ReadWriteMany Filesystem', 'ReadWriteOnce Block', 'ReadWriteOnce Filesystem'])
  })
})

describe('snapshotClass', () => {
  const ours = storageClass('csi.example')

  it('is the default one of the driver, else the first by name', () => {
    const others = [snapshotClass('z', 'csi.example'), snapshotClass('b', 'csi.example'), snapshotClass('a', 'other')]
    assert.equal(plan({ storageClass: ours, snapshotClasses: others }).status.snapshotClass, 'b')
    const withDefault = [...others, snapshotClass('x', 'csi.example', { isDefault: true })]
    assert.equal(plan({ storageClass: ours, snapshotClasses: withDefault }).status.snapshotClass, 'x')
  })

  it('is the chosen one, if its driver is that of the class', () => {
    const snapshotClasses = [
      snapshotClass('a', 'csi.example'),
      snapshotClass('b', 'csi.example'),
      snapshotClass('c', 'other'),
    ]
    const choose = (name: string): string | undefined =>
      plan({ storageClass: ours, snapshotClasses, profile: profile({ snapshotClass: name }) }).status.snapshotClass
    assert.equal(choose('b'), 'b')
    assert.equal(choose('c'), undefined)
    assert.throws(() => choose('missing'), MissingSnapshotClassError)
  })

  it('is nothing where snapshots are not installed, whatever is chosen', () => {
    const { status } = plan({
      storageClass: ours,
      snapshotClasses: undefined,
      profile: profile({ snapshotClass: 'missing' }),
    })
    assert.ok(!Object.hasOwn(status, 'snapshotClass'))
    assert.equal(status.cloneStrategy, 'copy')
  })
})

describe('cloneStrategy and dataImportCronSourceFormat', () => {
  const rows: readonly (readonly [provisioner: string, hasSnapshots: boolean, strategy: string, format: string])[] = [
    ['somebody.example', false, 'copy', 'pvc'],
    ['somebody.example', true, 'snapshot', 'pvc'],
    ['rbd.csi.ceph.com', true, 'csi-clone', 'pvc'],
    ['rook-ceph.rbd.csi.ceph.com', true, 'csi-clone', 'snapshot'],
    ['rook-ceph.rbd.csi.ceph.com', false, 'csi-clone', 'pvc'],
    ['topolvm.io', true, 'copy', 'pvc'],
    ['pd.csi.storage.gke.io', true, 'snapshot', 'snapshot'],
    ['pd.csi.storage.gke.io', false, 'copy', 'pvc'],
    ['vpc.file.csi.ibm.io', true, 'snapshot', 'snapshot'],
  ]
  for (const [provisioner, hasSnapshots, strategy, format] of rows) {
    it(`of ${provisioner} ${hasSnapshots ? 'with' : 'without'} snapshots are ${strategy} and ${format}`, () => {
      const snapshotClasses = hasSnapshots ? [snapshotClass('a', provisioner)] : []
      const { status } = plan({ storageClass: storageClass(provisioner), snapshotClasses })
      assert.deepEqual([status.cloneStrategy, status.dataImportCronSourceFormat], [strategy, format])
    })
  }

  it('are asked of the spec, then of the class, then of the table', () => {
    const annotated = { [annotations.cloneStrategy]: 'snapshot' }
    const asked = storageClass('topolvm.io', { annotated })
    assert.equal(plan({ storageClass: asked }).status.cloneStrategy, 'snapshot')
    const corrected = profile({ cloneStrategy: 'csi-clone', dataImportCronSourceFormat: 'snapshot' })
    const { status } = plan({ storageClass: asked, profile: corrected })
    assert.deepEqual([status.cloneStrategy, status.dataImportCronSourceFormat], ['csi-clone', 'snapshot'])
  })
})

describe('condition Recognized', () => {
  const rows = [
    [storageClass('nfs.csi.k8s.io'), 'True', 'RecognizedProvisioner', 'Provisioner is recognized'],
    [storageClass('somebody.example'), 'False', 'UnrecognizedProvisioner', 'Provisioner is not recognized'],
    [storageClass('kubernetes.io/no-provisioner'), 'False', 'UnrecognizedProvisioner', 'Provisioner is not recognized'],
    [
      storageClass('csi.trident.netapp.io'),
      'False',
      'UnrecognizedStorageClassParameters',
      'Storage class parameters are not recognized',
    ],
  ] as const
  for (const [of, status, reason, message] of rows) {
    it(`is ${status} for ${of.provisioner}`, () => {
      const times = { lastHeartbeatTime: now, lastTransitionTime: now }
      assert.deepEqual(plan({ storageClass: of }).status.conditions, [
        { type: 'Recognized', status, reason, message, ...times },
      ])
    })
  }

  it('keeps its times while it says the same', () => {
    const first = plan({ storageClass: storageClass('nfs.csi.k8s.io') }).status
    const again = planProfile({
      storageClass: storageClass('nfs.csi.k8s.io'),
      profile: profile({}, { status: first }),
      snapshotClasses: [],
      csiDrivers: [],
      volumes: [],
      isSingleNode: false,
      now: '2027-01-01T00:00:00Z',
    })
    assert.deepEqual(again.status, first)
  })
})

describe('annotations of a profile', () => {
  it('tell the smallest claim, unless somebody has said something', () => {
    const ebs = storageClass('ebs.csi.aws.com', { parameters: { type: 'gp3' } })
    assert.deepEqual(plan({ storageClass: ebs }).annotations, { [annotations.minimumSupportedPvcSize]: '1Gi' })
    const annotated = { [annotations.minimumSupportedPvcSize]: '' }
    assert.deepEqual(plan({ storageClass: ebs, profile: profile({}, { annotated }) }).annotations, {})
  })

  it('tell how images are kept on Google disks, and follow the snapshot classes for images', () => {
    const gke = storageClass('pd.csi.storage.gke.io')
    const images = { parameters: { 'snapshot-type': 'images' } }
    const snapshotClasses = [
      snapshotClass('a', 'pd.csi.storage.gke.io'),
      snapshotClass('c', 'pd.csi.storage.gke.io', images),
      snapshotClass('b', 'pd.csi.storage.gke.io', images),
    ]
    const first = plan({ storageClass: gke, snapshotClasses }).annotations
    assert.deepEqual(first, {
      [annotations.useReadWriteOnceForDataImportCron]: 'true',
      [annotations.snapshotClassForDataImportCron]: 'b',
    })
    const annotated = {
      [annotations.useReadWriteOnceForDataImportCron]: 'false',
      [annotations.snapshotClassForDataImportCron]: 'by hand',
    }
    assert.deepEqual(plan({ storageClass: gke, profile: profile({}, { annotated }) }).annotations, {
      [annotations.snapshotClassForDataImportCron]: null,
    })
  })
})

describe('facts of a profile for the metric', () => {
  it('call a class complete when its modes are known or nobody wants them', () => {
    assert.ok(plan({ storageClass: storageClass('nfs.csi.k8s.io') }).facts.complete)
    assert.ok(plan({ storageClass: storageClass('stork-snapshot') }).facts.complete)
    assert.ok(!plan({ storageClass: storageClass('somebody.example') }).facts.complete)
  })

  it('tell the defaults from the annotations of the class', () => {
    const annotated = { [annotations.defaultStorageClass]: 'true', [annotations.defaultVirtStorageClass]: 'false' }
    const { facts } = plan({ storageClass: storageClass('somebody.example', { annotated }) })
    assert.deepEqual([facts.default, facts.virtdefault], [true, false])
  })

  it('call cloning smart when the driver or a snapshot class is really there', () => {
    const ceph = storageClass('rbd.csi.ceph.com')
    const driver = { metadata: { name: 'rbd.csi.ceph.com', uid: 'x', resourceVersion: '1' } }
    assert.equal(plan({ storageClass: ceph }).facts.smartclone, false)
    assert.equal(plan({ storageClass: ceph, csiDrivers: [driver] }).facts.smartclone, true)
    const topolvm = storageClass('somebody.example')
    const snapshotClasses = [snapshotClass('a', 'somebody.example')]
    assert.equal(plan({ storageClass: topolvm, snapshotClasses }).facts.smartclone, true)
  })

  it('call a class degraded without smart clones, or without ReadWriteMany except on a single node', () => {
    const snapshotClasses = [snapshotClass('a', 'topolvm.io'), snapshotClass('b', 'csi.example')]
    const rwo = profile({ claimPropertySets: [{ accessModes: ['ReadWriteOnce'], volumeMode: 'Block' }] })
    const rwx = profile({ claimPropertySets: [{ accessModes: ['ReadWriteMany'], volumeMode: 'Block' }] })
    const example = storageClass('csi.example')
    const degraded = (more: Partial<ProfileObservation>): boolean =>
      plan({ storageClass: example, snapshotClasses, ...more }).facts.degraded
    assert.equal(degraded({ profile: rwx }), false)
    assert.equal(degraded({ profile: rwo }), true)
    assert.equal(degraded({ profile: rwo, isSingleNode: true }), false)
    assert.equal(degraded({ profile: rwx, snapshotClasses: [] }), true)
  })
})
