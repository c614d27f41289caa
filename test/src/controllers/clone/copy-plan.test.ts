import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, array, boolean, constantFrom, property, record } from 'fast-check'
import type { Pod } from '../../../../src/api/kinds.ts'
import { annotations, finalizers } from '../../../../src/api/names.ts'
import {
  forgottenMs,
  isIdle,
  isSettled,
  planCopy,
  sourceDelayMs,
  stragglerMs,
} from '../../../../src/controllers/clone/copy-plan.ts'
import type { CopyObservation, CopyPlan, CopySource } from '../../../../src/controllers/clone/copy-plan.ts'
import { patched } from '../../../../src/controllers/shared/annotated.ts'
import { diedPodDelayMs } from '../../../../src/controllers/shared/pod-state.ts'
import { claim, exited, uploadPod } from '../fixtures.ts'
import type { ClaimFacts, PodFacts } from '../fixtures.ts'
import { marked, receiver, source, sourcePod } from './copy-fixtures.ts'

const now = Date.parse('2026-01-01T01:00:00Z')
const podName = 'uid-u-source-pod'

function sound(facts: Partial<CopySource> = {}): CopySource {
  return { claim: source(), overhead: '0.06', isPopulated: true, writers: [], refusal: undefined, ...facts }
}

function plan(facts: Partial<CopyObservation> = {}): CopyPlan {
  return planCopy({
    receiver: receiver(),
    overhead: '0.06',
    pod: undefined,
    source: sound(),
    mayHaveOldCertificates: false,
    filledForMs: 0,
    now,
    ...facts,
  })
}

/** A receiver with its source pod. */
function withPod(pod: PodFacts, more: Partial<CopyObservation> & { of?: ClaimFacts } = {}): CopyPlan {
  const { of, ...facts } = more
  const target = marked(of)
  return plan({ receiver: target, pod: sourcePod(target, pod), ...facts })
}

function conditionIn({ annotations: noted }: CopyPlan): (string | null | undefined)[] {
  return [
    noted[annotations.conditionSourceRunning],
    noted[annotations.conditionSourceRunningMessage],
    noted[annotations.conditionSourceRunningReason],
  ]
}

describe('a source pod', () => {
  it('is made when the upload server is ready, and its name and the finalizer are written before', () => {
    const made = plan()
    assert.equal(made.pod, 'create')
    assert.equal(made.annotations[annotations.sourceClonePodName], podName)
    assert.deepEqual(made.finalizers, [finalizers.cloneSource])
    const again = plan({ receiver: marked() })
    assert.deepEqual([again.pod, again.annotations, again.finalizers], ['create', {}, undefined])
  })

  it('leaves other finalizers as they are', () => {
    const of = receiver({ finalizers: ['kubernetes.io/pvc-protection'] })
    assert.deepEqual(plan({ receiver: of }).finalizers, ['kubernetes.io/pvc-protection', finalizers.cloneSource])
  })

  for (const [what, facts] of [
    ['does not run', { [annotations.podReady]: 'false', [annotations.podPhase]: 'Pending' }],
    ['has not been there yet', { [annotations.podReady]: undefined, [annotations.podPhase]: undefined }],
    ['has done its work in another copy', { [annotations.cloneOf]: 'true' }],
  ] as const) {
    it(`is not made while the upload server ${what}`, () => {
      assert.ok(isIdle(plan({ receiver: receiver({ annotated: facts }) })))
    })
  }

  it('is made when the upload server runs, which is ready as a rule before it has started itself', () => {
    const starting = { [annotations.podReady]: undefined }
    assert.equal(plan({ receiver: receiver({ annotated: starting }) }).pod, 'create')
    // Where it runs is not where the claim stays as long as that is not bound.
    assert.ok(isIdle(plan({ receiver: receiver({ annotated: starting, phase: 'Pending' }) })))
  })

  it('is not made for claims that nobody ordered a copy into', () => {
    assert.ok(isIdle(plan({ receiver: claim({ phase: 'Bound', annotated: { [annotations.podReady]: 'true' } }) })))
  })
})

describe('a source that', () => {
  const writer = uploadPod(source(), { phase: 'Running' })
  writer.metadata.name = 'vm'
  const cases: [string, Partial<CopyObservation>, { event?: [string, string]; condition: string; again?: number }][] = [
    [
      'is not there is waited for',
      { source: undefined },
      {
        event: ['CloneWithoutSource', "The source pvc src doesn't exist"],
        condition: 'CloneWithoutSource',
        again: sourceDelayMs,
      },
    ],
    [
      'is still being filled is waited for',
      { source: sound({ isPopulated: false }) },
      { condition: 'ImportPVCNotReady', again: sourceDelayMs },
    ],
    [
      'is written to is waited for',
      { source: sound({ writers: [writer] }) },
      {
        event: ['CloneSourceInUse', 'pod vms/vm using PersistentVolumeClaim src'],
        condition: 'CloneSourceInUse',
        again: sourceDelayMs,
      },
    ],
    [
      'holds something else is refused',
      { source: sound({ claim: source({ annotated: { [annotations.contentType]: 'archive' } }) }) },
      {
        event: [
          'CloneValidationFailed',
          "The clone doesn't meet the validation requirements: source contentType (archive) and target contentType (kubevirt) do not match",
        ],
        condition: 'CloneValidationFailed',
      },
    ],
    [
      'is too large is refused',
      { source: sound({ claim: source({ spec: { resources: { requests: { storage: '1Gi' } } } }) }) },
      {
        event: [
          'CloneValidationFailed',
          "The clone doesn't meet the validation requirements: target resources requests storage size is smaller than the source 67108864 < 1012924416",
        ],
        condition: 'CloneValidationFailed',
      },
    ],
    [
      'must not be read is refused, whatever else is the matter with it',
      { source: sound({ refusal: 'invalid token', writers: [writer], isPopulated: false }) },
      {
        event: ['CloneValidationFailed', "The clone doesn't meet the validation requirements: invalid token"],
        condition: 'CloneValidationFailed',
      },
    ],
  ]
  for (const [what, facts, { event, condition, again }] of cases) {
    it(what, () => {
      const waiting = plan(facts)
      assert.equal(waiting.pod, 'keep')
      assert.equal(waiting.annotations[annotations.sourceClonePodName], podName)
      assert.equal(waiting.annotations[annotations.conditionSourceRunning], 'false')
      assert.equal(waiting.annotations[annotations.conditionSourceRunningReason], condition)
      const told = waiting.sourceState ?? waiting.state
      assert.deepEqual(told && [told.reason, told.message], event)
      assert.equal(waiting.requeueAfterMs, again)
      const noted = patched(receiver().metadata.annotations, waiting.annotations)
      const later = plan({ ...facts, receiver: marked({ annotated: noted }) })
      assert.ok(isIdle(later), 'nothing is written while nothing changes')
    })
  }

  it('waits in another namespace is not told of to those who have not proved that they may see it', () => {
    const of = receiver({ annotated: { [annotations.cloneRequest]: 'secret/src' } })
    const waiting = plan({ receiver: of, source: undefined })
    assert.deepEqual(
      [waiting.state, waiting.sourceState, waiting.requeueAfterMs],
      [undefined, undefined, sourceDelayMs],
    )
    assert.equal(waiting.annotations[annotations.conditionSourceRunning], undefined)
  })

  it('has another volume mode can be copied if it is a disk', () => {
    const block = sound({
      claim: source({ spec: { volumeMode: 'Block', resources: { requests: { storage: '64Mi' } } } }),
    })
    assert.equal(plan({ source: block }).pod, 'create')
    const archive = { [annotations.contentType]: 'archive' }
    const refused = plan({
      receiver: receiver({ annotated: archive }),
      source: sound({ claim: source({ annotated: archive, spec: { volumeMode: 'Block' } }) }),
    })
    assert.equal(
      refused.annotations[annotations.conditionSourceRunningMessage],
      'source volumeMode (Block) and target volumeMode (Filesystem) do not match, contentType (archive)',
    )
  })

  it('is too large is copied if nobody is to look at sizes, but not if it holds something else', () => {
    const permissive = receiver({ annotated: { [annotations.permissiveClone]: '' } })
    const large = { resources: { requests: { storage: '1Gi' } } }
    assert.equal(plan({ receiver: permissive, source: sound({ claim: source({ spec: large }) }) }).pod, 'create')
    const other = sound({ claim: source({ annotated: { [annotations.contentType]: 'archive' } }) })
    assert.equal(plan({ receiver: permissive, source: other }).pod, 'keep')
  })
})

describe('the receiver of', () => {
  const running = { running: {} }
  const cases: [string, PodFacts, [string, string, string], string?][] = [
    ['a source pod that nobody has taken yet', {}, ['false', '', 'Pending']],
    ['a source pod that no node can take', { unschedulable: true }, ['false', '', 'Unschedulable']],
    [
      'a source pod that is being made',
      { state: { waiting: { reason: 'ContainerCreating' } } },
      ['false', '', 'ContainerCreating'],
    ],
    ['a source pod at work', { phase: 'Running', state: running }, ['true', '', 'Pod is running']],
    [
      'a source pod that has sent all',
      { phase: 'Succeeded', state: exited(0, 'Clone Complete') },
      ['true', 'Clone Complete', 'Completed'],
    ],
    [
      'a source pod that failed',
      { phase: 'Running', state: exited(1, 'the target was not to be reached') },
      ['false', 'the target was not to be reached', 'Error'],
      'the target was not to be reached',
    ],
    [
      'a source pod that failed and is tried again',
      { phase: 'Running', state: running, restarts: 1, lastState: exited(1, 'the target was not to be reached') },
      ['true', 'the target was not to be reached', 'Pod is running'],
      'the target was not to be reached',
    ],
    [
      'a source pod that was evicted',
      { phase: 'Failed', reason: 'Evicted', message: 'no disk' },
      ['false', 'no disk', 'Evicted'],
    ],
  ]
  for (const [what, pod, condition, failure] of cases) {
    it(`${what} says so`, () => {
      const told = withPod(pod)
      assert.deepEqual(conditionIn(told), condition)
      assert.deepEqual(
        told.state && [told.state.type, told.state.reason, told.state.message],
        failure && ['Warning', 'ErrCloneFailed', failure],
      )
    })
  }

  it('a source pod that has run once never says that it does not, only why', () => {
    const of = { annotated: { [annotations.conditionSourceRunning]: 'true' } }
    const told = withPod({ phase: 'Running', state: exited(1, 'no') }, { of })
    assert.deepEqual(conditionIn(told), [undefined, 'no', 'Error'])
  })
})

describe('a source pod that', () => {
  const endedAt = (pod: PodFacts, ms: number, more: Partial<CopyObservation> = {}): CopyPlan => {
    const target = marked()
    const made: Pod = sourcePod(target, pod)
    made.status!.startTime = new Date(ms).toISOString()
    return plan({ receiver: target, pod: made, ...more })
  }

  it('was evicted is replaced after a while', () => {
    const evicted = { phase: 'Failed', reason: 'Evicted' }
    const early = endedAt(evicted, now - 1_000)
    assert.deepEqual([early.pod, early.requeueAfterMs], ['keep', diedPodDelayMs - 1_000])
    assert.equal(endedAt(evicted, now - diedPodDelayMs).pod, 'delete')
  })

  it('has sent all to a server that then was lost is replaced', () => {
    const done = { phase: 'Succeeded', state: exited(0, 'Clone Complete') }
    const early = endedAt(done, now - 1_000)
    assert.deepEqual([early.pod, early.requeueAfterMs], ['keep', forgottenMs - 1_000])
    assert.equal(endedAt(done, now - forgottenMs).pod, 'delete')
  })

  it('failed is left to the kubelet, unless its certificates may be the reason', () => {
    const failed: PodFacts = { phase: 'Running', state: exited(1, 'no') }
    assert.equal(withPod(failed).pod, 'keep')
    assert.equal(withPod(failed, { mayHaveOldCertificates: true }).pod, 'delete')
    const atWork: PodFacts = { phase: 'Running', state: { running: {} } }
    assert.equal(withPod(atWork, { mayHaveOldCertificates: true }).pod, 'keep', 'what works is not disturbed')
  })

  it('has no Secret gets it, also from the next controller', () => {
    assert.equal(withPod({}).needsSecret, true)
    // It may run with that of a former pod, which goes.
    assert.equal(withPod({ phase: 'Running', state: { running: {} } }).needsSecret, true)
    assert.equal(withPod({ phase: 'Failed' }).needsSecret, false)
  })

  it('stays when its upload server dies', () => {
    const of = { annotated: { [annotations.podReady]: 'false' } }
    assert.equal(withPod({ phase: 'Running', state: { running: {} } }, { of }).pod, 'keep')
  })

  it('goes away is waited for before the next one is made', () => {
    const going = withPod({ phase: 'Running', state: { running: {} }, terminating: true })
    assert.equal(going.pod, 'keep')
    assert.equal(withPod({ terminating: true }, { of: { finalizers: [] } }).finalizers?.length, 1)
  })
})

describe('a receiver that is filled', () => {
  const of: ClaimFacts = {
    annotated: { [annotations.podPhase]: 'Succeeded', [annotations.podReady]: 'false' },
  }
  const complete = { type: 'Normal', reason: 'CloneSucceeded', message: 'Clone Complete' }

  it('is complete when its source pod has ended; then the pod goes, then the hold', () => {
    const ended: PodFacts = { phase: 'Succeeded', state: exited(0, 'Clone Complete, Preallocation applied') }
    const first = withPod(ended, { of })
    assert.equal(first.annotations[annotations.cloneOf], 'true')
    assert.deepEqual(conditionIn(first), ['true', 'Clone Complete, Preallocation applied', 'Completed'])
    assert.deepEqual(first.event, complete)
    assert.deepEqual([first.pod, first.finalizers], ['delete', undefined])
    const copied = { annotated: { ...of.annotated, [annotations.cloneOf]: 'true' } }
    const second = withPod(ended, { of: copied })
    assert.deepEqual([second.pod, second.finalizers, second.event], ['delete', undefined, undefined])
    const third = withPod({ ...ended, terminating: true }, { of: copied })
    assert.deepEqual([third.pod, third.finalizers], ['keep', []])
    assert.deepEqual(plan({ receiver: marked(copied) }).finalizers, [])
  })

  it('waits a while for a source pod that still runs, and not for ever', () => {
    const atWork: PodFacts = { phase: 'Running', state: { running: {} } }
    const early = withPod(atWork, { of, filledForMs: 1_000 })
    assert.deepEqual([early.pod, early.annotations, early.requeueAfterMs], ['keep', {}, stragglerMs - 1_000])
    const late = withPod(atWork, { of, filledForMs: stragglerMs })
    assert.deepEqual([late.pod, late.annotations[annotations.cloneOf]], ['delete', 'true'])
  })

  for (const [what, pod] of [
    ['has not begun', { state: { waiting: { reason: 'ContainerCreating' } } }],
    [
      'is about to be started again',
      { phase: 'Running', state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: exited(1, 'lost') },
    ],
    ['failed', { phase: 'Running', state: exited(1, 'lost') }],
  ] as [string, PodFacts][]) {
    it(`does not wait for a source pod that ${what}`, () => {
      const done = withPod(pod, { of })
      assert.equal(done.pod, 'delete')
      assert.deepEqual(conditionIn(done), ['true', 'Clone Complete', 'Completed'])
    })
  }

  it('is complete without a source pod too, and bears no mark of one', () => {
    const done = plan({ receiver: receiver(of) })
    assert.deepEqual(done.annotations, { [annotations.cloneOf]: 'true' })
    assert.deepEqual([done.event, done.finalizers, done.pod], [complete, undefined, 'keep'])
  })

  it('keeps a source pod that is to be retained, which holds nothing any more', () => {
    const annotated = { ...of.annotated, [annotations.podRetainAfterCompletion]: 'true' }
    const ended: PodFacts = { phase: 'Succeeded', state: exited(0, 'Clone Complete') }
    assert.equal(withPod(ended, { of: { annotated } }).pod, 'keep')
    const later = withPod(ended, { of: { annotated: { ...annotated, [annotations.cloneOf]: 'true' } } })
    assert.deepEqual([later.pod, later.finalizers], ['keep', []])
  })

  it('is left alone once all of it is done', () => {
    const copied = receiver({ annotated: { ...of.annotated, [annotations.cloneOf]: 'true' } })
    assert.ok(isSettled(copied))
    assert.ok(isIdle(plan({ receiver: copied })))
    assert.equal(isSettled(marked({ annotated: { [annotations.cloneOf]: 'true' } })), false)
    assert.equal(isSettled(receiver(of)), false)
  })
})

describe('a receiver that is deleted', () => {
  it('loses its source pod, then the hold, also if finished pods are to be retained', () => {
    const of = { terminating: true, annotated: { [annotations.podRetainAfterCompletion]: 'true' } }
    const atWork: PodFacts = { phase: 'Running', state: { running: {} } }
    const first = withPod(atWork, { of })
    assert.deepEqual([first.pod, first.finalizers], ['delete', undefined])
    const second = withPod({ ...atWork, terminating: true }, { of })
    assert.deepEqual([second.pod, second.finalizers], ['keep', []])
    assert.deepEqual(plan({ receiver: marked(of) }).finalizers, [])
  })

  it('tells of its completion, which others saw sooner', () => {
    const of = { terminating: true, annotated: { [annotations.podPhase]: 'Succeeded' } }
    const told = withPod({ phase: 'Running', state: { running: {} } }, { of })
    assert.deepEqual([told.event?.reason, told.pod], ['CloneSucceeded', 'delete'])
  })

  it('is let go of if nobody wants the copy any longer', () => {
    const unwanted = marked({ annotated: { [annotations.cloneRequest]: undefined } })
    assert.deepEqual(plan({ receiver: unwanted, pod: sourcePod(unwanted) }).pod, 'delete')
    assert.deepEqual(plan({ receiver: unwanted }).finalizers, [])
  })
})

describe('whatever states a copy went through', () => {
  const states = {
    pod: constantFrom<PodFacts | undefined>(
      undefined,
      {},
      { state: { waiting: { reason: 'ContainerCreating' } } },
      { phase: 'Running', state: { running: {} } },
      { phase: 'Running', state: exited(1, 'x') },
      { phase: 'Running', state: { running: {} }, restarts: 1, lastState: exited(1, 'x') },
      { phase: 'Failed', reason: 'Evicted' },
      { phase: 'Succeeded', state: exited(0, 'Clone Complete') },
      { phase: 'Running', state: { running: {} }, terminating: true },
    ),
    source: constantFrom<CopySource | undefined>(
      undefined,
      sound(),
      sound({ isPopulated: false }),
      sound({ refusal: 'invalid token' }),
      sound({ writers: [uploadPod(source(), { phase: 'Running' })] }),
    ),
    ready: constantFrom('true', 'false'),
    phase: constantFrom('Pending', 'Running', 'Failed', 'Succeeded'),
    old: boolean(),
  }

  it('the claim settles, a pod is made for held claims only, and what ran is never said not to run', () => {
    check(
      property(array(record(states), { minLength: 1, maxLength: 8 }), (course) => {
        let noted: Record<string, string> = { [annotations.cloneRequest]: 'vms/src' }
        let held: readonly string[] = []
        const look = ({ pod, source: seen, ready, phase, old }: (typeof course)[number]): CopyPlan => {
          noted = { ...noted, [annotations.podReady]: ready, [annotations.podPhase]: phase }
          const target = claim({
            name: 'tmp-pvc-1',
            uid: 'uid-u',
            phase: 'Bound',
            annotated: noted,
            finalizers: [...held],
          })
          const next = plan({
            receiver: target,
            pod: pod && sourcePod(target, pod),
            source: seen,
            mayHaveOldCertificates: old,
            filledForMs: stragglerMs,
          })
          const ran = noted[annotations.conditionSourceRunning] === 'true'
          noted = patched(noted, next.annotations)
          held = next.finalizers ?? held
          if (ran) assert.equal(noted[annotations.conditionSourceRunning], 'true')
          if (next.pod === 'create') {
            assert.deepEqual(held, [finalizers.cloneSource])
            assert.ok(noted[annotations.podReady] === 'true' || noted[annotations.podPhase] === 'Running')
          }
          return next
        }
        for (const state of course) look(state)
        const last = course.at(-1)!
        look(last)
        const again = look(last)
        assert.ok(isIdle({ ...again, pod: 'keep' }), JSON.stringify(again))
        assert.equal(again.event, undefined, 'what was told is not told again')
        assert.equal(
          noted[annotations.cloneOf] === 'true',
          course.some(({ phase }) => phase === 'Succeeded'),
        )
      }),
    )
  })
})
