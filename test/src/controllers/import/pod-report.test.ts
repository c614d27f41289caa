import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, nat, property } from 'fast-check'
import { annotations } from '../../../../src/api/names.ts'
import { addableLabels, reportOfPod } from '../../../../src/controllers/import/pod-report.ts'
import type { PodVerdict } from '../../../../src/controllers/import/pod-report.ts'
import { reportOfRefusedPod } from '../../../../src/controllers/shared/pod-state.ts'
import { completeWords, exited, importerPod, prime, userImage } from '../fixtures.ts'
import type { PodFacts } from '../fixtures.ts'

interface Case {
  name: string
  pod: PodFacts
  verdict?: PodVerdict
  phase?: string | undefined
  running?: [string, string, string]
  schedulable?: string
  event?: [string, string]
}

const notFound = 'Unable to connect to http data source: expected status code 200, got 404. Status: 404 Not Found'
const mismatch =
  'Unable to process data: checksum validation failed: checksum mismatch: expected sha256:00, calculated sha256:11'
const tooLarge =
  'Unable to process data: virtual image size 1073741824 is larger than the reported available storage 71135396. A larger PVC is required'

const cases: Case[] = [
  { name: 'a pod that no node has taken yet', pod: {}, phase: 'Pending' },
  { name: 'a pod that no node can take', pod: { unschedulable: true }, phase: 'Pending', schedulable: 'false' },
  {
    name: 'a container that is being made',
    pod: { state: { waiting: { reason: 'ContainerCreating' } } },
    phase: 'Pending',
    running: ['false', '', 'ContainerCreating'],
  },
  {
    name: 'a container that lacks its secret',
    pod: { state: { waiting: { reason: 'CreateContainerConfigError', message: 'secret "nothere" not found' } } },
    phase: 'Pending',
    running: ['false', 'secret "nothere" not found', 'CreateContainerConfigError'],
  },
  {
    name: 'an image that cannot be pulled',
    pod: { state: { waiting: { reason: 'ErrImagePull', message: 'no such host' } } },
    phase: 'Pending',
    running: ['false', 'failed to pull image: importer:1', 'ImagePullFailed'],
  },
  {
    name: 'a running container',
    pod: { phase: 'Running', state: { running: {} } },
    phase: 'Running',
    running: ['true', '', 'Pod is running'],
  },
  {
    name: 'a container that failed',
    pod: { phase: 'Running', state: exited(1, notFound) },
    phase: 'Running',
    running: ['false', notFound, 'Error'],
    event: ['ErrImportFailed', notFound],
  },
  {
    name: 'a container that waits to be started again tells why it failed before',
    pod: {
      phase: 'Running',
      state: { waiting: { reason: 'CrashLoopBackOff', message: 'back-off' } },
      lastState: exited(1, notFound),
      restarts: 1,
    },
    phase: 'Running',
    running: ['false', notFound, 'Error'],
    event: ['ErrImportFailed', notFound],
  },
  {
    name: 'an image that is too large for the claim',
    pod: { phase: 'Running', state: exited(1, tooLarge) },
    phase: 'Running',
    running: ['false', 'DataVolume too small to contain image', 'Error'],
    event: ['ErrImportFailed', tooLarge],
  },
  {
    name: 'a failed transfer that speaks of pulling',
    pod: { phase: 'Running', state: exited(1, 'failed to pull image: unexpected EOF') },
    phase: 'Running',
    running: ['false', 'failed to pull image: unexpected EOF', 'ImagePullFailed'],
    event: ['ErrImportFailed', 'failed to pull image: unexpected EOF'],
  },
  {
    name: 'a finished import',
    pod: { phase: 'Succeeded', state: exited(0, completeWords) },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Import Complete', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a finished import of which the kubelet has not told the pod phase yet',
    pod: { phase: 'Running', state: exited(0, completeWords) },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Import Complete', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a worker without last words',
    pod: { phase: 'Succeeded', state: exited(0, '') },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', '', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a worker that asks for scratch',
    pod: {
      phase: 'Succeeded',
      state: exited(0, '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"x"}'),
    },
    verdict: 'needsScratch',
    phase: undefined,
    running: ['false', 'scratch space required and none found', 'Scratch space required'],
  },
  {
    name: 'a wrong checksum',
    pod: { phase: 'Succeeded', state: exited(0, JSON.stringify({ message: mismatch })) },
    verdict: 'fatal',
    phase: 'Failed',
    running: ['false', mismatch, 'ChecksumError'],
    event: ['ErrImportFailed', mismatch],
  },
  {
    name: 'a worker that was killed for lack of memory',
    pod: { phase: 'Running', state: exited(137, 'last log line', 'OOMKilled') },
    verdict: 'needsDirectIo',
    phase: undefined,
    running: ['false', 'last log line', 'OOMKilled'],
  },
  {
    name: 'a worker with direct I/O that was killed for lack of memory',
    pod: { phase: 'Running', directIo: true, state: exited(137, 'last log line', 'OOMKilled') },
    phase: 'Running',
    running: ['false', 'last log line', 'OOMKilled'],
    event: ['ErrImportFailed', 'last log line'],
  },
  {
    name: 'an evicted pod',
    pod: { phase: 'Failed', reason: 'Evicted', message: 'The node was low on resource: memory.' },
    verdict: 'died',
    phase: 'Failed',
    running: ['false', 'The node was low on resource: memory.', 'Evicted'],
  },
  {
    name: 'a finished import beside which the container of the image still runs',
    pod: { phase: 'Running', state: exited(0, completeWords), server: { state: { running: {} } } },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Import Complete', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a finished import beside which the container of the image has failed',
    pod: {
      phase: 'Running',
      state: exited(0, completeWords),
      server: { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: exited(137, '') },
    },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Import Complete', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a finished import whose pod was evicted before the kubelet called it finished',
    pod: { phase: 'Failed', reason: 'Evicted', state: exited(0, completeWords) },
    verdict: 'succeeded',
    phase: 'Succeeded',
    running: ['false', 'Import Complete', 'Completed'],
    event: ['ImportSucceeded', 'Import Successful'],
  },
  {
    name: 'a container image that the kubelet is still pulling',
    pod: { state: { running: {} }, server: { state: { waiting: { reason: 'ContainerCreating' } } } },
    phase: 'Pending',
  },
  ...['ErrImagePull', 'ImagePullBackOff', 'InvalidImageName'].map((reason): Case => ({
    name: `a container image that the kubelet cannot pull (${reason})`,
    pod: { state: { running: {} }, server: { state: { waiting: { reason, message: 'not found' } } } },
    phase: 'Pending',
    running: ['false', `failed to pull image: ${userImage}`, 'ImagePullFailed'],
  })),
  {
    name: 'a container image that cannot be pulled although the worker has lost its patience',
    pod: {
      state: exited(1, 'the container of the image does not run'),
      server: { state: { waiting: { reason: 'ImagePullBackOff' } } },
    },
    phase: 'Pending',
    running: ['false', `failed to pull image: ${userImage}`, 'ImagePullFailed'],
    event: ['ErrImportFailed', 'the container of the image does not run'],
  },
  {
    name: "an importer's image that cannot be pulled for the init container",
    pod: {
      init: { state: { waiting: { reason: 'ImagePullBackOff' } } },
      state: { waiting: { reason: 'PodInitializing' } },
      server: { state: { waiting: { reason: 'PodInitializing' } } },
    },
    phase: 'Pending',
    running: ['false', 'failed to pull image: importer:1', 'ImagePullFailed'],
  },
  {
    name: 'an init container that fails',
    pod: {
      init: { state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: exited(1, 'cp: No space left on device') },
      state: { waiting: { reason: 'PodInitializing' } },
      server: { state: { waiting: { reason: 'PodInitializing' } } },
    },
    phase: 'Pending',
    running: ['false', 'cp: No space left on device', 'Error'],
  },
  {
    name: 'a container of an image that cannot be made',
    pod: {
      state: { running: {} },
      server: { state: { waiting: { reason: 'CreateContainerError', message: 'no such runtime' } } },
    },
    phase: 'Pending',
    running: ['false', 'no such runtime', 'CreateContainerError'],
  },
]

describe('what a pod says of its claim', () => {
  for (const { name, pod, verdict = 'keep', phase, running, schedulable = 'true', event } of cases) {
    it(`reads ${name}`, () => {
      const carrier = prime()
      const report = reportOfPod({ pod: importerPod(carrier, pod), carrier })
      assert.equal(report.verdict, verdict)
      assert.equal(report.annotations[annotations.podPhase], phase)
      assert.equal(report.annotations[annotations.podSchedulable], schedulable)
      assert.deepEqual(
        [
          report.annotations[annotations.conditionRunning],
          report.annotations[annotations.conditionRunningMessage],
          report.annotations[annotations.conditionRunningReason],
        ],
        running ?? [undefined, undefined, undefined],
      )
      assert.deepEqual(
        report.events.map(({ reason, message }) => [reason, message]),
        event ? [event] : [],
      )
    })
  }

  it('says that a wish for scratch was fulfilled once the import has ended', () => {
    const carrier = prime({ annotated: { [annotations.requiresScratch]: 'true' } })
    const done = reportOfPod({
      pod: importerPod(carrier, { phase: 'Succeeded', state: exited(0, completeWords) }),
      carrier,
    })
    assert.equal(done.annotations[annotations.requiresScratch], 'false')
    const busy = reportOfPod({ pod: importerPod(carrier, { phase: 'Running', state: { running: {} } }), carrier })
    assert.equal(busy.annotations[annotations.requiresScratch], undefined)
  })

  it('marks the claim as preallocated only when the worker says so', () => {
    const carrier = prime()
    const words = JSON.stringify({ preallocationApplied: true, message: 'Import Complete' })
    const applied = reportOfPod({ pod: importerPod(carrier, { phase: 'Succeeded', state: exited(0, words) }), carrier })
    assert.equal(applied.annotations[annotations.preallocation], 'true')
    const not = reportOfPod({
      pod: importerPod(carrier, { phase: 'Succeeded', state: exited(0, completeWords) }),
      carrier,
    })
    assert.equal(not.annotations[annotations.preallocation], undefined)
  })

  it('never lets the count of restarts fall', () => {
    check(
      property(nat(50), nat(50), (before, now) => {
        const carrier = prime({ annotated: { [annotations.podRestarts]: String(before) } })
        const pod = importerPod(carrier, { phase: 'Running', state: { running: {} }, restarts: now })
        const { annotations: told } = reportOfPod({ pod, carrier })
        assert.equal(told[annotations.podRestarts], String(Math.max(before, now)))
      }),
    )
  })

  it('counts the restarts of the worker, whatever else the pod holds and in which order', () => {
    const carrier = prime()
    const pod = importerPod(carrier, {
      phase: 'Running',
      state: { running: {} },
      server: { state: { running: {} } },
      restarts: 3,
    })
    pod.status?.containerStatuses?.reverse()
    assert.equal(reportOfPod({ pod, carrier }).annotations[annotations.podRestarts], '3')
  })

  it('passes the labels of the image on once the import is done, and not before', () => {
    const carrier = prime()
    const found = { 'instancetype.kubevirt.io/default-preference': 'fedora' }
    const state = exited(0, JSON.stringify({ labels: found, message: 'Import Complete' }))
    assert.deepEqual(reportOfPod({ pod: importerPod(carrier, { state }), carrier }).labels, found)
    const failed = importerPod(carrier, { phase: 'Running', state: exited(1, JSON.stringify({ labels: found })) })
    assert.deepEqual(reportOfPod({ pod: failed, carrier }).labels, {})
  })

  it('never lets a label of the image through that Kubernetes would refuse, for then nothing could be written', () => {
    const good = {
      'kubevirt.io/a-b': 'yes',
      'instancetype.kubevirt.io/default-preference-kind': 'VirtualMachineClusterPreference',
      plain: '',
    }
    const long = 'a'.repeat(64)
    const bad = {
      '.kubevirt.io/a': 'x',
      'a..kubevirt.io/a': 'x',
      'a_b.kubevirt.io/a': 'x',
      'A.kubevirt.io/a': 'x',
      'kubevirt.io/': 'x',
      'kubevirt.io/-a': 'x',
      'kubevirt.io/a/b': 'x',
      [`kubevirt.io/${long}`]: 'x',
      [`${'a.'.repeat(127)}kubevirt.io/a`]: 'x',
      '': 'x',
      'kubevirt.io/value': long,
      'kubevirt.io/blank': 'two words',
      'kubevirt.io/newline': 'x\n',
    }
    assert.deepEqual(addableLabels(undefined, { ...good, ...bad }), good)
  })

  it('adds labels of the image only where the claim has none and the value is a valid one', () => {
    assert.deepEqual(addableLabels({ a: 'mine' }, { a: 'theirs', b: 'good-1', c: 'not valid', d: '' }), {
      b: 'good-1',
      d: '',
    })
  })
  it('that was refused tells whether a quota or something else was in the way, in the known words', () => {
    const message =
      "Error starting pod 'importer-dv': For more information, request access to cdi-deploy logs from your sysadmin"
    for (const [exceededQuota, reason] of [
      [true, 'ErrExceededQuota'],
      [false, 'ErrStartingPod'],
    ] as const) {
      const report = reportOfRefusedPod({ podName: 'importer-dv', exceededQuota })
      assert.deepEqual(report.event, { type: 'Warning', reason, message })
      assert.deepEqual(report.annotations, {
        [annotations.conditionRunning]: 'false',
        [annotations.conditionRunningMessage]: message,
        [annotations.conditionRunningReason]: reason,
        [annotations.podPhase]: 'Failed',
      })
    }
  })
})
