import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, constantFrom, property, record } from 'fast-check'
import { annotations, clonePhases, messages, phases } from '../../../../src/api/names.ts'
import type { Phase } from '../../../../src/api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../../../src/api/kinds.ts'
import { statusOf } from '../../../../src/controllers/datavolume/status.ts'
import type { StatusInput } from '../../../../src/controllers/datavolume/status.ts'
import { storageClass } from '../fixtures.ts'
import {
  cloneDataVolume,
  cloneTarget,
  copyTarget,
  orderFromAfar,
  orderOfPvc,
  orderOfSnapshot,
} from './clone-fixtures.ts'

function input(facts: Partial<StatusInput> = {}): StatusInput {
  return {
    dataVolume: cloneDataVolume(),
    target: cloneTarget(),
    carrier: undefined,
    storageClass: storageClass(),
    isServedByStorage: true,
    honorWaitForFirstConsumer: true,
    adoptionGate: false,
    alreadyTold: new Set(),
    clone: orderOfPvc,
    now: '2026-01-01T00:00:00Z',
    ...facts,
  }
}

interface Shown {
  phase: string
  progress: string | undefined
  conditions: string[]
  events: string[]
}

function shown(facts: Partial<StatusInput>): Shown {
  const { status, events } = statusOf(input(facts))
  return {
    phase: status?.phase ?? '',
    progress: status?.progress,
    conditions: (status?.conditions ?? []).map(
      ({ type, status: value, reason = '', message = '' }) => `${type}=${value} ${reason}|${message}`,
    ),
    events: events.map(({ type, reason, message }) => `${type} ${reason}: ${message}`),
  }
}

const inPhase = (phase: string, conditions: NonNullable<DataVolume['status']>['conditions'] = []): DataVolume =>
  cloneDataVolume({ status: { phase, conditions, claimName: 'dv', progress: 'N/A' } })
const at = (clonePhase: string | undefined, more: Record<string, string> = {}, phase = 'Pending') =>
  cloneTarget({ phase, annotated: { [annotations.clonePhase]: clonePhase, ...more } })
const running = (value: string, message: string, reason: string): Record<string, string> => ({
  [annotations.conditionRunning]: value,
  [annotations.conditionRunningMessage]: message,
  [annotations.conditionRunningReason]: reason,
})

describe('a clone by the storage', () => {
  const taking =
    'Normal SnapshotForSmartCloneInProgress: Creating snapshot for smart-clone is in progress (for pvc vms/src)'
  const restoring =
    'Normal CloneFromSnapshotSourceInProgress: Creating PVC from snapshot source is in progress (for pvc vms/src)'
  const cloning = 'Normal CSICloneInProgress: CSI Volume clone in progress (for pvc vms/src)'
  const told = (before: string, clonePhase: string, cloneType = 'snapshot', claimPhase = 'Pending'): string[] => {
    const target = at(clonePhase, { [annotations.cloneType]: cloneType }, claimPhase)
    const { events } = shown({ dataVolume: inPhase(before), target })
    return events.filter((event) => event === taking || event === restoring || event === cloning)
  }

  it('is known by its events, however quickly it passed what they tell of', () => {
    assert.deepEqual(told('CloneScheduled', 'SnapshotClone'), [taking, restoring])
    assert.deepEqual(told('CloneScheduled', 'Rebind'), [taking, restoring])
    assert.deepEqual(told('CloneScheduled', 'Succeeded', 'snapshot', 'Bound'), [taking, restoring])
  })

  it('tells each of them once', () => {
    assert.deepEqual(told('SnapshotForSmartCloneInProgress', 'SnapshotClone'), [restoring])
    assert.deepEqual(told('SnapshotForSmartCloneInProgress', 'Succeeded', 'snapshot', 'Bound'), [restoring])
    assert.deepEqual(told('PrepClaimInProgress', 'Rebind'), [])
    assert.deepEqual(told('RebindInProgress', 'Succeeded', 'snapshot', 'Bound'), [])
  })

  it('is not what others are taken for', () => {
    assert.deepEqual(told('CloneScheduled', 'Rebind', 'copy'), [])
  })

  it('without a snapshot is known so, too', () => {
    assert.deepEqual(told('CloneScheduled', 'Succeeded', 'csi-clone', 'Bound'), [cloning])
    assert.deepEqual(told('CloneScheduled', 'PrepClaim', 'csi-clone'), [cloning])
    assert.deepEqual(told('CSICloneInProgress', 'Rebind', 'csi-clone'), [])
  })
})

const populatorPhases: [string | undefined, Phase, string | undefined][] = [
  [undefined, 'CloneScheduled', 'CloneScheduled: Cloning from vms/src into vms/dv scheduled'],
  ['Pending', 'CloneScheduled', 'CloneScheduled: Cloning from vms/src into vms/dv scheduled'],
  [
    'Snapshot',
    'SnapshotForSmartCloneInProgress',
    'SnapshotForSmartCloneInProgress: Creating snapshot for smart-clone is in progress (for pvc vms/src)',
  ],
  [
    'SnapshotClone',
    'CloneFromSnapshotSourceInProgress',
    'CloneFromSnapshotSourceInProgress: Creating PVC from snapshot source is in progress (for pvc vms/src)',
  ],
  ['CSIClone', 'CSICloneInProgress', 'CSICloneInProgress: CSI Volume clone in progress (for pvc vms/src)'],
  ['HostClone', 'CloneInProgress', 'CloneInProgress: Cloning from vms/src into vms/dv in progress'],
  ['PrepClaim', 'PrepClaimInProgress', 'PrepClaimInProgress: Prepping PersistentVolumeClaim for DataVolume vms/dv'],
  ['Rebind', 'RebindInProgress', 'RebindInProgress: Rebinding PersistentVolumeClaim for DataVolume vms/dv'],
]

describe('the phase of a clone in populator mode', () => {
  for (const [clonePhase, phase, event] of populatorPhases) {
    it(`is ${phase} while the populator is at ${clonePhase ?? 'nothing'}`, () => {
      const { phase: told, events } = shown({ target: at(clonePhase) })
      assert.equal(told, phase)
      assert.ok(events.includes(`Normal ${event}`), events.join('\n'))
      const again = shown({ target: at(clonePhase), dataVolume: inPhase(phase) })
      assert.equal(
        again.events.some((text) => text.includes('Normal ' + event)),
        false,
        'told once',
      )
    })
  }

  it('names the snapshot that it is made of', () => {
    const { events } = shown({
      target: at('SnapshotClone'),
      dataVolume: cloneDataVolume({ order: orderOfSnapshot }),
      clone: orderOfSnapshot,
    })
    assert.ok(
      events.some((text) => text.endsWith('(for snapshot vms/snap)')),
      events.join('\n'),
    )
  })

  it('is Succeeded with all of the progress when T holds its data and is bound', () => {
    const done = at('Succeeded', running('false', 'Clone Complete', 'Completed'), 'Bound')
    assert.deepEqual(shown({ target: done, dataVolume: inPhase('RebindInProgress') }), {
      phase: 'Succeeded',
      progress: '100.0%',
      conditions: ['Bound=True Bound|PVC dv Bound', 'Ready=True |', 'Running=False Completed|Clone Complete'],
      events: ['Normal CloneSucceeded: Successfully cloned from vms/src into vms/dv', 'Normal Bound: PVC dv Bound'],
    })
  })

  it('stays as it is until a T that holds its data is bound', () => {
    assert.equal(shown({ target: at('Succeeded'), dataVolume: inPhase('RebindInProgress') }).phase, 'RebindInProgress')
  })

  it('never becomes Failed: an error leaves it, and stands in the Running condition', () => {
    const text = 'target resources requests storage size is smaller than the source 17783849 < 71135396'
    const failing = at('Error', { ...running('false', text, 'Error'), [annotations.cloneError]: text })
    for (const phase of ['CloneScheduled', 'CloneInProgress', 'CSICloneInProgress', 'RebindInProgress']) {
      assert.equal(shown({ target: failing, dataVolume: inPhase(phase) }).phase, phase)
    }
    const first = shown({ target: failing })
    assert.equal(first.phase, 'CloneScheduled')
    assert.equal(first.conditions[2], `Running=False Error|${text}`)
    assert.ok(first.events.includes(`Warning Error: ${text}`), first.events.join('\n'))
  })

  it('begins anew with a T that was made after the end', () => {
    assert.equal(shown({ target: at(undefined), dataVolume: inPhase('Succeeded') }).phase, 'CloneScheduled')
    assert.equal(shown({ target: at('Error'), dataVolume: inPhase('Succeeded') }).phase, 'CloneScheduled')
  })

  it('is PendingPopulation while the first consumer is missing', () => {
    const wffc = storageClass({ wffc: true })
    assert.equal(shown({ storageClass: wffc }).phase, 'PendingPopulation')
    assert.equal(shown({ storageClass: wffc, target: at('Pending') }).phase, 'PendingPopulation')
    const chosen = at('Pending', { [annotations.selectedNode]: 'node1' })
    assert.equal(shown({ storageClass: wffc, target: chosen }).phase, 'CloneScheduled')
    const hurried = at('Pending', { [annotations.bindImmediate]: '' })
    assert.equal(shown({ storageClass: wffc, target: hurried }).phase, 'CloneScheduled')
  })

  it('is Succeeded at once, without progress, for a claim that holds the data already', () => {
    const filled = cloneTarget({ annotated: { [annotations.populatedFor]: 'dv' } })
    const { phase, progress } = shown({ target: filled })
    assert.equal(phase, 'Succeeded')
    assert.equal(progress, 'N/A')
  })

  it('tells the progress and the words that stand on T', () => {
    const text = 'Waiting for a volume to be created'
    const target = at('HostClone', {
      ...running('true', '', 'Populator is running'),
      [annotations.populatorProgress]: '12.34%',
      [annotations.conditionBound]: 'false',
      [annotations.conditionBoundMessage]: `[tmp-pvc-uid-dv] : ${text}`,
      [annotations.conditionBoundReason]: 'Pending',
    })
    const { progress, conditions } = shown({ target })
    assert.equal(progress, '12.34%')
    assert.deepEqual(conditions, [
      `Bound=False Pending|target PVC dv Pending and [tmp-pvc-uid-dv] : ${text}`,
      'Ready=False TransferRunning|',
      'Running=True Populator is running|',
    ])
  })

  it('is never Failed and never Succeeded before T is bound, whatever went before', () => {
    const states = record({
      current: constantFrom(...Object.values(phases)),
      clonePhase: constantFrom(undefined, ...Object.values(clonePhases), 'SomethingNew'),
      bound: constantFrom('Pending', 'Bound'),
    })
    check(
      property(states, ({ current, clonePhase, bound }) => {
        const { status } = statusOf(
          input({ dataVolume: inPhase(current), target: at(clonePhase, {}, bound), clone: orderFromAfar }),
        )
        const phase = status?.phase ?? current
        // A claim that was bound stays so: what was Succeeded is kept for a T that is done.
        if (current === phases.succeeded && clonePhase === clonePhases.succeeded) return
        assert.equal(phase === phases.succeeded, clonePhase === clonePhases.succeeded && bound === 'Bound')
        if (current !== phases.failed) assert.notEqual(phase, phases.failed)
      }),
    )
  })
})

const copied = (podPhase: string | undefined, phase = 'Bound', more: Record<string, string> = {}) =>
  copyTarget({ phase, annotated: { [annotations.podPhase]: podPhase, ...more } })
const direct = (target: PersistentVolumeClaim, facts: Partial<StatusInput> = {}): Partial<StatusInput> => ({
  target,
  carrier: target,
  ...facts,
})

describe('the phase of a clone in the direct mode', () => {
  const cases: [string, Partial<StatusInput>, Phase, string | undefined][] = [
    ['an unbound T', direct(copied(undefined, 'Pending')), 'Pending', undefined],
    [
      'a T whose consumer is missing',
      direct(copied(undefined, 'Pending'), { storageClass: storageClass({ wffc: true }) }),
      'WaitForFirstConsumer',
      undefined,
    ],
    [
      'a bound T without a pod',
      direct(copied(undefined), { dataVolume: inPhase('WaitForFirstConsumer') }),
      'CloneScheduled',
      'Normal CloneScheduled: Cloning from vms/src into vms/dv scheduled',
    ],
    [
      'a pod that is not there yet',
      direct(copied('Pending')),
      'CloneScheduled',
      'Normal CloneScheduled: Cloning from vms/src into vms/dv scheduled',
    ],
    [
      'a pod at work',
      direct(copied('Running'), { dataVolume: inPhase('CloneScheduled') }),
      'CloneInProgress',
      'Normal CloneInProgress: Cloning from vms/src into vms/dv in progress',
    ],
    [
      'a pod that failed',
      direct(copied('Failed'), { dataVolume: inPhase('CloneInProgress') }),
      'CloneInProgress',
      'Warning CloneFailed: Cloning from vms/src into vms/dv failed',
    ],
    [
      'a pod that is done',
      direct(copied('Succeeded'), { dataVolume: inPhase('CloneInProgress') }),
      'Succeeded',
      'Normal CloneSucceeded: Successfully cloned from vms/src into vms/dv',
    ],
  ]
  for (const [name, facts, phase, event] of cases) {
    it(`is ${phase} for ${name}`, () => {
      const { phase: told, events } = shown(facts)
      assert.equal(told, phase)
      if (event !== undefined) assert.ok(events.includes(event), events.join('\n'))
    })
  }

  it('is not told as failed again when nothing changes, nor when a quota refused the pod', () => {
    const target = copied('Failed')
    const first = statusOf(input(direct(target, { dataVolume: inPhase('CloneInProgress') })))
    const told = cloneDataVolume({ status: first.status })
    assert.deepEqual(statusOf(input(direct(target, { dataVolume: told }))).events, [])
    const refused = copied('Failed', 'Bound', running('false', 'Error starting pod', 'ErrExceededQuota'))
    const { events, conditions } = shown(direct(refused, { dataVolume: inPhase('CloneScheduled') }))
    assert.equal(
      events.some((text) => text.includes('CloneFailed')),
      false,
    )
    assert.equal(conditions[2], 'Running=False ErrExceededQuota|Error starting pod')
    const reader = copied('Failed', 'Bound', { [annotations.conditionSourceRunningReason]: 'ErrExceededQuota' })
    assert.deepEqual(
      shown(direct(reader, { dataVolume: inPhase('CloneScheduled') })).events.filter((text) =>
        /CloneFailed/.test(text),
      ),
      [],
      'nor the pod that reads',
    )
  })

  it('tells what the source pod reports', () => {
    const working = direct(copied('Running'), { dataVolume: inPhase('CloneInProgress'), progressPercent: 41.5 })
    assert.equal(shown(working).progress, '41.50%')
  })
})

describe('the Running condition of a copy', () => {
  const sourcePod = (value: string, message: string, reason: string): Record<string, string> => ({
    [annotations.conditionSourceRunning]: value,
    [annotations.conditionSourceRunningMessage]: message,
    [annotations.conditionSourceRunningReason]: reason,
  })
  const cases: [string, Record<string, string>, string][] = [
    [
      'both run',
      { ...running('true', '', 'Pod is running'), ...sourcePod('true', '', 'Pod is running') },
      'True Pod is running|',
    ],
    [
      'only the receiver runs',
      { ...running('true', '', 'Pod is running'), ...sourcePod('false', 'no node', 'Unschedulable') },
      'False Unschedulable|no node',
    ],
    [
      'only the source runs',
      { ...running('false', 'starting', 'ContainerCreating'), ...sourcePod('true', '', 'Pod is running') },
      'False ContainerCreating|starting',
    ],
    [
      'none runs',
      { ...running('false', 'one', 'A'), ...sourcePod('false', 'other', 'B') },
      'False A and B|one and other',
    ],
    [
      'none runs and one says nothing',
      { ...running('false', '', 'A'), ...sourcePod('false', 'other', '') },
      'False A|other',
    ],
    ['there is no receiver yet', sourcePod('false', 'other', 'B'), 'False |'],
  ]
  for (const [name, annotated, expected] of cases) {
    it(`is ${expected} when ${name}`, () => {
      const { conditions } = shown(
        direct(copied('Running', 'Bound', annotated), { dataVolume: inPhase('CloneInProgress') }),
      )
      assert.equal(conditions[2], `Running=${expected}`)
    })
  }
})

describe('a clone without T', () => {
  const missing = (phase: Phase): StatusInput['failure'] => ({
    phase,
    reason: 'CloneWithoutSource',
    message: messages.cloneWithoutSource('pvc', 'nothere'),
  })

  it('says that its source is missing, as the recordings show', () => {
    const pending = cloneDataVolume({ status: { phase: 'Pending' } })
    assert.deepEqual(shown({ target: undefined, dataVolume: pending, failure: missing('Pending') }), {
      phase: 'Pending',
      progress: undefined,
      conditions: [
        "Bound=False CloneWithoutSource|The source pvc nothere doesn't exist",
        "Ready=False CloneWithoutSource|The source pvc nothere doesn't exist",
        'Running=False |',
      ],
      events: ["Normal CloneWithoutSource: The source pvc nothere doesn't exist"],
    })
  })

  it('warns only when its phase comes of it', () => {
    const { events } = shown({ target: undefined, failure: missing('Pending') })
    assert.deepEqual(events, [
      "Warning CloneWithoutSource: The source pvc nothere doesn't exist",
      "Normal CloneWithoutSource: The source pvc nothere doesn't exist",
    ])
  })

  it('is scheduled while something is awaited, without a warning', () => {
    const message = 'Cloning from vms/src into vms/dv scheduled'
    const failure = { phase: phases.cloneScheduled, reason: 'CloneScheduled', message }
    assert.deepEqual(shown({ target: undefined, failure }), {
      phase: 'CloneScheduled',
      progress: undefined,
      conditions: [`Bound=False CloneScheduled|${message}`, `Ready=False CloneScheduled|${message}`, 'Running=False |'],
      events: [`Normal CloneScheduled: ${message}`],
    })
  })
})
