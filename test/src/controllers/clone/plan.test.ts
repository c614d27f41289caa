import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { PersistentVolumeClaim, Pod } from '../../../../src/api/kinds.ts'
import { annotations, clonePhases, finalizers } from '../../../../src/api/names.ts'
import type { CloneObservation } from '../../../../src/controllers/clone/observation.ts'
import { planClone } from '../../../../src/controllers/clone/plan.ts'
import type { ClonePlan } from '../../../../src/controllers/clone/plan.ts'
import { toldKey } from '../../../../src/controllers/shared/claim-events.ts'
import { patched } from '../../../../src/controllers/shared/annotated.ts'
import { cdiConfig, claim, dataVolume, eventOf, storageClass, volume } from '../fixtures.ts'
import {
  begun,
  bound,
  claimOrigin,
  cloneSource,
  driven,
  prepPod,
  seen,
  snapshotClass,
  snapshotContent,
  snapshotOrigin,
  target,
  temporaryClaim,
  volumeSnapshot,
  wishing,
} from './clone-fixtures.ts'

type Facts = NonNullable<Parameters<typeof seen>[0]>

/** What T says after the plan. */
function after(observed: CloneObservation, plan: ClonePlan): Record<string, string> {
  return patched(observed.target.metadata.annotations, plan.annotations)
}

function phaseAfter(facts: Facts): string | undefined {
  const observed = seen(facts)
  return after(observed, planClone(observed))[annotations.clonePhase]
}

function events({ events: all }: ClonePlan): string[] {
  return all.map(({ type, reason, message }) => `${type} ${reason}: ${message}`)
}

/** The claim that the plan makes. */
function madeClaim({ action }: ClonePlan): PersistentVolumeClaim {
  assert.equal(action?.do, 'createClaim')
  return action.claim as PersistentVolumeClaim
}

function madePod({ action }: ClonePlan): Pod {
  assert.equal(action?.do, 'createPod')
  return action.pod as Pod
}

const snapclass = [snapshotClass('snapclass')]
const wffc = storageClass({ wffc: true })
const bySnapshot: Facts = { snapshotClasses: snapclass, target: begun('snapshot') }
const byStorage: Facts = { target: begun('csi-clone') }
const byCopy: Facts = { target: begun('copy') }
const copyOfSnapshot: Facts = { target: begun('copy'), origin: snapshotOrigin() }
const tmpVolume = volume({ name: 'pv-tmp', claimRef: { namespace: 'vms', name: 'tmp-pvc-uid-dv' } })

describe('the beginning of a clone', () => {
  it('is written on T, all of it at once, before anything is made', () => {
    const observed = seen({ profile: wishing('csi-clone') })
    const plan = planClone(observed)
    assert.equal(plan.action, undefined)
    assert.deepEqual(plan.annotations, {
      [annotations.cloneType]: 'csi-clone',
      [annotations.clonePhase]: 'Pending',
      [annotations.conditionRunning]: 'false',
      [annotations.conditionRunningMessage]: 'Clone Pending',
      [annotations.conditionRunningReason]: 'Pending',
    })
    assert.deepEqual(plan.labels, {
      app: 'containerized-data-importer',
      'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
    })
    assert.deepEqual(plan.finalizers, [finalizers.clonePopulator])
  })

  it('keeps the finalizers of others, and tells no alert of a device', () => {
    const mine = target({ finalizers: ['kubernetes.io/pvc-protection'], spec: { volumeMode: 'Block' } })
    const origin = claimOrigin({ claim: bound(claim({ name: 'src', spec: { volumeMode: 'Block' } }), 'pv-src') })
    const plan = planClone(seen({ target: mine, origin, profile: wishing('csi-clone') }))
    assert.deepEqual(plan.finalizers, ['kubernetes.io/pvc-protection', finalizers.clonePopulator])
    assert.deepEqual(plan.labels, { app: 'containerized-data-importer' })
  })

  it('says nothing of conditions on a claim that no DataVolume owns', () => {
    const plan = planClone(seen({ target: target({ owner: undefined }), profile: wishing('csi-clone') }))
    assert.deepEqual(plan.annotations, {
      [annotations.cloneType]: 'csi-clone',
      [annotations.clonePhase]: 'Pending',
    })
  })

  it('tells why it is copied although that was not wanted', () => {
    const observed = seen({ origin: claimOrigin({ volume: driven('other') }), profile: wishing('csi-clone') })
    const plan = planClone(observed)
    assert.equal(plan.annotations[annotations.cloneType], 'copy')
    assert.equal(plan.annotations[annotations.cloneFallbackReason], 'Provisioners are incompatible')
    assert.deepEqual(events(plan), ['Warning IncompatibleProvisioners: Provisioners are incompatible'])
  })

  it('tells it later, if whoever wrote it was killed before it could', () => {
    const mine = begun('copy', { annotated: { [annotations.cloneFallbackReason]: 'No volume expansion is possible' } })
    const plan = planClone(seen({ target: mine }))
    assert.deepEqual(events(plan), ['Warning NoVolumeExpansion: No volume expansion is possible'])
    const again = planClone(seen({ target: mine, targetEvents: [eventOf(plan.events[0] ?? { message: '' })] }))
    assert.deepEqual(events(again), [])
  })

  it('obeys the CDI before the StorageProfile', () => {
    const cdi = { spec: { cloneStrategyOverride: 'copy' } } as CloneObservation['cdi']
    const plan = planClone(seen({ profile: wishing('csi-clone'), cdi }))
    assert.equal(plan.annotations[annotations.cloneType], 'copy')
    assert.equal(plan.annotations[annotations.cloneFallbackReason], undefined)
  })

  it('leaves to the user whether it can be: what T says already is not compared with anything', () => {
    const mine = target({
      annotated: { [annotations.cloneType]: 'csi-clone' },
      spec: { resources: { requests: { storage: '1Mi' } } },
    })
    const plan = planClone(seen({ target: mine, origin: claimOrigin({ volume: driven('other') }) }))
    assert.deepEqual(plan.finalizers, [finalizers.clonePopulator])
    assert.equal(plan.error, undefined)
  })
})

describe('T waits, and says so,', () => {
  const waits: [string, Facts][] = [
    ['for its VolumeCloneSource', { cloneSource: undefined, origin: undefined, isAllowed: undefined }],
    ['for its storage class', { target: target({ spec: { storageClassName: undefined } }) }],
    ['for its source', { origin: claimOrigin({ claim: undefined }) }],
    ['for its snapshot', { origin: snapshotOrigin({ snapshot: undefined }) }],
  ]
  for (const [name, facts] of waits) {
    it(name, () => {
      const plan = planClone(seen(facts))
      assert.equal(phaseAfter(facts), 'Pending')
      assert.equal(plan.action, undefined)
      assert.equal(plan.error, undefined)
      assert.equal(plan.finalizers, undefined, 'nothing holds a claim for which nothing was made')
    })
  }

  it('and tells which source is missing', () => {
    assert.deepEqual(events(planClone(seen({ origin: claimOrigin({ claim: undefined }) }))), [
      "Warning CloneWithoutSource: The source pvc src doesn't exist",
    ])
    assert.deepEqual(events(planClone(seen({ origin: snapshotOrigin({ snapshot: undefined }) }))), [
      "Warning CloneWithoutSource: The source snapshot snap doesn't exist",
    ])
  })

  it('for its consumer, on a class that waits for one', () => {
    const facts: Facts = { storageClass: wffc, targetEvents: [eventOf({ message: 'waiting for first consumer' })] }
    const plan = planClone(seen(facts))
    assert.equal(phaseAfter(facts), undefined)
    assert.equal(plan.annotations[annotations.conditionBoundMessage], 'waiting for first consumer')
    assert.equal(plan.action, undefined)
    const stood = { [annotations.clonePhase]: 'Error', [annotations.cloneError]: 'storage class wffc not found' }
    const healed = planClone(seen({ ...facts, target: target({ annotated: stood }) }))
    assert.equal(healed.annotations[annotations.clonePhase], 'Pending', 'an error that is no more is not told on')
    assert.equal(healed.annotations[annotations.cloneError], null)
    for (const annotated of [{ [annotations.selectedNode]: 'n1' }, { [annotations.bindImmediate]: '' }]) {
      assert.equal(phaseAfter({ ...facts, target: target({ annotated }) }), 'Pending')
    }
  })
})

describe('T stops with an error', () => {
  const tooSmall = 'target resources requests storage size is smaller than the source 17783849 < 71135396'
  const small = target({ spec: { resources: { requests: { storage: '17783849' } } } })
  const cases: [string, Facts, string][] = [
    [
      'if it wants no class',
      { target: target({ spec: { storageClassName: '' } }) },
      'PVC vms/dv has empty storage class name',
    ],
    ['if its class does not exist', { storageClass: undefined }, 'storage class csi not found'],
    [
      'if its class is in-tree',
      { storageClass: storageClass({ provisioner: 'kubernetes.io/aws-ebs' }) },
      "can't use populator for PVC vms/dv with in-tree storage class kubernetes.io/aws-ebs",
    ],
    [
      'if it may not have the source',
      { isAllowed: false },
      'cross-namespace with resource grants is not supported yet',
    ],
    [
      'if it refers to another namespace by itself',
      {
        target: target({
          spec: {
            dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: 'x', namespace: 'y' },
          },
        }),
      },
      'cross-namespace with resource grants is not supported yet',
    ],
    ['if it is too small', { target: small }, tooSmall],
    [
      'if nobody knows the size of the source',
      { origin: claimOrigin({ claim: claim({ name: 'src' }) }), snapshotClasses: snapclass },
      'source/target size info missing',
    ],
    [
      'if its strategy is none',
      { target: target({ annotated: { [annotations.cloneType]: 'magic' } }) },
      'unknown strategy/source magic',
    ],
    [
      'if its strategy is none for snapshots',
      { target: target({ annotated: { [annotations.cloneType]: 'csi-clone' } }), origin: snapshotOrigin() },
      'unknown strategy/source csi-clone',
    ],
    [
      'if its snapshot has no content',
      { origin: snapshotOrigin({ content: undefined }) },
      'snapshot vms/snap is not bound to a VolumeSnapshotContent',
    ],
    [
      'if an archive would be copied into a disk',
      {
        profile: wishing('copy'),
        origin: claimOrigin({
          claim: bound(claim({ name: 'src', annotated: { [annotations.contentType]: 'archive' } }), 'pv-src'),
        }),
      },
      'source contentType (archive) and target contentType (kubevirt) do not match',
    ],
    [
      'if a device would be copied into a file system without room for it',
      {
        profile: wishing('copy'),
        target: target({ spec: { resources: { requests: { storage: '64Mi' } } } }),
        origin: claimOrigin({
          claim: bound(
            claim({ name: 'src', spec: { volumeMode: 'Block', resources: { requests: { storage: '64Mi' } } } }),
            'pv-src',
          ),
        }),
      },
      'target resources requests storage size is smaller than the source 62914560 < 67108864',
    ],
    [
      'if no class restores the snapshot that is to be copied',
      { ...copyOfSnapshot, origin: snapshotOrigin({ content: snapshotContent({ driver: 'other' }) }) },
      'unable to find a valid storage class for the temporal source claim',
    ],
    [
      'if its snapshot class is gone and the strategy was fixed',
      { ...bySnapshot, snapshotClasses: [] },
      'No compatible volumesnapshotclass found',
    ],
    [
      "if its volume became somebody else's",
      {
        ...byCopy,
        temporary: {
          claim: bound(temporaryClaim({ annotated: { [annotations.podPhase]: 'Succeeded' } }), 'pv-tmp'),
          volume: volume({ name: 'pv-tmp', claimRef: { namespace: 'other', name: 'third' } }),
        },
      },
      'PV pv-tmp bound to unexpected claim other/third',
    ],
    [
      'if something of somebody else bears the name of its temporary claim',
      { ...byCopy, temporary: { claim: temporaryClaim({ labels: {} }) } },
      'vms/tmp-pvc-uid-dv was not made for vms/dv',
    ],
  ]
  for (const [name, facts, text] of cases) {
    it(`${name}: ${text}`, () => {
      const observed = seen(facts)
      const plan = planClone(observed)
      const says = after(observed, plan)
      assert.equal(plan.error, text)
      assert.equal(plan.action, undefined)
      assert.equal(says[annotations.clonePhase], 'Error')
      assert.equal(says[annotations.cloneError], text)
      assert.deepEqual(
        [annotations.conditionRunning, annotations.conditionRunningMessage, annotations.conditionRunningReason].map(
          (key) => says[key],
        ),
        ['false', text, 'Error'],
      )
      assert.equal(says[annotations.cloneType], observed.target.metadata.annotations?.[annotations.cloneType])
    })
  }

  it('and tells of a size both what is wrong and that the clone is not valid', () => {
    assert.deepEqual(events(planClone(seen({ target: small }))), [
      `Warning ErrIncompatiblePVC: ${tooSmall}`,
      "Warning CloneValidationFailed: The clone doesn't meet the validation requirements",
    ])
  })

  it('but compares no sizes if it is not to, nor more than the smallest volume of the class', () => {
    const permissive = target({ annotated: { [annotations.permissiveClone]: 'false' }, spec: small.spec })
    assert.equal(planClone(seen({ target: permissive, profile: wishing('csi-clone') })).error, undefined)
    const profile = wishing('csi-clone')
    profile.metadata.annotations = { [annotations.minimumSupportedPvcSize]: '1Gi' }
    assert.equal(planClone(seen({ target: small, profile })).error, undefined)
  })

  it('and forgets the error as soon as it goes on', () => {
    const mine = begun('copy', { annotated: { [annotations.clonePhase]: 'Error', [annotations.cloneError]: 'x' } })
    const observed = seen({ target: mine })
    const says = after(observed, planClone(observed))
    assert.equal(says[annotations.cloneError], undefined)
    assert.equal(says[annotations.clonePhase], 'HostClone')
  })
})

describe('a clone by a snapshot', () => {
  it('takes one of the source, with the chosen class', () => {
    const plan = planClone(seen(bySnapshot))
    assert.deepEqual(plan.action, {
      do: 'createSnapshot',
      snapshot: {
        apiVersion: 'snapshot.storage.k8s.io/v1',
        kind: 'VolumeSnapshot',
        metadata: {
          name: 'tmp-snapshot-uid-dv',
          namespace: 'vms',
          labels: { app: 'containerized-data-importer', 'cdi.kubevirt.io/OwnedByUID': 'uid-dv' },
        },
        spec: { source: { persistentVolumeClaimName: 'src' }, volumeSnapshotClassName: 'snapclass' },
      },
    })
    assert.equal(phaseAfter(bySnapshot), 'Snapshot')
    assert.deepEqual(events(plan), ['Normal VolumeSnapshotClassSelected: First VolumeSnapshotClass selected snapclass'])
  })

  it('waits until it is cut, then until it can be restored', () => {
    const uncut = volumeSnapshot({
      name: 'tmp-snapshot-uid-dv',
      owned: true,
      ready: false,
      status: { readyToUse: false },
    })
    delete uncut.status?.creationTime
    assert.equal(phaseAfter({ ...bySnapshot, temporary: { snapshot: uncut } }), 'Snapshot')
    const cut = volumeSnapshot({ name: 'tmp-snapshot-uid-dv', owned: true, ready: false })
    const facts: Facts = { ...bySnapshot, temporary: { snapshot: cut } }
    assert.equal(phaseAfter(facts), 'SnapshotClone')
    assert.equal(planClone(seen(facts)).action, undefined)
  })

  it('restores it to a claim like T, as large as the snapshot is', () => {
    const mine = begun('snapshot', { spec: { resources: { requests: { storage: '1Gi' } } } })
    const snapshot = volumeSnapshot({ name: 'tmp-snapshot-uid-dv', owned: true })
    const facts: Facts = { ...bySnapshot, target: mine, temporary: { snapshot } }
    const made = madeClaim(planClone(seen(facts)))
    assert.equal(phaseAfter(facts), 'SnapshotClone')
    assert.deepEqual(made.spec, {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      storageClassName: 'csi',
      resources: { requests: { storage: '71135396' } },
      dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'tmp-snapshot-uid-dv' },
    })
  })

  it('asks for what T asks for if the driver does not know how large its snapshot is', () => {
    const snapshot = volumeSnapshot({ name: 'tmp-snapshot-uid-dv', owned: true, status: { restoreSize: '0' } })
    const mine = begun('snapshot', { spec: { resources: { requests: { storage: '1Gi' } } } })
    const made = madeClaim(planClone(seen({ ...bySnapshot, target: mine, temporary: { snapshot } })))
    assert.equal(made.spec?.resources?.requests?.['storage'], '1Gi')
  })

  it('of the user restores that one', () => {
    const made = madeClaim(planClone(seen({ target: begun('snapshot'), origin: snapshotOrigin() })))
    assert.equal(made.spec?.dataSourceRef?.name, 'snap')
    const notReady = snapshotOrigin({ snapshot: volumeSnapshot({ name: 'snap', ready: false }) })
    assert.equal(planClone(seen({ target: begun('snapshot'), origin: notReady })).action, undefined)
  })

  it('does not take another one when the first has gone and its volume is there', () => {
    const facts: Facts = { ...bySnapshot, temporary: { claim: bound(temporaryClaim(), 'pv-tmp'), volume: tmpVolume } }
    assert.equal(planClone(seen(facts)).action?.do, 'rebind')
  })
})

describe('a clone that the storage makes', () => {
  it('is a claim of the size of the source that names it', () => {
    const origin = claimOrigin({ claim: bound(claim({ name: 'src' }), 'pv-src', '128Mi') })
    const made = madeClaim(planClone(seen({ ...byStorage, origin })))
    assert.equal(phaseAfter({ ...byStorage, origin }), 'CSIClone')
    assert.deepEqual(made.spec?.dataSourceRef, { kind: 'PersistentVolumeClaim', name: 'src' })
    assert.equal(made.spec?.dataSource, undefined)
    assert.deepEqual(made.spec?.resources, { requests: { storage: '128Mi' } })
    assert.equal(made.metadata.annotations?.[annotations.cloneRequest], undefined)
  })

  it('waits for its volume on a class that makes it at once', () => {
    const facts: Facts = { ...byStorage, temporary: { claim: temporaryClaim() } }
    assert.equal(phaseAfter(facts), 'CSIClone')
    assert.equal(planClone(seen(facts)).action, undefined)
  })
})

describe('a source', () => {
  const inUse: Pod = { ...prepPod(), metadata: { ...prepPod().metadata, name: 'vm', labels: {} } }
  for (const [name, facts, phase] of [
    ['snapshot', bySnapshot, 'Snapshot'],
    ['csi-clone', byStorage, 'CSIClone'],
  ] as const) {
    it(`rests until nobody writes to it (${name})`, () => {
      const plan = planClone(seen({ ...facts, origin: claimOrigin({ writers: [inUse] }) }))
      assert.equal(plan.action, undefined)
      assert.equal(plan.requeueAfterMs, 2_000)
      assert.deepEqual(events(plan), ['Warning CloneSourceInUse: pod vms/vm using PersistentVolumeClaim src'])
      assert.equal(phaseAfter({ ...facts, origin: claimOrigin({ writers: [inUse] }) }), phase)
    })

    it(`is awaited until it is bound and filled (${name})`, () => {
      for (const origin of [claimOrigin({ isPopulated: false }), claimOrigin({ claim: claim({ name: 'src' }) })]) {
        const plan = planClone(seen({ ...facts, origin }))
        assert.equal(plan.action, undefined)
        assert.equal(plan.error, undefined)
      }
    })
  }

  it('in use does not hold up a copy, whose own controller asks', () => {
    assert.equal(planClone(seen({ ...byCopy, origin: claimOrigin({ writers: [inUse] }) })).action?.do, 'createClaim')
  })
})

describe('a claim that the storage has made', () => {
  const large = begun('csi-clone', { spec: { resources: { requests: { storage: '1Gi' } } } })
  const asking = (storage: string, capacity = storage): PersistentVolumeClaim =>
    bound(temporaryClaim({ spec: { resources: { requests: { storage } } } }), 'pv-tmp', capacity)

  it("is bound by a pod that mounts it, on the node of T's consumer", () => {
    const mine = begun('csi-clone', { annotated: { [annotations.selectedNode]: 'n1' } })
    const tmp = temporaryClaim({ annotated: { [annotations.selectedNode]: 'n1' } })
    const facts: Facts = { target: mine, storageClass: wffc, temporary: { claim: tmp } }
    const pod = madePod(planClone(seen(facts)))
    assert.equal(phaseAfter(facts), 'PrepClaim')
    assert.equal(pod.metadata.name, 'prep-uid-dv')
    assert.equal(pod.metadata.labels?.['cdi.kubevirt.io'], 'cdi-populator-prep')
    assert.equal(pod.metadata.labels?.['cdi.kubevirt.io/OwnedByUID'], 'uid-dv')
    assert.equal(pod.spec?.nodeName, 'n1')
    assert.deepEqual(pod.spec?.containers[0]?.command, ['/bin/true'])
    assert.equal(pod.spec?.containers[0]?.image, 'cdi:1')
    assert.equal(pod.spec?.containers[0]?.volumeMounts?.length, 1)
    assert.equal(pod.spec?.containers[0]?.securityContext?.runAsNonRoot, true)
    assert.deepEqual(pod.spec?.volumes?.[0]?.persistentVolumeClaim, { claimName: 'tmp-pvc-uid-dv' })
  })

  it('is mounted as a device if it is one, with the priority that was asked for', () => {
    const tmp = temporaryClaim({ spec: { volumeMode: 'Block' } })
    const source = cloneSource({ priorityClassName: 'high' })
    const mine = begun('csi-clone', { annotated: { [annotations.bindImmediate]: '' } })
    const pod = madePod(
      planClone(seen({ target: mine, storageClass: wffc, cloneSource: source, temporary: { claim: tmp } })),
    )
    assert.equal(pod.spec?.containers[0]?.volumeDevices?.length, 1)
    assert.deepEqual(pod.spec?.containers[0]?.volumeMounts, [])
    assert.equal(pod.spec?.priorityClassName, 'high')
    assert.equal(pod.spec?.nodeName, undefined)
  })

  it('is enlarged to what T asks for, and mounted so that it grows', () => {
    const first = planClone(seen({ target: large, temporary: { claim: asking('64Mi') } }))
    assert.equal(first.action?.do, 'enlarge')
    assert.equal(first.action.storage, '1Gi')
    const second = planClone(seen({ target: large, temporary: { claim: asking('1Gi', '64Mi') } }))
    assert.equal(second.action?.do, 'createPod')
  })

  it('is mounted again, after a while, if the storage was slower than the pod', () => {
    const claimed = asking('1Gi', '64Mi')
    const ended = (finishedAt: string): Facts => ({
      target: large,
      temporary: { claim: claimed, prepPod: prepPod({ phase: 'Succeeded', finishedAt }) },
    })
    const soon = planClone(seen(ended('2026-01-01T00:00:59Z')))
    assert.equal(soon.action, undefined)
    assert.equal(soon.requeueAfterMs, 1_000)
    assert.equal(planClone(seen(ended('2026-01-01T00:00:30Z'))).action?.do, 'deletePod')
    const running = planClone(seen({ target: large, temporary: { claim: claimed, prepPod: prepPod() } }))
    assert.equal(running.action, undefined)
  })

  it('is let go before it is handed over', () => {
    const temporary = { claim: asking('1Gi'), volume: tmpVolume }
    const letGo = planClone(seen({ target: large, temporary: { ...temporary, prepPod: prepPod() } }))
    assert.equal(letGo.action?.do, 'deletePod')
    const going = planClone(
      seen({ target: large, temporary: { ...temporary, prepPod: prepPod({ terminating: true }) } }),
    )
    assert.equal(going.action, undefined)
    assert.equal(planClone(seen({ target: large, temporary })).action?.do, 'rebind')
  })

  it('needs no pod if it is bound and large enough', () => {
    const temporary = { claim: asking('2Gi'), volume: tmpVolume }
    assert.equal(planClone(seen({ target: large, temporary })).action?.do, 'rebind')
  })
})

describe('the claim that is copied into', () => {
  it('is like the one of the recording', () => {
    const mine = begun('copy', {
      annotated: {
        [annotations.usePopulator]: 'true',
        [annotations.conditionRunning]: 'false',
        [annotations.conditionRunningReason]: 'Pending',
      },
    })
    const made = madeClaim(planClone(seen({ target: mine })))
    assert.deepEqual(made.metadata, {
      name: 'tmp-pvc-uid-dv',
      namespace: 'vms',
      labels: {
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        app: 'containerized-data-importer',
        'cdi.kubevirt.io/OwnedByUID': 'uid-dv',
        'velero.io/exclude-from-backup': 'true',
      },
      annotations: {
        'cdi.kubevirt.io/clonePhase': 'Pending',
        'cdi.kubevirt.io/cloneType': 'copy',
        'cdi.kubevirt.io/createdForDataVolume': 'uid-dv',
        'cdi.kubevirt.io/events.source': 'vms/dv',
        'cdi.kubevirt.io/events.source.kind': 'PersistentVolumeClaim',
        'cdi.kubevirt.io/ownerUID': 'uid-dv',
        'cdi.kubevirt.io/storage.bind.immediate.requested': '',
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Pending',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.populator.kind': 'VolumeCloneSource',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
        'k8s.io/CloneRequest': 'vms/src',
      },
    })
    assert.deepEqual(made.spec, {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      storageClassName: 'csi',
      resources: { requests: { storage: '71135396' } },
    })
  })

  it('gets no token, nothing that would count as work done, and nothing of Kubernetes or kubectl', () => {
    const stays = {
      [annotations.cloneToken]: 'short',
      [annotations.extendedCloneToken]: 'long',
      [annotations.podPhase]: 'Succeeded',
      [annotations.cloneOf]: 'true',
      [annotations.uploadTarget]: '',
      [annotations.importEndpoint]: 'http://x',
      [annotations.preallocation]: 'true',
      'pv.kubernetes.io/bind-completed': 'yes',
      'volume.kubernetes.io/storage-provisioner': 'csi.example',
      'kubectl.kubernetes.io/last-applied-configuration': '{}',
    }
    const mine = begun('copy', {
      annotated: { ...stays, 'example.com/mine': 'x', [annotations.selectedNode]: 'n1' },
      labels: {
        app: 'x',
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        [`cdi.kubevirt.io/applyStorageProfile`]: 'true',
      },
    })
    const { annotations: given = {}, labels: labelled = {} } = madeClaim(planClone(seen({ target: mine }))).metadata
    for (const key of Object.keys(stays)) assert.equal(given[key], undefined, key)
    assert.equal(given['example.com/mine'], 'x')
    assert.equal(given[annotations.selectedNode], 'n1')
    assert.equal(labelled['app'], 'x')
    assert.equal(labelled['cdi.kubevirt.io/applyStorageProfile'], undefined, 'the webhook would enlarge it')
  })

  it('says what the VolumeCloneSource asks for, else what T or the installation does', () => {
    const asked = (facts: Facts): Record<string, string> =>
      madeClaim(planClone(seen({ ...byCopy, ...facts }))).metadata.annotations ?? {}
    const wishes = asked({ cloneSource: cloneSource({ preallocation: true, priorityClassName: 'high' }) })
    assert.equal(wishes[annotations.preallocationRequested], 'true')
    assert.equal(wishes[annotations.podPriorityClassName], 'high')
    const config = cdiConfig({ preallocation: true })
    assert.equal(asked({ config })[annotations.preallocationRequested], 'false', 'T says no')
    const bare = begun('copy', { annotated: { [annotations.preallocationRequested]: undefined } })
    assert.equal(asked({ config, target: bare })[annotations.preallocationRequested], 'true')
  })

  it('has room for a file system around a device that the webhook did not think of', () => {
    const src = claim({ name: 'src', spec: { volumeMode: 'Block', resources: { requests: { storage: '64Mi' } } } })
    const mine = begun('copy', {
      spec: { resources: { requests: { storage: '64Mi' } } },
      labels: {
        app: 'x',
        'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
        'cdi.kubevirt.io/applyStorageProfile': 'true',
      },
    })
    const made = madeClaim(planClone(seen({ target: mine, origin: claimOrigin({ claim: bound(src, 'pv-src') }) })))
    assert.equal(made.spec?.resources?.requests?.['storage'], '71135396')
  })

  const told = (annotated: Record<string, string>): Record<string, string> => {
    const observed = seen({
      target: begun('copy', { annotated: { [annotations.clonePhase]: 'HostClone' } }),
      temporary: { claim: temporaryClaim({ annotated }) },
      progressPercent: 12.345,
    })
    return after(observed, planClone(observed))
  }
  const conditionIn = (says: Record<string, string>): (string | undefined)[] =>
    [annotations.conditionRunning, annotations.conditionRunningReason, annotations.conditionRunningMessage].map(
      (key) => says[key],
    )

  it('lets T say how its receiving pod is, how often it was restarted and how far the copy has come', () => {
    const says = told({
      [annotations.conditionRunning]: 'true',
      [annotations.conditionRunningMessage]: '',
      [annotations.conditionRunningReason]: 'Pod is running',
      [annotations.podRestarts]: '2',
    })
    assert.deepEqual(conditionIn(says), ['true', 'Pod is running', ''])
    assert.equal(says[annotations.podRestarts], '2')
    assert.equal(says[annotations.populatorProgress], '12.35%')
    assert.deepEqual(conditionIn(told({})), ['true', 'Populator is running', ''], 'it says nothing yet')
  })

  it('lets T say in plain words that a quota does not admit one of the pods', () => {
    const text = "Error starting pod 'x': For more information, request access to cdi-deploy logs from your sysadmin"
    const receiver = {
      [annotations.conditionRunningReason]: 'ErrExceededQuota',
      [annotations.conditionRunningMessage]: text,
    }
    assert.deepEqual(conditionIn(told({ [annotations.conditionRunning]: 'false', ...receiver })), [
      'false',
      'ErrExceededQuota',
      text,
    ])
    const source = {
      [annotations.conditionRunning]: 'false',
      [annotations.conditionRunningMessage]: '',
      [annotations.conditionRunningReason]: 'Pod is running',
      [annotations.conditionSourceRunning]: 'false',
      [annotations.conditionSourceRunningMessage]: text,
      [annotations.conditionSourceRunningReason]: 'ErrExceededQuota',
    }
    assert.deepEqual(conditionIn(told(source)), ['false', 'ErrExceededQuota', text])
  })

  it('is handed over when the copy is complete, with what it says of preallocation', () => {
    const tmp = bound(
      temporaryClaim({ annotated: { [annotations.podPhase]: 'Succeeded', [annotations.preallocation]: 'true' } }),
      'pv-tmp',
    )
    const observed = seen({ ...byCopy, temporary: { claim: tmp, volume: tmpVolume } })
    const plan = planClone(observed)
    assert.equal(plan.action?.do, 'rebind')
    assert.equal(plan.action.volume.metadata.name, 'pv-tmp')
    const says = after(observed, plan)
    assert.equal(says[annotations.clonePhase], 'Rebind')
    assert.equal(says[annotations.preallocation], 'true')
  })

  it('waits for the volume until the cache shows it, and rests once it is promised', () => {
    const tmp = bound(temporaryClaim({ annotated: { [annotations.podPhase]: 'Succeeded' } }), 'pv-tmp')
    assert.equal(planClone(seen({ ...byCopy, temporary: { claim: tmp } })).requeueAfterMs, 1_000)
    const promised = volume({ name: 'pv-tmp', claimRef: { namespace: 'vms', name: 'dv' } })
    const plan = planClone(seen({ ...byCopy, temporary: { claim: tmp, volume: promised } }))
    assert.equal(plan.action, undefined)
    assert.equal(plan.error, undefined)
  })

  it('tells that it was lost, be it while it was copied or when it was to be handed over', () => {
    for (const podPhase of ['Running', 'Succeeded']) {
      const tmp = bound(temporaryClaim({ annotated: { [annotations.podPhase]: podPhase } }), 'pv-tmp')
      const lost = { ...tmp, status: { phase: 'Lost' } }
      const plan = planClone(seen({ ...byCopy, temporary: { claim: lost } }))
      assert.equal(plan.error, `PVC ${lost.metadata.name} lost`)
      assert.equal(plan.annotations[annotations.clonePhase], 'Error')
    }
  })
})

describe('a snapshot that has to be copied', () => {
  it("is restored to a claim of its own, on T's class if that is the driver's", () => {
    const classes = [storageClass({ name: 'a' }), storageClass({ name: 'csi' })]
    const made = madeClaim(
      planClone(
        seen({
          ...copyOfSnapshot,
          target: begun('copy', { annotated: { [annotations.selectedNode]: 'n1', 'example.com/x': 'y' } }),
          storageClasses: classes,
          origin: snapshotOrigin({ content: snapshotContent({ sourceVolumeMode: 'Block' }) }),
        }),
      ),
    )
    assert.equal(phaseAfter(copyOfSnapshot), 'SnapshotClone')
    assert.equal(made.metadata.name, 'tmp-source-pvc-uid-dv')
    assert.equal(made.metadata.labels?.['cdi.kubevirt.io/OwnedByUID'], 'uid-dv')
    assert.equal(made.metadata.annotations?.[annotations.selectedNode], undefined)
    assert.equal(made.metadata.annotations?.['example.com/x'], 'y')
    assert.deepEqual(made.spec, {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Block',
      storageClassName: 'csi',
      resources: { requests: { storage: '71135396' } },
      dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' },
    })
  })

  const classOf = (classes: ReturnType<typeof storageClass>[]): string | undefined =>
    madeClaim(
      planClone(
        seen({
          ...copyOfSnapshot,
          storageClasses: classes,
          origin: snapshotOrigin({ content: snapshotContent({ driver: 'other' }) }),
        }),
      ),
    ).spec?.storageClassName ?? undefined

  it('goes to the default class of its driver otherwise, else to the first by name', () => {
    const b = storageClass({ name: 'b', provisioner: 'other' })
    const a = storageClass({ name: 'a', provisioner: 'other' })
    const c = storageClass({
      name: 'c',
      provisioner: 'other',
      annotated: { 'storageclass.kubernetes.io/is-default-class': 'true' },
    })
    assert.equal(classOf([storageClass(), b, a]), 'a')
    assert.equal(classOf([storageClass(), b, a, c]), 'c')
  })

  it('is copied from there once that is bound', () => {
    const restored = claim({ name: 'tmp-source-pvc-uid-dv', labels: { 'cdi.kubevirt.io/OwnedByUID': 'uid-dv' } })
    assert.equal(phaseAfter({ ...copyOfSnapshot, temporary: { sourceClaim: restored } }), 'SnapshotClone')
    const facts: Facts = { ...copyOfSnapshot, temporary: { sourceClaim: bound(restored, 'pv-restored') } }
    assert.equal(phaseAfter(facts), 'HostClone')
    const made = madeClaim(planClone(seen(facts)))
    assert.equal(made.metadata.name, 'tmp-pvc-uid-dv')
    assert.equal(made.metadata.annotations?.[annotations.cloneRequest], 'vms/tmp-source-pvc-uid-dv')
  })

  it('is bound by a pod on a class that waits for a consumer', () => {
    const classes = [storageClass({ name: 'slow', wffc: true })]
    const restored = claim({
      name: 'tmp-source-pvc-uid-dv',
      labels: { 'cdi.kubevirt.io/OwnedByUID': 'uid-dv' },
      spec: { storageClassName: 'slow' },
    })
    const facts: Facts = { ...copyOfSnapshot, storageClasses: classes, temporary: { sourceClaim: restored } }
    const pod = madePod(planClone(seen(facts)))
    assert.deepEqual(pod.spec?.volumes?.[0]?.persistentVolumeClaim, { claimName: 'tmp-source-pvc-uid-dv' })
    assert.equal(phaseAfter(facts), 'PrepClaim')
  })

  it('is restored again if somebody takes the claim away that the copy reads, and not when all was read', () => {
    const restored = claim({ name: 'tmp-source-pvc-uid-dv', labels: { 'cdi.kubevirt.io/OwnedByUID': 'uid-dv' } })
    const reading: Facts = { ...copyOfSnapshot, temporary: { claim: temporaryClaim(), sourceClaim: restored } }
    assert.equal(planClone(seen(reading)).action, undefined)
    assert.equal(phaseAfter(reading), 'HostClone')
    const robbed: Facts = { ...copyOfSnapshot, temporary: { claim: temporaryClaim() } }
    assert.equal(madeClaim(planClone(seen(robbed))).metadata.name, 'tmp-source-pvc-uid-dv')
    const filled = temporaryClaim({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    const done = planClone(seen({ ...copyOfSnapshot, temporary: { claim: filled } }))
    assert.notEqual(done.action?.do, 'createClaim')
  })
})

describe('a source in another namespace', () => {
  it('has all temporary objects beside it, and none of T bears a reference to them', () => {
    const there = { namespace: 'golden' }
    for (const facts of [
      { ...byCopy, origin: claimOrigin({ ...there, claim: inNamespace('golden') }) },
      { ...byStorage, origin: claimOrigin({ ...there, claim: inNamespace('golden') }) },
      { ...copyOfSnapshot, origin: snapshotOrigin(there) },
    ]) {
      const made = madeClaim(planClone(seen(facts)))
      assert.equal(made.metadata.namespace, 'golden')
      assert.equal(made.metadata.ownerReferences, undefined)
    }
    const { action } = planClone(
      seen({ ...bySnapshot, origin: claimOrigin({ ...there, claim: inNamespace('golden') }) }),
    )
    assert.equal(action?.do, 'createSnapshot')
    assert.equal(action.snapshot.metadata.namespace, 'golden')
  })

  it('lends no account to the pods there, which bear the one of T only at home', () => {
    const account = { [annotations.podServiceAccountName]: 'builder' }
    const accountIn = (namespace: string): string | undefined => {
      const origin = claimOrigin({ namespace, claim: inNamespace(namespace) })
      const { target, ...facts } = seen({ ...byCopy, origin })
      const annotated = { ...target.metadata.annotations, ...account }
      const named = { ...target, metadata: { ...target.metadata, annotations: annotated } }
      return madeClaim(planClone({ ...facts, target: named })).metadata.annotations?.[annotations.podServiceAccountName]
    }
    assert.equal(accountIn(seen({}).target.metadata.namespace ?? ''), 'builder')
    assert.equal(accountIn('golden'), undefined)
  })

  function inNamespace(namespace: string): PersistentVolumeClaim {
    const src = bound(claim({ name: 'src' }), 'pv-src')
    return { ...src, metadata: { ...src.metadata, namespace } }
  }
})

describe('what T tells of its temporary claims', () => {
  it('are their events, once, and the newest of all as its Bound condition', () => {
    const temporaryEvents = [{ claim: 'tmp-pvc-uid-dv', events: [eventOf({ message: 'Waiting', reason: 'External' })] }]
    const told = eventOf({ message: '[tmp-pvc-uid-dv] : Waiting', reason: 'External', at: '2026-01-01T00:00:05Z' })
    const facts: Facts = { ...byCopy, temporary: { claim: temporaryClaim() }, temporaryEvents }
    assert.deepEqual(events(planClone(seen(facts))), ['Normal External: [tmp-pvc-uid-dv] : Waiting'])
    const observed = seen({ ...facts, targetEvents: [eventOf({ message: 'own' }), told] })
    const plan = planClone(observed)
    assert.deepEqual(events(plan), [])
    assert.equal(after(observed, plan)[annotations.conditionBoundMessage], '[tmp-pvc-uid-dv] : Waiting')
    const alreadyTold = new Set([toldKey({ reason: 'External', message: '[tmp-pvc-uid-dv] : Waiting' })])
    assert.deepEqual(events(planClone(seen({ ...facts, alreadyTold }))), [])
  })
})

describe('the end of a clone', () => {
  const mine = (facts: Parameters<typeof begun>[1] = {}): PersistentVolumeClaim =>
    bound(begun('copy', { ...facts, annotated: { [annotations.clonePhase]: 'Rebind', ...facts.annotated } }), 'pv-tmp')
  const done = { [annotations.clonePhase]: 'Succeeded' }

  it('is said first, with all of the progress in the same write', () => {
    const observed = seen({ target: mine({ annotated: { [annotations.conditionBound]: 'false' } }) })
    const plan = planClone(observed)
    const says = after(observed, plan)
    assert.equal(plan.action, undefined)
    assert.equal(plan.finalizers, undefined)
    assert.equal(says[annotations.clonePhase], 'Succeeded')
    assert.equal(says[annotations.populatorProgress], '100.0%')
    assert.equal(says[annotations.conditionRunningMessage], 'Clone Complete')
    assert.equal(says[annotations.conditionRunningReason], 'Completed')
    assert.equal(says[annotations.conditionBound], undefined)
  })

  it('then lets the temporary objects go, and with them the finalizer', () => {
    const plan = planClone(seen({ target: mine({ annotated: done }) }))
    assert.deepEqual(plan.action, { do: 'cleanUp' })
    assert.deepEqual(plan.finalizers, ['kubernetes.io/pvc-protection'])
  })

  it('needs neither VolumeCloneSource nor source', () => {
    const observed = seen({ target: mine(), cloneSource: undefined, origin: undefined, isAllowed: undefined })
    assert.equal(after(observed, planClone(observed))[annotations.clonePhase], 'Succeeded')
  })

  it('keeps what a copy has left if that is asked for, and tells so', () => {
    const kept = mine({ annotated: { ...done, [annotations.podRetainAfterCompletion]: 'true' } })
    const stillBound = planClone(seen({ target: kept, temporary: { claim: bound(temporaryClaim(), 'pv-tmp') } }))
    assert.equal(stillBound.finalizers, undefined)
    const plan = planClone(seen({ target: kept, temporary: { claim: temporaryClaim({ phase: 'Lost' }) } }))
    assert.equal(plan.action, undefined)
    assert.deepEqual(plan.finalizers, ['kubernetes.io/pvc-protection'])
    const text = 'Warning RetainedPVCPrime: PVC Prime retained in Lost state for debugging purposes'
    assert.deepEqual(events(plan), [text])
    assert.deepEqual(events({ ...plan, events: plan.temporaryEvents }), [text])
  })

  it('keeps nothing of what the storage made', () => {
    const asked = { ...done, [annotations.cloneType]: 'snapshot', [annotations.podRetainAfterCompletion]: 'true' }
    assert.deepEqual(planClone(seen({ target: mine({ annotated: asked }) })).action, { do: 'cleanUp' })
  })

  it('is not the end of a claim that was bound without the populator', () => {
    const stranger = bound(target(), 'pv-static')
    assert.deepEqual(planClone(seen({ target: stranger })).annotations, {})
  })

  it('is left alone afterwards, even if the claim comes back from a backup without its volume', () => {
    const plan = planClone(seen({ target: target({ annotated: done }) }))
    assert.deepEqual([plan.action, plan.annotations, plan.finalizers], [undefined, {}, undefined])
  })
})

describe('a T that is deleted', () => {
  for (const phase of Object.values(clonePhases)) {
    it(`in phase ${phase} takes everything with it, retained or not`, () => {
      const annotated = { [annotations.clonePhase]: phase, [annotations.podRetainAfterCompletion]: 'true' }
      const mine = begun('copy', { terminating: true, annotated })
      const observed = seen({
        target: mine,
        isAllowed: undefined,
        cloneSource: undefined,
        origin: undefined,
        temporary: { claim: temporaryClaim() },
      })
      const plan = planClone(observed)
      assert.deepEqual(plan.action, { do: 'cleanUp' })
      assert.deepEqual(plan.finalizers, ['kubernetes.io/pvc-protection'])
      assert.deepEqual(plan.annotations, {})
    })
  }

  it('for which nothing was begun just goes', () => {
    const plan = planClone(seen({ target: target({ terminating: true, owner: dataVolume() }) }))
    assert.deepEqual([plan.action, plan.finalizers], [undefined, undefined])
  })
})
