import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import type { Pod, VolumeCloneSource } from '../../../../src/api/kinds.ts'
import type { CloneObservation } from '../../../../src/controllers/datavolume/clone/observe.ts'
import { planSync } from '../../../../src/controllers/datavolume/plan.ts'
import type { SyncObservation, SyncPlan } from '../../../../src/controllers/datavolume/sync.ts'
import { claim, storageClass, volume } from '../fixtures.ts'
import {
  cloneDataVolume,
  cloneTarget,
  copyTarget,
  orderFromAfar,
  orderOfSnapshot,
  seen,
  snapshotContent,
  sourceClaim,
  sourceSnapshot,
} from './clone-fixtures.ts'

type Facts = Partial<Omit<SyncObservation, 'clone'>>

function planned<A extends SyncPlan['act']>(
  act: A,
  facts: Facts = {},
  clone: Partial<CloneObservation> = {},
): Extract<SyncPlan, { act: A }> {
  const plan = planSync(seen(facts, clone))
  assert.equal(plan.act, act, JSON.stringify(plan))
  return plan as Extract<SyncPlan, { act: A }>
}

const short = { [annotations.cloneToken]: 'short' }
const long = { ...short, [annotations.extendedCloneToken]: 'long' }
const finalizer = 'cdi.kubevirt.io/dataVolumeFinalizer'
const afar = { order: orderFromAfar, origin: { claim: sourceClaim({ namespace: 'golden' }) } }
const direct = { [annotations.usePopulator]: 'false' }

const made: VolumeCloneSource = {
  apiVersion: 'cdi.kubevirt.io/v1beta1',
  kind: 'VolumeCloneSource',
  metadata: { name: 'volume-clone-source-uid-dv', namespace: 'vms', uid: 'uid-vcs', resourceVersion: '1' },
  spec: { source: { kind: 'PersistentVolumeClaim', name: 'src' } },
}
const sizePod: Pod = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'size-detection-uid-src', namespace: 'vms', uid: 'uid-pod', resourceVersion: '1' },
  spec: { containers: [] },
}
const leftovers = { sources: [made], pods: [sizePod], claims: [] }
const succeeded = { phase: 'Succeeded' }

describe('a clone without T', () => {
  it('gets a claim as in the recordings, and its source afterwards', () => {
    const plan = planned('create', { dataVolume: cloneDataVolume({ annotated: short }) })
    assert.equal(plan.source, undefined)
    assert.deepEqual(plan.dataVolumeAnnotations, { [annotations.usePopulator]: 'true' })
    assert.deepEqual(plan.claim.metadata.annotations, {
      'cdi.kubevirt.io/createdForDataVolume': 'uid-dv',
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.pod.restarts': '0',
      'cdi.kubevirt.io/storage.preallocation.requested': 'false',
      'cdi.kubevirt.io/storage.usePopulator': 'true',
    })
    assert.deepEqual(plan.claim.spec?.dataSourceRef, {
      apiGroup: 'cdi.kubevirt.io',
      kind: 'VolumeCloneSource',
      name: 'volume-clone-source-uid-dv',
    })
    assert.equal(plan.claim.spec?.resources?.requests?.['storage'], '71135396')
  })

  it('across namespaces names that of the source, with the short token and nothing that was smuggled in', () => {
    const annotated = { ...long, [annotations.permissiveClone]: 'true' }
    const plan = planned(
      'create',
      { dataVolume: cloneDataVolume({ order: orderFromAfar, annotated, finalizers: [finalizer] }) },
      { ...afar, authority: 'extended' },
    )
    const written = plan.claim.metadata.annotations ?? {}
    assert.equal(written[annotations.dataSourceNamespace], 'golden')
    assert.equal(written[annotations.cloneToken], 'short')
    assert.equal(written[annotations.extendedCloneToken], undefined)
    assert.equal(written[annotations.permissiveClone], 'true')
    assert.equal('namespace' in (plan.claim.spec?.dataSourceRef ?? {}), false)
  })

  it('is bound at once when the gate is off', () => {
    const plan = planned('create', { honorWaitForFirstConsumer: false })
    assert.equal(plan.claim.metadata.annotations?.[annotations.bindImmediate], '')
  })

  it('may wish how it is cloned', () => {
    const plan = planned('create', { dataVolume: cloneDataVolume({ annotated: { [annotations.cloneType]: 'copy' } }) })
    assert.equal(plan.claim.metadata.annotations?.[annotations.cloneType], 'copy')
  })

  describe('takes its steps in this order:', () => {
    const bare = cloneDataVolume({ order: orderFromAfar, annotated: short })
    const lasting = cloneDataVolume({ order: orderFromAfar, annotated: long })
    const held = cloneDataVolume({ order: orderFromAfar, annotated: long, finalizers: [finalizer] })
    const sizeless = { spec: { storage: { accessModes: ['ReadWriteOnce'], storageClassName: 'csi' } } }
    const disk = {
      claim: sourceClaim({ namespace: 'golden', annotated: { [annotations.contentType]: 'kubevirt' } }),
    }
    const noSource = { order: orderFromAfar, origin: undefined }
    const steps: [string, SyncPlan['act'], Facts, Partial<CloneObservation>][] = [
      ['an unknown source', 'block', { dataVolume: bare }, { ...noSource, unresolved: 'x', authority: 'needless' }],
      ['no token', 'block', { dataVolume: bare }, { ...noSource, authority: { refused: 'token missing' } }],
      ['a token that does not last', 'extendToken', { dataVolume: bare }, { ...noSource, authority: 'short' }],
      ['no source', 'refuse', { dataVolume: lasting }, { ...noSource, authority: 'extended' }],
      [
        'no size',
        'schedule',
        { dataVolume: cloneDataVolume({ order: orderFromAfar, annotated: long, ...sizeless }) },
        { ...afar, origin: disk, authority: 'extended' },
      ],
      ['no finalizer', 'schedule', { dataVolume: lasting }, { ...afar, authority: 'extended' }],
      ['no T', 'create', { dataVolume: held }, { ...afar, authority: 'extended' }],
      [
        'T without a token',
        'extendTargetToken',
        { dataVolume: held, target: cloneTarget() },
        { ...afar, authority: 'extended' },
      ],
      [
        'no VolumeCloneSource',
        'makeSource',
        { dataVolume: held, target: cloneTarget({ annotated: { [annotations.extendedCloneToken]: 'of T' } }) },
        { ...afar, authority: 'extended' },
      ],
      [
        'T that was told how',
        'annotateDataVolume',
        {
          dataVolume: held,
          source: made,
          target: cloneTarget({
            annotated: { [annotations.extendedCloneToken]: 'of T', [annotations.cloneType]: 'snapshot' },
          }),
        },
        afar,
      ],
    ]
    for (const [name, act, facts, clone] of steps) it(`${name}: ${act}`, () => void planned(act, facts, clone))
  })

  it('keeps what was noted before, and notes the mode with the token', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, annotated: short })
    const plan = planned('extendToken', { dataVolume }, { ...afar, authority: 'short' })
    assert.deepEqual(plan.annotations, { [annotations.usePopulator]: 'true' })
    assert.deepEqual(plan.order, orderFromAfar)
  })

  it('gets the finalizer beside others, and is scheduled meanwhile', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, annotated: long, finalizers: ['example.com/other'] })
    const plan = planned('schedule', { dataVolume }, { ...afar, authority: 'extended' })
    assert.deepEqual(plan.finalizers, ['example.com/other', finalizer])
    assert.deepEqual(plan.failure, {
      phase: 'CloneScheduled',
      reason: 'CloneScheduled',
      message: 'Cloning from golden/src into vms/dv scheduled',
    })
  })

  const refusals: [string, Partial<CloneObservation>, Facts, string, string][] = [
    ['a missing claim', { origin: undefined }, {}, 'CloneWithoutSource', "The source pvc src doesn't exist"],
    [
      'a missing snapshot',
      { order: orderOfSnapshot, origin: undefined },
      {},
      'CloneWithoutSource',
      "The source snapshot snap doesn't exist",
    ],
    [
      'another content type',
      { origin: { claim: sourceClaim({ annotated: { [annotations.contentType]: 'archive' } }) } },
      {},
      'CloneValidationFailed',
      "The clone doesn't meet the validation requirements: Source contentType (archive) and target contentType (kubevirt) do not match",
    ],
    [
      'a claim of spec.pvc that is too small',
      {},
      {
        dataVolume: cloneDataVolume({
          spec: {
            storage: undefined,
            pvc: {
              accessModes: ['ReadWriteOnce'],
              storageClassName: 'csi',
              resources: { requests: { storage: '16Mi' } },
            },
          },
        }),
      },
      'CloneValidationFailed',
      "The clone doesn't meet the validation requirements: target resources requests storage size is smaller than the source 16777216 < 71135396",
    ],
    [
      'a snapshot that failed',
      {
        order: orderOfSnapshot,
        origin: { snapshot: sourceSnapshot({ status: { error: { message: 'boom' } } }), content: undefined },
      },
      {},
      'CloneValidationFailed',
      "The clone doesn't meet the validation requirements: snapshot in error state with msg: boom",
    ],
  ]
  for (const [name, clone, facts, reason, message] of refusals) {
    it(`tells of ${name} and leaves the phase`, () => {
      const plan = planned('refuse', facts, clone)
      assert.deepEqual(plan.failure, { phase: 'Pending', reason, message })
      assert.deepEqual(plan.dataVolumeAnnotations, { [annotations.usePopulator]: 'true' })
      const waiting = { ...seen(facts, clone).dataVolume, status: { phase: 'CloneScheduled' } }
      assert.equal(planned('refuse', { ...facts, dataVolume: waiting }, clone).failure.phase, 'CloneScheduled')
    })
  }

  it('does not compare sizes when it is permissive', () => {
    const pvc = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '16Mi' } } }
    const annotated = { [annotations.permissiveClone]: 'true' }
    planned('create', { dataVolume: cloneDataVolume({ spec: { storage: undefined, pvc }, annotated }) })
  })

  it('tells why a source may not be read, behind the words that clients know', () => {
    const plan = planned('block', {}, { ...afar, authority: { refused: 'token missing' } })
    assert.equal(plan.message, 'token missing')
    assert.deepEqual(plan.failure, { phase: 'Pending', reason: 'NotFound', message: 'No PVC found: token missing' })
  })

  describe('without a size', () => {
    const dataVolume = cloneDataVolume({
      spec: { storage: { accessModes: ['ReadWriteOnce'], volumeMode: 'Filesystem', storageClassName: 'csi' } },
    })
    const disk = (annotated: Record<string, string> = {}): CloneObservation['origin'] => ({
      claim: sourceClaim({ annotated: { [annotations.contentType]: 'kubevirt', ...annotated } }),
    })

    it('has the size found out by a pod', () => {
      const plan = planned('schedule', { dataVolume }, { origin: disk() })
      assert.equal(plan.makePod?.metadata.name, 'size-detection-uid-src')
      assert.deepEqual(
        plan.events.map(({ reason }) => reason),
        ['SizeDetectionPodCreated'],
      )
      assert.deepEqual(plan.annotations, { [annotations.usePopulator]: 'true' })
    })

    it('waits for a source that is being filled', () => {
      const plan = planned('schedule', { dataVolume }, { origin: disk(), isSourcePopulated: false })
      assert.equal(plan.makePod, undefined)
      assert.deepEqual(
        plan.events.map(({ reason }) => reason),
        ['ImportPVCNotReady'],
      )
      assert.ok(plan.requeueAfterMs)
    })

    it('takes the size that the source remembers, and is permissive if the source is larger', () => {
      const remembered = { [annotations.virtualSize]: '67108864', [annotations.sourceCapacity]: '71135396' }
      const plan = planned('create', { dataVolume }, { origin: disk(remembered) })
      assert.equal(plan.claim.spec?.resources?.requests?.['storage'], '71135396')
      assert.equal(plan.claim.metadata.annotations?.[annotations.permissiveClone], 'true')
      assert.equal(plan.dataVolumeAnnotations[annotations.permissiveClone], 'true')
      assert.equal(plan.sourceMarks, undefined)
    })

    it('notes on the source what the pod found', () => {
      const state = { terminated: { exitCode: 0, message: '67108864' } }
      const name = 'size-detection-volume'
      const done: Pod = {
        ...sizePod,
        spec: {
          containers: [{ name }],
          volumes: [{ name: 'data', persistentVolumeClaim: { claimName: 'src' } }],
        },
        status: {
          phase: 'Succeeded',
          containerStatuses: [{ name, image: '', imageID: '', ready: false, restartCount: 0, state }],
        },
      }
      const plan = planned('create', { dataVolume }, { origin: disk(), sizePod: done })
      assert.deepEqual(plan.sourceMarks?.annotations, {
        [annotations.virtualSize]: '67108864',
        [annotations.sourceCapacity]: '71135396',
      })
    })

    const unusable: [string, ReturnType<typeof sourceSnapshot>, string][] = [
      ['without a status', { ...sourceSnapshot(), status: undefined }, 'no status on source snapshot yet'],
      [
        'that failed before its size was known',
        sourceSnapshot({ status: { error: { message: 'boom' }, restoreSize: undefined } }),
        'snapshot in error state with msg: boom',
      ],
    ]
    for (const [name, snapshot, text] of unusable) {
      it(`tells of a snapshot ${name} what is wrong with it, not that it has no size`, () => {
        const source = { snapshot: { namespace: 'vms', name: 'snap' } }
        const clone = { order: orderOfSnapshot, origin: { snapshot, content: undefined } }
        const { failure } = planned(
          'refuse',
          { dataVolume: { ...dataVolume, spec: { ...dataVolume.spec, source } } },
          clone,
        )
        assert.equal(failure.message, `The clone doesn't meet the validation requirements: ${text}`)
      })
    }

    it('takes the size of a snapshot', () => {
      const plan = planned(
        'create',
        {
          dataVolume: {
            ...dataVolume,
            spec: { ...dataVolume.spec, source: { snapshot: { namespace: 'vms', name: 'snap' } } },
          },
        },
        { order: orderOfSnapshot, origin: { snapshot: sourceSnapshot(), content: snapshotContent() } },
      )
      assert.equal(plan.claim.spec?.resources?.requests?.['storage'], String(64 * 1024 * 1024))
    })
  })

  it('is not made while somebody else is to bring its claim', () => {
    const dataVolume = cloneDataVolume({ annotated: { [annotations.prePopulated]: 'dv' } })
    planned('none', { dataVolume }, { origin: undefined })
  })

  it('takes a volume that lies ready, whether its source exists or not', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, annotated: { [annotations.checkStaticVolume]: '' } })
    const ready = volume({ phase: 'Available', claimRef: { namespace: 'vms', name: 'dv' } })
    const plan = planned(
      'create',
      { dataVolume, persistentVolumes: [ready] },
      { order: orderFromAfar, origin: undefined, authority: { refused: 'token missing' } },
    )
    assert.equal(plan.claim.metadata.annotations?.[annotations.persistentVolumeList], '["pv-1"]')
    assert.equal(plan.claim.spec?.dataSourceRef, undefined)
  })
})

describe('a clone in the direct mode', () => {
  const inDirect = cloneDataVolume({ annotated: direct })

  it('has the order on T itself, and tells why it is a copy', () => {
    const plan = planned('create', { dataVolume: inDirect })
    const written = plan.claim.metadata.annotations ?? {}
    assert.equal(plan.claim.spec?.dataSourceRef, undefined)
    assert.equal(written['k8s.io/CloneRequest'], 'vms/src')
    assert.equal(written[annotations.ownerUid], 'uid-dv')
    assert.equal(written[annotations.cloneType], 'copy')
    const text = 'In tree storage class does not support snapshot/clone'
    assert.equal(written[annotations.cloneFallbackReason], text)
    assert.equal(written[annotations.dataSourceNamespace], undefined)
    assert.deepEqual(plan.dataVolumeAnnotations, { [annotations.cloneType]: 'copy' })
    assert.deepEqual(plan.targetEvents, [{ type: 'Warning', reason: 'NoPopulator', message: text }])
  })

  it('has tokens across namespaces, and no finalizer', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, annotated: { ...direct, ...long } })
    const plan = planned('create', { dataVolume }, { ...afar, authority: 'extended' })
    assert.equal(plan.claim.metadata.annotations?.[annotations.cloneToken], 'short')
    assert.equal(plan.claim.metadata.annotations['k8s.io/CloneRequest'], 'golden/src')
    const target = copyTarget({ annotated: { [annotations.cloneType]: undefined } })
    planned('extendTargetToken', { dataVolume, target }, { ...afar, authority: 'extended' })
    const owned = copyTarget({ annotated: { [annotations.extendedCloneToken]: 'of T' } })
    planned('none', { dataVolume, target: owned }, { ...afar, authority: 'extended' })
  })

  describe('of a snapshot', () => {
    const dataVolume = cloneDataVolume({ order: orderOfSnapshot, annotated: direct })
    const origin = { snapshot: sourceSnapshot(), content: snapshotContent() }
    const clone = { order: orderOfSnapshot, origin }
    const target = copyTarget({ annotated: { [annotations.cloneRequest]: 'vms/uid-dv-host-assisted-source-pvc' } })

    it('copies from a claim that the snapshot is restored to', () => {
      const plan = planned('create', { dataVolume }, clone)
      assert.equal(plan.claim.metadata.annotations?.['k8s.io/CloneRequest'], 'vms/uid-dv-host-assisted-source-pvc')
      const { claim: restored } = planned('makeCopySource', { dataVolume, target }, clone)
      assert.deepEqual(restored.metadata, {
        name: 'uid-dv-host-assisted-source-pvc',
        namespace: 'vms',
        labels: {
          app: 'containerized-data-importer',
          'cdi.kubevirt.io': 'cdi-clone-from-snapshot-source-host-assisted-fallback-pvc',
          'velero.io/exclude-from-backup': 'true',
        },
        annotations: {
          [annotations.ownedByDataVolume]: 'vms/dv',
          [annotations.ownerUid]: 'uid-dv',
          [annotations.contentType]: 'kubevirt',
        },
      })
      assert.deepEqual(restored.spec, {
        accessModes: ['ReadWriteOnce'],
        volumeMode: 'Filesystem',
        storageClassName: 'csi',
        resources: { requests: { storage: String(64 * 1024 * 1024) } },
        dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' },
      })
    })

    it('restores it once, and as large as T if the storage does not know its size', () => {
      planned('none', { dataVolume, target }, { ...clone, copySource: claim({ name: 'restored' }) })
      const unknown = { snapshot: sourceSnapshot({ status: { restoreSize: '0' } }), content: snapshotContent() }
      const { claim: restored } = planned('makeCopySource', { dataVolume, target }, { ...clone, origin: unknown })
      assert.equal(restored.spec?.resources?.requests?.['storage'], '71135396')
    })

    it('needs a class of the driver that made it', () => {
      const other = { snapshot: sourceSnapshot(), content: snapshotContent('other.example') }
      const text = 'no storage class match for snapshot driver'
      assert.equal(planned('block', { dataVolume }, { ...clone, origin: other }).message, text)
      assert.equal(planned('block', { dataVolume, target }, { ...clone, origin: other }).message, text)
      const storageClasses = [storageClass(), storageClass({ name: 'restores', provisioner: 'other.example' })]
      const found = planned('makeCopySource', { dataVolume, target, storageClasses }, { ...clone, origin: other })
      assert.equal(found.claim.spec?.storageClassName, 'restores')
    })

    it('waits for a snapshot whose content is not there yet', () => {
      planned('none', { dataVolume, target }, { ...clone, origin: { ...origin, content: undefined } })
    })
  })
})

describe('a clone with its T', () => {
  it('gets a source that belongs to it, or across namespaces says whose it is', () => {
    const { source } = planned('makeSource', { target: cloneTarget() })
    assert.equal(source.metadata.namespace, 'vms')
    assert.equal(source.metadata.ownerReferences?.[0]?.uid, 'uid-dv')
    assert.deepEqual(source.spec, { source: { kind: 'PersistentVolumeClaim', name: 'src' } })
    assert.equal('status' in source, false)

    const spec = { preallocation: true, priorityClassName: 'high' }
    const order = { ...orderOfSnapshot, source: { ...orderOfSnapshot.source, namespace: 'golden' } }
    const annotated = { [annotations.extendedCloneToken]: 'of T' }
    const far = planned(
      'makeSource',
      { dataVolume: cloneDataVolume({ order, annotated: long, spec }), target: cloneTarget({ annotated }) },
      { order, authority: 'extended' },
    ).source
    assert.equal(far.metadata.namespace, 'golden')
    assert.equal(far.metadata.ownerReferences, undefined)
    assert.deepEqual(far.metadata.annotations, { [annotations.ownedByDataVolume]: 'vms/dv' })
    assert.deepEqual(far.spec, {
      source: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' },
      preallocation: true,
      priorityClassName: 'high',
    })
  })

  it('replaces the token of the DataVolume on T by one of its own', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, annotated: long })
    const target = cloneTarget({ annotated: { [annotations.extendedCloneToken]: 'long' } })
    planned('extendTargetToken', { dataVolume, target, source: made }, { ...afar, authority: 'extended' })
  })

  it('does nothing in the namespace of the source when the token does not allow it', () => {
    const facts = { dataVolume: cloneDataVolume({ order: orderFromAfar }), target: cloneTarget() }
    const plan = planned('block', facts, { ...afar, authority: { refused: 'invalid token' } })
    assert.equal(plan.message, 'invalid token')
  })

  it('goes on by itself once it has all', () => {
    planned('none', { target: cloneTarget(), source: made })
  })

  it('needs nothing when the claim holds its data already', () => {
    const target = cloneTarget({ annotated: { [annotations.populatedFor]: 'dv', [annotations.cloneType]: 'copy' } })
    planned('none', { target }, { origin: undefined })
  })

  it('bears the instance type of its source, unless it says one itself', () => {
    const labels = { 'instancetype.kubevirt.io/default-instancetype': 'u1.medium' }
    assert.deepEqual(planned('labelDataVolume', { target: cloneTarget(), source: made }, { labels }).labels, labels)
    const own = cloneDataVolume({ labels: { 'instancetype.kubevirt.io/default-preference': 'fedora' } })
    planned('none', { dataVolume: own, target: cloneTarget(), source: made }, { labels })
    const filled = cloneTarget({ annotated: { [annotations.populatedFor]: 'dv' } })
    planned('none', { target: filled, dataVolume: cloneDataVolume({ order: orderFromAfar }) }, { ...afar, labels })
    const refused = { ...afar, labels, authority: { refused: 'token missing' } }
    const plan = planSync(
      seen({ target: cloneTarget(), dataVolume: cloneDataVolume({ order: orderFromAfar }) }, refused),
    )
    assert.notEqual(plan.act, 'labelDataVolume', 'who may not read the source does not learn its labels')
  })
})

describe('a clone that has succeeded', () => {
  const done = cloneTarget({ phase: 'Bound', annotated: { [annotations.clonePhase]: 'Succeeded' } })

  it('leaves nothing behind', () => {
    const plan = planned('cleanUp', { dataVolume: cloneDataVolume({ status: succeeded }), target: done }, { leftovers })
    assert.deepEqual(plan.leftovers, leftovers)
  })

  it('keeps the pod if it was asked to', () => {
    const annotated = { [annotations.podRetainAfterCompletion]: 'true' }
    const dataVolume = cloneDataVolume({ status: succeeded, annotated })
    const plan = planned('cleanUp', { dataVolume, target: done }, { leftovers })
    assert.deepEqual(plan.leftovers, { ...leftovers, pods: [] })
    planned('none', { dataVolume, target: done }, { leftovers: { ...leftovers, sources: [] } })
  })

  it('loses its finalizer although nothing is left', () => {
    const dataVolume = cloneDataVolume({ order: orderFromAfar, status: succeeded, finalizers: [finalizer] })
    planned('cleanUp', { dataVolume, target: done }, { order: orderFromAfar })
    planned('none', { dataVolume: cloneDataVolume({ order: orderFromAfar, status: succeeded }), target: done })
  })

  it('does so also when its DataSource is gone', () => {
    const dataVolume = cloneDataVolume({ status: succeeded })
    planned('cleanUp', { dataVolume, target: done }, { leftovers, unresolved: 'gone', origin: undefined })
  })

  it('keeps what a T that was made anew needs', () => {
    const facts = { dataVolume: cloneDataVolume({ status: succeeded }), target: cloneTarget(), source: made }
    planned('none', facts, { leftovers })
  })

  it('tells how it was cloned before', () => {
    const annotated = { [annotations.clonePhase]: 'Succeeded', [annotations.cloneType]: 'csi-clone' }
    const target = cloneTarget({ phase: 'Bound', annotated })
    const plan = planned(
      'annotateDataVolume',
      { dataVolume: cloneDataVolume({ status: succeeded }), target },
      { leftovers },
    )
    assert.deepEqual(plan.annotations, { [annotations.cloneType]: 'csi-clone' })
  })

  it('does not clean up under a DataVolume that has not succeeded yet', () => {
    planned(
      'none',
      { dataVolume: cloneDataVolume({ status: { phase: 'RebindInProgress' } }), target: done },
      { leftovers },
    )
  })
})
