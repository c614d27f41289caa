import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, constantFrom, property, shuffledSubarray } from 'fast-check'
import { annotations } from '../../../../src/api/names.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../../../src/api/kinds.ts'
import { statusOf } from '../../../../src/controllers/datavolume/status.ts'
import type { StatusInput } from '../../../../src/controllers/datavolume/status.ts'
import { claim, dataVolume, populatedTarget, storageClass, uploadPrime } from '../fixtures.ts'

const upload = { source: { upload: {} } }
const now = '2026-01-01T00:00:00Z'

function input(facts: Partial<StatusInput> = {}): StatusInput {
  return {
    dataVolume: dataVolume({ spec: upload }),
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

/** What T says of a server. */
function server(phase: string, ready: boolean, running?: [string, string, string]): Record<string, string> {
  const [value, message, reason] = running ?? []
  return {
    [annotations.podPhase]: phase,
    [annotations.podReady]: String(ready),
    [annotations.podRestarts]: '0',
    ...(running
      ? {
          [annotations.conditionRunning]: value ?? '',
          [annotations.conditionRunningMessage]: message ?? '',
          [annotations.conditionRunningReason]: reason ?? '',
        }
      : {}),
  }
}

const runs: [string, string, string] = ['true', '', 'Pod is running']
const boundPrime = uploadPrime({ phase: 'Bound' })
const direct = (facts: Parameters<typeof claim>[0] = {}): PersistentVolumeClaim =>
  claim({
    owner: dataVolume(),
    ...facts,
    annotated: {
      [annotations.createdForDataVolume]: 'uid-dv',
      [annotations.usePopulator]: 'false',
      [annotations.uploadTarget]: '',
      ...facts.annotated,
    },
  })

interface Case {
  name: string
  given: Partial<StatusInput>
  phase: string
  bound?: string
  ready?: string
  running?: string
  restarts?: string
  /** The events that go with the phase. */
  events?: string[]
}

const cases: Case[] = [
  { name: 'a new claim of a populator has no phase yet', given: {}, phase: '' },
  {
    name: 'a claim whose consumer is missing is PendingPopulation',
    given: { storageClass: storageClass({ wffc: true }) },
    phase: 'PendingPopulation',
  },
  {
    name: 'a claim in the direct mode whose consumer is missing is WaitForFirstConsumer',
    given: { storageClass: storageClass({ wffc: true }), target: direct() },
    phase: 'WaitForFirstConsumer',
  },
  { name: 'an unbound P does not count yet', given: { carrier: uploadPrime() }, phase: '' },
  { name: 'a bound P without a server is UploadScheduled', given: { carrier: boundPrime }, phase: 'UploadScheduled' },
  {
    name: 'a P whose mark was taken away keeps the phase',
    given: { carrier: uploadPrime({ phase: 'Bound', annotated: { [annotations.uploadTarget]: undefined } }) },
    phase: '',
  },
  {
    name: 'a server that is being started is UploadScheduled',
    given: {
      carrier: boundPrime,
      target: populatedTarget({ annotated: server('Pending', false, ['false', '', 'ContainerCreating']) }),
    },
    phase: 'UploadScheduled',
    running: 'False ContainerCreating|',
    events: ['Normal UploadScheduled: Upload into dv scheduled'],
  },
  {
    name: 'a server that runs and is not ready is UploadScheduled',
    given: { carrier: boundPrime, target: populatedTarget({ annotated: server('Running', false, runs) }) },
    phase: 'UploadScheduled',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
  },
  {
    name: 'a server that is ready is UploadReady, with the conditions that clients know',
    given: { carrier: boundPrime, target: populatedTarget({ annotated: server('Running', true, runs) }) },
    phase: 'UploadReady',
    bound: 'False Pending|PVC dv Pending',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
    events: ['Normal UploadReady: Upload into dv ready'],
  },
  {
    name: 'a server that is ready in the direct mode is UploadReady on a bound claim',
    given: {
      target: direct({ phase: 'Bound', annotated: server('Running', true, runs) }),
      carrier: direct({ phase: 'Bound' }),
    },
    phase: 'UploadReady',
    bound: 'True Bound|PVC dv Bound',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
    events: ['Normal UploadReady: Upload into dv ready'],
  },
  {
    name: 'a server that was replaced is UploadScheduled again',
    given: {
      dataVolume: dataVolume({ spec: upload, status: { phase: 'UploadReady' } }),
      carrier: boundPrime,
      target: populatedTarget({ annotated: server('', false, ['false', 'Deadline Passed', 'Completed']) }),
    },
    phase: 'UploadScheduled',
    running: 'False Completed|Deadline Passed',
  },
  {
    name: 'a server whose pod died is UploadScheduled, never Failed',
    given: {
      carrier: boundPrime,
      target: populatedTarget({ annotated: server('Failed', false, ['false', 'no disk', 'Evicted']) }),
    },
    phase: 'UploadScheduled',
    running: 'False Evicted|no disk',
    events: ['Warning UploadFailed: Upload into dv failed', 'Warning Evicted: no disk'],
  },
  {
    name: 'a server that a quota did not admit has failed in nothing',
    given: {
      carrier: boundPrime,
      target: populatedTarget({ annotated: server('Failed', false, ['false', 'Error starting', 'ErrExceededQuota']) }),
    },
    phase: 'UploadScheduled',
    running: 'False ErrExceededQuota|Error starting',
    events: ['Warning ErrExceededQuota: Error starting'],
  },
  {
    name: 'a server that was restarted is counted',
    given: {
      carrier: boundPrime,
      target: populatedTarget({ annotated: { ...server('Running', true, runs), [annotations.podRestarts]: '2' } }),
    },
    phase: 'UploadReady',
    restarts: '2',
    ready: 'False TransferRunning|',
    running: 'True Pod is running|',
    events: ['Normal UploadReady: Upload into dv ready'],
  },
  {
    name: 'a claim that was filled and waits for its volume keeps the phase',
    given: {
      dataVolume: dataVolume({ spec: upload, status: { phase: 'UploadReady' } }),
      target: populatedTarget({ annotated: server('Succeeded', false, ['false', 'Upload Complete', 'Completed']) }),
    },
    phase: 'UploadReady',
    running: 'False Completed|Upload Complete',
  },
  {
    name: 'a bound claim that was filled is Succeeded',
    given: {
      target: populatedTarget({
        phase: 'Bound',
        annotated: server('Succeeded', false, ['false', 'Upload Complete', 'Completed']),
      }),
    },
    phase: 'Succeeded',
    bound: 'True Bound|PVC dv Bound',
    ready: 'True |',
    running: 'False Completed|Upload Complete',
    events: ['Normal UploadSucceeded: Successfully uploaded into dv'],
  },
  {
    name: 'a claim that was made anew after the end starts over',
    given: {
      dataVolume: dataVolume({ spec: upload, status: { phase: 'Succeeded' } }),
      target: direct({ annotated: { [annotations.podRestarts]: '0' } }),
    },
    phase: 'Pending',
  },
]

describe('the status of a DataVolume that a client fills', () => {
  for (const { name, given, phase, bound, ready, running, restarts, events = [] } of cases) {
    it(`shows it: ${name}`, () => {
      const outcome = statusOf(input(given))
      const [first, ...conditions] = shown(outcome.status)
      assert.equal(first, `phase=${phase} progress=N/A restarts=${restarts ?? ''}`)
      assert.deepEqual(conditions, [
        `Bound=${bound ?? 'False Pending|PVC dv Pending'}`,
        `Ready=${ready ?? 'False |'}`,
        `Running=${running ?? 'False |'}`,
      ])
      const told = outcome.events
        .filter(({ reason }) => reason !== 'Pending' && reason !== 'Bound')
        .map(({ type, reason, message }) => `${type} ${reason}: ${message}`)
      assert.deepEqual(told, events)
    })
  }

  it('tells the progress N/A even if something stands on the claim', () => {
    const target = populatedTarget({ annotated: { [annotations.populatorProgress]: '50.00%' } })
    assert.equal(statusOf(input({ target, progressPercent: 12 })).status?.progress, 'N/A')
  })

  it('ends with the last state, whatever a controller missed', () => {
    const end = cases.find(({ phase }) => phase === 'Succeeded')!.given
    check(
      property(shuffledSubarray(cases.map(({ given }) => given)), constantFrom('', 'Unknown'), (states, phase) => {
        let current = dataVolume({ spec: upload, ...(phase === '' ? {} : { status: { phase } }) })
        for (const state of [...states, end]) {
          const { status } = statusOf({ ...input(state), dataVolume: current })
          if (status) current = dataVolume({ spec: upload, status: structuredClone(status) })
        }
        const [first, ...conditions] = shown(current.status)
        assert.match(first ?? '', /^phase=Succeeded progress=N\/A /)
        assert.deepEqual(conditions, [
          'Bound=True Bound|PVC dv Bound',
          'Ready=True |',
          'Running=False Completed|Upload Complete',
        ])
        assert.equal(statusOf({ ...input(end), dataVolume: current }).status, undefined, 'and then nothing is written')
      }),
    )
  })
})
