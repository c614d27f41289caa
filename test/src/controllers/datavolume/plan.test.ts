import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import { isOurs, planSync } from '../../../../src/controllers/datavolume/plan.ts'
import type { SyncObservation, SyncPlan } from '../../../../src/controllers/datavolume/sync.ts'
import {
  cdiConfig,
  claim,
  csiDriver,
  dataVolume,
  directTarget,
  populatedTarget,
  prime,
  storageClass,
  storageProfile,
  volume,
} from '../fixtures.ts'

function seen(facts: Partial<SyncObservation> = {}): SyncObservation {
  return {
    dataVolume: dataVolume(),
    target: undefined,
    prime: undefined,
    source: undefined,
    storageClasses: [storageClass()],
    storageProfiles: [storageProfile()],
    csiDrivers: [csiDriver()],
    persistentVolumes: [],
    cdiConfig: cdiConfig(),
    honorWaitForFirstConsumer: true,
    adoptionGate: false,
    installer: {},
    ...facts,
  }
}

function planned<A extends SyncPlan['act']>(act: A, facts: Partial<SyncObservation>): Extract<SyncPlan, { act: A }> {
  const plan = planSync(seen(facts))
  assert.equal(plan.act, act, JSON.stringify(plan))
  return plan as Extract<SyncPlan, { act: A }>
}

const source = {
  apiVersion: 'cdi.kubevirt.io/v1beta1',
  kind: 'VolumeImportSource',
  metadata: { name: 'volume-import-source-uid-dv', namespace: 'vms', uid: 'u', resourceVersion: '1' },
  spec: {},
}

describe('a DataVolume without a claim', () => {
  it('gets claim and source in populator mode as in the recordings', () => {
    const plan = planned('create', {})
    assert.deepEqual(plan.dataVolumeAnnotations, { 'cdi.kubevirt.io/storage.usePopulator': 'true' })
    assert.deepEqual(plan.claim.metadata, {
      name: 'dv',
      namespace: 'vms',
      annotations: {
        'cdi.kubevirt.io/createdForDataVolume': 'uid-dv',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      },
      labels: {
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
      },
      ownerReferences: [
        {
          apiVersion: 'cdi.kubevirt.io/v1beta1',
          kind: 'DataVolume',
          name: 'dv',
          uid: 'uid-dv',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    })
    assert.deepEqual(plan.claim.spec?.dataSourceRef, {
      apiGroup: 'cdi.kubevirt.io',
      kind: 'VolumeImportSource',
      name: 'volume-import-source-uid-dv',
    })
    assert.equal(plan.claim.spec?.resources?.requests?.['storage'], '71135396')
    assert.equal(plan.source?.metadata.name, 'volume-import-source-uid-dv')
    assert.deepEqual(plan.source?.spec, { source: { http: { url: 'http://images.example/disk.qcow2' } } })
  })

  it('carries the order on the claim itself in the direct mode', () => {
    const plan = planned('create', { dataVolume: dataVolume({ annotated: { [annotations.usePopulator]: 'false' } }) })
    assert.deepEqual(plan.dataVolumeAnnotations, {})
    assert.equal(plan.source, undefined)
    assert.equal(plan.claim.spec?.dataSourceRef, undefined)
    const written = plan.claim.metadata.annotations ?? {}
    assert.equal(written[annotations.importSource], 'http')
    assert.equal(written[annotations.importEndpoint], 'http://images.example/disk.qcow2')
    assert.equal(written[annotations.usePopulator], 'false')
  })

  it('takes the direct mode when no CSI driver serves the class, or the class does not exist', () => {
    assert.deepEqual(planned('create', { csiDrivers: [] }).dataVolumeAnnotations, {
      [annotations.usePopulator]: 'false',
    })
    assert.deepEqual(planned('create', { storageClasses: [] }).dataVolumeAnnotations, {
      [annotations.usePopulator]: 'false',
    })
  })

  it('keeps the mode that was decided once, whatever drivers and classes came since', () => {
    const direct = dataVolume({ annotated: { [annotations.usePopulator]: 'false' } })
    const there = planned('create', { dataVolume: direct })
    assert.equal(there.source, undefined)
    assert.deepEqual(there.dataVolumeAnnotations, {})
    const populated = dataVolume({ annotated: { [annotations.usePopulator]: 'true' } })
    assert.ok(planned('create', { dataVolume: populated, csiDrivers: [] }).source)
  })

  it('refuses a mode that is no boolean', () => {
    const facts = { dataVolume: dataVolume({ annotated: { [annotations.usePopulator]: 'maybe' } }) }
    assert.throws(() => planSync(seen(facts)), /not a boolean/)
  })

  it('is bound at once when the gate is off', () => {
    const plan = planned('create', { honorWaitForFirstConsumer: false })
    assert.equal(plan.claim.metadata.annotations?.[annotations.bindImmediate], '')
  })

  it('says on the source only what the DataVolume says', () => {
    const plan = planned('create', {
      dataVolume: dataVolume({
        spec: { preallocation: true, contentType: 'archive', source: { http: { url: 'http://x/a.tar' } } },
      }),
    })
    assert.deepEqual(plan.source?.spec, {
      source: { http: { url: 'http://x/a.tar' } },
      contentType: 'archive',
      preallocation: true,
    })
  })

  it('says on the source where the disk is, whatever kind of place that is', () => {
    for (const source of [
      { s3: { url: 'https://s3.example/b/k', secretRef: 'keys' } },
      { gcs: { url: 'gs://b/o' } },
      { registry: { imageStream: 'fedora', pullMethod: 'node' } },
    ]) {
      const plan = planned('create', { dataVolume: dataVolume({ spec: { source } }) })
      assert.deepEqual(plan.source?.spec, { source })
    }
  })

  it('is refused when it wants an archive from a container image, in the words of the webhook', () => {
    const wish = dataVolume({ spec: { contentType: 'archive', source: { registry: { url: 'docker://x/y' } } } })
    assert.deepEqual(planned('refuse', { dataVolume: wish }).failure, {
      phase: '',
      reason: 'ErrClaimNotValid',
      message: 'ContentType must be kubevirt when Source is Registry',
    })
  })

  it('gets no claim when a restore will bring it', () => {
    planned('none', { dataVolume: dataVolume({ annotated: { [annotations.prePopulated]: 'dv' } }) })
  })

  it('is refused when it cannot be rendered', () => {
    const spec = { storage: { storageClassName: 'nothere', resources: { requests: { storage: '64Mi' } } } }
    assert.deepEqual(planned('refuse', { dataVolume: dataVolume({ spec }) }).failure, {
      phase: '',
      reason: 'ErrClaimNotValid',
      message: 'PVC spec is missing accessMode and no storageClass to choose profile',
    })
  })

  it('says no more than that there is no claim where the webhook completes claims, but tells why', () => {
    const spec = { storage: { storageClassName: 'nothere', resources: { requests: { storage: '64Mi' } } } }
    const labelled = dataVolume({ spec, labels: { 'cdi.kubevirt.io/applyStorageProfile': 'true' } })
    assert.deepEqual(planned('tell', { dataVolume: labelled }).event, {
      type: 'Warning',
      reason: 'ErrClaimNotValid',
      message: 'PVC spec is missing accessMode and no storageClass to choose profile',
    })
    const off = { ...cdiConfig(), spec: { webhookPvcRendering: 'Disabled' } }
    planned('refuse', { dataVolume: labelled, cdiConfig: off })
  })

  it('waits silently for a StorageProfile that has no status yet', () => {
    const spec = { storage: { storageClassName: 'csi', resources: { requests: { storage: '64Mi' } } } }
    planned('wait', { dataVolume: dataVolume({ spec }), storageProfiles: [] })
  })

  it('waits for CDIConfig, which knows sizes and gates', () => {
    planned('wait', { cdiConfig: undefined })
  })

  const checked = dataVolume({ annotated: { [annotations.checkStaticVolume]: '' } })
  it('takes a volume that lies ready for it instead of an import', () => {
    const ready = { phase: 'Available', claimRef: { namespace: 'vms', name: 'dv' } }
    const plan = planned('create', {
      dataVolume: checked,
      persistentVolumes: [
        volume({ name: 'pv-b', ...ready }),
        volume({ name: 'pv-a', ...ready }),
        volume({ name: 'pv-small', ...ready, size: '1Mi' }),
        volume({ name: 'pv-other', phase: 'Available', claimRef: { namespace: 'vms', name: 'other' } }),
      ],
    })
    assert.equal(plan.claim.metadata.annotations?.[annotations.persistentVolumeList], '["pv-a","pv-b"]')
    assert.equal(plan.claim.spec?.dataSourceRef, undefined)
    assert.equal(plan.source, undefined)
  })

  it('takes a volume so new that Kubernetes has not looked at it, and none that is or was in use', () => {
    const claimRef = { namespace: 'vms', name: 'dv' }
    const persistentVolumes = ['', 'Pending', 'Bound', 'Released', 'Failed'].map((phase) =>
      volume({ name: `pv-${phase.toLowerCase() || 'new'}`, phase, claimRef }),
    )
    const plan = planned('create', { dataVolume: checked, persistentVolumes })
    assert.equal(plan.claim.metadata.annotations?.[annotations.persistentVolumeList], '["pv-new","pv-pending"]')
  })

  it('is imported as usual when no volume lies ready', () => {
    const plan = planned('create', { dataVolume: checked })
    assert.equal(plan.claim.metadata.annotations?.[annotations.persistentVolumeList], undefined)
    assert.ok(plan.source)
  })

  it('is bound to the volumes that lie ready although it names a data source', () => {
    const dataSourceRef = { apiGroup: 'x.example', kind: 'Thing', name: 'thing' }
    const spec = { source: undefined, storage: { ...dataVolume().spec.storage, dataSourceRef } }
    const external = dataVolume({ spec, annotated: { [annotations.checkStaticVolume]: '' } })
    const persistentVolumes = [volume({ name: 'pv-a', phase: 'Available', claimRef: { namespace: 'vms', name: 'dv' } })]
    const plan = planned('create', { dataVolume: external, persistentVolumes, csiDrivers: [] })
    assert.equal(plan.claim.metadata.annotations?.[annotations.persistentVolumeList], '["pv-a"]')
    assert.deepEqual(plan.events ?? [], [])
  })

  it('asks for what the volume has that lies ready when its size was to come from its source', () => {
    const spec = {
      source: { pvc: { namespace: 'vms', name: 'gone' } },
      storage: { accessModes: ['ReadWriteOnce'], storageClassName: 'csi' },
    }
    const clone = dataVolume({ spec, annotated: { [annotations.checkStaticVolume]: '' } })
    const ready = { phase: 'Available', claimRef: { namespace: 'vms', name: 'dv' } }
    const persistentVolumes = [
      volume({ name: 'pv-large', ...ready, size: '2Gi' }),
      volume({ name: 'pv-small', ...ready, size: '1500Mi' }),
    ]
    const plan = planned('create', { dataVolume: clone, persistentVolumes })
    assert.equal(plan.claim.spec?.resources?.requests?.['storage'], '1500Mi')
  })

  it('that wants more than any storage has is told so', () => {
    const resources = { requests: { storage: '10Pi' } }
    const storage = { accessModes: ['ReadWriteOnce'], storageClassName: 'csi', resources }
    const plan = planned('refuse', { dataVolume: dataVolume({ spec: { storage } }) })
    assert.equal(plan.failure.reason, 'ErrClaimNotValid')
    assert.match(plan.failure.message, /storage size 10Pi is more than 4Pi/)
  })

  it('is left to the storage when it names a data source', () => {
    const dataSourceRef = { apiGroup: 'x.example', kind: 'Thing', name: 'thing' }
    const spec = { source: undefined, storage: { ...dataVolume().spec.storage, dataSourceRef } }
    const served = planned('create', { dataVolume: dataVolume({ spec }) })
    assert.equal(served.claim.metadata.annotations?.[annotations.externalPopulation], 'true')
    assert.deepEqual(served.claim.spec?.dataSourceRef, dataSourceRef)
    assert.equal(served.source, undefined)
    assert.deepEqual(served.events, [])
    const not = planned('create', { dataVolume: dataVolume({ spec }), csiDrivers: [] })
    assert.deepEqual(
      not.events?.map(({ reason }) => reason),
      ['NoCSIDriverForExternalPopulation'],
    )
  })
})

describe('a DataVolume with a claim', () => {
  it('needs nothing more while the import runs', () => {
    planned('none', { target: populatedTarget(), source, prime: prime() })
    planned('none', { target: directTarget() })
  })

  it('waits until the claim of a former DataVolume has gone', () => {
    const plan = planned('none', { target: claim({ terminating: true, owner: dataVolume() }) })
    assert.deepEqual(plan.events, [
      { type: 'Warning', reason: 'ErrResourceMarkedForDeletion', message: 'Resource "dv" marked for deletion' },
    ])
  })

  it('does not touch a claim that is not its own', () => {
    const events = [
      {
        type: 'Warning',
        reason: 'ErrResourceExists',
        message: 'Resource "dv" already exists and is not managed by DataVolume',
      },
    ]
    assert.deepEqual(planned('none', { target: claim() }).events, events)
    const foreign = claim({ owner: claim({ name: 'else' }), annotated: { [annotations.populatedFor]: 'dv' } })
    assert.deepEqual(planned('none', { target: foreign }).events, events)
  })

  it('adopts a claim that holds its data or that it may take', () => {
    planned('adopt', { target: claim({ annotated: { [annotations.populatedFor]: 'dv' } }) })
    planned('adopt', { target: claim(), adoptionGate: true })
    planned('adopt', {
      target: claim(),
      dataVolume: dataVolume({ annotated: { [annotations.allowClaimAdoption]: 'true' } }),
    })
  })

  it('does not adopt against its own annotation, even one that makes no sense', () => {
    for (const value of ['false', 'perhaps']) {
      const wish = dataVolume({ annotated: { [annotations.allowClaimAdoption]: value } })
      planned('none', { target: claim(), dataVolume: wish, adoptionGate: true })
    }
  })

  it('marks itself as pre-populated once the filled claim is bound', () => {
    const target = claim({ phase: 'Bound', owner: dataVolume(), annotated: { [annotations.populatedFor]: 'dv' } })
    const plan = planned('annotateDataVolume', { target })
    assert.deepEqual(plan.annotations, { [annotations.prePopulated]: 'dv' })
    planned('none', { target, dataVolume: dataVolume({ annotated: { [annotations.prePopulated]: 'dv' } }) })
  })

  it('marks its claim as filled when it says so itself, after success only', () => {
    const facts = { annotated: { [annotations.populatedFor]: 'dv' } }
    const target = directTarget({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    planned('none', { target, dataVolume: dataVolume(facts) })
    const done = dataVolume({ ...facts, status: { phase: 'Succeeded' } })
    assert.deepEqual(planned('annotateTarget', { target, dataVolume: done }).annotations, facts.annotated)
  })

  it('takes a volume of its own that arrived, and sends away a wrong one', () => {
    const facts = { owner: dataVolume(), annotated: { [annotations.persistentVolumeList]: '["pv-1"]' } }
    planned('none', { target: claim(facts) })
    const right = planned('annotateTarget', {
      target: claim({ ...facts, phase: 'Bound', spec: { volumeName: 'pv-1' } }),
    })
    assert.deepEqual(right.annotations, { [annotations.persistentVolumeList]: null, [annotations.populatedFor]: 'dv' })
    const wrong = planned('deleteTarget', { target: claim({ ...facts, phase: 'Bound', spec: { volumeName: 'pv-9' } }) })
    assert.equal(wrong.message, 'DataVolume bound to unexpected PV pv-9')
  })

  it('makes a source again that was deleted too early, but not once P is there', () => {
    planned('makeSource', { target: populatedTarget() })
    planned('none', { target: populatedTarget(), prime: prime() })
    planned('none', { target: populatedTarget({ annotated: { [annotations.podPhase]: 'Succeeded' } }) })
  })

  it('deletes the source when all is done', () => {
    const target = populatedTarget({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    planned('none', { target, source })
    planned('deleteSource', { target, source, dataVolume: dataVolume({ status: { phase: 'Succeeded' } }) })
  })
})

describe('a DataVolume of a container image', () => {
  const registry = { source: { registry: { url: 'docker://registry.example/disk' } } }
  const told = {
    'instancetype.kubevirt.io/default-instancetype': 'u1.small',
    'instancetype.kubevirt.io/default-instancetype-kind': 'VirtualMachineClusterInstancetype',
    'instancetype.kubevirt.io/default-preference': 'fedora',
    'instancetype.kubevirt.io/default-preference-kind': 'VirtualMachineClusterPreference',
  }
  const filled = populatedTarget({ phase: 'Bound', labels: { ...told, 'kubevirt.io/other': 'x', app: 'y' } })

  it('bears the four labels that the image has told on its claim, and no others', () => {
    const plan = planned('labelDataVolume', { dataVolume: dataVolume({ spec: registry }), target: filled })
    assert.deepEqual(plan.labels, told)
  })

  it('keeps what it says itself, if only one of the four', () => {
    const labels = { 'instancetype.kubevirt.io/default-preference': 'mine' }
    planned('none', { dataVolume: dataVolume({ spec: registry, labels }), target: filled, source })
  })

  it('is the only one that does', () => {
    planned('none', { dataVolume: dataVolume(), target: filled, source })
  })

  it('has nothing to bear while the claim says nothing', () => {
    planned('none', { dataVolume: dataVolume({ spec: registry }), target: populatedTarget(), source })
  })
})

describe('whose DataVolume it is', () => {
  it('answers for imports, uploads, clones and the storage, not for what nobody here fills', () => {
    assert.equal(isOurs(dataVolume()), true)
    for (const source of [
      { blank: {} },
      { s3: { url: 'https://x/b/k' } },
      { gcs: { url: 'gs://b/o' } },
      { registry: { url: 'docker://x/y' } },
      { upload: {} },
      { pvc: { namespace: 'a', name: 'b' } },
      { snapshot: { namespace: 'a', name: 'b' } },
    ]) {
      assert.equal(isOurs(dataVolume({ spec: { source } })), true, JSON.stringify(source))
    }
    assert.equal(
      isOurs(dataVolume({ spec: { source: undefined, sourceRef: { kind: 'DataSource', name: 'x' } } })),
      true,
    )
    assert.equal(isOurs(dataVolume({ spec: { source: undefined } })), false)
  })
})

describe('a DataVolume that a client fills', () => {
  const upload = { source: { upload: {} } }

  it('gets claim and source in populator mode as in the recordings', () => {
    const plan = planned('create', { dataVolume: dataVolume({ spec: upload }) })
    assert.deepEqual(plan.claim.spec?.dataSourceRef, {
      apiGroup: 'cdi.kubevirt.io',
      kind: 'VolumeUploadSource',
      name: 'volume-upload-source-uid-dv',
    })
    assert.deepEqual(plan.claim.metadata.annotations, {
      'cdi.kubevirt.io/createdForDataVolume': 'uid-dv',
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.pod.restarts': '0',
      'cdi.kubevirt.io/storage.preallocation.requested': 'false',
      'cdi.kubevirt.io/storage.usePopulator': 'true',
    })
    assert.deepEqual(plan.source, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'VolumeUploadSource',
      metadata: {
        name: 'volume-upload-source-uid-dv',
        namespace: 'vms',
        ownerReferences: [
          {
            apiVersion: 'cdi.kubevirt.io/v1beta1',
            kind: 'DataVolume',
            name: 'dv',
            uid: 'uid-dv',
            controller: true,
            blockOwnerDeletion: true,
          },
        ],
      },
      spec: {},
      status: {},
    })
  })

  it('says on the source only what it says itself', () => {
    const spec = { ...upload, contentType: 'archive', preallocation: true } as const
    assert.deepEqual(planned('create', { dataVolume: dataVolume({ spec }) }).source?.spec, {
      contentType: 'archive',
      preallocation: true,
    })
  })

  it('marks the claim itself in the direct mode, and hands the checksum on in both', () => {
    for (const mode of ['true', 'false']) {
      const annotated = { [annotations.usePopulator]: mode, [annotations.uploadChecksum]: 'sha256:00' }
      const plan = planned('create', { dataVolume: dataVolume({ spec: upload, annotated }) })
      const written = plan.claim.metadata.annotations ?? {}
      assert.equal(written[annotations.uploadTarget], mode === 'false' ? '' : undefined)
      assert.equal(written[annotations.uploadChecksum], 'sha256:00')
      assert.equal(plan.claim.spec?.dataSourceRef === undefined, mode === 'false')
    }
  })

  it('makes its source anew while the claim waits for it, and deletes it when all is done', () => {
    const target = populatedTarget({
      spec: { dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 'x' } },
    })
    const made = planned('makeSource', { dataVolume: dataVolume({ spec: upload }), target })
    assert.equal(made.source.kind, 'VolumeUploadSource')
    planned('none', { dataVolume: dataVolume({ spec: upload }), target, prime: prime() })
    const done = populatedTarget({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    const there = { ...source, kind: 'VolumeUploadSource' }
    planned('deleteSource', {
      dataVolume: dataVolume({ spec: upload, status: { phase: 'Succeeded' } }),
      target: done,
      source: there,
    })
  })
})
