import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, constantFrom, property, shuffledSubarray } from 'fast-check'
import { annotations } from '../../../../src/api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../../../src/api/kinds.ts'
import { statusOf, statusPatch } from '../../../../src/controllers/datavolume/status.ts'
import type { StatusInput } from '../../../../src/controllers/datavolume/status.ts'
import { claim, dataVolume, directTarget, populatedTarget, prime, storageClass } from '../fixtures.ts'

const now = '2026-01-01T00:00:00Z'

function input(facts: Partial<StatusInput> = {}): StatusInput {
  return {
    dataVolume: dataVolume(),
    target: populatedTarget(),
    carrier: undefined,
    storageClass: storageClass(),
    isServedByStorage: true,
    honorWaitForFirstConsumer: true,
    adoptionGate: false,
    alreadyTold: new Set(),
    now,
    ...facts,
  }
}

/** Short form of a status, as the recordings write it. */
function shown(status: DataVolume['status']): string[] {
  return [
    `phase=${status?.phase ?? ''} progress=${status?.progress ?? ''} restarts=${status?.restartCount ?? ''}`,
    ...(status?.conditions ?? []).map(
      ({ type, status: value, reason = '', message = '' }) => `${type}=${value} ${reason}|${message}`,
    ),
  ]
}

function statusFor(facts: Partial<StatusInput>): { shown: string[]; events: string[] } {
  const { status, events } = statusOf(input(facts))
  return { shown: shown(status), events: events.map(({ type, reason, message }) => `${type} ${reason}: ${message}`) }
}

const worker = (facts: Record<string, string>): Record<string, string> => ({
  [annotations.podSchedulable]: 'true',
  [annotations.podRestarts]: '0',
  ...facts,
})
const running = (value: string, message: string, reason: string): Record<string, string> => ({
  [annotations.conditionRunning]: value,
  [annotations.conditionRunningMessage]: message,
  [annotations.conditionRunningReason]: reason,
})
const boundPrime = prime({ phase: 'Bound', annotated: { [annotations.importPodName]: 'importer-prime-uid-dv' } })
const after = (phase: string): DataVolume => {
  const first = statusOf(input())
  return dataVolume({ status: { ...first.status, phase } })
}
const externalTarget = ({ annotated, ...facts }: Parameters<typeof claim>[0] = {}): PersistentVolumeClaim =>
  claim({
    owner: dataVolume(),
    annotated: { [annotations.externalPopulation]: 'true', ...annotated },
    spec: { dataSourceRef: { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: 'snap' } },
    ...facts,
  })
const error404 = 'Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found'

interface Case {
  name: string
  given: Partial<StatusInput>
  phase: string
  progress?: string
  restarts?: string
  bound?: string
  ready?: string
  running?: string
  events?: string[]
}

const pending = 'Normal Pending: PVC dv Pending'

const cases: Case[] = [
  {
    name: 'a new claim of a populator has no phase yet',
    given: {},
    phase: '',
    events: [pending],
  },
  {
    name: 'a new claim in the direct mode is Pending',
    given: { target: directTarget() },
    phase: 'Pending',
    events: [pending],
  },
  {
    name: 'a populated claim whose consumer is missing is PendingPopulation',
    given: { storageClass: storageClass({ wffc: true }) },
    phase: 'PendingPopulation',
    events: [pending],
  },
  {
    name: 'a populated claim with immediate binding does not wait for a consumer',
    given: {
      storageClass: storageClass({ wffc: true }),
      target: populatedTarget({ annotated: { [annotations.bindImmediate]: '' } }),
    },
    phase: '',
    events: [pending],
  },
  {
    name: 'a claim in the direct mode whose consumer is missing is WaitForFirstConsumer',
    given: { storageClass: storageClass({ wffc: true }), target: directTarget() },
    phase: 'WaitForFirstConsumer',
    events: [pending],
  },
  {
    name: 'with the gate off nobody waits for a consumer',
    given: { storageClass: storageClass({ wffc: true }), target: directTarget(), honorWaitForFirstConsumer: false },
    phase: 'Pending',
    events: [pending],
  },
  {
    name: 'a bound claim in the direct mode without a worker is PVCBound',
    given: { target: directTarget({ phase: 'Bound' }), dataVolume: after('Pending') },
    phase: 'PVCBound',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a worker on an unbound P does not count yet',
    given: {
      target: populatedTarget({ annotated: worker({ [annotations.podPhase]: 'Pending' }) }),
      carrier: prime({ annotated: { [annotations.importPodName]: 'x' } }),
    },
    phase: '',
    events: [pending],
  },
  {
    name: 'a worker that is being started is ImportScheduled',
    given: {
      dataVolume: after(''),
      target: populatedTarget({
        annotated: worker({ [annotations.podPhase]: 'Pending', ...running('false', '', 'ContainerCreating') }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportScheduled',
    running: 'False ContainerCreating|',
    events: ['Normal ImportScheduled: Import into dv scheduled'],
  },
  {
    name: 'a worker that cannot be scheduled although its volume is there is warned of',
    given: {
      dataVolume: after('ImportScheduled'),
      target: populatedTarget({
        annotated: { [annotations.podPhase]: 'Pending', [annotations.podSchedulable]: 'false' },
      }),
      carrier: boundPrime,
    },
    phase: 'ImportScheduled',
    running: 'False Unschedulable|Importer pod cannot be scheduled',
    events: ['Warning Unschedulable: Importer pod cannot be scheduled'],
  },
  {
    name: 'a worker that misses its secret is warned of',
    given: {
      dataVolume: after('ImportScheduled'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Pending',
          ...running('false', 'secret "nothere" not found', 'CreateContainerConfigError'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportScheduled',
    running: 'False CreateContainerConfigError|secret "nothere" not found',
    events: ['Warning CreateContainerConfigError: secret "nothere" not found'],
  },
  {
    name: 'a running worker is ImportInProgress and shows its progress',
    given: {
      dataVolume: after('ImportScheduled'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Running',
          [annotations.populatorProgress]: '12.34%',
          ...running('true', '', 'Pod is running'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportInProgress',
    progress: '12.34%',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
    events: ['Normal ImportInProgress: Import into dv in progress'],
  },
  {
    name: 'a running worker in the direct mode shows the progress that was read from it',
    given: {
      dataVolume: after('ImportScheduled'),
      target: directTarget({
        phase: 'Bound',
        annotated: worker({
          [annotations.importPodName]: 'importer-dv',
          [annotations.podPhase]: 'Running',
          ...running('true', '', 'Pod is running'),
        }),
      }),
      carrier: directTarget({ phase: 'Bound', annotated: { [annotations.importPodName]: 'importer-dv' } }),
      progressPercent: 7.126,
    },
    phase: 'ImportInProgress',
    progress: '7.13%',
    bound: 'True Bound|PVC dv Bound',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
    events: ['Normal ImportInProgress: Import into dv in progress', 'Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a worker that failed and will be started again stays ImportInProgress, tells why and counts',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Running',
          [annotations.podRestarts]: '4',
          [annotations.populatorPvcPrime]: 'prime-uid-dv',
          [annotations.conditionBound]: 'false',
          [annotations.conditionBoundReason]: 'Pending',
          [annotations.conditionBoundMessage]: error404,
          ...running('false', error404, 'Error'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportInProgress',
    restarts: '4',
    bound: `False Pending|target PVC dv Pending and [prime-uid-dv] : ${error404}`,
    running: `False Error|${error404}`,
    events: [`Normal Pending: target PVC dv Pending and [prime-uid-dv] : ${error404}`, `Warning Error: ${error404}`],
  },
  {
    name: 'a worker that asks for scratch is no cause for a warning',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Running',
          ...running('false', 'scratch space required and none found', 'Scratch space required'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportInProgress',
    running: 'False Scratch space required|scratch space required and none found',
    events: [],
  },
  {
    name: 'a pod that was refused is ImportScheduled',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({ annotated: worker({ [annotations.podPhase]: 'Failed' }) }),
      carrier: boundPrime,
    },
    phase: 'ImportScheduled',
    events: ['Warning ImportFailed: Failed to import into PVC dv'],
  },
  {
    name: 'a wrong checksum is Failed, for good',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Failed',
          [annotations.fatalError]: 'true',
          ...running('false', 'checksum validation failed: x', 'ChecksumError'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'Failed',
    running: 'False ChecksumError|checksum validation failed: x',
    events: [
      'Warning ImportFailed: Failed to import into PVC dv',
      'Warning ChecksumError: checksum validation failed: x',
    ],
  },
  {
    name: 'success waits until the claim is bound',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        annotated: worker({
          [annotations.podPhase]: 'Succeeded',
          [annotations.populatorProgress]: '100.0%',
          ...running('false', 'Import Complete', 'Completed'),
        }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportInProgress',
    progress: '100.0%',
    running: 'False Completed|Import Complete',
    events: [],
  },
  {
    name: 'a bound claim that was filled is Succeeded',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        phase: 'Bound',
        annotated: worker({
          [annotations.podPhase]: 'Succeeded',
          [annotations.populatorProgress]: '100.0%',
          ...running('false', 'Import Complete', 'Completed'),
        }),
      }),
    },
    phase: 'Succeeded',
    progress: '100.0%',
    bound: 'True Bound|PVC dv Bound',
    ready: 'True |',
    running: 'False Completed|Import Complete',
    events: ['Normal ImportSucceeded: Successfully imported into PVC dv', 'Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that lost its volume is Failed',
    given: {
      dataVolume: after('Succeeded'),
      target: populatedTarget({ phase: 'Lost', annotated: worker({ [annotations.podPhase]: 'Succeeded' }) }),
    },
    phase: 'Failed',
    bound: 'False ClaimLost|Claim Lost',
    events: ['Warning ErrClaimLost: PVC dv lost', 'Normal ClaimLost: Claim Lost'],
  },
  {
    name: 'a claim that was filled before, by a restore, is Succeeded even while it is pending',
    given: { target: claim({ owner: dataVolume(), annotated: { [annotations.populatedFor]: 'dv' } }) },
    phase: 'Succeeded',
    ready: 'True |',
    events: [pending],
  },
  {
    name: 'an adopted claim is Succeeded',
    given: {
      dataVolume: dataVolume({ annotated: { [annotations.allowClaimAdoption]: 'true' } }),
      target: claim({ owner: dataVolume(), phase: 'Bound' }),
    },
    phase: 'Succeeded',
    bound: 'True Bound|PVC dv Bound',
    ready: 'True |',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that waits for its own volume is Pending',
    given: {
      dataVolume: dataVolume({ annotated: { [annotations.checkStaticVolume]: '' } }),
      target: claim({
        owner: dataVolume(),
        phase: 'Bound',
        annotated: { [annotations.persistentVolumeList]: '["pv-1"]' },
      }),
    },
    phase: 'Pending',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'the storage itself has filled the claim',
    given: { target: externalTarget({ phase: 'Bound' }) },
    phase: 'Succeeded',
    bound: 'True Bound|PVC dv Bound',
    ready: 'True |',
    events: ['Normal ExternalPopulationSucceeded: PVC dv successfully populated by snap', 'Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that no storage can fill is no disk, though it is bound',
    given: { isServedByStorage: false, target: externalTarget({ phase: 'Bound' }) },
    phase: '',
    bound: 'True Bound|PVC dv Bound',
    ready: 'False |',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that no storage can fill does not wait for a consumer, who would take it for a disk',
    given: { isServedByStorage: false, storageClass: storageClass({ wffc: true }), target: externalTarget({}) },
    phase: '',
    ready: 'False |',
    events: ['Normal Pending: PVC dv Pending'],
  },
  {
    name: 'a claim of the storage that is bound to a volume which lay ready was not filled by the storage',
    given: { target: externalTarget({ phase: 'Bound', annotated: { [annotations.populatedFor]: 'dv' } }) },
    phase: 'Succeeded',
    bound: 'True Bound|PVC dv Bound',
    ready: 'True |',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim in a phase that Kubernetes does not document is Unknown',
    given: { dataVolume: after('ImportInProgress'), target: populatedTarget({ phase: 'Strange' }) },
    phase: 'Unknown',
    ready: 'Unknown |',
  },
  {
    name: 'a bound claim after such a phase goes on as PVCBound',
    given: { dataVolume: after('Unknown'), target: directTarget({ phase: 'Bound' }) },
    phase: 'PVCBound',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that is going away changes no phase',
    given: {
      dataVolume: after('ImportInProgress'),
      target: directTarget({
        phase: 'Bound',
        terminating: true,
        annotated: { [annotations.podPhase]: 'Succeeded' },
      }),
    },
    phase: 'ImportInProgress',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a filled claim of somebody else makes nothing Succeeded',
    given: {
      dataVolume: after('Pending'),
      target: claim({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } }),
    },
    phase: 'Pending',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a claim that it made itself is imported although adoption is allowed',
    given: {
      dataVolume: dataVolume({ annotated: { [annotations.allowClaimAdoption]: 'true' } }),
      target: directTarget({ phase: 'Bound' }),
      adoptionGate: true,
    },
    phase: '',
    bound: 'True Bound|PVC dv Bound',
    events: ['Normal Bound: PVC dv Bound'],
  },
  {
    name: 'a state of the worker that is neither true nor false is Unknown',
    given: {
      dataVolume: after('ImportInProgress'),
      target: populatedTarget({
        annotated: worker({ [annotations.podPhase]: 'Running', ...running('perhaps', 'a message', 'AReason') }),
      }),
      carrier: boundPrime,
    },
    phase: 'ImportInProgress',
    running: 'Unknown AReason|a message',
  },
]

describe('what a pending claim waits for', () => {
  const waiting = 'target PVC dv Pending and provisioning'
  const told = (alreadyTold: readonly string[]): string[] => {
    const target = directTarget({
      annotated: {
        [annotations.conditionBound]: 'false',
        [annotations.conditionBoundMessage]: 'provisioning',
        [annotations.conditionBoundReason]: 'Pending',
      },
    })
    const { shown: lines, events } = statusFor({ target, alreadyTold: new Set(alreadyTold) })
    assert.ok(lines.includes(`Bound=False Pending|${waiting}`), lines.join('\n'))
    return events.filter((event) => event.endsWith(waiting))
  }

  it('always stands in the condition, and is told once, however often it goes back to that', () => {
    assert.deepEqual(told([]), [`Normal Pending: ${waiting}`])
    assert.deepEqual(told([`Pending\nsomething else`]), [`Normal Pending: ${waiting}`])
    assert.deepEqual(told([`Pending\n${waiting}`]), [])
  })
})

describe('the status of a DataVolume', () => {
  for (const { name, given, phase, progress = 'N/A', restarts = '', events = [], ...conditions } of cases) {
    it(name, () => {
      const found = statusFor(given)
      assert.deepEqual(found.shown, [
        `phase=${phase} progress=${progress} restarts=${restarts}`,
        `Bound=${conditions.bound ?? 'False Pending|PVC dv Pending'}`,
        `Ready=${conditions.ready ?? 'False |'}`,
        `Running=${conditions.running ?? 'False |'}`,
      ])
      assert.deepEqual(found.events, events)
    })
  }

  it('of a bound claim does not repeat why it was pending', () => {
    const target = directTarget({
      phase: 'Bound',
      annotated: {
        [annotations.conditionBound]: 'false',
        [annotations.conditionBoundReason]: 'Pending',
        [annotations.conditionBoundMessage]: 'waiting for first consumer',
      },
    })
    assert.equal(statusFor({ target }).shown[1], 'Bound=True Bound|PVC dv Bound')
  })

  it('of a bound claim tells what is being made for it', () => {
    const target = directTarget({
      phase: 'Bound',
      annotated: {
        [annotations.conditionBound]: 'false',
        [annotations.conditionBoundReason]: 'CreatingScratchSpace',
        [annotations.conditionBoundMessage]: 'Creating scratch space',
      },
    })
    assert.equal(statusFor({ target }).shown[1], 'Bound=False CreatingScratchSpace|Creating scratch space')
  })

  it('without a claim says so', () => {
    const { shown: lines, events } = statusFor({ target: undefined })
    assert.deepEqual(lines, [
      'phase=Pending progress= restarts=',
      'Bound=False NotFound|No PVC found',
      'Ready=False |',
      'Running=False |',
    ])
    assert.deepEqual(events, ['Normal NotFound: No PVC found'])
  })

  it('of a claim that cannot be rendered carries the reason in Bound and Ready, and warns once', () => {
    const failure = { phase: '', reason: 'ErrClaimNotValid', message: 'no accessMode' } as const
    const first = statusOf(input({ target: undefined, failure }))
    assert.deepEqual(shown(first.status), [
      'phase= progress= restarts=',
      'Bound=False ErrClaimNotValid|no accessMode',
      'Ready=False ErrClaimNotValid|no accessMode',
      'Running=False |',
    ])
    assert.deepEqual(
      first.events.map(({ type, reason }) => `${type} ${reason}`),
      ['Warning ErrClaimNotValid', 'Normal ErrClaimNotValid'],
    )
    const again = statusOf(input({ target: undefined, failure, dataVolume: dataVolume({ status: first.status }) }))
    assert.equal(again.status, undefined)
    assert.deepEqual(again.events, [])
  })

  it('of a claim over quota is Pending with the API text', () => {
    const failure = { phase: 'Pending', reason: 'ErrExceededQuota', message: 'forbidden: exceeded quota: q' } as const
    const { shown: lines, events } = statusFor({ target: undefined, failure })
    assert.equal(lines[0], 'phase=Pending progress= restarts=')
    assert.equal(lines[1], 'Bound=False ErrExceededQuota|forbidden: exceeded quota: q')
    assert.equal(lines[2], 'Ready=False ErrExceededQuota|forbidden: exceeded quota: q')
    assert.deepEqual(events, [
      'Warning ErrExceededQuota: forbidden: exceeded quota: q',
      'Normal ErrExceededQuota: forbidden: exceeded quota: q',
    ])
  })

  it('starts over when the claim was deleted and made anew', () => {
    const done = dataVolume({ status: { phase: 'Succeeded', progress: '100.0%', claimName: 'dv', restartCount: 3 } })
    const { status } = statusOf(
      input({ dataVolume: done, target: directTarget({ annotated: { [annotations.podRestarts]: '0' } }) }),
    )
    assert.equal(status?.phase, 'Pending')
    assert.equal(status.progress, 'N/A')
    assert.equal(status.restartCount, undefined)
    assert.deepEqual(statusPatch(done.status, status)['restartCount'], null)
  })

  it('keeps the time of a condition that says nothing new', () => {
    const first = statusOf(input())
    const later = statusOf(
      input({
        now: '2026-01-01T00:01:00Z',
        dataVolume: dataVolume({ status: first.status }),
        target: populatedTarget({ annotated: worker({ [annotations.podSchedulable]: 'false' }) }),
        carrier: prime(),
      }),
    )
    const times = later.status?.conditions?.map(({ type, lastHeartbeatTime }) => [type, lastHeartbeatTime])
    assert.deepEqual(times, [
      ['Bound', now],
      ['Ready', now],
      ['Running', '2026-01-01T00:01:00Z'],
    ])
    assert.equal(later.status?.conditions?.[2]?.lastTransitionTime, now, 'False it was before')
  })
})

describe('whatever a controller missed', () => {
  const end: PersistentVolumeClaim = populatedTarget({
    phase: 'Bound',
    annotated: worker({
      [annotations.podPhase]: 'Succeeded',
      [annotations.populatorProgress]: '100.0%',
      ...running('false', 'Import Complete', 'Completed'),
    }),
  })
  const earlier: Partial<StatusInput>[] = cases
    .filter(({ given }) => given.dataVolume?.metadata.annotations === undefined)
    .map(({ given }) => Object.fromEntries(Object.entries(given).filter(([key]) => key !== 'dataVolume')))

  it('the last status is that of the last state', () => {
    check(
      property(shuffledSubarray(earlier), constantFrom('', 'Failed', 'Unknown'), (states, phase) => {
        let current = dataVolume(phase === '' ? {} : { status: { phase } })
        for (const state of [...states, { target: end }]) {
          const { status } = statusOf({ ...input(state), dataVolume: current })
          if (!status) continue
          const merged = JSON.parse(JSON.stringify(status)) as NonNullable<DataVolume['status']>
          current = dataVolume({ status: merged })
        }
        assert.deepEqual(shown(current.status), [
          'phase=Succeeded progress=100.0% restarts=',
          'Bound=True Bound|PVC dv Bound',
          'Ready=True |',
          'Running=False Completed|Import Complete',
        ])
        assert.equal(
          statusOf(input({ dataVolume: current, target: end })).status,
          undefined,
          'and then nothing is written',
        )
      }),
    )
  })
})
