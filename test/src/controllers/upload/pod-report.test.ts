import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, boolean, nat, property } from 'fast-check'
import { annotations } from '../../../../src/api/names.ts'
import { reportOfUploadPod } from '../../../../src/controllers/upload/pod-report.ts'
import type { UploadVerdict } from '../../../../src/controllers/upload/pod-report.ts'
import { exited, uploadPod, uploadPrime } from '../fixtures.ts'

type Facts = NonNullable<Parameters<typeof uploadPod>[1]>

interface Case {
  name: string
  pod: Facts
  verdict?: UploadVerdict
  phase?: string | undefined
  ready?: string
  running?: [string, string, string]
  event?: [string, string]
  noted?: Record<string, string>
}

const completed = '{"preallocationApplied":false,"message":"Upload Complete"}'
const running = { running: {} }

const cases: Case[] = [
  { name: 'a pod that no node has taken yet', pod: {}, phase: 'Pending' },
  {
    name: 'a pod that no node can take',
    pod: { unschedulable: true },
    phase: 'Pending',
    running: ['false', '', 'Unschedulable'],
  },
  {
    name: 'a container that is being made',
    pod: { state: { waiting: { reason: 'ContainerCreating' } } },
    phase: 'Pending',
    running: ['false', '', 'ContainerCreating'],
  },
  {
    name: 'a server that runs and cannot be sent to yet',
    pod: { phase: 'Running', state: running },
    phase: 'Running',
    running: ['true', '', 'Pod is running'],
  },
  {
    name: 'a server that is ready',
    pod: { phase: 'Running', state: running, ready: true },
    phase: 'Running',
    ready: 'true',
    running: ['true', '', 'Pod is running'],
  },
  {
    name: 'a server that has received all',
    pod: { phase: 'Succeeded', state: exited(0, completed) },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Upload Complete', 'Completed'],
    event: ['UploadSucceeded', 'Upload Successful'],
  },
  {
    name: 'a server that has ended well though its pod still cleans up',
    pod: { phase: 'Running', state: exited(0, completed), ready: true },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Upload Complete', 'Completed'],
    event: ['UploadSucceeded', 'Upload Successful'],
  },
  {
    name: 'a server that has allocated the whole disk',
    pod: { phase: 'Succeeded', state: exited(0, completed.replace('false', 'true')) },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Upload Complete', 'Completed'],
    event: ['UploadSucceeded', 'Upload Successful'],
    noted: { [annotations.preallocation]: 'true' },
  },
  {
    name: 'a server whose certificates are old',
    pod: { phase: 'Succeeded', state: exited(0, '{"deadlinePassed":true,"message":"Deadline Passed"}') },
    verdict: 'deadlinePassed',
    phase: '',
    running: ['false', 'Deadline Passed', 'Completed'],
  },
  {
    name: 'a server that needs a scratch volume',
    pod: { phase: 'Succeeded', state: exited(0, '{"scratchSpaceRequired":true,"message":"x"}') },
    verdict: 'needsScratch',
    phase: undefined,
    running: ['false', 'scratch space required and none found', 'Scratch space required'],
    noted: { [annotations.requiresScratch]: 'true' },
  },
  {
    name: 'a server that ended badly',
    pod: { phase: 'Running', state: exited(1, 'Saving stream failed: no') },
    phase: 'Running',
    running: ['false', 'Saving stream failed: no', 'Error'],
    event: ['ErrUploadFailed', 'Saving stream failed: no'],
  },
  {
    name: 'a server that ended badly and runs again',
    pod: {
      phase: 'Running',
      state: running,
      ready: true,
      restarts: 1,
      lastState: exited(1, 'Saving stream failed: no'),
    },
    phase: 'Running',
    ready: 'true',
    running: ['true', '', 'Pod is running'],
    event: ['ErrUploadFailed', 'Saving stream failed: no'],
  },
  {
    name: 'a server that was killed by a signal and runs again, without last words',
    pod: { phase: 'Running', state: running, ready: true, restarts: 1, lastState: exited(143, '') },
    phase: 'Running',
    ready: 'true',
    running: ['true', '', 'Pod is running'],
  },
  {
    name: 'a pod that was evicted',
    pod: { phase: 'Failed', reason: 'Evicted', message: 'no disk' },
    verdict: 'died',
    phase: 'Failed',
    running: ['false', 'no disk', 'Evicted'],
  },
  {
    name: 'a server that is being ended',
    pod: { phase: 'Running', state: running, ready: true, terminating: true },
    phase: 'Running',
    ready: 'false',
    running: ['true', '', 'Pod is running'],
  },
]

describe('the claim of', () => {
  for (const { name, pod, verdict = 'keep', phase, ready = 'false', running: shown, event, noted = {} } of cases) {
    it(`${name} says so`, () => {
      const carrier = uploadPrime({ phase: 'Bound' })
      const report = reportOfUploadPod({ pod: uploadPod(carrier, pod), carrier })
      assert.equal(report.verdict, verdict)
      const { annotations: told } = report
      assert.equal(told[annotations.podPhase], phase)
      assert.equal(told[annotations.podReady], ready)
      assert.deepEqual(
        [
          told[annotations.conditionRunning],
          told[annotations.conditionRunningMessage],
          told[annotations.conditionRunningReason],
        ],
        shown ?? [undefined, undefined, undefined],
      )
      assert.deepEqual(
        report.events.map(({ reason, message }) => [reason, message]),
        event ? [event] : [],
      )
      assert.equal(told[annotations.preallocation], noted[annotations.preallocation])
      assert.equal(told[annotations.requiresScratch], noted[annotations.requiresScratch])
    })
  }

  it('a server that could not be placed says why', () => {
    const carrier = uploadPrime({ phase: 'Bound' })
    const pod = uploadPod(carrier, { unschedulable: true })
    pod.status!.conditions![0]!.message = '0/3 nodes are available'
    const told = reportOfUploadPod({ pod, carrier }).annotations
    assert.equal(told[annotations.conditionRunningMessage], '0/3 nodes are available')
    assert.equal(told[annotations.podSchedulable], undefined, 'importers say it there, with words that name importers')
  })

  it('a server whose bad end was seen before is not told of it again when it runs', () => {
    const carrier = uploadPrime({
      annotated: { [annotations.conditionRunning]: 'false', [annotations.podRestarts]: '0' },
    })
    const pod = uploadPod(carrier, { phase: 'Running', state: running, restarts: 1, lastState: exited(1, 'no') })
    assert.deepEqual(reportOfUploadPod({ pod, carrier }).events, [])
  })

  it('several servers never shows fewer restarts than before', () => {
    check(
      property(nat(), nat(), boolean(), (before, restarts, isRunning) => {
        const carrier = uploadPrime({ annotated: { [annotations.podRestarts]: String(before) } })
        const state = isRunning ? running : exited(1, 'x')
        const pod = uploadPod(carrier, { phase: 'Running', state, restarts })
        const told = reportOfUploadPod({ pod, carrier }).annotations[annotations.podRestarts]
        assert.equal(Number(told), Math.max(before, restarts))
      }),
    )
  })
})
