import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { kinds } from '../../../../src/api/kinds.ts'
import type { PersistentVolumeClaim } from '../../../../src/api/kinds.ts'
import { annotations, claimTransferName, labels } from '../../../../src/api/names.ts'
import { failureOf, planTransfer } from '../../../../src/controllers/objecttransfer/plan.ts'
import { targetPlace } from '../../../../src/controllers/objecttransfer/transfer.ts'
import { home, transferName, volumeName, worldWith } from './world.ts'
import type { World, WorldFacts } from './world.ts'

const places = [
  ['another namespace', { namespace: 'away' }, { namespace: 'away', name: 'disk' }],
  ['another name', { name: 'other' }, { namespace: 'home', name: 'other' }],
  ['another namespace and name', { namespace: 'away', name: 'other' }, { namespace: 'away', name: 'other' }],
] as const

const movableKinds = ['PersistentVolumeClaim', 'DataVolume'] as const

/** Goes on until the transfer says this. */
function until(world: World, message: string): void {
  for (let steps = 0; steps < 100; steps++) {
    if (world.message() === message) return
    for (const { metadata } of world.all(kinds.objectTransfer)) world.step(metadata.name)
    world.kubernetes()
  }
  assert.fail(`it says ${world.message()}`)
}

/** Goes on until the claim at `away/disk` has been made, not yet bound. */
function untilTarget(world: World): void {
  for (let steps = 0; steps < 100; steps++) {
    world.step()
    if (world.get(kinds.pvc, { namespace: 'away', name: 'disk' })) return
    world.kubernetes()
  }
  assert.fail(`it says ${world.message()}`)
}

function marksLeft(world: World): string[] {
  return [...world.all(kinds.pvc), ...world.all(kinds.dataVolume)]
    .filter(({ metadata: { annotations: own } }) =>
      [annotations.objectTransferName, annotations.objectTransferBound].some((key) => own?.[key] !== undefined),
    )
    .map(({ kind, metadata }) => `${kind} ${metadata.name}`)
}

function assertArrived(world: World, { kind, target = {}, policy = 'Delete' }: WorldFacts): void {
  const place = { ...home, ...target }
  assert.equal(world.message(), 'Complete True: Transfer complete')
  assert.deepEqual(world.transfer()?.metadata.finalizers, [])
  assert.equal(world.get(kinds.pvc, home), undefined)
  const claim = world.get(kinds.pvc, place)
  const volume = world.get(kinds.pv, { name: volumeName })
  assert.equal(claim?.status?.phase, 'Bound')
  assert.equal(claim.spec?.volumeName, volumeName)
  assert.equal(volume?.spec?.claimRef?.uid, claim.metadata.uid)
  assert.equal(volume.spec.persistentVolumeReclaimPolicy, policy)
  assert.deepEqual(marksLeft(world), [])
  assert.equal(world.all(kinds.objectTransfer).length, 1, 'the transfer of the claim is gone')
  if (kind !== 'DataVolume') return
  assert.equal(world.get(kinds.dataVolume, home), undefined)
  const dataVolume = world.get(kinds.dataVolume, place)
  assert.equal(dataVolume?.status?.phase, 'Succeeded')
  assert.equal(claim.metadata.ownerReferences?.[0]?.uid, dataVolume.metadata.uid)
  assert.deepEqual(world.refilled, [], 'no DataVolume was without its claim')
}

describe('a transfer', () => {
  for (const kind of movableKinds) {
    for (const [title, target, place] of places) {
      it(`of a ${kind} to ${title} moves it with its volume`, () => {
        const facts: WorldFacts = { kind, target }
        const world = worldWith(facts)
        world.settle()
        assertArrived(world, facts)
        const moved = kind === 'DataVolume' ? world.get(kinds.dataVolume, place) : world.get(kinds.pvc, place)
        assert.equal(moved?.metadata.labels?.['team'], 'blue')
      })
    }
  }

  it('notes policy, volume and claim where others look for them', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    const { source, pvName, pvReclaim } = world.transfer()?.status?.data ?? {}
    assert.deepEqual([pvName, pvReclaim], [volumeName, 'Delete'])
    assert.equal((JSON.parse(source ?? '') as PersistentVolumeClaim).spec?.volumeName, volumeName)
  })

  it('leaves a volume kept that was kept before', () => {
    const world = worldWith({ policy: 'Retain' })
    world.settle()
    assertArrived(world, { target: { namespace: 'away' }, policy: 'Retain' })
  })

  it('keeps owners in the namespace and drops them across namespaces', () => {
    const ownerReferences = [{ apiVersion: 'v1', kind: 'ConfigMap', name: 'x', uid: 'uid-x' }]
    for (const [target, expected] of [
      [{ name: 'other' }, ownerReferences],
      [{ namespace: 'away' }, undefined],
    ] as const) {
      const world = worldWith({ target })
      world.patch(kinds.pvc, home, { metadata: { ownerReferences } })
      world.settle()
      assert.deepEqual(world.get(kinds.pvc, { ...home, ...target })?.metadata.ownerReferences, expected)
    }
  })

  it('makes the claim without what Kubernetes noted about the old one', () => {
    const world = worldWith({ annotated: { note: 'kept' } })
    untilTarget(world)
    assert.deepEqual(world.get(kinds.pvc, { namespace: 'away', name: 'disk' })?.metadata.annotations, {
      note: 'kept',
      [annotations.objectTransferName]: transferName,
    })
  })

  it('does not let the webhook render the claim a second time, and keeps the label', () => {
    const world = worldWith({ labels: { [labels.applyStorageProfile]: 'true', team: 'blue' } })
    const place = { namespace: 'away', name: 'disk' }
    untilTarget(world)
    assert.deepEqual(world.get(kinds.pvc, place)?.metadata.labels, { team: 'blue' })
    world.settle()
    const expected = { team: 'blue', [labels.applyStorageProfile]: 'true' }
    assert.deepEqual(world.get(kinds.pvc, place)?.metadata.labels, expected)
  })

  it('makes a DataVolume that asks nobody for its source', () => {
    const old = { [annotations.cloneToken]: 'a', [annotations.extendedCloneToken]: 'b', note: 'kept' }
    const world = worldWith({ kind: 'DataVolume', target: { name: 'other' }, annotated: old })
    world.settle()
    assert.deepEqual(world.get(kinds.dataVolume, { ...home, name: 'other' })?.metadata.annotations, {
      note: 'kept',
      [annotations.prePopulated]: 'other',
    })
  })

  it('of a DataVolume lets another one move the claim', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: PVC transfer in progress')
    const uid = world.transfer()?.metadata.uid ?? ''
    const child = world.transfer(claimTransferName(uid))
    assert.equal(child?.metadata.name, `pvc-transfer-${uid}`)
    assert.deepEqual(child.spec, {
      source: { kind: 'PersistentVolumeClaim', ...home },
      target: { namespace: 'away', name: 'disk' },
      parentName: transferName,
    })
    assert.equal(world.get(kinds.pvc, home)?.metadata.ownerReferences?.length, 0)
  })

  it('of a DataVolume never leaves its claim to other transfers', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: PVC transfer in progress')
    const child = claimTransferName(world.transfer()?.metadata.uid ?? '')
    for (let steps = 0; steps < 100 && world.step(child); steps++) world.kubernetes()
    assert.equal(world.message(child), 'Complete True: Transfer complete')
    assert.deepEqual(world.transfer(child)?.metadata.finalizers, [])
    assert.deepEqual(marksLeft(world), ['PersistentVolumeClaim disk'])
  })
})

describe('a transfer that cannot begin', () => {
  const mark = (name: string): object => ({ metadata: { annotations: { [annotations.objectTransferName]: name } } })
  const cases: [string, WorldFacts, (world: World) => void, string][] = [
    ['without a source', {}, (world) => world.delete(kinds.pvc, home), 'No source'],
    [
      'while the source is going away',
      {},
      (world) => world.patch(kinds.pvc, home, { metadata: { finalizers: ['x/y'], deletionTimestamp: 'x' } }),
      'No source',
    ],
    ['while a pod uses the claim', {}, (world) => world.use(home, true), 'Pods using PVC'],
    [
      'while the claim is not bound',
      {},
      (world) => world.patch(kinds.pvc, home, { status: { phase: 'Pending' } }),
      'PVC not bound',
    ],
    [
      'while the volume is not bound',
      {},
      (world) => world.patch(kinds.pv, { name: volumeName }, { status: { phase: 'Released' } }),
      'PV not bound',
    ],
    [
      'while the volume is bound to another claim',
      {},
      (world) => world.patch(kinds.pv, { name: volumeName }, { spec: { claimRef: { uid: 'another' } } }),
      'PV not bound',
    ],
    ...[
      'provisioner.storage.kubernetes.io/cloning-protection',
      'snapshot.storage.kubernetes.io/pvc-as-source-protection',
    ].map((finalizer): [string, WorldFacts, (world: World) => void, string] => [
      `while the claim has the finalizer ${finalizer}`,
      {},
      (world) => world.patch(kinds.pvc, home, { metadata: { finalizers: [finalizer] } }),
      `PVC has finalizer: ${finalizer}`,
    ]),
    [
      'without a required annotation',
      { requiredAnnotations: { a: 'b' } },
      () => undefined,
      'Required annotation missing',
    ],
    [
      'with another value of a required annotation',
      { requiredAnnotations: { a: 'b' }, annotated: { a: 'c' } },
      () => undefined,
      'Required annotation missing',
    ],
    [
      'while another transfer has the source',
      {},
      (world) => world.patch(kinds.pvc, home, mark('other')),
      'Source in use by another transfer (other)',
    ],
    [
      'without the namespace of the target',
      { target: { namespace: 'nowhere' } },
      () => undefined,
      'Error (namespaces "nowhere" not found)',
    ],
    [
      'while there is something at the target',
      { target: { name: 'other' } },
      (world) =>
        world.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { ...home, name: 'other' },
        }),
      'Error (ObjectTransfer target "home/other" already exists)',
    ],
    [
      'of a DataVolume without a source',
      { kind: 'DataVolume' },
      (world) => world.delete(kinds.dataVolume, home),
      'No source',
    ],
    [
      'of a DataVolume that is not done',
      { kind: 'DataVolume' },
      (world) => world.patch(kinds.dataVolume, home, { status: { phase: 'ImportInProgress' } }),
      'Source not populated',
    ],
    [
      'of the claim of a DataVolume that is not done',
      { kind: 'DataVolume' },
      (world) => {
        world.patch(kinds.dataVolume, home, { status: { phase: 'ImportInProgress' } })
        world.patch(
          kinds.objectTransfer,
          { name: transferName },
          { spec: { source: { kind: 'PersistentVolumeClaim' } } },
        )
      },
      'Source not populated',
    ],
    [
      'of a DataVolume while a pod uses its claim',
      { kind: 'DataVolume' },
      (world) => world.use(home, true),
      'Pods using DataVolume PVC',
    ],
    [
      'of a DataVolume without a required annotation',
      { kind: 'DataVolume', requiredAnnotations: { a: 'b' } },
      () => undefined,
      'Required annotation missing',
    ],
    [
      'of a DataVolume whose claim another transfer has',
      { kind: 'DataVolume' },
      (world) => world.patch(kinds.pvc, home, mark('other')),
      'Source in use by another transfer (other)',
    ],
    [
      'of a DataVolume while there is a claim at the target',
      { kind: 'DataVolume', target: { name: 'other' } },
      (world) =>
        world.create(kinds.pvc, {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          metadata: { ...home, name: 'other' },
        }),
      'Error (ObjectTransfer target "home/other" already exists)',
    ],
    [
      'of something else',
      {},
      (world) => world.patch(kinds.objectTransfer, { name: transferName }, { spec: { source: { kind: 'Pod' } } }),
      'Error (Unsupported kind "Pod")',
    ],
  ]
  for (const [title, facts, prepare, expected] of cases) {
    it(`${title} says so and leaves everything where it is`, () => {
      const world = worldWith(facts)
      prepare(world)
      const before = JSON.stringify([world.all(kinds.pvc), world.all(kinds.pv), world.all(kinds.dataVolume)])
      for (let steps = 0; steps < 10; steps++) world.step()
      assert.equal(world.message(), `Pending False: ${expected}`)
      const after = JSON.stringify([world.all(kinds.pvc), world.all(kinds.pv), world.all(kinds.dataVolume)])
      assert.equal(after, before)
    })
  }

  it('begins once the obstacle is out of the way', () => {
    const world = worldWith()
    world.use(home, true)
    world.settle()
    assert.equal(world.message(), 'Pending False: Pods using PVC')
    world.use(home, false)
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })
})

describe('a transfer under way', () => {
  it('waits for a pod that came at the last moment', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    world.use(home, true)
    world.settle()
    assert.equal(world.message(), 'Running False: Pods using PVC')
    assert.equal(world.get(kinds.pvc, home)?.metadata.deletionTimestamp, undefined)
    world.use(home, false)
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })

  it('makes Kubernetes look again at a claim that was left unbound beside its bound volume', () => {
    const world = worldWith({ isBinderLazy: true })
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })

  it('takes along what was changed on the source after it was noted', () => {
    for (const kind of movableKinds) {
      const world = worldWith({ kind })
      until(world, 'Running False: Running')
      world.patch(kind === 'DataVolume' ? kinds.dataVolume : kinds.pvc, home, { metadata: { labels: { team: 'red' } } })
      world.settle()
      const place = { namespace: 'away', name: 'disk' }
      const moved = kind === 'DataVolume' ? world.get(kinds.dataVolume, place) : world.get(kinds.pvc, place)
      assert.equal(moved?.metadata.labels?.['team'], 'red', kind)
    }
  })

  it('does not take a volume from somebody else', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    world.patch(kinds.pv, { name: volumeName }, { spec: { claimRef: { name: 'thief', uid: 'uid-thief' } } })
    for (let steps = 0; steps < 10; steps++) world.step()
    assert.equal(world.message(), 'Running False: PV bound to wrong PVC')
    assert.ok(world.get(kinds.pvc, home))
  })

  it('does not touch a claim that somebody put at the target meanwhile', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    world.create(kinds.pvc, {
      apiVersion: 'v1',
      kind: 'PersistentVolumeClaim',
      metadata: { namespace: 'away', name: 'disk' },
    })
    world.settle()
    assert.equal(world.message(), 'Error False: Error (ObjectTransfer target "away/disk" already exists)')
    assert.equal(world.get(kinds.pv, { name: volumeName })?.spec?.persistentVolumeReclaimPolicy, 'Retain')
    world.delete(kinds.pvc, { namespace: 'away', name: 'disk' })
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })

  it('makes the target again when somebody deletes it before all is done', () => {
    const world = worldWith()
    const place = { namespace: 'away', name: 'disk' }
    untilTarget(world)
    world.kubernetes()
    assert.equal(world.get(kinds.pvc, place)?.status?.phase, 'Bound')
    world.delete(kinds.pvc, place)
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })

  const cases: [string, WorldFacts, (world: World) => void, string][] = [
    [
      'whose notes are gone',
      {},
      (world) => world.patch(kinds.objectTransfer, { name: transferName }, { status: { data: null } }),
      'Running False: PV name missing',
    ],
    [
      'whose notes are no claim',
      {},
      (world) => world.patch(kinds.objectTransfer, { name: transferName }, { status: { data: { source: '{}' } } }),
      'Error False: Error (status.data.source is not the saved source)',
    ],
    [
      'whose volume is gone',
      {},
      (world) => world.delete(kinds.pv, { name: volumeName }),
      'Error False: Error (persistentvolumes "pv-1" not found)',
    ],
    [
      'of a DataVolume that has no claim',
      { kind: 'DataVolume' },
      (world) => world.delete(kinds.pvc, home),
      'Running False: Source DV has no PVC',
    ],
  ]
  for (const [title, facts, spoil, expected] of cases) {
    it(`${title} says so`, () => {
      const world = worldWith(facts)
      until(world, 'Running False: Running')
      spoil(world)
      for (let steps = 0; steps < 10; steps++) world.step()
      assert.equal(world.message(), expected)
    })
  }

  it('of a DataVolume says what its claim waits for', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: PVC transfer in progress')
    const name = claimTransferName(world.transfer()?.metadata.uid ?? '')
    const quota = { type: 'Complete', status: 'False', message: 'Error', reason: 'exceeded quota: q' }
    world.patch(kinds.objectTransfer, { name }, { status: { phase: 'Error', conditions: [quota] } })
    world.step()
    assert.equal(world.message(), 'Running False: PVC transfer in progress (exceeded quota: q)')
  })

  it('of a DataVolume says when its claim got lost on the way', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: PVC transfer in progress')
    const name = claimTransferName(world.transfer()?.metadata.uid ?? '')
    world.patch(kinds.objectTransfer, { name }, { status: { phase: 'Complete' } })
    world.delete(kinds.pvc, home)
    world.step()
    assert.equal(world.message(), 'Running False: Transferred PVC does not exist')
  })

  it('of a DataVolume gets over the deletion of the transfer of its claim', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: PVC transfer in progress')
    world.delete(kinds.objectTransfer, { name: claimTransferName(world.transfer()?.metadata.uid ?? '') })
    world.settle()
    assertArrived(world, { kind: 'DataVolume', target: { namespace: 'away' } })
  })
})

describe('an error', () => {
  it('leaves a transfer that has not begun where it is, and makes one that runs Error', () => {
    const world = worldWith()
    const fresh = world.transfer()
    assert.ok(fresh)
    const error = (phase: string): string | undefined =>
      failureOf({ ...fresh, status: { phase } }, 'exceeded quota: q')?.phase
    assert.deepEqual(['', 'Pending', 'Running', 'Error', 'Complete'].map(error), [
      '',
      'Pending',
      'Error',
      'Error',
      undefined,
    ])
  })

  it('is got over by the next try', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    world.patch(kinds.objectTransfer, { name: transferName }, { status: { phase: 'Error' } })
    world.settle()
    assertArrived(world, { target: { namespace: 'away' } })
  })
})

describe('a transfer that is deleted', () => {
  const goes = (world: World): boolean => world.transfer() === undefined
  const deleteIt = (world: World): void => world.delete(kinds.objectTransfer, { name: transferName })

  it('before it has begun lets go of its source', () => {
    for (const kind of movableKinds) {
      const world = worldWith({ kind })
      until(world, 'Pending False: Pending')
      assert.equal(marksLeft(world).length, 1)
      deleteIt(world)
      world.settle()
      assert.ok(goes(world))
      assert.deepEqual(marksLeft(world), [])
      assert.equal(world.get(kinds.pvc, home)?.status?.phase, 'Bound')
    }
  })

  it('while it runs finishes first', () => {
    for (const kind of movableKinds) {
      const world = worldWith({ kind })
      until(world, 'Running False: Running')
      deleteIt(world)
      world.step()
      assert.ok(!goes(world))
      world.settle()
      assert.ok(goes(world))
      assert.equal(world.get(kinds.pvc, { namespace: 'away', name: 'disk' })?.status?.phase, 'Bound')
      assert.deepEqual(marksLeft(world), [])
    }
  })

  it('in an error gives back what is still there', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    world.step()
    assert.equal(world.get(kinds.pv, { name: volumeName })?.spec?.persistentVolumeReclaimPolicy, 'Retain')
    world.patch(kinds.objectTransfer, { name: transferName }, { status: { phase: 'Error' } })
    deleteIt(world)
    world.settle()
    assert.ok(goes(world))
    assert.equal(world.get(kinds.pv, { name: volumeName })?.spec?.persistentVolumeReclaimPolicy, 'Delete')
    assert.deepEqual(marksLeft(world), [])
  })

  it('in an error gives a DataVolume its claim back', () => {
    const world = worldWith({ kind: 'DataVolume' })
    until(world, 'Running False: Running')
    world.step()
    assert.deepEqual(world.get(kinds.pvc, home)?.metadata.ownerReferences, [])
    world.patch(kinds.objectTransfer, { name: transferName }, { status: { phase: 'Error' } })
    deleteIt(world)
    world.settle()
    assert.ok(goes(world))
    const dataVolume = world.get(kinds.dataVolume, home)
    assert.equal(world.get(kinds.pvc, home)?.metadata.ownerReferences?.[0]?.uid, dataVolume?.metadata.uid)
    assert.equal(dataVolume?.status?.phase, 'Succeeded')
    assert.deepEqual(marksLeft(world), [])
  })

  it('in an error keeps a volume that has no claim any more', () => {
    const world = worldWith()
    until(world, 'Running False: Running')
    while (world.get(kinds.pvc, home)) world.step()
    world.patch(kinds.objectTransfer, { name: transferName }, { status: { phase: 'Error' } })
    deleteIt(world)
    world.settle()
    assert.ok(goes(world))
    assert.equal(world.get(kinds.pv, { name: volumeName })?.spec?.persistentVolumeReclaimPolicy, 'Retain')
  })

  it('when it is done goes at once', () => {
    const world = worldWith()
    world.settle()
    const transfer = world.transfer()
    assert.ok(transfer)
    assert.equal(planTransfer(world.observe(transfer)), undefined)
    deleteIt(world)
    assert.ok(goes(world))
  })
})

/** What can happen between two looks of the controller. */
type Incident = 'step' | 'killed' | 'kubernetes' | 'podComes' | 'podGoes' | 'relabelled' | 'child' | 'childKilled'

const incidents = fc.array(
  fc.constantFrom<Incident>(
    'step',
    'step',
    'killed',
    'kubernetes',
    'podComes',
    'podGoes',
    'relabelled',
    'child',
    'child',
    'childKilled',
  ),
  { maxLength: 60 },
)

function happen(world: World, incident: Incident): void {
  const childName = claimTransferName(world.transfer()?.metadata.uid ?? '')
  switch (incident) {
    case 'step':
      world.step()
      return
    case 'killed':
      world.step(transferName, { dies: true })
      return
    case 'child':
      world.step(childName)
      return
    case 'childKilled':
      world.step(childName, { dies: true })
      return
    case 'kubernetes':
      world.kubernetes()
      return
    case 'podComes':
    case 'podGoes':
      world.use(home, incident === 'podComes')
      return
    case 'relabelled': {
      const source = world.get(kinds.pvc, home)
      const serial = Number(source?.metadata.labels?.['serial'] ?? 0) + 1
      if (source) world.patch(kinds.pvc, home, { metadata: { labels: { serial: String(serial) } } })
      return
    }
    default:
      incident satisfies never
  }
}

const facts = fc.record({
  kind: fc.constantFrom(...movableKinds),
  target: fc.constantFrom(...places.map(([, target]) => target)),
  policy: fc.constantFrom('Delete', 'Retain'),
  isBinderLazy: fc.boolean(),
})

describe('whatever happens between two steps of a transfer,', () => {
  it('the volume and the latest state of its claim arrive', () => {
    fc.assert(
      fc.property(facts, incidents, (given, course) => {
        const world = worldWith(given)
        let serial: string | undefined
        for (const incident of course) {
          happen(world, incident)
          serial = world.get(kinds.pvc, home)?.metadata.labels?.['serial'] ?? serial
          assert.ok(world.get(kinds.pv, { name: volumeName }), 'the volume is there')
        }
        world.use(home, false)
        world.settle()
        assertArrived(world, given)
        assert.equal(world.get(kinds.pvc, { ...home, ...given.target })?.metadata.labels?.['serial'], serial)
      }),
      { numRuns: 1000 },
    )
  })

  it('its deletion leaves no mark, and the volume where it can be had', () => {
    fc.assert(
      fc.property(facts, incidents, fc.boolean(), (given, course, fails) => {
        const world = worldWith(given)
        for (const incident of course) happen(world, incident)
        const isBegun = ['Running', 'Error'].includes(world.transfer()?.status?.phase ?? '')
        if (fails && isBegun) {
          world.patch(kinds.objectTransfer, { name: transferName }, { status: { phase: 'Error' } })
        }
        world.delete(kinds.objectTransfer, { name: transferName })
        world.use(home, false)
        world.settle()
        assert.deepEqual(world.all(kinds.objectTransfer), [])
        assert.deepEqual(marksLeft(world), [])
        const volume = world.get(kinds.pv, { name: volumeName })
        assert.ok(volume, 'the volume is there')
        const { namespace, name = '', uid } = volume.spec?.claimRef ?? {}
        const holder = namespace ? world.get(kinds.pvc, { namespace, name }) : undefined
        const expected = holder && holder.metadata.uid === uid ? given.policy : 'Retain'
        assert.equal(volume.spec?.persistentVolumeReclaimPolicy, expected)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('the target', () => {
  it('is the source in what the wish leaves out', () => {
    for (const [, target, place] of places) {
      const transfer = worldWith({ target }).transfer()
      assert.deepEqual(transfer && targetPlace(transfer), place)
    }
  })
})
